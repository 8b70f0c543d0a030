//! Nurseries of Python processors.

use std::path::{Path, PathBuf};

use framegate_wire::{Loaded, PipelineSpec, ProcessorSpec, Source, Status};

use crate::support::{Folder, Nursery, pipeline};

/// The interpreter with what the tests need, made by `scripts/test.sh`.
pub(crate) fn interpreter() -> PathBuf {
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("venv-python").join("bin/python");
    assert!(made.exists(), "{} is missing: scripts/test.sh makes it of tests/python/requirements.txt", made.display());
    made
}

/// A nursery of one Python file that is ready.
#[derive(Debug)]
pub(crate) struct Python {
    pub(crate) nursery: Nursery,
    pub(crate) loaded: Loaded,
    /// Goes away with the test.
    _folder: Folder,
}

impl Python {
    /// Of a text that is indented as the tests are.
    pub(crate) fn of(source: &str) -> Self {
        Self::with(source, |_| {}, &[])
    }

    /// Of a text, with changes of its pipeline and arguments of the nursery.
    pub(crate) fn with(source: &str, change: impl FnOnce(&mut PipelineSpec), arguments: &[&str]) -> Self {
        let folder = Folder::new();
        let mut spec = spec(&folder, source);
        change(&mut spec);
        let mut nursery = Nursery::start_pipeline(&spec, arguments);
        let loaded = nursery.ready();
        Self { nursery, loaded, _folder: folder }
    }
}

/// The pipeline of a Python text, written into `folder` as `test.py`.
pub(crate) fn spec(folder: &Folder, source: &str) -> PipelineSpec {
    let file = write(folder, "test.py", source);
    PipelineSpec { processors: vec![processor(file)], python: Some(interpreter()), ..pipeline(Path::new("/unused.so")) }
}

pub(crate) fn processor(file: PathBuf) -> ProcessorSpec {
    ProcessorSpec { source: Source::Python { file, processor: None }, params: Default::default() }
}

/// Writes a Python text without the indentation of the test.
pub(crate) fn write(folder: &Folder, name: &str, source: &str) -> PathBuf {
    let lines = || source.lines().filter(|line| !line.trim().is_empty());
    let indent = lines().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    let body: String = lines().map(|line| format!("{}\n", &line[indent..])).collect();
    let file = folder.0.join(name);
    std::fs::write(&file, format!("import framegate\n{body}")).unwrap();
    file
}

/// The fault of a nursery that cannot load this text.
pub(crate) fn fault(source: &str) -> String {
    let folder = Folder::new();
    Nursery::start_pipeline(&spec(&folder, source), &[]).fault()
}

pub(crate) fn code_and_text(status: Status) -> (String, String) {
    match status {
        Status::Error { code, text } => (code, text),
        Status::Ok => panic!("ok, but an error was expected"),
    }
}
