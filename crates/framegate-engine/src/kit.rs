//! What authors of processors need, carried inside the program: headers, pkg-config file, Python package, Rust crate.
//!
//! [`Kit::unpack`] puts it into a folder of the user's cache that is named by its content, and mends what is missing or
//! changed there, so that several versions of framegate never disturb each other.

pub(crate) mod digest;

use std::{
    env,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use digest::Digest;

/// Headers, Python package and Rust crate: place in the kit, and text.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/kit_files.rs"));
/// Files in which `@VERSION@` and `@RUST@` stand for those of this build.
const TEMPLATES: [(&str, &str); 2] = [
    ("lib/pkgconfig/framegate.pc", include_str!("kit/framegate.pc.in")),
    ("rust/framegate-abi/Cargo.toml", include_str!("kit/Cargo.toml.in")),
];

/// Why the kit is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KitError {
    /// No folder for caches is known.
    #[error("there is no place for the kit: set FRAMEGATE_CACHE to a folder, or HOME")]
    NoPlace,
    /// The folder cannot be written.
    #[error("{}: {source}. Set FRAMEGATE_CACHE to a folder that this user can write", path.display())]
    Write {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others could put code there.
    #[error(
        "{} belongs to somebody else or can be written by others; what lies there is compiled and run. Set \
         FRAMEGATE_CACHE to a folder of your own", path.display()
    )]
    Unsafe {
        /// The folder.
        path: PathBuf,
    },
}

/// The unpacked kit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kit {
    cache: PathBuf,
    folder: PathBuf,
    hash: String,
}

impl Kit {
    /// Unpacks it into the user's cache: `$FRAMEGATE_CACHE`, else `$XDG_CACHE_HOME/framegate`, else
    /// `~/.cache/framegate`. Costs a few milliseconds when it is there already.
    ///
    /// # Errors
    /// [`KitError`] when there is no such folder or it cannot be written.
    pub fn unpack() -> Result<Self, KitError> {
        Self::unpack_into(&cache_folder(|name| env::var_os(name).map(PathBuf::from)).ok_or(KitError::NoPlace)?)
    }

    /// Unpacks it below `cache`.
    ///
    /// # Errors
    /// [`KitError`] when it cannot be written.
    pub fn unpack_into(cache: &Path) -> Result<Self, KitError> {
        let cache = made(cache)?;
        let files = files();
        let all = files.iter().fold(Digest::new(), |all, (path, text)| all.part(path.as_bytes()).part(text.as_bytes()));
        let hash = all.name();
        let folder = own_folder(cache.join(format!("kit-{hash}")))?;
        for (path, text) in &files {
            let path = folder.join(path);
            if fs::read(&path).is_ok_and(|present| present == text.as_bytes()) {
                continue;
            }
            let refused = |source| KitError::Write { path: path.clone(), source };
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(refused)?;
            }
            write_atomically(&path, text.as_bytes()).map_err(refused)?;
        }
        // Python wants a folder on its path to exist, however empty.
        fs::create_dir_all(folder.join("python")).map_err(|source| KitError::Write { path: folder.clone(), source })?;
        Ok(Self { cache, folder, hash })
    }

    /// Where it lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Folder of `framegate.h` and `framegate.hpp`, for `-I`.
    #[must_use]
    pub fn include(&self) -> PathBuf {
        self.folder.join("include")
    }

    /// Folder of `framegate.pc`, for `PKG_CONFIG_PATH`.
    #[must_use]
    pub fn pkgconfig(&self) -> PathBuf {
        self.folder.join("lib/pkgconfig")
    }

    /// Folder of the Python package, for `sys.path`.
    #[must_use]
    pub fn python(&self) -> PathBuf {
        self.folder.join("python")
    }

    /// Folder of the crate `framegate-abi`.
    #[must_use]
    pub fn rust(&self) -> PathBuf {
        self.folder.join("rust/framegate-abi")
    }

    /// Name of its content.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// A folder of this user's alone beside it, made if it is not there.
    pub(crate) fn beside(&self, name: &str) -> Result<PathBuf, KitError> {
        own_folder(self.cache.join(name))
    }
}

/// Everything in the kit.
fn files() -> Vec<(&'static str, String)> {
    let filled = |text: &str| {
        text.replace("@VERSION@", env!("CARGO_PKG_VERSION")).replace("@RUST@", env!("CARGO_PKG_RUST_VERSION"))
    };
    let plain = FILES.iter().map(|(path, text)| (*path, (*text).to_owned()));
    plain.chain(TEMPLATES.iter().map(|(path, text)| (*path, filled(text)))).collect()
}

/// The cache that the environment names.
fn cache_folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let named = |name| variable(name).filter(|path| !path.as_os_str().is_empty());
    // A relative path in XDG_CACHE_HOME is to be ignored (XDG Base Directory Specification).
    named("FRAMEGATE_CACHE")
        .or_else(|| named("XDG_CACHE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("framegate")))
        .or_else(|| named("HOME").map(|path| path.join(".cache/framegate")))
}

/// The folder `name` in the user's cache, which nobody else can write.
pub(crate) fn cached(name: &str) -> Result<PathBuf, KitError> {
    let cache = cache_folder(|name| env::var_os(name).map(PathBuf::from)).ok_or(KitError::NoPlace)?;
    own_folder(made(&cache)?.join(name))
}

/// Makes the cache's folder, or checks that nobody else can put another one in the place of what lies in it.
fn made(cache: &Path) -> Result<PathBuf, KitError> {
    let refused = |source| KitError::Write { path: cache.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(cache).map_err(refused)?;
    let cache = cache.canonicalize().map_err(refused)?;
    let about = fs::metadata(&cache).map_err(refused)?;
    // In a sticky folder such as /tmp only its owner can rename what is his.
    let is_sticky = about.mode() & 0o1000 != 0;
    let is_trusted = about.uid() == 0 || about.uid() == rustix::process::geteuid().as_raw();
    if !is_trusted || (about.mode() & 0o022 != 0 && !is_sticky) {
        return Err(KitError::Unsafe { path: cache });
    }
    Ok(cache)
}

/// Makes a folder, or checks that nobody else can put code into the one that is there.
fn own_folder(path: PathBuf) -> Result<PathBuf, KitError> {
    let refused = |source| KitError::Write { path: path.clone(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(refused)?;
    let about = fs::symlink_metadata(&path).map_err(refused)?;
    if !about.is_dir() || about.uid() != rustix::process::geteuid().as_raw() || about.mode() & 0o022 != 0 {
        return Err(KitError::Unsafe { path });
    }
    Ok(path)
}

/// Writes a file so that nobody ever sees half of it.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = draft_of(path);
    let written = fs::write(&draft, bytes).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // It may never have been made.
        let _ = fs::remove_file(&draft);
    }
    written
}

/// A name beside `path` that no other process and no other call uses.
pub(crate) fn draft_of(path: &Path) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}-{number}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    pub(crate) fn scratch(name: &str) -> PathBuf {
        let path = env::temp_dir().join(format!("framegate-kit-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn the_environment_names_the_cache() {
        let check = |variables: &[(&str, &str)], expected: Option<&str>| {
            let found = cache_folder(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| PathBuf::from(value))
            });
            assert_eq!(found, expected.map(PathBuf::from));
        };
        check(&[("FRAMEGATE_CACHE", "/c"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], Some("/c"));
        check(&[("FRAMEGATE_CACHE", ""), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], Some("/x/framegate"));
        check(&[("XDG_CACHE_HOME", "x"), ("HOME", "/h")], Some("/h/.cache/framegate"));
        check(&[], None);
    }

    #[test]
    fn it_is_unpacked_once_and_mended() {
        let cache = scratch("mended");
        let kit = Kit::unpack_into(&cache).unwrap();
        let header = kit.include().join("framegate.h");
        let written = fs::metadata(&header).unwrap().ino();
        assert_eq!(Kit::unpack_into(&cache).unwrap(), kit);
        assert_eq!(fs::metadata(&header).unwrap().ino(), written, "what is right is left alone");
        for file in ["include/framegate/cv.hpp", "lib/pkgconfig/framegate.pc", "rust/framegate-abi/src/lib.rs"] {
            assert!(kit.folder().join(file).is_file(), "{file}");
        }
        // What `pip install` needs: the project file and the README that it names.
        for file in ["pyproject.toml", "README.md", "framegate/__init__.py"] {
            assert!(kit.python().join(file).is_file(), "{file}");
        }
        fs::write(&header, "broken").unwrap();
        fs::remove_file(kit.include().join("framegate.hpp")).unwrap();
        Kit::unpack_into(&cache).unwrap();
        assert!(fs::read_to_string(&header).unwrap().contains("fg_entry_1"));
        assert!(kit.include().join("framegate.hpp").is_file());
        fs::remove_dir_all(cache).unwrap();
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let cache = scratch("unsafe");
        let kit = Kit::unpack_into(&cache).unwrap();
        let check = |path: &Path, mode: u32, is_refused: bool| {
            let before = fs::metadata(path).unwrap().permissions();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            let unpacked = Kit::unpack_into(&cache);
            assert_eq!(matches!(unpacked, Err(KitError::Unsafe { .. })), is_refused, "{mode:o}: {unpacked:?}");
            fs::set_permissions(path, before).unwrap();
        };
        for mode in [0o777, 0o770, 0o707] {
            check(kit.folder(), mode, true);
            check(&cache, mode, true);
        }
        check(&cache, 0o1777, false);
        check(&cache, 0o755, false);
        let elsewhere = scratch("elsewhere");
        fs::rename(kit.folder(), &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, kit.folder()).unwrap();
        assert!(matches!(Kit::unpack_into(&cache), Err(KitError::Unsafe { .. })), "a link leads elsewhere");
        fs::remove_dir_all(elsewhere).unwrap();
        fs::remove_dir_all(cache).unwrap();
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let error = Kit::unpack_into(Path::new("/proc/none")).unwrap_err().to_string();
        assert!(error.starts_with("/proc/none: ") && error.contains("FRAMEGATE_CACHE"), "{error}");
    }
}
