//! FFmpeg's libavformat for reading: one file, one video stream of it.

use std::ffi::{CStr, c_int};
use std::fs::File;
use std::ptr::{self, NonNull};

use ffmpeg_the_third::ffi;

use super::avcodec::{Context, Failure, Frame, Packet, check, pixel_format, silence};
use super::avio::{Direction, Io};

/// Numerator and denominator.
pub(crate) type Ratio = (i32, i32);

/// Colour matrix of a decoded frame, as far as its stream says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coefficients {
    Unsaid,
    Bt601,
    Bt709,
    /// BT.2020 with non-constant luminance.
    Bt2020,
    /// Not Y'CbCr at all.
    Rgb,
}

/// What a stream says of itself before its first picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct About {
    pub(crate) container: String,
    pub(crate) codec: String,
    pub(crate) is_vp8: bool,
    /// Pictures, when the container counts them.
    pub(crate) frames: Option<u64>,
    /// Length in milliseconds, when the container knows it.
    pub(crate) duration_ms: Option<u64>,
    /// Pictures a second, as a fraction.
    pub(crate) rate: Option<Ratio>,
    /// Clockwise degrees still to apply.
    pub(crate) rotation: u32,
}

/// Why a file has no pictures to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenFailure {
    /// It is in no format FFmpeg knows, or damaged.
    Format(Failure),
    /// It has no video stream.
    NoVideo,
    /// FFmpeg cannot decode its video.
    Codec(Failure),
}

/// An open file.
#[derive(Debug)]
pub(crate) struct Input {
    /// Before the I/O context in drop order: it refers to that.
    context: Format,
    _io: Io,
    stream: c_int,
}

/// FFmpeg's context of a file that is read.
#[derive(Debug)]
struct Format(NonNull<ffi::AVFormatContext>);

// SAFETY: the context is owned and used by one thread at a time (`&mut`).
unsafe impl Send for Format {}

impl Drop for Format {
    fn drop(&mut self) {
        // SAFETY: opened by FFmpeg and closed nowhere else; the I/O context is not its own and stays.
        unsafe { ffi::avformat_close_input(&mut self.0.as_ptr()) };
    }
}

impl Input {
    /// Opens what `file` holds and finds its video stream. FFmpeg opens no other file and no address for it.
    pub(crate) fn open(file: File, area_max: u32) -> Result<Self, OpenFailure> {
        silence();
        let io = Io::new(file, Direction::Input).map_err(OpenFailure::Format)?;
        // SAFETY: allocates; null is answered when there is no memory.
        let mut raw = unsafe { ffi::avformat_alloc_context() };
        let Some(context) = NonNull::new(raw) else { return Err(OpenFailure::Format(Failure::Memory)) };
        // SAFETY: the context is valid and not open; the I/O context outlives it (see the fields' order).
        unsafe { (*context.as_ptr()).pb = io.raw() };
        let mut options = Options::default();
        // A playlist, say, names other files: no protocol is allowed, so that none is opened.
        options.set(c"protocol_whitelist", c"none");
        // SAFETY: the context was allocated above, and is freed by this call when it fails; no format is prescribed.
        let status = unsafe { ffi::avformat_open_input(&mut raw, ptr::null(), ptr::null(), options.raw()) };
        check(status).map_err(OpenFailure::Format)?;
        let mut context = Format(context);
        find_streams(&mut context, area_max).map_err(OpenFailure::Format)?;
        // SAFETY: the context is open; no decoder is asked for.
        let stream = unsafe {
            ffi::av_find_best_stream(context.0.as_ptr(), ffi::AVMediaType::VIDEO, -1, -1, ptr::null_mut(), 0)
        };
        if stream < 0 {
            return Err(OpenFailure::NoVideo);
        }
        let input = Self { context, _io: io, stream };
        for &other in input.streams() {
            // SAFETY: streams of an open context are valid.
            unsafe {
                if (*other).index != stream {
                    (*other).discard = ffi::AVDiscard::ALL;
                }
            }
        }
        Ok(input)
    }

    /// Opens the decoder of the video stream, single-threaded.
    pub(crate) fn decoder(&self, area_max: u32) -> Result<Context, OpenFailure> {
        let stream = self.stream();
        // SAFETY: the stream and its parameters belong to the open context.
        let (codec, parameters) = unsafe {
            let parameters = (*stream).codecpar;
            (ffi::avcodec_find_decoder((*parameters).codec_id), parameters)
        };
        let open = || -> Result<Context, Failure> {
            let mut decoder = Context::new(codec)?;
            // SAFETY: both are valid; the decoder is not open yet.
            check(unsafe { ffi::avcodec_parameters_to_context(decoder.raw(), parameters) })?;
            decoder.set_area_max(area_max);
            // SAFETY: the stream is valid.
            decoder.raw().pkt_timebase = unsafe { (*stream).time_base };
            decoder.open(codec)
        };
        open().map_err(OpenFailure::Codec)
    }

    /// Reads the next packet of the video stream; `false` at the end.
    pub(crate) fn read(&mut self, packet: &mut Packet) -> Result<bool, Failure> {
        loop {
            // SAFETY: the packet is valid and emptied first; the context is open.
            let status = unsafe {
                ffi::av_packet_unref(packet.0.as_ptr());
                ffi::av_read_frame(self.context.0.as_ptr(), packet.0.as_ptr())
            };
            if status == ffi::AVERROR_EOF {
                return Ok(false);
            }
            check(status)?;
            // SAFETY: the packet is valid.
            if unsafe { packet.0.as_ref() }.stream_index == self.stream {
                return Ok(true);
            }
        }
    }

    /// What the stream says of itself.
    pub(crate) fn about(&self) -> About {
        let stream = self.stream();
        // SAFETY: context, stream and parameters are valid; names are static texts of the library.
        unsafe {
            let context = self.context.0.as_ref();
            let text = |text: *const libc::c_char| {
                if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
            };
            let id = (*(*stream).codecpar).codec_id;
            let rate = ffi::av_guess_frame_rate(self.context.0.as_ptr(), stream, ptr::null_mut());
            let microseconds = if context.duration > 0 { u64::try_from(context.duration).ok() } else { None };
            About {
                container: text((*context.iformat).name),
                codec: text(ffi::avcodec_get_name(id)),
                is_vp8: id == ffi::AVCodecID::VP8,
                frames: u64::try_from((*stream).nb_frames).ok().filter(|&frames| frames > 0),
                duration_ms: microseconds.map(|us| us / 1000),
                rate: (rate.num > 0 && rate.den > 0).then_some((rate.num, rate.den)),
                rotation: rotation_of_stream(stream),
            }
        }
    }

    /// Length of one tick of the stream's times, in seconds.
    pub(crate) fn time_base(&self) -> Ratio {
        // SAFETY: the stream is valid.
        let base = unsafe { (*self.stream()).time_base };
        (base.num, base.den)
    }

    fn streams(&self) -> &[*mut ffi::AVStream] {
        // SAFETY: an open context has `nb_streams` streams; the list changes only while packets are read (`&mut`).
        unsafe {
            let context = self.context.0.as_ref();
            if context.streams.is_null() {
                return &[];
            }
            std::slice::from_raw_parts(context.streams, context.nb_streams as usize)
        }
    }

    fn stream(&self) -> *mut ffi::AVStream {
        let index = usize::try_from(self.stream).unwrap_or(usize::MAX);
        *self.streams().get(index).expect("the index came from FFmpeg and streams are never taken away")
    }
}

/// Reads ahead until the streams' parameters are known, decoding nothing larger than allowed.
fn find_streams(context: &mut Format, area_max: u32) -> Result<(), Failure> {
    // SAFETY: the context is open.
    let count = unsafe { context.0.as_ref() }.nb_streams as usize;
    let mut options: Vec<Options> = (0..count).map(|_| Options::default()).collect();
    let digits = std::ffi::CString::new(area_max.to_string()).unwrap_or_default();
    options.iter_mut().for_each(|options| options.set(c"max_pixels", &digits));
    let mut raw: Vec<*mut ffi::AVDictionary> = options.iter().map(|options| options.0).collect();
    let list = if raw.is_empty() { ptr::null_mut() } else { raw.as_mut_ptr() };
    // SAFETY: there is one dictionary for each stream of the open context. FFmpeg may replace them.
    let status = unsafe { ffi::avformat_find_stream_info(context.0.as_ptr(), list) };
    for (options, raw) in options.iter_mut().zip(raw) {
        options.0 = raw;
    }
    check(status)
}

/// Options for FFmpeg, by name.
#[derive(Debug)]
pub(super) struct Options(*mut ffi::AVDictionary);

impl Default for Options {
    fn default() -> Self {
        Self(ptr::null_mut())
    }
}

impl Options {
    pub(super) fn set(&mut self, key: &CStr, value: &CStr) {
        // SAFETY: both texts end with 0 and are copied. Without memory the option is left out, and what needs it fails.
        unsafe { ffi::av_dict_set(&raw mut self.0, key.as_ptr(), value.as_ptr(), 0) };
    }

    pub(super) fn raw(&mut self) -> *mut *mut ffi::AVDictionary {
        &raw mut self.0
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: null or a dictionary that nothing else owns.
        unsafe { ffi::av_dict_free(&raw mut self.0) };
    }
}

/// # Safety
/// `stream` is a valid stream.
unsafe fn rotation_of_stream(stream: *const ffi::AVStream) -> u32 {
    let mut length = 0;
    // SAFETY: the caller vouches for the stream.
    let matrix =
        unsafe { ffi::av_stream_get_side_data(stream, ffi::AVPacketSideDataType::DISPLAYMATRIX, &raw mut length) };
    // SAFETY: FFmpeg answers NULL or that many bytes.
    unsafe { rotation_of_matrix(matrix, length) }
}

/// Clockwise degrees of a display matrix, when they are a multiple of 90; else 0.
///
/// # Safety
/// `matrix` is NULL or has `length` bytes.
unsafe fn rotation_of_matrix(matrix: *const u8, length: usize) -> u32 {
    const BYTES: usize = 9 * size_of::<i32>();
    if matrix.is_null() || length < BYTES {
        return 0;
    }
    let mut numbers = [0_i32; 9];
    // SAFETY: there are at least as many bytes as the array has.
    unsafe { ptr::copy_nonoverlapping(matrix, numbers.as_mut_ptr().cast::<u8>(), BYTES) };
    // SAFETY: the array has the nine numbers of a matrix.
    let counterclockwise = unsafe { ffi::av_display_rotation_get(numbers.as_ptr()) };
    [90_u32, 180, 270]
        .into_iter()
        .find(|&degrees| (counterclockwise + f64::from(degrees)).rem_euclid(360.0).abs() < 1.0)
        .unwrap_or(0)
}

impl Frame {
    /// Width and height.
    pub(crate) fn size(&self) -> Option<(u32, u32)> {
        // SAFETY: the frame is valid.
        let raw = unsafe { self.0.as_ref() };
        Some((u32::try_from(raw.width).ok()?, u32::try_from(raw.height).ok()?)).filter(|&(w, h)| w > 0 && h > 0)
    }

    /// When it is shown, in ticks of its stream, as far as FFmpeg can tell.
    pub(crate) fn time(&self) -> Option<i64> {
        // SAFETY: the frame is valid.
        let time = unsafe { self.0.as_ref() }.best_effort_timestamp;
        (time != ffi::AV_NOPTS_VALUE).then_some(time)
    }

    /// Clockwise degrees this frame asks to be turned by, as photographs do.
    pub(crate) fn rotation(&self) -> u32 {
        // SAFETY: the frame is valid; its side data lives as long.
        unsafe {
            let data = ffi::av_frame_get_side_data(self.0.as_ptr(), ffi::AVFrameSideDataType::DISPLAYMATRIX);
            if data.is_null() { 0 } else { rotation_of_matrix((*data).data, (*data).size) }
        }
    }

    /// Its colour matrix.
    pub(crate) fn coefficients(&self) -> Coefficients {
        // SAFETY: the frame is valid.
        let raw = unsafe { self.0.as_ref() };
        if has_flag(raw.format, ffi::AV_PIX_FMT_FLAG_RGB) || has_flag(raw.format, ffi::AV_PIX_FMT_FLAG_PAL) {
            return Coefficients::Rgb;
        }
        match raw.colorspace {
            ffi::AVColorSpace::RGB => Coefficients::Rgb,
            ffi::AVColorSpace::BT709 => Coefficients::Bt709,
            ffi::AVColorSpace::BT470BG | ffi::AVColorSpace::SMPTE170M | ffi::AVColorSpace::FCC => Coefficients::Bt601,
            ffi::AVColorSpace::BT2020_NCL | ffi::AVColorSpace::BT2020_CL => Coefficients::Bt2020,
            _ => Coefficients::Unsaid,
        }
    }

    /// Whether black is 0 and white is 255.
    pub(crate) fn is_full_range(&self) -> bool {
        // SAFETY: the frame is valid.
        let raw = unsafe { self.0.as_ref() };
        raw.color_range == ffi::AVColorRange::JPEG
            || is_full_by_format(raw.format)
            || has_flag(raw.format, ffi::AV_PIX_FMT_FLAG_RGB)
            || has_flag(raw.format, ffi::AV_PIX_FMT_FLAG_PAL)
    }
}

impl Context {
    /// Tells the decoder that no packet follows, so that it gives out what it holds.
    pub(crate) fn send_end(&mut self) -> Result<(), Failure> {
        // SAFETY: the decoder is open; NULL means the end.
        check(unsafe { ffi::avcodec_send_packet(self.raw(), ptr::null()) })
    }
}

/// Formats that are full-range by name, and gray, which every reader takes so.
fn is_full_by_format(format: c_int) -> bool {
    let full = [
        pixel_format(true),
        ffi::AVPixelFormat::YUVJ422P,
        ffi::AVPixelFormat::YUVJ444P,
        ffi::AVPixelFormat::YUVJ440P,
        ffi::AVPixelFormat::YUVJ411P,
        ffi::AVPixelFormat::GRAY8,
        ffi::AVPixelFormat::GRAY16LE,
        ffi::AVPixelFormat::GRAY16BE,
        ffi::AVPixelFormat::MONOBLACK,
        ffi::AVPixelFormat::MONOWHITE,
    ];
    full.iter().any(|known| known.0 == format)
}

fn has_flag(format: c_int, flag: c_int) -> bool {
    // SAFETY: any number may be asked for; unknown ones have no description.
    let description = unsafe { ffi::av_pix_fmt_desc_get(ffi::AVPixelFormat(format)) };
    // SAFETY: descriptions are static.
    !description.is_null() && unsafe { (*description).flags } & u64::from(flag.cast_unsigned()) != 0
}
