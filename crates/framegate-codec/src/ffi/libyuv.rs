//! Hot path: scaling of one plane by libyuv.
//!
//! libyuv allocates a row or two per call; nothing here does. The system's library is used, as with FFmpeg: Debian's
//! `libyuv-dev`.

use std::ffi::c_int;

use crate::picture::PlaneRef;

/// A side or stride the library has no numbers for.
#[derive(Debug)]
pub(crate) struct ScaleFailed;

/// `enum FilterMode` of `libyuv/scale.h`.
const FILTER_BILINEAR: c_int = 2;
/// `enum FilterMode` of `libyuv/scale.h`.
const FILTER_BOX: c_int = 3;

#[link(name = "yuv")]
unsafe extern "C" {
    /// `ScalePlane` of `libyuv/scale.h`. Newer versions return a status, which this declaration leaves alone.
    fn ScalePlane(
        src: *const u8,
        src_stride: c_int,
        src_width: c_int,
        src_height: c_int,
        dst: *mut u8,
        dst_stride: c_int,
        dst_width: c_int,
        dst_height: c_int,
        filtering: c_int,
    );
}

/// How far a plane is turned, clockwise. The values are those of `enum RotationMode` of `libyuv/rotate.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// By 90 degrees.
    Quarter = 90,
    /// By 180 degrees.
    Half = 180,
    /// By 270 degrees.
    ThreeQuarters = 270,
}

#[link(name = "yuv")]
unsafe extern "C" {
    /// `RotatePlane` of `libyuv/rotate.h`.
    fn RotatePlane(
        src: *const u8,
        src_stride: c_int,
        dst: *mut u8,
        dst_stride: c_int,
        width: c_int,
        height: c_int,
        mode: c_int,
    ) -> c_int;
}

/// A plane to read: `width` by `height` samples of one byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// Its bytes.
    pub(crate) plane: PlaneRef<'a>,
    /// Samples across.
    pub(crate) width: u32,
    /// Rows.
    pub(crate) height: u32,
}

/// A plane to write.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// Its bytes, from the first of the first row to at least the last of the last.
    pub(crate) data: &'a mut [u8],
    /// Bytes from one row to the next.
    pub(crate) stride: usize,
    /// Samples across.
    pub(crate) width: u32,
    /// Rows.
    pub(crate) height: u32,
}

/// Scales a plane: averaging boxes where it shrinks to less than half, bilinear otherwise.
pub(crate) fn scale_plane(source: Source<'_>, target: Target<'_>) -> Result<(), ScaleFailed> {
    let written = PlaneRef { data: &*target.data, stride: target.stride };
    assert!(source.plane.holds(source.width, source.height), "the source plane is whole");
    assert!(written.holds(target.width, target.height), "the target plane is whole");
    let shrinks = target.width < source.width || target.height < source.height;
    let filter = if shrinks { FILTER_BOX } else { FILTER_BILINEAR };
    let int = |value: u32| c_int::try_from(value).map_err(|_| ScaleFailed);
    let stride = |value: usize| c_int::try_from(value).map_err(|_| ScaleFailed);
    let (source_stride, target_stride) = (stride(source.plane.stride)?, stride(target.stride)?);
    let (source_width, source_height) = (int(source.width)?, int(source.height)?);
    let (target_width, target_height) = (int(target.width)?, int(target.height)?);
    // SAFETY: both planes hold `height` rows of `width` bytes at their strides (asserted above), libyuv reads and writes
    // nothing outside those, and the exclusive borrow of the target rules out any overlap.
    unsafe {
        ScalePlane(
            source.plane.data.as_ptr(),
            source_stride,
            source_width,
            source_height,
            target.data.as_mut_ptr(),
            target_stride,
            target_width,
            target_height,
            filter,
        );
    }
    Ok(())
}

/// Turns a plane. The target has the source's size, its sides exchanged unless the turn is a half.
pub(crate) fn turn_plane(source: Source<'_>, target: Target<'_>, turn: Turn) -> Result<(), ScaleFailed> {
    let written = PlaneRef { data: &*target.data, stride: target.stride };
    let turned = if turn == Turn::Half { (source.width, source.height) } else { (source.height, source.width) };
    assert_eq!((target.width, target.height), turned, "the target has the turned size");
    assert!(source.plane.holds(source.width, source.height), "the source plane is whole");
    assert!(written.holds(target.width, target.height), "the target plane is whole");
    let stride = |value: usize| c_int::try_from(value).map_err(|_| ScaleFailed);
    let side = |value: u32| c_int::try_from(value).map_err(|_| ScaleFailed);
    let (source_stride, target_stride) = (stride(source.plane.stride)?, stride(target.stride)?);
    let (width, height) = (side(source.width)?, side(source.height)?);
    // SAFETY: both planes hold their rows (asserted above), libyuv reads and writes nothing outside those, and the
    // exclusive borrow of the target rules out any overlap.
    let status = unsafe {
        RotatePlane(
            source.plane.data.as_ptr(),
            source_stride,
            target.data.as_mut_ptr(),
            target_stride,
            width,
            height,
            turn as c_int,
        )
    };
    if status == 0 { Ok(()) } else { Err(ScaleFailed) }
}
