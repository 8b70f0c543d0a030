//! `framegate doctor`: everything a machine must have, each with what was found and how to mend it.

mod engine;
mod machine;
mod sandbox;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use crate::failure::Failure;
use crate::serve::ServeArgs;

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

/// How good a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// As it should be.
    Ok,
    /// framegate works, but less well or less safely.
    Warn,
    /// framegate cannot work.
    Fail,
}

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    level: Level,
    /// What was found.
    text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, text: text.into(), remedy: None }
    }

    fn warn(name: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, level: Level::Warn, text: text.into(), remedy: Some(remedy.into()) }
    }

    fn fail(name: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, level: Level::Fail, text: text.into(), remedy: Some(remedy.into()) }
    }
}

/// Looks at everything and prints what it found.
///
/// Only what `serve` with the same options would need counts as a failure.
pub(crate) fn run(arguments: &DoctorArgs) -> Result<ExitCode, Failure> {
    let (checks, sandbox) = checks(&arguments.serve);
    let fit = checks.iter().all(|check| check.level != Level::Fail);
    let mut out = std::io::stdout().lock();
    let text = if arguments.json {
        let body = serde_json::json!({ "ok": fit, "version": env!("CARGO_PKG_VERSION"), "checks": checks, "sandbox": sandbox });
        serde_json::to_string_pretty(&body).context("writing JSON")? + "\n"
    } else {
        let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        checks.iter().map(|check| shown(check, colours)).collect()
    };
    // A reader that has seen enough is no failure.
    let _ = out.write_all(text.as_bytes());
    if fit { Ok(ExitCode::SUCCESS) } else { Err(Failure::Unfit) }
}

/// Everything that was found, and what is in force of the sandbox, if the engine program could say.
fn checks(arguments: &ServeArgs) -> (Vec<Check>, Option<sandbox::Report>) {
    let mut checks = Vec::new();
    let config = match arguments.load() {
        Ok(setup) => {
            let from =
                setup.path.map_or("defaults, no framegate.toml here".to_owned(), |path| path.display().to_string());
            checks.push(Check::ok("config", from));
            checks.push(machine::processors(&setup.config, setup.installed.as_deref()));
            setup.config
        }
        Err(failure) => {
            checks.push(Check::fail(
                "config",
                failure.to_string(),
                "correct it; framegate.toml describes every option",
            ));
            framegate_gateway::config::Config::default()
        }
    };
    checks.extend(machine::ports(&config));
    checks.push(machine::addresses());
    let (engine, kernel) = engine::checks(&config);
    checks.extend(engine);
    checks.extend(kernel.iter().flat_map(|kernel| sandbox::checks(&config, *kernel)));
    checks.push(machine::receive_buffer());
    checks.push(machine::open_files(&config));
    checks.push(machine::compiler());
    (checks, kernel.map(|kernel| sandbox::report(&config, kernel)))
}

fn shown(check: &Check, colours: bool) -> String {
    let (word, colour) = match check.level {
        Level::Ok => ("ok", "32"),
        Level::Warn => ("warn", "33"),
        Level::Fail => ("FAIL", "31"),
    };
    let word = format!("{word:<4}");
    let word = if colours { format!("\x1b[{colour}m{word}\x1b[0m") } else { word };
    let remedy = check.remedy.as_ref().map(|remedy| format!("{:20}→ {remedy}\n", "")).unwrap_or_default();
    format!("{word}  {:<13} {}\n{remedy}", check.name, check.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedy_stands_below_its_finding() {
        let text = shown(&Check::warn("open files", "1024", "ulimit -n 65536"), false);
        assert_eq!(text, "warn  open files    1024\n                    → ulimit -n 65536\n");
    }
}
