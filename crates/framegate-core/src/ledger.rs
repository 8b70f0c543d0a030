//! The books of one stream: every frame assembled ends in exactly one outcome.

use std::collections::VecDeque;

use framegate_wire::{Counts, DropReason, Epoch, Outcome, Seq, UnitHeader};

use crate::limits::{MISSED_PER_MESSAGE_MAX, OUTSTANDING_MAX};

/// A frame with no outcome yet.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its number.
    pub seq: Seq,
    /// Clock epoch of `rtp`.
    pub epoch: Epoch,
    /// RTP timestamp as on the wire.
    pub rtp: u32,
    /// Sender's capture time, µs of its Unix epoch.
    pub capture_us: Option<i64>,
    /// When its last packet arrived, monotonic nanoseconds.
    pub received_ns: u64,
    /// When it was whole, monotonic nanoseconds.
    pub assembled_ns: u64,
}

/// A frame that gave no result, to be told to the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// Its number.
    pub seq: Seq,
    /// RTP timestamp as on the wire.
    pub rtp: u32,
    /// Why.
    pub outcome: Outcome,
}

/// Counts frames in, and what became of them.
#[derive(Debug, Default)]
pub struct Ledger {
    outstanding: VecDeque<Entry>,
    received: u64,
    counts: Counts,
    missed: VecDeque<Missed>,
}

impl Ledger {
    /// Enters a frame. With too many outstanding the oldest is closed as `dropped(overflow)`.
    pub fn enter(&mut self, header: &UnitHeader) {
        if self.outstanding.len() == OUTSTANDING_MAX
            && let Some(oldest) = self.outstanding.front().map(|entry| entry.seq)
        {
            self.close(oldest, Outcome::Dropped(DropReason::Overflow));
        }
        self.received += 1;
        self.outstanding.push_back(Entry {
            seq: header.seq,
            epoch: header.epoch,
            rtp: wire_rtp(header.rtp_time),
            capture_us: header.capture_us,
            received_ns: header.received_ns,
            assembled_ns: header.assembled_ns,
        });
    }

    /// Closes a frame; `None` when it is unknown or has its outcome already, and nothing is counted.
    pub fn close(&mut self, seq: Seq, outcome: Outcome) -> Option<Entry> {
        let index = self.outstanding.iter().position(|entry| entry.seq == seq)?;
        let entry = self.outstanding.remove(index)?;
        self.counts.add(outcome);
        if matches!(outcome, Outcome::Skipped(_) | Outcome::Dropped(_)) {
            if self.missed.len() == MISSED_PER_MESSAGE_MAX {
                self.missed.pop_front();
            }
            self.missed.push_back(Missed { seq, rtp: entry.rtp, outcome });
        }
        Some(entry)
    }

    /// Closes every outstanding frame the same way; gives the number of the oldest.
    pub fn close_all(&mut self, reason: DropReason) -> Option<Seq> {
        let oldest = self.outstanding.front().map(|entry| entry.seq);
        while let Some(seq) = self.outstanding.front().map(|entry| entry.seq) {
            self.close(seq, Outcome::Dropped(reason));
        }
        oldest
    }

    /// Frames without an outcome.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Frames assembled so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Outcomes so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes the frames that gave no result since the last call.
    pub fn take_missed(&mut self) -> Vec<Missed> {
        self.missed.drain(..).collect()
    }

    /// Whether [`take_missed`](Self::take_missed) would give any.
    #[must_use]
    pub fn has_missed(&self) -> bool {
        !self.missed.is_empty()
    }
}

/// The wire's 32 bits of an unwrapped RTP timestamp.
#[expect(clippy::cast_possible_truncation, reason = "the wire's timestamp is the low 32 bits (RFC 3550 §5.1)")]
#[must_use]
pub fn wire_rtp(rtp_time: u64) -> u32 {
    rtp_time as u32
}

#[cfg(test)]
mod tests {
    use framegate_wire::{Codec, SkipReason};

    use super::*;

    fn header(seq: u64) -> UnitHeader {
        UnitHeader {
            seq: Seq(seq),
            epoch: Epoch(0),
            rtp_time: (1 << 32) + seq * 3000,
            capture_us: None,
            received_ns: 0,
            assembled_ns: 0,
            codec: Codec::Vp8,
            keyframe: seq == 1,
        }
    }

    #[test]
    fn a_frame_has_one_outcome_and_strangers_have_none() {
        let mut ledger = Ledger::default();
        ledger.enter(&header(1));
        assert!(ledger.close(Seq(2), Outcome::Ok).is_none());
        assert_eq!(ledger.close(Seq(1), Outcome::Ok).map(|entry| entry.rtp), Some(3000));
        assert!(ledger.close(Seq(1), Outcome::Ok).is_none());
        assert_eq!(ledger.counts().total(), 1);
    }

    #[test]
    fn the_books_balance_whatever_happens() {
        let mut ledger = Ledger::default();
        for seq in 1..=5000 {
            ledger.enter(&header(seq));
            if seq % 3 == 0 {
                ledger.close(Seq(seq), Outcome::Skipped(SkipReason::Newer));
            }
            assert_eq!(ledger.received(), ledger.counts().total() + ledger.outstanding() as u64);
        }
        assert!(ledger.outstanding() <= OUTSTANDING_MAX);
        ledger.close_all(DropReason::Closed);
        assert_eq!(ledger.received(), ledger.counts().total());
        assert!(ledger.take_missed().len() <= MISSED_PER_MESSAGE_MAX);
    }
}
