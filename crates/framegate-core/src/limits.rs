//! Limits of the core, each with its unit and reason. Those of the engine's messages are in `framegate_wire::limits`.

use std::time::Duration;

use framegate_wire::limits::{
    HEADER_BYTES_MAX, PARAM_TEXT_BYTES_MAX, PAYLOAD_BYTES_MAX, RESULT_DATA_BYTES_MAX, UNIT_BYTES_MAX,
};

/// Largest accepted SDP, in bytes: a browser's offer with every codec is about 8 KiB.
pub const SDP_BYTES_MAX: usize = 64 << 10;

/// Most m-lines in an offer: a page needs two, conferencing clients send tens.
pub const SDP_MEDIA_MAX: usize = 32;

/// Most lines in an offer: bounds the parser's work whatever they say.
pub const SDP_LINES_MAX: usize = 4096;

/// Time from the answer to a finished DTLS handshake before everything is freed.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Silence (no authenticated STUN) before a peer counts as gone. Browsers check consent every 5 s (RFC 7675).
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(15);

/// Age up to which a proof keeps an address for its session, whoever else claims it: longer than a browser's interval.
pub const PROOF_FRESH: Duration = Duration::from_secs(7);

/// Addresses one session may be reached from: a phone changes networks, an attacker invents them.
pub const SOURCES_PER_SESSION_MAX: usize = 20;

/// Frames the assembler holds while one before them is incomplete.
pub const REORDER_FRAMES_MAX: usize = 500;

/// Time an incomplete frame is waited for: several round trips of retransmission. At or below one round trip, any loss
/// would destroy the stream; far above, results stay away long after a blackout.
pub const REORDER_TIMEOUT: Duration = Duration::from_millis(500);

/// Time packets may arrive without a whole frame coming of them before a keyframe is asked for.
pub const ASSEMBLY_STALL: Duration = Duration::from_millis(500);

/// Least time between two keyframe requests: a keyframe costs the sender ten ordinary frames.
pub const KEYFRAME_INTERVAL_MIN: Duration = Duration::from_millis(500);

/// Least time between keyframe requests made because the engine is late: more would make it later.
pub const KEYFRAME_LATE_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Bytes waiting for an engine that does not read: about 8 s of a 1 Mbit/s stream.
pub const BACKLOG_BYTES_MAX: usize = 1 << 20;

/// Frames of one stream without an outcome: far above what the backlog can hold of real video.
pub const OUTSTANDING_MAX: usize = 1024;

/// Results waiting for the data channel, in number.
pub const RESULTS_QUEUED_MAX: usize = 32;

/// Results waiting for the data channel, in bytes.
pub const RESULTS_QUEUED_BYTES_MAX: usize = 64 << 10;

/// Largest message handed to the data channel, in bytes (RFC 8841 default).
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Bytes inside SCTP above which nothing more is handed over: what is inside cannot be replaced by newer.
pub const CHANNEL_BUFFERED_MAX: usize = 16 << 10;

/// Control messages waiting, in number; the oldest log lines go first.
pub const CONTROL_QUEUED_MAX: usize = 64;

/// Skipped and dropped frames named in one message; the counts stay complete.
pub const MISSED_PER_MESSAGE_MAX: usize = 64;

/// Interval of the counts while no result carries them.
pub const COUNTS_INTERVAL: Duration = Duration::from_millis(250);

/// Largest control message from a page, in bytes.
pub const CONTROL_BYTES_MAX: usize = 16 << 10;

/// Control messages from a page per second; more are dropped.
pub const CONTROL_PER_SECOND_MAX: u32 = 200;

/// Control messages waiting, in bytes: a whole form and some answers. Log lines and processors' messages go first.
pub const CONTROL_QUEUED_BYTES_MAX: usize = 256 << 10;

/// Largest form made of a pipeline's parameters, in bytes: it is one control message, beside a result in the channel.
pub const SCHEMA_BYTES_MAX: usize = 40 << 10;

/// Changes of parameters from a page per second: a slider that is dragged makes one for each picture of a screen.
pub const PARAMS_PER_SECOND_MAX: u32 = 60;

/// Changes of parameters an engine has not answered, in number: it answers between frames.
pub const PARAMS_UNANSWERED_MAX: usize = 64;

/// Largest value of a parameter as JSON, in bytes: the longest text with every second byte a backslash.
pub const PARAM_JSON_BYTES_MAX: usize = 2 * PARAM_TEXT_BYTES_MAX + 2;

/// Values of parameters kept for the next engine, in bytes: they must fit the header of its first message.
pub const PARAMS_KEPT_BYTES_MAX: usize = 128 << 10;

/// Messages from a page for processors per second.
pub const PAGE_MESSAGES_PER_SECOND_MAX: u32 = 20;

/// Bytes for an engine that are no units, waiting for it to read: a state and some messages.
pub const BACKLOG_EXTRA_BYTES_MAX: usize = 1 << 20;

/// Data channels of one session; a page needs two.
pub const CHANNELS_MAX: usize = 16;

/// Messages of one engine per second: several for each frame of any camera. One that says more is ended, because every
/// message costs the other sessions of its media thread time.
pub const ENGINE_MESSAGES_PER_SECOND_MAX: u32 = 20_000;

/// Lines and faults of one engine told to its page per second; its own limits are lower, and more are left out.
pub const ENGINE_TEXTS_PER_SECOND_MAX: u32 = 200;

/// Interval at which an engine that owes outcomes is looked at.
pub const HANG_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// First pause before an engine that died without making progress is started again; then ×4.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// Longest pause between two starts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Window in which crashes are counted, and how long the circuit stays open.
pub const CRASH_WINDOW: Duration = Duration::from_secs(60);

/// Time until an engine that was asked for has a process: eight processors may be compiled first, five minutes each. Only
/// a last resort: whoever launches it has limits for each step.
pub const LAUNCH_TIMEOUT: Duration = Duration::from_secs(45 * 60);

/// Time an engine has from its fork to `Ready`; loading a large model takes seconds.
pub const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Time the last messages have to be acknowledged before the connection is closed.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Time a closing engine has to say goodbye.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

const _: () = assert!(UNIT_BYTES_MAX < BACKLOG_BYTES_MAX, "any accepted unit must fit an empty backlog");
const _: () = assert!(RESULT_DATA_BYTES_MAX < MESSAGE_BYTES_MAX);
const _: () = assert!(RESULTS_QUEUED_BYTES_MAX >= MESSAGE_BYTES_MAX);
const _: () = assert!(SCHEMA_BYTES_MAX < MESSAGE_BYTES_MAX);
const _: () = assert!(PARAMS_KEPT_BYTES_MAX < HEADER_BYTES_MAX);
const _: () = assert!(PAYLOAD_BYTES_MAX < BACKLOG_EXTRA_BYTES_MAX, "a kept state must fit an empty backlog");
