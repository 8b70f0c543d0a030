//! FFmpeg's libswscale: pictures of any format, size and range to I420.

use std::ffi::c_int;
use std::ptr::{self, NonNull};

use super::avcodec::{Failure, Frame, color_range, pixel_format};
use super::demux::Coefficients;

/// Flags of `libswscale/swscale.h`: bilinear, full chroma input, accurate rounding.
const FLAGS: c_int = 2 | 0x4000 | 0x4_0000;

/// 1.0 in libswscale's 16.16 numbers: contrast and saturation stay.
const ONE: c_int = 1 << 16;

/// Names of colour matrices in libswscale, which are those of `AVColorSpace`.
const SWS_BT709: c_int = 1;
const SWS_BT601: c_int = 5;
const SWS_BT2020: c_int = 9;

/// `struct SwsContext`.
#[repr(C)]
#[derive(Debug)]
struct SwsContext {
    _opaque: [u8; 0],
}

#[link(name = "swscale")]
unsafe extern "C" {
    fn sws_getContext(
        src_width: c_int,
        src_height: c_int,
        src_format: c_int,
        dst_width: c_int,
        dst_height: c_int,
        dst_format: c_int,
        flags: c_int,
        src_filter: *mut u8,
        dst_filter: *mut u8,
        parameters: *const f64,
    ) -> *mut SwsContext;
    fn sws_setColorspaceDetails(
        context: *mut SwsContext,
        src_table: *const c_int,
        src_is_full: c_int,
        dst_table: *const c_int,
        dst_is_full: c_int,
        brightness: c_int,
        contrast: c_int,
        saturation: c_int,
    ) -> c_int;
    fn sws_getCoefficients(colorspace: c_int) -> *const c_int;
    fn sws_scale(
        context: *mut SwsContext,
        src: *const *const u8,
        src_strides: *const c_int,
        src_y: c_int,
        src_rows: c_int,
        dst: *const *mut u8,
        dst_strides: *const c_int,
    ) -> c_int;
    fn sws_freeContext(context: *mut SwsContext);
}

/// One end of a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) coefficients: Coefficients,
    pub(crate) is_full: bool,
}

/// Converts frames of one kind into I420 frames of another.
#[derive(Debug)]
pub(crate) struct Scaler {
    context: NonNull<SwsContext>,
    from: (c_int, End),
    target: Frame,
    to: End,
}

// SAFETY: the context is owned, used by one thread at a time (`&mut`), and starts none of its own.
unsafe impl Send for Scaler {}

impl Scaler {
    /// A converter from frames like `source` to `to`.
    pub(crate) fn new(source: &Frame, from: End, to: End) -> Result<Self, Failure> {
        let side = |value: u32| c_int::try_from(value).map_err(|_| Failure::Refused(0));
        let (width, height) = (side(to.width)?, side(to.height)?);
        // SAFETY: the frame is valid.
        let format = unsafe { source.0.as_ref() }.format;
        // SAFETY: sizes and formats are checked by the function, which answers NULL for what it cannot do; no filters.
        let context = unsafe {
            sws_getContext(
                side(from.width)?,
                side(from.height)?,
                format,
                width,
                height,
                pixel_format(false).0,
                FLAGS,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null(),
            )
        };
        let context = NonNull::new(context).ok_or(Failure::Missing)?;
        let scaler = Self { context, from: (format, from), target: Frame::i420(width, height, to.is_full)?, to };
        // SAFETY: the context is valid; the tables are static. Formats without a matrix ignore theirs.
        unsafe {
            sws_setColorspaceDetails(
                scaler.context.as_ptr(),
                sws_getCoefficients(table(from.coefficients)),
                c_int::from(from.is_full),
                sws_getCoefficients(table(to.coefficients)),
                c_int::from(to.is_full),
                0,
                ONE,
                ONE,
            );
        }
        Ok(scaler)
    }

    /// Whether it was made for such frames.
    pub(crate) fn fits(&self, source: &Frame, from: End, to: End) -> bool {
        // SAFETY: the frame is valid.
        (unsafe { source.0.as_ref() }.format, from) == self.from && to == self.to
    }

    /// Converts `source`, which must fit; the result lives until the next call.
    pub(crate) fn convert(&mut self, source: &Frame) -> Result<&mut Frame, Failure> {
        // SAFETY: the frame is valid.
        let raw = unsafe { source.0.as_ref() };
        assert!(self.from.0 == raw.format && source.size() == Some((self.from.1.width, self.from.1.height)), "it fits");
        self.target.make_writable()?;
        // SAFETY: as above; the target owns its planes.
        let target = unsafe { self.target.0.as_ref() };
        let planes = raw.data.map(<*mut u8>::cast_const);
        // SAFETY: both frames have the formats and sizes the context was made for, with planes and strides that FFmpeg
        // itself allocated; the target is nobody else's.
        let rows = unsafe {
            sws_scale(
                self.context.as_ptr(),
                planes.as_ptr(),
                raw.linesize.as_ptr(),
                0,
                raw.height,
                target.data.as_ptr(),
                target.linesize.as_ptr(),
            )
        };
        if rows > 0 { Ok(&mut self.target) } else { Err(Failure::Refused(rows)) }
    }
}

impl Drop for Scaler {
    fn drop(&mut self) {
        // SAFETY: made by libswscale and freed nowhere else.
        unsafe { sws_freeContext(self.context.as_ptr()) };
    }
}

impl Frame {
    /// Gives the frame planes that nobody else refers to.
    fn make_writable(&mut self) -> Result<(), Failure> {
        // SAFETY: the frame owns planes (`i420`).
        super::avcodec::check(unsafe { ffmpeg_the_third::ffi::av_frame_make_writable(self.0.as_ptr()) })
    }

    /// Says what the codes of its samples mean.
    pub(crate) fn set_colours(&mut self, is_bt709: bool, is_full: bool) {
        use ffmpeg_the_third::ffi::AVColorSpace;
        // SAFETY: the frame is valid and owned.
        let raw = unsafe { self.0.as_mut() };
        raw.color_range = color_range(is_full);
        raw.colorspace = if is_bt709 { AVColorSpace::BT709 } else { AVColorSpace::BT470BG };
    }
}

const fn table(coefficients: Coefficients) -> c_int {
    match coefficients {
        Coefficients::Bt709 => SWS_BT709,
        Coefficients::Bt2020 => SWS_BT2020,
        Coefficients::Unsaid | Coefficients::Bt601 | Coefficients::Rgb => SWS_BT601,
    }
}
