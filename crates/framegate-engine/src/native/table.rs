//! The table of a processor's parameters, checked as it comes in: nothing in it is taken on trust but its pointers.

use std::{collections::BTreeSet, ffi::c_char};

use framegate_abi as abi;
use framegate_wire::{
    Param, ParamKind, ParamValue,
    limits::{CHOICES_MAX, PARAM_DESCRIPTION_BYTES_MAX, PARAM_NAME_BYTES_MAX, PARAM_TEXT_BYTES_MAX, PARAMS_MAX},
};

use crate::{
    library::bounded_text,
    limits::PARAM_TEXT_BYTES_DEFAULT,
    params::{is_float_within, is_int_within, whole_of},
};

/// What is wrong with a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TableError {
    /// Too many.
    #[error("there are {0}, at most {PARAMS_MAX}")]
    Count(u32),
    /// There is no table.
    #[error("fg_params.params is NULL but its count is not 0")]
    Null,
    /// An id is unfit.
    #[error("the id of number {0} must be a letter a-z, then at most 63 of a-z, 0-9 and _")]
    Id(u32),
    /// An id comes twice.
    #[error("the id `{0}` comes twice")]
    Duplicate(String),
    /// Something of one parameter.
    #[error("`{id}`: {problem}")]
    Param { id: String, problem: Problem },
}

/// What is wrong with one parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Problem {
    /// A text is unfit.
    #[error("its {0} must be UTF-8 of at most {1} bytes")]
    Text(&'static str, usize),
    /// No kind of this version.
    #[error("its kind {0} is none of FG_PARAM_…")]
    Kind(u32),
    /// A number is NaN or infinite.
    #[error("its {0} is not a finite number")]
    NotFinite(&'static str),
    /// A number must be whole.
    #[error("its {0} must be a whole number")]
    NotWhole(&'static str),
    /// A range is inverted.
    #[error("its min is above its max")]
    Inverted,
    /// A step is negative.
    #[error("its step is negative")]
    Step,
    /// The default does not fit.
    #[error("its default lies outside of what it takes")]
    Default,
    /// Choices are missing or too many.
    #[error("it needs 1 to {CHOICES_MAX} choices")]
    Choices,
    /// A choice comes twice.
    #[error("one of its choices comes twice")]
    SameChoice,
    /// A text parameter is too long.
    #[error("its max must be at most {PARAM_TEXT_BYTES_MAX} bytes, or 0")]
    TextMax,
}

/// Reads the whole table.
///
/// # Safety
/// `offered.params` is NULL or points to `count` parameters whose pointers are NULL or valid, texts ending with 0.
pub(super) unsafe fn read(offered: &abi::Params) -> Result<Vec<Param>, TableError> {
    let count = offered.count as usize;
    if count > PARAMS_MAX {
        return Err(TableError::Count(offered.count));
    }
    if offered.params.is_null() {
        return Err(TableError::Null);
    }
    // SAFETY: not NULL, and as many as said, says the caller.
    let raw = unsafe { std::slice::from_raw_parts(offered.params, count) };
    let mut ids = BTreeSet::new();
    let mut params = Vec::with_capacity(count);
    for (place, raw) in (0..).zip(raw) {
        // SAFETY: the caller vouches for the pointers.
        let param = unsafe { read_one(place, raw) }?;
        if !ids.insert(param.id.clone()) {
            return Err(TableError::Duplicate(param.id));
        }
        params.push(param);
    }
    Ok(params)
}

/// # Safety
/// As [`read`].
unsafe fn read_one(place: u32, raw: &abi::Param) -> Result<Param, TableError> {
    // SAFETY: the caller vouches for the pointer.
    let id = unsafe { bounded_text(raw.id, PARAM_NAME_BYTES_MAX) }.filter(|id| is_id(id));
    let id = id.ok_or(TableError::Id(place))?;
    let problem = |problem| TableError::Param { id: id.clone(), problem };
    // SAFETY: the caller vouches for the pointers.
    let text = |text, name, bytes_max| unsafe { optional_text(text, name, bytes_max) }.map_err(problem);
    let label = text(raw.label, "label", PARAM_NAME_BYTES_MAX)?;
    let group = text(raw.group, "group", PARAM_NAME_BYTES_MAX)?;
    let description = text(raw.description, "description", PARAM_DESCRIPTION_BYTES_MAX)?;
    let unit = text(raw.unit, "unit", PARAM_NAME_BYTES_MAX)?;
    // SAFETY: the caller vouches for the pointers.
    let (kind, default) = unsafe { kind_and_default(raw) }.map_err(problem)?;
    let label = if label.is_empty() { id.clone() } else { label };
    Ok(Param { id, label, group, description, unit, kind, value: default.clone(), default })
}

fn is_id(id: &str) -> bool {
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    id.bytes().next().is_some_and(|first| first.is_ascii_lowercase()) && id.bytes().all(fits)
}

/// # Safety
/// As [`read`].
unsafe fn optional_text(text: *const c_char, name: &'static str, bytes_max: usize) -> Result<String, Problem> {
    if text.is_null() {
        return Ok(String::new());
    }
    // SAFETY: the caller vouches for the pointer.
    unsafe { bounded_text(text, bytes_max) }.ok_or(Problem::Text(name, bytes_max))
}

/// # Safety
/// As [`read`].
unsafe fn kind_and_default(raw: &abi::Param) -> Result<(ParamKind, ParamValue), Problem> {
    let whole = |name, value: f64| whole_of(value).ok_or(Problem::NotWhole(name));
    if raw.kind != abi::PARAM_TEXT && !raw.number.is_finite() {
        return Err(Problem::NotFinite("default"));
    }
    match raw.kind {
        abi::PARAM_BOOL => match whole("default", raw.number)? {
            value @ (0 | 1) => Ok((ParamKind::Bool, ParamValue::Bool(value == 1))),
            _ => Err(Problem::Default),
        },
        abi::PARAM_INT => {
            let (range, step) = numbers(raw)?;
            let range = match range {
                Some((min, max)) => Some((whole("min", min)?, whole("max", max)?)),
                None => None,
            };
            let (step, value) = (whole("step", step)?, whole("default", raw.number)?);
            let fits = is_int_within(value, range, step);
            fits.then_some((ParamKind::Int { range, step }, ParamValue::Int(value))).ok_or(Problem::Default)
        }
        abi::PARAM_FLOAT => {
            let (range, step) = numbers(raw)?;
            let fits = is_float_within(raw.number, range, step);
            fits.then_some((ParamKind::Float { range, step }, ParamValue::Float(raw.number))).ok_or(Problem::Default)
        }
        abi::PARAM_ENUM => {
            // SAFETY: the caller vouches for the pointers.
            let choices = unsafe { choices(raw) }?;
            let index = usize::try_from(whole("default", raw.number)?).map_err(|_| Problem::Default)?;
            let default = choices.get(index).cloned().ok_or(Problem::Default)?;
            Ok((ParamKind::Choice(choices), ParamValue::Text(default)))
        }
        abi::PARAM_TEXT => {
            let bytes_max = match raw.max {
                0.0 => Ok(PARAM_TEXT_BYTES_DEFAULT),
                max => u32::try_from(whole("max", max)?).map_err(|_| Problem::TextMax),
            }?;
            if bytes_max as usize > PARAM_TEXT_BYTES_MAX {
                return Err(Problem::TextMax);
            }
            // SAFETY: the caller vouches for the pointer.
            let default = unsafe { optional_text(raw.text, "default", bytes_max as usize) }?;
            Ok((ParamKind::Text { bytes_max }, ParamValue::Text(default)))
        }
        abi::PARAM_COLOR => match u32::try_from(whole("default", raw.number)?) {
            Ok(color @ 0..=0xff_ffff) => Ok((ParamKind::Color, ParamValue::Color(color))),
            _ => Err(Problem::Default),
        },
        kind => Err(Problem::Kind(kind)),
    }
}

/// Range and step of a number.
fn numbers(raw: &abi::Param) -> Result<(Option<(f64, f64)>, f64), Problem> {
    for (name, value) in [("min", raw.min), ("max", raw.max), ("step", raw.step)] {
        if !value.is_finite() {
            return Err(Problem::NotFinite(name));
        }
    }
    if raw.min > raw.max {
        return Err(Problem::Inverted);
    }
    if raw.step < 0.0 {
        return Err(Problem::Step);
    }
    Ok(((raw.min < raw.max).then_some((raw.min, raw.max)), raw.step))
}

/// # Safety
/// As [`read`].
unsafe fn choices(raw: &abi::Param) -> Result<Vec<String>, Problem> {
    let count = raw.choice_count as usize;
    if raw.choices.is_null() || !(1..=CHOICES_MAX).contains(&count) {
        return Err(Problem::Choices);
    }
    // SAFETY: not NULL, and as many as said, says the caller.
    let texts = unsafe { std::slice::from_raw_parts(raw.choices, count) };
    let mut choices = Vec::with_capacity(count);
    for &text in texts {
        // SAFETY: the caller vouches for the pointer.
        let choice = unsafe { bounded_text(text, PARAM_NAME_BYTES_MAX) };
        let choice = choice.ok_or(Problem::Text("choice", PARAM_NAME_BYTES_MAX))?;
        if choices.contains(&choice) {
            return Err(Problem::SameChoice);
        }
        choices.push(choice);
    }
    Ok(choices)
}
