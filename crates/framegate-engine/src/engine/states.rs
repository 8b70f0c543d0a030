//! What the processors want kept: asked for now and then, sent when it has changed.

use framegate_wire::{FaultStage, FromEngine, LogLevel, SavedState, limits::PAYLOAD_BYTES_MAX};

use crate::{
    chain::Chain,
    clock::now_ns,
    limits::STATE_NS,
    nursery::fault::enter,
    outbox::{Outbox, SendError},
};

/// When the states were saved last, and what was sent.
#[derive(Debug)]
pub(super) struct States {
    is_kept: bool,
    saved_ns: u64,
    sent: Vec<u8>,
    /// Whether the log has been told that they do not fit.
    has_warned: bool,
}

impl States {
    /// `is_kept`: whether any processor keeps a state.
    pub(super) fn new(is_kept: bool) -> Self {
        // As if nothing had been kept: nobody need be told that.
        let sent = postcard::to_allocvec::<[SavedState]>(&[]).unwrap_or_default();
        Self { is_kept, saved_ns: now_ns(), sent, has_warned: false }
    }

    /// Whether it is time to save; notes it as done.
    pub(super) fn is_due(&mut self) -> bool {
        if !self.is_kept {
            return false;
        }
        let now_ns = now_ns();
        let is_due = now_ns.saturating_sub(self.saved_ns) >= STATE_NS;
        if is_due {
            self.saved_ns = now_ns;
        }
        is_due
    }

    /// Saves, and tells the gateway what is new.
    pub(super) fn save(&mut self, chain: &mut Chain, outbox: &Outbox) -> Result<(), SendError> {
        enter(FaultStage::Process);
        let mut states = chain.save_state();
        enter(FaultStage::Idle);
        let payload = loop {
            let bytes = postcard::to_allocvec(&states).unwrap_or_default();
            if bytes.len() <= PAYLOAD_BYTES_MAX {
                break bytes;
            }
            // One alone fits; the largest of several goes.
            let largest = (0..states.len()).max_by_key(|&index| states[index].bytes.len());
            if let Some(SavedState { name, .. }) = largest.map(|index| states.remove(index)) {
                self.warn(&name, outbox);
            }
        };
        if payload != self.sent {
            outbox.push(&FromEngine::State, &payload)?;
            self.sent = payload;
        }
        Ok(())
    }

    fn warn(&mut self, name: &str, outbox: &Outbox) {
        if !std::mem::replace(&mut self.has_warned, true) {
            let text = format!(
                "the states of all processors have more than {PAYLOAD_BYTES_MAX} bytes: that of `{name}` is not kept"
            );
            outbox.log(LogLevel::Warn, &text);
        }
    }
}
