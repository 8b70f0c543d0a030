//! Where the bytes of a picture lie.

use framegate_wire::limits::SIDE_MAX;
use framegate_wire::{PictureSize, PixelFormat, Want};

/// Alignment of rows, in bytes: a cache line, and as wide as any vector register.
pub(crate) const STRIDE_ALIGN: usize = 64;

/// Bytes of one plane within a picture's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlaneLayout {
    /// First byte, a multiple of 64.
    pub offset: usize,
    /// Bytes from one row to the next, a multiple of 64.
    pub stride: usize,
    /// Samples across; pairs in NV12's second plane, pixels in packed formats.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// Arrangement of one picture's bytes: rows at strides that are multiples of 64, planes one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Pixel format.
    pub format: PixelFormat,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// The planes; those at and beyond `plane_count` are all 0.
    pub planes: [PlaneLayout; 3],
    /// Planes in use, 1 to 3.
    pub plane_count: usize,
    /// Bytes of all planes with their padding.
    pub total_bytes: usize,
}

/// Why a picture cannot be laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A side is 0 or above [`SIDE_MAX`].
    #[error("a picture of {width}x{height} is outside 1 to {SIDE_MAX} a side")]
    Side {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
}

impl PlaneLayout {
    /// Bytes of the plane, with the padding of its rows.
    pub(crate) const fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.stride * self.height as usize
    }
}

impl Layout {
    /// Layout of a picture of `width` by `height` pixels. Never allocates.
    ///
    /// # Errors
    /// [`LayoutError::Side`] when a side is 0 or above [`SIDE_MAX`].
    pub fn new(format: PixelFormat, width: u32, height: u32) -> Result<Self, LayoutError> {
        if width == 0 || height == 0 || width > SIDE_MAX || height > SIDE_MAX {
            return Err(LayoutError::Side { width, height });
        }
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        // Width and height in samples, bytes a sample.
        let parts: &[(u32, u32, usize)] = match format {
            PixelFormat::Bgr24 | PixelFormat::Rgb24 => &[(width, height, 3)],
            PixelFormat::Bgra => &[(width, height, 4)],
            PixelFormat::Gray8 => &[(width, height, 1)],
            PixelFormat::I420 => &[(width, height, 1), (half_width, half_height, 1), (half_width, half_height, 1)],
            PixelFormat::Nv12 => &[(width, height, 1), (half_width, half_height, 2)],
        };
        let mut planes = [PlaneLayout::default(); 3];
        let mut offset = 0;
        for (plane, &(width, height, sample_bytes)) in planes.iter_mut().zip(parts) {
            let stride = (width as usize * sample_bytes).next_multiple_of(STRIDE_ALIGN);
            *plane = PlaneLayout { offset, stride, width, height };
            offset += stride * height as usize;
        }
        Ok(Self { format, width, height, planes, plane_count: parts.len(), total_bytes: offset })
    }

    /// Bytes of one sample of plane `index`: of a pixel in packed formats, of a pair in NV12's second plane.
    #[must_use]
    pub const fn sample_bytes(&self, index: usize) -> usize {
        match self.format {
            PixelFormat::Bgr24 | PixelFormat::Rgb24 => 3,
            PixelFormat::Bgra => 4,
            PixelFormat::Nv12 if index == 1 => 2,
            PixelFormat::Gray8 | PixelFormat::I420 | PixelFormat::Nv12 => 1,
        }
    }

    /// Layout of what a processor wants of a picture of size `source`: a side of 0 follows from the other one and the
    /// picture's aspect, as far as 1 to [`SIDE_MAX`] go; two sides of 0 mean the picture's own size.
    ///
    /// # Errors
    /// [`LayoutError::Side`] when a side of the picture is 0, or one that is wanted is above [`SIDE_MAX`].
    pub fn for_want(source: PictureSize, want: &Want) -> Result<Self, LayoutError> {
        if source.width == 0 || source.height == 0 {
            return Err(LayoutError::Side { width: source.width, height: source.height });
        }
        let (width, height) = match (want.width, want.height) {
            (0, 0) => (source.width, source.height),
            (width, 0) => (width, follow(width, source.height, source.width)),
            (0, height) => (follow(height, source.width, source.height), height),
            sides => sides,
        };
        Self::new(want.format, width, height)
    }
}

/// `side` times `numerator / denominator`, rounded, within 1 to [`SIDE_MAX`]: a picture one pixel wide has no usable
/// aspect, and its processor shall still get it.
fn follow(side: u32, numerator: u32, denominator: u32) -> u32 {
    let scaled = (u64::from(side) * u64::from(numerator) + u64::from(denominator) / 2) / u64::from(denominator);
    u32::try_from(scaled).unwrap_or(SIDE_MAX).clamp(1, SIDE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [PixelFormat; 6] = [
        PixelFormat::Bgr24,
        PixelFormat::Rgb24,
        PixelFormat::Bgra,
        PixelFormat::Gray8,
        PixelFormat::I420,
        PixelFormat::Nv12,
    ];

    #[test]
    fn planes_are_aligned_and_follow_each_other() {
        for format in FORMATS {
            for (width, height) in [(1, 1), (3, 5), (640, 480), (641, 479), (SIDE_MAX, 1), (SIDE_MAX, SIDE_MAX)] {
                let layout = Layout::new(format, width, height).unwrap();
                let mut end = 0;
                for plane in &layout.planes[..layout.plane_count] {
                    assert_eq!(plane.offset, end);
                    assert_eq!(plane.offset % STRIDE_ALIGN, 0);
                    assert_eq!(plane.stride % STRIDE_ALIGN, 0);
                    end = plane.range().end;
                }
                assert_eq!(layout.total_bytes, end);
                assert_eq!(layout.planes[layout.plane_count..].iter().filter(|p| p.stride != 0).count(), 0);
            }
        }
    }

    #[test]
    fn sides_outside_the_limit_are_refused() {
        for (width, height) in [(0, 1), (1, 0), (SIDE_MAX + 1, 1), (1, u32::MAX)] {
            assert_eq!(Layout::new(PixelFormat::Bgr24, width, height), Err(LayoutError::Side { width, height }));
        }
        let source = PictureSize { width: 640, height: 480 };
        let want = Want { width: SIDE_MAX + 1, ..Want::default() };
        assert!(Layout::for_want(source, &want).is_err());
        assert!(Layout::for_want(PictureSize { width: 0, ..source }, &Want::default()).is_err());
    }

    #[test]
    fn a_missing_side_keeps_the_aspect() {
        let check = |source: (u32, u32), want: (u32, u32), expected: (u32, u32)| {
            let source = PictureSize { width: source.0, height: source.1 };
            let want = Want { width: want.0, height: want.1, ..Want::default() };
            let layout = Layout::for_want(source, &want).unwrap();
            assert_eq!((layout.width, layout.height), expected);
        };
        check((640, 480), (0, 0), (640, 480));
        check((640, 480), (320, 0), (320, 240));
        check((640, 480), (0, 120), (160, 120));
        check((640, 480), (100, 100), (100, 100));
        check((1280, 720), (333, 0), (333, 187));
        check((8000, 1), (10, 0), (10, 1));
        check((1, 480), (240, 0), (240, SIDE_MAX));
        check((SIDE_MAX, 1), (0, SIDE_MAX), (SIDE_MAX, SIDE_MAX));
    }
}
