//! Nurseries and engines as the gateway sees them: child processes that are started, watched and reaped.
//!
//! One thread, the launcher, owns every nursery. A media thread asks it for an engine and gets back the session's
//! end of a socket pair and a pidfd; later it is told how the engine ended and what it printed. Nothing of an engine is
//! ever trusted: what it writes is parsed with limits, what it prints is read at a bounded rate.

mod children;
pub(crate) mod control;
pub mod costs;
mod describe;
pub(crate) mod launcher;
mod nursery;
mod output;
pub(crate) mod registry;

pub use describe::describe;
pub use registry::Registry;

/// How nurseries are started under this configuration.
pub(crate) fn program(program: std::path::PathBuf) -> nursery::NurseryProgram {
    nursery::NurseryProgram { program }
}
