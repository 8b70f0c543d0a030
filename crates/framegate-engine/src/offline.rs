//! `framegate-engine offline`: a clip or an image through a pipeline, without a gateway.
//!
//! Standard output gets [`FromOffline`] messages. This process supervises: it opens the clip, encodes the video, and
//! runs no foreign code but the encoder; see [`nursery::alone`](crate::nursery) for the others.

mod video;
mod worker;

use std::{
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use framegate_wire::{
    ExitKind, FromEngine, FromOffline, OfflineFailure, PipelineSpec, Seq, frame,
    limits::{AREA_MAX, TEXT_BYTES_MAX},
};
use rustix::net::{SendFlags, send};

use crate::{
    nursery::{
        alone::{self, AloneError, End, Heard, Task},
        take_stdin,
    },
    outbox::cut,
    pool::Canvas,
};
use video::{Video, canvas_bytes};
use worker::{Setting, Work};

/// What `offline` is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose processors.
    pub pipeline: PipelineSpec,
    /// The clip; `-` is standard input.
    pub clip: PathBuf,
    /// Largest picture, in pixels.
    pub area_max: u32,
    /// What `fg.random/1` is seeded with.
    pub seed: u64,
    /// Values of parameters: `NAME.ID=VALUE` or `ID=VALUE`.
    pub sets: Vec<String>,
    /// Video to write.
    pub video: Option<PathBuf>,
}

/// Why nothing could be told of a run.
#[derive(Debug, thiserror::Error)]
#[error("writing to standard output: {0}")]
pub struct OfflineError(#[from] io::Error);

/// Runs a clip through a pipeline and tells standard output; `true` when it went through. Call from the only thread.
///
/// # Errors
/// [`OfflineError`] when standard output is closed; what else goes wrong is told on it.
pub fn run(options: &Options) -> Result<bool, OfflineError> {
    let mut teller = Teller { out: io::stdout().lock(), bytes: Vec::new(), frame: None, last: Last::Nothing };
    if let Err(Failed(kind, text)) = supervise(options, &mut teller) {
        teller.tell(&FromOffline::Failed { kind, text: cut(&text, TEXT_BYTES_MAX).to_owned() }, &[])?;
    }
    Ok(teller.last == Last::Ended)
}

/// Whose fault, and what for people.
struct Failed(OfflineFailure, String);

fn supervise(options: &Options, teller: &mut Teller<'_>) -> Result<(), Failed> {
    let usage = |text| Failed(OfflineFailure::Usage, text);
    let system = |what: &str, error: io::Error| Failed(OfflineFailure::Environment, format!("{what}: {error}"));
    let sets = options.sets.iter().map(|text| parse_set(text)).collect::<Result<Vec<_>, _>>().map_err(usage)?;
    // Also when the clip is a file: a processor gets no standard input.
    let stdin = take_stdin().map_err(|error| system("taking standard input", error.into()))?;
    let clip = open(&options.clip, stdin).map_err(usage)?;
    let canvas = options.video.as_ref().map(|_| Canvas::new(canvas_bytes(options.area_max))).transpose();
    let canvas = canvas.map_err(|error| system("making memory for pictures", error.into()))?;
    let mut video = None;
    if let (Some(path), Some(canvas)) = (&options.video, &canvas) {
        let shared = canvas.share().map_err(|error| system("making memory for pictures", error.into()))?;
        video = Some(Video::new(path, shared).map_err(usage)?);
    }
    let area_max = options.area_max.min(AREA_MAX);
    let work = Work { clip, area_max, seed: options.seed, sets, canvas };
    let ended = alone::run(
        Task { pipeline: &options.pipeline, patience: None },
        |loaded, socket| worker::work(work, loaded, socket),
        |session, heard| teller.hear(session, heard, &mut video),
    );
    let finished = video.map_or(Ok(()), Video::finish);
    match ended {
        Ok(End { kind, fault, .. }) if teller.last == Last::Nothing => {
            let crashed = FromOffline::Crashed { seq: teller.frame, kind, fault };
            teller.tell(&crashed, &[]).map_err(|error| system("writing to standard output", error))?;
        }
        // The engine has said why, or that all went well; what its process did after that is of no interest but a crash.
        Ok(End { kind: ExitKind::Signal(signal), fault, .. }) if teller.last == Last::Ended => {
            let crashed = FromOffline::Crashed { seq: None, kind: ExitKind::Signal(signal), fault };
            teller.tell(&crashed, &[]).map_err(|error| system("writing to standard output", error))?;
        }
        Ok(_) => {}
        Err(AloneError::Load(text)) => return Err(Failed(OfflineFailure::Processor, text)),
        Err(error @ AloneError::System(..)) => return Err(Failed(OfflineFailure::Environment, error.to_string())),
        Err(error) => return Err(Failed(OfflineFailure::Processor, error.to_string())),
    }
    finished.map_err(|text| Failed(OfflineFailure::Environment, text))
}

/// The clip's file.
fn open(path: &Path, stdin: OwnedFd) -> Result<File, String> {
    if path.as_os_str() == "-" {
        return Ok(stdin.into());
    }
    let shown = path.display();
    let file = File::open(path).map_err(|error| format!("{shown}: {error}"))?;
    match file.metadata() {
        Ok(metadata) if metadata.is_dir() => Err(format!("{shown} is a folder; name a video or an image")),
        _ => Ok(file),
    }
}

/// Reads `NAME.ID=VALUE` or `ID=VALUE`.
fn parse_set(text: &str) -> Result<Setting, String> {
    let wrong = || format!("--set {text}: expected ID=VALUE or PROCESSOR.ID=VALUE");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let (processor, id) = match name.split_once('.') {
        Some((processor, id)) => (Some(processor.to_owned()), id),
        None => (None, name),
    };
    if id.is_empty() || processor.as_ref().is_some_and(String::is_empty) {
        return Err(wrong());
    }
    Ok(Setting { processor, id: id.to_owned(), value: value.to_owned() })
}

/// What the run ended with, as far as it has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Failed,
    Ended,
}

/// Writes messages to standard output.
struct Teller<'a> {
    out: io::StdoutLock<'a>,
    bytes: Vec<u8>,
    /// The frame that has begun and not ended.
    frame: Option<Seq>,
    last: Last,
}

impl Teller<'_> {
    fn tell(&mut self, message: &FromOffline, payload: &[u8]) -> io::Result<()> {
        self.bytes.clear();
        frame::write(&mut self.bytes, message, payload).map_err(io::Error::other)?;
        self.out.write_all(&self.bytes)?;
        self.out.flush()
    }

    fn hear(&mut self, session: &OwnedFd, heard: Heard<'_>, video: &mut Option<Video>) -> Result<(), String> {
        let (message, payload) = match heard {
            Heard::Message(message, payload) => (message, payload),
            Heard::Finding(finding) => (FromOffline::Finding { text: finding.to_string() }, &[][..]),
            Heard::Notice(text) => (FromOffline::Notice { text }, &[][..]),
            Heard::Loaded(_) => return Ok(()),
        };
        match &message {
            FromOffline::Frame { seq, rtp_time } => {
                self.frame = Some(*seq);
                if let Some(video) = video {
                    video.frame(*rtp_time);
                }
            }
            FromOffline::Engine(FromEngine::Result(_) | FromEngine::Skipped { .. } | FromEngine::Dropped { .. }) => {
                self.frame = None
            }
            FromOffline::Failed { .. } => self.last = Last::Failed,
            FromOffline::Ended => self.last = Last::Ended,
            _ => {}
        }
        if let (FromOffline::Engine(FromEngine::Result(result)), Some(video)) = (&message, &mut *video) {
            video.result(&result.detections);
        }
        if let (FromOffline::Picture { .. }, Some(video)) = (&message, &mut *video) {
            video.picture(&message)?;
            // The engine may draw the next one now. When it has gone, its end is noticed elsewhere.
            let _ = send(session, &[1], SendFlags::NOSIGNAL);
            return Ok(());
        }
        self.tell(&message, payload).map_err(|error| format!("writing to standard output: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        let setting = |processor: Option<&str>, id: &str, value: &str| Setting {
            processor: processor.map(str::to_owned),
            id: id.to_owned(),
            value: value.to_owned(),
        };
        assert_eq!(parse_set("threshold=0.5"), Ok(setting(None, "threshold", "0.5")));
        assert_eq!(parse_set("faces.label=a=b"), Ok(setting(Some("faces"), "label", "a=b")));
        assert_eq!(parse_set("x="), Ok(setting(None, "x", "")));
        for wrong in ["", "x", "=1", ".x=1", "a.=1"] {
            assert!(parse_set(wrong).is_err(), "{wrong}");
        }
    }
}
