//! YUV4MPEG2, uncompressed I420 with a text header: what FFmpeg and Chromium's fake camera read.

use framegate_wire::PictureSize;

use crate::picture::Picture;

/// The first line of a file: progressive, square pixels, whole pictures per second.
#[must_use]
pub fn header(size: PictureSize, rate_hz: u32) -> String {
    format!("YUV4MPEG2 W{} H{} F{rate_hz}:1 Ip A1:1 C420jpeg\n", size.width, size.height)
}

/// Appends one picture to `out`, its planes without padding.
pub fn write_picture(out: &mut Vec<u8>, picture: &Picture<'_>) {
    out.extend_from_slice(b"FRAME\n");
    for (index, plane) in picture.planes.iter().enumerate() {
        let (width, height) = picture.plane_size(index);
        for y in 0..height as usize {
            out.extend_from_slice(plane.row(y, width as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::I420Image;

    #[test]
    fn planes_are_written_without_padding() {
        let size = PictureSize { width: 3, height: 5 };
        let mut image = I420Image::new(size).unwrap();
        for (index, code) in b"012".iter().enumerate() {
            image.rows_mut(index).for_each(|row| row.fill(*code));
        }
        let mut out = Vec::new();
        write_picture(&mut out, &image.picture());
        assert_eq!(out, b"FRAME\n000000000000000111111222222");
        assert_eq!(header(size, 30), "YUV4MPEG2 W3 H5 F30:1 Ip A1:1 C420jpeg\n");
    }
}
