//! What processors cost: times of their last calls, noted by the media threads without a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use serde::Serialize;

/// Calls of a processor that are remembered: half a minute of one camera, 4 KiB.
const RECENT: usize = 1024;

/// Times of the last calls of each processor of a pipeline.
#[derive(Debug)]
pub(crate) struct Costs {
    processors: Vec<Recent>,
}

/// A ring of times in microseconds.
#[derive(Debug)]
struct Recent {
    count: AtomicU64,
    times: Box<[AtomicU32]>,
}

/// Time of recent calls of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Calls it is made of.
    pub frames: usize,
    /// Half of them took at most so long, in microseconds.
    pub p50_us: u32,
    /// 95 of 100 took at most so long, in microseconds.
    pub p95_us: u32,
}

impl Costs {
    pub(crate) fn new(processors: usize) -> Self {
        let recent = || Recent { count: AtomicU64::new(0), times: (0..RECENT).map(|_| AtomicU32::new(0)).collect() };
        Self { processors: (0..processors).map(|_| recent()).collect() }
    }

    /// Hot path: notes one call of the processor at a place; one that does not exist is ignored.
    pub(crate) fn note(&self, processor: usize, took_us: u32) {
        let Some(recent) = self.processors.get(processor) else { return };
        let count = recent.count.fetch_add(1, Ordering::Relaxed);
        let place = usize::try_from(count % RECENT as u64).unwrap_or(0);
        recent.times[place].store(took_us, Ordering::Relaxed);
    }

    /// What the processor at a place has cost lately; `None` before its first call.
    pub(crate) fn of(&self, processor: usize) -> Option<Cost> {
        let recent = self.processors.get(processor)?;
        let frames = usize::try_from(recent.count.load(Ordering::Relaxed)).unwrap_or(usize::MAX).min(RECENT);
        let mut times: Vec<u32> = recent.times[..frames].iter().map(|time| time.load(Ordering::Relaxed)).collect();
        times.sort_unstable();
        let at = |percent: usize| times.get((frames * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Cost { frames, p50_us: at(50)?, p95_us: at(95)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_last_calls() {
        let costs = Costs::new(2);
        assert_eq!(costs.of(0), None);
        costs.note(0, 7);
        assert_eq!(costs.of(0), Some(Cost { frames: 1, p50_us: 7, p95_us: 7 }));
        for time in 1..=100 {
            costs.note(1, time);
        }
        assert_eq!(costs.of(1), Some(Cost { frames: 100, p50_us: 50, p95_us: 95 }));
        costs.note(2, 1);
        assert_eq!(costs.of(2), None);
        // What is older than the ring is forgotten.
        for _ in 0..RECENT {
            costs.note(0, 3);
        }
        assert_eq!(costs.of(0), Some(Cost { frames: RECENT, p50_us: 3, p95_us: 3 }));
    }
}
