//! FFmpeg's libavcodec: contexts, packets and frames with owners.

use std::ffi::{CStr, c_int};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Once;

use ffmpeg_the_third::ffi;

use crate::picture::PlaneRef;

/// Zeroed bytes FFmpeg needs behind a unit, because its bit readers look ahead.
const PADDING_BYTES: usize = ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize;

/// Smallest packet buffer, in bytes: most interframes of a webcam fit, so that the buffer is replaced rarely.
const PACKET_BYTES_MIN: usize = 64 << 10;

/// Why FFmpeg did not do as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It was built without that codec.
    Missing,
    /// No memory.
    Memory,
    /// It refused the data or the settings, with this code.
    Refused(c_int),
}

/// How an encoder is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EncoderOptions<'a> {
    pub(crate) width: c_int,
    pub(crate) height: c_int,
    pub(crate) rate_hz: c_int,
    pub(crate) bit_rate: i64,
    pub(crate) key_interval: c_int,
    /// Fixed quantiser; the bit rate rules when `None`.
    pub(crate) quantiser: Option<c_int>,
    /// Full-range I420 rather than limited.
    pub(crate) full_range: bool,
    /// Names and values of the codec's own options.
    pub(crate) private: &'a [(&'a CStr, &'a CStr)],
}

/// Stops FFmpeg from writing to standard error: a stranger's stream could multiply those lines.
pub(super) fn silence() {
    static SILENCED: Once = Once::new();
    // SAFETY: sets one integer, which FFmpeg reads without a lock; `Once` rules out two writers, and contexts, which might
    // read it, are made only after it.
    SILENCED.call_once(|| unsafe { ffi::av_log_set_level(ffi::AV_LOG_QUIET) });
}

/// An open decoder or encoder.
#[derive(Debug)]
pub(crate) struct Context(pub(super) NonNull<ffi::AVCodecContext>);

// SAFETY: a context is used by one thread at a time (`&mut`), starts none of its own (`thread_count` is 1) and does not
// care which thread that is.
unsafe impl Send for Context {}

impl Context {
    /// Opens a single-threaded decoder that gives each picture out at once.
    pub(crate) fn decoder(name: &CStr) -> Result<Self, Failure> {
        // SAFETY: `name` ends with 0; the codec found is static data of the library.
        let codec = unsafe { ffi::avcodec_find_decoder_by_name(name.as_ptr()) };
        let mut context = Self::new(codec)?;
        context.raw().flags |= low_delay_flag();
        context.open(codec)
    }

    /// Opens a single-threaded encoder of I420.
    pub(crate) fn encoder(name: &CStr, options: &EncoderOptions<'_>) -> Result<Self, Failure> {
        // SAFETY: `name` ends with 0; the codec found is static data of the library.
        let codec = unsafe { ffi::avcodec_find_encoder_by_name(name.as_ptr()) };
        let mut context = Self::new(codec)?;
        let raw = context.raw();
        raw.width = options.width;
        raw.height = options.height;
        raw.time_base = ffi::AVRational { num: 1, den: options.rate_hz };
        raw.framerate = ffi::AVRational { num: options.rate_hz, den: 1 };
        raw.pix_fmt = pixel_format(options.full_range);
        raw.color_range = color_range(options.full_range);
        raw.colorspace = ffi::AVColorSpace::BT470BG;
        raw.gop_size = options.key_interval;
        raw.max_b_frames = 0;
        if let Some(quantiser) = options.quantiser {
            raw.flags |= ffi::AV_CODEC_FLAG_QSCALE.cast_signed();
            raw.global_quality = quantiser * ffi::FF_QP2LAMBDA;
        } else {
            // Equal bounds make it constant bit rate; half a second of buffer is what a video call allows.
            raw.bit_rate = options.bit_rate;
            raw.rc_min_rate = options.bit_rate;
            raw.rc_max_rate = options.bit_rate;
            raw.rc_buffer_size = c_int::try_from(options.bit_rate / 2).unwrap_or(c_int::MAX);
        }
        for (key, value) in options.private {
            // SAFETY: `priv_data` belongs to the context, starts with its option class as FFmpeg demands, and is written
            // before the codec opens; both texts end with 0 and are copied.
            let status = unsafe { ffi::av_opt_set(context.raw().priv_data, key.as_ptr(), value.as_ptr(), 0) };
            check(status)?;
        }
        context.open(codec)
    }

    pub(super) fn new(codec: *const ffi::AVCodec) -> Result<Self, Failure> {
        silence();
        if codec.is_null() {
            return Err(Failure::Missing);
        }
        // SAFETY: `codec` is a codec of this library; null is answered when there is no memory.
        let context = unsafe { ffi::avcodec_alloc_context3(codec) };
        let mut context = Self(NonNull::new(context).ok_or(Failure::Memory)?);
        context.raw().thread_count = 1;
        Ok(context)
    }

    pub(super) fn open(mut self, codec: *const ffi::AVCodec) -> Result<Self, Failure> {
        // SAFETY: the context was made for `codec` and is not open; a null dictionary means no further options.
        check(unsafe { ffi::avcodec_open2(self.raw(), codec, ptr::null_mut()) })?;
        Ok(self)
    }

    /// Refuses pictures above this many pixels, whatever the stream says of itself.
    pub(crate) fn set_area_max(&mut self, area_max: u32) {
        self.raw().max_pixels = i64::from(area_max);
    }

    pub(crate) fn send_packet(&mut self, packet: &Packet) -> Result<(), Failure> {
        // SAFETY: the decoder is open; the packet's data is reference counted and padded (`Packet::fill`).
        check(unsafe { ffi::avcodec_send_packet(self.raw(), packet.0.as_ptr()) })
    }

    /// Puts the next picture into `frame`; `false` when there is none.
    pub(crate) fn receive_frame(&mut self, frame: &mut Frame) -> Result<bool, Failure> {
        // SAFETY: the decoder is open and the frame is a valid one, which the call empties first.
        available(unsafe { ffi::avcodec_receive_frame(self.raw(), frame.0.as_ptr()) })
    }

    pub(crate) fn send_frame(&mut self, frame: &Frame) -> Result<(), Failure> {
        // SAFETY: the encoder is open; the frame owns reference-counted planes of the encoder's size and format.
        check(unsafe { ffi::avcodec_send_frame(self.raw(), frame.0.as_ptr()) })
    }

    /// Puts the next unit into `packet`; `false` when there is none.
    pub(crate) fn receive_packet(&mut self, packet: &mut Packet) -> Result<bool, Failure> {
        // SAFETY: the encoder is open and the packet is a valid one, which the call empties first.
        available(unsafe { ffi::avcodec_receive_packet(self.raw(), packet.0.as_ptr()) })
    }

    pub(super) fn raw(&mut self) -> &mut ffi::AVCodecContext {
        // SAFETY: allocated in `new`, freed only in `drop`, and borrowed exclusively through `&mut self`.
        unsafe { self.0.as_mut() }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: allocated by FFmpeg and freed nowhere else.
        unsafe { ffi::avcodec_free_context(&mut self.0.as_ptr()) };
    }
}

/// One unit, in memory FFmpeg counts references to.
#[derive(Debug)]
pub(crate) struct Packet(pub(super) NonNull<ffi::AVPacket>);

// SAFETY: the packet is owned, and FFmpeg's reference counts are atomic.
unsafe impl Send for Packet {}

impl Packet {
    pub(crate) fn new() -> Result<Self, Failure> {
        // SAFETY: allocates an empty packet; null is answered when there is no memory.
        NonNull::new(unsafe { ffi::av_packet_alloc() }).map(Self).ok_or(Failure::Memory)
    }

    /// Copies `unit` in, reusing the buffer when it is large enough and the decoder has let go of it.
    pub(crate) fn fill(&mut self, unit: &[u8]) -> Result<(), Failure> {
        let needed = unit.len().checked_add(PADDING_BYTES).ok_or(Failure::Memory)?;
        let size = c_int::try_from(unit.len()).map_err(|_| Failure::Memory)?;
        let buffer = self.buffer(needed)?;
        // SAFETY: `buffer` has at least `needed` bytes, which nobody else refers to, and `unit` cannot lie inside.
        unsafe {
            let data = (*buffer).data;
            ptr::copy_nonoverlapping(unit.as_ptr(), data, unit.len());
            ptr::write_bytes(data.add(unit.len()), 0, PADDING_BYTES);
            let packet = self.0.as_mut();
            packet.data = data;
            packet.size = size;
        }
        Ok(())
    }

    /// The packet's buffer, writable and of at least `needed` bytes.
    fn buffer(&mut self, needed: usize) -> Result<*mut ffi::AVBufferRef, Failure> {
        // SAFETY: the packet is valid; its buffer is null or a live reference.
        let reusable = unsafe {
            let buffer = self.0.as_ref().buf;
            !buffer.is_null() && ffi::av_buffer_is_writable(buffer) == 1 && (*buffer).size >= needed
        };
        if !reusable {
            let capacity = needed.max(PACKET_BYTES_MIN).checked_next_power_of_two().ok_or(Failure::Memory)?;
            // SAFETY: `av_packet_unref` drops the old reference and leaves an empty packet, which takes over the new one.
            unsafe {
                ffi::av_packet_unref(self.0.as_ptr());
                self.0.as_mut().buf = ffi::av_buffer_alloc(capacity);
            }
        }
        // SAFETY: the packet is valid.
        let buffer = unsafe { self.0.as_ref().buf };
        if buffer.is_null() { Err(Failure::Memory) } else { Ok(buffer) }
    }

    /// The unit an encoder put here.
    pub(crate) fn data(&self) -> &[u8] {
        // SAFETY: the packet is valid, and its `size` bytes at `data` live until it is filled or received into again,
        // which needs `&mut self`.
        unsafe {
            let packet = self.0.as_ref();
            match usize::try_from(packet.size) {
                Ok(size) if !packet.data.is_null() => slice::from_raw_parts(packet.data, size),
                _ => &[],
            }
        }
    }

    /// Whether an encoder marked it as a keyframe.
    pub(crate) fn is_keyframe(&self) -> bool {
        // SAFETY: the packet is valid.
        unsafe { self.0.as_ref() }.flags & ffi::AV_PKT_FLAG_KEY != 0
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: allocated by FFmpeg and freed nowhere else.
        unsafe { ffi::av_packet_free(&mut self.0.as_ptr()) };
    }
}

/// One picture, in memory FFmpeg counts references to.
#[derive(Debug)]
pub(crate) struct Frame(pub(super) NonNull<ffi::AVFrame>);

// SAFETY: the frame is owned, and FFmpeg's reference counts are atomic.
unsafe impl Send for Frame {}

impl Frame {
    pub(crate) fn new() -> Result<Self, Failure> {
        // SAFETY: allocates an empty frame; null is answered when there is no memory.
        NonNull::new(unsafe { ffi::av_frame_alloc() }).map(Self).ok_or(Failure::Memory)
    }

    /// A frame with planes of its own, for an encoder.
    pub(crate) fn i420(width: c_int, height: c_int, full_range: bool) -> Result<Self, Failure> {
        let mut frame = Self::new()?;
        // SAFETY: the frame is valid and owned.
        let raw = unsafe { frame.0.as_mut() };
        raw.width = width;
        raw.height = height;
        raw.format = pixel_format(full_range).0;
        raw.color_range = color_range(full_range);
        // SAFETY: size and format are set, and the frame has no planes yet; 0 chooses the alignment.
        check(unsafe { ffi::av_frame_get_buffer(raw, 0) })?;
        Ok(frame)
    }

    /// Copies `rows` into plane `index`. The encoder may still refer to the old bytes; then the frame gets new ones.
    pub(crate) fn write_plane<'a>(
        &mut self,
        index: usize,
        rows: impl Iterator<Item = &'a [u8]>,
        size: (u32, u32),
    ) -> Result<(), Failure> {
        // SAFETY: the frame owns planes (`i420`).
        check(unsafe { ffi::av_frame_make_writable(self.0.as_ptr()) })?;
        let (data, stride, _) = self.extent(index, size.0, size.1).ok_or(Failure::Refused(0))?;
        for (y, row) in rows.take(size.1 as usize).enumerate() {
            let length = row.len().min(size.0 as usize);
            // SAFETY: `extent` checked that this row lies within the frame's memory, which the call above made ours
            // alone; `&mut self` rules out a slice of it.
            unsafe { ptr::copy_nonoverlapping(row.as_ptr(), data.add(y * stride), length) };
        }
        Ok(())
    }

    /// Sets what an encoder needs to know of this picture.
    pub(crate) fn set_position(&mut self, pts: i64, keyframe: bool) {
        // SAFETY: the frame is valid and owned.
        let raw = unsafe { self.0.as_mut() };
        raw.pts = pts;
        raw.pict_type = if keyframe { ffi::AVPictureType::I } else { ffi::AVPictureType::NONE };
    }

    /// Sets the quantiser of an encoder that works with a fixed one: it looks for it at each picture.
    pub(crate) fn set_quantiser(&mut self, quantiser: c_int) {
        // SAFETY: the frame is valid and owned.
        unsafe { self.0.as_mut() }.quality = quantiser.saturating_mul(ffi::FF_QP2LAMBDA);
    }

    /// Width and height, when it is an I420 picture.
    pub(crate) fn i420_size(&self) -> Option<(u32, u32)> {
        // SAFETY: the frame is valid.
        let raw = unsafe { self.0.as_ref() };
        if raw.format != pixel_format(false).0 && raw.format != pixel_format(true).0 {
            return None;
        }
        Some((u32::try_from(raw.width).ok()?, u32::try_from(raw.height).ok()?))
    }

    /// Plane `index`, when `height` rows of `width` bytes lie inside the memory the frame refers to.
    pub(crate) fn plane(&self, index: usize, width: u32, height: u32) -> Option<PlaneRef<'_>> {
        let (start, stride, length) = self.extent(index, width, height)?;
        // SAFETY: `extent` checked that the bytes lie inside a buffer the frame keeps alive. FFmpeg has written them, and
        // they change only through `&mut self` or the decoder that the caller holds together with this frame.
        Some(PlaneRef { data: unsafe { slice::from_raw_parts(start, length) }, stride })
    }

    /// First byte, stride and length of a plane, when all of it lies inside one of the frame's buffers.
    fn extent(&self, index: usize, width: u32, height: u32) -> Option<(*mut u8, usize, usize)> {
        // SAFETY: the frame is valid.
        let raw = unsafe { self.0.as_ref() };
        let stride = usize::try_from(*raw.linesize.get(index)?).ok()?;
        let start = *raw.data.get(index)?;
        let length = stride.checked_mul((height as usize).checked_sub(1)?)?.checked_add(width as usize)?;
        if start.is_null() || (width as usize) > stride {
            return None;
        }
        let inside = raw.buf.iter().take_while(|buffer| !buffer.is_null()).any(|&buffer| {
            // SAFETY: buffers before the first null are live references of the frame.
            let (first, size) = unsafe { ((*buffer).data as usize, (*buffer).size) };
            (start as usize).checked_sub(first).and_then(|skip| skip.checked_add(length)).is_some_and(|end| end <= size)
        });
        inside.then_some((start, stride, length))
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: allocated by FFmpeg and freed nowhere else.
        unsafe { ffi::av_frame_free(&mut self.0.as_ptr()) };
    }
}

const fn low_delay_flag() -> c_int {
    ffi::AV_CODEC_FLAG_LOW_DELAY.cast_signed()
}

pub(super) const fn pixel_format(full_range: bool) -> ffi::AVPixelFormat {
    if full_range { ffi::AVPixelFormat::YUVJ420P } else { ffi::AVPixelFormat::YUV420P }
}

pub(super) const fn color_range(full_range: bool) -> ffi::AVColorRange {
    if full_range { ffi::AVColorRange::JPEG } else { ffi::AVColorRange::MPEG }
}

pub(super) fn check(status: c_int) -> Result<(), Failure> {
    match status {
        0.. => Ok(()),
        status if status == ffi::AVERROR(libc::ENOMEM) => Err(Failure::Memory),
        status => Err(Failure::Refused(status)),
    }
}

fn available(status: c_int) -> Result<bool, Failure> {
    if status == ffi::AVERROR(libc::EAGAIN) || status == ffi::AVERROR_EOF {
        return Ok(false);
    }
    check(status).map(|()| true)
}
