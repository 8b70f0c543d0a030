//! `framegate.h` as Rust sees it: the same structs, names without the `fg_` prefix, and no code.
//!
//! The header is the source; a test compares every size and offset with the C compiler's. All text is UTF-8 and ends
//! with 0, all pointers follow the ownership rules at the top of the header.

use core::ffi::{CStr, c_char, c_void};

/// `FG_ABI_VERSION`: major in the upper 16 bits, minor in the lower.
pub const ABI_VERSION: u32 = 0x0001_0000;
/// The one exported symbol.
pub const ENTRY_SYMBOL: &str = "fg_entry_1";
/// Id of the want extension.
pub const EXT_WANT: &CStr = c"fg.want/1";
/// Id of the parameters extension.
pub const EXT_PARAMS: &CStr = c"fg.params/1";
/// Id of the state extension.
pub const EXT_STATE: &CStr = c"fg.state/1";
/// Id of the message extension.
pub const EXT_MESSAGE: &CStr = c"fg.message/1";
/// Id of the image extension.
pub const EXT_IMAGE: &CStr = c"fg.image/1";
/// Id of the clock extension.
pub const EXT_CLOCK: &CStr = c"fg.clock/1";
/// Id of the random extension.
pub const EXT_RANDOM: &CStr = c"fg.random/1";

/// `FG_OK`.
pub const OK: i32 = 0;
/// `FG_NO_RESULT`.
pub const NO_RESULT: i32 = 1;
/// `FG_ERROR`.
pub const ERROR: i32 = -1;
/// `FG_ERROR_ARGUMENT`.
pub const ERROR_ARGUMENT: i32 = -2;
/// `FG_ERROR_UNSUPPORTED`.
pub const ERROR_UNSUPPORTED: i32 = -3;
/// `FG_ERROR_LIMIT`.
pub const ERROR_LIMIT: i32 = -4;
/// `FG_ERROR_NOT_FINITE`.
pub const ERROR_NOT_FINITE: i32 = -5;

/// `FG_BGR24`.
pub const BGR24: u32 = 1;
/// `FG_RGB24`.
pub const RGB24: u32 = 2;
/// `FG_BGRA`.
pub const BGRA: u32 = 3;
/// `FG_GRAY8`.
pub const GRAY8: u32 = 4;
/// `FG_I420`.
pub const I420: u32 = 5;
/// `FG_NV12`.
pub const NV12: u32 = 6;

/// `FG_LOG_ERROR`.
pub const LOG_ERROR: i32 = 1;
/// `FG_LOG_WARN`.
pub const LOG_WARN: i32 = 2;
/// `FG_LOG_INFO`.
pub const LOG_INFO: i32 = 3;
/// `FG_LOG_DEBUG`.
pub const LOG_DEBUG: i32 = 4;

/// `FG_PARAM_BOOL`.
pub const PARAM_BOOL: u32 = 1;
/// `FG_PARAM_INT`.
pub const PARAM_INT: u32 = 2;
/// `FG_PARAM_FLOAT`.
pub const PARAM_FLOAT: u32 = 3;
/// `FG_PARAM_ENUM`.
pub const PARAM_ENUM: u32 = 4;
/// `FG_PARAM_TEXT`.
pub const PARAM_TEXT: u32 = 5;
/// `FG_PARAM_COLOR`.
pub const PARAM_COLOR: u32 = 6;

/// `FG_FRAME_WRITABLE`.
pub const FRAME_WRITABLE: u32 = 1;
/// `FG_FRAME_SIZE_CHANGED`.
pub const FRAME_SIZE_CHANGED: u32 = 2;
/// `FG_FRAME_RESUMED`.
pub const FRAME_RESUMED: u32 = 4;
/// `FG_WANT_WRITABLE`.
pub const WANT_WRITABLE: u32 = 1;
/// `FG_MATRIX_BT601`.
pub const MATRIX_BT601: u32 = 1;
/// `FG_MATRIX_BT709`.
pub const MATRIX_BT709: u32 = 2;
/// `FG_RANGE_LIMITED`.
pub const RANGE_LIMITED: u32 = 1;
/// `FG_RANGE_FULL`.
pub const RANGE_FULL: u32 = 2;
/// `FG_CAPTURE_UNKNOWN`: value of [`Frame::capture_us`] until the sender has said what time it is.
pub const CAPTURE_UNKNOWN: i64 = i64::MIN;
/// `FG_DETECTION_OUTLINE`.
pub const DETECTION_OUTLINE: u32 = 1;
/// Most keypoints of one detection.
pub const KEYPOINTS_MAX: u32 = 64;

/// `fg_plane`: one plane of a picture.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct Plane {
    pub data: *mut u8,
    pub stride_bytes: i64,
    pub width: u32,
    pub height: u32,
}

/// `fg_frame`: one picture.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct Frame {
    pub struct_size: u32,
    pub flags: u32,
    pub seq: u64,
    pub rtp_ts: u32,
    pub dropped_before: u32,
    pub capture_us: i64,
    pub received_ns: i64,
    pub deadline_ns: i64,
    pub format: u32,
    pub width: u32,
    pub height: u32,
    pub rotation: u32,
    pub matrix: u32,
    pub range: u32,
    pub plane_count: u32,
    pub reserved: u32,
    pub planes: [Plane; 4],
}

/// `fg_keypoint`: a point on something found.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct Keypoint {
    pub x: f32,
    pub y: f32,
    pub score: f32,
}

/// `fg_detection`: something found at a place.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct Detection {
    pub struct_size: u32,
    pub score: f32,
    pub label: *const c_char,
    pub x: f32,
    pub y: f32,
    pub w: f32,
    pub h: f32,
    pub track: u64,
    pub keypoints: *const Keypoint,
    pub keypoint_count: u32,
    pub flags: u32,
}

/// `fg_out`: where `process` puts what it found.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct Out {
    pub struct_size: u32,
    pub reserved: u32,
    pub context: *mut c_void,
    pub detection: unsafe extern "C" fn(*const Self, *const Detection) -> i32,
    pub data: unsafe extern "C" fn(*const Self, *const c_char, u64) -> i32,
    pub get_extension: unsafe extern "C" fn(*const Self, *const c_char) -> *const c_void,
    pub error: unsafe extern "C" fn(*const Self, *const c_char) -> i32,
}

/// `fg_config`: what frames will look like.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct Config {
    pub struct_size: u32,
    pub format: u32,
    pub width: u32,
    pub height: u32,
    pub source_width: u32,
    pub source_height: u32,
}

/// `fg_host`: framegate's side.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct Host {
    pub struct_size: u32,
    pub abi_version: u32,
    pub context: *mut c_void,
    pub get_extension: unsafe extern "C" fn(*const Self, *const c_char) -> *const c_void,
    pub log: unsafe extern "C" fn(*const Self, i32, *const c_char),
    pub folder: *const c_char,
    pub stream: *const c_char,
}

/// `fg_processor`: one instance. The processor fills it: every function pointer may be null.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct Processor {
    pub struct_size: u32,
    pub reserved: u32,
    pub this: *mut c_void,
    pub configure: Option<unsafe extern "C" fn(*mut Self, *const Config) -> i32>,
    pub process: Option<unsafe extern "C" fn(*mut Self, *const Frame, *const Out) -> i32>,
    pub destroy: Option<unsafe extern "C" fn(*mut Self)>,
    pub get_extension: Option<unsafe extern "C" fn(*mut Self, *const c_char) -> *const c_void>,
}

/// `fg_descriptor`: what a processor is.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct Descriptor {
    pub struct_size: u32,
    pub level: u32,
    pub name: *const c_char,
    pub version: *const c_char,
    pub description: *const c_char,
    pub language: *const c_char,
}

/// `fg_entry`: the exported symbol.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct Entry {
    pub struct_size: u32,
    pub abi_version: u32,
    pub descriptor: *const Descriptor,
    pub create: Option<unsafe extern "C" fn(*const Host, *mut *mut Processor) -> i32>,
}

/// `fg_want`: what frames the processor wants.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct Want {
    pub struct_size: u32,
    pub flags: u32,
    pub format: u32,
    pub width: u32,
    pub height: u32,
    pub rate_millihertz: u32,
}

/// `fg_host_want`: the host's want extension.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct HostWant {
    pub struct_size: u32,
    pub reserved: u32,
    pub set: unsafe extern "C" fn(*const Host, *const Want) -> i32,
}

/// `fg_param`: one parameter.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct Param {
    pub id: *const c_char,
    pub label: *const c_char,
    pub group: *const c_char,
    pub description: *const c_char,
    pub unit: *const c_char,
    pub choices: *const *const c_char,
    pub choice_count: u32,
    pub kind: u32,
    pub min: f64,
    pub max: f64,
    pub step: f64,
    pub number: f64,
    pub text: *const c_char,
}

/// `fg_param_value`: a value for one parameter.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct ParamValue {
    pub struct_size: u32,
    pub kind: u32,
    pub number: f64,
    pub text: *const c_char,
}

/// `fg_params`: the processor's parameters.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct Params {
    pub struct_size: u32,
    pub count: u32,
    pub params: *const Param,
    pub set: Option<unsafe extern "C" fn(*mut Processor, u32, *const ParamValue) -> i32>,
}

/// `fg_state`: the processor's state extension.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct State {
    pub struct_size: u32,
    pub version: u32,
    pub save: Option<unsafe extern "C" fn(*mut Processor, *mut c_void, u64) -> i64>,
    pub load: Option<unsafe extern "C" fn(*mut Processor, u32, *const c_void, u64) -> i32>,
}

/// `fg_message`: the processor's message extension.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct Message {
    pub struct_size: u32,
    pub reserved: u32,
    pub receive: Option<unsafe extern "C" fn(*mut Processor, *const c_char, u64) -> i32>,
}

/// `fg_host_message`: the host's message extension.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct HostMessage {
    pub struct_size: u32,
    pub reserved: u32,
    pub send: unsafe extern "C" fn(*const Host, *const c_char, u64) -> i32,
}

/// `fg_picture`: a picture of the processor's own.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct Picture {
    pub struct_size: u32,
    pub format: u32,
    pub width: u32,
    pub height: u32,
    pub plane_count: u32,
    pub reserved: u32,
    pub planes: [Plane; 4],
}

/// `fg_out_image`: the image extension of a result.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct OutImage {
    pub struct_size: u32,
    pub reserved: u32,
    pub is_wanted: unsafe extern "C" fn(*const Out) -> i32,
    pub submit: unsafe extern "C" fn(*const Out, *const Picture) -> i32,
    pub submit_frame: unsafe extern "C" fn(*const Out) -> i32,
}

/// `fg_host_clock`: the host's clock extension.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct HostClock {
    pub struct_size: u32,
    pub reserved: u32,
    pub now_ns: unsafe extern "C" fn(*const Host) -> i64,
}

/// `fg_host_random`: the host's random extension.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the header documents each field")]
pub struct HostRandom {
    pub struct_size: u32,
    pub reserved: u32,
    pub fill: unsafe extern "C" fn(*const Host, *mut c_void, u64) -> i32,
}
