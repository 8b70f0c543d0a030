//! The program with video: processors that fail in every way, sessions that vanish, engines that are killed. What
//! happens to one session is told to it, its books stay whole, and no other session notices.
//!
//! Needs `framegate-engine` beside `framegate` (build the whole workspace) and a C compiler.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

mod form;
mod kills;
mod lab;
mod leaving;
mod misfits;
mod visitor;
