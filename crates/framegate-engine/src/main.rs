//! `framegate-engine`: loads processors and codecs so that the gateway need not.

#![forbid(unsafe_code)]

mod clip;
mod doctor;
mod raw;
mod sdk;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use framegate_engine::{check, nursery, offline};
use framegate_wire::PipelineSpec;

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
        /// What to load, as the JSON of a `PipelineSpec`
        #[arg(long, value_parser = parse_pipeline)]
        pipeline: PipelineSpec,
        /// Become the first engine instead of forking it, for processors that start threads when loaded
        #[arg(long)]
        once: bool,
    },
    /// Run a clip or an image through a pipeline; standard output gets messages for `framegate run`
    Offline {
        /// What to load, as the JSON of a `PipelineSpec`
        #[arg(long, value_parser = parse_pipeline)]
        pipeline: PipelineSpec,
        /// The clip or image; - is standard input
        clip: std::path::PathBuf,
        /// Value of a parameter: ID=VALUE or PROCESSOR.ID=VALUE
        #[arg(long = "set", value_name = "ID=VALUE")]
        sets: Vec<String>,
        /// Seed of the randomness that processors are offered
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Largest picture, in pixels
        #[arg(long, default_value_t = framegate_wire::limits::AREA_MAX)]
        area_max: u32,
        /// Video to write, .mp4 or .webm
        #[arg(long)]
        video: Option<std::path::PathBuf>,
    },
    /// Check whether a pipeline's processors keep the rules; standard output gets lines of JSON for `framegate check`
    Check {
        /// What to load, as the JSON of a `PipelineSpec`
        #[arg(long, value_parser = parse_pipeline)]
        pipeline: PipelineSpec,
    },
    /// Make a test clip
    Clip(clip::ClipArgs),
    /// Measure decoding and processing without a network
    Raw(raw::RawArgs),
    /// Check codecs and sandbox of this machine
    Doctor(doctor::DoctorArgs),
    /// Unpack headers, Python package and Rust crate for authors of processors, and print their folder
    Sdk(sdk::SdkArgs),
}

fn parse_pipeline(text: &str) -> Result<PipelineSpec, String> {
    serde_json::from_str(text).map_err(|error| format!("not a pipeline: {error}"))
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Nursery { pipeline, once } => {
            let mode = if once { nursery::Mode::Once } else { nursery::Mode::Fork };
            nursery::run(&nursery::Options { pipeline, mode }).map_err(|error| anyhow::Error::msg(error.to_string()))
        }
        Command::Offline { pipeline, clip, sets, seed, area_max, video } => {
            match offline::run(&offline::Options { pipeline, clip, area_max, seed, sets, video }) {
                Ok(true) => Ok(()),
                // What went wrong has been told on standard output.
                Ok(false) => return ExitCode::FAILURE,
                Err(error) => Err(error.into()),
            }
        }
        Command::Check { pipeline } => match check::run(&pipeline) {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => Err(error.into()),
        },
        Command::Clip(arguments) => clip::run(&arguments),
        Command::Raw(arguments) => raw::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Sdk(arguments) => sdk::run(&arguments),
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
