//! The packets of a bridge: little-endian numbers of fixed places, then a body. The other end's twins are
//! `sdk/python/framegate/_bridge.py` and, for libraries, `request.rs`.

use framegate_abi as abi;
use framegate_wire::{Want, limits::SIDE_MAX};

use super::description::pixel_format;
use crate::instance::Wanted;

/// Longest body inside a packet, in bytes; a longer one lies at the beginning of the area.
pub(crate) const INLINE_BYTES_MAX: usize = 32 << 10;

/// Where bodies end and pictures begin in the area, in bytes: a result with all detections and all their points fits.
pub(crate) const PICTURE_OFFSET: usize = 1 << 20;

/// Bytes of a reply before its body.
pub(crate) const REPLY_BYTES: usize = 48;

/// Longest packet in either direction, in bytes.
pub(crate) const PACKET_BYTES_MAX: usize = REPLY_BYTES + INLINE_BYTES_MAX;

/// Bytes of a request before its body.
pub(crate) const REQUEST_BYTES: usize = 8;

/// Bytes of a request to process a frame.
pub(crate) const PROCESS_BYTES: usize = 160;

/// Flag beside those of [`abi::Frame`]: somebody looks at the frame's picture.
pub(crate) const IMAGE_WANTED: u32 = 1 << 16;

/// In [`Reply::extra`] of a result: the picture in the area is laid out as an image of ours, and its colours are BT.709.
pub(crate) const PICTURE_BT709: u32 = 1 << 1;

/// As [`PICTURE_BT709`]: the frame's outcome is an error, which comes with the detections.
pub(crate) const FAILED: u32 = 1 << 3;

/// As [`PICTURE_BT709`]: its codes use their full range.
pub(crate) const PICTURE_FULL: u32 = 1 << 2;

/// What is asked of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Ask {
    /// Makes an instance; the body is JSON.
    Create = 1,
    /// Sets a parameter; the body is JSON.
    Set = 2,
    /// The parameters are set: runs the author's own initialisation.
    Start = 3,
    /// Loads a state that lies in the frames' memory.
    Load = 4,
    /// Asks for the state.
    Save = 5,
    /// A message of the page; the body is JSON.
    Receive = 6,
    /// Announces frames of another size or format.
    Configure = 7,
    /// One frame.
    Process = 8,
    /// The last call.
    Destroy = 9,
}

/// What the other end says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tell {
    /// It is done.
    Done,
    /// It is refused; the body is JSON of a code and a text.
    Refused,
    /// A frame's result; the bodies are detections and data.
    Result,
    /// The state; the body is its bytes.
    Saved,
    /// Unasked: a line for the log, its level in `extra`.
    Log,
    /// Unasked: a message for the page.
    Send,
    /// Unasked: a library wants other frames from now on; the body is [`want_body`].
    Want,
    /// From who watches the other end: it is dead; the body is JSON.
    Died,
}

/// Where the picture that goes with a result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drawn {
    /// There is none.
    Nothing,
    /// The frame, as it was left.
    Frame,
    /// In the area; without a size when nobody wanted it, and without a stride when it is laid out as an image of ours.
    Area { format: u32, width: u32, height: u32, stride_bytes: u32 },
}

/// The fixed part of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) tell: Tell,
    /// Place of the processor among those of the other end.
    pub(crate) processor: u32,
    /// Version of a state, level of a line.
    pub(crate) extra: u32,
    /// Whether the bodies are in the packet.
    pub(crate) is_inline: bool,
    /// Length of the first body, in bytes.
    pub(crate) first_bytes: usize,
    /// Length of the second, which follows it.
    pub(crate) second_bytes: usize,
    pub(crate) drawn: Drawn,
}

/// A request without numbers of its own.
pub(crate) fn request(ask: Ask, processor: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(REQUEST_BYTES + body.len());
    packet.extend_from_slice(&(ask as u32).to_le_bytes());
    packet.extend_from_slice(&processor.to_le_bytes());
    packet.extend_from_slice(body);
    packet
}

/// The body of [`Ask::Load`]: where the state lies in the frames' memory.
pub(crate) fn load_body(version: u32, offset: usize, length: usize) -> [u8; 24] {
    let mut fields = Fields::<24>::new();
    fields.put32(version).put32(0).put64(offset as u64).put64(length as u64);
    fields.bytes
}

/// The body of [`Ask::Configure`].
pub(crate) fn configure_body(config: &abi::Config) -> [u8; 20] {
    let mut fields = Fields::<20>::new();
    fields.put32(config.format).put32(config.width).put32(config.height);
    fields.put32(config.source_width).put32(config.source_height);
    fields.bytes
}

/// A request to process `frame`, whose planes lie in memory that begins at address `base`; `None` when they do not.
pub(crate) fn process(
    processor: u32,
    frame: &abi::Frame,
    base: usize,
    now_ns: i64,
    is_image_wanted: bool,
) -> Option<[u8; PROCESS_BYTES]> {
    let mut fields = Fields::<PROCESS_BYTES>::new();
    let flags = frame.flags | if is_image_wanted { IMAGE_WANTED } else { 0 };
    fields.put32(Ask::Process as u32).put32(processor).put32(flags).put32(frame.format);
    fields.put32(frame.width).put32(frame.height).put32(frame.rtp_ts).put32(frame.dropped_before);
    fields.put32(frame.matrix).put32(frame.range).put32(frame.rotation).put32(frame.plane_count);
    fields.put64(frame.seq);
    for time in [frame.capture_us, frame.received_ns, frame.deadline_ns, now_ns] {
        fields.put64(time.cast_unsigned());
    }
    for plane in frame.planes.iter().take(3) {
        let offset = if plane.data.is_null() { 0 } else { (plane.data as usize).checked_sub(base)? };
        fields.put64(offset as u64).put32(u32::try_from(plane.stride_bytes).ok()?);
        fields.put32(plane.width).put32(plane.height).put32(0);
    }
    Some(fields.bytes)
}

/// The body of [`Tell::Want`].
pub(crate) fn want_body(Wanted { want, writable }: Wanted) -> [u8; 20] {
    let mut fields = Fields::<20>::new();
    fields.put32(want.width).put32(want.height).put32(want.format as u32);
    fields.put32(want.rate_millihertz).put32(writable.into());
    fields.bytes
}

/// Reads what [`want_body`] wrote.
pub(crate) fn parse_want(body: &[u8]) -> Option<Wanted> {
    let (numbers, rest) = body.as_chunks::<4>();
    let &[width, height, format, rate, writable] = numbers else { return None };
    let [width, height, format, rate_millihertz, writable] =
        [width, height, format, rate, writable].map(u32::from_le_bytes);
    let fits = rest.is_empty() && width <= SIDE_MAX && height <= SIDE_MAX;
    let want = Want { width, height, format: pixel_format(format)?, rate_millihertz };
    fits.then_some(Wanted { want, writable: writable != 0 })
}

impl Reply {
    /// Reads the fixed part of a packet; `None` when it is none, or claims bodies that cannot be.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let head = packet.first_chunk::<REPLY_BYTES>()?;
        let (numbers, _) = head.as_chunks::<4>();
        let number = |place: usize| numbers.get(place).map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let tell = match number(0) {
            1 => Tell::Done,
            2 => Tell::Refused,
            3 => Tell::Result,
            4 => Tell::Saved,
            16 => Tell::Log,
            17 => Tell::Send,
            18 => Tell::Died,
            19 => Tell::Want,
            _ => return None,
        };
        let drawn = match number(6) {
            0 => Drawn::Nothing,
            1 => Drawn::Frame,
            2 => Drawn::Area { format: number(7), width: number(8), height: number(9), stride_bytes: number(10) },
            _ => return None,
        };
        let reply = Self {
            tell,
            processor: number(1),
            extra: number(2),
            is_inline: number(3) != 0,
            first_bytes: number(4) as usize,
            second_bytes: number(5) as usize,
            drawn,
        };
        let total = reply.first_bytes.checked_add(reply.second_bytes)?;
        let fits = if reply.is_inline { total == packet.len() - REPLY_BYTES } else { total <= PICTURE_OFFSET };
        fits.then_some(reply)
    }

    /// A reply of this kind that says nothing more.
    pub(crate) fn of(tell: Tell, processor: u32) -> Self {
        let drawn = Drawn::Nothing;
        Self { tell, processor, extra: 0, is_inline: true, first_bytes: 0, second_bytes: 0, drawn }
    }

    /// The fixed part as the other end writes it.
    pub(crate) fn to_bytes(self) -> [u8; REPLY_BYTES] {
        let mut fields = Fields::<REPLY_BYTES>::new();
        let tell: u32 = match self.tell {
            Tell::Done => 1,
            Tell::Refused => 2,
            Tell::Result => 3,
            Tell::Saved => 4,
            Tell::Log => 16,
            Tell::Send => 17,
            Tell::Died => 18,
            Tell::Want => 19,
        };
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        fields.put32(tell).put32(self.processor).put32(self.extra).put32(self.is_inline.into());
        fields.put32(length(self.first_bytes)).put32(length(self.second_bytes));
        match self.drawn {
            Drawn::Nothing => {}
            Drawn::Frame => {
                fields.put32(1);
            }
            Drawn::Area { format, width, height, stride_bytes } => {
                fields.put32(2).put32(format).put32(width).put32(height).put32(stride_bytes);
            }
        }
        fields.bytes
    }
}

/// Numbers written one after the other.
struct Fields<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Fields<N> {
    fn new() -> Self {
        Self { bytes: [0; N], at: 0 }
    }

    fn put32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    fn put64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_as_they_are_written() {
        let area = Drawn::Area { format: 1, width: 640, height: 480, stride_bytes: 1920 };
        for (tell, drawn) in [(Tell::Done, Drawn::Nothing), (Tell::Result, area), (Tell::Log, Drawn::Frame)] {
            let reply = Reply { tell, processor: 3, extra: 7, is_inline: true, first_bytes: 2, second_bytes: 1, drawn };
            let mut packet = reply.to_bytes().to_vec();
            packet.extend_from_slice(b"[]1");
            assert_eq!(Reply::parse(&packet), Some(reply));
            assert_eq!(Reply::parse(&packet[..packet.len() - 1]), None, "a body shorter than said");
        }
    }

    #[test]
    fn garbage_is_no_reply() {
        let mut state = 0x9e37_79b9_u32;
        for length in (0..REPLY_BYTES + 8).cycle().take(20_000) {
            let packet: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 28) as u8
                })
                .collect();
            if let Some(reply) = Reply::parse(&packet) {
                assert!(reply.first_bytes + reply.second_bytes <= PICTURE_OFFSET);
            }
        }
        let huge = Reply {
            tell: Tell::Result,
            processor: 0,
            extra: 0,
            is_inline: false,
            first_bytes: PICTURE_OFFSET,
            second_bytes: 1,
            drawn: Drawn::Nothing,
        };
        assert_eq!(Reply::parse(&huge.to_bytes()), None);
    }
}
