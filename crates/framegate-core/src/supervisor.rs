//! The life of one session's engine: starting → ready → running → (dead | hung) → backing off → …

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::{
    BACKOFF_FIRST, BACKOFF_MAX, CLOSE_TIMEOUT, CRASH_WINDOW, HANG_CHECK_INTERVAL, LAUNCH_TIMEOUT, READY_TIMEOUT,
};

/// What the supervisor allows an engine.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Time without progress on outstanding frames, not counting time spent waiting for a CPU.
    pub hard_deadline: Duration,
    /// The same for the first frame of an engine: models are loaded then.
    pub first_frame_deadline: Duration,
    /// Crashes within [`CRASH_WINDOW`] after which no engine is started for that long.
    pub crashes_max: u32,
}

/// What the caller shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Launch an engine and report [`Supervisor::ready`] or [`Supervisor::died`].
    Launch,
    /// Read how long the engine has waited for a CPU and report [`Supervisor::waited`].
    SampleRunQueue,
    /// Kill the engine; it made no progress.
    KillHung,
    /// Kill the engine; it does not start or does not end.
    Kill,
}

/// What an engine's death led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterDeath {
    /// Started again at once.
    Restarts,
    /// Started again at this moment.
    BacksOff(Instant),
    /// Too many crashes: not before this moment.
    CircuitOpen(Instant),
    /// It was meant to end.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Starting { due: Instant },
    Running,
    Waiting { until: Instant },
    Closing { since: Instant },
    Closed,
}

/// Decides when an engine is launched, killed and given up. Time and jitter come from outside.
#[derive(Debug)]
pub struct Supervisor {
    policy: Policy,
    state: State,
    launch_due: bool,
    crashes: VecDeque<Instant>,
    fruitless: u32,
    restarts: u64,
    processed: bool,
    watch: Option<Watch>,
    jitter: u64,
    kill_sent: bool,
}

/// Looks at an engine that owes outcomes.
#[derive(Debug, Clone, Copy)]
struct Watch {
    next_check: Instant,
    last: Option<(Instant, Duration)>,
    stalled: Duration,
}

impl Supervisor {
    /// A supervisor with no engine. `seed` decides the jitter of the pauses.
    #[must_use]
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            state: State::Idle,
            launch_due: false,
            crashes: VecDeque::new(),
            fruitless: 0,
            restarts: 0,
            processed: false,
            watch: None,
            jitter: seed | 1,
            kill_sent: false,
        }
    }

    /// Wants an engine from now on.
    pub fn start(&mut self, now: Instant) {
        if self.state == State::Idle {
            self.launch(now);
        }
    }

    fn launch(&mut self, now: Instant) {
        self.state = State::Starting { due: now + LAUNCH_TIMEOUT };
        self.launch_due = true;
        self.processed = false;
        self.kill_sent = false;
        self.watch = None;
    }

    /// Its process exists: from now on the time to be ready counts.
    pub fn launched(&mut self, now: Instant) {
        if let State::Starting { due } = &mut self.state {
            *due = now + READY_TIMEOUT;
        }
    }

    /// The engine's processor exists; `outstanding` frames wait for it. Gives whether that was news.
    pub fn ready(&mut self, now: Instant, outstanding: usize) -> bool {
        let is_news = matches!(self.state, State::Starting { .. });
        if is_news {
            self.state = State::Running;
        }
        self.progress(now, outstanding);
        is_news
    }

    /// The engine gave an outcome; `outstanding` frames remain.
    pub fn progress(&mut self, now: Instant, outstanding: usize) {
        self.fruitless = 0;
        self.watch = (outstanding > 0).then(|| Watch::begin(now));
    }

    /// The engine's processor returned from its first frame: from now on the hard deadline counts.
    pub fn processed(&mut self) {
        self.processed = true;
    }

    /// A frame was handed to the engine.
    pub fn handed(&mut self, now: Instant) {
        if self.state == State::Running && self.watch.is_none() {
            self.watch = Some(Watch::begin(now));
        }
    }

    /// Answer to [`Action::SampleRunQueue`]: how long the engine has waited for a CPU since it was born. `None` when
    /// that cannot be read; then wall time counts.
    pub fn waited(&mut self, now: Instant, waited: Option<Duration>) -> Option<Action> {
        let deadline = if self.processed { self.policy.hard_deadline } else { self.policy.first_frame_deadline };
        let watch = self.watch.as_mut()?;
        let waited = waited.unwrap_or_default();
        if let Some((then, waited_then)) = watch.last {
            let wall = now.saturating_duration_since(then);
            watch.stalled += wall.saturating_sub(waited.saturating_sub(waited_then));
        }
        watch.last = Some((now, waited));
        if watch.stalled >= deadline {
            self.watch = None;
            self.kill_sent = true;
            return Some(Action::KillHung);
        }
        None
    }

    /// The engine is gone.
    pub fn died(&mut self, now: Instant) -> AfterDeath {
        self.watch = None;
        self.launch_due = false;
        if matches!(self.state, State::Closing { .. } | State::Closed) {
            self.state = State::Closed;
            return AfterDeath::Closed;
        }
        while self.crashes.front().is_some_and(|crash| now.saturating_duration_since(*crash) > CRASH_WINDOW) {
            self.crashes.pop_front();
        }
        self.crashes.push_back(now);
        let crashes_max = usize::try_from(self.policy.crashes_max).unwrap_or(usize::MAX);
        if self.crashes.len() > crashes_max {
            self.crashes.clear();
            self.fruitless = 0;
            let until = now + CRASH_WINDOW;
            self.state = State::Waiting { until };
            return AfterDeath::CircuitOpen(until);
        }
        let pause = self.pause();
        self.fruitless += 1;
        if pause.is_zero() {
            self.restarts += 1;
            self.launch(now);
            return AfterDeath::Restarts;
        }
        let until = now + pause;
        self.state = State::Waiting { until };
        AfterDeath::BacksOff(until)
    }

    /// Nothing for an engine that had made progress, else 0.1 s ×4 … 30 s, shortened by up to a quarter.
    fn pause(&mut self) -> Duration {
        let Some(exponent) = self.fruitless.checked_sub(1) else { return Duration::ZERO };
        let full = BACKOFF_FIRST.saturating_mul(4_u32.saturating_pow(exponent.min(8))).min(BACKOFF_MAX);
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        let quarter_steps = u32::try_from(self.jitter % 256).unwrap_or(0);
        full - full / 1024 * quarter_steps
    }

    /// No engine is wanted any more. Gives whether one is there to be told so.
    pub fn close(&mut self, now: Instant) -> bool {
        // One that was never asked for needs no goodbye.
        let never_launched = std::mem::take(&mut self.launch_due);
        match self.state {
            State::Running | State::Starting { .. } if !never_launched => {
                self.state = State::Closing { since: now };
                self.watch = None;
                true
            }
            State::Closing { .. } => true,
            _ => {
                self.state = State::Closed;
                false
            }
        }
    }

    /// Next thing to do; call again until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if std::mem::take(&mut self.launch_due) {
            return Some(Action::Launch);
        }
        match self.state {
            State::Starting { due } if now >= due && !self.kill_sent => self.kill(Action::KillHung),
            State::Closing { since } if now >= since + CLOSE_TIMEOUT && !self.kill_sent => self.kill(Action::Kill),
            State::Waiting { until } if now >= until => {
                self.restarts += 1;
                self.launch(now);
                self.poll(now)
            }
            State::Running => {
                let watch = self.watch.as_mut()?;
                if now < watch.next_check {
                    return None;
                }
                watch.next_check = now + HANG_CHECK_INTERVAL;
                Some(Action::SampleRunQueue)
            }
            _ => None,
        }
    }

    fn kill(&mut self, action: Action) -> Option<Action> {
        self.kill_sent = true;
        Some(action)
    }

    /// When [`poll`](Self::poll) has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Starting { due } => (!self.kill_sent).then_some(due),
            State::Closing { since } => (!self.kill_sent).then_some(since + CLOSE_TIMEOUT),
            State::Waiting { until } => Some(until),
            State::Running => self.watch.map(|watch| watch.next_check),
            State::Idle | State::Closed => None,
        }
    }

    /// Whether frames have somewhere to go: an engine that runs or is on its way.
    #[must_use]
    pub fn accepts_frames(&self) -> bool {
        matches!(self.state, State::Starting { .. } | State::Running)
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Engines started in place of a dead one.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// One word for people and the API.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Idle => "idle",
            State::Starting { .. } => "starting",
            State::Running => "running",
            State::Waiting { .. } => "waiting",
            State::Closing { .. } => "closing",
            State::Closed => "closed",
        }
    }
}

impl Watch {
    fn begin(now: Instant) -> Self {
        Self { next_check: now + HANG_CHECK_INTERVAL, last: None, stalled: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy =
        Policy { hard_deadline: Duration::from_secs(1), first_frame_deadline: Duration::from_secs(30), crashes_max: 5 };

    fn running(now: Instant) -> Supervisor {
        let mut supervisor = Supervisor::new(POLICY, 7);
        supervisor.start(now);
        assert_eq!(supervisor.poll(now), Some(Action::Launch));
        assert_eq!(supervisor.poll(now), None);
        assert!(supervisor.ready(now, 0));
        supervisor
    }

    #[test]
    fn the_time_to_be_ready_counts_from_the_fork() {
        let mut now = Instant::now();
        let mut supervisor = Supervisor::new(POLICY, 7);
        supervisor.start(now);
        assert_eq!(supervisor.poll(now), Some(Action::Launch));
        // Its processor is still being compiled.
        now += READY_TIMEOUT * 2;
        assert_eq!(supervisor.poll(now), None);
        supervisor.launched(now);
        assert_eq!(supervisor.deadline(), Some(now + READY_TIMEOUT));
        assert_eq!(supervisor.poll(now + READY_TIMEOUT), Some(Action::KillHung));
    }

    #[test]
    fn a_crash_after_progress_restarts_at_once() {
        let now = Instant::now();
        let mut supervisor = running(now);
        supervisor.progress(now, 0);
        assert_eq!(supervisor.died(now), AfterDeath::Restarts);
        assert_eq!(supervisor.poll(now), Some(Action::Launch));
        assert_eq!(supervisor.restarts(), 1);
    }

    #[test]
    fn fruitless_engines_back_off_and_then_open_the_circuit() {
        let mut now = Instant::now();
        let mut supervisor = running(now);
        let mut pauses = Vec::new();
        let opened = loop {
            match supervisor.died(now) {
                AfterDeath::Restarts => pauses.push(Duration::ZERO),
                AfterDeath::BacksOff(until) => {
                    pauses.push(until - now);
                    assert_eq!(supervisor.poll(until - Duration::from_millis(1)), None);
                    now = until;
                }
                AfterDeath::CircuitOpen(until) => break until,
                AfterDeath::Closed => panic!("not closed"),
            }
            assert_eq!(supervisor.poll(now), Some(Action::Launch));
        };
        assert_eq!(pauses.len(), 5);
        assert_eq!(pauses[0], Duration::ZERO);
        for (pause, full_ms) in pauses[1..].iter().zip([100_u64, 400, 1600, 6400]) {
            let full = Duration::from_millis(full_ms);
            assert!(*pause <= full && *pause >= full * 3 / 4, "{pause:?} of {full:?}");
        }
        assert!(!supervisor.accepts_frames());
        assert_eq!(supervisor.deadline(), Some(opened));
        assert_eq!(supervisor.poll(opened), Some(Action::Launch));
    }

    #[test]
    fn time_without_a_cpu_does_not_count_as_a_hang() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (waited_share, expected_kill) in [(0.0, true), (0.9, false)] {
            let mut supervisor = running(start);
            supervisor.processed();
            supervisor.handed(start);
            let mut killed = false;
            for ms in (0..3000_u64).step_by(50) {
                if supervisor.poll(at(ms)) == Some(Action::SampleRunQueue) {
                    let waited = Duration::from_millis(ms).mul_f64(waited_share);
                    killed |= supervisor.waited(at(ms), Some(waited)) == Some(Action::KillHung);
                }
            }
            assert_eq!(killed, expected_kill);
        }
    }

    #[test]
    fn the_first_frame_may_take_longer() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let killed_at = |supervisor: &mut Supervisor| {
            (0..60_000_u64).step_by(250).find(|ms| {
                supervisor.poll(at(*ms)) == Some(Action::SampleRunQueue)
                    && supervisor.waited(at(*ms), Some(Duration::ZERO)) == Some(Action::KillHung)
            })
        };
        let mut supervisor = running(start);
        supervisor.handed(start);
        // Frames skipped meanwhile are progress, but no call that has come back.
        supervisor.progress(start, 1);
        assert!(killed_at(&mut supervisor).is_some_and(|ms| (30_000..31_000).contains(&ms)));
        let mut supervisor = running(start);
        supervisor.processed();
        supervisor.progress(start, 1);
        assert!(killed_at(&mut supervisor).is_some_and(|ms| (1000..2000).contains(&ms)));
    }

    #[test]
    fn an_engine_that_was_never_asked_for_is_not_waited_for() {
        let now = Instant::now();
        let mut supervisor = Supervisor::new(POLICY, 7);
        supervisor.start(now);
        assert!(!supervisor.close(now));
        assert!(supervisor.is_closed());
        assert_eq!(supervisor.poll(now), None);
    }

    #[test]
    fn a_slow_engine_that_makes_progress_lives() {
        let start = Instant::now();
        let mut supervisor = running(start);
        for step in 1..20_u64 {
            let now = start + Duration::from_millis(step * 900);
            supervisor.handed(now);
            for late in [250, 500, 750] {
                let check = now + Duration::from_millis(late);
                if supervisor.poll(check) == Some(Action::SampleRunQueue) {
                    assert_eq!(supervisor.waited(check, Some(Duration::ZERO)), None);
                }
            }
            supervisor.progress(now + Duration::from_millis(890), 1);
        }
    }

    #[test]
    fn an_engine_that_does_not_end_is_killed_once() {
        let now = Instant::now();
        let mut supervisor = running(now);
        assert!(supervisor.close(now));
        assert_eq!(supervisor.poll(now), None);
        let late = now + CLOSE_TIMEOUT;
        assert_eq!(supervisor.poll(late), Some(Action::Kill));
        assert_eq!(supervisor.poll(late), None);
        assert_eq!(supervisor.died(late), AfterDeath::Closed);
        assert!(supervisor.is_closed());
    }
}
