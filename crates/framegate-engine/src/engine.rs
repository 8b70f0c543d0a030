//! The engine's loop: read, decode everything, convert and process the newest, answer.
//!
//! Hot path: no allocation but what a result itself holds; per batch one read (two when it fills the buffer, one more
//! when several units had waited), one write.

mod snapshots;
mod states;

use std::{os::fd::OwnedFd, sync::Arc};

use framegate_codec::{DecodeError, Decoder, Picture};
use framegate_wire::{
    Codec, DropReason, EngineStats, FaultStage, FromEngine, LogLevel, NamedValue, Outcome, ResultHeader, Status,
    Timing, ToEngine, UnitHeader, WIRE_VERSION, frame::FrameError, limits::TEXT_BYTES_MAX,
};
use rustix::io::Errno;

use crate::{
    chain::{Chain, ChainError, Done, Opening, StageError},
    clock::{Clock, cpu_us, now_ns, us_between},
    inbox::{Flow, Inbox, Patience},
    instance::Refusal,
    intake::{Call, Intake, Step},
    limits::STATS_NS,
    nursery::fault::enter,
    outbox::{Outbox, SendError, cut},
    resolve::Loaded,
};
use snapshots::Snapshots;
use states::States;

/// Why an engine ends without being asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum EngineError {
    /// The socket failed.
    #[error("reading from the gateway: {0}")]
    Receive(#[source] Errno),
    /// The gateway cannot be told anything.
    #[error(transparent)]
    Send(#[from] SendError),
    /// What came is not a message.
    #[error("reading a message: {0}")]
    Frame(#[from] FrameError),
    /// The first message is not `Open`, or a later one is.
    #[error("the gateway's messages are out of order")]
    Order,
    /// The gateway is of another build.
    #[error("the gateway speaks version {0} of the engine's messages, this engine {WIRE_VERSION}")]
    Version(u16),
    /// The states are none.
    #[error("reading the processors' states: {0}")]
    State(#[source] postcard::Error),
    /// No instances.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The process of a processor has gone.
    #[error("{0}")]
    ProcessorGone(String),
    /// No decoder.
    #[error(transparent)]
    Decoder(#[from] DecodeError),
}

/// Serves one session on `socket` until it closes.
///
/// # Errors
/// [`EngineError`]; the gateway has been told, if it could be.
pub(crate) fn run(socket: OwnedFd, loaded: &Loaded) -> Result<(), EngineError> {
    let socket = Arc::new(socket);
    let outbox = Arc::new(Outbox::new(Arc::clone(&socket)));
    let served = serve(Inbox::new(socket), &outbox, loaded);
    if let Err(error) = &served {
        let text = cut(&error.to_string(), TEXT_BYTES_MAX).to_owned();
        // When even this fails the gateway has gone, and the error says so.
        let _ = outbox.push(&FromEngine::Fault { text }, &[]).and_then(|()| outbox.flush());
    }
    served
}

fn serve(mut inbox: Inbox, outbox: &Arc<Outbox>, loaded: &Loaded) -> Result<(), EngineError> {
    let Some((open, states)) = inbox.open()? else { return Ok(()) };
    let mut intake = Intake::new(open.late_ms);
    let opening =
        Opening { stream: &open.stream, seed: open.seed, clock: Clock::Live, params: &open.params, states: &states };
    enter(FaultStage::Create);
    let chain = Chain::open(loaded, &opening, outbox)?;
    enter(FaultStage::Idle);
    drop(states);
    // What waited for the library, the fork and `create` did not wait for want of CPU.
    intake.busy(0, now_ns());
    let mut engine = Engine {
        area_max: open.area_max,
        outbox,
        intake,
        states: States::new(chain.has_state()),
        chain,
        snapshots: Snapshots::default(),
        has_returned_image: false,
        stats: EngineStats::default(),
        stats_ns: now_ns(),
    };
    engine.intake.set_rate(engine.chain.want().rate_millihertz);
    if engine.chain.want() != Default::default() {
        outbox.push(&FromEngine::Want(engine.chain.want()), &[])?;
    }
    outbox.push(&FromEngine::Ready(engine.chain.infos()), &[])?;
    outbox.flush()?;
    let mut decoder = Decoder::new(Codec::Vp8)?;
    while engine.batch(&mut inbox, &mut decoder)? == Flow::Open {
        engine.attend(&inbox)?;
        if inbox.fill(Patience::Waits)? == Flow::Closed {
            break;
        }
    }
    engine.close()
}

/// One session's engine.
struct Engine<'a> {
    area_max: u32,
    outbox: &'a Outbox,
    intake: Intake,
    chain: Chain,
    states: States,
    snapshots: Snapshots,
    /// Whether the gateway has been told that a processor gives pictures.
    has_returned_image: bool,
    stats: EngineStats,
    stats_ns: u64,
}

/// Times of one decoded unit, in monotonic nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Decoded {
    read_ns: u64,
    start_ns: u64,
    end_ns: u64,
}

impl Engine<'_> {
    /// Decodes every unit that was read, in order, and processes the newest.
    fn batch(&mut self, inbox: &mut Inbox, decoder: &mut Decoder) -> Result<Flow, EngineError> {
        let (mut flow, mut units, mut has_news, mut looked_again) = (Flow::Open, 0_usize, false, false);
        let mut newest: Option<(Decoded, Picture<'_>)> = None;
        loop {
            let Some((message, payload)) = inbox.reader.next_message::<ToEngine>()? else {
                // Decoding what waited for a slow processor takes a while itself: the newest may have come meanwhile.
                // Only once, or an engine slower than its camera would decode for ever.
                if units > 1 && !std::mem::replace(&mut looked_again, true) {
                    flow = inbox.fill(Patience::None)?;
                    continue;
                }
                break;
            };
            match message {
                ToEngine::Unit(header) => {
                    units += 1;
                    let start_ns = now_ns();
                    if self.intake.unit(&header, start_ns) == Step::Decode {
                        enter(FaultStage::Decode);
                        let decoded = decoder.decode(payload, self.area_max);
                        enter(FaultStage::Idle);
                        let times = Decoded { read_ns: inbox.read_ns, start_ns, end_ns: now_ns() };
                        newest = self.note(header, decoded, times);
                    }
                }
                ToEngine::Close => {
                    flow = Flow::Closed;
                    break;
                }
                ToEngine::SetParams { id, values } => {
                    self.busy(|engine| engine.set_params(id, &values))?;
                    has_news = true;
                }
                ToEngine::Message { processor } => {
                    self.busy(|engine| engine.receive(processor, payload));
                    has_news = true;
                }
                ToEngine::Snapshot { id, view } => {
                    self.snapshots.ask(id, view, self.outbox)?;
                    has_news = true;
                }
                _ => return Err(EngineError::Order),
            }
        }
        if self.intake.is_urgent() {
            self.send_answers()?;
            self.outbox.flush()?;
        }
        if let Some((times, picture)) = newest {
            let seq = self.intake.newest();
            if let Some(call) = self.intake.call() {
                self.send_answers()?;
                self.process(&call, &picture, times)?;
            }
            if let Some(seq) = seq.filter(|_| self.snapshots.is_any_wanted()) {
                self.outbox.flush()?;
                self.busy(|engine| engine.snapshots.answer_source(seq, &picture, engine.outbox))?;
            }
        }
        if has_news {
            self.check_alive()?;
        }
        if units > 0 || has_news {
            self.send_answers()?;
            self.send_stats()?;
            self.outbox.flush()?;
        }
        if units > 0 && self.states.is_due() {
            self.busy(|engine| engine.states.save(&mut engine.chain, engine.outbox))?;
            self.outbox.flush()?;
        }
        Ok(flow)
    }

    fn note<'p>(
        &mut self,
        header: UnitHeader,
        decoded: Result<Option<Picture<'p>>, DecodeError>,
        times: Decoded,
    ) -> Option<(Decoded, Picture<'p>)> {
        match decoded {
            Ok(picture) => {
                self.stats.decoded += 1;
                match picture {
                    Some(_) => self.intake.decoded(header),
                    None => self.intake.empty(header.seq),
                }
                Some((times, picture?))
            }
            Err(DecodeError::TooLarge { .. }) => {
                self.intake.too_large(header.seq, times.end_ns);
                None
            }
            Err(_) => {
                self.intake.corrupt(header.seq, times.end_ns);
                None
            }
        }
    }

    fn process(&mut self, call: &Call, picture: &Picture<'_>, decoded: Decoded) -> Result<(), EngineError> {
        let convert_ns = now_ns();
        let staged = self.chain.process(call, picture, self.snapshots.is_processed_wanted());
        enter(FaultStage::Idle);
        // The frame gets no result: it is lost with its engine, as in a crash.
        self.check_alive()?;
        let Done { status, detections, process_ns, end_ns, processors_us, image } = match staged {
            Ok(done) => done,
            Err(StageError::Want(text)) => Done::failed(Refusal::of_processor(text), convert_ns, now_ns()),
            Err(StageError::Memory) => {
                self.intake.lost(call.header.seq, DropReason::TooLarge);
                return Ok(());
            }
            Err(StageError::Convert) => {
                self.intake.lost(call.header.seq, DropReason::Corrupt);
                return Ok(());
            }
        };
        self.intake.busy(process_ns, end_ns);
        self.intake.processed(if status == Status::Ok { Outcome::Ok } else { Outcome::Error });
        self.stats.processed += 1;
        let result = ResultHeader {
            seq: call.header.seq,
            status,
            width: picture.size.width,
            height: picture.size.height,
            dropped_before: call.dropped_before,
            timing: Timing {
                queue_us: us_between(call.header.assembled_ns, decoded.read_ns),
                decode_us: us_between(decoded.start_ns, decoded.end_ns),
                wait_us: us_between(decoded.end_ns, convert_ns),
                convert_us: us_between(convert_ns, process_ns),
                process_us: us_between(process_ns, end_ns),
            },
            processors_us,
            detections,
        };
        self.outbox.push(&FromEngine::Result(result), self.chain.data())?;
        if !self.has_returned_image && self.chain.returns_image() {
            self.has_returned_image = true;
            self.outbox.push(&FromEngine::ReturnsImage, &[])?;
        }
        if self.snapshots.is_processed_wanted() {
            self.outbox.flush()?;
            self.busy(|engine| engine.snapshots.answer_processed(call.header.seq, image.as_ref(), engine.outbox))?;
        }
        self.follow_wants()
    }

    /// Passes on what processors in another process say between frames, until the gateway says something.
    fn attend(&self, inbox: &Inbox) -> Result<(), EngineError> {
        let Some(bridge) = self.chain.bridge() else { return Ok(()) };
        while inbox.wait_beside(bridge.socket()) {
            bridge.attend();
            self.check_alive()?;
        }
        Ok(())
    }

    /// Ends the engine once a process it depends on has gone.
    fn check_alive(&self) -> Result<(), EngineError> {
        self.chain.end().map_or(Ok(()), |how| Err(EngineError::ProcessorGone(how)))
    }

    /// Takes over what the processors want, and tells the gateway.
    fn follow_wants(&mut self) -> Result<(), EngineError> {
        let before = self.chain.want();
        if self.chain.follow_wants() {
            let want = self.chain.want();
            if want != before {
                self.outbox.push(&FromEngine::Want(want), &[])?;
            }
            self.intake.set_rate(want.rate_millihertz);
        }
        Ok(())
    }

    fn set_params(&mut self, id: u64, values: &[NamedValue]) -> Result<(), EngineError> {
        enter(FaultStage::Process);
        let (values, refused) = self.chain.set_params(values);
        enter(FaultStage::Idle);
        Ok(self.outbox.push(&FromEngine::Params { id, values, refused }, &[])?)
    }

    fn receive(&mut self, processor: u32, json: &[u8]) {
        enter(FaultStage::Process);
        let received = self.chain.receive(processor, json);
        enter(FaultStage::Idle);
        if let Err(text) = received {
            self.outbox.log(LogLevel::Warn, &text);
        }
    }

    /// Does something between frames that takes its time: units that arrive meanwhile are not late for it.
    fn busy<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let start_ns = now_ns();
        let done = work(self);
        self.intake.busy(start_ns, now_ns());
        done
    }

    fn send_answers(&mut self) -> Result<(), SendError> {
        for answer in self.intake.answers() {
            self.outbox.push(&answer, &[])?;
        }
        Ok(())
    }

    fn send_stats(&mut self) -> Result<(), SendError> {
        let now_ns = now_ns();
        if now_ns.saturating_sub(self.stats_ns) < STATS_NS {
            return Ok(());
        }
        self.stats_ns = now_ns;
        self.stats.cpu_us = cpu_us();
        self.outbox.push(&FromEngine::Stats(self.stats), &[])
    }

    fn close(self) -> Result<(), EngineError> {
        enter(FaultStage::Process);
        self.chain.destroy();
        enter(FaultStage::Idle);
        self.outbox.push(&FromEngine::Totals(self.intake.counts()), &[])?;
        match self.outbox.flush() {
            // It closed its end without asking: there is nobody to tell, and nothing is wrong here.
            Err(SendError::Socket(Errno::PIPE | Errno::CONNRESET)) => Ok(()),
            other => Ok(other?),
        }
    }
}
