//! Loading a processor: a private copy of its file, `dlopen`, and the checks of what it exports.

use std::{
    ffi::{CStr, CString, c_char, c_void},
    fs::File,
    io::{Read, Write},
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::{Path, PathBuf},
    rc::Rc,
};

use framegate_abi as abi;
use framegate_wire::Descriptor;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::{
    limits::{DESCRIPTION_BYTES_MAX, LANGUAGE_BYTES_MAX, NAME_BYTES_MAX, PROCESSOR_BYTES_MAX, VERSION_BYTES_MAX},
    symbols::{Elf, ElfError},
};

/// Why a processor cannot be loaded. The texts are for its author.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LoadError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than a processor may be.
    #[error("{} is larger than {PROCESSOR_BYTES_MAX} bytes", path.display())]
    TooLarge { path: PathBuf },
    /// The file is not a shared library.
    #[error("{} is not a shared library: {reason}. {hint}", path.display())]
    NotLibrary { path: PathBuf, reason: ElfError, hint: &'static str },
    /// The private copy could not be made.
    #[error("copying the processor into memory: {0}")]
    Copy(#[source] std::io::Error),
    /// A library it needs is missing.
    #[error(
        "{} needs the shared library {library}, which is not installed. On Debian and Ubuntu `apt-file search {library}` \
         names its package", path.display()
    )]
    MissingLibrary { path: PathBuf, library: String },
    /// A library it needs lies where the sandbox does not look.
    #[error(
        "{} needs the shared library {library}, which the sandbox may not read. Make its folder readable in the \
         configuration, or put it beside the processor", path.display()
    )]
    UnreadableLibrary { path: PathBuf, library: String },
    /// A function is missing.
    #[error(
        "{} uses `{symbol}`, which no library it is linked with defines. Link that library too (-l…), or compile the \
         missing source file into it", path.display()
    )]
    UndefinedSymbol { path: PathBuf, symbol: String },
    /// `dlopen` failed for another reason.
    #[error("{} cannot be loaded: {text}", path.display())]
    Open { path: PathBuf, text: String },
    /// The entry is not exported.
    #[error(
        "{} is a shared library but not a processor: it does not export `fg_entry_1`. End one source file with \
         FG_PROCESSOR(…) or FG_ENTRY(…) from framegate.h; in C++ include the header, which makes the symbol extern \"C\"",
        path.display()
    )]
    NoEntry { path: PathBuf },
    /// Compiled with another header.
    #[error(
        "{} was compiled for version {found} of the processor interface, this framegate speaks {own}. Recompile it with \
         this framegate's framegate.h", path.display()
    )]
    Version { path: PathBuf, found: VersionText, own: VersionText },
    /// The entry or descriptor is not as the header says.
    #[error("{}: {problem}", path.display())]
    Entry { path: PathBuf, problem: EntryProblem },
}

/// An ABI version as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VersionText(pub(crate) u32);

impl std::fmt::Display for VersionText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum EntryProblem {
    /// `fg_entry.struct_size` is too small.
    #[error("fg_entry_1.struct_size is smaller than that of framegate.h; use FG_PROCESSOR or FG_ENTRY")]
    EntrySize,
    /// No descriptor.
    #[error("fg_entry_1.descriptor is NULL or its struct_size is too small; use FG_PROCESSOR or FG_ENTRY")]
    Descriptor,
    /// No `create`.
    #[error("fg_entry_1.create is NULL")]
    Create,
    /// The name is unfit.
    #[error("the processor's name must be 1 to {NAME_BYTES_MAX} of the characters a-z, 0-9, - and _")]
    Name,
    /// The version text is unfit.
    #[error("the processor's version must be UTF-8 text of at most {VERSION_BYTES_MAX} bytes")]
    Version,
    /// The description is unfit.
    #[error("the processor's description must be UTF-8 text of at most {DESCRIPTION_BYTES_MAX} bytes")]
    Description,
    /// The language is unfit.
    #[error("the processor's language must be UTF-8 text of at most {LANGUAGE_BYTES_MAX} bytes")]
    Language,
    /// Neither level 1 nor 2.
    #[error("the processor's level must be 1 or 2")]
    Level,
}

/// A private copy of a processor's file, which nobody can change any more.
#[derive(Debug)]
pub(crate) struct Image {
    path: PathBuf,
    file: PathBuf,
    memory: File,
    /// Libraries it names that lie beside it (`$ORIGIN`).
    beside: Vec<PathBuf>,
}

impl Image {
    /// Copies the file at `path`.
    pub(crate) fn copy(path: &Path) -> Result<Self, LoadError> {
        Self::copy_as(path, path)
    }

    /// Copies `file` for a processor that people know by `path`, such as the source it was compiled from; its folder is
    /// that of `path`.
    pub(crate) fn copy_as(file: &Path, path: &Path) -> Result<Self, LoadError> {
        let read = |source| LoadError::Read { path: file.to_owned(), source };
        let mut bytes = Vec::new();
        File::open(file).map_err(read)?.take(PROCESSOR_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() as u64 > PROCESSOR_BYTES_MAX {
            return Err(LoadError::TooLarge { path: path.to_owned() });
        }
        let not_library = |reason| LoadError::NotLibrary { path: path.to_owned(), reason, hint: hint(path) };
        let beside = libraries_beside(&Elf::parse(&bytes).map_err(not_library)?, path);
        let memory = sealed_copy(&bytes).map_err(LoadError::Copy)?;
        Ok(Self { path: path.to_owned(), file: file.to_owned(), memory, beside })
    }

    /// The file that people know.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file that was copied: what `addr2line` and debuggers read.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Name under which the copy is loaded.
    pub(crate) fn loaded_as(&self) -> String {
        format!("/proc/self/fd/{}", self.memory.as_raw_fd())
    }

    /// Name of the function at `address`, relative to where the copy is loaded.
    pub(crate) fn function_at(&self, address: u64) -> Option<String> {
        let length = usize::try_from(self.memory.metadata().ok()?.len()).ok()?;
        let mut bytes = vec![0; length];
        self.memory.read_exact_at(&mut bytes, 0).ok()?;
        Elf::parse(&bytes).ok()?.function_at(address).map(str::to_owned)
    }
}

fn hint(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("c") => "Compile it first: cc -shared -fPIC -O2 FILE.c -o FILE.so",
        Some("cc" | "cpp" | "cxx") => "Compile it first: c++ -shared -fPIC -O2 FILE.cpp -o FILE.so",
        Some("rs") => "Compile it first, as a crate of type cdylib",
        _ => "Compile it with -shared -fPIC",
    }
}

fn sealed_copy(bytes: &[u8]) -> std::io::Result<File> {
    let memory = memfd_create("framegate-processor", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut memory = File::from(memory);
    memory.write_all(bytes)?;
    fcntl_add_seals(&memory, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(memory)
}

/// The loader would expand `$ORIGIN` to where the copy lies; so what it means is found here and loaded beforehand.
fn libraries_beside(elf: &Elf<'_>, path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("")).to_string_lossy();
    let folder = if folder.is_empty() { ".".into() } else { folder };
    let expanded = |path: &str| path.replace("${ORIGIN}", &folder).replace("$ORIGIN", &folder);
    let folders: Vec<_> = elf.run_paths().filter(|path| path.contains("ORIGIN")).map(expanded).collect();
    let find = |name: &str| folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    elf.needed().filter_map(find).collect()
}

/// A loaded processor. Never unloaded: its threads and exit handlers may outlive any moment one could choose.
#[derive(Debug)]
pub(crate) struct Library {
    image: Rc<Image>,
    entry: &'static abi::Entry,
    descriptor: Descriptor,
}

impl Library {
    /// Loads the processor, which runs its constructors, and checks what it exports.
    pub(crate) fn load(image: Rc<Image>) -> Result<Self, LoadError> {
        for library in &image.beside {
            open(&library.to_string_lossy()).map_err(|text| explain(&image, &text))?;
        }
        let handle = open(&image.loaded_as()).map_err(|text| explain(&image, &text))?;
        let symbol = CString::new(abi::ENTRY_SYMBOL).map_err(|_| LoadError::NoEntry { path: image.path.clone() })?;
        // SAFETY: `handle` came from `dlopen` and is never closed; `symbol` ends with 0.
        let entry = unsafe { libc::dlsym(handle, symbol.as_ptr()) }.cast::<abi::Entry>();
        if entry.is_null() {
            return Err(LoadError::NoEntry { path: image.path.clone() });
        }
        // SAFETY: the header says that `fg_entry_1` is a static `fg_entry`; the library is never unloaded.
        let checked = unsafe { check_entry(entry, &image) };
        let (entry, descriptor) = checked?;
        Ok(Self { image, entry, descriptor })
    }

    /// What the processor says of itself.
    pub(crate) fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The folder that its models lie in.
    pub(crate) fn folder(&self) -> &Path {
        self.image.path.parent().unwrap_or(Path::new("/"))
    }

    /// The copy it was loaded from.
    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// The function that makes instances.
    pub(crate) fn create(&self) -> Option<unsafe extern "C" fn(*const abi::Host, *mut *mut abi::Processor) -> i32> {
        self.entry.create
    }
}

fn open(name: &str) -> Result<*mut c_void, String> {
    let name = CString::new(name).map_err(|_| "its path contains a NUL".to_owned())?;
    // SAFETY: `name` ends with 0. The library's constructors run, which is what loading a processor is; they run inside
    // the sandbox.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if !handle.is_null() {
        return Ok(handle);
    }
    // SAFETY: `dlerror` returns NULL or a text that lives until the next `dl…` call of this thread.
    let text = unsafe {
        let text = libc::dlerror();
        if text.is_null() { None } else { Some(CStr::from_ptr(text).to_string_lossy().into_owned()) }
    };
    Err(text.unwrap_or_else(|| "the loader gives no reason".to_owned()))
}

/// Turns the loader's text into what the author can do about it.
fn explain(image: &Image, text: &str) -> LoadError {
    let path = image.path.clone();
    let text = text.replace(&image.loaded_as(), &path.display().to_string());
    if let Some((library, reason)) = text.split_once(": cannot open shared object file: ") {
        let library = library.to_owned();
        return if reason.contains("Permission denied") {
            LoadError::UnreadableLibrary { path, library }
        } else {
            LoadError::MissingLibrary { path, library }
        };
    }
    match text.split_once("undefined symbol: ") {
        Some((_, symbol)) => {
            let symbol = symbol.split([',', ' ', '\t']).next().unwrap_or(symbol).to_owned();
            LoadError::UndefinedSymbol { path, symbol }
        }
        None => LoadError::Open { path, text },
    }
}

/// Whether a processor of one version runs with a host of another: all minor versions of one major do, older and newer.
const fn runs_with(processor: u32, host: u32) -> bool {
    processor >> 16 == host >> 16
}

/// # Safety
/// `entry` points to a static object that begins as `fg_entry` does, and whose pointers are NULL or valid for ever.
unsafe fn check_entry(entry: *const abi::Entry, image: &Image) -> Result<(&'static abi::Entry, Descriptor), LoadError> {
    let problem = |problem| LoadError::Entry { path: image.path.clone(), problem };
    // SAFETY: the first two fields exist in every version of the struct; the caller vouches for the rest.
    let (size, version) =
        unsafe { ((&raw const (*entry).struct_size).read(), (&raw const (*entry).abi_version).read()) };
    if !runs_with(version, abi::ABI_VERSION) {
        let (found, own) = (VersionText(version), VersionText(abi::ABI_VERSION));
        return Err(LoadError::Version { path: image.path.clone(), found, own });
    }
    if (size as usize) < size_of::<abi::Entry>() {
        return Err(problem(EntryProblem::EntrySize));
    }
    // SAFETY: the object is as large as the struct and static, says the caller.
    let entry: &'static abi::Entry = unsafe { &*entry };
    if entry.create.is_none() {
        return Err(problem(EntryProblem::Create));
    }
    // SAFETY: the caller vouches that the pointer is NULL or valid for ever; the size is read before the rest.
    let descriptor: &'static abi::Descriptor = unsafe {
        let descriptor = entry.descriptor;
        if descriptor.is_null() || ((*descriptor).struct_size as usize) < size_of::<abi::Descriptor>() {
            return Err(problem(EntryProblem::Descriptor));
        }
        &*descriptor
    };
    // SAFETY: the texts are NULL or static and end with 0, says the caller.
    let text = |text, bytes_max, otherwise| unsafe { bounded_text(text, bytes_max) }.ok_or(problem(otherwise));
    let name = text(descriptor.name, NAME_BYTES_MAX, EntryProblem::Name)?;
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(problem(EntryProblem::Name));
    }
    let version = text(descriptor.version, VERSION_BYTES_MAX, EntryProblem::Version)?;
    let description = text(descriptor.description, DESCRIPTION_BYTES_MAX, EntryProblem::Description)?;
    let language = match descriptor.language.is_null() {
        true => String::new(),
        false => text(descriptor.language, LANGUAGE_BYTES_MAX, EntryProblem::Language)?,
    };
    if !matches!(descriptor.level, 1 | 2) {
        return Err(problem(EntryProblem::Level));
    }
    Ok((entry, Descriptor { name, version, description, language, level: descriptor.level }))
}

/// The text at `text`, if it is not NULL, valid UTF-8 and at most `bytes_max` bytes long. Reads no further than that.
///
/// # Safety
/// `text` is NULL or points to bytes that end with 0 or go on for more than `bytes_max`.
pub(crate) unsafe fn bounded_text(text: *const c_char, bytes_max: usize) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: `strnlen` reads up to the 0 or `bytes_max + 1` bytes, which the caller vouches for.
    let length = unsafe { libc::strnlen(text, bytes_max + 1) };
    if length > bytes_max {
        return None;
    }
    // SAFETY: `length` bytes were just read there.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// The beginning of the text at `text`, cut between characters to at most `bytes_max` bytes, if it is not NULL and that
/// beginning is valid UTF-8. Reads no further than that.
///
/// # Safety
/// As for [`bounded_text`].
pub(crate) unsafe fn cut_text(text: *const c_char, bytes_max: usize) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: `strnlen` reads up to the 0 or `bytes_max + 1` bytes, which the caller vouches for.
    let length = unsafe { libc::strnlen(text, bytes_max + 1) };
    // SAFETY: as many bytes were just read there.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length.min(bytes_max)) };
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text.to_owned()),
        // A character that the cut went through.
        Err(error) if length > bytes_max && error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok().map(str::to_owned)
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_cut_between_characters() {
        let check = |text: &CStr, expected: Option<&str>| {
            // SAFETY: the text ends with 0.
            assert_eq!(unsafe { cut_text(text.as_ptr(), 4) }.as_deref(), expected, "{text:?}");
        };
        check(c"face", Some("face"));
        check(c"faces", Some("face"));
        check(c"gr\xc3\xbc\xc3\xbc", Some("grü"));
        check(c"gra\xc3\xbc", Some("gra"));
        check(c"gr\xff", None);
    }

    #[test]
    fn minor_versions_run_together() {
        for (processor, host, expected) in [
            (0x0001_0000, 0x0001_0000, true),
            (0x0001_0007, 0x0001_0000, true),
            (0x0001_0000, 0x0001_0007, true),
            (0x0000_0002, 0x0001_0000, false),
            (0x0002_0000, 0x0001_0000, false),
        ] {
            assert_eq!(runs_with(processor, host), expected, "{processor:#x} with {host:#x}");
        }
    }
}
