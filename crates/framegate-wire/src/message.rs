//! Messages on the stream socket between the gateway and one engine.

use serde::{Deserialize, Serialize};

use crate::{Counts, DropReason, NamedValue, ProcessorInfo, RefusedValue, Seq, SkipReason, UnitHeader};

/// What the gateway says to an engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ToEngine {
    /// First message: makes the processor instances. The payload is a list of [`SavedState`](crate::SavedState) as
    /// postcard, or empty.
    Open(Open),
    /// One encoded unit; its bytes are the payload. Each is answered by exactly one `Result`, `Skipped` or `Dropped`.
    Unit(UnitHeader),
    /// New values of parameters; answered by `Params`.
    SetParams {
        /// Given back in the answer, not 0.
        id: u64,
        /// At most [`PARAMS_MAX`](crate::limits::PARAMS_MAX).
        values: Vec<NamedValue>,
    },
    /// A message of the page for a processor; the payload is JSON. One that is not taken is answered by `Log`.
    Message {
        /// Place of the processor in its pipeline, from 0.
        processor: u32,
    },
    /// Asks for one picture; answered by `Snapshot` after the next frame.
    Snapshot {
        /// Given back in the answer.
        id: u64,
        /// Which picture.
        view: View,
    },
    /// Finish, answer `Totals` and exit with status 0.
    Close,
}

/// How an engine shall serve its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// [`WIRE_VERSION`](crate::WIRE_VERSION) of the gateway.
    pub version: u16,
    /// Public name of the stream, for logs.
    pub stream: String,
    /// Largest picture decoded, in pixels.
    pub area_max: u32,
    /// Age at which a unit is late, in milliseconds, not counting time inside the processor.
    pub late_ms: u32,
    /// What `fg.random/1` is seeded with.
    pub seed: u64,
    /// Values of parameters that differ from those of the pipeline.
    pub params: Vec<NamedValue>,
}

/// Which picture of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// As it was decoded.
    Source,
    /// What the processors made of it.
    Processed,
}

/// What an engine says to the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FromEngine {
    /// The processor instances exist, in the pipeline's order; units are welcome.
    Ready(Vec<ProcessorInfo>),
    /// The processor was called on a unit; the payload is its `data` as JSON text, empty when it gave none.
    Result(ResultHeader),
    /// A unit was not processed on purpose.
    Skipped {
        /// The unit.
        seq: Seq,
        /// Why.
        reason: SkipReason,
    },
    /// A unit was lost inside the engine.
    Dropped {
        /// The unit.
        seq: Seq,
        /// Why.
        reason: DropReason,
    },
    /// Decoding cannot go on without a keyframe.
    KeyframeWanted(KeyframeReason),
    /// The processor asks for another size, format or rate.
    Want(Want),
    /// Parameters have other values.
    Params {
        /// That of `SetParams`; 0 when nobody asked.
        id: u64,
        /// Values in force now, of those that were asked for.
        values: Vec<NamedValue>,
        /// What was refused; the values before stay.
        refused: Vec<RefusedValue>,
    },
    /// A message of a processor for the page; the payload is JSON of at most
    /// [`MESSAGE_BYTES_MAX`](crate::limits::MESSAGE_BYTES_MAX) bytes.
    Message {
        /// Place of the processor in its pipeline, from 0.
        processor: u32,
    },
    /// What the processors want kept, when it has changed: the payload is a list of
    /// [`SavedState`](crate::SavedState) as postcard.
    State,
    /// A processor can give pictures of its own; said once.
    ReturnsImage,
    /// Answer to `Snapshot`: the payload is a JPEG (JFIF), or empty when there is no such picture.
    Snapshot {
        /// That of the request.
        id: u64,
        /// The frame shown.
        seq: Seq,
    },
    /// A line from the processor's log function; the text is at most
    /// [`TEXT_BYTES_MAX`](crate::limits::TEXT_BYTES_MAX) bytes.
    Log {
        /// How grave.
        level: LogLevel,
        /// One line.
        text: String,
    },
    /// About once a second while units arrive.
    Stats(EngineStats),
    /// The processor could not be made; the engine exits after this.
    Fault {
        /// What failed, for people.
        text: String,
    },
    /// Answer to `Close`: what became of every unit of this engine.
    Totals(Counts),
}

/// Why a keyframe is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyframeReason {
    /// A frame was lost or is corrupt.
    Loss,
    /// The backlog towards the engine was full.
    Overflow,
    /// The engine fell behind and stopped decoding.
    Late,
    /// A new engine takes over.
    Crash,
    /// Somebody begins to watch.
    Viewer,
    /// A recording starts.
    Capture,
}

/// What a processor wants to be given; 0 means "as it comes".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Want {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Arrangement of the bytes.
    pub format: PixelFormat,
    /// Frames per second, in thousandths.
    pub rate_millihertz: u32,
}

/// Arrangement of a picture's bytes. The discriminants are those of the C ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[repr(u32)]
pub enum PixelFormat {
    /// Packed blue, green, red: what OpenCV calls BGR.
    #[default]
    Bgr24 = 1,
    /// Packed red, green, blue.
    Rgb24 = 2,
    /// Packed blue, green, red, alpha (255).
    Bgra = 3,
    /// Luma only, full range.
    Gray8 = 4,
    /// Planar Y, U, V as decoded, 4:2:0.
    I420 = 5,
    /// Planar Y and interleaved UV, 4:2:0.
    Nv12 = 6,
}

/// How grave a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// A person must act.
    Error,
    /// Something recovered.
    Warn,
    /// Good to know.
    Info,
    /// For the author.
    Debug,
}

/// One processed frame, without its `data`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultHeader {
    /// The unit it belongs to.
    pub seq: Seq,
    /// Whether the processor succeeded.
    pub status: Status,
    /// Size of the decoded picture, in pixels.
    pub width: u32,
    /// Size of the decoded picture, in pixels.
    pub height: u32,
    /// Frames since the processor's previous one that it never saw.
    pub dropped_before: u32,
    /// Where the time went.
    pub timing: Timing,
    /// Time inside each processor that was called, in microseconds; empty when the pipeline has one.
    pub processors_us: Vec<u32>,
    /// What they found.
    pub detections: Vec<Detection>,
}

/// How a call of the processor ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It succeeded.
    Ok,
    /// It failed or gave something invalid.
    Error {
        /// Short word: `processor`, `exception`, `not_finite`, `bad_json`, `too_large`, `too_many`, `bad_text`,
        /// `bad_box` or `bad_image`.
        code: String,
        /// For people.
        text: String,
    },
}

/// Durations of the stages inside the engine, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timing {
    /// Whole in the gateway → read by the engine.
    pub queue_us: u32,
    /// Inside the decoder.
    pub decode_us: u32,
    /// Decoded → conversion begins.
    pub wait_us: u32,
    /// Scaling and colour conversion.
    pub convert_us: u32,
    /// Inside the processor.
    pub process_us: u32,
}

/// Something found at a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// What it is.
    pub label: String,
    /// Confidence, 0 to 1.
    pub score: f32,
    /// `[x, y, width, height]` as fractions of the picture, origin top-left.
    pub bbox: [f32; 4],
    /// Identity over time, when the processor tracks; 0 is none.
    pub track: u64,
    /// Points as fractions of the picture, with a confidence each.
    pub keypoints: Vec<[f32; 3]>,
    /// The keypoints are the corners of its outline, in order.
    pub is_outline: bool,
}

/// What an engine has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EngineStats {
    /// CPU time of the process since its fork, in microseconds.
    pub cpu_us: u64,
    /// Units decoded.
    pub decoded: u64,
    /// Frames processed.
    pub processed: u64,
}
