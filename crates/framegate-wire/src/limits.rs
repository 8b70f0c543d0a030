//! Limits of what crosses between gateway and engine, each with its unit and reason.

/// Largest side the C ABI can describe, in pixels.
pub const SIDE_MAX: u32 = 8192;

/// Largest area a session accepts by default, in pixels: DCI 4K.
pub const AREA_MAX: u32 = 4096 * 2160;

/// Largest encoded unit, in bytes: a 4K keyframe at high quality stays below it, and it fits the gateway's backlog.
pub const UNIT_BYTES_MAX: usize = 960 << 10;

/// Largest message header, in bytes: a result with [`DETECTIONS_MAX`] labelled detections fits.
pub const HEADER_BYTES_MAX: usize = 256 << 10;

/// Largest payload of any message, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = UNIT_BYTES_MAX;

/// Largest `data` text of one result, in bytes: with its envelope it must fit one data-channel message of 64 KiB.
pub const RESULT_DATA_BYTES_MAX: usize = 48 << 10;

/// Most detections in one result.
pub const DETECTIONS_MAX: usize = 256;

/// Most processors of a pipeline: each may take as long as the frame before it may.
pub const PROCESSORS_MAX: usize = 8;

/// Most parameters of one processor: a form with more is a program.
pub const PARAMS_MAX: usize = 64;

/// Longest id, label, group or unit of a parameter, and longest choice, in bytes.
pub const PARAM_NAME_BYTES_MAX: usize = 64;

/// Longest description of a parameter, in bytes.
pub const PARAM_DESCRIPTION_BYTES_MAX: usize = 256;

/// Most choices of a parameter.
pub const CHOICES_MAX: usize = 64;

/// Longest text value of a parameter, in bytes.
pub const PARAM_TEXT_BYTES_MAX: usize = 4096;

/// Longest message between a page and a processor, in bytes of JSON.
pub const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Messages of one engine for its page, a second.
pub const MESSAGES_PER_SECOND_MAX: u32 = 20;

/// Largest state of one processor, in bytes: a background model of a small picture fits.
pub const STATE_BYTES_MAX: usize = 256 << 10;

/// Longest label of a detection, in bytes.
pub const LABEL_BYTES_MAX: usize = 64;

/// Longest log line or error message from an engine, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;

/// Largest packet on a nursery's control socket, in bytes.
pub const NURSERY_PACKET_BYTES_MAX: usize = 96 << 10;

// A whole BGRA picture must fit the `u32` sizes of the C ABI.
const _: () = assert!(SIDE_MAX as u64 * SIDE_MAX as u64 * 4 <= u32::MAX as u64 + 1);
const _: () = assert!(UNIT_BYTES_MAX <= PAYLOAD_BYTES_MAX);
const _: () = assert!(RESULT_DATA_BYTES_MAX <= PAYLOAD_BYTES_MAX);
