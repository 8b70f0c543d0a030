//! Pictures that are VP8 to everyone but a decoder, and carry their number.

const NUMBER_AT: usize = 10;
const KEYFRAME_BYTES: usize = 20_000;
const INTERFRAME_BYTES: usize = 3_600;

pub(crate) fn picture(number: u32, keyframe: bool) -> Vec<u8> {
    let mut data = if keyframe {
        vec![0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01]
    } else {
        vec![0x11, 0x02, 0x00, 0, 0, 0, 0, 0, 0, 0]
    };
    data.extend(number.to_le_bytes());
    data.resize(if keyframe { KEYFRAME_BYTES } else { INTERFRAME_BYTES }, 0x55);
    data
}

pub(crate) fn number(data: &[u8]) -> u32 {
    u32::from_le_bytes(data[NUMBER_AT..NUMBER_AT + 4].try_into().unwrap())
}
