//! What needs a codec is asked of the sibling program: clips, and the raw cost of decoding one.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use serde::Deserialize;

/// Name of the sibling program.
const ENGINE_PROGRAM: &str = "framegate-engine";

/// How long one measurement of the raw cost takes, in seconds: some 700 pictures of 480p.
const RAW_SECONDS: &str = "1";

/// Cost of decoding, converting and reading one picture in one thread without framegate.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct RawCost {
    pub(crate) cpu_us_per_frame: f64,
}

/// Where the engine program is: beside this one.
pub(crate) fn engine_program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program")?;
    let program = own.with_file_name(ENGINE_PROGRAM);
    ensure!(program.is_file(), "{} does not exist: it belongs beside {}", program.display(), own.display());
    Ok(program)
}

/// Measures the raw cost of `clip` now.
pub(crate) fn measure(program: &Path, clip: &Path) -> anyhow::Result<RawCost> {
    let output = Command::new(program)
        .arg("raw")
        .arg(clip)
        .args(["--json", "--seconds", RAW_SECONDS])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} raw failed: {}", program.display(), said.trim());
    serde_json::from_slice(&output.stdout).with_context(|| format!("reading what {} raw says", program.display()))
}

/// Makes the usual clip at `path`: 640×480 at 30 Hz, 20 s, 1 Mbit/s, with frame numbers and noise.
pub(crate) fn make_clip(path: &Path) -> anyhow::Result<()> {
    let program = engine_program()?;
    let output = Command::new(&program)
        .args(["clip", "--size", "640x480", "--rate", "30", "--frames", "600", "--kbit", "1000"])
        .args(["--key-interval", "75", "--seed", "1", "--output"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} clip failed: {}", program.display(), said.trim());
    Ok(())
}
