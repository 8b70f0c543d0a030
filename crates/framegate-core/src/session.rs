//! One browser and its engine, joined: the whole behaviour of a session without a socket, a clock or a thread.
//!
//! ```text
//! datagrams ─► Link ─ frames ─► Runner ─► engine
//! datagrams ◄─ Link ◄ results ─ Runner ◄─ engine
//! ```
//!
//! After every input the caller empties [`Session::poll_outgoing`] and [`Session::poll_engine`], writes
//! [`Session::to_engine`] and comes back at [`Session::deadline`] at the latest.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use framegate_wire::{ProcessorInfo, View};
use serde_json::{Value, json};

use crate::Now;
use crate::control::{self, PageMessage};
use crate::demux::{DatagramKind, classify};
use crate::limits::{
    ASSEMBLY_STALL, CONNECT_TIMEOUT, CONTROL_PER_SECOND_MAX, COUNTS_INTERVAL, FAREWELL_TIMEOUT, MESSAGE_BYTES_MAX,
    PROOF_FRESH, SILENCE_TIMEOUT,
};
use crate::link::{Link, LinkConfig, LinkEvent, Outgoing};
use crate::offer::OfferError;
use crate::rate::RateWindow;
use crate::runner::{Death, EngineAction, EngineError, ParamsRequest, Runner, RunnerConfig, Snapshot};

/// What a session is made of.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// The connection.
    pub link: LinkConfig,
    /// The stream and its engine.
    pub runner: RunnerConfig,
    /// Data of the `hello` message: stream, pipeline, server and processors.
    pub hello: Value,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The page or its server asked.
    Asked,
    /// The peer closed the connection.
    PeerClosed,
    /// No connection within [`CONNECT_TIMEOUT`].
    NeverConnected,
    /// Nothing authenticated for [`SILENCE_TIMEOUT`].
    Silent,
}

impl EndReason {
    /// For logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked for",
            Self::PeerClosed => "closed by the peer",
            Self::NeverConnected => "never connected",
            Self::Silent => "silent",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Live,
    /// The engine finishes.
    Closing(EndReason),
    /// The summary is on its way.
    Farewell {
        reason: EndReason,
        since: Instant,
    },
    Finished(EndReason),
}

/// A browser's connection and its engine.
#[derive(Debug)]
pub struct Session {
    link: Link,
    runner: Runner,
    phase: Phase,
    hello: Value,
    created: Instant,
    last_proof: Instant,
    last_frame: Instant,
    last_media_packet: Instant,
    last_told: Instant,
    told_received: u64,
    page_messages: RateWindow,
    /// Whether the control channel had no room when last asked: what is acknowledged makes room.
    control_full: bool,
}

impl Session {
    /// Answers an offer.
    ///
    /// # Errors
    /// [`OfferError`] when there is nothing to serve.
    pub fn accept(config: SessionConfig, sdp: &str, now: Now) -> Result<(Self, String), OfferError> {
        let (link, answer) = Link::accept(config.link, sdp, now.instant)?;
        let session = Self {
            link,
            runner: Runner::new(config.runner),
            phase: Phase::Connecting,
            hello: config.hello,
            created: now.instant,
            last_proof: now.instant,
            last_frame: now.instant,
            last_media_packet: now.instant,
            last_told: now.instant,
            told_received: 0,
            page_messages: RateWindow::new(CONTROL_PER_SECOND_MAX),
            control_full: false,
        };
        Ok((session, answer))
    }

    /// Whether a STUN request carries this session's password.
    #[must_use]
    pub fn authenticates(&self, datagram: &[u8]) -> bool {
        self.link.authenticates(datagram)
    }

    /// Whether an authenticated STUN check came lately: its addresses are not up for taking.
    #[must_use]
    pub fn is_proven(&self, now: Now) -> bool {
        self.is_live() && now.instant < self.last_proof + PROOF_FRESH
    }

    /// Takes a datagram the demultiplexer found to be ours. `received_ns` is the kernel's receive stamp.
    pub fn datagram(
        &mut self,
        now: Now,
        received_ns: u64,
        source: SocketAddr,
        destination: SocketAddr,
        datagram: &[u8],
    ) {
        match classify(datagram) {
            DatagramKind::Stun if !self.authenticates(datagram) => return,
            DatagramKind::Stun => self.last_proof = now.instant,
            DatagramKind::Rtp => self.last_media_packet = now.instant,
            DatagramKind::Dtls | DatagramKind::Rtcp | DatagramKind::Other => {}
        }
        self.link.datagram(now.instant, source, destination, datagram);
        self.settle(now, received_ns);
    }

    /// Lets time pass; call at [`deadline`](Self::deadline).
    pub fn tick(&mut self, now: Now) {
        if self.link.deadline() <= now.instant {
            self.link.timeout(now.instant);
        }
        match self.phase {
            Phase::Connecting if now.instant >= self.created + CONNECT_TIMEOUT => {
                self.end(now, EndReason::NeverConnected);
            }
            Phase::Live if now.instant >= self.last_proof + SILENCE_TIMEOUT => self.end(now, EndReason::Silent),
            Phase::Live if self.stalled(now.instant) => {
                self.last_frame = now.instant;
                self.runner.want_keyframe(framegate_wire::KeyframeReason::Loss);
            }
            _ => {}
        }
        self.settle(now, now.ns);
    }

    /// Packets arrive, frames do not: a loss the assembler cannot see past.
    fn stalled(&self, now: Instant) -> bool {
        now >= self.last_frame + ASSEMBLY_STALL && self.last_media_packet > self.last_frame
    }

    /// Takes bytes the engine wrote.
    ///
    /// # Errors
    /// What the engine did wrong; kill it and report its death.
    pub fn from_engine(&mut self, now: Now, bytes: &[u8]) -> Result<(), EngineError> {
        let read = self.runner.from_engine(now, bytes);
        self.settle(now, now.ns);
        read
    }

    /// Asks for a picture of the next frame: what the processors made if `view` is absent and they make pictures, else as
    /// it was decoded. Gives the view that was chosen.
    pub fn want_snapshot(&mut self, view: Option<View>) -> View {
        let view = view.unwrap_or(if self.runner.returns_image() { View::Processed } else { View::Source });
        self.runner.want_snapshot(view);
        view
    }

    /// A picture that has come.
    pub fn take_snapshot(&mut self) -> Option<Snapshot> {
        self.runner.take_snapshot()
    }

    /// Takes the times of processors since the last call: place in the pipeline and microseconds.
    pub fn take_times(&mut self) -> std::vec::Drain<'_, (usize, u32)> {
        self.runner.take_times()
    }

    /// What the processors are like, when an engine has just shown it and no page has changed them.
    pub fn take_infos(&mut self) -> Option<Vec<ProcessorInfo>> {
        self.runner.take_infos()
    }

    /// The engine has a process.
    pub fn engine_launched(&mut self, now: Now) {
        self.runner.engine_launched(now);
    }

    /// The engine's socket is at its end.
    pub fn engine_gone(&mut self, now: Now, engine: u64) {
        self.runner.engine_gone(now, engine);
        self.settle(now, now.ns);
    }

    /// The nursery's report of an engine that is gone.
    pub fn engine_report(&mut self, now: Now, engine: u64, death: &Death) {
        self.runner.engine_report(engine, death);
        self.settle(now, now.ns);
    }

    /// A line the engine printed.
    pub fn engine_printed(&mut self, now: Now, level: framegate_wire::LogLevel, line: &str) {
        // The summary is the last message.
        if !matches!(self.phase, Phase::Farewell { .. } | Phase::Finished(_)) {
            self.runner.printed(now, level, line);
        }
        self.settle(now, now.ns);
    }

    /// Whether this engine is the one asked for last and not yet gone.
    #[must_use]
    pub fn wants_engine(&self, engine: u64) -> bool {
        self.runner.wants_engine(engine)
    }

    /// Answer to [`EngineAction::SampleRunQueue`].
    pub fn engine_waited(&mut self, now: Now, waited: Option<Duration>) -> Option<EngineAction> {
        self.runner.engine_waited(now, waited)
    }

    /// Bytes for the engine's socket.
    #[must_use]
    pub fn to_engine(&self) -> &[u8] {
        self.runner.to_engine()
    }

    /// Notes how much of [`to_engine`](Self::to_engine) was written.
    pub fn written(&mut self, count: usize) {
        self.runner.written(count);
    }

    /// Next datagram to send.
    pub fn poll_outgoing(&mut self) -> Option<Outgoing> {
        self.link.poll_outgoing()
    }

    /// Next thing to do for the engine.
    pub fn poll_engine(&mut self, now: Now) -> Option<EngineAction> {
        self.runner.poll_engine(now)
    }

    /// Ends the session in order: the engine finishes, the page gets its summary.
    pub fn close(&mut self, now: Now) {
        self.end(now, EndReason::Asked);
        self.settle(now, now.ns);
    }

    fn end(&mut self, now: Now, reason: EndReason) {
        if matches!(self.phase, Phase::Connecting | Phase::Live) {
            self.phase = Phase::Closing(reason);
            self.runner.close(now);
        }
    }

    /// Does what follows from the last input until nothing follows any more.
    fn settle(&mut self, now: Now, received_ns: u64) {
        while let Some(event) = self.link.poll_event(received_ns) {
            self.on_event(now, event);
        }
        if self.phase == Phase::Live && self.runner.poll_keyframe_request(now) {
            self.link.request_keyframe();
        }
        self.flush(now);
        if let Phase::Closing(reason) = self.phase
            && self.runner.is_closed()
        {
            // What the channel has not taken by now is counted in the summary.
            self.runner.abandon_results();
            let summary = self.runner.summary();
            self.runner.control().send("summary", None, &summary);
            self.phase = Phase::Farewell { reason, since: now.instant };
            self.flush(now);
        }
        if let Phase::Farewell { reason, since } = self.phase
            && (now.instant >= since + FAREWELL_TIMEOUT || self.said_everything())
        {
            self.link.close();
            self.phase = Phase::Finished(reason);
        }
    }

    /// Whether the page has acknowledged all messages, or can hear none.
    fn said_everything(&mut self) -> bool {
        !self.link.has_control() || (self.runner.control().is_empty() && self.link.control_drained())
    }

    fn on_event(&mut self, now: Now, event: LinkEvent) {
        match event {
            LinkEvent::Connected => {
                if self.phase == Phase::Connecting {
                    self.phase = Phase::Live;
                    self.last_proof = now.instant;
                    self.runner.start(now);
                }
            }
            LinkEvent::Frame(incoming) => {
                self.last_frame = now.instant;
                if self.phase == Phase::Live {
                    self.runner.frame(now, incoming);
                }
            }
            LinkEvent::ControlOpen => {
                let hello = self.hello.to_string();
                self.runner.control().send_first("hello", &hello);
            }
            LinkEvent::Control(bytes) => self.on_page_message(now, &bytes),
            LinkEvent::ResultsOpen | LinkEvent::Writable => {}
            LinkEvent::Closed => {
                self.runner.abandon_results();
                self.end(now, EndReason::PeerClosed);
            }
        }
    }

    fn on_page_message(&mut self, now: Now, bytes: &[u8]) {
        if !self.page_messages.allows(now.instant) {
            return;
        }
        match control::parse(bytes) {
            Some(PageMessage::Ping { id, data }) => {
                self.runner.control().send("pong", id.as_ref(), &data.to_string());
            }
            // The summary is the last message.
            Some(_) if !self.is_live() => {}
            Some(PageMessage::Params { id, processor, values }) => {
                self.runner.set_params(now, ParamsRequest { id, processor, values });
            }
            Some(PageMessage::Message { processor, json }) => {
                self.runner.tell_processor(now, processor.as_deref(), &json);
            }
            Some(PageMessage::Close) => self.end(now, EndReason::Asked),
            Some(PageMessage::Unknown) | None => {}
        }
    }

    /// Hands results and messages to the channels while they have room.
    fn flush(&mut self, now: Now) {
        while self.runner.has_result() && self.link.can_send_result() {
            let Some(text) = self.runner.take_result(now) else { break };
            debug_assert!(text.len() <= MESSAGE_BYTES_MAX);
            if !self.link.send_result(&text) {
                self.runner.result_lost();
            }
            self.told(now);
        }
        self.control_full = !self.link.can_send_control();
        if self.control_full {
            return;
        }
        if self.counts_due().is_some_and(|due| due <= now.instant) {
            let counts = self.runner.take_counts();
            self.runner.control().send("counts", None, &counts);
            self.told(now);
        }
        while self.link.can_send_control() {
            let control = self.runner.control();
            let Some(text) = control.front().map(str::to_owned) else { break };
            control.pop();
            self.link.send_control(&text);
        }
        self.control_full = !self.link.can_send_control();
    }

    fn told(&mut self, now: Now) {
        self.last_told = now.instant;
        self.told_received = self.runner.received();
    }

    fn counts_due(&self) -> Option<Instant> {
        let news = self.runner.received() != self.told_received || self.runner.has_missed();
        let can_tell = self.is_live() && self.link.has_control() && !self.control_full;
        (news && can_tell).then_some(self.last_told + COUNTS_INTERVAL)
    }

    /// When [`tick`](Self::tick) must be called.
    #[must_use]
    pub fn deadline(&self, now: Now) -> Instant {
        let phase = match self.phase {
            Phase::Connecting => Some(self.created + CONNECT_TIMEOUT),
            Phase::Live => Some(self.last_proof + SILENCE_TIMEOUT),
            Phase::Farewell { since, .. } => Some(since + FAREWELL_TIMEOUT),
            Phase::Closing(_) | Phase::Finished(_) => None,
        };
        let stall = (self.phase == Phase::Live && self.last_media_packet > self.last_frame)
            .then_some(self.last_frame + ASSEMBLY_STALL);
        let keyframe = if self.is_live() { self.runner.keyframe_deadline(now) } else { None };
        let link = Some(self.link.deadline());
        let wakes = [phase, stall, keyframe, link, self.counts_due(), self.runner.deadline()];
        wakes.into_iter().flatten().min().unwrap_or(self.created)
    }

    /// Why it ended, once it holds nothing any more.
    #[must_use]
    pub fn finished(&self) -> Option<EndReason> {
        match self.phase {
            Phase::Finished(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether ICE and DTLS are done and nobody has ended it.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// One word for people and the API.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        match self.phase {
            Phase::Connecting => "connecting",
            Phase::Live => "live",
            Phase::Closing(_) | Phase::Farewell { .. } => "closing",
            Phase::Finished(_) => "closed",
        }
    }

    /// The stream's books and engine.
    #[must_use]
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// The final summary as JSON: `{"counts":…}`.
    #[must_use]
    pub fn summary(&self) -> Value {
        serde_json::from_str(&self.runner.summary()).unwrap_or_else(|_| json!({}))
    }
}
