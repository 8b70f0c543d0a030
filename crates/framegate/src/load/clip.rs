//! Reads a VP8 clip in IVF: a 32-byte file header, then 12 bytes before each encoded picture.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use framegate_wire::{PictureSize, limits::UNIT_BYTES_MAX, vp8};

/// Largest clip, in bytes: ten minutes at 3 Mbit/s; the whole clip is held in memory.
const CLIP_BYTES_MAX: u64 = 256 << 20;

/// Ticks of the RTP clock per second for video (RFC 3551 §5).
const RTP_RATE_HZ: u64 = 90_000;

const FILE_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 12;

/// A clip in memory; its first picture is a keyframe.
#[derive(Debug)]
pub(crate) struct Clip {
    pub(crate) size: PictureSize,
    /// Time from picture to picture.
    pub(crate) interval: Duration,
    /// The same in ticks of the RTP clock.
    pub(crate) rtp_step: u32,
    pictures: Vec<Arc<[u8]>>,
}

impl Clip {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let reading = || format!("reading the clip {}", path.display());
        let length = std::fs::metadata(path).with_context(reading)?.len();
        ensure!(length <= CLIP_BYTES_MAX, "{} has {length} bytes, the limit is {CLIP_BYTES_MAX}", path.display());
        Self::parse(&std::fs::read(path).with_context(reading)?).with_context(reading)
    }

    fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        ensure!(bytes.len() >= FILE_HEADER_BYTES && bytes.starts_with(b"DKIF"), "this is not an IVF file");
        ensure!(&bytes[8..12] == b"VP80", "the codec is not VP8");
        let word = |at: usize| u64::from(u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
        let (ticks_per_s, ticks) = (word(16), word(20));
        ensure!(ticks_per_s > 0 && ticks > 0, "the time base is 0");

        let mut pictures: Vec<Arc<[u8]>> = Vec::new();
        let (mut pts_first, mut pts_last) = (0, 0);
        let mut at = usize::from(u16::from_le_bytes([bytes[6], bytes[7]])).max(FILE_HEADER_BYTES);
        while at + FRAME_HEADER_BYTES <= bytes.len() {
            let length = usize::try_from(word(at)).unwrap_or(usize::MAX);
            ensure!((1..=UNIT_BYTES_MAX).contains(&length), "picture {} has {length} bytes", pictures.len());
            pts_last = word(at + 4) | word(at + 8) << 32;
            if pictures.is_empty() {
                pts_first = pts_last;
            }
            at += FRAME_HEADER_BYTES;
            let data = bytes.get(at..at + length).with_context(|| format!("picture {} is cut off", pictures.len()))?;
            pictures.push(data.into());
            at += length;
        }
        ensure!(pictures.len() >= 2, "it has fewer than 2 pictures");
        let size = vp8::picture_size(&pictures[0])?.context("the first picture is no keyframe")?;

        // From the PTS and not the time base alone: many writers count milliseconds.
        let steps = pictures.len() as u64 - 1;
        let span = pts_last.saturating_sub(pts_first).saturating_mul(ticks);
        let rtp_step = span.saturating_mul(RTP_RATE_HZ) / ticks_per_s / steps;
        ensure!((90..=RTP_RATE_HZ).contains(&rtp_step), "the rate is not between 1 and 1000 pictures a second");
        let interval = Duration::from_nanos(span.saturating_mul(1_000_000_000) / ticks_per_s / steps);
        Ok(Self { size, interval, rtp_step: u32::try_from(rtp_step)?, pictures })
    }

    pub(crate) fn len(&self) -> usize {
        self.pictures.len()
    }

    pub(crate) fn picture(&self, index: usize) -> Arc<[u8]> {
        Arc::clone(&self.pictures[index])
    }

    /// The keyframe at `index` or the next behind it, from the start again at the end.
    pub(crate) fn keyframe_from(&self, index: usize) -> usize {
        (index..self.len()).find(|at| vp8::is_keyframe(&self.pictures[*at])).unwrap_or(0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A clip of empty pictures, `true` for keyframes.
    pub(crate) fn ivf(rate: u32, scale: u32, keyframes: &[bool]) -> Vec<u8> {
        let mut bytes = b"DKIF\0\0\x20\0VP80\x80\x02\xe0\x01".to_vec();
        for word in [rate, scale, u32::try_from(keyframes.len()).unwrap(), 0] {
            bytes.extend(word.to_le_bytes());
        }
        for (index, keyframe) in keyframes.iter().enumerate() {
            let data: &[u8] = if *keyframe { b"\x10\0\0\x9d\x01\x2a\x80\x02\xe0\x01" } else { b"\x11\0\0" };
            bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
            bytes.extend((index as u64).to_le_bytes());
            bytes.extend(data);
        }
        bytes
    }

    #[test]
    fn pictures_rate_and_keyframes_are_read() {
        let clip = Clip::parse(&ivf(30, 1, &[true, false, false, true, false])).unwrap();
        assert_eq!((clip.len(), clip.rtp_step, clip.interval.as_micros()), (5, 3000, 33_333));
        assert_eq!((clip.size.width, clip.size.height), (640, 480));
        assert_eq!([0, 1, 3, 4].map(|from| clip.keyframe_from(from)), [0, 3, 3, 0]);
        assert_eq!(Clip::parse(&ivf(30_000, 1001, &[true, false])).unwrap().rtp_step, 3003);
    }

    #[test]
    fn what_is_no_clip_is_refused() {
        let good = ivf(30, 1, &[true, false]);
        for bytes in [
            &b""[..],
            b"DKIF",
            &good[..good.len() - 1],
            &ivf(0, 1, &[true, true]),
            &ivf(30, 1, &[true]),
            &ivf(30, 1, &[false, true]),
            &ivf(2000, 1, &[true, true]),
        ] {
            assert!(Clip::parse(bytes).is_err());
        }
    }
}
