//! What processors are like, for pages and programs: names, and parameters as JSON from which a form is made.
//!
//! Infos come from engines, which a processor may have taken over: [`checked`] bounds every count and text first.

use std::collections::HashSet;

use framegate_wire::limits::{
    CHOICES_MAX, PARAM_DESCRIPTION_BYTES_MAX, PARAM_NAME_BYTES_MAX, PARAM_TEXT_BYTES_MAX, PARAMS_MAX, PROCESSORS_MAX,
    TEXT_BYTES_MAX,
};
use framegate_wire::{Descriptor, Param, ParamKind, ParamValue, PixelFormat, ProcessorInfo, Want};
use serde_json::{Map, Value, json};

use crate::limits::SCHEMA_BYTES_MAX;

/// Longest name of a processor, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Bounds what was said of processors: too many are cut off, texts are shortened, what contradicts itself is left out.
///
/// `None` when a processor has no usable name: no host would say that.
#[must_use]
pub fn checked(mut infos: Vec<ProcessorInfo>) -> Option<Vec<ProcessorInfo>> {
    infos.truncate(PROCESSORS_MAX);
    for info in &mut infos {
        if !is_name(&info.descriptor.name) {
            return None;
        }
        check_descriptor(&mut info.descriptor);
        info.params.truncate(PARAMS_MAX);
        let mut seen = HashSet::new();
        info.params.retain(|param| is_sound(param) && seen.insert(param.id.clone()));
        info.params.iter_mut().for_each(shorten);
    }
    Some(infos)
}

/// Bounds the texts of a descriptor.
pub fn check_descriptor(descriptor: &mut Descriptor) {
    cut(&mut descriptor.name, NAME_BYTES_MAX);
    cut(&mut descriptor.version, PARAM_NAME_BYTES_MAX);
    cut(&mut descriptor.description, TEXT_BYTES_MAX);
    cut(&mut descriptor.language, PARAM_NAME_BYTES_MAX);
}

/// Whether a text can be the name of a processor or pipeline: `[a-z0-9_-]{1,64}`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

/// Whether a text can be the id of a parameter: `[a-z][a-z0-9_]{0,63}`.
#[must_use]
pub fn is_param_id(id: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    id.len() <= PARAM_NAME_BYTES_MAX && id.starts_with(|c: char| c.is_ascii_lowercase()) && id.bytes().all(allowed)
}

/// Names for the processors of a chain: one that comes again gets `-2`, `-3` and so on.
#[must_use]
pub fn unique_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut unique: Vec<String> = Vec::new();
    for name in names {
        let taken = |candidate: &str| unique.iter().any(|other| other == candidate);
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.to_owned()).chain(numbered).find(|candidate| !taken(candidate));
        unique.extend(free);
    }
    unique
}

/// What a page is told of a pipeline's processors: `{"processors":[…]}`. Parameters for which one message has no room
/// are left out, the last ones first.
#[must_use]
pub fn processors(infos: &[ProcessorInfo]) -> Value {
    let names = unique_names(infos.iter().map(|info| info.descriptor.name.as_str()));
    let mut room = SCHEMA_BYTES_MAX;
    let mut list = Vec::new();
    for (info, name) in infos.iter().zip(names) {
        let about = &info.descriptor;
        let mut processor = json!({
            "name": name, "version": about.version, "description": about.description, "language": about.language,
            "takes_messages": info.takes_messages,
        });
        room = room.saturating_sub(processor.to_string().len());
        let mut kept = Vec::new();
        for param in info.params.iter().map(param) {
            let size = param.to_string().len() + 1;
            if size > room {
                // Nothing after it either: a form with holes would be worse.
                room = 0;
                break;
            }
            room -= size;
            kept.push(param);
        }
        processor["params"] = Value::Array(kept);
        list.push(processor);
    }
    json!({ "processors": list })
}

/// A parameter as JSON; what is empty or unbounded is absent.
#[must_use]
pub fn param(param: &Param) -> Value {
    let mut out = Map::new();
    out.insert("id".to_owned(), param.id.as_str().into());
    let texts =
        [("label", &param.label), ("group", &param.group), ("description", &param.description), ("unit", &param.unit)];
    for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        out.insert(key.to_owned(), text.as_str().into());
    }
    let mut put = |key: &str, value: Value| {
        out.insert(key.to_owned(), value);
    };
    match &param.kind {
        ParamKind::Bool => put("kind", "bool".into()),
        ParamKind::Int { range, step } => {
            put("kind", "int".into());
            if let Some((min, max)) = range {
                put("min", (*min).into());
                put("max", (*max).into());
            }
            if *step > 0 {
                put("step", (*step).into());
            }
        }
        ParamKind::Float { range, step } => {
            put("kind", "float".into());
            if let Some((min, max)) = range {
                put("min", (*min).into());
                put("max", (*max).into());
            }
            if *step > 0.0 {
                put("step", (*step).into());
            }
        }
        ParamKind::Choice(choices) => {
            put("kind", "choice".into());
            put("choices", choices.as_slice().into());
        }
        ParamKind::Text { bytes_max } => {
            put("kind", "text".into());
            put("bytes_max", (*bytes_max).into());
        }
        ParamKind::Color => put("kind", "color".into()),
    }
    put("value", value(&param.value));
    put("default", value(&param.default));
    Value::Object(out)
}

/// A value as pages write it; a colour is `"#rrggbb"`.
#[must_use]
pub fn value(value: &ParamValue) -> Value {
    match value {
        ParamValue::Bool(is_on) => (*is_on).into(),
        ParamValue::Int(number) => (*number).into(),
        ParamValue::Float(number) => (*number).into(),
        ParamValue::Text(text) => text.as_str().into(),
        ParamValue::Color(rgb) => format!("#{:06x}", rgb & 0x00ff_ffff).into(),
    }
}

/// What a processor wants to be given: `{"width","height","format","rate"}`; `null` is "as it comes".
#[must_use]
pub fn want(want: &Want) -> Value {
    let given = |number: u32| (number > 0).then_some(number);
    let format = match want.format {
        PixelFormat::Bgr24 => "bgr24",
        PixelFormat::Rgb24 => "rgb24",
        PixelFormat::Bgra => "bgra",
        PixelFormat::Gray8 => "gray8",
        PixelFormat::I420 => "i420",
        PixelFormat::Nv12 => "nv12",
    };
    let rate = given(want.rate_millihertz).map(|rate| f64::from(rate) / 1000.0);
    json!({ "width": given(want.width), "height": given(want.height), "format": format, "rate": rate })
}

/// Whether kind, value and default belong together.
fn is_sound(param: &Param) -> bool {
    let fits = |value: &ParamValue| match (&param.kind, value) {
        (ParamKind::Bool, ParamValue::Bool(_))
        | (ParamKind::Int { .. }, ParamValue::Int(_))
        | (ParamKind::Color, ParamValue::Color(_)) => true,
        (ParamKind::Float { .. }, ParamValue::Float(number)) => number.is_finite(),
        (ParamKind::Choice(choices), ParamValue::Text(text)) => choices.contains(text),
        (ParamKind::Text { .. }, ParamValue::Text(text)) => text.len() <= PARAM_TEXT_BYTES_MAX,
        _ => false,
    };
    let bounded = match &param.kind {
        ParamKind::Int { range, step } => range.is_none_or(|(min, max)| min <= max) && *step >= 0,
        ParamKind::Float { range, step } => {
            range.is_none_or(|(min, max)| min.is_finite() && max.is_finite() && min <= max) && step.is_finite()
        }
        ParamKind::Choice(choices) => {
            choices.len() <= CHOICES_MAX && choices.iter().all(|choice| choice.len() <= PARAM_NAME_BYTES_MAX)
        }
        ParamKind::Bool | ParamKind::Text { .. } | ParamKind::Color => true,
    };
    is_param_id(&param.id) && bounded && fits(&param.value) && fits(&param.default)
}

fn shorten(param: &mut Param) {
    cut(&mut param.label, PARAM_NAME_BYTES_MAX);
    cut(&mut param.group, PARAM_NAME_BYTES_MAX);
    cut(&mut param.unit, PARAM_NAME_BYTES_MAX);
    cut(&mut param.description, PARAM_DESCRIPTION_BYTES_MAX);
}

/// Keeps the beginning of a text that may have any length.
pub(crate) fn cut(text: &mut String, bytes_max: usize) {
    text.truncate(beginning(text, bytes_max).len());
}

/// The beginning of a text that may have any length, cut between characters.
#[must_use]
pub fn beginning(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn info(name: &str, params: Vec<Param>) -> ProcessorInfo {
        let descriptor = Descriptor {
            name: name.to_owned(),
            version: "1.2".to_owned(),
            description: "Finds things.".to_owned(),
            language: "c++".to_owned(),
            level: 2,
        };
        let want = Want::default();
        ProcessorInfo { descriptor, params, want, writable: false, has_state: true, takes_messages: true }
    }

    pub(crate) fn float(id: &str, number: f64) -> Param {
        Param {
            id: id.to_owned(),
            label: String::new(),
            group: String::new(),
            description: String::new(),
            unit: String::new(),
            kind: ParamKind::Float { range: Some((0.0, 1.0)), step: 0.0 },
            value: ParamValue::Float(number),
            default: ParamValue::Float(0.5),
        }
    }

    fn of(kind: ParamKind, value: ParamValue) -> Param {
        Param { kind, value: value.clone(), default: value, ..float("a", 0.0) }
    }

    #[test]
    fn each_kind_is_written_as_documented() {
        let check = |kind, value, expected: Value| {
            assert_eq!(param(&of(kind, value)), expected);
        };
        check(
            ParamKind::Bool,
            ParamValue::Bool(true),
            json!({"id": "a", "kind": "bool", "value": true, "default": true}),
        );
        check(
            ParamKind::Int { range: Some((1, 9)), step: 2 },
            ParamValue::Int(3),
            json!({"id": "a", "kind": "int", "min": 1, "max": 9, "step": 2, "value": 3, "default": 3}),
        );
        check(
            ParamKind::Float { range: None, step: 0.0 },
            ParamValue::Float(0.5),
            json!({"id": "a", "kind": "float", "value": 0.5, "default": 0.5}),
        );
        check(
            ParamKind::Choice(vec!["x".into(), "y".into()]),
            ParamValue::Text("y".into()),
            json!({"id": "a", "kind": "choice", "choices": ["x", "y"], "value": "y", "default": "y"}),
        );
        check(
            ParamKind::Text { bytes_max: 9 },
            ParamValue::Text("<b>".into()),
            json!({"id": "a", "kind": "text", "bytes_max": 9, "value": "<b>", "default": "<b>"}),
        );
        check(
            ParamKind::Color,
            ParamValue::Color(0x00_ff_80),
            json!({"id": "a", "kind": "color", "value": "#00ff80", "default": "#00ff80"}),
        );
    }

    #[test]
    fn what_contradicts_itself_is_left_out() {
        let params = vec![
            float("good", 0.5),
            float("good", 0.7),
            float("nan", f64::NAN),
            float("Bad Id", 0.5),
            float("", 0.5),
            of(ParamKind::Bool, ParamValue::Int(1)),
            of(ParamKind::Choice(vec!["x".into()]), ParamValue::Text("z".into())),
            of(ParamKind::Choice(vec![String::new(); CHOICES_MAX + 1]), ParamValue::Text(String::new())),
            of(ParamKind::Float { range: Some((1.0, 0.0)), step: 0.0 }, ParamValue::Float(0.5)),
        ];
        let infos = checked(vec![info("a", params)]).expect("a name");
        assert_eq!(infos[0].params, [float("good", 0.5)]);
    }

    #[test]
    fn counts_and_texts_are_bounded() {
        let mut hostile = info("a", (0..1000).map(|number| float(&format!("p{number}"), 0.5)).collect());
        hostile.descriptor.description = "ä".repeat(100_000);
        for param in &mut hostile.params {
            param.description = "\u{1}".repeat(1000);
            param.label = "x".repeat(1000);
        }
        let infos = checked(vec![hostile; 100]).expect("a name");
        assert_eq!(infos.len(), PROCESSORS_MAX);
        assert!(infos.iter().all(|info| info.params.len() == PARAMS_MAX));
        assert!(infos[0].descriptor.description.len() <= TEXT_BYTES_MAX);
        let text = processors(&infos).to_string();
        assert!(text.len() <= SCHEMA_BYTES_MAX + 1024 + PROCESSORS_MAX * 2 * TEXT_BYTES_MAX, "{}", text.len());
        assert!(checked(vec![info("\"}", Vec::new())]).is_none());
    }

    #[test]
    fn names_of_a_chain_are_unique() {
        assert_eq!(unique_names(["a", "b", "a", "a", "a-2"]), ["a", "b", "a-2", "a-3", "a-2-2"]);
        assert!(unique_names([]).is_empty());
    }
}
