//! Clips and images of any kind FFmpeg reads, as I420 pictures with the time at which each is shown.

use std::fs::File;

use framegate_wire::limits::SIDE_MAX;
use framegate_wire::{PictureSize, PixelFormat};

use crate::ffi::avcodec::{Context, Failure, Frame, Packet};
use crate::ffi::demux::{About, Coefficients, Input, OpenFailure, Ratio};
use crate::ffi::libyuv::{Source, Target, Turn, turn_plane};
use crate::ffi::swscale::{End, Scaler};
use crate::layout::Layout;
use crate::picture::{Matrix, Picture, PlaneRef, Range, i420_plane_size};

/// Ticks of a picture's time in a second: those of RTP for video (RFC 3551 §5).
pub const MEDIA_RATE_HZ: u32 = 90_000;

/// Time from one picture to the next when neither pictures nor the stream say any, in ticks: 30 a second.
const INTERVAL_DEFAULT: u64 = 3000;

/// From this height on, or [`HD_WIDTH_MIN`], video that names no colour matrix is BT.709, as players take it.
const HD_HEIGHT_MIN: u32 = 577;
/// See [`HD_HEIGHT_MIN`].
const HD_WIDTH_MIN: u32 = 1280;

/// Why a file gives no pictures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// FFmpeg does not know what it is.
    #[error("this is no video and no image that FFmpeg can read")]
    Format,
    /// FFmpeg does not know what came through a pipe. An MP4 whose index lies at its end cannot be read from one.
    #[error("this is no video and no image that FFmpeg can read from a pipe; if it is an MP4, name the file instead")]
    NeedsFile,
    /// It has only other streams.
    #[error("there is no video in this file")]
    NoVideo,
    /// FFmpeg was built without the decoder.
    #[error("FFmpeg cannot decode {0}")]
    Codec(String),
    /// A picture is larger than allowed.
    #[error("a picture is {width}x{height}, the limit is {area_max} pixels and {SIDE_MAX} a side")]
    TooLarge {
        /// Its width, in pixels.
        width: u32,
        /// Its height, in pixels.
        height: u32,
        /// Allowed area, in pixels.
        area_max: u32,
    },
    /// The pixel format cannot be converted.
    #[error("FFmpeg cannot convert the pictures of this file")]
    Pixels,
    /// Reading failed.
    #[error("reading failed: {0}")]
    Read(String),
    /// No memory.
    #[error("no memory for the pictures of this file")]
    Memory,
}

/// What a file says of itself before its first picture.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaInfo {
    /// FFmpeg's name of the container.
    pub container: String,
    /// FFmpeg's name of the codec.
    pub codec: String,
    /// Pictures in all, or an estimate from length and rate; `None` when unknown.
    pub frames: Option<u64>,
    /// Pictures in 1000 s; `None` when unknown.
    pub rate_millihertz: Option<u32>,
}

/// What the next unit of a file gave.
#[derive(Debug)]
pub enum MediaStep<'a> {
    /// A picture, valid until the next call.
    Picture {
        /// The picture, upright: a rotation noted in the file has been applied.
        picture: Picture<'a>,
        /// When it is shown, in ticks of [`MEDIA_RATE_HZ`] after the first picture.
        time: u64,
    },
    /// The decoder refused a unit.
    Corrupt {
        /// When its picture would have been shown, as far as can be told.
        time: u64,
    },
}

/// An open clip or image. Everything runs on the caller's thread, and nothing is opened but the file given.
#[derive(Debug)]
pub struct Media {
    input: Input,
    decoder: Context,
    packet: Packet,
    frame: Frame,
    scaler: Option<Scaler>,
    turned: Option<(Layout, Vec<u8>)>,
    about: About,
    area_max: u32,
    clock: PictureClock,
    stage: Stage,
}

/// What the decoder is to get next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The next packet, once it holds no more pictures.
    Reading,
    /// Nothing: the file is at its end.
    Draining,
}

impl Media {
    /// Opens what `file` holds: a clip, an image, or a pipe of either. Pictures above `area_max` pixels are refused.
    ///
    /// # Errors
    /// [`MediaError`].
    pub fn open(file: File, area_max: u32) -> Result<Self, MediaError> {
        let is_pipe = !file.metadata().is_ok_and(|metadata| metadata.is_file());
        let opened = |failure| match failure {
            OpenFailure::NoVideo => MediaError::NoVideo,
            // Also when FFmpeg says that memory is short: its playlist reader says so when it may not open what is listed.
            OpenFailure::Format(_) if is_pipe => MediaError::NeedsFile,
            OpenFailure::Format(_) | OpenFailure::Codec(_) => MediaError::Format,
        };
        let input = Input::open(file, area_max).map_err(opened)?;
        let about = input.about();
        let decoder = input.decoder(area_max).map_err(|failure| match failure {
            OpenFailure::Codec(Failure::Memory) => MediaError::Memory,
            _ => MediaError::Codec(about.codec.clone()),
        })?;
        let memory = |_| MediaError::Memory;
        let clock = PictureClock::new(input.time_base(), about.rate);
        Ok(Self {
            input,
            decoder,
            packet: Packet::new().map_err(memory)?,
            frame: Frame::new().map_err(memory)?,
            scaler: None,
            turned: None,
            about,
            area_max,
            clock,
            stage: Stage::Reading,
        })
    }

    /// What the file says of itself.
    #[must_use]
    pub fn info(&self) -> MediaInfo {
        let rate_millihertz = self.about.rate.and_then(|(numerator, denominator)| {
            u32::try_from(i64::from(numerator) * 1000 / i64::from(denominator.max(1))).ok()
        });
        let estimated = || {
            Some(self.about.duration_ms?.saturating_mul(rate_millihertz?.into()).saturating_add(500_000) / 1_000_000)
        };
        MediaInfo {
            container: self.about.container.clone(),
            codec: self.about.codec.clone(),
            frames: self.about.frames.or_else(estimated).filter(|&frames| frames > 0),
            rate_millihertz,
        }
    }

    /// The next picture, in the order in which they are shown; `None` at the end.
    ///
    /// # Errors
    /// [`MediaError`]; nothing more can be read then.
    pub fn next_step(&mut self) -> Result<Option<MediaStep<'_>>, MediaError> {
        loop {
            match self.decoder.receive_frame(&mut self.frame) {
                Ok(true) => return self.picture().map(Some),
                Ok(false) if self.stage == Stage::Draining => return Ok(None),
                Ok(false) => {}
                Err(Failure::Memory) => return Err(MediaError::Memory),
                Err(_) => return Ok(Some(MediaStep::Corrupt { time: self.clock.missing() })),
            }
            let sent = match self.input.read(&mut self.packet) {
                Ok(true) => self.decoder.send_packet(&self.packet),
                Ok(false) => {
                    self.stage = Stage::Draining;
                    self.decoder.send_end()
                }
                Err(Failure::Memory) => return Err(MediaError::Memory),
                Err(Failure::Refused(code)) => return Err(MediaError::Read(code_text(code))),
                Err(Failure::Missing) => return Err(MediaError::Format),
            };
            match sent {
                Ok(()) => {}
                Err(Failure::Memory) => return Err(MediaError::Memory),
                Err(_) => return Ok(Some(MediaStep::Corrupt { time: self.clock.missing() })),
            }
        }
    }

    /// The frame just received, as an upright I420 picture.
    fn picture(&mut self) -> Result<MediaStep<'_>, MediaError> {
        let time = self.clock.shown(self.frame.time());
        let (width, height) = self.frame.size().ok_or(MediaError::Format)?;
        let too_large = MediaError::TooLarge { width, height, area_max: self.area_max };
        if (PictureSize { width, height }).check(self.area_max).is_err() {
            return Err(too_large);
        }
        let colours = colours(&self.frame, self.about.is_vp8, width, height);
        let degrees = match self.frame.rotation() {
            0 => self.about.rotation,
            degrees => degrees,
        };
        let picture = if let Some(picture) = borrow(&self.frame, colours) {
            picture
        } else {
            let from = End { width, height, coefficients: colours.coefficients, is_full: self.frame.is_full_range() };
            let to = End { coefficients: colours.target(), is_full: colours.range == Range::Full, ..from };
            if self.scaler.as_ref().is_none_or(|scaler| !scaler.fits(&self.frame, from, to)) {
                self.scaler = Some(Scaler::new(&self.frame, from, to).map_err(pixels)?);
            }
            let scaler = self.scaler.as_mut().ok_or(MediaError::Memory)?;
            borrow(scaler.convert(&self.frame).map_err(pixels)?, colours).ok_or(MediaError::Pixels)?
        };
        let picture = match turn_of(degrees) {
            Some(turn) => turned(&mut self.turned, &picture, turn).ok_or(MediaError::Memory)?,
            None => picture,
        };
        Ok(MediaStep::Picture { picture, time })
    }
}

/// What a frame's codes mean, and what they are to mean in the picture made of it.
#[derive(Debug, Clone, Copy)]
struct Colours {
    coefficients: Coefficients,
    matrix: Matrix,
    range: Range,
}

impl Colours {
    fn target(self) -> Coefficients {
        match self.matrix {
            Matrix::Bt601 => Coefficients::Bt601,
            Matrix::Bt709 => Coefficients::Bt709,
        }
    }
}

fn colours(frame: &Frame, is_vp8: bool, width: u32, height: u32) -> Colours {
    if is_vp8 {
        // As live: see `Decoder`.
        return Colours { coefficients: Coefficients::Bt601, matrix: Matrix::Bt601, range: Range::Limited };
    }
    let range = if frame.is_full_range() { Range::Full } else { Range::Limited };
    let is_hd = width >= HD_WIDTH_MIN || height >= HD_HEIGHT_MIN;
    let (coefficients, matrix) = match frame.coefficients() {
        // Still pictures are BT.601 whatever their size (JFIF), and the full range gives them away.
        Coefficients::Unsaid if is_hd && range == Range::Limited => (Coefficients::Bt709, Matrix::Bt709),
        Coefficients::Unsaid => (Coefficients::Bt601, Matrix::Bt601),
        Coefficients::Bt2020 => (Coefficients::Bt2020, Matrix::Bt709),
        Coefficients::Bt709 => (Coefficients::Bt709, Matrix::Bt709),
        other @ (Coefficients::Bt601 | Coefficients::Rgb) => (other, Matrix::Bt601),
    };
    Colours { coefficients, matrix, range }
}

/// The frame's own planes, when they are I420 of these colours.
fn borrow(frame: &Frame, colours: Colours) -> Option<Picture<'_>> {
    let (width, height) = frame.i420_size()?;
    if colours.coefficients == Coefficients::Bt2020 && frame.coefficients() == Coefficients::Bt2020 {
        return None;
    }
    let size = PictureSize { width, height };
    let plane = |index: usize| {
        let (width, height) = i420_plane_size(size, index);
        frame.plane(index, width, height)
    };
    let planes = [plane(0)?, plane(1)?, plane(2)?];
    Some(Picture { size, planes, matrix: colours.matrix, range: colours.range })
}

const fn turn_of(degrees: u32) -> Option<Turn> {
    match degrees {
        90 => Some(Turn::Quarter),
        180 => Some(Turn::Half),
        270 => Some(Turn::ThreeQuarters),
        _ => None,
    }
}

/// Turns a picture into memory of its own.
fn turned<'a>(memory: &'a mut Option<(Layout, Vec<u8>)>, picture: &Picture<'_>, turn: Turn) -> Option<Picture<'a>> {
    let (width, height) = match turn {
        Turn::Half => (picture.size.width, picture.size.height),
        Turn::Quarter | Turn::ThreeQuarters => (picture.size.height, picture.size.width),
    };
    let layout = Layout::new(PixelFormat::I420, width, height).ok()?;
    if memory.as_ref().is_none_or(|(of, _)| *of != layout) {
        *memory = Some((layout, vec![0; layout.total_bytes]));
    }
    let (_, bytes) = memory.as_mut()?;
    for (index, to) in layout.planes[..layout.plane_count].iter().enumerate() {
        let (width, height) = picture.plane_size(index);
        let target = Target { data: &mut bytes[to.range()], stride: to.stride, width: to.width, height: to.height };
        turn_plane(Source { plane: picture.planes[index], width, height }, target, turn).ok()?;
    }
    let plane =
        |index: usize| PlaneRef { data: &bytes[layout.planes[index].range()], stride: layout.planes[index].stride };
    let size = PictureSize { width, height };
    Some(Picture { size, planes: [plane(0), plane(1), plane(2)], matrix: picture.matrix, range: picture.range })
}

fn pixels(failure: Failure) -> MediaError {
    match failure {
        Failure::Memory => MediaError::Memory,
        Failure::Missing | Failure::Refused(_) => MediaError::Pixels,
    }
}

pub(crate) fn code_text(code: i32) -> String {
    match code.checked_neg() {
        Some(errno @ 1..=4095) => std::io::Error::from_raw_os_error(errno).to_string(),
        _ => format!("FFmpeg's code {code}"),
    }
}

/// Times of pictures: what the stream says, never going back, and an even pace where it says nothing.
#[derive(Debug)]
struct PictureClock {
    time_base: Ratio,
    interval: u64,
    first: Option<i64>,
    next: u64,
}

impl PictureClock {
    fn new(time_base: Ratio, rate: Option<Ratio>) -> Self {
        let interval = rate
            .and_then(|(numerator, denominator)| {
                let ticks = i64::from(MEDIA_RATE_HZ) * i64::from(denominator) / i64::from(numerator.max(1));
                u64::try_from(ticks).ok()
            })
            .filter(|&ticks| ticks > 0)
            .unwrap_or(INTERVAL_DEFAULT);
        Self { time_base, interval, first: None, next: 0 }
    }

    /// Time of a picture shown at `ticks` of the stream.
    fn shown(&mut self, ticks: Option<i64>) -> u64 {
        let said = ticks.and_then(|ticks| {
            let first = *self.first.get_or_insert(ticks);
            let (numerator, denominator) = self.time_base;
            let since = i128::from(ticks) - i128::from(first);
            let scaled = since * i128::from(MEDIA_RATE_HZ) * i128::from(numerator);
            u64::try_from((scaled + i128::from(denominator) / 2) / i128::from(denominator.max(1))).ok()
        });
        // Two pictures never share a time: it is half of a result's identity.
        let earliest = self.next.saturating_sub(self.interval).saturating_add(u64::from(self.next > 0));
        let time = said.map_or(self.next, |said| said.max(earliest));
        self.next = time.saturating_add(self.interval);
        time
    }

    /// Time of a picture that could not be decoded.
    fn missing(&mut self) -> u64 {
        self.shown(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_the_stream_and_never_go_back() {
        let mut clock = PictureClock::new((1, 30), Some((30, 1)));
        assert_eq!([Some(7), Some(8), None, Some(10)].map(|ticks| clock.shown(ticks)), [0, 3000, 6000, 9000]);
        assert_eq!(clock.shown(Some(9)), 9001);
        assert_eq!(clock.shown(Some(9)), 9002);
        assert_eq!(clock.shown(Some(20)), 39_000);
    }

    #[test]
    fn an_even_pace_without_times() {
        let mut clock = PictureClock::new((1, 1000), None);
        assert_eq!([clock.shown(None), clock.shown(None), clock.missing()], [0, 3000, 6000]);
    }

    #[test]
    fn uneven_rates_are_rounded_to_the_nearest_tick() {
        let mut clock = PictureClock::new((1001, 30_000), Some((30_000, 1001)));
        assert_eq!([0, 1, 2].map(|ticks| clock.shown(Some(ticks))), [0, 3003, 6006]);
        let mut clock = PictureClock::new((1, 1000), Some((30, 1)));
        assert_eq!([0, 33, 67, 100].map(|ticks| clock.shown(Some(ticks))), [0, 2970, 6030, 9000]);
    }
}
