//! The pipelines and what is known of their processors. Written by the launcher, read by the control plane.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use framegate_core::schema;
use framegate_wire::{Loaded, PipelineSpec, ProcessorInfo};

use super::costs::{Cost, Costs};
use crate::config::{Config, pipeline_name};

/// What became of loading a pipeline's processors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessorState {
    /// Nobody has asked for them yet.
    Idle,
    /// Their nursery is loading them.
    Loading,
    /// They can be forked.
    Ready(Loaded),
    /// They cannot be loaded, or no instance can be made; the text says why and what to do.
    Failed(String),
}

/// One pipeline.
#[derive(Debug)]
pub struct PipelineEntry {
    /// Its name in URLs.
    pub name: String,
    /// What its nursery loads.
    pub spec: PipelineSpec,
    known: Mutex<Known>,
    costs: Costs,
}

#[derive(Debug)]
struct Known {
    state: ProcessorState,
    /// What their instances are like, once a trial has shown it.
    infos: Option<Arc<Vec<ProcessorInfo>>>,
    /// Whether a trial is under way that may still fail.
    is_on_trial: bool,
    /// What was loaded after a failure, until its trial has succeeded.
    candidate: Option<Loaded>,
}

impl PipelineEntry {
    fn new(spec: PipelineSpec) -> Self {
        let known = Mutex::new(Known { state: ProcessorState::Idle, infos: None, is_on_trial: false, candidate: None });
        let costs = Costs::new(spec.processors.len());
        Self { name: spec.name.clone(), spec, known, costs }
    }

    /// What is known of the processors.
    #[must_use]
    pub fn state(&self) -> ProcessorState {
        self.known().state.clone()
    }

    /// What instances of the processors are like, in their order; `None` before a trial has shown it.
    #[must_use]
    pub fn infos(&self) -> Option<Arc<Vec<ProcessorInfo>>> {
        self.known().infos.clone()
    }

    /// State, what instances are like, and whether a trial is under way, all of one moment.
    pub(crate) fn now(&self) -> (ProcessorState, Option<Arc<Vec<ProcessorInfo>>>, bool) {
        let known = self.known();
        (known.state.clone(), known.infos.clone(), known.is_on_trial)
    }

    /// What the processor at a place of the pipeline has cost lately.
    #[must_use]
    pub fn cost(&self, processor: usize) -> Option<Cost> {
        self.costs.of(processor)
    }

    /// Hot path: notes the time of one call of the processor at a place.
    pub(crate) fn note_cost(&self, processor: usize, took_us: u32) {
        self.costs.note(processor, took_us);
    }

    /// Its nursery is being started. What has failed stays failed until it succeeds, so that nobody is told otherwise
    /// by each try.
    pub(crate) fn set_loading(&self) {
        let mut known = self.known();
        known.infos = None;
        known.is_on_trial = false;
        known.candidate = None;
        if !matches!(known.state, ProcessorState::Failed(_)) {
            known.state = ProcessorState::Loading;
        }
    }

    pub(crate) fn set_failed(&self, text: String) {
        let mut known = self.known();
        known.is_on_trial = false;
        known.candidate = None;
        known.state = ProcessorState::Failed(text);
    }

    /// Whether the processors are loaded and the trial that shows what they are like has not ended.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        self.known().is_on_trial
    }

    /// The trial's nursery is gone.
    pub(crate) fn end_trial(&self) {
        let mut known = self.known();
        known.is_on_trial = false;
        known.candidate = None;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What is inside is whole at any time: it is only ever replaced.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a nursery has loaded, and gives it back checked. Its processors' code ran in it, so that it may say
    /// anything.
    ///
    /// # Errors
    /// A text for people when it is not what was asked for.
    pub(crate) fn set_loaded(&self, mut loaded: Loaded) -> Result<Loaded, String> {
        let expected = self.spec.processors.len();
        if loaded.processors.len() != expected {
            return Err(format!("{} processors were loaded instead of {expected}", loaded.processors.len()));
        }
        for descriptor in &mut loaded.processors {
            schema::check_descriptor(descriptor);
            if !schema::is_name(&descriptor.name) {
                return Err(format!("`{}` is no name of a processor", descriptor.name.escape_debug()));
            }
        }
        let mut known = self.known();
        known.is_on_trial = loaded.tasks <= 1;
        if known.is_on_trial && matches!(known.state, ProcessorState::Failed(_)) {
            known.candidate = Some(loaded.clone());
        } else {
            known.state = ProcessorState::Ready(loaded.clone());
        }
        Ok(loaded)
    }

    /// Notes what the trial has shown.
    ///
    /// # Errors
    /// As [`set_loaded`](Self::set_loaded).
    pub(crate) fn set_described(&self, infos: Vec<ProcessorInfo>) -> Result<(), String> {
        let expected = self.spec.processors.len();
        let infos = schema::checked(infos).filter(|infos| infos.len() == expected);
        let infos = infos.ok_or("what it says of its processors makes no sense")?;
        let mut known = self.known();
        known.infos = Some(Arc::new(infos));
        known.is_on_trial = false;
        if let Some(loaded) = known.candidate.take() {
            known.state = ProcessorState::Ready(loaded);
        }
        Ok(())
    }

    /// Notes what a session's engine has shown, where no trial could.
    pub(crate) fn learn(&self, infos: Vec<ProcessorInfo>) {
        if self.infos().is_none() && !self.is_on_trial() {
            // An engine that says what makes no sense teaches nothing; its session has ended it.
            let _ = self.set_described(infos);
        }
    }

    /// Names of the processors, each once: their own when they are loaded, before that those of their files.
    #[must_use]
    pub fn processor_names(&self) -> Vec<String> {
        match self.state() {
            ProcessorState::Ready(loaded) => {
                schema::unique_names(loaded.processors.iter().map(|processor| processor.name.as_str()))
            }
            _ => {
                let of = |spec: &framegate_wire::ProcessorSpec| pipeline_name(&spec.source);
                let names: Vec<_> = self.spec.processors.iter().map(of).collect();
                schema::unique_names(names.iter().map(|name| name.as_deref().unwrap_or(&self.name)))
            }
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
        let entry = |pipeline: &crate::config::Pipeline| PipelineEntry::new(pipeline.spec(config));
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
