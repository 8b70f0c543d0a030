//! Limits of an engine and its nursery, each with its unit and reason.

use framegate_wire::limits::{
    HEADER_BYTES_MAX, NURSERY_PACKET_BYTES_MAX, PARAM_NAME_BYTES_MAX, PARAMS_MAX, PAYLOAD_BYTES_MAX, TEXT_BYTES_MAX,
    UNIT_BYTES_MAX,
};

/// Age at which a unit is late when the gateway names none, in milliseconds.
pub const LATE_MS: u32 = 80;

/// After this long a result is of little use, in nanoseconds: what `deadline_ns` tells a processor.
pub const DEADLINE_NS: u64 = 200_000_000;

/// Time between two requests for the same missing keyframe, in nanoseconds: one may be lost on the network.
pub const KEYFRAME_REPEAT_NS: u64 = 1_000_000_000;

/// Busy times remembered for the late rule: the calls one unit can wait through are one or two.
pub const SPANS_MAX: usize = 16;

/// Most bytes read before what arrived is decoded: the gateway holds back at most 1 MiB, the socket about as much.
pub const DRAIN_BYTES_MAX: usize = 2 * UNIT_BYTES_MAX;

/// Bytes of one read from the session's socket: more than a socket buffer holds by default.
pub const READ_BYTES: usize = 256 << 10;

/// Longest value of a text parameter that says no length, in bytes.
pub const PARAM_TEXT_BYTES_DEFAULT: u32 = 256;

/// What the processors of a pipeline may say of themselves and their parameters, in bytes, texts at their longest: it
/// fits one packet of the nursery, and so the engine's first message.
pub const INFOS_BYTES_MAX: usize = NURSERY_PACKET_BYTES_MAX - 1024;

/// Longest reason for which one value of a parameter is refused, in bytes.
pub const REFUSED_TEXT_BYTES_MAX: usize = 512;

/// Time between two saves of the processors' states, in nanoseconds: what a crash may cost them.
pub const STATE_NS: u64 = 1_000_000_000;

/// Requests for a picture that wait for the next frame; of more the oldest are answered with none.
pub const SNAPSHOTS_MAX: usize = 4;

/// Largest JPEG of a snapshot, in bytes: it fits one message to the gateway.
pub const SNAPSHOT_BYTES_MAX: usize = 900 << 10;

/// Longest trial of a pipeline's instances, in nanoseconds: what an engine's first frame may take.
pub const TRIAL_NS: u64 = 30_000_000_000;

/// Time between two statistics, in nanoseconds.
pub const STATS_NS: u64 = 1_000_000_000;

/// Log lines of one processor a second; further ones are counted.
pub const LOG_LINES_PER_SECOND_MAX: u32 = 100;

/// Largest processor file, in bytes: it is copied into memory.
pub const PROCESSOR_BYTES_MAX: u64 = 1 << 30;

/// Longest version text of a processor, in bytes.
pub const VERSION_BYTES_MAX: usize = 64;

/// Longest description of a processor, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 256;

/// Longest name of a processor's language, in bytes.
pub const LANGUAGE_BYTES_MAX: usize = 16;

/// Longest name of a processor, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// Beyond this a box or point is surely in pixels and not in fractions of the picture.
pub const FRACTION_MAX: f32 = 4.0;

/// Public name of a stream that is a file.
pub const STREAM_DEFAULT: &str = "clip";

/// Engines of one nursery: more would not find a core, and each costs the nursery two or three descriptors.
pub const ENGINES_MAX: usize = 1024;

/// Descriptors an engine may have open: its own few, a model, the eventfds of a runtime.
pub const ENGINE_FILES_MAX: u64 = 64;

/// Longest wait for GStreamer's list of plugins, in seconds: a hundred plugins on a slow disk take ten.
pub const GST_REGISTRY_SECONDS_MAX: i64 = 60;

/// Private writable memory of an engine, in bytes: a 4K decoder with its processor's model fits.
pub const ENGINE_DATA_BYTES_MAX: u64 = 2 << 30;

/// Descriptors of a process that serves all streams of a pipeline: five for each engine, and its own few.
pub const SHARED_FILES_MAX: u64 = ENGINE_FILES_MAX + 5 * ENGINES_MAX as u64;

/// Private writable memory of a process that serves all streams of a pipeline, in bytes: it is for models that are too
/// large to be loaded for each.
pub const SHARED_DATA_BYTES_MAX: u64 = 16 << 30;

/// Time a process that serves all streams has to let go of an engine that has gone before it is taken to hang, in
/// nanoseconds: longer than any frame may take, and a `destroy` beside it.
pub const RELEASE_NS: u64 = 5_000_000_000;

/// Return addresses a dying engine reports: enough to get from `abort` or `memcpy` back into the processor.
pub const FAULT_FRAMES_MAX: usize = 24;

/// Stack of the fault handler, in bytes: unwinding needs about 10 KiB.
pub const FAULT_STACK_BYTES: usize = 64 << 10;

// A descriptor or fault fits one control packet.
const _: () = assert!(NAME_BYTES_MAX + VERSION_BYTES_MAX + DESCRIPTION_BYTES_MAX + 64 < NURSERY_PACKET_BYTES_MAX);
const _: () = assert!(SNAPSHOT_BYTES_MAX <= PAYLOAD_BYTES_MAX);
const _: () = assert!(INFOS_BYTES_MAX < HEADER_BYTES_MAX);
// An answer about as many values as there may be fits, whatever is in their texts: JSON at most doubles them.
const _: () =
    assert!(2 * INFOS_BYTES_MAX + PARAMS_MAX * (REFUSED_TEXT_BYTES_MAX + PARAM_NAME_BYTES_MAX + 16) < HEADER_BYTES_MAX);
const _: () = assert!(4 * TEXT_BYTES_MAX < NURSERY_PACKET_BYTES_MAX);
