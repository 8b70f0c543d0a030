//! Encoded units: one compressed picture each, with everything that identifies it.

use serde::{Deserialize, Serialize};

/// Number of a frame within its stream: 1 for the first the gateway assembled, surviving engine restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seq(pub u64);

/// Counts changes of the sender's SSRC or clock within a stream, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Epoch(pub u32);

/// Video codecs the engine decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Codec {
    /// VP8 (RFC 6386).
    Vp8,
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Vp8 => "VP8",
        })
    }
}

/// Width and height of a picture, in pixels, both at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PictureSize {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// Everything about an encoded unit but its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitHeader {
    /// Number within the stream.
    pub seq: Seq,
    /// Clock epoch `rtp_time` belongs to.
    pub epoch: Epoch,
    /// RTP timestamp unwrapped to 64 bits, 90 000 ticks per second; its low 32 bits are the wire's (RFC 3550 §5.1).
    pub rtp_time: u64,
    /// Sender's capture time in microseconds of its own Unix epoch; `None` before the first sender report.
    pub capture_us: Option<i64>,
    /// When the kernel received the packet that completed the unit, in monotonic nanoseconds.
    pub received_ns: u64,
    /// When the gateway had the unit whole, in monotonic nanoseconds.
    pub assembled_ns: u64,
    /// Codec of the bytes.
    pub codec: Codec,
    /// Whether decoding can start here.
    pub keyframe: bool,
}

/// One compressed picture, whole.
#[derive(Debug, Clone)]
pub struct EncodedUnit {
    /// What it is.
    pub header: UnitHeader,
    /// The codec's bytes.
    pub data: std::sync::Arc<[u8]>,
}

/// Why a unit's size could not be read or is refused, before anything decodes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SizeError {
    /// The header is too short or has the wrong start code.
    #[error("corrupt {0} keyframe header")]
    Corrupt(Codec),
    /// The picture is larger than the session allows.
    #[error("picture is {width}x{height}, the limit is {area_max} pixels and {side_max} a side")]
    TooLarge {
        /// Claimed width, in pixels.
        width: u32,
        /// Claimed height, in pixels.
        height: u32,
        /// Allowed area, in pixels.
        area_max: u32,
        /// Allowed side, in pixels.
        side_max: u32,
    },
}

impl PictureSize {
    /// Refuses a picture above `area_max` pixels or [`SIDE_MAX`](crate::limits::SIDE_MAX) a side.
    ///
    /// # Errors
    /// [`SizeError::TooLarge`].
    pub fn check(self, area_max: u32) -> Result<Self, SizeError> {
        let side_max = crate::limits::SIDE_MAX;
        let area = u64::from(self.width) * u64::from(self.height);
        if self.width > side_max || self.height > side_max || area > u64::from(area_max) {
            return Err(SizeError::TooLarge { width: self.width, height: self.height, area_max, side_max });
        }
        Ok(self)
    }
}
