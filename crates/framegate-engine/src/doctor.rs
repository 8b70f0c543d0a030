//! `framegate-engine doctor`: whether this machine has what engines need.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::Result;
use framegate_engine::confinement;
use serde::Serialize;

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Only put on an engine's sandbox
    #[arg(long, hide = true)]
    rehearse: bool,
}

/// The answer, which `framegate doctor` reads.
#[derive(Debug, Serialize)]
struct Report {
    checks: Vec<Check>,
    /// Version of the kernel's Landlock; absent without.
    #[serde(skip_serializing_if = "Option::is_none")]
    landlock: Option<u32>,
    /// Whether the kernel filters system calls.
    seccomp: bool,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    level: Level,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// Looks, and prints what it found. What is missing is an answer and no failure of the command.
pub(crate) fn run(arguments: &DoctorArgs) -> Result<()> {
    if arguments.rehearse {
        return Ok(confinement::rehearse()?);
    }
    let landlock = confinement::landlock_version();
    let has_seccomp = confinement::has_seccomp();
    let checks = vec![codecs(), sandbox(landlock), paths(landlock), seccomp(has_seccomp)];
    let report = Report { checks, landlock, seccomp: has_seccomp };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
        return Ok(());
    }
    for Check { name, level, text, remedy } in report.checks {
        let word = match level {
            Level::Ok => "ok",
            Level::Warn => "warning",
            Level::Fail => "failed",
        };
        writeln!(out, "{name:<9} {word:<8} {text}")?;
        if let Some(remedy) = remedy {
            writeln!(out, "{:<19}{remedy}", "")?;
        }
    }
    Ok(())
}

impl Check {
    fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, text: text.into(), remedy: None }
    }

    fn bad(name: &'static str, level: Level, text: impl Into<String>, remedy: &'static str) -> Self {
        Self { name, level, text: text.into(), remedy: Some(remedy) }
    }
}

fn codecs() -> Check {
    let versions = framegate_codec::versions();
    match framegate_codec::preload() {
        Ok(()) => Check::ok("codecs", format!("VP8 by {versions}")),
        Err(error) => {
            let remedy = "install an FFmpeg with its VP8 decoder; Debian's libavcodec59 has it";
            Check::bad("codecs", Level::Fail, format!("{error} ({versions})"), remedy)
        }
    }
}

/// Has a process of its own put on the whole sandbox of an engine.
fn sandbox(landlock: Option<u32>) -> Check {
    let rehearsed = std::env::current_exe()
        .and_then(|program| Command::new(program).args(["doctor", "--rehearse"]).stdin(Stdio::null()).output());
    let why = match rehearsed {
        Ok(output) if output.status.success() => {
            let reads = if landlock.is_some() { "reads as configured" } else { "reads are not restricted" };
            return Check::ok("sandbox", format!("engines get no network, programs or writing of files; {reads}"));
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
        Err(error) => error.to_string(),
    };
    let remedy = "in a container, let its own profile allow the system calls landlock_* and seccomp";
    Check::bad("sandbox", Level::Fail, format!("an engine cannot be confined: {why}"), remedy)
}

fn paths(landlock: Option<u32>) -> Check {
    if let Some(version) = landlock {
        return Check::ok("landlock", format!("version {version}: engines read only what the config grants"));
    }
    let remedy = "boot with `landlock` in the kernel's lsm= list, as Debian 12 does";
    Check::bad("landlock", Level::Warn, "not in this kernel: reads are not restricted", remedy)
}

fn seccomp(is_there: bool) -> Check {
    if is_there {
        return Check::ok("seccomp", "filters of system calls are available");
    }
    let remedy = "use a kernel with CONFIG_SECCOMP_FILTER";
    Check::bad("seccomp", Level::Fail, "filters of system calls are not available: engines do not start", remedy)
}
