//! A pipeline as it is written: one processor or a chain of them, with values of their parameters.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use framegate_wire::{Isolation, PipelineSpec, ProcessorSpec, SandboxMode, Source, SourceError};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Config;
use crate::limits::NAME_CHARS_MAX;

/// A named processor or chain of processors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Its name in URLs: 1 to 64 of `a-z 0-9 _ -`.
    pub name: String,
    /// Its processor, if it has one.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_source",
        serialize_with = "text"
    )]
    pub processor: Option<Source>,
    /// Its processors in their order, if it has several.
    #[serde(default)]
    pub processors: Vec<Step>,
    /// Values of the parameters of `processor`, by id.
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
    /// What its streams share.
    #[serde(default)]
    pub isolation: Isolation,
    /// Files and folders its processors may read, beside `engine.readable`.
    #[serde(default)]
    pub readable: Vec<PathBuf>,
    /// The interpreter for its Python processors; absent: the virtual environment beside the file, or `python3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<PathBuf>,
}

/// One processor of a chain: a text, or a table with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Where it comes from.
    pub processor: Source,
    /// Values of its parameters, by id.
    pub params: BTreeMap<String, Value>,
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text, a choice or a colour.
    Text(String),
}

impl Value {
    /// As JSON text.
    #[must_use]
    pub fn json(&self) -> String {
        match self {
            Self::Bool(is_on) => serde_json::Value::from(*is_on),
            Self::Int(number) => serde_json::Value::from(*number),
            Self::Float(number) => serde_json::Value::from(*number),
            Self::Text(text) => serde_json::Value::from(text.as_str()),
        }
        .to_string()
    }
}

impl Pipeline {
    /// A pipeline of one processor, with everything else as it is by default.
    #[must_use]
    pub fn new(name: String, processor: Source) -> Self {
        Self {
            name,
            processor: Some(processor),
            processors: Vec::new(),
            params: BTreeMap::new(),
            isolation: Isolation::default(),
            readable: Vec::new(),
            python: None,
        }
    }

    /// A pipeline of one or several processors.
    pub(super) fn of_chain(name: String, mut chain: Vec<Source>) -> Self {
        if chain.len() == 1
            && let Some(only) = chain.pop()
        {
            return Self::new(name, only);
        }
        let processors = chain.into_iter().map(|processor| Step { processor, params: BTreeMap::new() }).collect();
        Self { processor: None, processors, ..Self::new(name, Source::GStreamer(String::new())) }
    }

    /// Its processors in their order.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let one =
            self.processor.iter().map(|processor| Step { processor: processor.clone(), params: self.params.clone() });
        one.chain(self.processors.iter().cloned()).collect()
    }

    /// What its nursery is started with.
    #[must_use]
    pub fn spec(&self, config: &Config) -> PipelineSpec {
        let processor = |step: Step| ProcessorSpec {
            source: step.processor,
            params: step.params.into_iter().map(|(id, value)| (id, value.json())).collect(),
        };
        PipelineSpec {
            name: self.name.clone(),
            processors: self.steps().into_iter().map(processor).collect(),
            isolation: self.isolation,
            readable: config.engine.readable.iter().chain(&self.readable).cloned().collect(),
            python: self.python.clone(),
            sandbox: SandboxMode::Enforce,
        }
    }

    /// Makes every path absolute against `base`.
    pub(super) fn resolve(&mut self, base: &Path) {
        let sources = self.processor.iter_mut().chain(self.processors.iter_mut().map(|step| &mut step.processor));
        for source in sources {
            match source {
                Source::Library(path) | Source::Compiled(path) | Source::Python { file: path, .. } => {
                    *path = base.join(&path);
                }
                Source::GStreamer(_) => {}
            }
        }
        for path in self.readable.iter_mut().chain(&mut self.python) {
            *path = base.join(&path);
        }
    }
}

/// The processors of a command's `-p`: one, or several with ` | ` between them. Relative paths are relative to `base`.
///
/// # Errors
/// [`SourceError`] of the first that names no processor.
pub fn chain_of(text: &str, base: &Path) -> Result<Vec<Source>, SourceError> {
    text.split(" | ").map(|one| Source::parse(one, base)).collect()
}

/// The pipeline name made of a processor: `libFace Blur.so` becomes `face-blur`, `gst: videoflip ! edgetv` becomes
/// `edgetv`, and `algo.py:faces` becomes `faces`.
#[must_use]
pub fn pipeline_name(source: &Source) -> Option<String> {
    let text = match source {
        Source::Library(path) | Source::Compiled(path) | Source::Python { file: path, processor: None } => {
            path.file_name()?.to_str()?.split('.').find(|part| !part.is_empty())?
        }
        Source::Python { processor: Some(name), .. } => name,
        Source::GStreamer(elements) => elements.rsplit('!').next()?.split_whitespace().next()?,
    };
    let stem = text.to_ascii_lowercase();
    // Linkers and Cargo put `lib` before what the author called the library.
    let is_library = matches!(source, Source::Library(_));
    let stem = stem.strip_prefix("lib").filter(|rest| is_library && !rest.is_empty()).unwrap_or(&stem);
    let is_name_char = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-');
    let name: String = stem.chars().map(|c| if is_name_char(c) { c } else { '-' }).take(NAME_CHARS_MAX).collect();
    let name = name.trim_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

/// Reads a source whose paths stay as they are written.
fn source<E: serde::de::Error>(text: &str) -> Result<Source, E> {
    Source::parse(text, Path::new("")).map_err(|error| {
        if text.trim().ends_with(".rs") {
            return E::custom(format!("{text} is source; build it as a `cdylib` and give the .so"));
        }
        E::custom(error)
    })
}

fn some_source<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Source>, D::Error> {
    source(&String::deserialize(deserializer)?).map(Some)
}

fn one_source<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Source, D::Error> {
    source(&String::deserialize(deserializer)?)
}

fn text<S: Serializer>(source: &Option<Source>, serializer: S) -> Result<S::Ok, S::Error> {
    source.as_ref().map(ToString::to_string).serialize(serializer)
}

/// A step as a table.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepTable {
    #[serde(deserialize_with = "one_source", serialize_with = "one_text")]
    processor: Source,
    #[serde(default)]
    params: BTreeMap<String, Value>,
}

fn one_text<S: Serializer>(source: &Source, serializer: S) -> Result<S::Ok, S::Error> {
    source.to_string().serialize(serializer)
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        StepTable { processor: self.processor.clone(), params: self.params.clone() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StepVisitor)
    }
}

struct StepVisitor;

impl<'de> Visitor<'de> for StepVisitor {
    type Value = Step;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a processor as text, or { processor = \"…\", params = { … } }")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Step, E> {
        Ok(Step { processor: source(text)?, params: BTreeMap::new() })
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Step, M::Error> {
        let StepTable { processor, params } = StepTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Step { processor, params })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl Visitor<'_> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false, a number or a text")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value)
            .map(Value::Int)
            .map_err(|_| E::custom(format!("{value} is larger than any whole number here")))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }
}
