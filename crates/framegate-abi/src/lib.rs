//! The interface between framegate and a processor.
//!
//! - For authors of processors in Rust: [`export`] and [`export_processor!`], without a line of `unsafe`.
//! - For hosts: `framegate.h` as Rust sees it, under the same names without the `fg_` prefix ([`Frame`], [`Out`] …).

#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "turns the C interface into safe Rust, both ways")]
pub mod export;
mod raw;

pub use raw::*;
