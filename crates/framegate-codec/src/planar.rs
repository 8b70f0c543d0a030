//! Pictures of any format as I420 bytes in memory of the caller's.

use framegate_wire::{PictureSize, PixelFormat};
use yuv::{BufferStoreMut, YuvConversionMode, YuvPlanarImageMut, YuvRange, YuvStandardMatrix};

use crate::image::Image;
use crate::layout::Layout;
use crate::picture::{Matrix, Picture, PlaneRef, Range};

/// The I420 picture that lies in `bytes` as `layout` says; `None` when they are fewer, or arranged otherwise.
#[must_use]
pub fn i420_in<'a>(bytes: &'a [u8], layout: &Layout, matrix: Matrix, range: Range) -> Option<Picture<'a>> {
    if layout.format != PixelFormat::I420 || bytes.len() < layout.total_bytes {
        return None;
    }
    let plane = |index: usize| {
        let plane = layout.planes[index];
        PlaneRef { data: &bytes[plane.range()], stride: plane.stride }
    };
    let size = PictureSize { width: layout.width, height: layout.height };
    Some(Picture { size, planes: [plane(0), plane(1), plane(2)], matrix, range })
}

/// Copies a picture into `bytes`, arranged as the I420 layout that is returned; `None` when they do not hold it.
#[must_use]
pub fn copy_i420(picture: &Picture<'_>, bytes: &mut [u8]) -> Option<Layout> {
    let layout = layout_within(picture.size.width, picture.size.height, bytes)?;
    if !picture.is_whole() {
        return None;
    }
    for (from, to) in picture.planes.iter().zip(&layout.planes) {
        let width = to.width as usize;
        for (y, row) in bytes[to.range()].chunks_mut(to.stride).enumerate() {
            row[..width].copy_from_slice(from.row(y, width));
        }
    }
    Some(layout)
}

/// Converts a picture of any format into `bytes`, arranged as the I420 layout that is returned with what its codes mean;
/// `None` when they do not hold it. Costs about a millisecond for a megapixel, and no memory.
#[must_use]
pub fn image_to_i420(image: &Image, bytes: &mut [u8]) -> Option<(Layout, Matrix, Range)> {
    let from = image.layout();
    let layout = layout_within(from.width, from.height, bytes)?;
    match from.format {
        PixelFormat::Bgr24 | PixelFormat::Rgb24 | PixelFormat::Bgra => {
            packed_to_i420(image, &layout, bytes)?;
            return Some((layout, Matrix::Bt601, Range::Full));
        }
        PixelFormat::Gray8 | PixelFormat::I420 | PixelFormat::Nv12 => {}
    }
    for (index, to) in layout.planes.iter().enumerate() {
        let width = to.width as usize;
        let rows = bytes[to.range()].chunks_mut(to.stride);
        match (from.format, index) {
            (PixelFormat::Gray8, 1..) => rows.for_each(|row| row[..width].fill(128)),
            (PixelFormat::Nv12, 1..) => {
                for (row, pairs) in rows.zip(image.rows(1)) {
                    row.iter_mut().zip(pairs.chunks_exact(2)).for_each(|(to, pair)| *to = pair[index - 1]);
                }
            }
            _ => rows.zip(image.rows(index)).for_each(|(row, from)| row[..width].copy_from_slice(&from[..width])),
        }
    }
    let is_gray = from.format == PixelFormat::Gray8;
    let meaning = if is_gray { (Matrix::Bt601, Range::Full) } else { (image.matrix(), image.range()) };
    Some((layout, meaning.0, meaning.1))
}

fn layout_within(width: u32, height: u32, bytes: &[u8]) -> Option<Layout> {
    Layout::new(PixelFormat::I420, width, height).ok().filter(|layout| layout.total_bytes <= bytes.len())
}

fn packed_to_i420(image: &Image, layout: &Layout, bytes: &mut [u8]) -> Option<()> {
    let from = image.layout();
    let convert = match from.format {
        PixelFormat::Rgb24 => yuv::rgb_to_yuv420,
        PixelFormat::Bgra => yuv::bgra_to_yuv420,
        _ => yuv::bgr_to_yuv420,
    };
    let [y, u, v] = layout.planes;
    let (y_bytes, rest) = bytes[..layout.total_bytes].split_at_mut(u.offset);
    let (u_bytes, v_bytes) = rest.split_at_mut(v.offset - u.offset);
    let stride = |stride: usize| u32::try_from(stride).ok();
    let mut planes = YuvPlanarImageMut::<u8> {
        y_plane: BufferStoreMut::Borrowed(y_bytes),
        y_stride: stride(y.stride)?,
        u_plane: BufferStoreMut::Borrowed(u_bytes),
        u_stride: stride(u.stride)?,
        v_plane: BufferStoreMut::Borrowed(v_bytes),
        v_stride: stride(v.stride)?,
        width: layout.width,
        height: layout.height,
    };
    let packed = image.bytes().get(from.planes[0].range())?;
    let (range, matrix, mode) = (YuvRange::Full, YuvStandardMatrix::Bt601, YuvConversionMode::Balanced);
    convert(&mut planes, packed, stride(from.planes[0].stride)?, range, matrix, mode).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(format: PixelFormat, bytes: &[&[u8]]) -> Image {
        let layout = Layout::new(format, 5, 3).unwrap();
        let mut image = Image::new(layout, Matrix::Bt709, Range::Limited);
        for (index, pixel) in bytes.iter().enumerate() {
            image.rows_mut(index).for_each(|row| row.chunks_mut(pixel.len()).for_each(|to| to.copy_from_slice(pixel)));
        }
        image
    }

    #[test]
    fn every_format_becomes_i420() {
        for (format, pixels, expected) in [
            (PixelFormat::Bgr24, vec![&[0, 0, 255][..]], ([76, 85, 255], Matrix::Bt601, Range::Full)),
            (PixelFormat::Rgb24, vec![&[0, 0, 255][..]], ([29, 255, 107], Matrix::Bt601, Range::Full)),
            (PixelFormat::Bgra, vec![&[255, 255, 255, 255][..]], ([255, 128, 128], Matrix::Bt601, Range::Full)),
            (PixelFormat::Gray8, vec![&[77][..]], ([77, 128, 128], Matrix::Bt601, Range::Full)),
            (PixelFormat::I420, vec![&[1][..], &[2], &[3]], ([1, 2, 3], Matrix::Bt709, Range::Limited)),
            (PixelFormat::Nv12, vec![&[1][..], &[2, 3]], ([1, 2, 3], Matrix::Bt709, Range::Limited)),
        ] {
            let mut bytes = vec![0; 4096];
            let (layout, matrix, range) = image_to_i420(&image(format, &pixels), &mut bytes).unwrap();
            assert_eq!((matrix, range), (expected.1, expected.2), "{format:?}");
            let picture = i420_in(&bytes, &layout, matrix, range).unwrap();
            for (index, plane) in picture.planes.iter().enumerate() {
                let (width, height) = picture.plane_size(index);
                for y in 0..height as usize {
                    for &code in plane.row(y, width as usize) {
                        assert!(code.abs_diff(expected.0[index]) <= 1, "{format:?} {index}: {code}");
                    }
                }
            }
        }
    }

    #[test]
    fn too_little_memory_is_refused() {
        let image = image(PixelFormat::I420, &[&[1], &[2], &[3]]);
        assert!(image_to_i420(&image, &mut [0; 100]).is_none());
        let layout = Layout::new(PixelFormat::I420, 5, 3).unwrap();
        assert!(i420_in(&[0; 100], &layout, Matrix::Bt601, Range::Full).is_none());
        let mut bytes = vec![0; layout.total_bytes];
        let copied = copy_i420(&i420_in(image.bytes(), &layout, Matrix::Bt601, Range::Full).unwrap(), &mut bytes);
        assert_eq!((copied, &bytes[..]), (Some(layout), image.bytes()));
    }
}
