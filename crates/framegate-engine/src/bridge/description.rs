//! What a Python host says of its processors, checked as it comes in: the author's code runs in the same process.

use std::collections::BTreeSet;

use framegate_wire::{
    Descriptor, Param, ParamKind, ParamValue, PixelFormat, ProcessorInfo, Want,
    limits::{
        CHOICES_MAX, PARAM_DESCRIPTION_BYTES_MAX, PARAM_NAME_BYTES_MAX, PARAM_TEXT_BYTES_MAX, PARAMS_MAX, SIDE_MAX,
    },
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    limits::{DESCRIPTION_BYTES_MAX, NAME_BYTES_MAX, VERSION_BYTES_MAX},
    outbox::cut,
    params,
};

/// What is wrong with a description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DescriptionError {
    /// It cannot be read.
    #[error("what it says of its processors cannot be read: {0}")]
    Unreadable(String),
    /// A text is too long or unfit.
    #[error("its {0} must be text of at most {1} bytes")]
    Text(&'static str, usize),
    /// The name is unfit.
    #[error("its name must be 1 to {NAME_BYTES_MAX} of a-z, 0-9, _ and -")]
    Name,
    /// There are too many parameters.
    #[error("it has {0} parameters, at most {PARAMS_MAX}")]
    Params(usize),
    /// A parameter is unfit.
    #[error("its parameter `{id}`: {problem}")]
    Param { id: String, problem: &'static str },
    /// The wants are impossible.
    #[error("it wants a format or size that there is not")]
    Want,
}

/// What a host answers first.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    /// Why there are no processors.
    Failed { error: String },
    /// The processors, in the order they were asked for.
    Loaded { tasks: u32, processors: Vec<Described> },
}

/// One processor.
#[derive(Debug, Deserialize)]
pub(crate) struct Described {
    name: String,
    version: String,
    description: String,
    params: Vec<DescribedParam>,
    format: u32,
    width: u32,
    height: u32,
    rate_millihertz: u32,
    writable: bool,
    has_state: bool,
    takes_messages: bool,
}

#[derive(Debug, Deserialize)]
struct DescribedParam {
    id: String,
    label: String,
    group: String,
    description: String,
    unit: String,
    kind: String,
    min: Option<f64>,
    max: Option<f64>,
    step: Option<f64>,
    choices: Vec<String>,
    bytes_max: u32,
    default: Value,
}

impl Answer {
    /// Reads an answer.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, DescriptionError> {
        serde_json::from_slice(bytes).map_err(|error| DescriptionError::Unreadable(error.to_string()))
    }
}

impl Described {
    /// What it is like, with its parameters at their defaults.
    pub(crate) fn check(self) -> Result<ProcessorInfo, DescriptionError> {
        let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.bytes().all(fits) {
            return Err(DescriptionError::Name);
        }
        if self.version.len() > VERSION_BYTES_MAX {
            return Err(DescriptionError::Text("version", VERSION_BYTES_MAX));
        }
        let format = pixel_format(self.format).ok_or(DescriptionError::Want)?;
        if self.width > SIDE_MAX || self.height > SIDE_MAX {
            return Err(DescriptionError::Want);
        }
        if self.params.len() > PARAMS_MAX {
            return Err(DescriptionError::Params(self.params.len()));
        }
        let mut ids = BTreeSet::new();
        let mut params = Vec::with_capacity(self.params.len());
        for param in self.params {
            let id = cut(&param.id, PARAM_NAME_BYTES_MAX).to_owned();
            if !ids.insert(id.clone()) {
                return Err(DescriptionError::Param { id, problem: "comes twice" });
            }
            params.push(param.check().map_err(|problem| DescriptionError::Param { id, problem })?);
        }
        let descriptor = Descriptor {
            name: self.name,
            version: self.version,
            description: cut(&self.description, DESCRIPTION_BYTES_MAX).to_owned(),
            language: "python".to_owned(),
            level: 2,
        };
        let want = Want { width: self.width, height: self.height, format, rate_millihertz: self.rate_millihertz };
        let (has_state, takes_messages) = (self.has_state, self.takes_messages);
        Ok(ProcessorInfo { descriptor, params, want, writable: self.writable, has_state, takes_messages })
    }
}

impl DescribedParam {
    fn check(self) -> Result<Param, &'static str> {
        let first = self.id.bytes().next();
        let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        let is_id = first.is_some_and(|byte| byte.is_ascii_lowercase()) && self.id.bytes().all(fits);
        if !is_id || self.id.len() > PARAM_NAME_BYTES_MAX {
            return Err("its name must be a letter a-z, then at most 63 of a-z, 0-9 and _");
        }
        let label = if self.label.is_empty() { self.id.clone() } else { self.label };
        if [&label, &self.group, &self.unit].into_iter().any(|text| text.len() > PARAM_NAME_BYTES_MAX) {
            return Err("its label, group and unit have at most 64 bytes each");
        }
        if self.description.len() > PARAM_DESCRIPTION_BYTES_MAX {
            return Err("its description has at most 256 bytes");
        }
        let range = self.min.zip(self.max);
        if range.is_some_and(|(min, max)| min > max) {
            return Err("its ge is above its le");
        }
        let step = self.step.unwrap_or(0.0);
        if step < 0.0 {
            return Err("its step is negative");
        }
        let kind = match self.kind.as_str() {
            "bool" => ParamKind::Bool,
            "int" => int(range, step).ok_or("its ge, le and step must be whole numbers")?,
            "float" => ParamKind::Float { range, step },
            "choice" => choice(self.choices)?,
            "text" if self.bytes_max as usize > PARAM_TEXT_BYTES_MAX => return Err("bytes_max is at most 4096"),
            "text" => ParamKind::Text { bytes_max: self.bytes_max },
            "color" => ParamKind::Color,
            _ => return Err("its kind is not known"),
        };
        let (group, description, unit) = (self.group, self.description, self.unit);
        let probe = ParamValue::Bool(false);
        let mut param =
            Param { id: self.id, label, group, description, unit, kind, value: probe.clone(), default: probe };
        let default = params::parse(&param, &self.default.to_string())
            .map_err(|_| "its default lies outside of what it takes")?;
        param.value = default.clone();
        param.default = default;
        Ok(param)
    }
}

fn int(range: Option<(f64, f64)>, step: f64) -> Option<ParamKind> {
    let range = match range {
        Some((min, max)) => Some((params::whole_of(min)?, params::whole_of(max)?)),
        None => None,
    };
    Some(ParamKind::Int { range, step: params::whole_of(step)? })
}

fn choice(choices: Vec<String>) -> Result<ParamKind, &'static str> {
    if choices.is_empty() || choices.len() > CHOICES_MAX {
        return Err("it needs 1 to 64 choices");
    }
    if choices.iter().any(|choice| choice.len() > PARAM_NAME_BYTES_MAX) {
        return Err("a choice has at most 64 bytes");
    }
    let unique: BTreeSet<_> = choices.iter().collect();
    if unique.len() < choices.len() { Err("one of its choices comes twice") } else { Ok(ParamKind::Choice(choices)) }
}

/// A format by its number in the C interface.
pub(crate) fn pixel_format(format: u32) -> Option<PixelFormat> {
    Some(match format {
        1 => PixelFormat::Bgr24,
        2 => PixelFormat::Rgb24,
        3 => PixelFormat::Bgra,
        4 => PixelFormat::Gray8,
        5 => PixelFormat::I420,
        6 => PixelFormat::Nv12,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(change: impl FnOnce(&mut Value)) -> Result<ProcessorInfo, DescriptionError> {
        let mut described = json!({
            "tasks": 1,
            "processors": [{
                "name": "faces", "version": "1", "description": "Finds.", "format": 1, "width": 0, "height": 240,
                "rate_millihertz": 10_000, "writable": false, "has_state": true, "takes_messages": false,
                "params": [
                    {"id": "t", "label": "", "group": "", "description": "", "unit": "", "kind": "float", "min": 0.0,
                     "max": 1.0, "step": null, "choices": [], "bytes_max": 256, "default": 0.5},
                    {"id": "n", "label": "N", "group": "", "description": "", "unit": "", "kind": "int", "min": null,
                     "max": null, "step": null, "choices": [], "bytes_max": 256, "default": 3},
                ],
            }],
        });
        change(&mut described["processors"][0]);
        let Ok(Answer::Loaded { mut processors, .. }) = Answer::parse(described.to_string().as_bytes()) else {
            return Err(DescriptionError::Unreadable(String::new()));
        };
        processors.remove(0).check()
    }

    #[test]
    fn a_good_description_is_taken_over() {
        let info = check(|_| {}).unwrap();
        assert_eq!((info.descriptor.name.as_str(), info.descriptor.language.as_str()), ("faces", "python"));
        assert_eq!(info.params[0].value, ParamValue::Float(0.5));
        assert_eq!((info.params[0].label.as_str(), info.params[1].label.as_str()), ("t", "N"));
        assert_eq!(info.want.height, 240);
    }

    #[test]
    fn bad_descriptions_are_refused() {
        let refused = |change: fn(&mut Value)| check(change).unwrap_err();
        assert_eq!(refused(|p| p["name"] = "No Name".into()), DescriptionError::Name);
        assert_eq!(refused(|p| p["format"] = 9.into()), DescriptionError::Want);
        assert_eq!(refused(|p| p["width"] = 8193.into()), DescriptionError::Want);
        for change in [
            (|p| p["params"][0]["default"] = 2.into()) as fn(&mut Value),
            |p| p["params"][0]["id"] = "T".into(),
            |p| p["params"][1]["id"] = "t".into(),
            |p| p["params"][0]["min"] = 3.into(),
            |p| p["params"][1]["step"] = 0.5.into(),
            |p| p["params"][1]["kind"] = "choice".into(),
            |p| p["params"][1]["kind"] = "thing".into(),
        ] {
            assert!(matches!(refused(change), DescriptionError::Param { .. }));
        }
        assert!(matches!(Answer::parse(b"{\"error\": \"no\"}"), Ok(Answer::Failed { .. })));
        assert!(Answer::parse(b"{}").is_err());
    }
}
