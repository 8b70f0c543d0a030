//! What goes into a runner and what it asks for.

use std::sync::Arc;

use framegate_wire::{Codec, Epoch};

use crate::supervisor::Policy;

/// What a runner is told once.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// Public name of the stream, `[a-z0-9_-]{1,64}`.
    pub stream: String,
    /// Name of the processor, `[a-z0-9_-]{1,64}`.
    pub processor: String,
    /// Largest picture accepted, in pixels.
    pub area_max: u32,
    /// Age at which the engine gives a unit up, in milliseconds.
    pub late_ms: u32,
    /// What the engine is allowed.
    pub policy: Policy,
    /// Decides the jitter of restarts.
    pub seed: u64,
}

/// A frame as it was assembled.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Clock epoch of `rtp_time`.
    pub epoch: Epoch,
    /// Unwrapped RTP timestamp, 90 kHz.
    pub rtp_time: u64,
    /// Sender's capture time, µs of its Unix epoch.
    pub capture_us: Option<i64>,
    /// When the kernel received its last packet, monotonic nanoseconds.
    pub received_ns: u64,
    /// Codec of `data`.
    pub codec: Codec,
    /// Whether decoding can start here.
    pub keyframe: bool,
    /// Whether nothing is missing before it.
    pub contiguous: bool,
    /// The codec's bytes.
    pub data: Arc<[u8]>,
}

/// What the caller shall do for the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineAction {
    /// Launch an engine; its messages begin with what [`super::Runner::to_engine`] holds.
    Launch(u64),
    /// Read how long it has waited for a CPU and call [`super::Runner::engine_waited`].
    SampleRunQueue(u64),
    /// Kill it.
    Kill(u64),
}
