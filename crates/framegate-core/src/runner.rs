//! One stream's engine side: frames in, results out, whatever becomes of the engine.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framegate_wire::{
    Codec, Counts, DropReason, EngineStats, Epoch, ExitKind, FaultReport, FromEngine, KeyframeReason, Open, Outcome,
    ResultHeader, Seq, SizeError, SkipReason, Status, ToEngine, UnitHeader, WIRE_VERSION, frame, limits, vp8,
};

use crate::Now;
use crate::backlog::Backlog;
use crate::control::{ControlQueue, Notice, NoticeKind};
use crate::deliver::{Delivery, Pending};
use crate::keyframe::KeyframePolicy;
use crate::ledger::Ledger;
use crate::report;
use crate::supervisor::{Action, AfterDeath, Policy, Supervisor};

/// What a runner is told once.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// Public name of the stream, `[a-z0-9_-]{1,64}`.
    pub stream: String,
    /// Name of the processor, `[a-z0-9_-]{1,64}`.
    pub processor: String,
    /// Largest picture accepted, in pixels.
    pub area_max: u32,
    /// Age at which the engine gives a unit up, in milliseconds.
    pub late_ms: u32,
    /// What the engine is allowed.
    pub policy: Policy,
    /// Decides the jitter of restarts.
    pub seed: u64,
}

/// A frame as it was assembled.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Clock epoch of `rtp_time`.
    pub epoch: Epoch,
    /// Unwrapped RTP timestamp, 90 kHz.
    pub rtp_time: u64,
    /// Sender's capture time, µs of its Unix epoch.
    pub capture_us: Option<i64>,
    /// When the kernel received its last packet, monotonic nanoseconds.
    pub received_ns: u64,
    /// Codec of `data`.
    pub codec: Codec,
    /// Whether decoding can start here.
    pub keyframe: bool,
    /// Whether nothing is missing before it.
    pub contiguous: bool,
    /// The codec's bytes.
    pub data: Arc<[u8]>,
}

/// What the caller shall do for the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineAction {
    /// Launch an engine; its messages begin with what [`Runner::to_engine`] holds.
    Launch(u64),
    /// Read how long it has waited for a CPU and call [`Runner::engine_waited`].
    SampleRunQueue(u64),
    /// Kill it.
    Kill(u64),
}

/// How an engine ended, as far as its nursery knows.
#[derive(Debug, Clone, Default)]
pub struct Death {
    /// Status or signal.
    pub kind: Option<ExitKind>,
    /// What its fault handler said.
    pub fault: Option<FaultReport>,
    /// Why it could not be launched at all.
    pub launch_error: Option<String>,
}

/// Frames, engine, results and books of one stream.
#[derive(Debug)]
pub struct Runner {
    config: RunnerConfig,
    ledger: Ledger,
    supervisor: Supervisor,
    backlog: Backlog,
    delivery: Delivery,
    keyframes: KeyframePolicy,
    control: ControlQueue,
    reader: frame::Reader,
    next_seq: u64,
    need_keyframe: bool,
    engine: Option<u64>,
    engines_launched: u64,
    hung: bool,
    hangs: u64,
    deaths: VecDeque<PendingDeath>,
    stats: EngineStats,
    cpu_us_of_dead: u64,
    totals: Option<Counts>,
    too_large_told: bool,
}

#[derive(Debug)]
struct PendingDeath {
    engine: u64,
    oldest_lost: Option<Seq>,
    hung: bool,
    after: AfterDeath,
    at: Instant,
}

/// Deaths whose report is awaited: reports come within milliseconds.
const PENDING_DEATHS_MAX: usize = 8;

impl Runner {
    /// A runner without an engine.
    #[must_use]
    pub fn new(config: RunnerConfig) -> Self {
        let supervisor = Supervisor::new(config.policy, config.seed);
        Self {
            config,
            ledger: Ledger::default(),
            supervisor,
            backlog: Backlog::default(),
            delivery: Delivery::default(),
            keyframes: KeyframePolicy::default(),
            control: ControlQueue::default(),
            reader: frame::Reader::default(),
            next_seq: 1,
            need_keyframe: true,
            engine: None,
            engines_launched: 0,
            hung: false,
            hangs: 0,
            deaths: VecDeque::new(),
            stats: EngineStats::default(),
            cpu_us_of_dead: 0,
            totals: None,
            too_large_told: false,
        }
    }

    /// Wants an engine from now on.
    pub fn start(&mut self, now: Now) {
        self.supervisor.start(now.instant);
    }

    /// Takes a frame; it will end in exactly one outcome.
    pub fn frame(&mut self, now: Now, incoming: Incoming) {
        let header = UnitHeader {
            seq: Seq(self.next_seq),
            epoch: incoming.epoch,
            rtp_time: incoming.rtp_time,
            capture_us: incoming.capture_us,
            received_ns: incoming.received_ns,
            assembled_ns: now.ns,
            codec: incoming.codec,
            keyframe: incoming.keyframe,
        };
        self.next_seq += 1;
        self.ledger.enter(&header);
        let seq = header.seq;
        match self.gate(&incoming) {
            Err(outcome) => {
                self.ledger.close(seq, outcome);
            }
            Ok(()) => self.hand_over(now, header, &incoming.data),
        }
    }

    /// Whether a frame may go to the decoder.
    fn gate(&mut self, incoming: &Incoming) -> Result<(), Outcome> {
        if incoming.data.len() > limits::UNIT_BYTES_MAX {
            self.lose(KeyframeReason::Loss);
            return Err(Outcome::Dropped(DropReason::TooLarge));
        }
        let size = match incoming.codec {
            Codec::Vp8 => vp8::picture_size(&incoming.data),
            other => Err(SizeError::Corrupt(other)),
        };
        match size.and_then(|size| size.map(|size| size.check(self.config.area_max)).transpose()) {
            Err(error @ SizeError::TooLarge { .. }) => {
                self.lose(KeyframeReason::Late);
                if !std::mem::replace(&mut self.too_large_told, true) {
                    self.control.notice(&Notice::new(NoticeKind::FrameTooLarge, error.to_string()));
                }
                return Err(Outcome::Dropped(DropReason::TooLarge));
            }
            Err(_) => {
                self.lose(KeyframeReason::Loss);
                return Err(Outcome::Dropped(DropReason::Corrupt));
            }
            Ok(_) => {}
        }
        if incoming.keyframe {
            self.keyframes.arrived();
            self.need_keyframe = false;
            self.too_large_told = false;
        } else if self.need_keyframe {
            self.keyframes.want(KeyframeReason::Loss);
            return Err(Outcome::Skipped(SkipReason::NoKeyframe));
        } else if !incoming.contiguous {
            self.lose(KeyframeReason::Loss);
            return Err(Outcome::Dropped(DropReason::NotContiguous));
        }
        if !self.supervisor.accepts_frames() {
            self.need_keyframe = true;
            return Err(Outcome::Dropped(DropReason::EngineCrashed));
        }
        Ok(())
    }

    fn hand_over(&mut self, now: Now, header: UnitHeader, data: &[u8]) {
        match self.backlog.push_unit(header, data) {
            Ok(()) => self.supervisor.handed(now.instant),
            Err(lost) => {
                for seq in lost {
                    self.ledger.close(seq, Outcome::Dropped(DropReason::Overflow));
                }
                self.lose(KeyframeReason::Overflow);
            }
        }
    }

    fn lose(&mut self, reason: KeyframeReason) {
        self.need_keyframe = true;
        self.keyframes.want(reason);
    }

    /// Asks the sender for a keyframe for a reason outside the engine.
    pub fn want_keyframe(&mut self, reason: KeyframeReason) {
        self.keyframes.want(reason);
    }

    /// Whether a keyframe request shall be sent now; a yes counts as sent.
    pub fn poll_keyframe_request(&mut self, now: Now) -> bool {
        self.keyframes.poll(now.instant)
    }

    /// Bytes for the engine's socket.
    #[must_use]
    pub fn to_engine(&self) -> &[u8] {
        self.backlog.front()
    }

    /// Notes how much of [`to_engine`](Self::to_engine) was written.
    pub fn written(&mut self, count: usize) {
        self.backlog.advance(count);
    }

    /// Takes bytes the engine wrote.
    ///
    /// # Errors
    /// What the engine did wrong; kill it.
    pub fn from_engine(&mut self, now: Now, bytes: &[u8]) -> Result<(), EngineError> {
        let mut reader = std::mem::take(&mut self.reader);
        reader.extend(bytes);
        let read = loop {
            match reader.next_message::<FromEngine>() {
                Ok(Some((message, payload))) => {
                    if let Err(error) = self.on_message(now, message, payload) {
                        break Err(error);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(EngineError::Frame(error)),
            }
        };
        self.reader = reader;
        read
    }

    fn on_message(&mut self, now: Now, message: FromEngine, payload: &[u8]) -> Result<(), EngineError> {
        match message {
            FromEngine::Ready => {
                self.supervisor.ready();
                self.supervisor.progress(now.instant, self.ledger.outstanding());
                let restarts = self.supervisor.restarts();
                let mut notice = Notice::new(NoticeKind::EngineReady, "the processor is ready");
                notice.restarts = Some(restarts);
                self.control.notice(&notice);
            }
            FromEngine::Result(header) => return self.on_result(now, &header, payload),
            FromEngine::Skipped { seq, reason } => self.on_outcome(now, seq, Outcome::Skipped(reason)),
            FromEngine::Dropped { seq, reason } => self.on_outcome(now, seq, Outcome::Dropped(reason)),
            FromEngine::KeyframeWanted(reason) => self.keyframes.want(reason),
            FromEngine::Log { level, text } => self.control.log(level, truncated(&text)),
            FromEngine::Stats(stats) => self.stats = stats,
            FromEngine::Fault { text } => {
                self.control.notice(&Notice::new(NoticeKind::ProcessorFailed, truncated(&text)));
            }
            FromEngine::Totals(counts) => self.totals = Some(counts),
            FromEngine::Want(_) => {}
            other => return Err(EngineError::Unexpected(format!("{other:?}"))),
        }
        Ok(())
    }

    fn on_outcome(&mut self, now: Now, seq: Seq, outcome: Outcome) {
        self.ledger.close(seq, outcome);
        self.supervisor.progress(now.instant, self.ledger.outstanding());
    }

    fn on_result(&mut self, now: Now, header: &ResultHeader, payload: &[u8]) -> Result<(), EngineError> {
        let data = check_result(header, payload)?;
        let outcome = if header.status == Status::Ok { Outcome::Ok } else { Outcome::Error };
        if let Some(entry) = self.ledger.close(header.seq, outcome) {
            let body = report::result_body(&self.config.stream, &self.config.processor, &entry, header, data);
            self.delivery.push(Pending { body, received_ns: entry.received_ns });
        }
        self.supervisor.progress(now.instant, self.ledger.outstanding());
        Ok(())
    }

    /// The engine's socket is at its end: closes its books and decides what comes next.
    pub fn engine_gone(&mut self, now: Now, engine: u64) {
        if self.engine != Some(engine) {
            return;
        }
        self.engine = None;
        let hung = std::mem::take(&mut self.hung);
        self.hangs += u64::from(hung);
        self.backlog.clear();
        self.reader = frame::Reader::default();
        self.cpu_us_of_dead += std::mem::take(&mut self.stats).cpu_us;
        let after = self.supervisor.died(now.instant);
        let reason = match (after, hung) {
            (AfterDeath::Closed, _) => DropReason::Closed,
            (_, true) => DropReason::Hung,
            (_, false) => DropReason::EngineCrashed,
        };
        let oldest_lost = self.ledger.close_all(reason);
        self.lose(KeyframeReason::Crash);
        if self.deaths.len() < PENDING_DEATHS_MAX {
            self.deaths.push_back(PendingDeath { engine, oldest_lost, hung, after, at: now.instant });
        }
    }

    /// The nursery's report of an engine that is gone: tells the page.
    pub fn engine_report(&mut self, engine: u64, death: &Death) {
        let Some(index) = self.deaths.iter().position(|pending| pending.engine == engine) else { return };
        let Some(pending) = self.deaths.remove(index) else { return };
        if pending.after == AfterDeath::Closed {
            return;
        }
        let kind = if pending.hung { NoticeKind::EngineHung } else { NoticeKind::EngineCrashed };
        let mut notice = Notice::new(kind, describe(death, pending.hung, self.config.policy));
        notice.seq = pending.oldest_lost;
        notice.signal = death.kind.and_then(signal_of).map(signal_name);
        notice.restarts = Some(self.supervisor.restarts());
        self.control.notice(&notice);
        match pending.after {
            AfterDeath::BacksOff(until) => {
                let text = format!("next start in {:.1} s", (until - pending.at).as_secs_f64());
                self.control.notice(&Notice::new(NoticeKind::EngineBackoff, text));
            }
            AfterDeath::CircuitOpen(until) => {
                let text = format!(
                    "crashed more than {} times within {} s: no results for {} s, the connection stays",
                    self.config.policy.crashes_max,
                    crate::limits::CRASH_WINDOW.as_secs(),
                    (until - pending.at).as_secs()
                );
                self.control.notice(&Notice::new(NoticeKind::CircuitOpen, text));
            }
            AfterDeath::Restarts | AfterDeath::Closed => {}
        }
    }

    /// Whether this engine is the one asked for last and not yet gone.
    #[must_use]
    pub fn wants_engine(&self, engine: u64) -> bool {
        self.engine == Some(engine)
    }

    /// Answer to [`EngineAction::SampleRunQueue`].
    pub fn engine_waited(&mut self, now: Now, waited: Option<Duration>) -> Option<EngineAction> {
        let action = self.supervisor.waited(now.instant, waited)?;
        self.engine_action(action)
    }

    /// Next thing to do for the engine; call again until `None`.
    pub fn poll_engine(&mut self, now: Now) -> Option<EngineAction> {
        let action = self.supervisor.poll(now.instant)?;
        self.engine_action(action)
    }

    fn engine_action(&mut self, action: Action) -> Option<EngineAction> {
        match action {
            Action::Launch => {
                self.engines_launched += 1;
                let engine = self.engines_launched;
                self.engine = Some(engine);
                self.backlog.clear();
                self.backlog.push(&ToEngine::Open(Open {
                    version: WIRE_VERSION,
                    stream: self.config.stream.clone(),
                    area_max: self.config.area_max,
                    late_ms: self.config.late_ms,
                }));
                if engine == 1 {
                    self.control.notice(&Notice::new(NoticeKind::EngineStarting, "starting the processor"));
                }
                Some(EngineAction::Launch(engine))
            }
            Action::SampleRunQueue => self.engine.map(EngineAction::SampleRunQueue),
            Action::KillHung => {
                self.hung = true;
                self.engine.map(EngineAction::Kill)
            }
            Action::Kill => self.engine.map(EngineAction::Kill),
        }
    }

    /// Ends the stream: the engine is asked to finish. Its frames without outcome become `dropped(closed)`.
    pub fn close(&mut self, now: Now) {
        if self.supervisor.close(now.instant) {
            self.backlog.push(&ToEngine::Close);
        } else {
            self.ledger.close_all(DropReason::Closed);
        }
    }

    /// Whether the engine is gone for good and the books are closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.supervisor.is_closed()
    }

    /// When [`poll_engine`](Self::poll_engine) has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.supervisor.deadline()
    }

    /// When [`poll_keyframe_request`](Self::poll_keyframe_request) will say yes.
    #[must_use]
    pub fn keyframe_deadline(&self, now: Now) -> Option<Instant> {
        self.keyframes.deadline(now.instant)
    }

    /// Takes the oldest result, complete, as text for the data channel.
    pub fn take_result(&mut self, now: Now) -> Option<String> {
        let Pending { mut body, received_ns } = self.delivery.pop()?;
        let total_us = now.ns.saturating_sub(received_ns) / 1000;
        let missed = self.ledger.take_missed();
        let undelivered = self.delivery.undelivered();
        report::finish_result(&mut body, total_us, self.ledger.received(), self.ledger.counts(), undelivered, &missed);
        Some(body)
    }

    /// Counts and missed frames as JSON, for a time without results.
    pub fn take_counts(&mut self) -> String {
        let missed = self.ledger.take_missed();
        report::counts_data(self.ledger.received(), self.ledger.counts(), self.delivery.undelivered(), &missed)
    }

    /// `{"counts":…}` as JSON.
    #[must_use]
    pub fn summary(&self) -> String {
        report::summary_data(self.ledger.received(), self.ledger.counts(), self.delivery.undelivered())
    }

    /// Whether a result waits.
    #[must_use]
    pub fn has_result(&self) -> bool {
        !self.delivery.is_empty()
    }

    /// Whether frames without results wait to be told.
    #[must_use]
    pub fn has_missed(&self) -> bool {
        self.ledger.has_missed()
    }

    /// Gives up all waiting results: nobody can take them.
    pub fn abandon_results(&mut self) {
        self.delivery.abandon();
    }

    /// Messages for the control channel.
    pub fn control(&mut self) -> &mut ControlQueue {
        &mut self.control
    }

    /// Outcomes so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        self.ledger.counts()
    }

    /// What the engine itself counted, after an orderly close.
    #[must_use]
    pub fn engine_totals(&self) -> Option<&Counts> {
        self.totals.as_ref()
    }

    /// Frames assembled so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.ledger.received()
    }

    /// CPU time of all engines of this stream as they reported it, in microseconds.
    #[must_use]
    pub fn engine_cpu_us(&self) -> u64 {
        self.cpu_us_of_dead + self.stats.cpu_us
    }

    /// The engine's state in one word.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        self.supervisor.state_name()
    }

    /// Engines started in place of a dead one.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.supervisor.restarts()
    }

    /// Engines killed because they made no progress.
    #[must_use]
    pub fn hangs(&self) -> u64 {
        self.hangs
    }
}

/// What an engine did that none may do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Unreadable bytes.
    #[error("unreadable message from the engine: {0}")]
    Frame(#[from] frame::FrameError),
    /// A message out of place.
    #[error("unexpected message from the engine: {0}")]
    Unexpected(String),
    /// A result no host would send: the engine's own checks were bypassed.
    #[error("result refused: {0}")]
    Result(&'static str),
}

/// Checks a result as hostile input and gives its data as text.
fn check_result<'a>(header: &ResultHeader, payload: &'a [u8]) -> Result<&'a str, EngineError> {
    let refuse = |why| Err(EngineError::Result(why));
    if header.detections.len() > limits::DETECTIONS_MAX {
        return refuse("too many detections");
    }
    for detection in &header.detections {
        let numbers = detection.bbox.iter().chain(std::iter::once(&detection.score));
        if !numbers.chain(detection.keypoints.iter().flatten()).all(|number| number.is_finite()) {
            return refuse("a number is not finite");
        }
        if detection.label.len() > limits::LABEL_BYTES_MAX || detection.keypoints.len() > 64 {
            return refuse("a label or list of points is too long");
        }
    }
    if payload.len() > limits::RESULT_DATA_BYTES_MAX {
        return refuse("data is too large");
    }
    if payload.is_empty() {
        return Ok("");
    }
    let Ok(raw) = serde_json::from_slice::<&serde_json::value::RawValue>(payload) else {
        return refuse("data is not JSON");
    };
    Ok(raw.get())
}

fn truncated(text: &str) -> &str {
    let mut end = text.len().min(limits::TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn signal_of(kind: ExitKind) -> Option<i32> {
    match kind {
        ExitKind::Signal(signal) => Some(signal),
        ExitKind::Code(_) => None,
    }
}

/// Linux's names of the signals that end engines.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

fn describe(death: &Death, hung: bool, policy: Policy) -> String {
    if let Some(error) = &death.launch_error {
        return format!("the engine could not be started: {error}");
    }
    if hung {
        return format!("no progress for {} ms: killed", policy.hard_deadline.as_millis());
    }
    let how = match death.kind {
        Some(ExitKind::Signal(signal)) => format!("ended by {}", signal_name(signal)),
        Some(ExitKind::Code(code)) => format!("the processor called exit({code})"),
        None => "the engine ended".to_owned(),
    };
    let Some(fault) = &death.fault else { return how };
    let place = match fault.stage {
        framegate_wire::FaultStage::Process => "in the processor",
        framegate_wire::FaultStage::Create => "while the processor was made",
        framegate_wire::FaultStage::Decode => "in the decoder",
        framegate_wire::FaultStage::Convert => "in the conversion",
        framegate_wire::FaultStage::Idle => "between frames",
    };
    let function = fault.function.as_deref().map(|name| format!(", function {name}")).unwrap_or_default();
    let location = fault.location.as_deref().map(|at| format!(" ({at})")).unwrap_or_default();
    format!("{how} {place}{function}{location}")
}
