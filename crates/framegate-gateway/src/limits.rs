//! Limits of the gateway's control plane, each with its unit and reason.

use std::time::Duration;

/// Largest config file, in bytes: a hundred times what all options and [`PIPELINES_MAX`] pipelines need.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Most pipelines: each costs a nursery process and a row on the page.
pub const PIPELINES_MAX: usize = 256;

/// Longest name of a pipeline or a stream, in characters: it is part of URLs, metrics and logs.
pub const NAME_CHARS_MAX: usize = 64;

/// Most media threads: one for each core of the largest common servers.
pub const MEDIA_THREADS_MAX: u32 = 64;

/// Most sessions an operator may allow: each has an engine process, and systems allow some 32 000 processes.
pub const SESSIONS_MAX: u32 = 10_000;

/// Most crashes an operator may allow a session in one minute: each costs a fork and is remembered for that minute.
pub const CRASHES_MAX: u32 = 1000;

/// Most HTTP connections at once: each is a file descriptor and up to [`HEAD_BYTES_MAX`] of memory; more wait unaccepted.
pub const CONNECTIONS_MAX: usize = 1024;

/// Largest request line with headers, in bytes: browsers send 1–2 KiB.
pub const HEAD_BYTES_MAX: usize = 16 << 10;

/// Most header fields of a request: browsers send about 20.
pub const HEADERS_MAX: usize = 64;

/// Largest request body, in bytes: browsers' offers with every codec have 6–10 KiB.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// Time for a request's head, also the longest an idle connection is kept: a slow sender must not hold a connection.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for a request's body, for the same reason.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for answering one request, body included: beyond it the media threads are stuck and the client is told.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest life of a connection, after which it may only finish its request: one that never reads its answers must not
/// hold its place for ever, and opening another costs a browser nothing.
pub const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);

/// Time for finishing requests when the server ends.
pub const CONNECTION_DRAIN: Duration = Duration::from_secs(2);

/// Pause after `accept` failed for want of file descriptors, so that the failure does not spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Ports tried when looking for a free one to propose: more would be slow, and fewer may all be taken.
pub const FREE_PORT_TRIES: usize = 100;

/// Time a snapshot waits for the next frame of its stream: cameras that give one picture a second are served.
pub const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(2);

/// Requests waiting for snapshots of one stream; more are told to come again.
pub const SNAPSHOT_WAITERS_MAX: usize = 64;

// An answer must be possible after the slowest accepted body.
const _: () = assert!(BODY_TIMEOUT.as_millis() < ANSWER_TIMEOUT.as_millis());
const _: () = assert!(SNAPSHOT_TIMEOUT.as_millis() < ANSWER_TIMEOUT.as_millis());
