//! What happens to each unit an engine is given. No clock, no I/O: time comes in as an argument.
//!
//! For each unit call [`Intake::unit`]; when it says [`Step::Decode`], decode it and say what came of it with
//! [`decoded`](Intake::decoded), [`empty`](Intake::empty), [`corrupt`](Intake::corrupt) or
//! [`too_large`](Intake::too_large). When everything that had arrived is through, [`call`](Intake::call) says whether the
//! newest picture goes to the processor; then report it with [`processed`](Intake::processed). Whatever the gateway must
//! hear meanwhile is in [`answers`](Intake::answers).
//!
//! Every unit ends in exactly one outcome, so [`Intake::counts`] adds up to the units given once none is pending.

use std::collections::VecDeque;

use framegate_wire::{Counts, DropReason, FromEngine, KeyframeReason, Outcome, Seq, SkipReason, UnitHeader};

use crate::limits::{KEYFRAME_REPEAT_NS, LATE_MS, SPANS_MAX};

/// RTP ticks in 1000 seconds: divided by a rate in frames per 1000 seconds it gives ticks per frame.
const TICKS_PER_1000_S: u64 = 90_000_000;

/// What to do with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Decode it.
    Decode,
    /// Leave it: its outcome is decided and among the answers.
    Leave,
}

/// A call of the processor that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The unit of the picture.
    pub header: UnitHeader,
    /// Frames since the previous call that were not given; 0 for the first call.
    pub dropped_before: u32,
    /// Whether the stream ran before this engine did.
    pub resumed: bool,
}

/// The state of one engine's intake.
#[derive(Debug)]
pub struct Intake {
    late_ns: u64,
    rate: Rate,
    gate: Gate,
    busy: BusyTimes,
    newest: Option<UnitHeader>,
    first_seen: Option<Seq>,
    last_given: Option<Seq>,
    counts: Counts,
    answers: Vec<FromEngine>,
}

/// Whether decoding is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// Until a keyframe; asked for with this reason, last at this time.
    Keyframe {
        ask: Option<KeyframeReason>,
        asked_ns: Option<u64>,
    },
}

impl Intake {
    /// An engine that has decoded nothing yet. `late_ms` 0 means [`LATE_MS`].
    #[must_use]
    pub fn new(late_ms: u32) -> Self {
        let late_ms = if late_ms == 0 { LATE_MS } else { late_ms };
        Self {
            late_ns: u64::from(late_ms) * 1_000_000,
            rate: Rate::default(),
            gate: Gate::Keyframe { ask: Some(KeyframeReason::Loss), asked_ns: None },
            busy: BusyTimes::default(),
            newest: None,
            first_seen: None,
            last_given: None,
            counts: Counts::default(),
            answers: Vec::new(),
        }
    }

    /// Sets the most frames per 1000 seconds the processor wants; 0 is all.
    pub fn set_rate(&mut self, rate_millihertz: u32) {
        self.rate.set(rate_millihertz);
    }

    /// Notes that the engine was inside the processor (`create`, `configure` or `process`) from `start_ns` to `end_ns`:
    /// what waited meanwhile did not wait for CPU time.
    pub fn busy(&mut self, start_ns: u64, end_ns: u64) {
        self.busy.add(start_ns, end_ns);
    }

    /// Decides what to do with the next unit, at the moment it could be decoded.
    pub fn unit(&mut self, header: &UnitHeader, now_ns: u64) -> Step {
        self.first_seen.get_or_insert(header.seq);
        if let Gate::Keyframe { ask, asked_ns } = self.gate
            && !header.keyframe
        {
            self.skip(header.seq, SkipReason::NoKeyframe);
            let due = asked_ns.is_none_or(|asked| now_ns.saturating_sub(asked) >= KEYFRAME_REPEAT_NS);
            if let (Some(reason), true) = (ask, due) {
                self.answers.push(FromEngine::KeyframeWanted(reason));
                self.gate = Gate::Keyframe { ask, asked_ns: Some(now_ns) };
            }
            return Step::Leave;
        }
        if self.is_late(header, now_ns) {
            self.skip(header.seq, SkipReason::Late);
            self.close_gate(Some(KeyframeReason::Late), now_ns);
            return Step::Leave;
        }
        Step::Decode
    }

    /// The unit gave a picture. It is the newest now: an older one that waited is skipped.
    pub fn decoded(&mut self, header: UnitHeader) {
        self.gate = Gate::Open;
        self.forget_newest();
        self.newest = Some(header);
    }

    /// The unit was decoded and shows nothing: it only serves later ones.
    pub fn empty(&mut self, seq: Seq) {
        self.gate = Gate::Open;
        self.forget_newest();
        self.skip(seq, SkipReason::Newer);
    }

    /// The decoder refused the unit. The decoder's last picture is gone with it.
    pub fn corrupt(&mut self, seq: Seq, now_ns: u64) {
        self.forget_newest();
        self.drop_unit(seq, DropReason::Corrupt);
        self.close_gate(Some(KeyframeReason::Loss), now_ns);
    }

    /// The unit's picture is above the limit. No keyframe is asked for: it would be as large.
    pub fn too_large(&mut self, seq: Seq, now_ns: u64) {
        self.forget_newest();
        self.drop_unit(seq, DropReason::TooLarge);
        self.close_gate(None, now_ns);
    }

    /// The unit whose picture is the newest, if one waits.
    #[must_use]
    pub fn newest(&self) -> Option<Seq> {
        self.newest.as_ref().map(|header| header.seq)
    }

    /// Everything that had arrived is through: whether the newest picture goes to the processor.
    pub fn call(&mut self) -> Option<Call> {
        let header = self.newest.take()?;
        if !self.rate.admits(&header) {
            self.skip(header.seq, SkipReason::Rate);
            return None;
        }
        let unseen = self.last_given.map_or(0, |last| header.seq.0.saturating_sub(last.0 + 1));
        let resumed = self.last_given.is_none() && self.first_seen.is_some_and(|first| first.0 > 1);
        self.last_given = Some(header.seq);
        Some(Call { header, dropped_before: u32::try_from(unseen).unwrap_or(u32::MAX), resumed })
    }

    /// A due call ended with `outcome` ([`Outcome::Ok`] or [`Outcome::Error`]).
    pub fn processed(&mut self, outcome: Outcome) {
        debug_assert!(matches!(outcome, Outcome::Ok | Outcome::Error));
        self.counts.add(outcome);
    }

    /// A due call could not be made: its picture is lost for this reason.
    pub fn lost(&mut self, seq: Seq, reason: DropReason) {
        self.drop_unit(seq, reason);
    }

    /// Takes what the gateway must hear, in order.
    pub fn answers(&mut self) -> impl Iterator<Item = FromEngine> + '_ {
        self.answers.drain(..)
    }

    /// Whether a keyframe request waits among the answers.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.answers.iter().any(|answer| matches!(answer, FromEngine::KeyframeWanted(_)))
    }

    /// What became of every unit so far, but for one that is pending.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn is_late(&self, header: &UnitHeader, now_ns: u64) -> bool {
        let age = now_ns.saturating_sub(header.received_ns);
        age > self.late_ns && age - self.busy.within(header.received_ns, now_ns).min(age) > self.late_ns
    }

    fn close_gate(&mut self, ask: Option<KeyframeReason>, now_ns: u64) {
        let already_asked = matches!(self.gate, Gate::Keyframe { ask: before, asked_ns: Some(asked) }
            if before == ask && now_ns.saturating_sub(asked) < KEYFRAME_REPEAT_NS);
        if already_asked {
            return;
        }
        if let Some(reason) = ask {
            self.answers.push(FromEngine::KeyframeWanted(reason));
        }
        self.gate = Gate::Keyframe { ask, asked_ns: ask.map(|_| now_ns) };
    }

    fn forget_newest(&mut self) {
        if let Some(older) = self.newest.take() {
            self.skip(older.seq, SkipReason::Newer);
        }
    }

    fn skip(&mut self, seq: Seq, reason: SkipReason) {
        self.counts.add(Outcome::Skipped(reason));
        self.answers.push(FromEngine::Skipped { seq, reason });
    }

    fn drop_unit(&mut self, seq: Seq, reason: DropReason) {
        self.counts.add(Outcome::Dropped(reason));
        self.answers.push(FromEngine::Dropped { seq, reason });
    }
}

/// Times inside the processor, oldest first, never overlapping.
#[derive(Debug, Default)]
struct BusyTimes {
    spans: VecDeque<(u64, u64)>,
}

impl BusyTimes {
    fn add(&mut self, start_ns: u64, end_ns: u64) {
        if end_ns <= start_ns {
            return;
        }
        if self.spans.len() == SPANS_MAX {
            self.spans.pop_front();
        }
        self.spans.push_back((start_ns, end_ns));
    }

    fn within(&self, from_ns: u64, to_ns: u64) -> u64 {
        let overlap = |&(start, end): &(u64, u64)| end.min(to_ns).saturating_sub(start.max(from_ns));
        self.spans.iter().map(overlap).sum()
    }
}

/// Admits at most so many frames a second, by the frames' own clock.
#[derive(Debug, Default)]
struct Rate {
    interval_ticks: u64,
    epoch: u32,
    due: Option<u64>,
}

impl Rate {
    fn set(&mut self, rate_millihertz: u32) {
        let interval = TICKS_PER_1000_S.checked_div(u64::from(rate_millihertz)).unwrap_or(0);
        if interval != self.interval_ticks {
            self.interval_ticks = interval;
            self.due = None;
        }
    }

    fn admits(&mut self, header: &UnitHeader) -> bool {
        if self.interval_ticks == 0 {
            return true;
        }
        if header.epoch.0 != self.epoch {
            self.epoch = header.epoch.0;
            self.due = None;
        }
        let now = header.rtp_time;
        match self.due {
            // An eighth of leeway: a camera at the very rate asked for jitters around it.
            Some(due) if now + self.interval_ticks / 8 < due => false,
            // The grid goes on from the due time, so that the mean rate holds; after a pause it starts again.
            Some(due) => {
                let next = due + self.interval_ticks;
                self.due = Some(if next > now { next } else { now + self.interval_ticks });
                true
            }
            None => {
                self.due = Some(now + self.interval_ticks);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests;
