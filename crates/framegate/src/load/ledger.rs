//! The client's books: what became of every frame it sent, by the frame's RTP timestamp.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::histogram::Histogram;

/// How long a frame may wait for its outcome before it counts as missing: far above any time-out of the server.
pub(crate) const OUTCOME_WAIT_MAX: Duration = Duration::from_secs(10);

/// Parts of the measured window whose latency is kept apart, to see whether it grows.
pub(crate) const PARTS: usize = 10;

/// Most different reasons kept apart; the protocol has eleven.
const REASONS_MAX: usize = 32;

/// What a run has found, summed over frames.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Tally {
    /// Frames sent in the measured window.
    pub(crate) sent: u64,
    /// Of those, processed.
    pub(crate) ok: u64,
    /// Of those, the processor failed on.
    pub(crate) error: u64,
    /// Of those, reported as skipped or dropped, by `outcome(reason)`.
    pub(crate) missed: BTreeMap<String, u64>,
    /// Of those, without any outcome.
    pub(crate) missing: u64,
    /// Results that came twice or contradict an earlier outcome, at any time.
    pub(crate) duplicate: u64,
    /// Results for frames that were never sent, at any time.
    pub(crate) wrong_rtp: u64,
    /// Results whose `data.number` is not the number in the picture that was sent, at any time.
    pub(crate) wrong_number: u64,
    /// Results whose number was compared and right, at any time.
    pub(crate) right_number: u64,
    /// Outcomes that came after the wait for them was over.
    pub(crate) too_late: u64,
}

impl Tally {
    pub(crate) fn merge(&mut self, other: &Self) {
        let pairs: [(&mut u64, u64); 9] = [
            (&mut self.sent, other.sent),
            (&mut self.ok, other.ok),
            (&mut self.error, other.error),
            (&mut self.missing, other.missing),
            (&mut self.duplicate, other.duplicate),
            (&mut self.wrong_rtp, other.wrong_rtp),
            (&mut self.wrong_number, other.wrong_number),
            (&mut self.right_number, other.right_number),
            (&mut self.too_late, other.too_late),
        ];
        for (mine, theirs) in pairs {
            *mine += theirs;
        }
        for (reason, count) in &other.missed {
            *self.missed.entry(reason.clone()).or_default() += count;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pending,
    Processed,
    Failed,
    Missed,
}

#[derive(Debug)]
struct Entry {
    index: u64,
    sent: Instant,
    picture: u64,
    /// Part of the measured window it was sent in.
    part: Option<usize>,
    fate: Fate,
}

/// The books of one session.
#[derive(Debug)]
pub(crate) struct Ledger {
    rtp_first: u32,
    rtp_step: u32,
    entries: VecDeque<Entry>,
    pub(crate) tally: Tally,
    /// Last packet handed to the socket → result received, for measured frames, by part of the window.
    pub(crate) latency: Vec<Histogram>,
}

impl Ledger {
    /// Books of a stream whose frame `index` carries `rtp_first + index × rtp_step`.
    pub(crate) fn new(rtp_first: u32, rtp_step: u32) -> Self {
        let latency = vec![Histogram::default(); PARTS];
        Self { rtp_first, rtp_step, entries: VecDeque::new(), tally: Tally::default(), latency }
    }

    /// RTP timestamp of a frame, not yet cut to 32 bits.
    pub(crate) fn rtp_time(&self, index: u64) -> u64 {
        u64::from(self.rtp_first) + index * u64::from(self.rtp_step)
    }

    /// Enters a frame; indices grow. `picture` is the number the picture carries.
    pub(crate) fn sent(&mut self, index: u64, picture: u64, sent: Instant, part: Option<usize>) {
        self.tally.sent += u64::from(part.is_some());
        self.entries.push_back(Entry { index, sent, picture, part, fate: Fate::Pending });
        while self.entries.front().is_some_and(|entry| sent - entry.sent > OUTCOME_WAIT_MAX) {
            self.retire();
        }
    }

    /// Enters a result; gives the age of its frame when it is the first outcome of a frame that is in the books.
    pub(crate) fn result(&mut self, rtp: u32, ok: bool, number: Option<u64>, received: Instant) -> Option<Duration> {
        let at = self.find(rtp)?;
        let entry = &mut self.entries[at];
        if let Some(number) = number {
            let right = number == entry.picture;
            self.tally.right_number += u64::from(right);
            self.tally.wrong_number += u64::from(!right);
        }
        if entry.fate != Fate::Pending {
            self.tally.duplicate += 1;
            return None;
        }
        entry.fate = if ok { Fate::Processed } else { Fate::Failed };
        let age = received.saturating_duration_since(entry.sent);
        if let Some(part) = entry.part {
            self.latency[part].add(age);
            *(if ok { &mut self.tally.ok } else { &mut self.tally.error }) += 1;
        }
        Some(age)
    }

    /// Enters a frame that was reported as not processed.
    pub(crate) fn missed(&mut self, rtp: u32, outcome: &str, reason: &str) {
        let Some(at) = self.find(rtp) else { return };
        let entry = &mut self.entries[at];
        if entry.fate != Fate::Pending {
            self.tally.duplicate += 1;
            return;
        }
        entry.fate = Fate::Missed;
        if entry.part.is_some() {
            let name = format!("{outcome}({reason})");
            let known = self.tally.missed.len() < REASONS_MAX || self.tally.missed.contains_key(&name);
            let name = if known && name.len() <= 64 { name } else { "other".to_owned() };
            *self.tally.missed.entry(name).or_default() += 1;
        }
    }

    /// Whether every frame sent has an outcome.
    pub(crate) fn is_settled(&self) -> bool {
        self.entries.iter().all(|entry| entry.fate != Fate::Pending)
    }

    /// Ends the books: what has no outcome now is missing.
    pub(crate) fn finish(&mut self) {
        while !self.entries.is_empty() {
            self.retire();
        }
    }

    /// Ends the books of a session that went away without a word: nobody is there to hear what became of the rest, so
    /// frames without an outcome count as if they had not been sent.
    pub(crate) fn abandon(&mut self) {
        let unheard = self.entries.drain(..).filter(|entry| entry.fate == Fate::Pending && entry.part.is_some());
        self.tally.sent -= unheard.count() as u64;
    }

    fn retire(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.tally.missing += u64::from(entry.fate == Fate::Pending && entry.part.is_some());
        }
    }

    /// Place of a frame in `entries`; counts those that are not there.
    fn find(&mut self, rtp: u32) -> Option<usize> {
        let Some(last) = self.entries.back().map(|entry| entry.index) else {
            self.tally.wrong_rtp += 1;
            return None;
        };
        // How many ticks before the newest frame; the 32 bits may have wrapped in between.
        let newest = u32::try_from(self.rtp_time(last) & u64::from(u32::MAX)).unwrap_or_default();
        let behind = newest.wrapping_sub(rtp);
        let index = last.checked_sub(u64::from(behind / self.rtp_step)).filter(|_| behind % self.rtp_step == 0);
        let Some(index) = index else {
            self.tally.wrong_rtp += 1;
            return None;
        };
        match self.entries.binary_search_by_key(&index, |entry| entry.index) {
            Ok(at) => Some(at),
            Err(0) => {
                self.tally.too_late += 1;
                None
            }
            Err(_) => {
                self.tally.wrong_rtp += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(count: u64) -> (Ledger, Instant) {
        // The timestamps wrap after the second frame.
        let mut ledger = Ledger::new(u32::MAX - 4000, 3000);
        let start = Instant::now();
        for index in 0..count {
            ledger.sent(index, index, start + Duration::from_millis(33 * index), Some(0));
        }
        (ledger, start)
    }

    fn rtp(ledger: &Ledger, index: u64) -> u32 {
        u32::try_from(ledger.rtp_time(index) & 0xffff_ffff).unwrap()
    }

    #[test]
    fn each_frame_has_one_fate() {
        let (mut ledger, start) = ledger(5);
        let [a, b, c, d] = [0, 1, 2, 3].map(|index| rtp(&ledger, index));
        ledger.result(a, true, Some(0), start + Duration::from_millis(2));
        ledger.result(b, false, None, start);
        ledger.missed(c, "skipped", "newer");
        ledger.result(d, true, Some(9), start + Duration::from_millis(104));
        assert!(!ledger.is_settled());
        ledger.finish();
        let tally = &ledger.tally;
        assert_eq!((tally.sent, tally.ok, tally.error, tally.missing), (5, 2, 1, 1));
        assert_eq!((tally.right_number, tally.wrong_number, tally.missed["skipped(newer)"]), (1, 1, 1));
        assert_eq!((tally.duplicate, tally.wrong_rtp, tally.too_late), (0, 0, 0));
        assert_eq!(ledger.latency[0].percentiles().unwrap().count, 3);
    }

    #[test]
    fn nobody_misses_what_a_vanished_session_did_not_hear() {
        let (mut ledger, start) = ledger(3);
        let first = rtp(&ledger, 0);
        assert_eq!(ledger.result(first, true, None, start + Duration::from_millis(7)), Some(Duration::from_millis(7)));
        assert_eq!(ledger.result(first, true, None, start), None);
        ledger.abandon();
        ledger.finish();
        assert_eq!((ledger.tally.sent, ledger.tally.ok, ledger.tally.missing), (1, 1, 0));
    }

    #[test]
    fn what_does_not_belong_is_counted() {
        let (mut ledger, start) = ledger(3);
        let [a, b, next] = [0, 1, 3].map(|index| rtp(&ledger, index));
        ledger.result(a, true, None, start);
        ledger.result(a, true, None, start);
        ledger.missed(a, "dropped", "corrupt");
        assert_eq!(ledger.tally.duplicate, 2);
        for wrong in [next, b.wrapping_add(1), a.wrapping_sub(3000)] {
            ledger.result(wrong, true, None, start);
        }
        assert_eq!((ledger.tally.wrong_rtp, ledger.tally.ok), (3, 1));
        Ledger::new(0, 1).result(0, true, None, start);
    }

    #[test]
    fn old_frames_are_given_up_and_memory_stays_bounded() {
        let (mut ledger, start) = ledger(2000);
        assert!(ledger.entries.len() < 400);
        assert!(ledger.tally.missing > 1600);
        let first = rtp(&ledger, 0);
        ledger.result(first, true, None, start);
        assert_eq!((ledger.tally.too_late, ledger.tally.wrong_rtp), (1, 0));
    }
}
