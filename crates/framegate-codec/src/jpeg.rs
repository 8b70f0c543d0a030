//! Pictures as JPEG files, for people who look at one.

use std::ffi::c_int;

use framegate_wire::limits::SIDE_MAX;
use framegate_wire::{PictureSize, PixelFormat};
use yuv::{BufferStoreMut, YuvChromaSubsampling, YuvConversionMode, YuvPlanarImageMut, YuvRange, YuvStandardMatrix};

use crate::convert::Converter;
use crate::encode::MJPEG_OPTIONS;
use crate::ffi::avcodec::{Context, EncoderOptions, Failure, Frame, Packet};
use crate::image::Image;
use crate::layout::Layout;
use crate::picture::{I420Image, Matrix, Picture, PlaneRef, Range, i420_plane_size};

/// Why there is no JPEG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JpegError {
    /// The picture is incomplete.
    #[error("the picture is incomplete")]
    Picture,
    /// Even at the lowest quality it is too large.
    #[error("the JPEG is larger than {0} bytes at any quality")]
    TooLarge(usize),
    /// FFmpeg has no JPEG encoder, or it failed.
    #[error("FFmpeg cannot encode a JPEG")]
    Encoder,
    /// No memory.
    #[error("no memory to encode a JPEG")]
    Memory,
}

/// Quantisers of libavcodec's encoder, from what others call quality 85 to its worst: the first small enough is taken.
const QUANTISERS: [c_int; 5] = [3, 6, 10, 18, 31];

/// Marks the file as JFIF 1.1 with square pixels: the only form that says which colours its codes mean (full-range
/// BT.601). It stands directly behind the first marker.
const JFIF: [u8; 18] = [0xff, 0xe0, 0, 16, b'J', b'F', b'I', b'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0];

/// First marker of a JPEG.
const START: [u8; 2] = [0xff, 0xd8];

/// A decoded picture as a JPEG of at most `bytes_max` bytes. Costs a few milliseconds.
///
/// # Errors
/// [`JpegError`].
pub fn of_picture(picture: &Picture<'_>, bytes_max: usize) -> Result<Vec<u8>, JpegError> {
    if !picture.is_whole() {
        return Err(JpegError::Picture);
    }
    if picture.range == Range::Full && picture.matrix == Matrix::Bt601 {
        return encode(picture, bytes_max);
    }
    let PictureSize { width, height } = picture.size;
    let layout = Layout::new(PixelFormat::Bgr24, width, height).map_err(|_| JpegError::Picture)?;
    let mut bytes = vec![0; layout.total_bytes];
    Converter::new().convert(picture, &layout, &mut bytes).map_err(|_| JpegError::Picture)?;
    of_packed(&layout, &bytes, bytes_max)
}

/// A picture of any format as a JPEG of at most `bytes_max` bytes. Costs a few milliseconds.
///
/// # Errors
/// [`JpegError`].
pub fn of_image(image: &Image, bytes_max: usize) -> Result<Vec<u8>, JpegError> {
    let layout = image.layout();
    match layout.format {
        PixelFormat::Bgr24 | PixelFormat::Rgb24 | PixelFormat::Bgra => of_packed(layout, image.bytes(), bytes_max),
        PixelFormat::Gray8 | PixelFormat::I420 | PixelFormat::Nv12 => {
            let planar = to_i420(image)?;
            let (range, matrix) = match layout.format {
                PixelFormat::Gray8 => (Range::Full, Matrix::Bt601),
                _ => (image.range(), image.matrix()),
            };
            of_picture(&Picture { range, matrix, ..planar.picture() }, bytes_max)
        }
    }
}

/// The same codes in three planes; grey gets chroma of no colour.
fn to_i420(image: &Image) -> Result<I420Image, JpegError> {
    let layout = image.layout();
    let size = PictureSize { width: layout.width, height: layout.height };
    let mut planar = I420Image::new(size).map_err(|_| JpegError::Picture)?;
    planar.rows_mut(0).zip(image.rows(0)).for_each(|(to, from)| to.copy_from_slice(from));
    for chroma in [1, 2] {
        match layout.format {
            PixelFormat::I420 => {
                planar.rows_mut(chroma).zip(image.rows(chroma)).for_each(|(to, from)| to.copy_from_slice(from));
            }
            PixelFormat::Nv12 => {
                for (to, from) in planar.rows_mut(chroma).zip(image.rows(1)) {
                    to.iter_mut().zip(from.chunks_exact(2)).for_each(|(to, pair)| *to = pair[chroma - 1]);
                }
            }
            _ => planar.rows_mut(chroma).for_each(|row| row.fill(128)),
        }
    }
    Ok(planar)
}

fn of_packed(layout: &Layout, bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, JpegError> {
    let convert = match layout.format {
        PixelFormat::Rgb24 => yuv::rgb_to_yuv420,
        PixelFormat::Bgra => yuv::bgra_to_yuv420,
        _ => yuv::bgr_to_yuv420,
    };
    let (width, height) = (layout.width, layout.height);
    let mut planes = YuvPlanarImageMut::<u8>::alloc(width, height, YuvChromaSubsampling::Yuv420);
    let stride = u32::try_from(layout.planes[0].stride).map_err(|_| JpegError::Picture)?;
    let (range, matrix, mode) = (YuvRange::Full, YuvStandardMatrix::Bt601, YuvConversionMode::Balanced);
    let packed = bytes.get(layout.planes[0].range()).ok_or(JpegError::Picture)?;
    convert(&mut planes, packed, stride, range, matrix, mode).map_err(|_| JpegError::Picture)?;
    let picture = Picture {
        size: PictureSize { width, height },
        planes: [
            plane(&planes.y_plane, planes.y_stride),
            plane(&planes.u_plane, planes.u_stride),
            plane(&planes.v_plane, planes.v_stride),
        ],
        matrix: Matrix::Bt601,
        range: Range::Full,
    };
    encode(&picture, bytes_max)
}

fn plane<'a>(bytes: &'a BufferStoreMut<'_, u8>, stride: u32) -> PlaneRef<'a> {
    PlaneRef { data: bytes.borrow(), stride: stride as usize }
}

/// Encodes full-range BT.601 planes.
fn encode(picture: &Picture<'_>, bytes_max: usize) -> Result<Vec<u8>, JpegError> {
    let failed = |failure| match failure {
        Failure::Memory => JpegError::Memory,
        Failure::Missing | Failure::Refused(_) => JpegError::Encoder,
    };
    let side = |side: u32| c_int::try_from(side.min(SIDE_MAX)).map_err(|_| JpegError::Picture);
    let (width, height) = (side(picture.size.width)?, side(picture.size.height)?);
    let mut frame = Frame::i420(width, height, true).map_err(failed)?;
    for (index, plane) in picture.planes.iter().enumerate() {
        let (width, height) = i420_plane_size(picture.size, index);
        let rows = (0..height as usize).map(|y| plane.row(y, width as usize));
        frame.write_plane(index, rows, (width, height)).map_err(failed)?;
    }
    frame.set_position(0, true);
    let mut packet = Packet::new().map_err(failed)?;
    for quantiser in QUANTISERS {
        let options = EncoderOptions {
            width,
            height,
            rate_hz: 1,
            bit_rate: 0,
            key_interval: 1,
            quantiser: Some(quantiser),
            full_range: true,
            private: MJPEG_OPTIONS,
        };
        let mut context = Context::encoder(c"mjpeg", &options).map_err(failed)?;
        frame.set_quantiser(quantiser);
        context.send_frame(&frame).map_err(failed)?;
        if !context.receive_packet(&mut packet).map_err(failed)? {
            return Err(JpegError::Encoder);
        }
        let rest = packet.data().strip_prefix(&START).ok_or(JpegError::Encoder)?;
        if START.len() + JFIF.len() + rest.len() <= bytes_max {
            return Ok([&START[..], &JFIF, rest].concat());
        }
    }
    Err(JpegError::TooLarge(bytes_max))
}

#[cfg(test)]
mod tests;
