//! The engine of an offline run: every picture of a clip through the chain, in order, none left out.

use std::{
    fs::File,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use framegate_codec::{Image, MEDIA_RATE_HZ, Matrix, Media, MediaStep, Picture, Range, copy_i420, image_to_i420};
use framegate_wire::{
    Codec, DropReason, Epoch, FaultStage, FromEngine, FromOffline, NamedValue, OfflineFailure, Outcome, ProcessorInfo,
    ResultHeader, Seq, Status, Timing, UnitHeader, limits::TEXT_BYTES_MAX,
};
use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};

use crate::{
    chain::{Chain, Done, Opening, StageError},
    clock::{Clock, now_ns, us_between},
    instance::Refusal,
    intake::{Call, Intake},
    limits::STREAM_DEFAULT,
    nursery::fault::enter,
    outbox::{Outbox, SendError, cut},
    pool::{Canvas, MappedCanvas},
    resolve::Loaded,
};

/// What an offline engine is to do.
#[derive(Debug)]
pub(super) struct Work {
    /// The clip.
    pub(super) clip: File,
    /// Largest picture, in pixels.
    pub(super) area_max: u32,
    /// What `fg.random/1` is seeded with.
    pub(super) seed: u64,
    /// Values of parameters, as they were written.
    pub(super) sets: Vec<Setting>,
    /// Where pictures to be shown go, if any are wanted.
    pub(super) canvas: Option<Canvas>,
}

/// A value for a parameter, as it was written: `NAME.ID=VALUE` or `ID=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// Name of the processor, if it was written.
    pub(super) processor: Option<String>,
    /// Id of the parameter.
    pub(super) id: String,
    /// JSON, or plain text.
    pub(super) value: String,
}

/// Why a run ends early.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("{1}")]
    Failed(OfflineFailure, String),
}

/// Does the work, and tells `socket` of it.
pub(super) fn work(work: Work, loaded: &Loaded, socket: Arc<OwnedFd>) {
    let outbox = Arc::new(Outbox::offline(Arc::clone(&socket)));
    let last = match run(work, loaded, &outbox, &socket) {
        Ok(()) => FromOffline::Ended,
        // Nobody listens any more.
        Err(Stop::Send(_)) => return,
        Err(Stop::Failed(kind, text)) => FromOffline::Failed { kind, text: cut(&text, TEXT_BYTES_MAX).to_owned() },
    };
    // As above.
    let _ = outbox.push_offline(&last, &[]).and_then(|()| outbox.flush());
}

fn run(work: Work, loaded: &Loaded, outbox: &Arc<Outbox>, socket: &OwnedFd) -> Result<(), Stop> {
    let Work { clip, area_max, seed, sets, canvas } = work;
    let usage = |text: String| Stop::Failed(OfflineFailure::Usage, text);
    enter(FaultStage::Decode);
    let media = Media::open(clip, area_max).map_err(|error| usage(error.to_string()))?;
    outbox.push_offline(&FromOffline::Began { frames: media.info().frames }, &[])?;
    let clip_ns = Arc::new(AtomicI64::new(0));
    let clock = Clock::Clip(Arc::clone(&clip_ns));
    let opening = Opening { stream: STREAM_DEFAULT, seed, clock, params: &[], states: &[] };
    enter(FaultStage::Create);
    let mut chain = Chain::open(loaded, &opening, outbox)
        .map_err(|error| Stop::Failed(OfflineFailure::Processor, error.to_string()))?;
    set(&mut chain, &sets).map_err(usage)?;
    chain.follow_wants();
    enter(FaultStage::Idle);
    outbox.push(&FromEngine::Ready(chain.infos()), &[])?;
    outbox.flush()?;
    let mapped = canvas.as_ref().map(Canvas::map).transpose();
    let canvas = mapped.map_err(|error| Stop::Failed(OfflineFailure::Environment, error.to_string()))?;
    let mut intake = Intake::new(0);
    intake.set_rate(chain.want().rate_millihertz);
    let mut worker = Worker { outbox, socket, intake, chain, canvas, is_canvas_free: true, has_returned_image: false };
    worker.clip(media, &clip_ns)?;
    enter(FaultStage::Process);
    worker.chain.destroy();
    enter(FaultStage::Idle);
    outbox.push(&FromEngine::Totals(worker.intake.counts()), &[])?;
    Ok(())
}

/// Sets what the command line asked for.
fn set(chain: &mut Chain, sets: &[Setting]) -> Result<(), String> {
    for setting in sets {
        let (place, infos) = find(&chain.infos(), setting)?;
        let named = |json: String| NamedValue { processor: place, id: setting.id.clone(), json };
        let as_text = serde_json::Value::from(setting.value.as_str()).to_string();
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&setting.value).is_ok();
        let mut refusal = None;
        // What is no JSON, or JSON of the wrong kind, may be a text.
        for json in is_json.then(|| setting.value.clone()).into_iter().chain([as_text]) {
            let (_, refused) = chain.set_params(&[named(json)]);
            match refused.into_iter().next() {
                None => {
                    refusal = None;
                    break;
                }
                Some(refused) => refusal = refusal.or(Some(refused.text)),
            }
        }
        if let Some(text) = refusal {
            return Err(format!("--set: `{}`: {text}", infos.descriptor.name));
        }
    }
    Ok(())
}

/// The processor a setting is for: the named one, or the first that has such a parameter.
fn find(infos: &[ProcessorInfo], setting: &Setting) -> Result<(u32, ProcessorInfo), String> {
    let has = |info: &ProcessorInfo| info.params.iter().any(|param| param.id == setting.id);
    let is_named = |info: &ProcessorInfo| setting.processor.as_ref().is_none_or(|name| *name == info.descriptor.name);
    if let Some((place, info)) = (0..).zip(infos).find(|(_, info)| is_named(info) && has(info)) {
        return Ok((place, info.clone()));
    }
    let known: Vec<String> = infos
        .iter()
        .filter(|info| is_named(info))
        .flat_map(|info| info.params.iter().map(|param| format!("{}.{}", info.descriptor.name, param.id)))
        .collect();
    let written =
        setting.processor.as_ref().map_or_else(|| setting.id.clone(), |name| format!("{name}.{}", setting.id));
    Err(match known.as_slice() {
        [] => format!("--set: there is no parameter {written}; there are none"),
        known => format!("--set: there is no parameter {written}; there are {}", known.join(", ")),
    })
}

/// One offline run.
struct Worker<'a> {
    outbox: &'a Outbox,
    socket: &'a OwnedFd,
    intake: Intake,
    chain: Chain,
    canvas: Option<MappedCanvas>,
    /// Whether the supervisor has done with the last picture.
    is_canvas_free: bool,
    has_returned_image: bool,
}

impl Worker<'_> {
    fn clip(&mut self, mut media: Media, clip_ns: &AtomicI64) -> Result<(), Stop> {
        for seq in (1..).map(Seq) {
            enter(FaultStage::Decode);
            let start_ns = now_ns();
            let step = media.next_step().map_err(|error| {
                let text = format!("frame {}: {error}", seq.0);
                Stop::Failed(OfflineFailure::Usage, text)
            })?;
            enter(FaultStage::Idle);
            let decode_us = us_between(start_ns, now_ns());
            let Some(step) = step else { break };
            let (MediaStep::Picture { time, .. } | MediaStep::Corrupt { time }) = step;
            let since_ns = time.saturating_mul(1_000_000_000) / u64::from(MEDIA_RATE_HZ);
            clip_ns.store(i64::try_from(since_ns).unwrap_or(i64::MAX), Ordering::Relaxed);
            // The supervisor knows before the processor is called: of a crash it can tell the frame.
            self.outbox.push_offline(&FromOffline::Frame { seq, rtp_time: time }, &[])?;
            self.outbox.flush()?;
            let header = UnitHeader {
                seq,
                epoch: Epoch(0),
                rtp_time: time,
                capture_us: None,
                received_ns: since_ns,
                assembled_ns: since_ns,
                codec: Codec::Vp8,
                keyframe: true,
            };
            // The clip's own time, so that nothing is ever late.
            self.intake.unit(&header, since_ns);
            match step {
                MediaStep::Picture { picture, .. } => {
                    self.intake.decoded(header);
                    if let Some(call) = self.intake.call() {
                        self.process(&call, &picture, decode_us)?;
                    } else {
                        self.show(seq, &picture, None)?;
                    }
                }
                MediaStep::Corrupt { .. } => self.intake.corrupt(seq, since_ns),
            }
            self.send_answers()?;
        }
        Ok(())
    }

    fn process(&mut self, call: &Call, picture: &Picture<'_>, decode_us: u32) -> Result<(), Stop> {
        let seq = call.header.seq;
        let convert_ns = now_ns();
        let staged = self.chain.process(call, picture, self.canvas.is_some());
        enter(FaultStage::Idle);
        let done = match staged {
            Ok(done) => done,
            Err(StageError::Want(text)) => Done::failed(Refusal::of_processor(text), convert_ns, now_ns()),
            Err(StageError::Memory) => return self.lose(seq, picture, DropReason::TooLarge),
            Err(StageError::Convert) => return self.lose(seq, picture, DropReason::Corrupt),
        };
        let Done { status, detections, process_ns, end_ns, processors_us, image } = done;
        self.intake.processed(if status == Status::Ok { Outcome::Ok } else { Outcome::Error });
        let result = ResultHeader {
            seq,
            status,
            width: picture.size.width,
            height: picture.size.height,
            dropped_before: call.dropped_before,
            timing: Timing {
                decode_us,
                convert_us: us_between(convert_ns, process_ns),
                process_us: us_between(process_ns, end_ns),
                ..Timing::default()
            },
            processors_us,
            detections,
        };
        self.outbox.push(&FromEngine::Result(result), self.chain.data())?;
        if !self.has_returned_image && self.chain.returns_image() {
            self.has_returned_image = true;
            self.outbox.push(&FromEngine::ReturnsImage, &[])?;
        }
        self.show(seq, picture, image.as_ref())?;
        if self.chain.follow_wants() {
            self.intake.set_rate(self.chain.want().rate_millihertz);
        }
        Ok(())
    }

    fn lose(&mut self, seq: Seq, picture: &Picture<'_>, reason: DropReason) -> Result<(), Stop> {
        self.intake.lost(seq, reason);
        self.show(seq, picture, None)
    }

    fn send_answers(&mut self) -> Result<(), SendError> {
        // A keyframe cannot be had from a clip.
        for answer in self.intake.answers().filter(|answer| !matches!(answer, FromEngine::KeyframeWanted(_))) {
            self.outbox.push(&answer, &[])?;
        }
        self.outbox.flush()
    }

    /// Hands the supervisor the picture to show: the processors', or the clip's own.
    fn show(&mut self, seq: Seq, picture: &Picture<'_>, image: Option<&Image>) -> Result<(), Stop> {
        let Some(canvas) = &mut self.canvas else { return Ok(()) };
        if !self.is_canvas_free {
            wait_for_answer(self.socket).map_err(SendError::from)?;
        }
        let drawn = match image {
            Some(image) => image_to_i420(image, canvas.bytes()),
            None => copy_i420(picture, canvas.bytes()).map(|layout| (layout, picture.matrix, picture.range)),
        };
        let Some((layout, matrix, range)) = drawn else {
            let text = format!("frame {}: the picture is too large for a video", seq.0);
            return Err(Stop::Failed(OfflineFailure::Processor, text));
        };
        self.is_canvas_free = false;
        let message = FromOffline::Picture {
            seq,
            width: layout.width,
            height: layout.height,
            is_bt709: matrix == Matrix::Bt709,
            is_full: range == Range::Full,
            is_processed: image.is_some(),
        };
        self.outbox.push_offline(&message, &[])?;
        Ok(self.outbox.flush()?)
    }
}

/// Waits for the supervisor's byte that says that it has copied the picture.
fn wait_for_answer(socket: &OwnedFd) -> Result<(), Errno> {
    let mut byte = [0; 1];
    loop {
        match recv(socket, &mut byte[..], RecvFlags::empty()) {
            Ok((0, _)) => return Err(Errno::PIPE),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
