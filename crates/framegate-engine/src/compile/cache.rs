//! Compiled processors in the user's cache: `KEY-FILES.so`, where KEY names source, compiler and flags, and FILES the
//! content of the files that were included; `KEY.files` lists those.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::kit::{Kit, KitError, digest::Digest, write_atomically};

/// Libraries kept; of more, those unused for longest are removed.
const LIBRARIES_KEPT_MAX: usize = 64;
/// Included files looked at.
const FILES_MAX: usize = 4096;
/// Bytes of one included or linked file that are looked at.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Where one source's libraries are kept.
#[derive(Debug)]
pub(super) struct Entry {
    folder: PathBuf,
    kit: PathBuf,
    key: String,
    list: PathBuf,
}

impl Entry {
    pub(super) fn new(kit: &Kit, key: Digest) -> Result<Self, KitError> {
        let (folder, key) = (kit.beside("processors")?, key.name());
        let list = folder.join(format!("{key}.files"));
        Ok(Self { folder, kit: kit.folder().to_owned(), key, list })
    }

    /// A path in the cache, to make drafts beside.
    pub(super) fn path(&self) -> &Path {
        &self.list
    }

    /// The library made of the included files as they are now.
    pub(super) fn find(&self) -> Option<PathBuf> {
        let library = self.library(&self.listed()?);
        let file = File::options().append(true).open(&library).ok()?;
        // Only the order of removal depends on it.
        let _ = file.set_modified(SystemTime::now());
        Some(library)
    }

    /// Whether an included file was changed at `time` or later. One from the future is not: it would stay so for ever.
    pub(super) fn is_newer(&self, time: SystemTime) -> bool {
        let now = SystemTime::now();
        let changed = |path: PathBuf| fs::metadata(path).and_then(|about| about.modified());
        self.listed()
            .unwrap_or_default()
            .into_iter()
            .filter_map(|path| changed(path).ok())
            .any(|at| at >= time && at <= now)
    }

    /// Takes a finished library, the compiler's rule for make that names what was included, and what was linked.
    pub(super) fn keep(
        &self,
        library: &Path,
        rule: &Path,
        folder: &Path,
        linked: Vec<PathBuf>,
    ) -> Result<PathBuf, KitError> {
        let refused = |source| KitError::Write { path: self.folder.clone(), source };
        let included = prerequisites(&fs::read_to_string(rule).map_err(refused)?);
        // The compiler and the packages are in the key, and so is the kit. What people build themselves is not.
        let is_system = |path: &PathBuf| path.starts_with("/usr") && !path.starts_with("/usr/local");
        let is_own = |path: &PathBuf| !path.starts_with(&self.kit) && !is_system(path);
        let paths = included.into_iter().skip(1).map(|path| folder.join(path)).chain(linked);
        let files: Vec<PathBuf> = paths.filter(is_own).take(FILES_MAX).collect();
        let list = serde_json::to_vec(&files).map_err(|error| refused(error.into()))?;
        write_atomically(&self.list, &list).map_err(refused)?;
        let kept = self.library(&files);
        fs::rename(library, &kept).map_err(refused)?;
        self.prune(&kept);
        Ok(kept)
    }

    fn listed(&self) -> Option<Vec<PathBuf>> {
        serde_json::from_slice(&fs::read(&self.list).ok()?).ok()
    }

    fn library(&self, files: &[PathBuf]) -> PathBuf {
        let mut all = Digest::new();
        for path in files {
            all = all.part(path.as_os_str().as_encoded_bytes()).part(content(path).unwrap_or_default().as_bytes());
        }
        self.folder.join(format!("{}-{}.so", self.key, all.name()))
    }

    /// Removes what was not used for longest. What cannot be removed now is tried again next time.
    fn prune(&self, kept: &Path) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut libraries: Vec<_> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "so"))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .filter(|(_, path)| path != kept)
            .collect();
        libraries.sort_by(|a, b| b.cmp(a));
        for (_, library) in libraries.iter().skip(LIBRARIES_KEPT_MAX - 1) {
            let _ = fs::remove_file(library);
            let key = library.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('-').next());
            if let Some(key) = key.filter(|key| *key != self.key) {
                let _ = fs::remove_file(self.folder.join(format!("{key}.files")));
            }
        }
    }
}

/// Name of a file's content.
fn content(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Digest::new().part(&bytes).name())
}

/// What stands behind the colon of a rule for make, in which a backslash keeps a blank or goes on in the next line.
fn prerequisites(rule: &str) -> Vec<PathBuf> {
    let Some((_, list)) = rule.split_once(": ") else { return Vec::new() };
    let list = list.replace("\\\n", " ").replace("$$", "$").replace("\\#", "#");
    super::unescape(list.lines().next().unwrap_or_default()).into_iter().map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_for_make_are_read() {
        let read = prerequisites("x.so: /a/b.cpp /a/my\\ file.h \\\n  c.h \\\n d$$e.h\n\nc.h:\n");
        assert_eq!(read, ["/a/b.cpp", "/a/my file.h", "c.h", "d$e.h"].map(PathBuf::from));
        assert_eq!(prerequisites("nothing"), Vec::<PathBuf>::new());
    }
}
