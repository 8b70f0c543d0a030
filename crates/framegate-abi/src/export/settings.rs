//! Parameters: values that people change while a processor runs.

use crate::raw;

/// A value of a parameter.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// All kinds but text: a number as the interface carries it.
    Number(f64),
    /// A text.
    Text(String),
}

/// A colour, 0xRRGGBB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Color(pub u32);

/// One of some texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    texts: &'static [&'static str],
    /// Place of the chosen one.
    pub index: usize,
}

impl Choice {
    /// The first of these texts.
    #[must_use]
    pub const fn of(texts: &'static [&'static str]) -> Self {
        Self { texts, index: 0 }
    }

    /// The chosen text.
    #[must_use]
    pub fn text(&self) -> &'static str {
        self.texts.get(self.index).copied().unwrap_or_default()
    }
}

/// How a parameter appears on the page, and what it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    pub(super) id: &'static str,
    pub(super) label: &'static str,
    pub(super) group: &'static str,
    pub(super) description: &'static str,
    pub(super) unit: &'static str,
    pub(super) choices: &'static [&'static str],
    pub(super) kind: u32,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) step: f64,
    pub(super) default: Value,
}

impl Param {
    /// A parameter with the present value of a field as its default.
    #[must_use]
    pub fn of<T: Setting>(id: &'static str, value: &T) -> Self {
        Self {
            id,
            label: "",
            group: "",
            description: "",
            unit: "",
            choices: value.choices(),
            kind: T::KIND,
            min: 0.0,
            max: 0.0,
            step: 0.0,
            default: value.value(),
        }
    }

    /// Least and largest number.
    #[must_use]
    pub fn range(self, min: impl Into<f64>, max: impl Into<f64>) -> Self {
        Self { min: min.into(), max: max.into(), ..self }
    }

    /// Distance of numbers.
    #[must_use]
    pub fn step(self, step: impl Into<f64>) -> Self {
        Self { step: step.into(), ..self }
    }

    /// Name for people.
    #[must_use]
    pub fn label(self, label: &'static str) -> Self {
        Self { label, ..self }
    }

    /// Heading it stands under.
    #[must_use]
    pub fn group(self, group: &'static str) -> Self {
        Self { group, ..self }
    }

    /// One sentence.
    #[must_use]
    pub fn description(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    /// Such as `px`.
    #[must_use]
    pub fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// Most bytes of a text.
    #[must_use]
    pub fn longest(self, bytes: u32) -> Self {
        Self { max: bytes.into(), ..self }
    }
}

/// A type that a parameter can have: `bool`, `i32`, `i64`, `f32`, `f64`, [`Color`], [`Choice`] or `String`.
pub trait Setting {
    /// `FG_PARAM_…`.
    const KIND: u32;
    /// As the interface carries it.
    fn value(&self) -> Value;
    /// Takes a value that framegate has checked against the parameter.
    ///
    /// # Errors
    /// A text for people when it is not one of this type.
    fn assign(&mut self, value: &Value) -> Result<(), String>;
    /// The texts of a choice.
    fn choices(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Parameters with their values, usually made by [`settings!`](crate::settings).
pub trait SettingsTable {
    /// All of them, always in the same order.
    fn table(&self) -> Vec<Param>;
    /// The field of one.
    fn field(&mut self, index: usize) -> Option<&mut dyn Field>;
}

/// [`Setting`] where its type does not matter.
pub trait Field {
    /// As [`Setting::value`].
    fn value(&self) -> Value;
    /// As [`Setting::assign`].
    ///
    /// # Errors
    /// As there.
    fn assign(&mut self, value: &Value) -> Result<(), String>;
}

impl<T: Setting> Field for T {
    fn value(&self) -> Value {
        Setting::value(self)
    }

    fn assign(&mut self, value: &Value) -> Result<(), String> {
        Setting::assign(self, value)
    }
}

fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Number(number) => Ok(*number),
        Value::Text(_) => Err("a number is needed".to_owned()),
    }
}

/// A whole number within a type's range.
fn whole(value: &Value, min: i64, max: i64) -> Result<i64, String> {
    let number = number(value)?;
    // 2^63 is the first double above every i64.
    let end = 2.0_f64.powi(63);
    if number.fract() != 0.0 || !(-end..end).contains(&number) {
        return Err(format!("{number} is no whole number of this type"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole, and within the range of i64")]
    let whole = number as i64;
    if (min..=max).contains(&whole) { Ok(whole) } else { Err(format!("{number} is too large for this type")) }
}

impl Setting for bool {
    const KIND: u32 = raw::PARAM_BOOL;

    fn value(&self) -> Value {
        Value::Number(f64::from(u8::from(*self)))
    }

    fn assign(&mut self, value: &Value) -> Result<(), String> {
        *self = number(value)? != 0.0;
        Ok(())
    }
}

impl Setting for i32 {
    const KIND: u32 = raw::PARAM_INT;

    fn value(&self) -> Value {
        Value::Number((*self).into())
    }

    fn assign(&mut self, value: &Value) -> Result<(), String> {
        *self = Self::try_from(whole(value, Self::MIN.into(), Self::MAX.into())?).map_err(|error| error.to_string())?;
        Ok(())
    }
}

impl Setting for i64 {
    const KIND: u32 = raw::PARAM_INT;

    fn value(&self) -> Value {
        #[expect(clippy::cast_precision_loss, reason = "the interface carries doubles")]
        let number = *self as f64;
        Value::Number(number)
    }

    fn assign(&mut self, value: &Value) -> Result<(), String> {
        *self = whole(value, Self::MIN, Self::MAX)?;
        Ok(())
    }
}

impl Setting for f32 {
    const KIND: u32 = raw::PARAM_FLOAT;

    fn value(&self) -> Value {
        Value::Number((*self).into())
    }

    fn assign(&mut self, value: &Value) -> Result<(), String> {
        #[expect(clippy::cast_possible_truncation, reason = "the nearest is meant")]
        let nearest = number(value)? as Self;
        *self = nearest;
        Ok(())
    }
}

impl Setting for f64 {
    const KIND: u32 = raw::PARAM_FLOAT;

    fn value(&self) -> Value {
        Value::Number(*self)
    }

    fn assign(&mut self, value: &Value) -> Result<(), String> {
        *self = number(value)?;
        Ok(())
    }
}

impl Setting for Color {
    const KIND: u32 = raw::PARAM_COLOR;

    fn value(&self) -> Value {
        Value::Number(self.0.into())
    }

    fn assign(&mut self, value: &Value) -> Result<(), String> {
        self.0 = u32::try_from(whole(value, 0, 0xff_ffff)?).map_err(|error| error.to_string())?;
        Ok(())
    }
}

impl Setting for Choice {
    const KIND: u32 = raw::PARAM_ENUM;

    fn value(&self) -> Value {
        Value::Number(u32::try_from(self.index).unwrap_or(u32::MAX).into())
    }

    fn assign(&mut self, value: &Value) -> Result<(), String> {
        let index = usize::try_from(whole(value, 0, i64::MAX)?).map_err(|error| error.to_string())?;
        if index >= self.texts.len() {
            return Err(format!("there are {} choices", self.texts.len()));
        }
        self.index = index;
        Ok(())
    }

    fn choices(&self) -> &'static [&'static str] {
        self.texts
    }
}

impl Setting for String {
    const KIND: u32 = raw::PARAM_TEXT;

    fn value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn assign(&mut self, value: &Value) -> Result<(), String> {
        let Value::Text(text) = value else { return Err("a text is needed".to_owned()) };
        self.clone_from(text);
        Ok(())
    }
}

/// A struct whose fields are parameters: read them as fields; the page makes a form of them.
///
/// ```
/// framegate_abi::settings! {
///     /// What people can change.
///     pub struct Settings {
///         threshold: f64 = 0.5, range(0.0, 1.0), step(0.01), label("Threshold");
///         count: i32 = 8, range(1, 64), unit("boxes");
///         mode: framegate_abi::export::Choice = framegate_abi::export::Choice::of(&["fast", "exact"]);
///         word: String = "hello".to_owned(), longest(64), group("Texts");
///     }
/// }
/// assert_eq!(Settings::default().count, 8);
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[$about:meta])*
        $visible:vis struct $name:ident {
            $($(#[$field_about:meta])* $field:ident : $type:ty = $default:expr $(, $form:ident ( $($argument:expr),* ))* ;)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone)]
        $visible struct $name {
            $($(#[$field_about])* pub $field: $type,)*
        }

        impl ::core::default::Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::export::SettingsTable for $name {
            fn table(&self) -> ::std::vec::Vec<$crate::export::Param> {
                let initial = <Self as ::core::default::Default>::default();
                ::std::vec![
                    $($crate::export::Param::of(::core::stringify!($field), &initial.$field) $(.$form($($argument),*))*,)*
                ]
            }

            fn field(&mut self, index: usize) -> ::core::option::Option<&mut dyn $crate::export::Field> {
                let fields: ::std::vec::Vec<&mut dyn $crate::export::Field> = ::std::vec![$(&mut self.$field,)*];
                fields.into_iter().nth(index)
            }
        }
    };
}
