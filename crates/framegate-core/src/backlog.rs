//! Bytes on their way to an engine: whole messages, at most one partly written.

use std::collections::VecDeque;

use framegate_wire::{Seq, ToEngine, UnitHeader, frame};

use crate::limits::{BACKLOG_BYTES_MAX, BACKLOG_EXTRA_BYTES_MAX};

/// Messages waiting for an engine's socket to take them.
#[derive(Debug, Default)]
pub struct Backlog {
    queue: VecDeque<Item>,
    bytes: usize,
    written_of_first: usize,
}

#[derive(Debug)]
struct Item {
    bytes: Vec<u8>,
    seq: Option<Seq>,
}

impl Backlog {
    /// Queues a message without payload; these are few and small.
    pub fn push(&mut self, message: &ToEngine) {
        self.push_item(message, &[], None);
    }

    /// Queues a message that is no unit, unless too much waits already. Whether it was queued.
    pub fn push_extra(&mut self, message: &ToEngine, payload: &[u8]) -> bool {
        let waiting: usize = self.queue.iter().filter(|item| item.seq.is_none()).map(|item| item.bytes.len()).sum();
        waiting + payload.len() <= BACKLOG_EXTRA_BYTES_MAX && self.push_item(message, payload, None)
    }

    /// Queues a unit. When it does not fit, every unit not yet begun is given up and returned with it, oldest first.
    ///
    /// # Errors
    /// The units given up.
    pub fn push_unit(&mut self, header: UnitHeader, data: &[u8]) -> Result<(), Vec<Seq>> {
        let seq = header.seq;
        if self.bytes + data.len() > BACKLOG_BYTES_MAX {
            let mut lost = self.give_up();
            lost.push(seq);
            return Err(lost);
        }
        if self.push_item(&ToEngine::Unit(header), data, Some(seq)) { Ok(()) } else { Err(vec![seq]) }
    }

    fn push_item(&mut self, message: &ToEngine, payload: &[u8], seq: Option<Seq>) -> bool {
        let mut bytes = Vec::with_capacity(payload.len() + 64);
        if frame::write(&mut bytes, message, payload).is_err() {
            return false;
        }
        self.bytes += bytes.len();
        self.queue.push_back(Item { bytes, seq });
        true
    }

    fn give_up(&mut self) -> Vec<Seq> {
        let keep_first = self.written_of_first > 0;
        let mut lost = Vec::new();
        let mut index = 0;
        self.queue.retain(|item| {
            let kept = item.seq.is_none() || (index == 0 && keep_first);
            index += 1;
            lost.extend(item.seq.filter(|_| !kept));
            kept
        });
        self.bytes = self.queue.iter().map(|item| item.bytes.len()).sum();
        lost
    }

    /// Bytes to write next; empty when there are none.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        self.queue.front().map_or(&[], |item| &item.bytes[self.written_of_first..])
    }

    /// Notes that the first `count` bytes of [`front`](Self::front) were written.
    pub fn advance(&mut self, count: usize) {
        self.written_of_first += count;
        if self.queue.front().is_some_and(|item| self.written_of_first >= item.bytes.len())
            && let Some(item) = self.queue.pop_front()
        {
            self.bytes -= item.bytes.len();
            self.written_of_first = 0;
        }
    }

    /// Forgets everything: the engine is gone.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use framegate_wire::{Codec, Epoch};

    use super::*;

    fn header(seq: u64) -> UnitHeader {
        UnitHeader {
            seq: Seq(seq),
            epoch: Epoch(0),
            rtp_time: 0,
            capture_us: None,
            received_ns: 0,
            assembled_ns: 0,
            codec: Codec::Vp8,
            keyframe: false,
        }
    }

    #[test]
    fn overflow_gives_up_whole_units_and_keeps_the_one_begun() {
        let mut backlog = Backlog::default();
        let quarter = vec![0; BACKLOG_BYTES_MAX / 4];
        for seq in 1..=3 {
            backlog.push_unit(header(seq), &quarter).unwrap();
        }
        backlog.advance(10);
        assert_eq!(backlog.push_unit(header(4), &quarter[..quarter.len()]), Err(vec![Seq(2), Seq(3), Seq(4)]));
        backlog.advance(backlog.front().len());
        assert!(backlog.front().is_empty());
        backlog.push_unit(header(5), &quarter).unwrap();
        assert!(!backlog.front().is_empty());
    }
}
