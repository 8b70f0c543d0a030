//! Sessions, pipelines and processors as the API shows them.

use std::path::PathBuf;

use framegate_core::schema;
use framegate_wire::{Isolation, SandboxMode};
use serde::Serialize;
use serde_json::Value;

use crate::engines::costs::Cost;
use crate::engines::registry::{PipelineEntry, ProcessorState};

/// A session as the API shows it.
#[derive(Debug, Serialize)]
pub struct SessionReport {
    /// Public name of the stream.
    pub stream: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// `connecting`, `live`, `closing` or `closed`.
    pub state: &'static str,
    /// `idle`, `starting`, `running`, `waiting`, `closing` or `closed`.
    pub engine: &'static str,
    /// Process id of the engine.
    pub engine_pid: Option<u32>,
    /// Engines started in place of a dead one.
    pub engine_restarts: u64,
    /// CPU time of all engines of the session, in microseconds.
    pub engine_cpu_us: u64,
    /// Time since the offer, in milliseconds.
    pub age_ms: u64,
    /// `{"counts":…}` as in the results.
    #[serde(flatten)]
    pub summary: Value,
}

/// A pipeline as the API shows it.
#[derive(Debug, Serialize)]
pub struct PipelineReport {
    /// Its name in URLs.
    pub name: String,
    /// Its processors, in their order.
    pub processors: Vec<ProcessorReport>,
}

/// A processor as the API shows it.
#[derive(Debug, Serialize)]
pub struct ProcessorReport {
    /// Name of its pipeline.
    pub pipeline: String,
    /// Its own name, or one made of its file until it is loaded.
    pub name: String,
    /// Its version text.
    pub version: String,
    /// One sentence.
    pub description: String,
    /// What it is written in; empty when it does not say.
    pub language: String,
    /// Where it comes from, as a config names it.
    pub source: String,
    /// `idle`, `loading`, `ready` or `failed`.
    pub state: &'static str,
    /// Why it failed and what to do.
    pub error: Option<String>,
    /// Its parameters as in the control channel's `processors`.
    pub params: Vec<Value>,
    /// What it wants to be given, once that is known.
    pub want: Option<Value>,
    /// Whether it takes messages of the page.
    pub takes_messages: bool,
    /// What its calls took lately.
    pub cost: Option<Cost>,
    /// What the streams of its pipeline share.
    pub isolation: Isolation,
    /// What it may do.
    pub sandbox: SandboxReport,
}

/// What a processor may do.
#[derive(Debug, Serialize)]
pub struct SandboxReport {
    /// Whether what is not allowed is refused or only reported.
    pub mode: SandboxMode,
    /// `restricted`, or `unrestricted` where the kernel cannot restrict what is read; absent until it is loaded.
    pub reads: Option<&'static str>,
    /// Whether it reaches a network: never.
    pub network: bool,
    /// What the config lets it read.
    pub readable: Vec<PathBuf>,
}

impl PipelineReport {
    /// What is known of a pipeline.
    pub(crate) fn of(entry: &PipelineEntry) -> Self {
        let names = entry.processor_names();
        let processors = names.into_iter().enumerate().map(|(index, name)| ProcessorReport::of(entry, index, name));
        Self { name: entry.name.clone(), processors: processors.collect() }
    }

    /// Why its processors cannot be used, if so.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.processors.iter().find_map(|processor| processor.error.as_deref())
    }
}

impl ProcessorReport {
    fn of(entry: &PipelineEntry, index: usize, name: String) -> Self {
        let spec = &entry.spec;
        let mut report = Self {
            pipeline: entry.name.clone(),
            name,
            version: String::new(),
            description: String::new(),
            language: String::new(),
            source: spec.processors.get(index).map(|processor| processor.source.to_string()).unwrap_or_default(),
            state: "idle",
            error: None,
            params: Vec::new(),
            want: None,
            takes_messages: false,
            cost: entry.cost(index),
            isolation: spec.isolation,
            sandbox: SandboxReport { mode: spec.sandbox, reads: None, network: false, readable: spec.readable.clone() },
        };
        let (state, infos, is_on_trial) = entry.now();
        match state {
            ProcessorState::Idle => {}
            ProcessorState::Loading => report.state = "loading",
            ProcessorState::Ready(loaded) => {
                report.state = if is_on_trial { "loading" } else { "ready" };
                report.sandbox.reads = Some(if loaded.reads_restricted { "restricted" } else { "unrestricted" });
                if let Some(about) = loaded.processors.into_iter().nth(index) {
                    (report.version, report.description, report.language) =
                        (about.version, about.description, about.language);
                }
            }
            ProcessorState::Failed(text) => {
                report.state = "failed";
                report.error = Some(text);
            }
        }
        if let Some(info) = infos.as_ref().and_then(|infos| infos.get(index)) {
            report.params = info.params.iter().map(schema::param).collect();
            report.want = Some(schema::want(&info.want));
            report.takes_messages = info.takes_messages;
        }
        report
    }
}
