//! What a processor says about a frame.

use core::ffi::c_char;
use core::marker::PhantomData;
use core::ptr;

use super::{Format, Frame, host::c_text};
use crate::raw;

/// framegate did not take something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(String);

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Refused {}

/// So that `?` works in [`Processor::process`](super::Processor::process).
impl From<Refused> for String {
    fn from(refused: Refused) -> Self {
        refused.0
    }
}

/// Turns a code of the interface into a result.
pub(super) fn check(code: i32, what: &str) -> Result<(), Refused> {
    let why = match code {
        0.. => return Ok(()),
        raw::ERROR_LIMIT => "too many or too large",
        raw::ERROR_NOT_FINITE => "not a finite number",
        raw::ERROR_ARGUMENT => "not acceptable",
        raw::ERROR_UNSUPPORTED => "this framegate does not offer it",
        _ => "not taken",
    };
    Err(Refused(format!("{what}: {why}")))
}

/// A point on something found, in fractions of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the words say it")]
pub struct Keypoint {
    pub x: f32,
    pub y: f32,
    /// 0 to 1.
    pub score: f32,
}

/// Something found at a place.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Detection<'a> {
    /// What it is; may be empty.
    pub label: &'a str,
    /// Confidence, 0 to 1.
    pub score: f32,
    /// x, y, width and height in fractions of the picture, origin top-left.
    pub at: [f32; 4],
    /// Identity over time; 0 for none.
    pub track: u64,
    /// At most 64.
    pub keypoints: &'a [Keypoint],
    /// Whether the keypoints, in their order, are the corners of its outline.
    pub is_outline: bool,
}

/// A packed picture of the processor's own.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// BGR24, RGB24, BGRA or GRAY8.
    pub format: Format,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// From one row to the next.
    pub stride_bytes: usize,
    /// At least `height - 1` strides and one row.
    pub bytes: &'a [u8],
}

/// Where a frame's result goes; borrowed until `process` returns.
#[derive(Debug)]
pub struct Out<'a> {
    raw: *const raw::Out,
    size: [f32; 2],
    pub(super) is_silent: bool,
    borrowed: PhantomData<&'a raw::Out>,
}

impl Out<'_> {
    /// # Safety
    /// `raw` is a valid `fg_out` for as long as this lives.
    pub(super) unsafe fn of(raw: *const raw::Out, frame: &Frame<'_>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "sides are far below 2^24")]
        let size = [frame.width() as f32, frame.height() as f32];
        Self { raw, size, is_silent: false, borrowed: PhantomData }
    }

    /// Adds something found, at most 256 a frame.
    ///
    /// # Errors
    /// [`Refused`] when there are too many or a number is not finite.
    pub fn detection(&mut self, found: &Detection<'_>) -> Result<(), Refused> {
        let label = c_text(found.label);
        let keypoints: Vec<_> =
            found.keypoints.iter().map(|point| raw::Keypoint { x: point.x, y: point.y, score: point.score }).collect();
        let [x, y, w, h] = found.at;
        let detection = raw::Detection {
            struct_size: super::struct_size::<raw::Detection>(),
            score: found.score,
            label: if found.label.is_empty() { ptr::null() } else { label.as_ptr() },
            x,
            y,
            w,
            h,
            track: found.track,
            keypoints: keypoints.as_ptr(),
            keypoint_count: u32::try_from(keypoints.len()).unwrap_or(u32::MAX),
            flags: if found.is_outline { raw::DETECTION_OUTLINE } else { 0 },
        };
        // SAFETY: `of` was promised a valid `fg_out`; the detection and what it points to live through the call.
        check(unsafe { ((*self.raw).detection)(self.raw, &raw const detection) }, "detection")
    }

    /// Adds a box in fractions of the picture.
    ///
    /// # Errors
    /// As [`Self::detection`].
    pub fn found(&mut self, label: &str, score: f32, at: [f32; 4]) -> Result<(), Refused> {
        self.detection(&Detection { label, score, at, ..Detection::default() })
    }

    /// Adds a thing by the corners of its outline, in pixels of the frame; its box is the smallest around them.
    ///
    /// # Errors
    /// As [`Self::detection`].
    pub fn outline(&mut self, label: &str, score: f32, corners: &[[f32; 2]]) -> Result<(), Refused> {
        let [width, height] = self.size;
        let keypoint = |[x, y]: [f32; 2]| Keypoint { x: x / width, y: y / height, score: 1.0 };
        let keypoints: Vec<_> = corners.iter().copied().map(keypoint).collect();
        let least = |of: fn(&Keypoint) -> f32| keypoints.iter().map(of).fold(f32::INFINITY, f32::min);
        let most = |of: fn(&Keypoint) -> f32| keypoints.iter().map(of).fold(f32::NEG_INFINITY, f32::max);
        let (x, y) = (least(|point| point.x), least(|point| point.y));
        let at = [x, y, most(|point| point.x) - x, most(|point| point.y) - y];
        self.detection(&Detection { label, score, at, track: 0, keypoints: &keypoints, is_outline: true })
    }

    /// Pixels of the frame as fractions of the picture.
    #[must_use]
    pub fn fractions(&self, [x, y, w, h]: [f32; 4]) -> [f32; 4] {
        let [width, height] = self.size;
        [x / width, y / height, w / width, h / height]
    }

    /// Sets the result's data: any JSON of at most 48 KiB; the last call counts.
    ///
    /// # Errors
    /// [`Refused`] when it is too large or no JSON.
    pub fn data(&mut self, json: &str) -> Result<(), Refused> {
        // SAFETY: as above; the text is borrowed for the call.
        check(unsafe { ((*self.raw).data)(self.raw, json.as_ptr().cast::<c_char>(), json.len() as u64) }, "data")
    }

    /// Says that there is nothing to say about this frame.
    pub fn nothing(&mut self) {
        self.is_silent = true;
    }

    /// Makes the result an error, with what was found so far.
    pub fn error(&mut self, text: &str) {
        let text = c_text(text);
        // SAFETY: as above. A text that is not taken leaves the error without one.
        unsafe { ((*self.raw).error)(self.raw, text.as_ptr()) };
    }

    /// Whether somebody looks at this frame's picture.
    #[must_use]
    pub fn image_wanted(&self) -> bool {
        // SAFETY: `images` gives a valid interface.
        self.images().is_some_and(|image| unsafe { ((*image).is_wanted)(self.raw) } > 0)
    }

    /// Makes the frame, as `process` leaves it, what people see. For processors that draw into it.
    ///
    /// # Errors
    /// [`Refused`] when framegate shows no pictures.
    pub fn image_frame(&mut self) -> Result<(), Refused> {
        // SAFETY: as above.
        let code = self.images().map(|image| unsafe { ((*image).submit_frame)(self.raw) });
        check(code.unwrap_or(raw::ERROR_UNSUPPORTED), "image")
    }

    /// What people see instead of the frame; copied.
    ///
    /// # Errors
    /// [`Refused`] when its bytes are too few, its format is planar, or framegate shows no pictures.
    pub fn image(&mut self, picture: &Picture<'_>) -> Result<(), Refused> {
        let Picture { format, width, height, stride_bytes, bytes } = *picture;
        let row_bytes = (width as usize).checked_mul(format.sample_bytes(0));
        let length = row_bytes.and_then(|row| {
            let before = (height as usize).checked_sub(1)?.checked_mul(stride_bytes)?;
            (row <= stride_bytes).then_some(before.checked_add(row)?)
        });
        let is_packed = !matches!(format, Format::I420 | Format::Nv12);
        let Some(stride_bytes) = i64::try_from(stride_bytes)
            .ok()
            .filter(|_| is_packed && length.is_some_and(|length| length <= bytes.len()))
        else {
            return Err(Refused("image: its bytes do not fit its size, or its format is planar".to_owned()));
        };
        let none = raw::Plane { data: ptr::null_mut(), stride_bytes: 0, width: 0, height: 0 };
        let plane = raw::Plane { data: bytes.as_ptr().cast_mut(), stride_bytes, width, height };
        let picture = raw::Picture {
            struct_size: super::struct_size::<raw::Picture>(),
            format: format as u32,
            width,
            height,
            plane_count: 1,
            reserved: 0,
            planes: [plane, none, none, none],
        };
        // SAFETY: as above; the bytes were checked against the size, are borrowed for the call and not written.
        let code = self.images().map(|image| unsafe { ((*image).submit)(self.raw, &raw const picture) });
        check(code.unwrap_or(raw::ERROR_UNSUPPORTED), "image")
    }

    fn images(&self) -> Option<*const raw::OutImage> {
        // SAFETY: `of` was promised a valid `fg_out`; the id ends with 0.
        let found = unsafe { ((*self.raw).get_extension)(self.raw, raw::EXT_IMAGE.as_ptr()) };
        (!found.is_null()).then_some(found.cast())
    }
}
