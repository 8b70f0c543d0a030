//! A session and what it holds on its media thread.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use framegate_core::Now;
use framegate_core::runner::{Death, Snapshot};
use framegate_core::session::Session;
use framegate_wire::{Counts, View};
use mio::net::UnixStream;
use tokio::sync::oneshot;

use super::run_queue::{RunQueue, Sample};
use super::{Refused, SessionReport, meter::Place};
use crate::engines::registry::Registry;
use crate::limits::SNAPSHOT_WAITERS_MAX;
use crate::metrics::RestartReason;

/// Answers waiting for a session to end, at the most: one page asks once.
const CLOSERS_MAX: usize = 4;

/// A session in its seat.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) session: Session,
    pub(crate) secret: String,
    pub(crate) ufrag: String,
    pub(crate) stream: String,
    pub(crate) pipeline: usize,
    pub(crate) pipeline_name: String,
    pub(crate) engine: Option<EngineSeat>,
    pub(crate) wake: Option<Instant>,
    pub(crate) created: Instant,
    pub(crate) counted: Counts,
    pub(crate) restarts_counted: u64,
    pub(crate) hangs_counted: u64,
    pub(crate) engine_cpu_us_measured: Option<u64>,
    refusals_counted: u64,
    closers: Vec<oneshot::Sender<Result<serde_json::Value, Refused>>>,
    snapshot_waiters: Vec<(View, oneshot::Sender<Result<Snapshot, Refused>>)>,
    registry: Registry,
    _place: Place,
}

/// A running engine as its session's thread holds it.
#[derive(Debug)]
pub(crate) struct EngineSeat {
    pub(crate) number: u64,
    pub(crate) socket: UnixStream,
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) run_queue: RunQueue,
}

/// What reading an engine's socket came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineRead {
    /// All there was; more will come.
    Open,
    /// A turn's worth; there may be more.
    More,
    /// It is at its end, or the engine broke the rules.
    Gone,
}

/// Who a seat is for.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) secret: String,
    pub(crate) ufrag: String,
    pub(crate) stream: String,
    pub(crate) pipeline: usize,
    pub(crate) pipeline_name: String,
}

impl Seat {
    pub(crate) fn new(session: Session, names: Names, place: Place, registry: Registry, now: Now) -> Self {
        Self {
            session,
            secret: names.secret,
            ufrag: names.ufrag,
            stream: names.stream,
            pipeline: names.pipeline,
            pipeline_name: names.pipeline_name,
            engine: None,
            wake: None,
            created: now.instant,
            counted: Counts::default(),
            restarts_counted: 0,
            hangs_counted: 0,
            engine_cpu_us_measured: None,
            refusals_counted: 0,
            closers: Vec::new(),
            snapshot_waiters: Vec::new(),
            registry,
            _place: place,
        }
    }

    /// Ends the session; the answer follows when it is over.
    pub(crate) fn close(&mut self, now: Now, answer: Option<oneshot::Sender<Result<serde_json::Value, Refused>>>) {
        if self.closers.len() < CLOSERS_MAX {
            self.closers.extend(answer);
        }
        self.session.close(now);
    }

    /// Tells everybody who waits how it ended.
    pub(crate) fn tell_closers(&mut self) {
        let summary = self.session.summary();
        for closer in self.closers.drain(..) {
            // Whoever asked may have gone; the summary is then nobody's.
            let _ = closer.send(Ok(summary.clone()));
        }
    }

    /// Asks for a picture of the next frame; the answer follows with it. Whoever has given up waiting makes room.
    pub(crate) fn want_snapshot(&mut self, view: Option<View>, answer: oneshot::Sender<Result<Snapshot, Refused>>) {
        self.snapshot_waiters.retain(|(_, waiter)| !waiter.is_closed());
        if self.snapshot_waiters.len() >= SNAPSHOT_WAITERS_MAX {
            let _ = answer.send(Err(Refused::Busy));
            return;
        }
        let view = self.session.want_snapshot(view);
        self.snapshot_waiters.push((view, answer));
    }

    /// Hands out what the engine said to others than the page: pictures and what its processors cost.
    fn hand_out(&mut self) {
        if let Some(entry) = self.registry.entries().get(self.pipeline) {
            self.session.take_times().for_each(|(processor, took_us)| entry.note_cost(processor, took_us));
            if let Some(infos) = self.session.take_infos() {
                entry.learn(infos);
            }
        }
        while let Some(snapshot) = self.session.take_snapshot() {
            for (_, waiter) in self.snapshot_waiters.extract_if(.., |(view, _)| *view == snapshot.view) {
                // Whoever asked may have gone; the picture is then for the others.
                let _ = waiter.send(Ok(snapshot.clone()));
            }
        }
    }

    /// Writes what waits for the engine until its socket is full.
    pub(crate) fn write_engine(&mut self) {
        let Some(engine) = &mut self.engine else { return };
        loop {
            let bytes = self.session.to_engine();
            if bytes.is_empty() {
                return;
            }
            match engine.socket.write(bytes) {
                Ok(count) if count > 0 => self.session.written(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Full, or gone: then reading says so.
                _ => return,
            }
        }
    }

    /// Reads what the engine wrote, in at most so many reads: one that never stops must not hold up the thread.
    pub(crate) fn read_engine(&mut self, now: Now, buffer: &mut [u8], reads_max: usize) -> EngineRead {
        for _ in 0..reads_max {
            let Some(engine) = &mut self.engine else { return EngineRead::Open };
            match engine.socket.read(buffer) {
                Ok(0) => return EngineRead::Gone,
                Ok(count) => {
                    let read = self.session.from_engine(now, &buffer[..count]);
                    self.hand_out();
                    if let Err(error) = read {
                        tracing::warn!(stream = %self.stream, %error, "an engine broke the rules and is ended");
                        return EngineRead::Gone;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return EngineRead::Open,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return EngineRead::Gone,
            }
        }
        EngineRead::More
    }

    /// Ends engine `number`: kills it, or gives it up when it is still being launched.
    pub(crate) fn end_engine(&mut self, now: Now, number: u64) {
        if self.engine.is_some() {
            self.kill_engine();
            return;
        }
        self.session.engine_gone(now, number);
        self.session.engine_report(now, number, &Death::unlaunched("it did not start in time"));
    }

    /// Kills the engine, if there is one.
    pub(crate) fn kill_engine(&self) {
        if let Some(engine) = &self.engine {
            // It may be dead already, which is what was wanted.
            let _ = rustix::process::pidfd_send_signal(engine.pidfd.as_fd(), rustix::process::Signal::KILL);
        }
    }

    /// How long the engine has waited for a CPU since it was born.
    pub(crate) fn engine_waited(&mut self, now: Now) -> Option<Duration> {
        let engine = self.engine.as_mut()?;
        let sample = Sample::read(engine.pid, now.instant)?;
        Some(engine.run_queue.waited(sample))
    }

    pub(crate) fn report(&self, now: Now) -> SessionReport {
        let runner = self.session.runner();
        SessionReport {
            stream: self.stream.clone(),
            pipeline: self.pipeline_name.clone(),
            state: self.session.state_name(),
            engine: runner.state_name(),
            engine_pid: self.engine.as_ref().map(|engine| engine.pid),
            engine_restarts: runner.restarts(),
            engine_cpu_us: runner.engine_cpu_us(),
            age_ms: u64::try_from(now.instant.saturating_duration_since(self.created).as_millis()).unwrap_or(u64::MAX),
            summary: self.session.summary(),
        }
    }

    /// CPU its engines used since the last call, in microseconds; `None` at the first.
    pub(crate) fn measure(&mut self) -> Option<u64> {
        let total = self.session.runner().engine_cpu_us();
        let before = self.engine_cpu_us_measured.replace(total)?;
        Some(total.saturating_sub(before))
    }

    /// Tells the metrics what happened since the last call.
    pub(crate) fn count(&mut self) {
        let counts = *self.session.runner().counts();
        crate::metrics::outcomes(&self.counted, &counts);
        self.counted = counts;
        let (restarts, hangs) = (self.session.runner().restarts(), self.session.runner().hangs());
        for _ in self.hangs_counted..hangs {
            crate::metrics::engine_restart(RestartReason::Hung);
        }
        for _ in (self.restarts_counted + hangs - self.hangs_counted)..restarts {
            crate::metrics::engine_restart(RestartReason::Crashed);
        }
        (self.restarts_counted, self.hangs_counted) = (restarts, hangs);
        let refusals = self.session.runner().page_refusals();
        crate::metrics::page_refusals(refusals - std::mem::replace(&mut self.refusals_counted, refusals));
    }
}

#[cfg(test)]
mod tests {
    use framegate_core::link::{Identity, LinkConfig};
    use framegate_core::peer::{Peer, PeerCertificate, PeerConfig};
    use framegate_core::runner::RunnerConfig;
    use framegate_core::session::SessionConfig;
    use framegate_core::supervisor::Policy;
    use framegate_wire::{FromEngine, Seq, SkipReason, frame};
    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    use super::*;
    use crate::config::Config;
    use crate::media::meter::Meter;
    use crate::media::socket::now;

    fn seat(now: Now) -> Seat {
        let local = ([127, 0, 0, 1], 9).into();
        let certificate = PeerCertificate::generate().expect("a certificate");
        let (_peer, offer) = Peer::new(PeerConfig { local, seed: 1, certificate }, now.instant).expect("an offer");
        let identity = Identity::generate().expect("an identity");
        let second = Duration::from_secs(1);
        let config = SessionConfig {
            link: LinkConfig { addresses: vec![local], ufrag: "u".repeat(8), password: "p".repeat(24), identity },
            runner: RunnerConfig {
                stream: "s-1".to_owned(),
                processor: "test".to_owned(),
                area_max: 1 << 20,
                late_ms: 200,
                policy: Policy { hard_deadline: second, first_frame_deadline: second, crashes_max: 5 },
                seed: 1,
            },
            hello: serde_json::json!({}),
        };
        let (session, _) = Session::accept(config, &offer, now).expect("accepted");
        let text = String::new;
        let names = Names { secret: text(), ufrag: text(), stream: text(), pipeline: 0, pipeline_name: text() };
        Seat::new(session, names, Meter::new(0.9, 1, 1).admit().expect("room"), Registry::new(&Config::default()), now)
    }

    #[test]
    fn an_engine_that_never_stops_talking_gets_a_turn_at_a_time() {
        let now = now();
        let mut seat = seat(now);
        let (mut theirs, ours) = UnixStream::pair().expect("a pair");
        let pidfd = pidfd_open(getpid(), PidfdFlags::empty()).expect("a pidfd");
        seat.engine = Some(EngineSeat { number: 1, socket: ours, pid: 0, pidfd, run_queue: RunQueue::default() });
        let mut message = Vec::new();
        frame::write(&mut message, &FromEngine::Skipped { seq: Seq(1), reason: SkipReason::Late }, &[])
            .expect("framed");
        let mut written = 0;
        while written < 100 * message.len() {
            written += theirs.write(&message).expect("room");
        }
        let mut buffer = vec![0; message.len()];
        assert_eq!(seat.read_engine(now, &mut buffer, 99), EngineRead::More);
        assert_eq!(seat.read_engine(now, &mut buffer, 99), EngineRead::Open);
        drop(theirs);
        assert_eq!(seat.read_engine(now, &mut buffer, 99), EngineRead::Gone);
    }
}
