//! What an engine says, checked as the words of an enemy: a processor may have taken it over.

use framegate_wire::{ResultHeader, frame, limits};

use crate::limits::ENGINE_MESSAGES_PER_SECOND_MAX;

/// What an engine did that none may do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Unreadable bytes.
    #[error("unreadable message from the engine: {0}")]
    Frame(#[from] frame::FrameError),
    /// A message out of place.
    #[error("unexpected message from the engine: {0}")]
    Unexpected(String),
    /// A result no host would send: the engine's own checks were bypassed.
    #[error("result refused: {0}")]
    Result(&'static str),
    /// Parameters, a message, a state or a picture no host would send.
    #[error("refused: {0}")]
    Page(&'static str),
    /// More messages in a second than any stream has frames.
    #[error("more than {ENGINE_MESSAGES_PER_SECOND_MAX} messages in a second")]
    Flood,
}

/// Largest score or coordinate, of either sign. The engine's own check is stricter; this one bounds the text they make.
const NUMBER_MAX: f32 = 16.0;

/// Most keypoints of one detection, as in the C header.
const KEYPOINTS_MAX: usize = 64;

/// Checks a result as hostile input and gives its data as text.
pub(super) fn check_result<'a>(header: &ResultHeader, payload: &'a [u8]) -> Result<&'a str, EngineError> {
    let refuse = |why| Err(EngineError::Result(why));
    if header.detections.len() > limits::DETECTIONS_MAX {
        return refuse("too many detections");
    }
    if header.processors_us.len() > limits::PROCESSORS_MAX {
        return refuse("times of too many processors");
    }
    for detection in &header.detections {
        let numbers = detection.bbox.iter().chain(std::iter::once(&detection.score));
        // NaN and infinity are not within any range.
        if !numbers.chain(detection.keypoints.iter().flatten()).all(|number| number.abs() <= NUMBER_MAX) {
            return refuse("a number is far from any fraction");
        }
        if detection.label.len() > limits::LABEL_BYTES_MAX || detection.keypoints.len() > KEYPOINTS_MAX {
            return refuse("a label or list of points is too long");
        }
    }
    if payload.len() > limits::RESULT_DATA_BYTES_MAX {
        return refuse("data is too large");
    }
    if payload.is_empty() {
        return Ok("");
    }
    json(payload, limits::RESULT_DATA_BYTES_MAX).ok_or(EngineError::Result("data is not JSON"))
}

/// Bytes as JSON text, if they are that and not too many.
pub(super) fn json(bytes: &[u8], bytes_max: usize) -> Option<&str> {
    if bytes.len() > bytes_max {
        return None;
    }
    serde_json::from_slice::<&serde_json::value::RawValue>(bytes).ok().map(serde_json::value::RawValue::get)
}

/// The beginning of a text that may have any length.
pub(super) fn truncated(text: &str) -> &str {
    crate::schema::beginning(text, limits::TEXT_BYTES_MAX)
}
