//! The queue of results before the data channel. It is ours because what SCTP has taken cannot be recalled.

use std::collections::VecDeque;

use crate::limits::{MESSAGE_BYTES_MAX, RESULTS_QUEUED_BYTES_MAX, RESULTS_QUEUED_MAX};

/// A result without its tail, waiting.
#[derive(Debug)]
pub struct Pending {
    /// [`report::result_body`](crate::report::result_body).
    pub body: String,
    /// When its frame's last packet arrived, monotonic nanoseconds.
    pub received_ns: u64,
}

/// Bounded queue: the oldest result makes room for the newest and is counted as undelivered.
#[derive(Debug, Default)]
pub struct Delivery {
    queue: VecDeque<Pending>,
    bytes: usize,
    undelivered: u64,
}

/// Room kept for the tail of a message: counts and 64 missed frames.
const TAIL_BYTES: usize = 8 << 10;

impl Delivery {
    /// Queues a result.
    pub fn push(&mut self, pending: Pending) {
        let size = pending.body.len();
        if size + TAIL_BYTES > MESSAGE_BYTES_MAX {
            self.undelivered += 1;
            return;
        }
        while self.queue.len() >= RESULTS_QUEUED_MAX || self.bytes + size > RESULTS_QUEUED_BYTES_MAX {
            if self.pop().is_none() {
                break;
            }
            self.undelivered += 1;
        }
        self.bytes += size;
        self.queue.push_back(pending);
    }

    /// Takes the oldest result.
    pub fn pop(&mut self) -> Option<Pending> {
        let pending = self.queue.pop_front()?;
        self.bytes -= pending.body.len();
        Some(pending)
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Results that were replaced or too large.
    #[must_use]
    pub fn undelivered(&self) -> u64 {
        self.undelivered
    }

    /// Counts a result that was taken from here and then lost.
    pub fn lost(&mut self) {
        self.undelivered += 1;
    }

    /// Counts everything still waiting as undelivered: the channel is gone.
    pub fn abandon(&mut self) {
        while self.pop().is_some() {
            self.undelivered += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(size: usize, received_ns: u64) -> Pending {
        Pending { body: "x".repeat(size), received_ns }
    }

    #[test]
    fn the_newest_results_stay_and_every_other_is_counted() {
        let mut delivery = Delivery::default();
        for number in 0..100 {
            delivery.push(pending(100, number));
        }
        assert_eq!(delivery.undelivered(), 100 - RESULTS_QUEUED_MAX as u64);
        assert_eq!(delivery.pop().map(|first| first.received_ns), Some(100 - RESULTS_QUEUED_MAX as u64));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut delivery = Delivery::default();
        for number in 0..10 {
            delivery.push(pending(30 << 10, number));
        }
        assert_eq!(delivery.undelivered(), 8);
        delivery.push(pending(MESSAGE_BYTES_MAX, 10));
        assert_eq!(delivery.undelivered(), 9);
        delivery.abandon();
        assert_eq!(delivery.undelivered(), 11);
        assert!(delivery.is_empty());
    }
}
