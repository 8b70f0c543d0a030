//! The pipelines and what is known of their processors. Written by the launcher, read by the control plane.

use std::sync::{Arc, Mutex, PoisonError};

use framegate_wire::{Loaded, PipelineSpec};

use crate::config::Config;

/// What became of loading a processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessorState {
    /// Nobody has asked for it yet.
    Idle,
    /// Its nursery is loading it.
    Loading,
    /// It can be forked.
    Ready(Loaded),
    /// It cannot be loaded; the text says why and what to do.
    Failed(String),
}

/// One pipeline.
#[derive(Debug)]
pub struct PipelineEntry {
    /// Its name in URLs.
    pub name: String,
    /// What its nursery loads.
    pub spec: PipelineSpec,
    state: Mutex<ProcessorState>,
}

impl PipelineEntry {
    /// What is known of the processor.
    #[must_use]
    pub fn state(&self) -> ProcessorState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_state(&self, state: ProcessorState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The processor's own name once it is loaded, before that the pipeline's.
    #[must_use]
    pub fn processor_name(&self) -> String {
        match self.state() {
            ProcessorState::Ready(loaded) => {
                let names: Vec<_> = loaded.processors.into_iter().map(|processor| processor.name).collect();
                names.join("+")
            }
            _ => self.name.clone(),
        }
    }
}

/// All pipelines of the configuration, in its order.
#[derive(Debug, Clone)]
pub struct Registry {
    entries: Arc<Vec<PipelineEntry>>,
}

impl Registry {
    pub(crate) fn new(config: &Config) -> Self {
        let entry = |pipeline: &crate::config::Pipeline| PipelineEntry {
            name: pipeline.name.clone(),
            spec: pipeline.spec(config),
            state: Mutex::new(ProcessorState::Idle),
        };
        Self { entries: Arc::new(config.pipelines.iter().map(entry).collect()) }
    }

    /// All pipelines.
    #[must_use]
    pub fn entries(&self) -> &[PipelineEntry] {
        &self.entries
    }

    /// Place and entry of a pipeline.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(usize, &PipelineEntry)> {
        self.entries.iter().enumerate().find(|(_, entry)| entry.name == name)
    }
}
