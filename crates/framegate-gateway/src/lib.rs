//! The process that talks to the network: configuration, HTTP, media threads and supervision of engines.
//!
//! It handles encoded units only: it decodes nothing and loads no foreign code; those live in engines, child processes.
//! [`config::load()`] makes a [`config::Config`], [`media::start`] starts the media threads, and [`http::serve`] puts the
//! pages, WHIP and the API before them. Media runs on plain threads, HTTP on one async thread; they meet in bounded
//! channels behind [`media::Media`].

#![forbid(unsafe_code)]

pub mod config;
pub mod engines;
pub mod http;
pub mod limits;
pub mod media;
pub mod metrics;
pub mod port;
pub mod server;
pub mod shutdown;
