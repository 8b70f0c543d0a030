//! Reads a VP8 frame header (RFC 6386 §9.1) without decoding.

use crate::{Codec, PictureSize, SizeError};

const START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];

/// Whether `data` begins a keyframe: the lowest bit of the frame tag is 0.
#[must_use]
pub fn is_keyframe(data: &[u8]) -> bool {
    data.first().is_some_and(|tag| tag & 1 == 0)
}

/// Size a keyframe claims; `None` for an interframe, which has no size of its own.
///
/// # Errors
/// [`SizeError::Corrupt`] when a keyframe's header is short, has another start code or a side of 0.
pub fn picture_size(data: &[u8]) -> Result<Option<PictureSize>, SizeError> {
    let corrupt = SizeError::Corrupt(Codec::Vp8);
    if data.is_empty() {
        return Err(corrupt);
    }
    if !is_keyframe(data) {
        return Ok(None);
    }
    let header: &[u8; 10] = data.first_chunk().ok_or(corrupt)?;
    if header[3..6] != START_CODE {
        return Err(corrupt);
    }
    // The upper two bits of each field are an upscaling hint for the display (RFC 6386 §9.1), not part of the size.
    let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    let size = PictureSize { width: side(header[6], header[7]), height: side(header[8], header[9]) };
    if size.width == 0 || size.height == 0 { Err(corrupt) } else { Ok(Some(size)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyframe(width: u16, height: u16) -> Vec<u8> {
        let mut data = vec![0x10, 0x02, 0x00];
        data.extend(START_CODE);
        data.extend(width.to_le_bytes());
        data.extend(height.to_le_bytes());
        data
    }

    fn check(data: &[u8], expected: Result<Option<(u32, u32)>, SizeError>) {
        assert_eq!(picture_size(data).map(|size| size.map(|size| (size.width, size.height))), expected);
    }

    #[test]
    fn sizes_are_read_from_keyframes_only() {
        let corrupt = Err(SizeError::Corrupt(Codec::Vp8));
        check(&keyframe(640, 480), Ok(Some((640, 480))));
        check(&keyframe(0x4000 | 640, 0x8000 | 480), Ok(Some((640, 480))));
        check(&keyframe(0x3fff, 0x3fff), Ok(Some((16383, 16383))));
        check(&[0x11, 0, 0, 0], Ok(None));
        check(&[], corrupt);
        check(&keyframe(640, 480)[..9], corrupt);
        check(&keyframe(0, 480), corrupt);
        let mut other = keyframe(640, 480);
        other[4] = 0;
        check(&other, corrupt);
    }

    #[test]
    fn a_bomb_is_refused_before_decoding() {
        let size = picture_size(&keyframe(16383, 16383)).unwrap().unwrap();
        assert!(matches!(size.check(crate::limits::AREA_MAX), Err(SizeError::TooLarge { width: 16383, .. })));
        assert!(PictureSize { width: 4096, height: 2160 }.check(crate::limits::AREA_MAX).is_ok());
        assert!(PictureSize { width: 8193, height: 1 }.check(crate::limits::AREA_MAX).is_err());
    }
}
