//! What a pipeline is made of, and what its processors say of themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Want;

/// What a nursery is started for. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineSpec {
    /// Its name, `[a-z0-9_-]{1,64}`.
    pub name: String,
    /// Its processors in their order, at least one.
    pub processors: Vec<ProcessorSpec>,
    /// What streams share.
    pub isolation: Isolation,
    /// Files and folders its processors may read, beside the system's libraries and the processors' own folders.
    pub readable: Vec<PathBuf>,
    /// The Python interpreter for its Python processors; absent: the virtual environment beside the file, or `python3`.
    pub python: Option<PathBuf>,
    /// Whether the sandbox refuses or reports.
    pub sandbox: SandboxMode,
}

/// One processor of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessorSpec {
    /// Where it comes from.
    pub source: Source,
    /// Values of its parameters by id, each as JSON text.
    pub params: BTreeMap<String, String>,
}

/// Where a processor comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A shared library.
    Library(PathBuf),
    /// A C or C++ file, compiled when it is loaded.
    Compiled(PathBuf),
    /// A Python file, and which of its processors if it has several.
    Python {
        /// The file.
        file: PathBuf,
        /// Name of the processor in it.
        processor: Option<String>,
    },
    /// A GStreamer pipeline, as `gst-launch-1.0` takes it, between our source and our sink.
    GStreamer(String),
}

/// What the streams of a pipeline share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Nothing: each stream has its processors in a process of its own.
    #[default]
    Process,
    /// One process with all processors of all streams of the pipeline, called one after the other.
    Shared,
}

/// What the sandbox does with what it does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxMode {
    /// Refuses it.
    #[default]
    Enforce,
    /// Lets it pass and says so.
    Audit,
}

/// Why a text names no processor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Nothing is named.
    #[error("a processor is missing: name a file (.so, .c, .cpp, .py) or `gst: ELEMENTS`")]
    Empty,
    /// The file's ending says nothing.
    #[error("{0} is none of .so, .c, .cc, .cpp, .cxx, .py or `gst: ELEMENTS`")]
    Unknown(String),
}

impl Source {
    /// Reads what people write: `algo.so`, `algo.cpp`, `algo.py`, `algo.py:name` or `gst: videoflip ! edgetv`. Relative
    /// paths are relative to `base`.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn parse(text: &str, base: &Path) -> Result<Self, SourceError> {
        let text = text.trim();
        if let Some(elements) = text.strip_prefix("gst:") {
            let elements = elements.trim();
            return if elements.is_empty() {
                Err(SourceError::Empty)
            } else {
                Ok(Self::GStreamer(elements.to_owned()))
            };
        }
        if text.is_empty() {
            return Err(SourceError::Empty);
        }
        if let Some((file, name)) = text.rsplit_once(".py:")
            && !name.is_empty()
            && !name.contains('/')
        {
            return Ok(Self::Python { file: base.join(format!("{file}.py")), processor: Some(name.to_owned()) });
        }
        let path = base.join(text);
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("c" | "cc" | "cpp" | "cxx") => Ok(Self::Compiled(path)),
            Some("py") => Ok(Self::Python { file: path, processor: None }),
            _ if is_library(&path) => Ok(Self::Library(path)),
            _ => Err(SourceError::Unknown(text.to_owned())),
        }
    }

    /// The file it lies in, if any.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Library(path) | Self::Compiled(path) | Self::Python { file: path, .. } => Some(path),
            Self::GStreamer(_) => None,
        }
    }
}

/// `.so`, also with a version behind it.
fn is_library(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
    name.ends_with(".so") || name.contains(".so.")
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Library(path) | Self::Compiled(path) | Self::Python { file: path, processor: None } => {
                write!(f, "{}", path.display())
            }
            Self::Python { file, processor: Some(name) } => write!(f, "{}:{name}", file.display()),
            Self::GStreamer(elements) => write!(f, "gst: {elements}"),
        }
    }
}

/// What a processor says of itself without an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Short name, `[a-z0-9_-]{1,64}`.
    pub name: String,
    /// Version text.
    pub version: String,
    /// One sentence for people.
    pub description: String,
    /// What it is written in, for people: `c`, `c++`, `rust`, `python`, `gstreamer`; empty when it does not say.
    pub language: String,
    /// ABI level: 1 for a single function, 2 for instances.
    pub level: u32,
}

/// What an instance of a processor is like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessorInfo {
    /// What it says of itself.
    pub descriptor: Descriptor,
    /// Its parameters with their present values.
    pub params: Vec<Param>,
    /// What it wants to be given.
    pub want: Want,
    /// Whether it writes into its frames.
    pub writable: bool,
    /// Whether its state survives an engine.
    pub has_state: bool,
    /// Whether it takes messages of the page.
    pub takes_messages: bool,
}

/// A parameter of a processor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Param {
    /// `[a-z][a-z0-9_]{0,63}`, unique within its processor.
    pub id: String,
    /// Name for people.
    pub label: String,
    /// Heading it stands under; empty: none.
    pub group: String,
    /// One sentence; empty: none.
    pub description: String,
    /// Such as `px`; empty: none.
    pub unit: String,
    /// What values it takes.
    pub kind: ParamKind,
    /// Its present value.
    pub value: ParamValue,
    /// Its value if nobody sets it.
    pub default: ParamValue,
}

/// What values a parameter takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ParamKind {
    /// Yes or no.
    Bool,
    /// Whole numbers.
    Int {
        /// Least and largest.
        range: Option<(i64, i64)>,
        /// Distance of values; 0: any.
        step: i64,
    },
    /// Finite numbers.
    Float {
        /// Least and largest.
        range: Option<(f64, f64)>,
        /// Distance of values; 0: any.
        step: f64,
    },
    /// One of some texts.
    Choice(Vec<String>),
    /// A text.
    Text {
        /// Longest, in bytes.
        bytes_max: u32,
    },
    /// A colour.
    Color,
}

/// A value of a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ParamValue {
    /// Of a bool.
    Bool(bool),
    /// Of an int.
    Int(i64),
    /// Of a float.
    Float(f64),
    /// Of a choice or a text.
    Text(String),
    /// Of a colour: 0xRRGGBB.
    Color(u32),
}

/// A value for the parameter of a processor, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedValue {
    /// Place of the processor in its pipeline, from 0.
    pub processor: u32,
    /// Id of the parameter.
    pub id: String,
    /// JSON: `true`, a number, a text, a choice's text, `"#rrggbb"`.
    pub json: String,
}

/// A value that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedValue {
    /// Place of the processor in its pipeline, from 0.
    pub processor: u32,
    /// Id of the parameter.
    pub id: String,
    /// Why, for people.
    pub text: String,
}

/// What one processor wants kept for an engine to come. A list of these is the payload of `State` and `Open`, as
/// postcard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedState {
    /// Place of the processor in its pipeline, from 0.
    pub processor: u32,
    /// Name of the processor: another one is not given it.
    pub name: String,
    /// Version of the format.
    pub version: u32,
    /// The processor's own bytes.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        let check = |text: &str, expected: Option<Source>| {
            assert_eq!(Source::parse(text, Path::new("/base")).ok(), expected, "{text}");
        };
        check("algo.so", Some(Source::Library("/base/algo.so".into())));
        check("/x/libz.so.3", Some(Source::Library("/x/libz.so.3".into())));
        check("algo.cpp", Some(Source::Compiled("/base/algo.cpp".into())));
        check(" algo.c ", Some(Source::Compiled("/base/algo.c".into())));
        check("a.py", Some(Source::Python { file: "/base/a.py".into(), processor: None }));
        check("a.py:faces", Some(Source::Python { file: "/base/a.py".into(), processor: Some("faces".into()) }));
        check("gst: videoflip ! edgetv", Some(Source::GStreamer("videoflip ! edgetv".into())));
        for bad in ["", "gst:", "algo", "algo.rs", "a.py:"] {
            check(bad, None);
        }
    }

    #[test]
    fn sources_are_written_as_they_are_read() {
        for text in ["/x/a.so", "/x/a.cpp", "/x/a.py", "/x/a.py:faces", "gst: videoflip ! edgetv"] {
            assert_eq!(Source::parse(text, Path::new("/")).map(|source| source.to_string()).as_deref(), Ok(text));
        }
    }
}
