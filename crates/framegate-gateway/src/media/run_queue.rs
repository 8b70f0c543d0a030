//! How long an engine has waited for a CPU, with the wait that still lasts.
//!
//! The kernel adds a wait to `schedstat` only when it is over, so a process that gets no CPU at all seems not to wait. Its
//! state tells: while it is runnable, time that it neither ran nor is known to have waited was a wait.

use std::time::{Duration, Instant};

/// Samples further apart than this say nothing about what was in between: the engine has been idle.
const GAP_MAX: Duration = Duration::from_secs(1);

/// What the kernel says of a process at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    /// Whether it runs or would if there were a CPU.
    pub(crate) runnable: bool,
    /// CPU time used since its birth.
    pub(crate) ran: Duration,
    /// Waits that are over, since its birth.
    pub(crate) waited: Duration,
}

/// The waits of one process.
#[derive(Debug, Default)]
pub(crate) struct RunQueue {
    last: Option<Sample>,
    total: Duration,
    /// Part of `total` that the kernel has not counted yet.
    ahead: Duration,
}

impl Sample {
    /// Reads `/proc`; `None` when the process is gone.
    pub(crate) fn read(pid: u32, at: Instant) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let times = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
        Self::parse(&stat, &times, at)
    }

    fn parse(stat: &str, times: &str, at: Instant) -> Option<Self> {
        // The name is in parentheses and may hold anything.
        let runnable = stat.rsplit_once(") ")?.1.starts_with('R');
        let mut times = times.split_whitespace().map_while(|ns| ns.parse().ok().map(Duration::from_nanos));
        Some(Self { at, runnable, ran: times.next()?, waited: times.next()? })
    }
}

impl RunQueue {
    /// Takes a sample; gives all waiting so far, which never shrinks.
    pub(crate) fn waited(&mut self, sample: Sample) -> Duration {
        let Some(last) = self.last.replace(sample) else {
            self.total = sample.waited;
            return self.total;
        };
        let known = sample.waited.saturating_sub(last.waited);
        self.total += known.saturating_sub(self.ahead);
        self.ahead = self.ahead.saturating_sub(known);
        let wall = sample.at.saturating_duration_since(last.at);
        if sample.runnable && wall <= GAP_MAX {
            let ongoing = wall.saturating_sub(sample.ran.saturating_sub(last.ran)).saturating_sub(known);
            self.total += ongoing;
            self.ahead += ongoing;
        } else {
            self.ahead = Duration::ZERO;
        }
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Feeds `(at, runnable, ran, waited)` in milliseconds; gives what it says each time.
    fn check<const N: usize>(samples: [(u32, bool, u32, u32); N]) -> [u128; N] {
        let start = Instant::now();
        let mut queue = RunQueue::default();
        samples.map(|(at, runnable, ran, waited)| {
            let sample = Sample { at: start + MS * at, runnable, ran: MS * ran, waited: MS * waited };
            queue.waited(sample).as_millis()
        })
    }

    #[test]
    fn a_wait_that_lasts_counts_and_is_not_counted_twice() {
        let said = check([(0, false, 5, 10), (250, true, 5, 10), (500, true, 5, 10), (750, true, 6, 700)]);
        assert_eq!(said, [10, 260, 510, 700]);
    }

    #[test]
    fn an_endless_loop_and_an_endless_sleep_do_not_wait() {
        assert_eq!(check([(0, true, 0, 0), (250, true, 250, 0), (500, true, 490, 10)]), [0, 0, 10]);
        assert_eq!(check([(0, false, 0, 0), (250, false, 0, 0), (500, false, 1, 3)]), [0, 0, 3]);
    }

    #[test]
    fn idle_time_between_two_watches_is_no_wait() {
        assert_eq!(check([(0, false, 5, 10), (5000, true, 5, 10), (5250, true, 5, 10)]), [10, 10, 260]);
    }

    #[test]
    fn this_process_can_be_read() {
        let sample = Sample::read(std::process::id(), Instant::now()).expect("it exists");
        assert!(sample.ran > Duration::ZERO);
        let parsed = Sample::parse("7 (a) R (b) S 1 7", "12 34 5", Instant::now()).expect("readable");
        assert_eq!((parsed.runnable, parsed.ran.as_nanos(), parsed.waited.as_nanos()), (false, 12, 34));
        assert!(Sample::parse("7 (x) R", "12", Instant::now()).is_none());
    }
}
