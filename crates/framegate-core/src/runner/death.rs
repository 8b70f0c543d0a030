//! How an engine ended, in words.

use framegate_wire::{ExitKind, FaultReport, FaultStage, signal_name};

use crate::supervisor::Policy;

/// How an engine ended, as far as its nursery knows.
#[derive(Debug, Clone, Default)]
pub struct Death {
    /// Status or signal.
    pub kind: Option<ExitKind>,
    /// What its fault handler said.
    pub fault: Option<FaultReport>,
    /// Why it could not be launched at all.
    pub launch_error: Option<String>,
}

impl Death {
    /// An engine that was never there.
    #[must_use]
    pub fn unlaunched(why: impl Into<String>) -> Self {
        Self { launch_error: Some(why.into()), ..Self::default() }
    }

    /// How it ended, for people.
    #[must_use]
    pub fn text(&self) -> String {
        if let Some(error) = &self.launch_error {
            return format!("the engine could not be started: {error}");
        }
        let how = match self.kind {
            Some(ExitKind::Signal(signal)) => format!("ended by {}", signal_name(signal)),
            Some(ExitKind::Code(code)) => format!("the processor called exit({code})"),
            None => "the engine ended".to_owned(),
        };
        let Some(fault) = &self.fault else { return how };
        let place = match fault.stage {
            FaultStage::Process => "in the processor",
            FaultStage::Create => "while the processor was made",
            FaultStage::Decode => "in the decoder",
            FaultStage::Convert => "in the conversion",
            FaultStage::Idle => "between frames",
        };
        let function = fault.function.as_deref().map(|name| format!(", function {name}")).unwrap_or_default();
        let location = fault.location.as_deref().map(|at| format!(" ({at})")).unwrap_or_default();
        format!("{how} {place}{function}{location}")
    }

    /// Name of the signal that ended it.
    pub(super) fn signal(&self) -> Option<String> {
        match self.kind? {
            ExitKind::Signal(signal) => Some(signal_name(signal)),
            ExitKind::Code(_) => None,
        }
    }
}

/// What the page is told.
pub(super) fn describe(death: &Death, hung: bool, policy: Policy) -> String {
    if hung && death.launch_error.is_none() {
        return format!("no progress for {} ms: killed", policy.hard_deadline.as_millis());
    }
    death.text()
}
