//! What a processor says about one frame, checked as it comes in.

use framegate_abi as abi;
use framegate_codec::Image;
use framegate_wire::{
    Detection,
    limits::{DETECTIONS_MAX, RESULT_DATA_BYTES_MAX},
};
use serde::de::IgnoredAny;

use super::drawing::DrawingError;
use crate::limits::FRACTION_MAX;

/// Fewer points enclose nothing.
const OUTLINE_CORNERS_MIN: usize = 3;

/// The result of one call so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) detections: Vec<Detection>,
    /// JSON text, or empty.
    pub(crate) data: Vec<u8>,
    /// The first thing refused: a word for programs and a text for the author.
    pub(crate) refusal: Option<(&'static str, String)>,
    /// Whether somebody looks at the frame's picture.
    pub(crate) is_image_wanted: bool,
    /// A copy of the picture the processor gave.
    pub(crate) image: Option<Image>,
    /// The frame, as the processor leaves it, is its picture.
    pub(crate) is_frame_the_image: bool,
}

impl Report {
    /// Forgets the previous frame.
    pub(crate) fn begin(&mut self, is_image_wanted: bool) {
        self.detections.clear();
        self.data.clear();
        self.refusal = None;
        self.is_image_wanted = is_image_wanted;
        self.image = None;
        self.is_frame_the_image = false;
    }

    /// Adds a detection, or says why not. `label` is `None` when it was not UTF-8.
    pub(crate) fn add(&mut self, raw: &abi::Detection, label: Option<String>, keypoints: &[abi::Keypoint]) -> i32 {
        if self.detections.len() >= DETECTIONS_MAX {
            let text = format!("more than {DETECTIONS_MAX} detections in one frame");
            return self.refuse("too_many", abi::ERROR_LIMIT, text);
        }
        let Some(label) = label else {
            let text = "a detection's label must be UTF-8 text".to_owned();
            return self.refuse("bad_text", abi::ERROR_ARGUMENT, text);
        };
        if raw.keypoint_count > abi::KEYPOINTS_MAX {
            let text =
                format!("detection `{label}` has {} keypoints, at most {}", raw.keypoint_count, abi::KEYPOINTS_MAX);
            return self.refuse("too_many", abi::ERROR_LIMIT, text);
        }
        if keypoints.len() != raw.keypoint_count as usize {
            let text = format!("detection `{label}` has {} keypoints but its keypoints are NULL", raw.keypoint_count);
            return self.refuse("bad_box", abi::ERROR_ARGUMENT, text);
        }
        let bbox = [raw.x, raw.y, raw.w, raw.h];
        let points = keypoints.iter().flat_map(|point| [point.x, point.y, point.score]);
        if !bbox.into_iter().chain([raw.score]).chain(points).all(f32::is_finite) {
            let text =
                format!("detection `{label}`: score {} and box {bbox:?} must be finite, keypoints too", raw.score);
            return self.refuse("not_finite", abi::ERROR_NOT_FINITE, text);
        }
        let places = keypoints.iter().flat_map(|point| [point.x, point.y]);
        if bbox.into_iter().chain(places).any(|value| value.abs() > FRACTION_MAX) || raw.w < 0.0 || raw.h < 0.0 {
            let text = format!(
                "detection `{label}`: box {bbox:?} or its keypoints are not fractions of the picture; divide pixels by \
                 frame->width and frame->height"
            );
            return self.refuse("bad_box", abi::ERROR_ARGUMENT, text);
        }
        self.detections.push(Detection {
            label,
            score: raw.score.clamp(0.0, 1.0),
            bbox: clipped(bbox),
            track: raw.track,
            keypoints: keypoints.iter().map(|point| [point.x, point.y, point.score.clamp(0.0, 1.0)]).collect(),
            is_outline: raw.flags & abi::DETECTION_OUTLINE != 0 && keypoints.len() >= OUTLINE_CORNERS_MIN,
        });
        abi::OK
    }

    /// Replaces the data, or says why not. Empty bytes mean no data.
    pub(crate) fn set_data(&mut self, json: &[u8]) -> i32 {
        let checked = match std::str::from_utf8(json) {
            Ok(text) if !text.is_empty() => serde_json::from_str::<IgnoredAny>(text).map_err(|error| error.to_string()),
            Ok(_) => Ok(IgnoredAny),
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = checked {
            let lower = json.to_ascii_lowercase();
            let has = |word: &[u8]| lower.windows(word.len()).any(|window| window == word);
            let hint = if has(b"nan") || has(b"inf") { "; JSON has no NaN and no infinity: write null" } else { "" };
            let start = String::from_utf8_lossy(&json[..json.len().min(80)]).into_owned();
            return self.refuse(
                "bad_json",
                abi::ERROR_ARGUMENT,
                format!("data is not JSON: {reason}{hint}; it begins {start}"),
            );
        }
        self.data.clear();
        self.data.extend_from_slice(json);
        abi::OK
    }

    /// Refuses data of more than the limit, unread.
    pub(crate) fn refuse_large_data(&mut self, length: u64) -> i32 {
        self.refuse("too_large", abi::ERROR_LIMIT, format!("data of {length} bytes, at most {RESULT_DATA_BYTES_MAX}"))
    }

    /// Refuses data at NULL.
    pub(crate) fn refuse_null_data(&mut self) -> i32 {
        self.refuse("bad_json", abi::ERROR_ARGUMENT, "data is NULL but its length is not 0".to_owned())
    }

    /// Refuses a detection that is NULL or smaller than the header's struct.
    pub(crate) fn refuse_struct(&mut self) -> i32 {
        let text = "a detection is NULL or its struct_size is not sizeof(fg_detection)".to_owned();
        self.refuse("bad_box", abi::ERROR_ARGUMENT, text)
    }

    /// Refuses an error without a text.
    pub(crate) fn refuse_null_error(&mut self) -> i32 {
        self.refuse("bad_text", abi::ERROR_ARGUMENT, "the text of an error is NULL".to_owned())
    }

    /// Refuses a picture.
    pub(crate) fn refuse_image(&mut self, error: DrawingError) -> i32 {
        let limit = matches!(error, DrawingError::Size(..));
        self.refuse("bad_image", if limit { abi::ERROR_LIMIT } else { abi::ERROR_ARGUMENT }, error.to_string())
    }

    /// The first refusal is the frame's outcome; each is answered with its code.
    fn refuse(&mut self, code: &'static str, status: i32, text: String) -> i32 {
        self.refusal.get_or_insert((code, text));
        status
    }
}

/// The part of a box inside the picture.
fn clipped([x, y, w, h]: [f32; 4]) -> [f32; 4] {
    let (left, top) = (x.clamp(0.0, 1.0), y.clamp(0.0, 1.0));
    let (right, bottom) = ((x + w).clamp(0.0, 1.0), (y + h).clamp(0.0, 1.0));
    // A box inside stays as it was said, to the last bit.
    let width = if left.to_bits() == x.to_bits() && x + w <= 1.0 { w } else { right - left };
    let height = if top.to_bits() == y.to_bits() && y + h <= 1.0 { h } else { bottom - top };
    [left, top, width, height]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(bbox: [f32; 4]) -> abi::Detection {
        let [x, y, w, h] = bbox;
        abi::Detection {
            struct_size: 0,
            score: 0.5,
            label: std::ptr::null(),
            x,
            y,
            w,
            h,
            track: 0,
            keypoints: std::ptr::null(),
            keypoint_count: 0,
            flags: 0,
        }
    }

    fn add(report: &mut Report, bbox: [f32; 4]) -> i32 {
        report.add(&detection(bbox), Some("thing".to_owned()), &[])
    }

    fn code(report: &Report) -> Option<&'static str> {
        report.refusal.as_ref().map(|(code, _)| *code)
    }

    #[test]
    fn boxes_are_clipped_to_the_picture() {
        for (said, kept) in [
            ([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]),
            ([-0.25, 0.5, 0.5, 1.0], [0.0, 0.5, 0.25, 0.5]),
            ([1.5, 0.0, 0.25, 1.0], [1.0, 0.0, 0.0, 1.0]),
            ([0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]),
        ] {
            let mut report = Report::default();
            assert_eq!(add(&mut report, said), abi::OK);
            assert_eq!(report.detections[0].bbox, kept);
        }
    }

    #[test]
    fn boxes_in_pixels_are_refused_with_the_remedy() {
        for said in [[120.0, 80.0, 50.0, 60.0], [0.0, 0.0, 640.0, 480.0], [0.5, 0.5, -0.1, 0.1]] {
            let mut report = Report::default();
            assert_eq!(add(&mut report, said), abi::ERROR_ARGUMENT);
            assert!(report.detections.is_empty());
            let (code, text) = report.refusal.unwrap();
            assert_eq!(code, "bad_box");
            assert!(text.contains("divide pixels by frame->width"), "{text}");
        }
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        for said in [[f32::NAN, 0.0, 0.1, 0.1], [0.0, 0.0, f32::INFINITY, 0.1]] {
            let mut report = Report::default();
            assert_eq!(add(&mut report, said), abi::ERROR_NOT_FINITE);
            assert_eq!(code(&report), Some("not_finite"));
        }
        let mut report = Report::default();
        let point = abi::Keypoint { x: 0.5, y: f32::NAN, score: 1.0 };
        let raw = abi::Detection { keypoint_count: 1, ..detection([0.0; 4]) };
        assert_eq!(report.add(&raw, Some(String::new()), &[point]), abi::ERROR_NOT_FINITE);
    }

    #[test]
    fn counts_and_texts_are_bounded() {
        let mut report = Report::default();
        for _ in 0..DETECTIONS_MAX {
            assert_eq!(add(&mut report, [0.0; 4]), abi::OK);
        }
        assert_eq!(add(&mut report, [0.0; 4]), abi::ERROR_LIMIT);
        assert_eq!(code(&report), Some("too_many"));
        assert_eq!(report.detections.len(), DETECTIONS_MAX, "what was accepted stays");
        report.begin(false);
        assert_eq!(report.add(&detection([0.0; 4]), None, &[]), abi::ERROR_ARGUMENT);
        assert_eq!(code(&report), Some("bad_text"));
    }

    #[test]
    fn data_must_be_json_and_the_last_good_one_counts() {
        let mut report = Report::default();
        assert_eq!(report.set_data(b"{\"a\":[1,2.5e3,null,\"x\"]}"), abi::OK);
        assert_eq!(report.set_data(b" 7 "), abi::OK);
        for bad in [&b"{\"a\":nan}"[..], b"{\"a\":-inf}", b"{", b"{} {}", b"'x'", b"\"\xff\""] {
            assert_eq!(report.set_data(bad), abi::ERROR_ARGUMENT, "{}", String::from_utf8_lossy(bad));
            assert_eq!(report.data, b" 7 ");
        }
        let (code, text) = report.refusal.take().unwrap();
        assert_eq!(code, "bad_json");
        assert!(text.contains("write null"), "{text}");
        assert_eq!(report.set_data(b""), abi::OK);
        assert!(report.data.is_empty());
    }
}
