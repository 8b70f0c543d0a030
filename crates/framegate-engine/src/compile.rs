//! The compile step: a C or C++ file becomes a processor by the system's compiler.
//!
//! The library is kept in the user's cache under a name made of everything that goes into it, and made anew when any of
//! that changes: the source and the files it includes, the kit, the compiler, the flags, the packages. This runs before
//! the sandbox is on, so the source may choose only flags that compile; its own code runs only later, inside.

mod cache;
mod diagnose;
mod directive;
mod program;

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

pub use directive::DirectiveError;

use crate::kit::{Kit, KitError, digest::Digest, draft_of};
use cache::Entry;
use directive::{Directive, Language, is_linked_file};
use program::{Answer, Said, Unanswered, command, run};

/// Largest source file, in bytes: an amalgamation of a large library fits.
const SOURCE_BYTES_MAX: u64 = 32 << 20;
/// Time one compiler may take: heavy templates on a busy machine take a minute.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(300);
/// Time a question to the compiler or to pkg-config may take.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(30);
/// Compilations of a file that is saved again and again meanwhile.
const ATTEMPTS_MAX: u32 = 3;

/// Why a file did not become a processor. The texts are for its author.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is too large.
    #[error("{} is larger than {SOURCE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Its comment line is wrong.
    #[error("{}:{line}: {problem}", path.display())]
    Directive {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        #[source]
        problem: DirectiveError,
    },
    /// There is no compiler.
    #[error("there is no {language} compiler `{program}`: sudo apt install {package}, or name one in ${variable}")]
    NoCompiler {
        /// `C` or `C++`.
        language: &'static str,
        /// What was tried.
        program: String,
        /// Debian package with one.
        package: &'static str,
        /// Environment variable that names another.
        variable: &'static str,
    },
    /// There is no pkg-config.
    #[error("{} names packages, but there is no pkg-config: sudo apt install pkg-config", path.display())]
    NoPkgConfig {
        /// The file.
        path: PathBuf,
    },
    /// A package is missing.
    #[error("{} needs the package `{package}`, which pkg-config does not find: {remedy}", path.display())]
    NoPackage {
        /// The file.
        path: PathBuf,
        /// Its name for pkg-config.
        package: String,
        /// What to do.
        remedy: String,
    },
    /// A header is missing.
    #[error("{place}: there is no header `{header}`: {remedy}")]
    NoHeader {
        /// File and line that include it.
        place: String,
        /// The header.
        header: String,
        /// What to do.
        remedy: String,
    },
    /// The compiler refuses it.
    #[error("{} does not compile:{errors}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The first errors.
        errors: String,
    },
    /// The compiler was killed.
    #[error("compiling {} took more than {} s", path.display(), COMPILE_TIME_MAX.as_secs())]
    TooSlow {
        /// The file.
        path: PathBuf,
    },
    /// A program could not be run.
    #[error("running {program}: {source}")]
    Run {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The cache cannot be written.
    #[error(transparent)]
    Cache(#[from] KitError),
}

/// Compiles `source`, an absolute path, if the cache does not have it already, and returns the shared library. Takes as
/// long as the compiler: call it where nobody waits for a frame.
///
/// # Errors
/// [`CompileError`], which names cause and remedy in at most 1 KiB.
pub fn compile(source: &Path, kit: &Kit) -> Result<PathBuf, CompileError> {
    compile_with(source, kit, &Tools::of_environment())
}

/// The programs that compile, each with its first arguments.
#[derive(Debug, Clone)]
struct Tools {
    c: Vec<OsString>,
    cpp: Vec<OsString>,
    pkg_config: OsString,
}

impl Tools {
    fn of_environment() -> Self {
        let words = |name, usual: &str| {
            let named = env::var(name).unwrap_or_default();
            let words: Vec<_> = named.split_whitespace().map(OsString::from).collect();
            if words.is_empty() { vec![usual.into()] } else { words }
        };
        Self {
            c: words("CC", "cc"),
            cpp: words("CXX", "c++"),
            pkg_config: env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into()),
        }
    }

    fn compiler(&self, language: Language) -> &[OsString] {
        match language {
            Language::C => &self.c,
            Language::Cpp => &self.cpp,
        }
    }
}

/// One source and what compiles it.
struct Job<'a> {
    source: &'a Path,
    folder: &'a Path,
    language: Language,
    kit: &'a Kit,
    tools: &'a Tools,
    directive: Directive,
    /// What pkg-config answers.
    packages: Vec<String>,
}

fn compile_with(source: &Path, kit: &Kit, tools: &Tools) -> Result<PathBuf, CompileError> {
    let language = match source.extension().and_then(|extension| extension.to_str()) {
        Some("c") => Language::C,
        _ => Language::Cpp,
    };
    let folder = source.parent().unwrap_or(Path::new("/"));
    let mut last = None;
    for _ in 0..ATTEMPTS_MAX {
        let text = read(source)?;
        let directive = Directive::parse(&String::from_utf8_lossy(&text), language)
            .map_err(|(line, problem)| CompileError::Directive { path: source.to_owned(), line, problem })?;
        let mut job = Job { source, folder, language, kit, tools, directive, packages: Vec::new() };
        let version = job.compiler_version()?;
        let package_versions = job.ask_packages()?;
        let entry = Entry::new(kit, job.key(&text, &version, &package_versions))?;
        if let Some(library) = entry.find() {
            return Ok(library);
        }
        let begin = SystemTime::now();
        let library = job.build(&entry)?;
        if read(source)? == text && !entry.is_newer(begin) {
            return Ok(library);
        }
        // Saved meanwhile: which text the compiler saw is not known.
        last = Some(library);
    }
    last.ok_or_else(|| CompileError::TooSlow { path: source.to_owned() })
}

fn read(path: &Path) -> Result<Vec<u8>, CompileError> {
    let refused = |source| CompileError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(refused)?;
    file.take(SOURCE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(refused)?;
    if bytes.len() as u64 > SOURCE_BYTES_MAX {
        return Err(CompileError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

impl Job<'_> {
    fn ask(&self, command: &mut Command, answer: Answer, limit: Duration) -> Result<Said, CompileError> {
        let program = command.get_program().to_string_lossy().into_owned();
        run(command, answer, limit).map_err(|error| match error {
            Unanswered::TooSlow => CompileError::TooSlow { path: self.source.to_owned() },
            Unanswered::Run(source) => CompileError::Run { program, source },
        })
    }

    fn compiler(&self) -> Result<Command, CompileError> {
        command(self.tools.compiler(self.language)).ok_or_else(|| self.no_compiler())
    }

    fn no_compiler(&self) -> CompileError {
        let (package, variable) = match self.language {
            Language::C => ("gcc", "CC"),
            Language::Cpp => ("g++", "CXX"),
        };
        let program = self.tools.compiler(self.language).join(" ".as_ref()).to_string_lossy().into_owned();
        CompileError::NoCompiler { language: self.language.name(), program, package, variable }
    }

    fn compiler_version(&self) -> Result<String, CompileError> {
        match self.ask(self.compiler()?.arg("--version"), Answer::Stdout, QUESTION_TIME_MAX) {
            Ok(said) => Ok(said.text),
            Err(CompileError::Run { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(self.no_compiler())
            }
            Err(error) => Err(error),
        }
    }

    /// Learns the packages' flags, and returns their versions.
    fn ask_packages(&mut self) -> Result<String, CompileError> {
        if self.directive.packages.is_empty() {
            return Ok(String::new());
        }
        let question = |options: &[&str], packages: &[String]| {
            let mut command = Command::new(&self.tools.pkg_config);
            command.args(options).args(packages);
            self.ask(&mut command, Answer::Stdout, QUESTION_TIME_MAX).map_err(|error| match error {
                CompileError::Run { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                    CompileError::NoPkgConfig { path: self.source.to_owned() }
                }
                other => other,
            })
        };
        let flags = question(&["--cflags", "--libs"], &self.directive.packages)?;
        if !flags.status.success() {
            for package in &self.directive.packages {
                if !question(&["--exists"], std::slice::from_ref(package))?.status.success() {
                    let remedy = diagnose::package_remedy(package);
                    return Err(CompileError::NoPackage {
                        path: self.source.to_owned(),
                        package: package.clone(),
                        remedy,
                    });
                }
            }
        }
        let versions = question(&["--modversion"], &self.directive.packages)?.text;
        self.packages = unescape(&flags.text);
        Ok(versions)
    }

    /// Name of everything that goes into the library but the files it includes.
    fn key(&self, text: &[u8], version: &str, package_versions: &str) -> Digest {
        let paths = [self.source.as_os_str(), self.kit.folder().as_os_str()];
        let mut key = Digest::new().part(text).part(self.kit.hash().as_bytes());
        for word in self.tools.compiler(self.language).iter().map(OsString::as_os_str).chain(paths) {
            key = key.part(word.as_encoded_bytes());
        }
        for word in self.arguments() {
            key = key.part(word.as_encoded_bytes());
        }
        key.part(version.as_bytes()).part(package_versions.as_bytes())
    }

    /// All arguments but the names of this compilation's own files.
    fn arguments(&self) -> Vec<OsString> {
        let standard = match (self.language, self.directive.standard.as_deref()) {
            (Language::C, standard) => format!("-std=gnu{}", standard.unwrap_or("11")),
            (Language::Cpp, standard) => format!("-std=gnu++{}", standard.unwrap_or("17")),
        };
        let mut all: Vec<OsString> = vec![standard.into()];
        // Hidden: two processors in one process must not share what happens to have the same name.
        all.extend(["-O2", "-g", "-shared", "-fPIC", "-fvisibility=hidden", "-I"].map(OsString::from));
        all.push(self.kit.include().into());
        all.push("-I".into());
        all.push(self.folder.into());
        all.extend(self.directive.flags.iter().map(OsString::from));
        all.push(self.source.into());
        for link in &self.directive.links {
            all.push(if is_linked_file(link) { self.folder.join(link).into() } else { format!("-l{link}").into() });
        }
        all.extend(self.packages.iter().map(OsString::from));
        if self.directive.links.iter().any(|link| is_linked_file(link)) {
            all.push("-Xlinker".into());
            all.push("-rpath".into());
            all.push("-Xlinker".into());
            all.push(self.folder.into());
        }
        // What is defined nowhere is an error of this step, where it has a line, and not of loading. Sanitizers define
        // theirs only in the program.
        if !self.directive.flags.iter().any(|flag| flag.starts_with("-fsanitize")) {
            all.push("-Wl,-z,defs".into());
        }
        all
    }

    /// Compiles into the cache.
    fn build(&self, entry: &Entry) -> Result<PathBuf, CompileError> {
        let (library, rule) = (draft_of(entry.path()), draft_of(entry.path()));
        let mut compiler = self.compiler()?;
        compiler.current_dir(self.folder).arg("-MMD").arg("-MF").arg(&rule).arg("-o").arg(&library);
        let done = self.ask(compiler.args(self.arguments()), Answer::Stderr, COMPILE_TIME_MAX).and_then(|said| {
            if !said.status.success() {
                return Err(self.explain(&said.text));
            }
            let linked = self.directive.links.iter().filter(|link| is_linked_file(link));
            let linked = linked.map(|link| self.folder.join(link)).collect();
            Ok(entry.keep(&library, &rule, self.folder, linked)?)
        });
        for draft in [&library, &rule] {
            // A finished library has been renamed, and a failed one was perhaps never made.
            let _ = fs::remove_file(draft);
        }
        done
    }

    fn explain(&self, said: &str) -> CompileError {
        let missing = said.lines().find_map(|line| Some((line, diagnose::missing_header(line)?)));
        let Some((line, header)) = missing else {
            return CompileError::Refused {
                path: self.source.to_owned(),
                errors: diagnose::first_errors(said, self.folder),
            };
        };
        let place = line.split_once(": fatal error").map_or(line, |(place, _)| place).to_owned();
        let remedy = diagnose::header_remedy(header, &self.directive.packages);
        CompileError::NoHeader { place, header: header.to_owned(), remedy }
    }
}

/// Words of pkg-config's answer, in which a backslash keeps a blank.
fn unescape(text: &str) -> Vec<String> {
    let (mut words, mut word, mut is_escaped) = (Vec::new(), String::new(), false);
    for character in text.chars() {
        if !is_escaped && character == '\\' {
            is_escaped = true;
        } else if !is_escaped && character.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else {
            word.push(character);
            is_escaped = false;
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests;
