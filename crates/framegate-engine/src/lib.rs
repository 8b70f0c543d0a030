//! The child process that decodes video and runs processors.
//!
//! [`nursery`] loads one processor and forks an engine for each session. An engine reads encoded units from its socket,
//! decodes all of them, converts the newest and calls the processor on it; [`intake`] decides what happens to each unit
//! and is pure, `engine` is the loop around it. Every unit is answered by exactly one result, skip or drop.
//!
//! Foreign code (codecs and processors) runs only after `sandbox` has taken network, exec and file writes away.

#![deny(unsafe_code)]

mod bridge;
mod chain;
pub mod check;
mod clock;
pub mod compile;
pub mod confinement;
mod demangle;
mod engine;
mod gst;
mod inbox;
mod instance;
pub mod intake;
mod interpreter;
pub mod kit;
#[expect(unsafe_code, reason = "loads processors")]
mod library;
pub mod limits;
#[expect(unsafe_code, reason = "calls into processors, and is called by them")]
mod native;
#[expect(unsafe_code, reason = "fork, signal handlers and descriptors by number")]
pub mod nursery;
pub mod offline;
mod outbox;
mod params;
#[expect(unsafe_code, reason = "maps memory that processors see")]
mod pool;
mod random;
mod resolve;
mod sandbox;
mod symbols;
