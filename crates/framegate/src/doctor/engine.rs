//! The engine program: whether it is there, runs, and finds its codecs and its sandbox.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use framegate_gateway::config::Config;
use serde::Deserialize;

use super::sandbox::Kernel;
use super::{Check, Level};

const NAME: &str = "engine";

/// What the engine program says about itself: `framegate-engine doctor --json`.
#[derive(Debug, Deserialize)]
struct Report {
    checks: Vec<Reported>,
    landlock: Option<u32>,
    #[serde(default)]
    seccomp: bool,
}

#[derive(Debug, Deserialize)]
struct Reported {
    name: String,
    level: ReportedLevel,
    text: String,
    remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ReportedLevel {
    Ok,
    Warn,
    Fail,
}

/// Names under which findings of the engine program are shown; others are shown as its own.
const SHOWN: [&str; 4] = ["codecs", "sandbox", "landlock", "seccomp"];

/// Findings about the engine program, and what the kernel has for its sandbox, if the program could say.
pub(super) fn checks(config: &Config) -> (Vec<Check>, Option<Kernel>) {
    let program = match config.engine_program() {
        Ok(program) => program,
        Err(error) => {
            return (vec![Check::fail(NAME, error.to_string(), "set engine.program in framegate.toml")], None);
        }
    };
    if !program.is_file() {
        let text = format!("{} does not exist", program.display());
        let remedy = "build or install it beside framegate, or set engine.program in framegate.toml";
        return (vec![Check::fail(NAME, text, remedy)], None);
    }
    let version = version(&program);
    if version.level == Level::Fail {
        return (vec![version], None);
    }
    let mut checks = vec![version];
    match own_report(&program) {
        Some((report, kernel)) => {
            checks.extend(report);
            (checks, Some(kernel))
        }
        None => {
            checks.extend(kernel());
            (checks, None)
        }
    }
}

fn run(program: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(program).args(arguments).stdin(Stdio::null()).output()
}

/// Starting it at all means that all of its codec libraries were found.
fn version(program: &Path) -> Check {
    let shown = program.display();
    let output = match run(program, &["--version"]) {
        Ok(output) => output,
        Err(error) => {
            return Check::fail(
                NAME,
                format!("{shown}: {error}"),
                "install it again beside framegate, or set engine.program",
            );
        }
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("it says nothing");
        let remedy =
            "install the libraries it names; on Debian: sudo apt install libavcodec59 libavformat59 libavutil57";
        return Check::fail(NAME, format!("{shown}: {}: {said}", output.status), remedy);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.trim().strip_prefix("framegate-engine ").unwrap_or_default();
    if version == env!("CARGO_PKG_VERSION") {
        return Check::ok(NAME, format!("{shown} {version}, codec libraries found"));
    }
    let text = format!("{shown} is version `{version}`, framegate is {}", env!("CARGO_PKG_VERSION"));
    Check::fail(NAME, text, "install both from the same package")
}

/// What the engine program found out, if it knows the command.
fn own_report(program: &Path) -> Option<(Vec<Check>, Kernel)> {
    let output = run(program, &["doctor", "--json"]).ok()?;
    let report: Report = serde_json::from_slice(&output.stdout).ok()?;
    let check = |reported: Reported| Check {
        name: SHOWN.into_iter().find(|name| *name == reported.name).unwrap_or(NAME),
        level: match reported.level {
            ReportedLevel::Ok => Level::Ok,
            ReportedLevel::Warn => Level::Warn,
            ReportedLevel::Fail => Level::Fail,
        },
        text: reported.text,
        remedy: reported.remedy,
    };
    let kernel = Kernel { landlock: report.landlock, seccomp: report.seccomp };
    Some((report.checks.into_iter().map(check).collect(), kernel))
}

/// What the kernel says it has for a sandbox.
fn kernel() -> Vec<Check> {
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let landlock = if modules.split(',').any(|module| module.trim() == "landlock") {
        Check::ok("landlock", "engines read only what the config grants")
    } else {
        let remedy = "boot with `landlock` in the kernel's lsm= list, as Debian 12 does";
        Check::warn("landlock", "not seen in this kernel: reads of engines may not be restricted", remedy)
    };
    let seccomp = if actions.contains("errno") {
        Check::ok("seccomp", "engines get no network, no programs and no writing of files")
    } else {
        Check::warn(
            "seccomp",
            "not seen in this kernel: engines may not be confined",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        )
    };
    vec![landlock, seccomp]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_broken_engines_are_failures() {
        let check = |program: &str, expected: &str| {
            let mut config = Config::default();
            config.engine.program = Some(program.into());
            let (checks, kernel) = checks(&config);
            assert!(kernel.is_none());
            assert_eq!(checks.len(), 1);
            assert_eq!(checks[0].level, Level::Fail);
            assert!(checks[0].text.contains(expected), "{}", checks[0].text);
            assert!(checks[0].remedy.is_some());
        };
        check("/does/not/exist", "does not exist");
        check("/bin/false", "exit status: 1");
        check("/bin/true", "framegate is ");
    }
}
