//! Hot path: encoded units to pictures.

use framegate_wire::limits::UNIT_BYTES_MAX;
use framegate_wire::{Codec, PictureSize, SizeError, vp8};

use crate::ffi::avcodec::{Context, Failure, Frame, Packet};
use crate::picture::{Matrix, Picture, PlaneRef, Range, i420_plane_size};

/// Why a unit gave no picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The unit is not decodable here; a keyframe mends it.
    #[error("corrupt {codec} unit of {size} bytes")]
    Corrupt {
        /// Its codec.
        codec: Codec,
        /// Its length, in bytes.
        size: usize,
    },
    /// The picture is larger than allowed; nothing was allocated for it.
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
    /// The FFmpeg in use was built without this decoder.
    #[error("FFmpeg has no {0} decoder")]
    Unsupported(Codec),
    /// No memory.
    #[error("no memory to decode {0}")]
    Memory(Codec),
}

/// Decodes one stream, on whatever thread calls it; starts none.
///
/// Frames depend on those before them, so a stream's units go into one decoder, in order, each whole.
#[derive(Debug)]
pub struct Decoder {
    codec: Codec,
    context: Context,
    packet: Packet,
    frame: Frame,
    /// Of the last keyframe, and so of every interframe after it.
    size: Option<PictureSize>,
}

impl Decoder {
    /// Opens a decoder: about 0.1 ms once the libraries are loaded ([`preload`](crate::preload)).
    ///
    /// # Errors
    /// [`DecodeError::Unsupported`] when FFmpeg lacks the codec, [`DecodeError::Memory`].
    pub fn new(codec: Codec) -> Result<Self, DecodeError> {
        let failed = |failure| match failure {
            Failure::Memory => DecodeError::Memory(codec),
            Failure::Missing | Failure::Refused(_) => DecodeError::Unsupported(codec),
        };
        let name = match codec {
            // FFmpeg's own decoder: as fast as libvpx, and less memory.
            Codec::Vp8 => c"vp8",
            _ => return Err(DecodeError::Unsupported(codec)),
        };
        Ok(Self {
            codec,
            context: Context::decoder(name).map_err(failed)?,
            packet: Packet::new().map_err(failed)?,
            frame: Frame::new().map_err(failed)?,
            size: None,
        })
    }

    /// Decodes one whole unit into at most one picture, which stays valid until the next call.
    ///
    /// `None` means that the unit is fine and shows nothing (VP8's hidden reference frames). A keyframe's size is read
    /// from its header and refused above `area_max` pixels before the decoder sees it.
    ///
    /// # Errors
    /// [`DecodeError::Corrupt`], also for an interframe before the first keyframe; [`DecodeError::TooLarge`];
    /// [`DecodeError::Memory`]. The decoder remains usable from the next keyframe on.
    pub fn decode(&mut self, unit: &[u8], area_max: u32) -> Result<Option<Picture<'_>>, DecodeError> {
        let (codec, size) = (self.codec, unit.len());
        let corrupt = DecodeError::Corrupt { codec, size };
        if unit.is_empty() || size > UNIT_BYTES_MAX {
            return Err(corrupt);
        }
        self.size = vp8::picture_size(unit).map_err(|error| size_error(error, corrupt))?.or(self.size);
        let expected = self.size.ok_or(corrupt)?.check(area_max).map_err(|error| size_error(error, corrupt))?;
        let failed = |failure| match failure {
            Failure::Memory => DecodeError::Memory(codec),
            Failure::Missing | Failure::Refused(_) => corrupt,
        };
        self.context.set_area_max(area_max);
        self.packet.fill(unit).map_err(failed)?;
        self.context.send_packet(&self.packet).map_err(failed)?;
        if !self.context.receive_frame(&mut self.frame).map_err(failed)? {
            return Ok(None);
        }
        if self.frame.i420_size() != Some((expected.width, expected.height)) {
            return Err(corrupt);
        }
        Ok(Some(self.picture(expected).ok_or(corrupt)?))
    }

    fn picture(&self, size: PictureSize) -> Option<Picture<'_>> {
        let plane = |index: usize| -> Option<PlaneRef<'_>> {
            let (width, height) = i420_plane_size(size, index);
            self.frame.plane(index, width, height)
        };
        Some(Picture {
            size,
            planes: [plane(0)?, plane(1)?, plane(2)?],
            // RFC 6386 §9.2 knows one colour space, BT.601, and no range. FFmpeg reports full range when the clamping
            // type is 1, but that bit only says that the decoder need not clamp.
            matrix: Matrix::Bt601,
            range: Range::Limited,
        })
    }
}

fn size_error(error: SizeError, corrupt: DecodeError) -> DecodeError {
    match error {
        SizeError::TooLarge { width, height, area_max, side_max } => {
            DecodeError::TooLarge { width, height, area_max, side_max }
        }
        _ => corrupt,
    }
}
