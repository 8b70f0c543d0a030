//! The sans-IO core: everything framegate decides, with time and randomness as arguments.
//!
//! A [`Session`](session::Session) is one browser's connection and its engine: datagrams, engine messages and time go
//! in; datagrams, engine messages, requests to launch or kill an engine, and deadlines come out. It is built from parts
//! that do not know each other: [`link`] (WebRTC), [`runner`] (one stream's engine side: [`ledger`], [`supervisor`],
//! [`backlog`], [`deliver`]) and [`keyframe`]. [`peer`] is the browser's end, for tests and load. [`demux`] finds the
//! session a datagram belongs to and [`admit`] decides whether one more fits.
//!
//! After every input the caller polls until it is told when to come back:
//! mutate, drain, mutate. Nothing here reads a clock, opens a socket or starts a thread.

#![forbid(unsafe_code)]

pub mod admit;
pub mod backlog;
pub mod control;
pub mod deliver;
pub mod demux;
pub mod keyframe;
pub mod ledger;
pub mod limits;
pub mod link;
pub mod offer;
pub mod peer;
mod rate;
pub mod report;
pub mod runner;
pub mod schema;
pub mod session;
pub mod supervisor;
mod time;

pub use time::Now;
