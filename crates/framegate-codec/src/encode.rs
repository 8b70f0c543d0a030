//! Pictures to encoded units: for test clips, and for video that goes back.

use std::ffi::{CStr, c_int};

use framegate_wire::PictureSize;
use framegate_wire::limits::SIDE_MAX;

use crate::ffi::avcodec::{Context, EncoderOptions, Failure, Frame, Packet};
use crate::picture::{Picture, Range};

/// What an encoder writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EncodeFormat {
    /// VP8 by libvpx, as a browser sends it: real time, constant bit rate, no hidden frames.
    Vp8,
    /// One JPEG a picture, at a fixed high quality.
    Mjpeg,
}

/// How an encoder works.
#[derive(Debug, Clone, Copy)]
pub struct EncoderSettings {
    /// What it writes.
    pub format: EncodeFormat,
    /// Size of every picture.
    pub size: PictureSize,
    /// Code range of every picture. JPEG is full range by definition: limited-range codes written into one come back
    /// unchanged from a reader that ignores this, as Chromium's fake camera does, and pale from any other.
    pub range: Range,
    /// Pictures per second.
    pub rate_hz: u32,
    /// Bit rate of VP8, in kilobits per second.
    pub kbit: u32,
    /// Most pictures from one keyframe to the next, of VP8.
    pub key_interval: u32,
}

/// Which kind of unit the next picture becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keyframe {
    /// A keyframe when one is due.
    WhenDue,
    /// A keyframe.
    Now,
}

/// One encoded picture, borrowed until the next.
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'a> {
    /// The unit.
    pub data: &'a [u8],
    /// Whether decoding can start here.
    pub keyframe: bool,
}

/// Why nothing was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The FFmpeg in use was built without this encoder.
    #[error("FFmpeg has no {0:?} encoder")]
    Unsupported(EncodeFormat),
    /// The settings are outside what the encoder can do.
    #[error("the encoder refuses these settings")]
    Settings,
    /// The picture is incomplete or not of the encoder's size.
    #[error("the picture is incomplete or of another size than the encoder")]
    Picture,
    /// The encoder failed.
    #[error("the encoder failed with FFmpeg code {0}")]
    Failed(i32),
    /// No memory.
    #[error("no memory to encode")]
    Memory,
}

/// Encodes one stream, on whatever thread calls it; starts none.
#[derive(Debug)]
pub struct Encoder {
    size: PictureSize,
    context: Context,
    packet: Packet,
    frame: Frame,
    next_pts: i64,
}

/// Quantiser of JPEG, of 2 (best) to 31: no block shows, and a number bar survives with room to spare.
const MJPEG_QUANTISER: c_int = 3;

/// Highest bit rate, in kilobits per second: above what 8K needs, and far from overflowing FFmpeg's arithmetic.
const KBIT_MAX: u32 = 500_000;

/// Highest picture rate, in pictures per second.
const RATE_MAX: u32 = 1000;

impl Encoder {
    /// Opens an encoder.
    ///
    /// # Errors
    /// [`EncodeError::Unsupported`], [`EncodeError::Settings`] or [`EncodeError::Memory`].
    pub fn new(settings: &EncoderSettings) -> Result<Self, EncodeError> {
        let EncoderSettings { format, size, range, rate_hz, kbit, key_interval } = *settings;
        let within = |value: u32, max: u32| match c_int::try_from(value) {
            Ok(int) if (1..=max).contains(&value) => Ok(int),
            _ => Err(EncodeError::Settings),
        };
        let failed = |failure| match failure {
            Failure::Missing => EncodeError::Unsupported(format),
            Failure::Memory => EncodeError::Memory,
            Failure::Refused(_) => EncodeError::Settings,
        };
        let (width, height) = (within(size.width, SIDE_MAX)?, within(size.height, SIDE_MAX)?);
        // The JPEG encoder takes full range only; what the codes mean is the caller's affair.
        let full_range = range == Range::Full || format == EncodeFormat::Mjpeg;
        let (name, quantiser, private): (&CStr, _, &[(&CStr, &CStr)]) = match format {
            EncodeFormat::Vp8 => (c"libvpx", None, VP8_OPTIONS),
            EncodeFormat::Mjpeg => (c"mjpeg", Some(MJPEG_QUANTISER), MJPEG_OPTIONS),
        };
        let options = EncoderOptions {
            width,
            height,
            rate_hz: within(rate_hz, RATE_MAX)?,
            bit_rate: i64::from(within(kbit, KBIT_MAX)?) * 1000,
            key_interval: within(key_interval, u32::MAX)?,
            quantiser,
            full_range,
            private,
        };
        Ok(Self {
            size,
            context: Context::encoder(name, &options).map_err(failed)?,
            packet: Packet::new().map_err(failed)?,
            frame: Frame::i420(width, height, full_range).map_err(failed)?,
            next_pts: 0,
        })
    }

    /// Encodes the next picture; the unit is valid until the next call. `None` when the encoder left the picture out.
    ///
    /// # Errors
    /// [`EncodeError::Picture`], [`EncodeError::Failed`] or [`EncodeError::Memory`].
    pub fn encode(&mut self, picture: &Picture<'_>, keyframe: Keyframe) -> Result<Option<Encoded<'_>>, EncodeError> {
        if picture.size != self.size || !picture.is_whole() {
            return Err(EncodeError::Picture);
        }
        let failed = |failure| match failure {
            Failure::Memory => EncodeError::Memory,
            Failure::Refused(code) => EncodeError::Failed(code),
            Failure::Missing => EncodeError::Failed(0),
        };
        for (index, plane) in picture.planes.iter().enumerate() {
            let (width, height) = picture.plane_size(index);
            let rows = (0..height as usize).map(|y| plane.row(y, width as usize));
            self.frame.write_plane(index, rows, (width, height)).map_err(failed)?;
        }
        self.frame.set_position(self.next_pts, keyframe == Keyframe::Now);
        self.next_pts += 1;
        self.context.send_frame(&self.frame).map_err(failed)?;
        if !self.context.receive_packet(&mut self.packet).map_err(failed)? {
            return Ok(None);
        }
        Ok(Some(Encoded { data: self.packet.data(), keyframe: self.packet.is_keyframe() }))
    }
}

/// libvpx as WebRTC sets it: no look-ahead and no hidden frames, so that each picture is one unit at once.
const VP8_OPTIONS: &[(&CStr, &CStr)] = &[
    (c"deadline", c"realtime"),
    (c"cpu-used", c"8"),
    (c"auto-alt-ref", c"0"),
    (c"lag-in-frames", c"0"),
    (c"error-resilient", c"default"),
];

/// The standard Huffman tables: simple JPEG readers know no others, and choosing better ones takes a second pass.
pub(crate) const MJPEG_OPTIONS: &[(&CStr, &CStr)] = &[(c"huffman", c"default")];
