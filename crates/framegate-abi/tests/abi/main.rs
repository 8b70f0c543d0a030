//! The C interface, asked of the C compilers: one program, so that it links once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

mod common;
mod cpp;
mod examples;
mod header;
mod layout;
mod readme;
