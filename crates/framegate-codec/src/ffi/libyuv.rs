//! Hot path: scaling of one plane by libyuv.
//!
//! libyuv allocates a row or two per call; nothing here does.

use std::ffi::c_int;

use crate::picture::PlaneRef;

/// The library could not scale, which with checked arguments means that it found no memory.
#[derive(Debug)]
pub(crate) struct ScaleFailed;

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
    let filter = if shrinks { yuv_sys::FilterMode_kFilterBox } else { yuv_sys::FilterMode_kFilterBilinear };
    let int = |value: u32| c_int::try_from(value).map_err(|_| ScaleFailed);
    let stride = |value: usize| c_int::try_from(value).map_err(|_| ScaleFailed);
    // SAFETY: both planes hold `height` rows of `width` bytes at their strides (asserted above), libyuv reads and writes
    // nothing outside those, and the exclusive borrow of the target rules out any overlap.
    let status = unsafe {
        yuv_sys::rs_ScalePlane(
            source.plane.data.as_ptr(),
            stride(source.plane.stride)?,
            int(source.width)?,
            int(source.height)?,
            target.data.as_mut_ptr(),
            stride(target.stride)?,
            int(target.width)?,
            int(target.height)?,
            filter,
        )
    };
    if status == 0 { Ok(()) } else { Err(ScaleFailed) }
}
