//! Single pictures, asked for over HTTP and answered by the engine after its next frame.

use framegate_wire::{Seq, ToEngine, View};

use super::hostile::EngineError;
use crate::backlog::Backlog;

/// How every JPEG begins and ends (ITU-T T.81 B.1.1.3): SOI with the next marker's first byte, and EOI.
const JPEG_BEGIN: [u8; 3] = [0xff, 0xd8, 0xff];
const JPEG_END: [u8; 2] = [0xff, 0xd9];

/// A picture for those who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Which picture.
    pub view: View,
    /// The frame shown.
    pub seq: Seq,
    /// A JPEG; empty when there is no such picture.
    pub jpeg: Vec<u8>,
}

/// Wishes for pictures, at most one for each view.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    wanted: Vec<(View, u64)>,
    last_id: u64,
    taken: Vec<Snapshot>,
}

impl Snapshots {
    /// Wants a picture; `backlog` is that of an engine that listens. Whoever asks again waits for the same picture.
    pub(super) fn want(&mut self, view: View, backlog: Option<&mut Backlog>) {
        if self.wanted.iter().any(|(wanted, _)| *wanted == view) {
            return;
        }
        self.last_id += 1;
        // An engine with so much to read that this does not fit gives no picture: whoever waits is told after a time.
        if backlog.is_none_or(|backlog| ask(backlog, view, self.last_id)) {
            self.wanted.push((view, self.last_id));
        }
    }

    /// Asks a new engine for what the one before did not give.
    pub(super) fn ask_again(&mut self, backlog: &mut Backlog) {
        self.wanted.retain(|(view, id)| ask(backlog, *view, *id));
    }

    /// The engine's answer. One that nobody waits for is ignored.
    pub(super) fn on_answer(&mut self, id: u64, seq: Seq, payload: &[u8]) -> Result<(), EngineError> {
        let is_jpeg = payload.starts_with(&JPEG_BEGIN) && payload.ends_with(&JPEG_END);
        if !payload.is_empty() && !is_jpeg {
            return Err(EngineError::Page("a snapshot is no JPEG"));
        }
        if let Some(index) = self.wanted.iter().position(|(_, wanted)| *wanted == id) {
            let (view, _) = self.wanted.swap_remove(index);
            self.taken.push(Snapshot { view, seq, jpeg: payload.to_vec() });
        }
        Ok(())
    }

    /// The next picture that has come.
    pub(super) fn take(&mut self) -> Option<Snapshot> {
        self.taken.pop()
    }
}

fn ask(backlog: &mut Backlog, view: View, id: u64) -> bool {
    backlog.push_extra(&ToEngine::Snapshot { id, view }, &[])
}
