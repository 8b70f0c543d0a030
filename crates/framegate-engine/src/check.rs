//! `framegate-engine check`: whether a processor keeps the rules, before anybody depends on it.
//!
//! Each step runs in an engine of its own, so that a crash is a verdict. Standard output gets one
//! [`CheckLine`] of JSON a line.

mod seen;
mod steps;

use std::{
    io::{self, Write as _},
    time::Duration,
};

use framegate_wire::{CheckLine, CheckVerdict, ExitKind, FromOffline, PipelineSpec, SandboxMode};

use crate::nursery::{
    alone::{self, AloneError, End, Heard, Task},
    take_stdin,
};
use seen::{Seen, line};
use steps::Step;

/// Longest silence of a step: a frame of any size is through by then.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why nothing could be told of a check.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// Nobody reads.
    #[error("writing to standard output: {0}")]
    Output(#[from] io::Error),
    /// The machine does not give what is needed.
    #[error("{0}")]
    System(String),
}

/// Checks the processors of a pipeline; `true` when no rule is broken. Call from the only thread.
///
/// # Errors
/// [`CheckError`].
pub fn run(pipeline: &PipelineSpec) -> Result<bool, CheckError> {
    take_stdin().map_err(|error| CheckError::System(format!("taking standard input: {error}")))?;
    let mut check = Check { pipeline: pipeline.clone(), findings: Vec::new(), notice: None, worst: CheckVerdict::Ok };
    if check.load()? {
        check.instances()?;
        check.frames()?;
        check.tried(Step::Params, "parameters", "values of parameters")?;
        check.tried(Step::Messages, "messages", "messages")?;
        check.state()?;
        check.endurance()?;
        check.sandbox()?;
    }
    Ok(check.worst != CheckVerdict::Fail)
}

/// A check under way.
struct Check {
    pipeline: PipelineSpec,
    /// What the live sandbox would refuse.
    findings: Vec<String>,
    /// Why there is no audit.
    notice: Option<String>,
    worst: CheckVerdict,
}

/// How a step ended that did not go through.
type Broken = (String, Option<String>);

impl Check {
    /// Runs a step. The error says what went wrong.
    fn step(&mut self, step: Step, sandbox: SandboxMode) -> Result<Result<Seen, Broken>, CheckError> {
        let mut seen = Seen::default();
        let pipeline = PipelineSpec { sandbox, ..self.pipeline.clone() };
        let (findings, notice) = (&mut self.findings, &mut self.notice);
        let ended = alone::run(
            Task { pipeline: &pipeline, patience: Some(PATIENCE) },
            |loaded, socket| steps::run(step, loaded, socket),
            |_, heard| {
                match heard {
                    Heard::Loaded(threads) => seen.threads = threads,
                    Heard::Message(FromOffline::Notice { text }, payload) => seen.hear(&text, payload),
                    Heard::Message(FromOffline::Failed { text, .. }, _) => seen.failed = Some(text),
                    Heard::Message(..) => {}
                    Heard::Finding(finding) => {
                        let text = finding.to_string();
                        if !findings.contains(&text) {
                            findings.push(text);
                        }
                    }
                    Heard::Notice(text) => *notice = Some(text),
                }
                Ok(())
            },
        );
        Ok(match ended {
            Ok(_) if seen.failed.is_some() => Err((seen.failed.unwrap_or_default(), None)),
            Ok(End { kind: ExitKind::Code(0), .. }) if seen.is_done => Ok(seen),
            Ok(end) => {
                let (text, remedy) = seen.crash(&end);
                Err((text, Some(remedy)))
            }
            Err(AloneError::System(what, error)) => return Err(CheckError::System(format!("{what}: {error}"))),
            Err(error @ AloneError::Silent(_)) => {
                let remedy = "process must return; do long work in a thread of your own".to_owned();
                Err((format!("hangs: {error}"), Some(remedy)))
            }
            Err(error) => Err((error.to_string(), None)),
        })
    }

    fn tell(&mut self, line: &CheckLine) -> Result<(), CheckError> {
        self.worst = self.worst.max(line.verdict);
        let text = serde_json::to_string(line).map_err(io::Error::other)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        Ok(out.flush()?)
    }

    fn broken(&mut self, name: &str, (text, remedy): Broken) -> Result<(), CheckError> {
        self.tell(&line(name, CheckVerdict::Fail, text, remedy.as_deref()))
    }

    fn load(&mut self) -> Result<bool, CheckError> {
        let seen = match self.step(Step::Load, SandboxMode::Audit)? {
            Ok(seen) => seen,
            Err(broken) => {
                self.broken("load", broken)?;
                return Ok(false);
            }
        };
        self.tell(&line("load", CheckVerdict::Ok, seen.infos.join("; "), None))?;
        if seen.threads > 0 {
            let text = format!("starts {} threads when it is loaded: it is loaded anew for each stream", seen.threads);
            let remedy = Some("start them in create, so that one loaded copy serves all streams");
            self.tell(&line("threads", CheckVerdict::Warn, text, remedy))?;
        }
        Ok(true)
    }

    fn instances(&mut self) -> Result<(), CheckError> {
        match self.step(Step::Instances, SandboxMode::Audit)? {
            Ok(seen) => self.tell(&seen.instances()),
            Err(broken) => self.broken("instances", broken),
        }
    }

    fn frames(&mut self) -> Result<(), CheckError> {
        match self.step(Step::Frames, SandboxMode::Audit)? {
            Ok(seen) => self.tell(&seen.results()),
            Err(broken) => self.broken("frames", broken),
        }
    }

    fn tried(&mut self, step: Step, name: &str, what: &str) -> Result<(), CheckError> {
        match self.step(step, SandboxMode::Audit)? {
            Ok(seen) => self.tell(&seen.trials(name, what)),
            Err(broken) => self.broken(name, broken),
        }
    }

    fn state(&mut self) -> Result<(), CheckError> {
        let seen = match self.step(Step::SaveState, SandboxMode::Audit)? {
            Ok(seen) => seen,
            Err(broken) => return self.broken("state", broken),
        };
        if let Some(why) = seen.nothing {
            return self.tell(&line("state", CheckVerdict::Ok, why, None));
        }
        let bytes: usize = seen.states.iter().map(|state| state.bytes.len()).sum();
        if seen.states.is_empty() {
            let text = "nothing was saved after 30 frames".to_owned();
            return self.tell(&line("state", CheckVerdict::Warn, text, Some("save returns how many bytes it wrote")));
        }
        match self.step(Step::LoadState(seen.states), SandboxMode::Audit)? {
            Ok(_) => {
                let text = format!("{bytes} bytes, taken over by another engine");
                self.tell(&line("state", CheckVerdict::Ok, text, None))
            }
            Err(broken) => self.broken("state", broken),
        }
    }

    fn endurance(&mut self) -> Result<(), CheckError> {
        match self.step(Step::Endurance, SandboxMode::Audit)? {
            Ok(seen) => {
                self.tell(&seen.memory())?;
                self.tell(&seen.time())
            }
            Err(broken) => self.broken("memory", broken),
        }
    }

    /// What `serve` would refuse, and whether the processor gets along without.
    fn sandbox(&mut self) -> Result<(), CheckError> {
        let served = self.step(Step::Few, SandboxMode::Enforce)?;
        let remedy = "`framegate run` says the same on your own clip; its guide says what a processor may do";
        let findings = std::mem::take(&mut self.findings);
        match (served, findings.is_empty()) {
            (Err((text, _)), _) => {
                let text = std::iter::once(format!("fails when served: {text}")).chain(findings);
                let text = text.collect::<Vec<_>>().join("; ");
                self.tell(&line("sandbox", CheckVerdict::Fail, text, Some(remedy)))
            }
            (Ok(_), false) => self.tell(&line("sandbox", CheckVerdict::Warn, findings.join("; "), Some(remedy))),
            (Ok(_), true) => {
                let text = match self.notice.take() {
                    Some(notice) => format!("runs when served; {notice}"),
                    None => "needs nothing that serve refuses".to_owned(),
                };
                self.tell(&line("sandbox", CheckVerdict::Ok, text, None))
            }
        }
    }
}
