//! The clocks of an engine.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// The time processors see through `fg.clock/1`.
#[derive(Debug, Clone)]
pub(crate) enum Clock {
    /// The machine's.
    Live,
    /// A clip's: nanoseconds from its first picture to the present one.
    Clip(Arc<AtomicI64>),
}

impl Clock {
    /// Nanoseconds that never go back.
    pub(crate) fn now_ns(&self) -> i64 {
        match self {
            Self::Live => i64::try_from(now_ns()).unwrap_or(i64::MAX),
            Self::Clip(now_ns) => now_ns.load(Ordering::Relaxed),
        }
    }
}

/// Monotonic time in nanoseconds, comparable with the gateway's.
pub(crate) fn now_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// CPU time of this process, in microseconds.
pub(crate) fn cpu_us() -> u64 {
    nanoseconds(clock_gettime(ClockId::ProcessCPUTime)) / 1000
}

/// Microseconds from `start_ns` to `end_ns`; 0 when the order is reversed.
pub(crate) fn us_between(start_ns: u64, end_ns: u64) -> u32 {
    u32::try_from(end_ns.saturating_sub(start_ns) / 1000).unwrap_or(u32::MAX)
}

fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1_000_000_000 + rest
}
