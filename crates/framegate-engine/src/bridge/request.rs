//! What an engine asks, read at the other end: twin of the writing half of `packet.rs`. Nothing in it is trusted, because
//! the engine decodes what strangers send.

use framegate_abi as abi;
use framegate_codec::Layout;
use serde::Deserialize;

use super::{
    description::pixel_format,
    packet::{Ask, IMAGE_WANTED, PROCESS_BYTES, REQUEST_BYTES},
};

/// What an instance is made with.
#[derive(Debug, Deserialize)]
pub(super) struct Create {
    pub(super) stream: String,
    pub(super) seed: u64,
}

/// A new value of a parameter.
#[derive(Debug, Deserialize)]
pub(super) struct Set {
    pub(super) index: usize,
    pub(super) value: serde_json::Value,
}

/// What is asked, of which processor, and the body.
pub(super) fn parse(packet: &[u8]) -> Option<(Ask, u32, &[u8])> {
    let (head, body) = packet.split_at_checked(REQUEST_BYTES)?;
    let ask = match number(head, 0)? {
        1 => Ask::Create,
        2 => Ask::Set,
        3 => Ask::Start,
        4 => Ask::Load,
        5 => Ask::Save,
        6 => Ask::Receive,
        7 => Ask::Configure,
        8 => Ask::Process,
        9 => Ask::Destroy,
        _ => return None,
    };
    Some((ask, number(head, 4)?, body))
}

/// Version and bytes of a state that lies in the frames' memory.
pub(super) fn state<'a>(body: &[u8], memory: &'a [u8]) -> Option<(u32, &'a [u8])> {
    let (offset, length) = (usize::try_from(long(body, 8)?).ok()?, usize::try_from(long(body, 16)?).ok()?);
    Some((number(body, 0)?, memory.get(offset..offset.checked_add(length)?)?))
}

/// What frames will be like.
pub(super) fn config(body: &[u8]) -> Option<abi::Config> {
    Some(abi::Config {
        struct_size: size_of_u32::<abi::Config>(),
        format: number(body, 0)?,
        width: number(body, 4)?,
        height: number(body, 8)?,
        source_width: number(body, 12)?,
        source_height: number(body, 16)?,
    })
}

/// A frame whose planes lie in `memory`, and whether its picture is wanted. `packet` is the whole request.
pub(super) fn frame(packet: &[u8], memory: &mut [u8]) -> Option<(abi::Frame, bool)> {
    if packet.len() != PROCESS_BYTES {
        return None;
    }
    let flags = number(packet, 8)?;
    let (format, width, height) = (number(packet, 12)?, number(packet, 16)?, number(packet, 20)?);
    let layout = Layout::new(pixel_format(format)?, width, height).ok()?;
    let empty = abi::Plane { data: std::ptr::null_mut(), stride_bytes: 0, width: 0, height: 0 };
    let mut planes = [empty; 4];
    for (index, (plane, expected)) in planes.iter_mut().zip(&layout.planes[..layout.plane_count]).enumerate() {
        let at = PLANES_AT + index * PLANE_BYTES;
        let same = number(packet, at + 8)? as usize == expected.stride
            && (number(packet, at + 12)?, number(packet, at + 16)?) == (expected.width, expected.height);
        let offset = usize::try_from(long(packet, at)?).ok().filter(|_| same)?;
        let length = expected.stride * expected.height as usize;
        let bytes = memory.get_mut(offset..offset.checked_add(length)?)?;
        *plane = abi::Plane {
            data: bytes.as_mut_ptr(),
            stride_bytes: i64::try_from(expected.stride).ok()?,
            width: expected.width,
            height: expected.height,
        };
    }
    let signed = |at| Some(long(packet, at)?.cast_signed());
    let frame = abi::Frame {
        struct_size: size_of_u32::<abi::Frame>(),
        flags: flags & !IMAGE_WANTED,
        seq: long(packet, 48)?,
        rtp_ts: number(packet, 24)?,
        dropped_before: number(packet, 28)?,
        capture_us: signed(56)?,
        received_ns: signed(64)?,
        deadline_ns: signed(72)?,
        format,
        width,
        height,
        rotation: number(packet, 40)?,
        matrix: number(packet, 32)?,
        range: number(packet, 36)?,
        plane_count: u32::try_from(layout.plane_count).ok()?,
        reserved: 0,
        planes,
    };
    Some((frame, flags & IMAGE_WANTED != 0))
}

/// Where the planes begin in a request to process a frame, in bytes; `now` lies before them.
const PLANES_AT: usize = 88;
/// Bytes of one of them.
const PLANE_BYTES: usize = 24;

const _: () = assert!(PLANES_AT + 3 * PLANE_BYTES == PROCESS_BYTES);

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

const fn size_of_u32<T>() -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "structs of the interface have some hundred bytes")]
    let size = size_of::<T>() as u32;
    size
}

#[cfg(test)]
mod tests {
    use framegate_wire::PixelFormat;

    use super::*;
    use crate::bridge::packet;

    /// A frame of 64x48 at `offset` of `memory`.
    fn sample(memory: &mut [u8], offset: usize, format: PixelFormat) -> abi::Frame {
        let layout = Layout::new(format, 64, 48).unwrap();
        let empty = abi::Plane { data: std::ptr::null_mut(), stride_bytes: 0, width: 0, height: 0 };
        let mut planes = [empty; 4];
        for (plane, from) in planes.iter_mut().zip(&layout.planes[..layout.plane_count]) {
            let data = memory[offset + from.offset..].as_mut_ptr();
            *plane = abi::Plane { data, stride_bytes: from.stride as i64, width: from.width, height: from.height };
        }
        abi::Frame {
            struct_size: 0,
            flags: abi::FRAME_WRITABLE,
            seq: 1 << 40,
            rtp_ts: 5,
            dropped_before: 6,
            capture_us: abi::CAPTURE_UNKNOWN,
            received_ns: 7,
            deadline_ns: 8,
            format: format as u32,
            width: 64,
            height: 48,
            rotation: 0,
            matrix: abi::MATRIX_BT709,
            range: abi::RANGE_FULL,
            plane_count: u32::try_from(layout.plane_count).unwrap(),
            reserved: 0,
            planes,
        }
    }

    #[test]
    fn frames_are_read_as_they_are_written() {
        let mut memory = vec![0; 100_000];
        let base = memory.as_ptr() as usize;
        for format in [PixelFormat::Bgr24, PixelFormat::I420, PixelFormat::Nv12] {
            let frame = sample(&mut memory, 640, format);
            let packet = packet::process(3, &frame, base, 9, true).unwrap();
            let (ask, number, _) = parse(&packet).unwrap();
            assert_eq!((ask, number), (Ask::Process, 3));
            let (read, is_wanted) = super::frame(&packet, &mut memory).unwrap();
            assert!(is_wanted);
            let written = abi::Frame { struct_size: size_of_u32::<abi::Frame>(), ..frame };
            assert_eq!(format!("{read:?}"), format!("{written:?}"));
        }
    }

    #[test]
    fn frames_outside_of_the_memory_are_refused() {
        let mut memory = vec![0; 100_000];
        let base = memory.as_ptr() as usize;
        let frame = sample(&mut memory, 640, PixelFormat::I420);
        let packet = packet::process(0, &frame, base, 0, false).unwrap();
        assert!(super::frame(&packet, &mut memory).is_some());
        // Each field that says where a plane is or how large the frame is.
        for at in [12, 16, 20, PLANES_AT, PLANES_AT + 8, PLANES_AT + 12, PLANES_AT + 2 * PLANE_BYTES] {
            let mut bad = packet;
            bad[at + 3] = 0x40;
            assert!(super::frame(&bad, &mut memory).is_none(), "field at {at}");
        }
        assert!(super::frame(&packet, &mut memory[..640 + 64 * 48]).is_none(), "memory that ends within the frame");
        assert!(super::frame(&packet[..PROCESS_BYTES - 1], &mut memory).is_none());
        let body = packet::load_body(2, 99_990, 10);
        assert_eq!(state(&body, &memory).map(|(version, bytes)| (version, bytes.len())), Some((2, 10)));
        assert!(state(&packet::load_body(2, 99_990, 11), &memory).is_none());
        assert!(state(&packet::load_body(2, usize::MAX, 2), &memory).is_none());
        assert!(parse(&[0; 8]).is_none() && parse(&[1, 0, 0, 0]).is_none());
    }
}
