//! The engine's loop: read, decode everything, convert and process the newest, answer.
//!
//! Hot path: no allocation but what a result itself holds; per batch one read (two when it fills the buffer, one more
//! when several units had waited), one write.

use std::{os::fd::OwnedFd, sync::Arc};

use framegate_abi as abi;
use framegate_codec::{Converter, DecodeError, Decoder, Layout, LayoutError, Picture};
use framegate_wire::{
    Codec, DropReason, EngineStats, FaultStage, FromEngine, Open, Outcome, PictureSize, ProcessorInfo, ResultHeader,
    Status, Timing, ToEngine, UnitHeader, WIRE_VERSION,
    frame::{FrameError, Reader},
    limits::TEXT_BYTES_MAX,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{RecvFlags, recv},
};

use crate::{
    clock::{cpu_us, now_ns, us_between},
    host::{self, Instance, Verdict, Wanted},
    intake::{Call, Intake, Step},
    library::Library,
    limits::{DRAIN_BYTES_MAX, READ_BYTES, STATS_NS},
    nursery::fault::enter,
    outbox::{Outbox, SendError, cut},
    pool::Slot,
};

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
    /// No instance.
    #[error(transparent)]
    Create(#[from] host::CreateError),
    /// No decoder.
    #[error(transparent)]
    Decoder(#[from] DecodeError),
}

/// Serves one session on `socket` until it closes.
///
/// # Errors
/// [`EngineError`]; the gateway has been told, if it could be.
pub(crate) fn run(socket: OwnedFd, library: &Library) -> Result<(), EngineError> {
    let outbox = Arc::new(Outbox::new(socket));
    let served = serve(&outbox, library);
    if let Err(error) = &served {
        let text = cut(&error.to_string(), TEXT_BYTES_MAX).to_owned();
        // When even this fails the gateway has gone, and the error says so.
        let _ = outbox.push(&FromEngine::Fault { text }, &[]).and_then(|()| outbox.flush());
    }
    served
}

fn serve(outbox: &Arc<Outbox>, library: &Library) -> Result<(), EngineError> {
    let mut inbox = Inbox::new();
    let Some(open) = inbox.open(outbox)? else { return Ok(()) };
    let mut intake = Intake::new(open.late_ms);
    enter(FaultStage::Create);
    let instance = Instance::create(library, Arc::clone(outbox), &open.stream)?;
    enter(FaultStage::Idle);
    // What waited for the library, the fork and `create` did not wait for want of CPU.
    intake.busy(0, now_ns());
    let mut engine = Engine {
        area_max: open.area_max,
        outbox,
        intake,
        stage: Stage { instance, wanted: Wanted::default(), converter: Converter::new(), slot: None, configured: None },
        stats: EngineStats::default(),
        stats_ns: now_ns(),
    };
    engine.follow_wants()?;
    let info = ProcessorInfo {
        descriptor: library.descriptor().clone(),
        params: Vec::new(),
        want: engine.stage.wanted.want,
        writable: engine.stage.wanted.writable,
        has_state: false,
        takes_messages: false,
    };
    outbox.push(&FromEngine::Ready(vec![info]), &[])?;
    outbox.flush()?;
    let mut decoder = Decoder::new(Codec::Vp8)?;
    while engine.batch(&mut inbox, &mut decoder)? == Flow::Open && inbox.fill(outbox, Patience::Waits)? == Flow::Open {}
    engine.close()
}

/// Whether more will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    Closed,
}

/// Whether reading waits until something has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Waits,
    None,
}

/// The receiving half of the session's socket.
struct Inbox {
    reader: Reader,
    buffer: Box<[u8]>,
    /// When the last bytes were read.
    read_ns: u64,
}

impl Inbox {
    fn new() -> Self {
        Self { reader: Reader::default(), buffer: vec![0; READ_BYTES].into_boxed_slice(), read_ns: 0 }
    }

    /// Waits for the first message. `None` when the gateway closed without any.
    fn open(&mut self, outbox: &Outbox) -> Result<Option<Open>, EngineError> {
        loop {
            match self.reader.next_message()? {
                Some((ToEngine::Open(open), _)) if open.version == WIRE_VERSION => return Ok(Some(open)),
                Some((ToEngine::Open(open), _)) => return Err(EngineError::Version(open.version)),
                Some((ToEngine::Close, _)) => return Ok(None),
                Some(_) => return Err(EngineError::Order),
                None => {}
            }
            if self.fill(outbox, Patience::Waits)? == Flow::Closed {
                return Ok(None);
            }
        }
    }

    /// Reads everything that has arrived; if that is nothing, waits when it shall.
    fn fill(&mut self, outbox: &Outbox, patience: Patience) -> Result<Flow, EngineError> {
        let mut total = 0;
        while total < DRAIN_BYTES_MAX {
            match recv(outbox.socket(), &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) if total == 0 => return Ok(Flow::Closed),
                Ok((0, _)) => break,
                Ok((count, _)) => {
                    self.reader.extend(&self.buffer[..count]);
                    total += count;
                    if count < self.buffer.len() {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if total > 0 || patience == Patience::None => break,
                Err(Errno::AGAIN) => {
                    // An error of `poll` shows again at the next `recv`.
                    let _ = poll(&mut [PollFd::new(outbox.socket(), PollFlags::IN)], None);
                }
                Err(Errno::CONNRESET) => return Ok(Flow::Closed),
                Err(error) => return Err(EngineError::Receive(error)),
            }
        }
        self.read_ns = now_ns();
        Ok(Flow::Open)
    }
}

/// One session's engine.
struct Engine<'a> {
    area_max: u32,
    outbox: &'a Outbox,
    intake: Intake,
    stage: Stage,
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
        let (mut flow, mut units, mut looked_again) = (Flow::Open, 0_usize, false);
        let mut newest: Option<(Decoded, Picture<'_>)> = None;
        loop {
            let Some((message, payload)) = inbox.reader.next_message::<ToEngine>()? else {
                // Decoding what waited for a slow processor takes a while itself: the newest may have come meanwhile.
                // Only once, or an engine slower than its camera would decode for ever.
                if units > 1 && !std::mem::replace(&mut looked_again, true) {
                    flow = inbox.fill(self.outbox, Patience::None)?;
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
                _ => return Err(EngineError::Order),
            }
        }
        if self.intake.is_urgent() {
            self.send_answers()?;
            self.outbox.flush()?;
        }
        if let Some((times, picture)) = newest
            && let Some(call) = self.intake.call()
        {
            self.send_answers()?;
            self.process(&call, &picture, times)?;
        }
        if units > 0 {
            self.send_answers()?;
            self.send_stats()?;
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
        let staged = self.stage.run(call, picture);
        enter(FaultStage::Idle);
        let Done { verdict, process_ns, end_ns } = match staged {
            Ok(done) => done,
            Err(StageError::Want(error)) => Done {
                verdict: failed(format!("the size the processor wants is impossible: {error}")),
                process_ns: convert_ns,
                end_ns: now_ns(),
            },
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
        self.intake.processed(if verdict.status == Status::Ok { Outcome::Ok } else { Outcome::Error });
        self.stats.processed += 1;
        let result = ResultHeader {
            seq: call.header.seq,
            status: verdict.status,
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
            processors_us: Vec::new(),
            detections: verdict.detections,
        };
        self.stage.instance.with_data(|data| self.outbox.push(&FromEngine::Result(result), data))?;
        self.follow_wants()
    }

    /// Takes over what the processor wants, and tells the gateway.
    fn follow_wants(&mut self) -> Result<(), EngineError> {
        let wanted = self.stage.instance.wanted();
        if wanted != self.stage.wanted {
            if wanted.want != self.stage.wanted.want {
                self.outbox.push(&FromEngine::Want(wanted.want), &[])?;
            }
            self.intake.set_rate(wanted.want.rate_millihertz);
            self.stage.wanted = wanted;
        }
        Ok(())
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
        self.stage.instance.destroy();
        enter(FaultStage::Idle);
        self.outbox.push(&FromEngine::Totals(self.intake.counts()), &[])?;
        match self.outbox.flush() {
            // It closed its end without asking: there is nobody to tell, and nothing is wrong here.
            Err(SendError::Socket(Errno::PIPE | Errno::CONNRESET)) => Ok(()),
            other => Ok(other?),
        }
    }
}

/// Why a picture did not reach the processor.
enum StageError {
    Want(LayoutError),
    Memory,
    Convert,
}

/// What came of one call.
struct Done {
    verdict: Verdict,
    /// When the processor was entered.
    process_ns: u64,
    /// When it returned.
    end_ns: u64,
}

/// From a decoded picture to a verdict.
struct Stage {
    instance: Instance,
    wanted: Wanted,
    converter: Converter,
    slot: Option<(Layout, Slot)>,
    /// What `configure` last accepted.
    configured: Option<(Layout, PictureSize)>,
}

impl Stage {
    fn run(&mut self, call: &Call, picture: &Picture<'_>) -> Result<Done, StageError> {
        enter(FaultStage::Convert);
        let layout = Layout::for_want(picture.size, &self.wanted.want).map_err(StageError::Want)?;
        let slot = match &mut self.slot {
            Some((of, slot)) if *of == layout => slot,
            other => {
                // The old one goes first: two pictures of the largest size need not fit.
                *other = None;
                &mut other.insert((layout, Slot::new(layout.total_bytes).map_err(|_| StageError::Memory)?)).1
            }
        };
        self.converter.convert(picture, &layout, slot.bytes()).map_err(|_| StageError::Convert)?;
        let process_ns = now_ns();
        enter(FaultStage::Process);
        let mut flags = if self.wanted.writable { abi::FRAME_WRITABLE } else { 0 };
        if call.resumed {
            flags |= abi::FRAME_RESUMED;
        }
        let configuration = (layout, picture.size);
        if self.configured != Some(configuration) {
            // Also before the first frame: then the size is news as well.
            flags |= abi::FRAME_SIZE_CHANGED;
            self.configured = None;
            if let Err(verdict) = self.instance.configure(&host::config(&layout, picture)) {
                return Ok(Done { verdict, process_ns, end_ns: now_ns() });
            }
            self.configured = Some(configuration);
        }
        let frame = host::frame(call, &layout, picture, slot.bytes(), flags);
        let verdict = self.instance.process(&frame);
        Ok(Done { verdict, process_ns, end_ns: now_ns() })
    }
}

fn failed(text: String) -> Verdict {
    Verdict { status: Status::Error { code: "processor".to_owned(), text }, detections: Vec::new() }
}
