//! Values of parameters: JSON to checked values and back. Pure.

use framegate_wire::{Param, ParamKind, ParamValue};
use serde_json::Value;

/// How much of a refused value is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 80;

/// Largest whole number that JSON's numbers and the interface's `double` hold exactly.
pub(crate) const WHOLE_MAX: i64 = 1 << 53;

/// How far a float may lie beside a multiple of its step, in steps: what decimal fractions lose in binary.
const STEP_SLACK: f64 = 1e-6;

/// Reads a value for `param`. The error names the parameter, the value and what the parameter takes.
pub(crate) fn parse(param: &Param, json: &str) -> Result<ParamValue, String> {
    let value = serde_json::from_str::<Value>(json).ok().and_then(|value| take(&param.kind, value));
    value.ok_or_else(|| {
        let shown = crate::outbox::cut(json, SHOWN_BYTES_MAX);
        let dots = if shown.len() < json.len() { "…" } else { "" };
        format!("`{}` is {shown}{dots}; it takes {}", param.id, takes(&param.kind))
    })
}

/// The value as JSON text, which [`parse`] reads back.
pub(crate) fn to_json(value: &ParamValue) -> String {
    match value {
        ParamValue::Bool(value) => Value::from(*value).to_string(),
        ParamValue::Int(value) => Value::from(*value).to_string(),
        ParamValue::Float(value) => Value::from(*value).to_string(),
        ParamValue::Text(value) => Value::from(value.as_str()).to_string(),
        ParamValue::Color(value) => Value::from(format!("#{value:06x}")).to_string(),
    }
}

/// What a parameter takes, for people.
pub(crate) fn takes(kind: &ParamKind) -> String {
    match kind {
        ParamKind::Bool => "true or false".to_owned(),
        ParamKind::Int { range, step } => {
            let numbers = range.map_or("a whole number".to_owned(), |(min, max)| format!("{min} to {max}, whole"));
            if *step > 1 { format!("{numbers}, in steps of {step}") } else { numbers }
        }
        ParamKind::Float { range, step } => {
            let numbers = range.map_or("a number".to_owned(), |(min, max)| format!("{min} to {max}"));
            if *step > 0.0 { format!("{numbers}, in steps of {step}") } else { numbers }
        }
        ParamKind::Choice(choices) => {
            let names: Vec<_> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
            format!("one of {}", names.join(", "))
        }
        ParamKind::Text { bytes_max } => format!("a text of at most {bytes_max} bytes without control characters"),
        ParamKind::Color => "a colour such as \"#ff8000\"".to_owned(),
    }
}

fn take(kind: &ParamKind, value: Value) -> Option<ParamValue> {
    match (kind, value) {
        (ParamKind::Bool, Value::Bool(value)) => Some(ParamValue::Bool(value)),
        (ParamKind::Int { range, step }, Value::Number(number)) => {
            let value = whole(&number).filter(|value| is_int_within(*value, *range, *step))?;
            Some(ParamValue::Int(value))
        }
        (ParamKind::Float { range, step }, Value::Number(number)) => {
            let value = number.as_f64().filter(|value| is_float_within(*value, *range, *step))?;
            Some(ParamValue::Float(value))
        }
        (ParamKind::Choice(choices), Value::String(text)) => choices.contains(&text).then_some(ParamValue::Text(text)),
        (ParamKind::Text { bytes_max }, Value::String(text)) => {
            // The interface's texts end with 0, and JSON makes six bytes of most other control characters.
            let is_plain = !text.chars().any(|character| character < ' ' && !matches!(character, '\n' | '\r' | '\t'));
            (text.len() <= *bytes_max as usize && is_plain).then_some(ParamValue::Text(text))
        }
        (ParamKind::Color, Value::String(text)) => color(&text).map(ParamValue::Color),
        _ => None,
    }
}

/// A whole number, also written as `3.0` or `3e2`.
fn whole(number: &serde_json::Number) -> Option<i64> {
    if let Some(value) = number.as_i64() {
        return (-WHOLE_MAX..=WHOLE_MAX).contains(&value).then_some(value);
    }
    whole_of(number.as_f64()?)
}

/// The whole number that `value` is, if it is one and not above [`WHOLE_MAX`].
pub(crate) fn whole_of(value: f64) -> Option<i64> {
    #[expect(clippy::cast_precision_loss, reason = "a power of two")]
    let is_whole = value.fract() == 0.0 && value.abs() <= WHOLE_MAX as f64;
    #[expect(clippy::cast_possible_truncation, reason = "whole and small enough")]
    let whole = value as i64;
    is_whole.then_some(whole)
}

/// Whether an int lies in the range, on a step.
pub(crate) fn is_int_within(value: i64, range: Option<(i64, i64)>, step: i64) -> bool {
    let (min, max) = range.unwrap_or((-WHOLE_MAX, WHOLE_MAX));
    let from = range.map_or(0, |(min, _)| min);
    (min..=max).contains(&value) && (step <= 1 || (value - from) % step == 0)
}

/// Whether a float lies in the range, near enough to a step.
pub(crate) fn is_float_within(value: f64, range: Option<(f64, f64)>, step: f64) -> bool {
    if !value.is_finite() || range.is_some_and(|(min, max)| value < min || value > max) {
        return false;
    }
    let steps = (value - range.map_or(0.0, |(min, _)| min)) / step;
    step <= 0.0 || (steps - steps.round()).abs() <= STEP_SLACK * steps.abs().max(1.0)
}

fn color(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
    // `from_str_radix` would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests;
