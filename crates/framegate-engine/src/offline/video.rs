//! The video of an offline run: pictures from shared memory, boxes drawn into them, and encoded.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use framegate_codec::{Layout, Mark, Matrix, Range, VideoFile, VideoFormat, draw_marks, i420_in};
use framegate_wire::{Detection, FromOffline, PixelFormat, limits::SIDE_MAX};

use crate::pool::Canvas;

/// Pictures a second when the clip's first two do not tell.
const RATE_DEFAULT_HZ: u32 = 30;

/// Bytes that hold any I420 picture of at most `area_max` pixels: one and a half for each, and the ends of its rows.
pub(super) const fn canvas_bytes(area_max: u32) -> usize {
    let ends = SIDE_MAX as usize * 2 * 64;
    area_max as usize / 2 * 3 + ends + 2 * SIDE_MAX as usize
}

/// A video that is being written.
pub(super) struct Video {
    path: PathBuf,
    format: VideoFormat,
    /// Until the first picture says its size.
    file: Option<File>,
    writer: Option<VideoFile>,
    canvas: Canvas,
    bytes: Vec<u8>,
    time: u64,
    detections: Vec<Detection>,
}

impl Video {
    /// A video in the format that the file's name ends with.
    pub(super) fn new(path: &Path, canvas: Canvas) -> Result<Self, String> {
        let shown = path.display();
        let format = VideoFormat::of(path).ok_or_else(|| format!("{shown} ends with neither .mp4 nor .webm"))?;
        let file = File::create(path).map_err(|error| format!("{shown}: {error}"))?;
        Ok(Self {
            path: path.to_owned(),
            format,
            file: Some(file),
            writer: None,
            canvas,
            bytes: Vec::new(),
            time: 0,
            detections: Vec::new(),
        })
    }

    /// A frame begins.
    pub(super) fn frame(&mut self, time: u64) {
        self.time = time;
        self.detections.clear();
    }

    /// What processors found on it.
    pub(super) fn result(&mut self, detections: &[Detection]) {
        self.detections.extend_from_slice(detections);
    }

    /// Its picture is in shared memory.
    pub(super) fn picture(&mut self, message: &FromOffline) -> Result<(), String> {
        let &FromOffline::Picture { width, height, is_bt709, is_full, is_processed, .. } = message else {
            return Ok(());
        };
        let failed = |what: &dyn std::fmt::Display| format!("{}: {what}", self.path.display());
        let layout = Layout::new(PixelFormat::I420, width, height).map_err(|error| failed(&error))?;
        self.bytes.resize(layout.total_bytes, 0);
        self.canvas.read(&mut self.bytes).map_err(|error| failed(&error))?;
        let matrix = if is_bt709 { Matrix::Bt709 } else { Matrix::Bt601 };
        let range = if is_full { Range::Full } else { Range::Limited };
        if !is_processed {
            let labels: Vec<String> = self.detections.iter().map(label).collect();
            let marks: Vec<Mark<'_>> = self.detections.iter().zip(&labels).map(|(d, label)| mark(d, label)).collect();
            draw_marks(&mut self.bytes, &layout, range, &marks);
        }
        let picture = i420_in(&self.bytes, &layout, matrix, range).ok_or_else(|| failed(&"a picture is incomplete"))?;
        if let Some(file) = self.file.take() {
            let made = VideoFile::create(file, self.format, &picture, RATE_DEFAULT_HZ);
            self.writer = Some(made.map_err(|error| failed(&error))?);
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.push(&picture, self.time).map_err(|error| failed(&error))
    }

    /// Completes the file, also after a crash: it holds what came before.
    pub(super) fn finish(self) -> Result<(), String> {
        let failed = |error| format!("{}: {error}", self.path.display());
        self.writer.map_or(Ok(()), |writer| writer.finish().map_err(failed))
    }
}

/// What stands above a box: the label, and how sure the processor is.
fn label(detection: &Detection) -> String {
    let mut text = detection.label.clone();
    if detection.track != 0 {
        text = format!("{text} {}", detection.track);
    }
    if detection.score > 0.0 && detection.score < 1.0 {
        text = format!("{text} {:.2}", detection.score);
    }
    text.trim().to_owned()
}

fn mark<'a>(detection: &'a Detection, label: &'a str) -> Mark<'a> {
    // The same thing keeps its colour: its track, or what it is called.
    let colour = match detection.track {
        0 => detection.label.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into())),
        track => track,
    };
    Mark { bbox: detection.bbox, label, points: &detection.keypoints, is_outline: detection.is_outline, colour }
}
