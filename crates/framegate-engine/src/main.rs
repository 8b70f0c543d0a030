//! `framegate-engine`: loads processors and codecs so that the gateway need not.

#![forbid(unsafe_code)]

mod clip;
mod doctor;
mod raw;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use framegate_engine::nursery;

#[derive(Debug, Parser)]
#[command(name = "framegate-engine", version, about = "Decodes video and runs processors for framegate")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load one processor and fork an engine for each session; the gateway's control socket is standard input
    Nursery {
        /// The processor: a shared library
        #[arg(long)]
        processor: PathBuf,
        /// Folder or file that engines may read; may be given several times
        #[arg(long)]
        readable: Vec<PathBuf>,
        /// Become the first engine instead of forking it, for processors that start threads when loaded
        #[arg(long)]
        once: bool,
    },
    /// Make a test clip
    Clip(clip::ClipArgs),
    /// Measure decoding and processing without a network
    Raw(raw::RawArgs),
    /// Check codecs and sandbox of this machine
    Doctor(doctor::DoctorArgs),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Nursery { processor, readable, once } => {
            let mode = if once { nursery::Mode::Once } else { nursery::Mode::Fork };
            nursery::run(&nursery::Options { processor, readable, mode })
                .map_err(|error| anyhow::Error::msg(error.to_string()))
        }
        Command::Clip(arguments) => clip::run(&arguments),
        Command::Raw(arguments) => raw::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            // Standard error may be closed; there is nobody else to tell.
            let _ = writeln!(std::io::stderr(), "framegate-engine: {error:#}");
            ExitCode::FAILURE
        }
    }
}
