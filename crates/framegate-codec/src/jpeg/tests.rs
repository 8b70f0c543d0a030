use super::*;
use crate::ffi::avcodec::Failure;
use crate::reference;

/// Red, green and blue of each pixel of a JPEG.
fn decode(jpeg: &[u8]) -> (PictureSize, Vec<[u8; 3]>) {
    let read = || -> Result<(PictureSize, Vec<[u8; 3]>), Failure> {
        let mut context = Context::decoder(c"mjpeg")?;
        let (mut packet, mut frame) = (Packet::new()?, Frame::new()?);
        packet.fill(jpeg)?;
        context.send_packet(&packet)?;
        assert!(context.receive_frame(&mut frame)?, "no picture");
        let (width, height) = frame.i420_size().expect("not 4:2:0");
        let size = PictureSize { width, height };
        let plane = |index: usize| {
            let (width, height) = i420_plane_size(size, index);
            frame.plane(index, width, height).expect("a plane")
        };
        let picture =
            Picture { size, planes: [plane(0), plane(1), plane(2)], matrix: Matrix::Bt601, range: Range::Full };
        let rgb = reference::convert(&picture, PixelFormat::Rgb24).remove(0);
        Ok((size, rgb.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()))
    };
    read().expect("a JPEG that decodes")
}

fn check_color(jpeg: &[u8], size: (u32, u32), color: [u8; 3]) {
    assert!(jpeg.starts_with(&[&START[..], &JFIF].concat()) && jpeg.ends_with(&[0xff, 0xd9]));
    let (found, pixels) = decode(jpeg);
    assert_eq!((found.width, found.height), size);
    for pixel in pixels {
        let near = pixel.iter().zip(color).all(|(a, b)| a.abs_diff(b) <= 4);
        assert!(near, "{pixel:?} instead of {color:?}");
    }
}

/// Limits that pictures of these tests never meet.
const LARGE: usize = 1 << 20;

#[test]
fn packed_pictures_keep_their_colours() {
    let color = [200, 100, 50];
    for (format, bytes) in [
        (PixelFormat::Rgb24, &[200, 100, 50][..]),
        (PixelFormat::Bgr24, &[50, 100, 200]),
        (PixelFormat::Bgra, &[50, 100, 200, 255]),
    ] {
        for (width, height) in [(64, 48), (33, 17), (1, 1)] {
            let layout = Layout::new(format, width, height).unwrap();
            let mut image = Image::new(layout, Matrix::Bt601, Range::Full);
            image.rows_mut(0).for_each(|row| row.chunks_exact_mut(bytes.len()).for_each(|p| p.copy_from_slice(bytes)));
            check_color(&of_image(&image, LARGE).unwrap(), (width, height), color);
        }
    }
}

#[test]
fn planar_pictures_mean_what_their_range_says() {
    let expected = |range| reference::to_rgb([120, 90, 160], Matrix::Bt601, range);
    for range in [Range::Limited, Range::Full] {
        for (format, chroma) in [(PixelFormat::I420, &[&[90][..], &[160]][..]), (PixelFormat::Nv12, &[&[90, 160]])] {
            let layout = Layout::new(format, 50, 31).unwrap();
            let mut image = Image::new(layout, Matrix::Bt601, range);
            image.rows_mut(0).for_each(|row| row.fill(120));
            for (index, pair) in (1..).zip(chroma) {
                image
                    .rows_mut(index)
                    .for_each(|row| row.chunks_exact_mut(pair.len()).for_each(|p| p.copy_from_slice(pair)));
            }
            check_color(&of_image(&image, LARGE).unwrap(), (50, 31), expected(range));
        }
    }
    let layout = Layout::new(PixelFormat::Gray8, 50, 31).unwrap();
    let mut gray = Image::new(layout, Matrix::Bt601, Range::Limited);
    gray.rows_mut(0).for_each(|row| row.fill(7));
    check_color(&of_image(&gray, LARGE).unwrap(), (50, 31), [7, 7, 7]);
}

#[test]
fn decoded_pictures_are_shown_as_people_see_them() {
    let mut drawn = I420Image::new(PictureSize { width: 64, height: 64 }).unwrap();
    for (plane, value) in [(0, 235), (1, 128), (2, 128)] {
        drawn.rows_mut(plane).for_each(|row| row.fill(value));
    }
    check_color(&of_picture(&drawn.picture(), LARGE).unwrap(), (64, 64), [255, 255, 255]);
}

#[test]
fn quality_falls_until_the_file_fits() {
    let layout = Layout::new(PixelFormat::Bgr24, 640, 480).unwrap();
    let mut noise = Image::new(layout, Matrix::Bt601, Range::Full);
    let mut state = 1_u32;
    for row in noise.rows_mut(0) {
        for byte in row {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = state.to_be_bytes()[0];
        }
    }
    let best = of_image(&noise, LARGE).unwrap();
    let smaller = of_image(&noise, best.len() / 2).unwrap();
    assert!(smaller.len() <= best.len() / 2);
    assert_eq!(decode(&smaller).0, PictureSize { width: 640, height: 480 });
    assert_eq!(of_image(&noise, 1000), Err(JpegError::TooLarge(1000)));
}
