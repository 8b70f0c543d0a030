//! What processors are told of a picture.

use framegate_abi as abi;
use framegate_codec::{Layout, Matrix, Picture, Range};

use crate::{intake::Call, limits::DEADLINE_NS};

/// The frame a call is made with. `slot` holds the converted picture and must stay borrowed during the call.
pub(super) fn frame(call: &Call, layout: &Layout, picture: &Picture<'_>, slot: &mut [u8]) -> abi::Frame {
    let header = &call.header;
    let signed = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    let empty = abi::Plane { data: std::ptr::null_mut(), stride_bytes: 0, width: 0, height: 0 };
    let mut planes = [empty; 4];
    for (plane, from) in planes.iter_mut().zip(&layout.planes[..layout.plane_count]) {
        *plane = abi::Plane {
            data: slot[from.offset..].as_mut_ptr(),
            stride_bytes: signed(from.stride as u64),
            width: from.width,
            height: from.height,
        };
    }
    abi::Frame {
        struct_size: size_of_u32::<abi::Frame>(),
        flags: if call.resumed { abi::FRAME_RESUMED } else { 0 },
        seq: header.seq.0,
        #[expect(clippy::cast_possible_truncation, reason = "the wire's timestamp is the low half")]
        rtp_ts: header.rtp_time as u32,
        dropped_before: call.dropped_before,
        capture_us: header.capture_us.unwrap_or(abi::CAPTURE_UNKNOWN),
        received_ns: signed(header.received_ns),
        deadline_ns: signed(header.received_ns.saturating_add(DEADLINE_NS)),
        format: layout.format as u32,
        width: layout.width,
        height: layout.height,
        rotation: 0,
        matrix: match picture.matrix {
            Matrix::Bt601 => abi::MATRIX_BT601,
            Matrix::Bt709 => abi::MATRIX_BT709,
        },
        range: match picture.range {
            Range::Limited => abi::RANGE_LIMITED,
            Range::Full => abi::RANGE_FULL,
        },
        plane_count: u32::try_from(layout.plane_count).unwrap_or(0),
        reserved: 0,
        planes,
    }
}

/// The configuration that announces frames of `layout`.
pub(super) fn config(layout: &Layout, picture: &Picture<'_>) -> abi::Config {
    abi::Config {
        struct_size: size_of_u32::<abi::Config>(),
        format: layout.format as u32,
        width: layout.width,
        height: layout.height,
        source_width: picture.size.width,
        source_height: picture.size.height,
    }
}

const fn size_of_u32<T>() -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "structs of the interface have some hundred bytes")]
    let size = size_of::<T>() as u32;
    size
}
