//! `framegate sdk`: where headers, Python package and Rust crate for authors are. The engine program carries them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;
use framegate_gateway::config::Config;
use serde::Deserialize;

use crate::failure::Failure;

/// Options of `sdk`.
#[derive(Debug, clap::Args)]
pub(crate) struct SdkArgs {
    /// Print JSON with each part's folder
    #[arg(long)]
    json: bool,
}

/// Where the parts of the kit are, as `framegate-engine sdk --json` says.
#[derive(Debug, Deserialize)]
pub(crate) struct Kit {
    /// Folder of the crate `framegate-abi`.
    pub(crate) rust: PathBuf,
}

/// Prints the folder.
pub(crate) fn run(arguments: &SdkArgs) -> Result<ExitCode, Failure> {
    let answer = ask(arguments.json)?;
    std::io::Write::write_all(&mut std::io::stdout(), &answer).context("writing the answer")?;
    Ok(ExitCode::SUCCESS)
}

/// Unpacks the kit and says where it is.
pub(crate) fn kit() -> Result<Kit, Failure> {
    Ok(serde_json::from_slice(&ask(true)?).context("reading what framegate-engine sdk says")?)
}

fn ask(is_json: bool) -> Result<Vec<u8>, Failure> {
    engine(["sdk"].into_iter().chain(is_json.then_some("--json")))
}

/// Runs the engine program and returns what it prints.
fn engine(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Vec<u8>, Failure> {
    let program = Config::default().engine_program().context("finding the engine program")?;
    let shown = |program: &Path| program.display().to_string();
    let output = Command::new(&program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| Failure::environment(format!("starting {}: {error}", shown(&program))))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().trim_start_matches("framegate-engine: ");
    Err(Failure::environment(if said.is_empty() {
        format!("{}: {}", shown(&program), output.status)
    } else {
        said.to_owned()
    }))
}
