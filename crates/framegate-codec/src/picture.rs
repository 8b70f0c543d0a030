//! Decoded pictures: borrowed planes, and an owned image for those who make pictures.

use framegate_wire::{PictureSize, PixelFormat};

use crate::layout::{Layout, LayoutError};

/// Bytes of one component.
#[derive(Debug, Clone, Copy)]
pub struct PlaneRef<'a> {
    /// From the first byte of the first row to at least the last byte of the last; rows may have padding between them.
    pub data: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// Coefficients between Y'CbCr and R'G'B'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Matrix {
    /// ITU-R BT.601, what webcams and VP8 use.
    Bt601,
    /// ITU-R BT.709, usual for HD cameras.
    Bt709,
}

/// Which codes black and white have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Range {
    /// Luma 16 to 235, chroma 16 to 240.
    Limited,
    /// 0 to 255.
    Full,
}

/// A decoded picture in I420: planes Y, U, V, chroma halved both ways and rounded up.
///
/// Borrowed from whoever decoded or drew it, until that one's next picture.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// Size in luma samples.
    pub size: PictureSize,
    /// Y, U and V.
    pub planes: [PlaneRef<'a>; 3],
    /// Colour matrix of the stream.
    pub matrix: Matrix,
    /// Code range of the stream.
    pub range: Range,
}

impl PlaneRef<'_> {
    /// Row `y`, `width` bytes of it.
    pub(crate) fn row(&self, y: usize, width: usize) -> &[u8] {
        &self.data[y * self.stride..][..width]
    }

    /// Whether `height` rows of `width` bytes lie inside `data`.
    pub(crate) fn holds(&self, width: u32, height: u32) -> bool {
        let (width, rows) = (width as usize, height as usize);
        let needed = rows.checked_sub(1).and_then(|rows| rows.checked_mul(self.stride)?.checked_add(width));
        width <= self.stride && needed.is_some_and(|needed| needed <= self.data.len())
    }
}

impl Picture<'_> {
    /// Width and height of plane `index`, in samples.
    pub(crate) const fn plane_size(&self, index: usize) -> (u32, u32) {
        i420_plane_size(self.size, index)
    }

    /// Whether every plane is as large as `size` says.
    pub(crate) fn is_whole(&self) -> bool {
        self.planes.iter().enumerate().all(|(index, plane)| {
            let (width, height) = self.plane_size(index);
            width > 0 && height > 0 && plane.holds(width, height)
        })
    }
}

/// Width and height of plane `index` of an I420 picture.
pub(crate) const fn i420_plane_size(size: PictureSize, index: usize) -> (u32, u32) {
    if index == 0 { (size.width, size.height) } else { (size.width.div_ceil(2), size.height.div_ceil(2)) }
}

/// A picture that owns its bytes: BT.601, limited range, rows at strides of 64.
#[derive(Debug, Clone)]
pub struct I420Image {
    layout: Layout,
    data: Vec<u8>,
}

impl I420Image {
    /// An image whose samples are all 0.
    ///
    /// # Errors
    /// [`LayoutError::Side`] when a side is 0 or above the limit.
    pub fn new(size: PictureSize) -> Result<Self, LayoutError> {
        let layout = Layout::new(PixelFormat::I420, size.width, size.height)?;
        Ok(Self { layout, data: vec![0; layout.total_bytes] })
    }

    /// Its size.
    #[must_use]
    pub const fn size(&self) -> PictureSize {
        PictureSize { width: self.layout.width, height: self.layout.height }
    }

    /// Borrows it as a picture.
    #[must_use]
    pub fn picture(&self) -> Picture<'_> {
        let planes = self.layout.planes;
        let plane = |index: usize| PlaneRef { data: &self.data[planes[index].range()], stride: planes[index].stride };
        Picture {
            size: self.size(),
            planes: [plane(0), plane(1), plane(2)],
            matrix: Matrix::Bt601,
            range: Range::Limited,
        }
    }

    /// Rows of plane `index` (0 Y, 1 U, 2 V), without their padding.
    pub fn rows_mut(&mut self, index: usize) -> impl Iterator<Item = &mut [u8]> {
        let plane = self.layout.planes[index];
        let width = plane.width as usize;
        self.data[plane.range()].chunks_exact_mut(plane.stride).map(move |row| &mut row[..width])
    }
}
