//! What a check does with a processor, each in an engine of its own. What is seen goes to the supervisor as notices.

use std::{os::fd::OwnedFd, sync::Arc};

use framegate_codec::I420Image;
use framegate_wire::{
    Codec, Epoch, FaultStage, FromOffline, NamedValue, OfflineFailure, Param, ParamKind, ParamValue, PictureSize,
    SavedState, Seq, Status, UnitHeader,
    limits::{MESSAGE_BYTES_MAX, TEXT_BYTES_MAX},
};
use serde::{Deserialize, Serialize};

use crate::{
    chain::{Chain, Opening},
    clock::{Clock, now_ns},
    intake::Call,
    nursery::fault::enter,
    outbox::{Outbox, cut},
    params,
    resolve::Loaded,
};

/// What a step tells its supervisor, as JSON in a notice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Told {
    /// What the processors are like.
    Infos(Vec<String>),
    /// What comes next: a crash is blamed on it.
    Next(String),
    /// A frame went through: times inside, in microseconds, and what is wrong with its result.
    Frame { process_us: u64, problem: Option<Problem> },
    /// The step is of no use to this processor.
    Nothing(String),
    /// Resident memory, in bytes, after so many frames or instances.
    Memory { done: u64, bytes: u64 },
    /// Something is wrong that is no crash.
    Wrong(String),
    /// A parameter took no other value than it had.
    Fixed(String),
    /// A count of what was tried.
    Tried(u64),
    /// The processors' states are the payload.
    States,
    /// The step went through.
    Done,
}

/// What is wrong with a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Problem {
    pub(super) code: String,
    pub(super) text: String,
    /// The frame's size and format, for people.
    pub(super) frame: String,
}

/// A step.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Only loads.
    Load,
    /// Makes and destroys instances.
    Instances,
    /// Frames of all sizes, in memory that faults when it is misused.
    Frames,
    /// Each parameter at each end.
    Params,
    /// Messages of all kinds.
    Messages,
    /// Saves states after some frames.
    SaveState,
    /// Goes on with states of another engine.
    LoadState(Vec<SavedState>),
    /// Many frames of one size: memory and time.
    Endurance,
    /// A few frames.
    Few,
}

/// Instances made and destroyed.
pub(super) const INSTANCES: u64 = 50;

/// Frames of changing sizes.
pub(super) const FRAMES: u64 = 1000;

/// Longest time for the frames of one step, in nanoseconds: a slow processor gets fewer.
const STEP_NS: u64 = 20_000_000_000;

/// Frames whose memory is watched, after as many that warm up.
const ENDURANCE_FRAMES: u64 = 2000;
const WARM_UP_FRAMES: u64 = 300;

/// Times that resident memory is looked at.
const LOOKS: u64 = 8;

/// Frames before a state is saved, and with one that was loaded.
const FEW_FRAMES: u64 = 30;

/// Frames around each value of a parameter.
const FRAMES_PER_VALUE: u64 = 3;

/// Usual sizes and the ones that algorithms stumble over.
const SMALL: [(u32, u32); 20] = [
    (640, 480),
    (1, 1),
    (320, 240),
    (1, 2),
    (2, 1),
    (3, 5),
    (2, 2),
    (1, 480),
    (640, 1),
    (5, 3),
    (17, 33),
    (16, 16),
    (63, 65),
    (65, 63),
    (127, 129),
    (160, 120),
    (321, 241),
    (7, 7),
    (641, 479),
    (240, 320),
];

/// Large ones, of which a few are enough, and the frames at which they come.
const LARGE: [(u64, (u32, u32)); 6] = [
    (150, (1280, 720)),
    (300, (1920, 1080)),
    (450, (4096, 2160)),
    (600, (1920, 1080)),
    (750, (1080, 1920)),
    (900, (4096, 2160)),
];

/// Does the step, and tells `socket` of it.
pub(super) fn run(step: Step, loaded: &Loaded, socket: Arc<OwnedFd>) {
    let teller = Teller(Arc::new(Outbox::offline(socket)));
    let last = match step.run(loaded, &teller) {
        Ok(()) => Told::Done,
        Err(text) => {
            let text = cut(&text, TEXT_BYTES_MAX).to_owned();
            teller.send(&FromOffline::Failed { kind: OfflineFailure::Processor, text }, &[]);
            return;
        }
    };
    teller.tell(&last);
}

/// Tells the supervisor.
struct Teller(Arc<Outbox>);

impl Teller {
    fn tell(&self, told: &Told) {
        self.tell_with(told, &[]);
    }

    fn tell_with(&self, told: &Told, payload: &[u8]) {
        let text = serde_json::to_string(told).unwrap_or_default();
        self.send(&FromOffline::Notice { text }, payload);
    }

    fn send(&self, message: &FromOffline, payload: &[u8]) {
        // When the supervisor has gone there is nobody to tell.
        let _ = self.0.push_offline(message, payload).and_then(|()| self.0.flush());
    }
}

impl Step {
    fn run(self, loaded: &Loaded, teller: &Teller) -> Result<(), String> {
        match self {
            Self::Load => {
                let name = |d: framegate_wire::Descriptor| {
                    let language = if d.language.is_empty() { String::new() } else { format!(", {}", d.language) };
                    let version = if d.version.is_empty() { String::new() } else { format!(" {}", d.version) };
                    format!("{}{version}{language}: {}", d.name, d.description)
                };
                teller.tell(&Told::Infos(loaded.descriptors().into_iter().map(name).collect()));
                Ok(())
            }
            Self::Instances => instances(loaded, teller),
            Self::Frames => frames(loaded, teller),
            Self::Params => params(loaded, teller),
            Self::Messages => messages(loaded, teller),
            Self::SaveState => save_state(loaded, teller),
            Self::LoadState(states) => few(loaded, teller, &states),
            Self::Few => few(loaded, teller, &[]),
            Self::Endurance => endurance(loaded, teller),
        }
    }
}

fn open(loaded: &Loaded, teller: &Teller, states: &[SavedState]) -> Result<Chain, String> {
    let opening = Opening { stream: "check", seed: 1, clock: Clock::Live, params: &[], states };
    enter(FaultStage::Create);
    let chain = Chain::open(loaded, &opening, &teller.0).map_err(|error| error.to_string());
    enter(FaultStage::Idle);
    chain
}

fn destroy(chain: Chain) {
    enter(FaultStage::Process);
    chain.destroy();
    enter(FaultStage::Idle);
}

fn instances(loaded: &Loaded, teller: &Teller) -> Result<(), String> {
    // A process of another language is given to an engine once.
    let is_native = loaded.libraries().count() == loaded.processors.len();
    for done in 1..=if is_native { INSTANCES } else { 1 } {
        teller.tell(&Told::Next(format!("at the {done}. instance")));
        destroy(open(loaded, teller, &[])?);
        teller.tell(&Told::Memory { done, bytes: resident_bytes() });
    }
    Ok(())
}

fn frames(loaded: &Loaded, teller: &Teller) -> Result<(), String> {
    let mut chain = open(loaded, teller, &[])?;
    chain.guard();
    let start_ns = now_ns();
    for seq in 1..=FRAMES {
        let small = SMALL[usize::try_from(seq.wrapping_mul(7) / 3).unwrap_or(0) % SMALL.len()];
        let (width, height) = LARGE.iter().find(|(at, _)| *at == seq).map_or(small, |(_, size)| *size);
        frame(&mut chain, teller, seq, PictureSize { width, height })?;
        if now_ns() - start_ns > STEP_NS {
            break;
        }
    }
    destroy(chain);
    Ok(())
}

/// One frame through the chain.
fn frame(chain: &mut Chain, teller: &Teller, seq: u64, size: PictureSize) -> Result<(), String> {
    let image = picture(size, seq)?;
    let shown = format!("{}×{} frame", size.width, size.height);
    teller.tell(&Told::Next(format!("on a {shown}")));
    let now = now_ns();
    let header = UnitHeader {
        seq: Seq(seq),
        epoch: Epoch(0),
        rtp_time: seq * 3000,
        capture_us: None,
        received_ns: now,
        assembled_ns: now,
        codec: Codec::Vp8,
        keyframe: true,
    };
    let call = Call { header, dropped_before: 0, resumed: false };
    let done = chain.process(&call, &image.picture(), true);
    enter(FaultStage::Idle);
    let told = match done {
        Ok(done) => {
            let problem = match done.status {
                Status::Ok => None,
                Status::Error { code, text } => Some(Problem { code, text, frame: shown }),
            };
            Told::Frame { process_us: done.end_ns.saturating_sub(done.process_ns) / 1000, problem }
        }
        Err(error) => Told::Wrong(format!("a {shown} could not be made for it: {error:?}")),
    };
    teller.tell(&told);
    chain.follow_wants();
    Ok(())
}

/// A picture that changes from frame to frame, with edges and shades.
fn picture(size: PictureSize, seq: u64) -> Result<I420Image, String> {
    let mut image = I420Image::new(size).map_err(|error| error.to_string())?;
    for plane in 0..3 {
        for (y, row) in image.rows_mut(plane).enumerate() {
            for (x, sample) in row.iter_mut().enumerate() {
                let checks = if (x / 8 + y / 8) % 2 == 0 { 40 } else { 0 };
                let moved = (x as u64 + y as u64 * 3 + seq * 5) % 160;
                *sample = u8::try_from(16 + checks + moved).unwrap_or(u8::MAX);
            }
        }
    }
    Ok(image)
}

fn several(chain: &mut Chain, teller: &Teller, count: u64) {
    for seq in 1..=count {
        // Its error is a size that no picture has.
        let _ = frame(chain, teller, seq, PictureSize { width: 320, height: 240 });
    }
}

fn few(loaded: &Loaded, teller: &Teller, states: &[SavedState]) -> Result<(), String> {
    let mut chain = open(loaded, teller, states)?;
    several(&mut chain, teller, FEW_FRAMES);
    destroy(chain);
    Ok(())
}

fn params(loaded: &Loaded, teller: &Teller) -> Result<(), String> {
    let mut chain = open(loaded, teller, &[])?;
    let infos = chain.infos();
    if infos.iter().all(|info| info.params.is_empty()) {
        teller.tell(&Told::Nothing("it has no parameters".to_owned()));
        return Ok(());
    }
    let mut tried = 0;
    for (place, info) in (0_u32..).zip(&infos) {
        for param in &info.params {
            let (present, values) = (params::to_json(&param.value), values(param));
            let mut refused = Vec::new();
            for json in &values {
                let shown = format!("with `{}` = {}", param.id, cut(json, 60));
                teller.tell(&Told::Next(shown.clone()));
                enter(FaultStage::Process);
                let value = NamedValue { processor: place, id: param.id.clone(), json: json.clone() };
                let (_, refusals) = chain.set_params(&[value]);
                enter(FaultStage::Idle);
                refused.extend(refusals.into_iter().map(|refusal| (json, format!("{shown}: {}", refusal.text))));
                several(&mut chain, teller, FRAMES_PER_VALUE);
                tried += 1;
            }
            let mut others = values.iter().filter(|json| **json != present).peekable();
            if others.peek().is_some() && others.all(|json| refused.iter().any(|(value, _)| *value == json)) {
                // It is set once, before frames, or takes only what cannot be guessed.
                teller.tell(&Told::Fixed(param.id.clone()));
            } else if !matches!(param.kind, ParamKind::Text { .. }) {
                // Which texts are fit no range can say, so that a refusal is the answer to be given.
                refused.into_iter().for_each(|(_, text)| teller.tell(&Told::Wrong(text)));
            }
        }
    }
    teller.tell(&Told::Tried(tried));
    destroy(chain);
    Ok(())
}

/// Values to try, as JSON: both ends and the middle, each choice, and the default at last.
fn values(param: &Param) -> Vec<String> {
    let values = match &param.kind {
        ParamKind::Bool => [false, true].map(ParamValue::Bool).to_vec(),
        ParamKind::Int { range, step } => {
            let (min, max) = range.unwrap_or((-1_000_000, 1_000_000));
            let half = i64::midpoint(min, max);
            let middle = if *step > 1 { half - (half - min) % step } else { half };
            [min, max, middle].map(ParamValue::Int).to_vec()
        }
        ParamKind::Float { range, step } => {
            let (min, max) = range.unwrap_or((-1e6, 1e6));
            let half = f64::midpoint(min, max);
            let middle = if *step > 0.0 { min + ((half - min) / step).floor() * step } else { half };
            [min, max, middle].map(ParamValue::Float).to_vec()
        }
        ParamKind::Choice(choices) => choices.iter().map(|choice| ParamValue::Text(choice.clone())).collect(),
        ParamKind::Text { bytes_max } => {
            vec![ParamValue::Text(String::new()), ParamValue::Text("x".repeat(*bytes_max as usize))]
        }
        ParamKind::Color => [0, 0x00ff_ffff].map(ParamValue::Color).to_vec(),
    };
    let values = values.iter().chain([&param.default]).map(params::to_json);
    // The end of a range need not lie on a step.
    values.filter(|json| params::parse(param, json).is_ok()).collect()
}

fn messages(loaded: &Loaded, teller: &Teller) -> Result<(), String> {
    let mut chain = open(loaded, teller, &[])?;
    if !chain.infos().iter().any(|info| info.takes_messages) {
        teller.tell(&Told::Nothing("it takes no messages".to_owned()));
        return Ok(());
    }
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let long = format!("\"{}\"", "x".repeat(MESSAGE_BYTES_MAX - 2));
    let kinds = [
        "{}",
        "null",
        "[]",
        "0",
        "-1e308",
        "\"\"",
        "true",
        "{\"\":{\"\":[null]}}",
        "\"\\u0000\\ud83d\\ude00\"",
        &deep,
        &long,
    ];
    let mut tried = 0;
    for place in 0..u32::try_from(loaded.processors.len()).unwrap_or(0) {
        for json in kinds {
            teller.tell(&Told::Next(format!("given the message {}", cut(json, 40))));
            enter(FaultStage::Process);
            // A refusal is an answer as good as any.
            let _ = chain.receive(place, json.as_bytes());
            enter(FaultStage::Idle);
            tried += 1;
        }
    }
    several(&mut chain, teller, FRAMES_PER_VALUE);
    teller.tell(&Told::Tried(tried));
    destroy(chain);
    Ok(())
}

fn save_state(loaded: &Loaded, teller: &Teller) -> Result<(), String> {
    let mut chain = open(loaded, teller, &[])?;
    if !chain.has_state() {
        teller.tell(&Told::Nothing("it keeps no state".to_owned()));
        return Ok(());
    }
    several(&mut chain, teller, FEW_FRAMES);
    teller.tell(&Told::Next("saving its state".to_owned()));
    enter(FaultStage::Process);
    let states = chain.save_state();
    enter(FaultStage::Idle);
    let bytes = postcard::to_allocvec(&states).map_err(|error| error.to_string())?;
    teller.tell_with(&Told::States, &bytes);
    // It is not destroyed: the next engine takes over from one that died.
    Ok(())
}

fn endurance(loaded: &Loaded, teller: &Teller) -> Result<(), String> {
    let mut chain = open(loaded, teller, &[])?;
    let size = PictureSize { width: 640, height: 480 };
    let start_ns = now_ns();
    for seq in 1..=WARM_UP_FRAMES + ENDURANCE_FRAMES {
        frame(&mut chain, teller, seq, size)?;
        let done = seq.saturating_sub(WARM_UP_FRAMES);
        if seq >= WARM_UP_FRAMES && done % (ENDURANCE_FRAMES / LOOKS) == 0 {
            teller.tell(&Told::Memory { done, bytes: resident_bytes() });
        }
        if now_ns() - start_ns > STEP_NS {
            break;
        }
    }
    destroy(chain);
    Ok(())
}

/// Resident memory of this process, in bytes; 0 when unknown.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kibibytes| kibibytes.parse::<u64>().ok()).unwrap_or(0) << 10
}
