//! Pictures that processors give back, copied into memory of ours.

use framegate_abi as abi;
use framegate_codec::{Image, Layout, Matrix, Range};
use framegate_wire::{
    PictureSize, PixelFormat,
    limits::{AREA_MAX, SIDE_MAX},
};

/// Why a picture is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DrawingError {
    /// There is no picture.
    #[error("a submitted picture is NULL or its struct_size is not sizeof(fg_picture)")]
    Struct,
    /// No format of this version.
    #[error("a submitted picture's format {0} is none of FG_BGR24 …")]
    Format(u32),
    /// Too large, or empty.
    #[error("a submitted picture is {0}x{1}; at most {SIDE_MAX} a side and {AREA_MAX} pixels, at least 1")]
    Size(u32, u32),
    /// Too few or too many planes.
    #[error("a submitted picture has {0} planes; its format has {1}")]
    Planes(u32, usize),
    /// A plane is missing or smaller than the picture.
    #[error("plane {0} of a submitted picture is NULL, of another size than its format says, or its rows overlap")]
    Plane(usize),
}

/// A format of the interface.
pub(super) const fn pixel_format(format: u32) -> Option<PixelFormat> {
    Some(match format {
        abi::BGR24 => PixelFormat::Bgr24,
        abi::RGB24 => PixelFormat::Rgb24,
        abi::BGRA => PixelFormat::Bgra,
        abi::GRAY8 => PixelFormat::Gray8,
        abi::I420 => PixelFormat::I420,
        abi::NV12 => PixelFormat::Nv12,
        _ => return None,
    })
}

/// Where the copy of a submitted picture will lie.
pub(super) fn check(picture: &abi::Picture) -> Result<Layout, DrawingError> {
    let format = pixel_format(picture.format).ok_or(DrawingError::Format(picture.format))?;
    let (width, height) = (picture.width, picture.height);
    let size = DrawingError::Size(width, height);
    let layout = Layout::new(format, width, height).map_err(|_| size)?;
    PictureSize { width, height }.check(AREA_MAX).map_err(|_| size)?;
    if picture.plane_count as usize != layout.plane_count {
        return Err(DrawingError::Planes(picture.plane_count, layout.plane_count));
    }
    for (index, (plane, expected)) in picture.planes.iter().zip(&layout.planes[..layout.plane_count]).enumerate() {
        let row_bytes = (expected.width as usize * layout.sample_bytes(index)) as i64;
        let fits = (plane.width, plane.height) == (expected.width, expected.height);
        if plane.data.is_null() || !fits || plane.stride_bytes < row_bytes || plane.stride_bytes > i64::from(u32::MAX) {
            return Err(DrawingError::Plane(index));
        }
    }
    Ok(layout)
}

/// A copy of a submitted picture.
///
/// # Safety
/// `layout` is what [`check`] made of `picture`, whose planes are readable as it says.
pub(super) unsafe fn of_picture(picture: &abi::Picture, layout: Layout) -> Image {
    // SAFETY: the caller vouches for the planes.
    unsafe { copy(&picture.planes, Image::new(layout, Matrix::Bt601, Range::Full)) }
}

/// A copy of a frame.
///
/// # Safety
/// The frame's planes are readable as it says.
pub(super) unsafe fn of_frame(frame: &abi::Frame) -> Option<Image> {
    let layout = Layout::new(pixel_format(frame.format)?, frame.width, frame.height).ok()?;
    let matrix = if frame.matrix == abi::MATRIX_BT709 { Matrix::Bt709 } else { Matrix::Bt601 };
    let range = if frame.range == abi::RANGE_FULL { Range::Full } else { Range::Limited };
    // SAFETY: the caller vouches for the planes.
    Some(unsafe { copy(&frame.planes, Image::new(layout, matrix, range)) })
}

/// # Safety
/// Each plane of `image` has one of `planes`, with as many rows at its stride.
unsafe fn copy(planes: &[abi::Plane; 4], mut image: Image) -> Image {
    for (index, plane) in planes.iter().enumerate().take(image.layout().plane_count) {
        let stride = usize::try_from(plane.stride_bytes).unwrap_or(0);
        for (y, row) in image.rows_mut(index).enumerate() {
            // SAFETY: the caller vouches for row `y`; `row` is memory of ours.
            unsafe { std::ptr::copy_nonoverlapping(plane.data.add(y * stride), row.as_mut_ptr(), row.len()) };
        }
    }
    image
}
