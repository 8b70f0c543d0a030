//! FFmpeg's libavformat for writing: one video stream in one file.

use std::ffi::{CStr, c_int};
use std::fs::File;
use std::ptr::{self, NonNull};

use ffmpeg_the_third::ffi;

use super::avcodec::{Context, Failure, Packet, check, color_range, pixel_format, silence};
use super::avio::{Direction, Io};
use super::demux::Options;

/// How a file's encoder is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileEncoderOptions<'a> {
    pub(crate) width: c_int,
    pub(crate) height: c_int,
    /// Ticks of picture times in a second, at most 65 535 for MPEG-4.
    pub(crate) ticks_hz: c_int,
    /// Pictures a second, about.
    pub(crate) rate_hz: c_int,
    /// Bits a second; 0 leaves it to the codec's own options.
    pub(crate) bit_rate: i64,
    pub(crate) is_bt709: bool,
    pub(crate) is_full: bool,
    /// Names and values of the codec's own options.
    pub(crate) private: &'a [(&'a CStr, &'a CStr)],
}

impl Context {
    /// Opens a single-threaded encoder whose units go into a file, without B-frames.
    pub(crate) fn file_encoder(name: &CStr, options: &FileEncoderOptions<'_>) -> Result<Self, Failure> {
        // SAFETY: `name` ends with 0; the codec found is static data of the library.
        let codec = unsafe { ffi::avcodec_find_encoder_by_name(name.as_ptr()) };
        let mut context = Self::new(codec)?;
        let raw = context.raw();
        raw.width = options.width;
        raw.height = options.height;
        raw.time_base = ffi::AVRational { num: 1, den: options.ticks_hz };
        raw.framerate = ffi::AVRational { num: options.rate_hz, den: 1 };
        raw.pix_fmt = pixel_format(options.is_full);
        raw.color_range = color_range(options.is_full);
        raw.colorspace = if options.is_bt709 { ffi::AVColorSpace::BT709 } else { ffi::AVColorSpace::SMPTE170M };
        raw.max_b_frames = 0;
        raw.bit_rate = options.bit_rate;
        // MP4 and WebM keep what a decoder must know first in the container.
        raw.flags |= ffi::AV_CODEC_FLAG_GLOBAL_HEADER.cast_signed();
        for (key, value) in options.private {
            // SAFETY: `priv_data` belongs to the context, starts with its option class as FFmpeg demands, and is written
            // before the codec opens; both texts end with 0 and are copied.
            let status = unsafe { ffi::av_opt_set(context.raw().priv_data, key.as_ptr(), value.as_ptr(), 0) };
            check(status)?;
        }
        context.open(codec)
    }

    /// Tells the encoder that no picture follows, so that it gives out what it holds.
    pub(crate) fn end_pictures(&mut self) -> Result<(), Failure> {
        // SAFETY: the encoder is open; NULL means the end.
        check(unsafe { ffi::avcodec_send_frame(self.raw(), ptr::null()) })
    }
}

/// A file that is written.
#[derive(Debug)]
pub(crate) struct Output {
    /// Before the I/O context in drop order: it refers to that.
    context: Format,
    _io: Io,
    encoder_base: ffi::AVRational,
}

/// FFmpeg's context of a file that is written.
#[derive(Debug)]
struct Format(NonNull<ffi::AVFormatContext>);

// SAFETY: the context is owned and used by one thread at a time (`&mut`).
unsafe impl Send for Format {}

impl Drop for Format {
    fn drop(&mut self) {
        // SAFETY: allocated by FFmpeg and freed nowhere else; the I/O context is not its own and stays.
        unsafe { ffi::avformat_free_context(self.0.as_ptr()) };
    }
}

impl Output {
    /// Writes the beginning of a file of `container` for what `encoder` makes. The file must be seekable for MP4.
    pub(crate) fn create(file: File, container: &CStr, encoder: &mut Context) -> Result<Self, Failure> {
        silence();
        let io = Io::new(file, Direction::Output)?;
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is written; the name ends with 0; no file name is needed.
        let status =
            unsafe { ffi::avformat_alloc_output_context2(&raw mut raw, ptr::null(), container.as_ptr(), ptr::null()) };
        check(status)?;
        let context = Format(NonNull::new(raw).ok_or(Failure::Memory)?);
        let encoder_base = encoder.raw().time_base;
        // SAFETY: the context is valid and has no stream yet; its I/O context outlives it; the encoder is open, so that
        // its parameters are known, and they are copied.
        unsafe {
            let raw = context.0.as_ptr();
            (*raw).pb = io.raw();
            let stream = ffi::avformat_new_stream(raw, ptr::null());
            if stream.is_null() {
                return Err(Failure::Memory);
            }
            (*stream).time_base = encoder_base;
            (*stream).avg_frame_rate = encoder.raw().framerate;
            check(ffi::avcodec_parameters_from_context((*stream).codecpar, encoder.raw()))?;
            let mut options = Options::default();
            check(ffi::avformat_write_header(raw, options.raw()))?;
        }
        Ok(Self { context, _io: io, encoder_base })
    }

    /// Writes one unit of the encoder, which is emptied.
    pub(crate) fn write(&mut self, packet: &mut Packet) -> Result<(), Failure> {
        // SAFETY: the header was written; the file has one stream, whose time base the muxer may have changed; the
        // packet is valid and given away.
        unsafe {
            let stream = *(*self.context.0.as_ptr()).streams;
            packet.0.as_mut().stream_index = 0;
            ffi::av_packet_rescale_ts(packet.0.as_ptr(), self.encoder_base, (*stream).time_base);
            check(ffi::av_interleaved_write_frame(self.context.0.as_ptr(), packet.0.as_ptr()))
        }
    }

    /// Writes the end of the file.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        // SAFETY: the header was written, and this is called once. What the buffer still holds goes to the file.
        unsafe {
            check(ffi::av_write_trailer(self.context.0.as_ptr()))?;
            let io = (*self.context.0.as_ptr()).pb;
            ffi::avio_flush(io);
            check((*io).error)
        }
    }
}
