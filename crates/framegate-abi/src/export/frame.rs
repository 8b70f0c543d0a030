//! A picture, seen safely.

use core::slice;

use super::Format;
use crate::raw;

/// One picture; borrowed until `process` returns.
#[derive(Debug)]
pub struct Frame<'a> {
    raw: &'a raw::Frame,
    format: Format,
}

/// One plane of a picture.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    /// From the first byte of the first row to the last of the last.
    pub bytes: &'a [u8],
    /// From one row to the next.
    pub stride_bytes: usize,
    /// Samples across.
    pub width: usize,
    /// Rows.
    pub height: usize,
    row_bytes: usize,
}

impl<'a> Plane<'a> {
    /// The rows, without what lies between them.
    pub fn rows(self) -> impl Iterator<Item = &'a [u8]> {
        self.bytes.chunks(self.stride_bytes).map(move |row| &row[..self.row_bytes])
    }
}

impl<'a> Frame<'a> {
    /// The picture behind a pointer of framegate's; `None` if it is none that this version knows.
    ///
    /// # Safety
    /// `raw` is null or a frame as `framegate.h` promises it: planes of `height` rows that can be read, and written if
    /// the flag says so, for `'a`, by nobody else.
    pub(super) unsafe fn of(raw: *const raw::Frame) -> Option<Self> {
        // SAFETY: the caller promises a valid frame or null.
        let raw = unsafe { raw.as_ref() }?;
        Some(Self { raw, format: Format::of(raw.format)? })
    }

    /// Number of the frame in its stream, from 1, counting those never seen.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.raw.seq
    }

    /// RTP timestamp, 90 000 Hz.
    #[must_use]
    pub fn rtp_ts(&self) -> u32 {
        self.raw.rtp_ts
    }

    /// Frames between the previous call and this one that were not given.
    #[must_use]
    pub fn dropped_before(&self) -> u32 {
        self.raw.dropped_before
    }

    /// Capture time in microseconds since 1970 on the sender's clock, once that is known.
    #[must_use]
    pub fn capture_us(&self) -> Option<i64> {
        (self.raw.capture_us != raw::CAPTURE_UNKNOWN).then_some(self.raw.capture_us)
    }

    /// When its last packet arrived, in nanoseconds of the monotonic clock.
    #[must_use]
    pub fn received_ns(&self) -> i64 {
        self.raw.received_ns
    }

    /// A result after this is of little use, in nanoseconds of the monotonic clock.
    #[must_use]
    pub fn deadline_ns(&self) -> i64 {
        self.raw.deadline_ns
    }

    /// Its format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> usize {
        self.raw.width as usize
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> usize {
        self.raw.height as usize
    }

    /// Clockwise degrees still to apply: 0 for browsers.
    #[must_use]
    pub fn rotation(&self) -> u32 {
        self.raw.rotation
    }

    /// Whether it may be drawn into.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.raw.flags & raw::FRAME_WRITABLE != 0
    }

    /// Whether it is the first of a new size or format.
    #[must_use]
    pub fn is_size_changed(&self) -> bool {
        self.raw.flags & raw::FRAME_SIZE_CHANGED != 0
    }

    /// Whether it is the first of a new process in a running stream.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.raw.flags & raw::FRAME_RESUMED != 0
    }

    /// A plane, from 0; packed formats have one.
    #[must_use]
    pub fn plane(&self, index: usize) -> Option<Plane<'_>> {
        let (plane, row_bytes, length) = self.extent(index)?;
        // SAFETY: whoever made this frame promised `height` rows of `stride_bytes`, of which the last may end with its
        // pixels, that live as long as this borrow; `row_mut` needs the frame exclusively, so nobody writes meanwhile.
        let bytes = unsafe { slice::from_raw_parts(plane.data, length) };
        let stride_bytes = usize::try_from(plane.stride_bytes).ok()?;
        Some(Plane { bytes, stride_bytes, width: plane.width as usize, height: plane.height as usize, row_bytes })
    }

    /// Rows of the first plane: all of a packed picture.
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.plane(0).into_iter().flat_map(Plane::rows)
    }

    /// One row of the first plane.
    ///
    /// # Panics
    /// When there is no such row, as with slices.
    #[must_use]
    pub fn row(&self, y: usize) -> &[u8] {
        assert!(y < self.height(), "row {y} of a picture of {} rows", self.height());
        self.plane(0).map(|plane| &plane.bytes[y * plane.stride_bytes..][..plane.row_bytes]).unwrap_or_default()
    }

    /// One row of the first plane, to draw into; `None` unless the processor's want is [`writable`](super::Want::writable)
    /// and there is such a row.
    pub fn row_mut(&mut self, y: usize) -> Option<&mut [u8]> {
        let (plane, row_bytes, length) = self.extent(0)?;
        let begin = usize::try_from(plane.stride_bytes).ok()?.checked_mul(y)?;
        if !self.is_writable() || begin.checked_add(row_bytes)? > length {
            return None;
        }
        // SAFETY: as in `plane`; the flag says that it may be written, and this frame is borrowed exclusively.
        Some(unsafe { slice::from_raw_parts_mut(plane.data.add(begin), row_bytes) })
    }

    /// A plane with the bytes of a row, and of all from its first to its last pixel; `None` if it has none.
    fn extent(&self, index: usize) -> Option<(&'a raw::Plane, usize, usize)> {
        let plane = self.raw.planes.get(..self.raw.plane_count as usize)?.get(index)?;
        let row_bytes = (plane.width as usize).checked_mul(self.format.sample_bytes(index))?;
        let stride = usize::try_from(plane.stride_bytes).ok()?;
        let length = (plane.height as usize).checked_sub(1)?.checked_mul(stride)?.checked_add(row_bytes)?;
        (!plane.data.is_null() && stride >= row_bytes && row_bytes > 0).then_some((plane, row_bytes, length))
    }
}
