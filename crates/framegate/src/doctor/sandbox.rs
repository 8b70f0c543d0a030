//! What each pipeline's processors may do here.

use std::path::PathBuf;

use framegate_gateway::config::{Config, Pipeline};
use framegate_wire::SandboxMode;
use serde::Serialize;

use super::Check;

const NAME: &str = "reads";

/// What the kernel has for a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kernel {
    /// Version of Landlock, if there is one.
    pub(super) landlock: Option<u32>,
    /// Whether system calls are filtered.
    pub(super) seccomp: bool,
}

/// The sandbox, for programs that ask.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    landlock: Option<u32>,
    seccomp: bool,
    pipelines: Vec<InForce>,
}

/// What is in force for the processors of one pipeline.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct InForce {
    pipeline: String,
    mode: SandboxMode,
    /// `restricted`, or `unrestricted` in a kernel without Landlock.
    reads: &'static str,
    network: bool,
    /// What may be read beside the system's libraries.
    readable: Vec<PathBuf>,
}

/// What is in force for each pipeline.
pub(super) fn report(config: &Config, kernel: Kernel) -> Report {
    let in_force = |pipeline: &Pipeline| InForce {
        pipeline: pipeline.name.clone(),
        mode: pipeline.spec(config).sandbox,
        reads: if kernel.landlock.is_some() { "restricted" } else { "unrestricted" },
        network: false,
        readable: readable(config, pipeline),
    };
    Report {
        landlock: kernel.landlock,
        seccomp: kernel.seccomp,
        pipelines: config.pipelines.iter().map(in_force).collect(),
    }
}

/// A line for each pipeline that is granted something; without Landlock there is nothing to grant.
pub(super) fn checks(config: &Config, kernel: Kernel) -> Vec<Check> {
    if kernel.landlock.is_none() {
        return Vec::new();
    }
    config.pipelines.iter().filter_map(|pipeline| check(&pipeline.name, &granted(config, pipeline))).collect()
}

fn check(pipeline: &str, granted: &[PathBuf]) -> Option<Check> {
    if granted.is_empty() {
        return None;
    }
    let shown = |paths: &[&PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let (there, missing): (Vec<_>, Vec<_>) = granted.iter().partition(|path| path.exists());
    if missing.is_empty() {
        return Some(Check::ok(NAME, format!("{pipeline}: {}, beside its own folder", shown(&there))));
    }
    let text = format!("{pipeline}: {} does not exist, so it is not granted", shown(&missing));
    Some(Check::warn(NAME, text, "correct `readable` in framegate.toml"))
}

/// What the configuration grants.
fn granted(config: &Config, pipeline: &Pipeline) -> Vec<PathBuf> {
    pipeline.spec(config).readable
}

/// What it grants, and the folders the processors lie in.
fn readable(config: &Config, pipeline: &Pipeline) -> Vec<PathBuf> {
    let steps = pipeline.steps();
    let own = steps.iter().filter_map(|step| Some(step.processor.path()?.parent()?.to_owned()));
    let mut all: Vec<PathBuf> = own.chain(granted(config, pipeline)).collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use framegate_wire::Source;

    use super::*;

    fn config() -> Config {
        let mut config = Config::default();
        config.engine.readable = vec!["/usr".into()];
        let mut faces = Pipeline::new("faces".to_owned(), Source::Library("/opt/algo/faces.so".into()));
        faces.readable = vec!["/does/not/exist".into()];
        config.pipelines = vec![faces, Pipeline::new("edge".to_owned(), Source::GStreamer("edgetv".to_owned()))];
        config
    }

    #[test]
    fn says_what_each_pipeline_may_read() {
        let report = report(&config(), Kernel { landlock: Some(6), seccomp: true });
        let json = serde_json::to_value(&report).unwrap();
        let expected = serde_json::json!({
            "landlock": 6, "seccomp": true,
            "pipelines": [
                { "pipeline": "faces", "mode": "enforce", "reads": "restricted", "network": false,
                  "readable": ["/does/not/exist", "/opt/algo", "/usr"] },
                { "pipeline": "edge", "mode": "enforce", "reads": "restricted", "network": false, "readable": ["/usr"] },
            ],
        });
        assert_eq!(json, expected);
        let without = super::report(&config(), Kernel { landlock: None, seccomp: true });
        assert!(without.pipelines.iter().all(|pipeline| pipeline.reads == "unrestricted"));
    }

    #[test]
    fn a_grant_that_is_not_there_is_told() {
        let checks = checks(&config(), Kernel { landlock: Some(6), seccomp: true });
        let texts: Vec<_> = checks.iter().map(|check| check.text.as_str()).collect();
        assert_eq!(
            texts,
            ["faces: /does/not/exist does not exist, so it is not granted", "edge: /usr, beside its own folder"]
        );
        assert!(super::checks(&config(), Kernel { landlock: None, seccomp: true }).is_empty());
    }
}
