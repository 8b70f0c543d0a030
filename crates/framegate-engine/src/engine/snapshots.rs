//! Requests for one picture, answered after the next frame.

use std::collections::VecDeque;

use framegate_codec::{Image, Picture, jpeg};
use framegate_wire::{FromEngine, Seq, View};

use crate::{
    limits::{SNAPSHOT_BYTES_MAX, SNAPSHOTS_MAX},
    outbox::{Outbox, SendError},
};

/// What is asked for and not yet answered, oldest first.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    waiting: VecDeque<(u64, View)>,
}

impl Snapshots {
    /// Notes a request. When too many wait, the oldest is answered with no picture.
    pub(super) fn ask(&mut self, id: u64, view: View, outbox: &Outbox) -> Result<(), SendError> {
        if self.waiting.len() >= SNAPSHOTS_MAX
            && let Some((oldest, _)) = self.waiting.pop_front()
        {
            outbox.push(&FromEngine::Snapshot { id: oldest, seq: Seq(0) }, &[])?;
        }
        self.waiting.push_back((id, view));
        Ok(())
    }

    /// Whether any request waits.
    pub(super) fn is_any_wanted(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether somebody wants to see what the processors make of the next frame.
    pub(super) fn is_processed_wanted(&self) -> bool {
        self.waiting.iter().any(|(_, view)| *view == View::Processed)
    }

    /// Answers all who want the decoded picture.
    pub(super) fn answer_source(&mut self, seq: Seq, picture: &Picture<'_>, outbox: &Outbox) -> Result<(), SendError> {
        self.answer(View::Source, seq, || jpeg::of_picture(picture, SNAPSHOT_BYTES_MAX).ok(), outbox)
    }

    /// Answers all who want the processed picture; with none when there is none.
    pub(super) fn answer_processed(
        &mut self,
        seq: Seq,
        image: Option<&Image>,
        outbox: &Outbox,
    ) -> Result<(), SendError> {
        self.answer(View::Processed, seq, || jpeg::of_image(image?, SNAPSHOT_BYTES_MAX).ok(), outbox)
    }

    fn answer(
        &mut self,
        view: View,
        seq: Seq,
        encode: impl FnOnce() -> Option<Vec<u8>>,
        outbox: &Outbox,
    ) -> Result<(), SendError> {
        if self.waiting.iter().all(|(_, wanted)| *wanted != view) {
            return Ok(());
        }
        let jpeg = encode().unwrap_or_default();
        let mut sent = Ok(());
        self.waiting.retain(|&(id, wanted)| {
            if wanted == view && sent.is_ok() {
                sent = outbox.push(&FromEngine::Snapshot { id, seq }, &jpeg);
            }
            wanted != view
        });
        sent
    }
}
