//! Hot path: pictures to the bytes a processor wants. Allocates only when its scratch grows.

use framegate_wire::limits::SIDE_MAX;
use framegate_wire::{PictureSize, PixelFormat};
use yuv::{YuvPlanarImage, YuvRange, YuvStandardMatrix};

use crate::ffi::libyuv::{self, Source, Target};
use crate::layout::{Layout, PlaneLayout};
use crate::picture::{I420Image, Matrix, Picture, PlaneRef, Range};

/// Why a picture was not converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A plane of the picture is smaller than its size says.
    #[error("a plane of the picture is incomplete")]
    Source,
    /// The layout did not come from [`Layout::new`].
    #[error("the layout is not one of this program's")]
    Layout,
    /// The output is shorter than the layout.
    #[error("output of {size} bytes is shorter than the {needed} of its layout")]
    Output {
        /// Bytes given.
        size: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// No memory to scale.
    #[error("no memory to scale")]
    Memory,
    /// The conversion refused its arguments.
    #[error("the colour conversion refused its arguments")]
    Refused,
}

/// Scales and converts pictures, and keeps the memory between them.
#[derive(Debug, Default)]
pub struct Converter {
    scratch: Vec<u8>,
    stages: [Vec<u8>; STAGE_COUNT],
}

/// Largest shrink of a side in one step: libyuv divides a box's sum by its area with 16 binary places, rounded down, so
/// that boxes above 16 x 16 samples come out visibly darker, and those above 65 536 samples black.
const SHRINK_MAX: u32 = 16;

/// Shrink of a side in a step before the last: boxes of 8 x 8.
const STAGE_SHRINK: u32 = 8;

/// Steps before the last that the largest shrink takes.
const STAGE_COUNT: usize = 3;

const _: () = assert!(STAGE_COUNT == 3 && SHRINK_MAX * STAGE_SHRINK.pow(3) >= SIDE_MAX);

impl Converter {
    /// A converter that owns nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { scratch: Vec::new(), stages: [const { Vec::new() }; STAGE_COUNT] }
    }

    /// Writes `picture` into `out` as `layout` says: scaled first, because I420 is half the bytes, then converted.
    ///
    /// Scaling averages boxes where a side shrinks below half and is bilinear otherwise. Chroma is repeated, not
    /// interpolated. `Gray8` is luma stretched to the full range; `I420` and `Nv12` keep the stream's codes. Writes only
    /// the pixels of `out`: bytes between the end of a row and the next one, and beyond the layout, stay as they are.
    ///
    /// # Errors
    /// [`ConvertError`]; `out` may then be partly written.
    pub fn convert(&mut self, picture: &Picture<'_>, layout: &Layout, out: &mut [u8]) -> Result<(), ConvertError> {
        if !picture.is_whole() {
            return Err(ConvertError::Source);
        }
        if Layout::new(layout.format, layout.width, layout.height) != Ok(*layout) {
            return Err(ConvertError::Layout);
        }
        if out.len() < layout.total_bytes {
            return Err(ConvertError::Output { size: out.len(), needed: layout.total_bytes });
        }
        let size = PictureSize { width: layout.width, height: layout.height };
        let picture = &reduce(picture, size, &mut self.stages)?;
        match layout.format {
            PixelFormat::Gray8 => {
                fit_plane(picture, 0, &layout.planes[0], out)?;
                if picture.range == Range::Limited {
                    rows_mut(out, &layout.planes[0], 1).for_each(stretch);
                }
                Ok(())
            }
            PixelFormat::I420 => (0..3).try_for_each(|index| fit_plane(picture, index, &layout.planes[index], out)),
            PixelFormat::Nv12 => {
                let source = fit(picture, size, &mut self.scratch)?;
                copy_rows(&source, 0, &layout.planes[0], out);
                interleave(&source, &layout.planes[1], out);
                Ok(())
            }
            PixelFormat::Bgr24 | PixelFormat::Rgb24 | PixelFormat::Bgra => {
                to_packed(&fit(picture, size, &mut self.scratch)?, layout, out)
            }
        }
    }
}

/// Runs each kind of step once, so that what they probe and bind is there before a fork.
pub(crate) fn warm_up() {
    let Ok(image) = I420Image::new(PictureSize { width: 4, height: 4 }) else { return };
    let Ok(layout) = Layout::new(PixelFormat::Bgr24, 1, 1) else { return };
    let mut out = vec![0; layout.total_bytes];
    // Cannot fail with these sizes; and if it did, the first real picture would say so.
    let _ = Converter::new().convert(&image.picture(), &layout, &mut out);
}

/// The picture small enough for one last step to `size`: itself, or shrunk into the stages, one after the other.
fn reduce<'a>(
    picture: &Picture<'a>,
    size: PictureSize,
    stages: &'a mut [Vec<u8>],
) -> Result<Picture<'a>, ConvertError> {
    let near = |from: u32, to: u32| from <= to.saturating_mul(SHRINK_MAX);
    if near(picture.size.width, size.width) && near(picture.size.height, size.height) {
        return Ok(*picture);
    }
    // A decoded picture is never larger than what the stages are counted for; others are refused.
    let (stage, rest) = stages.split_first_mut().ok_or(ConvertError::Source)?;
    // As large as the last step allows: libyuv's boxes begin at whole samples, and many small ones err less.
    let next = |from: u32, to: u32| {
        if near(from, to) { to.min(from) } else { from.div_ceil(STAGE_SHRINK).max(to * SHRINK_MAX) }
    };
    let (width, height) = (next(picture.size.width, size.width), next(picture.size.height, size.height));
    let step = PictureSize { width, height };
    reduce(&fit(picture, step, stage)?, size, rest)
}

/// The picture in this size: itself, or scaled into `memory`.
fn fit<'a>(picture: &Picture<'a>, size: PictureSize, memory: &'a mut Vec<u8>) -> Result<Picture<'a>, ConvertError> {
    if picture.size == size {
        return Ok(*picture);
    }
    let scaled = Layout::new(PixelFormat::I420, size.width, size.height).map_err(|_| ConvertError::Source)?;
    if memory.len() < scaled.total_bytes {
        memory.resize(scaled.total_bytes, 0);
    }
    (0..3).try_for_each(|index| fit_plane(picture, index, &scaled.planes[index], memory))?;
    let plane = |index: usize| {
        let plane: PlaneLayout = scaled.planes[index];
        PlaneRef { data: &memory[plane.range()], stride: plane.stride }
    };
    Ok(Picture { size, planes: [plane(0), plane(1), plane(2)], ..*picture })
}

/// Copies or scales plane `index` of the picture to its place in `out`.
fn fit_plane(picture: &Picture<'_>, index: usize, to: &PlaneLayout, out: &mut [u8]) -> Result<(), ConvertError> {
    let (width, height) = picture.plane_size(index);
    if (width, height) == (to.width, to.height) {
        copy_rows(picture, index, to, out);
        return Ok(());
    }
    let source = Source { plane: picture.planes[index], width, height };
    let target = Target { data: &mut out[to.range()], stride: to.stride, width: to.width, height: to.height };
    libyuv::scale_plane(source, target).map_err(|_| ConvertError::Memory)
}

fn copy_rows(picture: &Picture<'_>, index: usize, to: &PlaneLayout, out: &mut [u8]) {
    for (y, row) in rows_mut(out, to, 1).enumerate() {
        row.copy_from_slice(picture.planes[index].row(y, row.len()));
    }
}

fn interleave(picture: &Picture<'_>, to: &PlaneLayout, out: &mut [u8]) {
    let width = to.width as usize;
    for (y, row) in rows_mut(out, to, 2).enumerate() {
        let samples = picture.planes[1].row(y, width).iter().zip(picture.planes[2].row(y, width));
        for (pair, (u, v)) in row.chunks_exact_mut(2).zip(samples) {
            pair[0] = *u;
            pair[1] = *v;
        }
    }
}

/// Limited-range luma to full range, exactly rounded: `(y - 16) * 255 / 219` within 0 to 255.
///
/// Written for 16-bit vector lanes: 255/219 is 298/256 and, of the rest, 22/65536, of which only whole 256ths matter.
/// Nothing can overflow (219 * 298 + 18 + 128 is 65 408); the operations say so (`wrapping_…`), because a check in the
/// loop, which this program's release build has, would keep it from becoming vector instructions.
fn stretch(row: &mut [u8]) {
    for sample in row {
        let luma = u16::from(sample.saturating_sub(16).min(219));
        let stretched = luma.wrapping_mul(298).wrapping_add(luma.wrapping_mul(22) >> 8);
        let rounded = (stretched.wrapping_add(128) >> 8) as u8;
        *sample = rounded;
    }
}

fn rows_mut<'a>(out: &'a mut [u8], plane: &PlaneLayout, sample_bytes: usize) -> impl Iterator<Item = &'a mut [u8]> {
    let row_bytes = plane.width as usize * sample_bytes;
    out[plane.range()].chunks_exact_mut(plane.stride).map(move |row| &mut row[..row_bytes])
}

fn to_packed(picture: &Picture<'_>, layout: &Layout, out: &mut [u8]) -> Result<(), ConvertError> {
    let stride = |bytes: usize| u32::try_from(bytes).map_err(|_| ConvertError::Refused);
    let [y, u, v] = picture.planes;
    let image = YuvPlanarImage {
        y_plane: y.data,
        y_stride: stride(y.stride)?,
        u_plane: u.data,
        u_stride: stride(u.stride)?,
        v_plane: v.data,
        v_stride: stride(v.stride)?,
        width: layout.width,
        height: layout.height,
    };
    let matrix = match picture.matrix {
        Matrix::Bt601 => YuvStandardMatrix::Bt601,
        Matrix::Bt709 => YuvStandardMatrix::Bt709,
    };
    let range = match picture.range {
        Range::Limited => YuvRange::Limited,
        Range::Full => YuvRange::Full,
    };
    let convert = match layout.format {
        PixelFormat::Bgr24 => yuv::yuv420_to_bgr,
        PixelFormat::Rgb24 => yuv::yuv420_to_rgb,
        _ => yuv::yuv420_to_bgra,
    };
    let plane = &layout.planes[0];
    convert(&image, &mut out[plane.range()], stride(plane.stride)?, range, matrix).map_err(|_| ConvertError::Refused)
}
