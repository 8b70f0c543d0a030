//! Pictures that own their bytes, in any format.

use crate::layout::{Layout, PlaneLayout};
use crate::picture::{Matrix, Range};

/// A picture in one of the formats of processors, for those who keep it.
#[derive(Debug, Clone)]
pub struct Image {
    layout: Layout,
    data: Vec<u8>,
    matrix: Matrix,
    range: Range,
}

impl Image {
    /// A picture whose bytes are all 0. `matrix` and `range` matter to I420 and NV12 only.
    #[must_use]
    pub fn new(layout: Layout, matrix: Matrix, range: Range) -> Self {
        Self { layout, data: vec![0; layout.total_bytes], matrix, range }
    }

    /// A copy of bytes arranged as `layout` says; `None` when they are fewer.
    #[must_use]
    pub fn of_bytes(layout: Layout, bytes: &[u8], matrix: Matrix, range: Range) -> Option<Self> {
        Some(Self { layout, data: bytes.get(..layout.total_bytes)?.to_vec(), matrix, range })
    }

    /// Where its bytes lie.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Colour matrix of a planar picture.
    #[must_use]
    pub const fn matrix(&self) -> Matrix {
        self.matrix
    }

    /// Code range of a planar picture.
    #[must_use]
    pub const fn range(&self) -> Range {
        self.range
    }

    /// Rows of plane `index`, without their padding.
    pub fn rows(&self, index: usize) -> impl Iterator<Item = &[u8]> {
        let plane = self.layout.planes[index];
        let length = self.row_bytes(&plane, index);
        self.data[plane.range()].chunks_exact(plane.stride).map(move |row| &row[..length])
    }

    /// Rows of plane `index` for writing, without their padding.
    pub fn rows_mut(&mut self, index: usize) -> impl Iterator<Item = &mut [u8]> {
        let plane = self.layout.planes[index];
        let length = self.row_bytes(&plane, index);
        self.data[plane.range()].chunks_exact_mut(plane.stride).map(move |row| &mut row[..length])
    }

    /// All bytes, as the layout arranges them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    fn row_bytes(&self, plane: &PlaneLayout, index: usize) -> usize {
        plane.width as usize * self.layout.sample_bytes(index)
    }
}
