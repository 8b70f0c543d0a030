//! Framing: `u32` header length, `u32` payload length (little endian), postcard header, raw payload.

use serde::{Serialize, de::DeserializeOwned};

use crate::limits::{HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX};

const PREFIX_BYTES: usize = 8;

/// Why a message cannot be framed or read. The stream is useless afterwards.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A length is above its limit.
    #[error("message of {header} header and {payload} payload bytes is above the limit")]
    TooLarge {
        /// Header bytes claimed.
        header: usize,
        /// Payload bytes claimed.
        payload: usize,
    },
    /// The header is not a message.
    #[error("unreadable message header")]
    Header(#[from] postcard::Error),
}

/// Appends one message to `out`.
///
/// # Errors
/// [`FrameError`] when header or payload is above its limit; `out` is then unchanged.
pub fn write<M: Serialize>(out: &mut Vec<u8>, message: &M, payload: &[u8]) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    let framed = postcard::to_io(message, &mut *out).map(|_| ());
    let header = out.len() - start - PREFIX_BYTES;
    let checked = framed.map_err(FrameError::from).and_then(|()| lengths(header, payload.len()));
    match checked {
        Ok((header, payload_len)) => {
            out[start..start + 4].copy_from_slice(&header.to_le_bytes());
            out[start + 4..start + PREFIX_BYTES].copy_from_slice(&payload_len.to_le_bytes());
            out.extend_from_slice(payload);
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

fn lengths(header: usize, payload: usize) -> Result<(u32, u32), FrameError> {
    let too_large = || FrameError::TooLarge { header, payload };
    if header > HEADER_BYTES_MAX || payload > PAYLOAD_BYTES_MAX {
        return Err(too_large());
    }
    Ok((u32::try_from(header).map_err(|_| too_large())?, u32::try_from(payload).map_err(|_| too_large())?))
}

/// Collects bytes of a stream and gives back whole messages.
///
/// Holds at most one partial message and what was read behind it.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    start: usize,
}

impl Reader {
    /// Adds bytes read from the stream.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > PAYLOAD_BYTES_MAX {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Next whole message and its payload; `None` until more bytes come. The payload lives until the next call.
    ///
    /// # Errors
    /// [`FrameError`]; the peer is broken or hostile and the stream must be closed.
    pub fn next_message<M: DeserializeOwned>(&mut self) -> Result<Option<(M, &[u8])>, FrameError> {
        let rest = &self.buffer[self.start..];
        let Some(prefix) = rest.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let length =
            |at: usize| u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]) as usize;
        let (header, payload) = (length(0), length(4));
        lengths(header, payload)?;
        let total = PREFIX_BYTES + header + payload;
        if rest.len() < total {
            return Ok(None);
        }
        let message = postcard::from_bytes(&rest[PREFIX_BYTES..PREFIX_BYTES + header])?;
        let payload_start = self.start + PREFIX_BYTES + header;
        self.start += total;
        Ok(Some((message, &self.buffer[payload_start..payload_start + payload])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FromEngine, LogLevel, Seq, SkipReason, ToEngine};

    #[test]
    fn messages_survive_any_split() {
        let mut bytes = Vec::new();
        write(&mut bytes, &FromEngine::Skipped { seq: Seq(7), reason: SkipReason::Late }, &[]).unwrap();
        write(&mut bytes, &FromEngine::Log { level: LogLevel::Info, text: "hello".into() }, b"payload").unwrap();
        for split in 0..bytes.len() {
            let mut reader = Reader::default();
            let mut seen = Vec::new();
            for part in [&bytes[..split], &bytes[split..]] {
                reader.extend(part);
                while let Some((message, payload)) = reader.next_message::<FromEngine>().unwrap() {
                    seen.push((message, payload.to_vec()));
                }
            }
            assert_eq!(seen.len(), 2, "split at {split}");
            assert_eq!(seen[1].1, b"payload");
        }
    }

    #[test]
    fn a_claimed_length_above_the_limit_is_refused_before_any_allocation() {
        for prefix in [[0xff; 8], [1, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f]] {
            let mut reader = Reader::default();
            reader.extend(&prefix);
            assert!(matches!(reader.next_message::<FromEngine>(), Err(FrameError::TooLarge { .. })));
        }
    }

    #[test]
    fn a_refused_message_leaves_the_buffer_as_it_was() {
        let mut bytes = vec![1, 2, 3];
        let payload = vec![0; PAYLOAD_BYTES_MAX + 1];
        assert!(write(&mut bytes, &ToEngine::Close, &payload).is_err());
        assert_eq!(bytes, [1, 2, 3]);
    }

    #[test]
    fn garbage_headers_are_errors_not_panics() {
        let mut state = 0x9e37_79b9_u32;
        for _ in 0..20_000 {
            let mut bytes = vec![12, 0, 0, 0, 0, 0, 0, 0];
            for _ in 0..12 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                bytes.push((state >> 24) as u8);
            }
            let mut reader = Reader::default();
            reader.extend(&bytes);
            let _ = reader.next_message::<FromEngine>();
        }
    }
}
