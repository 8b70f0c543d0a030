//! One stream's engine side: frames in, results out, whatever becomes of the engine.

mod death;
mod hostile;
mod interface;
mod outside;
mod page;
mod snapshot;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use framegate_wire::{
    Codec, Counts, DropReason, EngineStats, FromEngine, KeyframeReason, LogLevel, Open, Outcome, ProcessorInfo,
    ResultHeader, Seq, SizeError, SkipReason, Status, ToEngine, UnitHeader, WIRE_VERSION, frame, limits, vp8,
};

pub use self::death::Death;
use self::death::describe;
pub use self::hostile::EngineError;
use self::hostile::{check_result, truncated};
pub use self::interface::{EngineAction, Incoming, RunnerConfig};
use self::page::Page;
pub use self::page::ParamsRequest;
pub use self::snapshot::Snapshot;
use self::snapshot::Snapshots;

use crate::Now;
use crate::backlog::Backlog;
use crate::control::{ControlQueue, Notice, NoticeKind};
use crate::deliver::{Delivery, Pending};
use crate::keyframe::KeyframePolicy;
use crate::ledger::Ledger;
use crate::limits::{ENGINE_MESSAGES_PER_SECOND_MAX, ENGINE_TEXTS_PER_SECOND_MAX};
use crate::rate::RateWindow;
use crate::supervisor::{Action, AfterDeath, Supervisor};
use crate::{report, schema};

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
    messages: RateWindow,
    texts: RateWindow,
    page: Page,
    snapshots: Snapshots,
    /// Whether the present engine has given a result.
    had_result: bool,
    /// Place in the pipeline and time of processors that were called, until somebody takes them.
    times: Vec<(usize, u32)>,
}

/// Times of processors kept for whoever takes them after each read: more than the frames of one read.
const TIMES_MAX: usize = 1024;

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
            messages: RateWindow::new(ENGINE_MESSAGES_PER_SECOND_MAX),
            texts: RateWindow::new(ENGINE_TEXTS_PER_SECOND_MAX),
            page: Page::default(),
            snapshots: Snapshots::default(),
            had_result: false,
            times: Vec::new(),
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
        if !self.supervisor.accepts_frames() {
            // No keyframe is asked for: there is no decoder to use it.
            self.need_keyframe = true;
            return Err(Outcome::Dropped(DropReason::EngineCrashed));
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
        if !self.messages.allows(now.instant) {
            return Err(EngineError::Flood);
        }
        match message {
            FromEngine::Ready(infos) => return self.on_ready(now, infos),
            FromEngine::Result(header) => return self.on_result(now, &header, payload),
            FromEngine::Skipped { seq, reason } => self.on_outcome(now, seq, Outcome::Skipped(reason)),
            FromEngine::Dropped { seq, reason } => self.on_outcome(now, seq, Outcome::Dropped(reason)),
            FromEngine::KeyframeWanted(reason) => self.keyframes.want(reason),
            FromEngine::Log { level, text } => self.printed(now, level, truncated(&text)),
            FromEngine::Stats(stats) => self.stats = stats,
            FromEngine::Fault { text } if self.texts.allows(now.instant) => {
                self.control.notice(&Notice::new(NoticeKind::ProcessorFailed, truncated(&text)));
            }
            FromEngine::Totals(counts) => self.totals = Some(counts),
            FromEngine::Fault { .. } | FromEngine::Want(_) => {}
            FromEngine::Params { id, values, refused } => {
                return self.page.on_params(now.instant, id, &values, &refused, &mut self.control);
            }
            FromEngine::Message { processor } => {
                return self.page.on_message(now.instant, processor, payload, &mut self.control);
            }
            FromEngine::State => self.page.on_state(payload),
            FromEngine::ReturnsImage => self.page.on_returns_image(&mut self.control),
            FromEngine::Snapshot { id, seq } => return self.snapshots.on_answer(id, seq, payload),
            other => return Err(EngineError::Unexpected(format!("{other:?}"))),
        }
        Ok(())
    }

    fn on_ready(&mut self, now: Now, infos: Vec<ProcessorInfo>) -> Result<(), EngineError> {
        if self.page.is_ready() {
            return Err(EngineError::Page("ready a second time"));
        }
        let infos = schema::checked(infos).ok_or(EngineError::Page("a processor without a name"))?;
        if !self.supervisor.ready(now.instant, self.ledger.outstanding()) {
            return Ok(());
        }
        let mut notice = Notice::new(NoticeKind::EngineReady, "the processor is ready");
        notice.restarts = Some(self.supervisor.restarts());
        self.control.notice(&notice);
        self.page.ready(infos, &mut self.control, &mut self.backlog);
        self.snapshots.ask_again(&mut self.backlog);
        if let Some(names) = self.page.joined_names() {
            self.config.processor = names;
        }
        Ok(())
    }

    /// Tells the page a line of the processor's; above the limit they are left out, here as where they come from.
    pub fn printed(&mut self, now: Now, level: LogLevel, line: &str) {
        if self.texts.allows(now.instant) {
            self.control.log(level, line);
        }
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
            self.supervisor.processed();
            self.had_result = true;
            self.note_times(header);
        }
        self.supervisor.progress(now.instant, self.ledger.outstanding());
        Ok(())
    }

    fn note_times(&mut self, header: &ResultHeader) {
        let one = [header.timing.process_us];
        let times = if header.processors_us.is_empty() { &one[..] } else { &header.processors_us };
        if self.times.len() + times.len() <= TIMES_MAX {
            self.times.extend(times.iter().copied().enumerate());
        }
    }

    /// The engine has a process.
    pub fn engine_launched(&mut self, now: Now) {
        self.supervisor.launched(now.instant);
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
        self.page.engine_gone(std::mem::take(&mut self.had_result), &mut self.control);
        // An engine may claim anything.
        self.cpu_us_of_dead = self.cpu_us_of_dead.saturating_add(std::mem::take(&mut self.stats).cpu_us);
        let after = self.supervisor.died(now.instant);
        let reason = match (after, hung) {
            (AfterDeath::Closed, _) => DropReason::Closed,
            (_, true) => DropReason::Hung,
            (_, false) => DropReason::EngineCrashed,
        };
        let oldest_lost = self.ledger.close_all(reason);
        // Of no use before there is an engine again: `Action::Launch` asks.
        self.need_keyframe = true;
        self.keyframes.arrived();
        if after == AfterDeath::Restarts {
            self.keyframes.want(KeyframeReason::Crash);
        }
        if self.deaths.len() == PENDING_DEATHS_MAX {
            self.deaths.pop_front();
        }
        self.deaths.push_back(PendingDeath { engine, oldest_lost, hung, after, at: now.instant });
    }

    /// The nursery's report of an engine that is gone: tells the page.
    pub fn engine_report(&mut self, engine: u64, death: &Death) {
        let Some(index) = self.deaths.iter().position(|pending| pending.engine == engine) else { return };
        let Some(pending) = self.deaths.remove(index) else { return };
        if pending.after == AfterDeath::Closed {
            return;
        }
        let kind = match (&death.launch_error, pending.hung) {
            (Some(_), _) => NoticeKind::ProcessorFailed,
            (None, true) => NoticeKind::EngineHung,
            (None, false) => NoticeKind::EngineCrashed,
        };
        let mut notice = Notice::new(kind, truncated(&describe(death, pending.hung, self.config.policy)));
        notice.seq = pending.oldest_lost;
        notice.signal = death.signal();
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
                let open = Open {
                    version: WIRE_VERSION,
                    stream: self.config.stream.clone(),
                    area_max: self.config.area_max,
                    late_ms: self.config.late_ms,
                    seed: self.config.seed,
                    params: self.page.values_for_open(),
                };
                // Always fits: the backlog is empty, and values and state are bounded.
                self.backlog.push_extra(&ToEngine::Open(open), self.page.state_for_open());
                if engine == 1 {
                    self.control.notice(&Notice::new(NoticeKind::EngineStarting, "starting the processor"));
                } else {
                    self.keyframes.want(KeyframeReason::Crash);
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
}

#[cfg(test)]
mod tests;
