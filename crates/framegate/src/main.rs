//! `framegate`: runs any algorithm on live video. This program takes arguments and gives exit codes; what it does is in
//! `framegate-gateway` and, where codecs are needed, in its sibling program `framegate-engine`.

#![forbid(unsafe_code)]

mod check;
mod doctor;
mod failure;
mod list;
mod load;
mod log;
mod new;
mod pipeline;
mod run;
mod sdk;
mod serve;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use failure::Failure;

/// Run any algorithm, in C, C++, Rust, Python or GStreamer, on live video; results come back bound to the exact frame
#[derive(Debug, Parser)]
#[command(name = "framegate", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeArgs,
}

/// What `--help` ends with.
const AFTER_HELP: &str = "\
Without a command, framegate serves. Every option of a config file, with its default: framegate.toml.

Environment: FRAMEGATE_LOG=debug|info|warn|…  FRAMEGATE_SECTION__KEY=VALUE sets section.key of the config
             FRAMEGATE_PROCESSORS=FOLDER  processors to use when none are named
Exit codes:  0 ok  1 failure  2 usage  3 config  4 environment (port, engine program, permissions)";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve pages, WHIP and the API (the default)
    Serve(serve::ServeArgs),
    /// Show what is there without serving it
    List(list::ListArgs),
    /// Run a pipeline on a clip or an image, and print a result for every frame
    Run(run::RunArgs),
    /// Check whether a processor keeps the rules: memory, sizes, results, leaks, sandbox
    Check(check::CheckArgs),
    /// Make a folder with a new processor, a test clip and what it gives
    New(new::NewArgs),
    /// Print the folder of headers, Python package and Rust crate for authors of processors
    Sdk(sdk::SdkArgs),
    /// Say what is wrong with this machine, and how to mend it
    Doctor(doctor::DoctorArgs),
    /// Send synthetic sessions to a framegate and measure what comes back
    Load(load::LoadArgs),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        None => serve::run(&arguments.serve),
        Some(Command::Serve(options)) => serve::run(&options),
        Some(Command::List(options)) => list::run(&options),
        Some(Command::Check(options)) => check::run(&options),
        Some(Command::Run(options)) => run::run(&options),
        Some(Command::New(options)) => new::run(&options),
        Some(Command::Sdk(options)) => sdk::run(&options),
        Some(Command::Doctor(options)) => doctor::run(&options),
        Some(Command::Load(options)) => load::run(&options).map_err(Failure::from),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            // Standard error may be closed; there is nobody else to tell.
            let _ = write!(std::io::stderr(), "{}", failure.shown());
            ExitCode::from(failure.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
