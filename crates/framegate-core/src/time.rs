use std::time::{Duration, Instant};

/// The present, read once by the caller: the same moment as `Instant` and as nanoseconds of `CLOCK_MONOTONIC`.
///
/// Engines stamp with the same clock, so that ages and stages add up across the process boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For timers.
    pub instant: Instant,
    /// For stamps, in nanoseconds.
    pub ns: u64,
}

impl Now {
    /// This moment plus `duration`.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self { instant: self.instant + duration, ns: self.ns.saturating_add(ns) }
    }
}
