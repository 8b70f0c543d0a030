//! Pictures into a video file that players and browsers show.

use std::ffi::{CStr, c_int};
use std::fs::File;
use std::path::Path;

use framegate_wire::PictureSize;
use framegate_wire::limits::SIDE_MAX;

use crate::ffi::avcodec::{Context, Failure, Frame, Packet};
use crate::ffi::demux::Coefficients;
use crate::ffi::mux::{FileEncoderOptions, Output};
use crate::ffi::swscale::{End, Scaler};
use crate::media::MEDIA_RATE_HZ;
use crate::picture::{Matrix, Picture, Range};

/// What kind of file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VideoFormat {
    /// H.264 in MP4, or MPEG-4 where FFmpeg has no H.264 encoder.
    Mp4,
    /// VP8 in WebM.
    WebM,
}

/// Why no video was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VideoError {
    /// FFmpeg was built without any encoder for it.
    #[error("FFmpeg has no encoder for {0:?}")]
    Unsupported(VideoFormat),
    /// The pictures are too small or too large to encode.
    #[error("pictures of {0}x{1} cannot be encoded: a side is 2 to {SIDE_MAX} pixels")]
    Size(u32, u32),
    /// A picture is incomplete.
    #[error("a picture is incomplete")]
    Picture,
    /// The encoder or the file refused.
    #[error("writing the video failed: {0}")]
    Failed(String),
    /// No memory.
    #[error("no memory to encode")]
    Memory,
}

/// Ticks of times inside the encoder, a second: MPEG-4 knows at most 65 535, and 90 kHz halves without a remainder.
const TICKS_HZ: c_int = 45_000;

/// Shortest time between two pictures in the file, in ticks: MP4 allows 1, and players get through it.
const TICKS_MIN: i64 = 1;

/// Bits a pixel a picture for encoders without a constant quality: sharp for a webcam's pictures.
const BITS_PER_KILOPIXEL: i64 = 150;

/// H.264 that every browser plays, at a quality that shows no blocks, fast enough for a preview.
const X264_OPTIONS: &[(&CStr, &CStr)] = &[(c"preset", c"veryfast"), (c"crf", c"20")];
const VP8_OPTIONS: &[(&CStr, &CStr)] =
    &[(c"deadline", c"realtime"), (c"cpu-used", c"4"), (c"auto-alt-ref", c"0"), (c"lag-in-frames", c"0")];

impl VideoFormat {
    /// The format a file's name ends with, `.mp4`, `.m4v`, `.mov` or `.webm`; `None` for others.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "mp4" | "m4v" | "mov" => Some(Self::Mp4),
            "webm" => Some(Self::WebM),
            _ => None,
        }
    }
}

/// Writes one video file, on whatever thread calls it.
///
/// Every picture is brought to the first one's size; odd sizes lose their last row or column, as H.264 has only even
/// ones.
#[derive(Debug)]
pub struct VideoFile {
    encoder: Context,
    output: Output,
    packet: Packet,
    /// What every picture is brought to.
    to: End,
    /// Frames pictures are copied into, and the converter from those of another kind.
    staging: Option<(End, Frame)>,
    scaler: Option<Scaler>,
    last_ticks: Option<i64>,
}

impl VideoFile {
    /// Begins a file for pictures like `first`, about `rate_hz` a second.
    ///
    /// # Errors
    /// [`VideoError`].
    pub fn create(file: File, format: VideoFormat, first: &Picture<'_>, rate_hz: u32) -> Result<Self, VideoError> {
        let (width, height) = (first.size.width & !1, first.size.height & !1);
        let size_error = VideoError::Size(first.size.width, first.size.height);
        let side = |side: u32| c_int::try_from(side).ok().filter(|_| (2..=SIDE_MAX).contains(&side));
        let (Some(c_width), Some(c_height)) = (side(width), side(height)) else { return Err(size_error) };
        // VP8 knows neither another matrix nor another range.
        let is_vp8 = format == VideoFormat::WebM;
        let is_full = first.range == Range::Full && !is_vp8;
        let coefficients = if is_vp8 { Coefficients::Bt601 } else { coefficients(first.matrix) };
        let pixels = i64::from(width) * i64::from(height);
        let rate_hz = rate_hz.clamp(1, 240);
        let options = FileEncoderOptions {
            width: c_width,
            height: c_height,
            ticks_hz: TICKS_HZ,
            rate_hz: c_int::try_from(rate_hz).unwrap_or(30),
            bit_rate: (pixels * i64::from(rate_hz) * BITS_PER_KILOPIXEL / 1000).max(100_000),
            is_bt709: coefficients == Coefficients::Bt709,
            is_full,
            private: &[],
        };
        let unsupported = |failure| match failure {
            Failure::Missing => VideoError::Unsupported(format),
            other => failed(other),
        };
        let (mut encoder, container) = match format {
            VideoFormat::Mp4 => {
                let h264 = FileEncoderOptions { bit_rate: 0, private: X264_OPTIONS, ..options };
                let made = match Context::file_encoder(c"libx264", &h264) {
                    Err(Failure::Missing) => Context::file_encoder(c"mpeg4", &options),
                    other => other,
                };
                (made.map_err(unsupported)?, c"mp4")
            }
            VideoFormat::WebM => {
                let vp8 = FileEncoderOptions { private: VP8_OPTIONS, ..options };
                (Context::file_encoder(c"libvpx", &vp8).map_err(unsupported)?, c"webm")
            }
        };
        let output = Output::create(file, container, &mut encoder).map_err(unsupported)?;
        Ok(Self {
            encoder,
            output,
            packet: Packet::new().map_err(failed)?,
            to: End { width, height, coefficients, is_full },
            staging: None,
            scaler: None,
            last_ticks: None,
        })
    }

    /// Adds a picture shown `time` ticks of [`MEDIA_RATE_HZ`] after the beginning.
    ///
    /// # Errors
    /// [`VideoError`]; the file is incomplete then.
    pub fn push(&mut self, picture: &Picture<'_>, time: u64) -> Result<(), VideoError> {
        if !picture.is_whole() {
            return Err(VideoError::Picture);
        }
        let ticks = i64::try_from(time / u64::from(MEDIA_RATE_HZ / TICKS_HZ.unsigned_abs())).unwrap_or(i64::MAX);
        let ticks = self.last_ticks.map_or(ticks, |last| ticks.max(last.saturating_add(TICKS_MIN)));
        self.last_ticks = Some(ticks);
        // The last odd row or column is left out here, when nothing else has to change.
        let crops = (picture.size.width & !1, picture.size.height & !1) == (self.to.width, self.to.height);
        let (width, height) =
            if crops { (self.to.width, self.to.height) } else { (picture.size.width, picture.size.height) };
        let from =
            End { width, height, coefficients: coefficients(picture.matrix), is_full: picture.range == Range::Full };
        stage(&mut self.staging, picture, from)?;
        let Some((_, staged)) = &mut self.staging else { return Err(VideoError::Memory) };
        if from == self.to {
            staged.set_position(ticks, false);
            self.encoder.send_frame(staged).map_err(failed)?;
        } else {
            if self.scaler.as_ref().is_none_or(|scaler| !scaler.fits(staged, from, self.to)) {
                self.scaler = Some(Scaler::new(staged, from, self.to).map_err(failed)?);
            }
            let scaler = self.scaler.as_mut().ok_or(VideoError::Memory)?;
            let scaled = scaler.convert(staged).map_err(failed)?;
            scaled.set_position(ticks, false);
            self.encoder.send_frame(scaled).map_err(failed)?;
        }
        self.write_units()
    }

    /// Completes the file.
    ///
    /// # Errors
    /// [`VideoError`]; the file is incomplete then.
    pub fn finish(mut self) -> Result<(), VideoError> {
        self.encoder.end_pictures().map_err(failed)?;
        self.write_units()?;
        self.output.finish().map_err(failed)
    }

    fn write_units(&mut self) -> Result<(), VideoError> {
        while self.encoder.receive_packet(&mut self.packet).map_err(failed)? {
            self.output.write(&mut self.packet).map_err(failed)?;
        }
        Ok(())
    }
}

/// Copies a picture, or its upper left part of `from`'s size, into a frame FFmpeg may read as it likes.
fn stage(staging: &mut Option<(End, Frame)>, picture: &Picture<'_>, from: End) -> Result<(), VideoError> {
    if staging.as_ref().is_none_or(|(of, _)| *of != from) {
        let side = |side: u32| c_int::try_from(side).map_err(|_| VideoError::Picture);
        let mut frame = Frame::i420(side(from.width)?, side(from.height)?, from.is_full).map_err(failed)?;
        frame.set_colours(from.coefficients == Coefficients::Bt709, from.is_full);
        *staging = Some((from, frame));
    }
    let Some((_, frame)) = staging else { return Err(VideoError::Memory) };
    let size = PictureSize { width: from.width, height: from.height };
    for (index, plane) in picture.planes.iter().enumerate() {
        let (width, height) = crate::picture::i420_plane_size(size, index);
        let rows = (0..height as usize).map(|y| plane.row(y, width as usize));
        frame.write_plane(index, rows, (width, height)).map_err(failed)?;
    }
    Ok(())
}

const fn coefficients(matrix: Matrix) -> Coefficients {
    match matrix {
        Matrix::Bt601 => Coefficients::Bt601,
        Matrix::Bt709 => Coefficients::Bt709,
    }
}

fn failed(failure: Failure) -> VideoError {
    match failure {
        Failure::Memory => VideoError::Memory,
        Failure::Missing => VideoError::Failed("FFmpeg lacks a part".to_owned()),
        Failure::Refused(code) => VideoError::Failed(crate::media::code_text(code)),
    }
}
