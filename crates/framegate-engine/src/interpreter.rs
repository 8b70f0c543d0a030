//! Which Python runs a pipeline's Python processors, and what it must be able to read.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

/// Oldest Python that the host's code runs on.
const VERSION_MIN: (u32, u32) = (3, 10);

/// Longest answer of an interpreter, in bytes: some paths.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// What an interpreter is asked. `-S` keeps it from running anybody's `.pth` files outside the sandbox.
const QUESTION: &str = "import json, sys; print(json.dumps({'executable': sys.executable, 'version': \
                        list(sys.version_info[:2]), 'prefixes': [sys.base_prefix, sys.base_exec_prefix, sys.prefix]}))";

/// Why no interpreter can be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum InterpreterError {
    /// What the configuration names does not exist.
    #[error("python = \"{0}\" does not exist; name an interpreter or the folder of a virtual environment")]
    Missing(PathBuf),
    /// It cannot be started.
    #[error("{program} cannot be started: {error}; install Python 3.10 or newer (on Debian: apt install python3-venv)")]
    Start { program: PathBuf, error: std::io::Error },
    /// It does not answer as Python does.
    #[error("{0} does not answer as a Python interpreter does")]
    Answer(PathBuf),
    /// It is too old.
    #[error("{program} is Python {}.{}; framegate needs {}.{} or newer", .version.0, .version.1, VERSION_MIN.0, VERSION_MIN.1)]
    Old { program: PathBuf, version: (u32, u32) },
}

/// A Python interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interpreter {
    /// The program itself, not a script that starts it.
    pub(crate) program: PathBuf,
    /// Its library, and its virtual environment if it has one.
    pub(crate) readable: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct About {
    executable: PathBuf,
    version: (u32, u32),
    prefixes: Vec<PathBuf>,
}

impl Interpreter {
    /// The interpreter for `file`: the one named, else that of an active virtual environment, else of one called `.venv`
    /// or `venv` beside the file, else `python3`. Call outside the sandbox: it is started and asked.
    pub(crate) fn find(named: Option<&Path>, file: &Path) -> Result<Self, InterpreterError> {
        let program = match named {
            Some(named) => in_environment(named).ok_or_else(|| InterpreterError::Missing(named.to_owned()))?,
            None => {
                let active = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from);
                let beside = [".venv", "venv"].map(|name| file.with_file_name(name));
                let found = active.into_iter().chain(beside).find_map(|folder| in_environment(&folder));
                found.unwrap_or_else(|| PathBuf::from("python3"))
            }
        };
        let about = ask(&program)?;
        if about.version < VERSION_MIN {
            return Err(InterpreterError::Old { program, version: about.version });
        }
        let mut readable: Vec<PathBuf> = about.prefixes.into_iter().filter(|prefix| prefix.is_absolute()).collect();
        readable.extend(environment_of(&about.executable));
        readable.sort();
        readable.dedup();
        Ok(Self { program: about.executable, readable })
    }
}

/// The interpreter a path names: itself, or that of the environment it is.
fn in_environment(path: &Path) -> Option<PathBuf> {
    if path.is_dir() { Some(path.join("bin/python")).filter(|program| program.exists()) } else { exists(path) }
}

fn exists(path: &Path) -> Option<PathBuf> {
    path.exists().then(|| path.to_owned())
}

/// The virtual environment a program belongs to, if any.
fn environment_of(program: &Path) -> Option<PathBuf> {
    let folder = program.parent()?.parent()?;
    folder.join("pyvenv.cfg").exists().then(|| folder.to_owned())
}

fn ask(program: &Path) -> Result<About, InterpreterError> {
    let failed = |error| InterpreterError::Start { program: program.to_owned(), error };
    let mut child = Command::new(program)
        .args(["-I", "-S", "-c", QUESTION])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let mut answer = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(failed)?;
    }
    child.wait().map_err(failed)?;
    let about: Option<About> = serde_json::from_slice(&answer).ok();
    about.filter(|about| about.executable.is_absolute()).ok_or_else(|| InterpreterError::Answer(program.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_has_an_interpreter_that_names_itself() {
        let found = Interpreter::find(Some(Path::new("/usr/bin/python3")), Path::new("/nowhere/a.py")).unwrap();
        assert!(found.program.is_absolute() && found.readable.contains(&PathBuf::from("/usr")), "{found:?}");
    }

    #[test]
    fn what_is_no_python_is_refused_with_its_name() {
        let refused = |path: &str| Interpreter::find(Some(Path::new(path)), Path::new("/nowhere/a.py")).unwrap_err();
        assert!(matches!(refused("/nowhere/python"), InterpreterError::Missing(_)));
        assert!(refused("/bin/true").to_string().contains("/bin/true"));
        assert!(matches!(refused("/etc/passwd"), InterpreterError::Start { .. }));
    }
}
