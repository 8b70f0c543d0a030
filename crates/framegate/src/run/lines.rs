//! The engine's messages as lines: results for programs, the rest for people. Pure.

use framegate_core::ledger::{Entry, Missed};
use framegate_core::report::{finish_facts, finish_result, result_body, result_facts};
use framegate_core::schema::unique_names;
use framegate_wire::{Counts, Epoch, FromEngine, LogLevel, Outcome, ResultHeader, Seq, Status, Want};

/// Name of the stream in results.
const STREAM: &str = "clip";

/// Missed frames told with one result: as many as a processor that wants one frame a minute misses of 30 a second.
const MISSED_MAX: usize = 1800;

/// What has been heard of a run.
#[derive(Debug)]
pub(super) struct Lines {
    with_timing: bool,
    /// Names of the processors, joined by `+`.
    names: String,
    frame: Option<(Seq, u64)>,
    frames: u64,
    counts: Counts,
    missed: Vec<Missed>,
    process_us: Vec<u32>,
}

impl Lines {
    pub(super) fn new(with_timing: bool) -> Self {
        Self {
            with_timing,
            names: String::new(),
            frame: None,
            frames: 0,
            counts: Counts::default(),
            missed: Vec::new(),
            process_us: Vec::new(),
        }
    }

    /// Frames that have begun.
    pub(super) const fn frames(&self) -> u64 {
        self.frames
    }

    /// What became of them.
    pub(super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Time in the processors of the given fraction of all frames, at most, in milliseconds.
    pub(super) fn process_ms(&self, fraction: f64) -> Option<f64> {
        let mut sorted = self.process_us.clone();
        sorted.sort_unstable();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index into as many values"
        )]
        let index = ((sorted.len() as f64 * fraction).ceil() as usize).saturating_sub(1);
        sorted.get(index).map(|&us| f64::from(us) / 1000.0)
    }

    /// A frame begins.
    pub(super) fn frame(&mut self, seq: Seq, rtp_time: u64) {
        self.frame = Some((seq, rtp_time));
        self.frames = seq.0;
    }

    /// A message of the engine: a line of results, and a line for people.
    pub(super) fn engine(&mut self, message: FromEngine, payload: &[u8]) -> (Option<String>, Option<String>) {
        match message {
            FromEngine::Ready(infos) => {
                self.names = unique_names(infos.iter().map(|info| info.descriptor.name.as_str())).join("+");
            }
            FromEngine::Result(header) => return (Some(self.result(&header, payload)), None),
            FromEngine::Skipped { seq, reason } => self.miss(seq, Outcome::Skipped(reason)),
            FromEngine::Dropped { seq, reason } => self.miss(seq, Outcome::Dropped(reason)),
            FromEngine::Log { level, text } => return (None, Some(format!("{}: {text}", level_name(level)))),
            FromEngine::Message { processor } => {
                let name = self.names.split('+').nth(processor as usize).unwrap_or("?");
                return (None, Some(format!("message of {name}: {}", String::from_utf8_lossy(payload))));
            }
            FromEngine::Want(want) => return (None, Some(want_text(&want))),
            _ => {}
        }
        (None, None)
    }

    fn result(&mut self, header: &ResultHeader, data: &[u8]) -> String {
        let is_ok = header.status == Status::Ok;
        self.counts.add(if is_ok { Outcome::Ok } else { Outcome::Error });
        self.process_us.push(header.timing.process_us);
        let entry = Entry {
            seq: header.seq,
            epoch: Epoch(0),
            rtp: self.rtp(header.seq),
            capture_us: None,
            received_ns: 0,
            assembled_ns: 0,
        };
        let data = String::from_utf8_lossy(data);
        let missed = std::mem::take(&mut self.missed);
        if self.with_timing {
            let timing = &header.timing;
            let total = u64::from(timing.decode_us) + u64::from(timing.convert_us) + u64::from(timing.process_us);
            let mut line = result_body(STREAM, &self.names, &entry, header, &data);
            finish_result(&mut line, total, self.frames, &self.counts, 0, &missed);
            return line;
        }
        let mut line = result_facts(STREAM, &self.names, &entry, header, &data);
        finish_facts(&mut line, self.frames, &self.counts, &missed);
        line
    }

    fn miss(&mut self, seq: Seq, outcome: Outcome) {
        self.counts.add(outcome);
        if self.missed.len() < MISSED_MAX {
            self.missed.push(Missed { seq, rtp: self.rtp(seq), outcome });
        }
    }

    /// Time of the frame, as RTP has it: the low half.
    fn rtp(&self, seq: Seq) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "RTP's timestamps wrap at 32 bits")]
        self.frame.filter(|(known, _)| *known == seq).map_or(0, |(_, time)| time as u32)
    }
}

const fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warning",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    }
}

fn want_text(want: &Want) -> String {
    let side = |side: u32| if side == 0 { "as it comes".to_owned() } else { format!("{side} px") };
    let rate = match want.rate_millihertz {
        0 => String::new(),
        rate => format!(", at most {} frames a second", f64::from(rate) / 1000.0),
    };
    format!("wants {:?}, width {}, height {}{rate}", want.format, side(want.width), side(want.height))
}

#[cfg(test)]
mod tests {
    use framegate_wire::{DropReason, SkipReason, Timing};

    use super::*;

    fn result(seq: u64, process_us: u32) -> FromEngine {
        FromEngine::Result(ResultHeader {
            seq: Seq(seq),
            status: Status::Ok,
            width: 4,
            height: 3,
            dropped_before: 0,
            timing: Timing { process_us, decode_us: 5, ..Timing::default() },
            processors_us: Vec::new(),
            detections: Vec::new(),
        })
    }

    #[test]
    fn results_are_lines_and_name_what_was_missed_before() {
        let mut lines = Lines::new(false);
        lines.frame(Seq(1), 0);
        assert_eq!(lines.engine(FromEngine::Skipped { seq: Seq(1), reason: SkipReason::Rate }, &[]), (None, None));
        lines.frame(Seq(2), (1 << 32) + 3000);
        let (Some(line), None) = lines.engine(result(2, 7), b"{\"a\":1}") else { panic!("a line") };
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["rtp"], 3000);
        assert_eq!(value["data"], serde_json::json!({"a": 1}));
        assert_eq!(value["counts"]["received"], 2);
        let missed = serde_json::json!([{"seq": 1, "rtp": 0, "outcome": "skipped", "reason": "rate"}]);
        assert_eq!(value["missed"], missed);
        assert!(value.get("timing").is_none(), "without times two runs give the same bytes");
    }

    #[test]
    fn times_come_when_asked_for() {
        let mut lines = Lines::new(true);
        lines.frame(Seq(1), 0);
        let (Some(line), None) = lines.engine(result(1, 7), b"") else { panic!("a line") };
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["timing"]["process"], &value["timing"]["total"]), (&7.into(), &12.into()));
    }

    #[test]
    fn quantiles_are_of_the_frames_processed() {
        let mut lines = Lines::new(false);
        assert_eq!(lines.process_ms(0.5), None);
        for seq in 1..=100 {
            lines.frame(Seq(seq), seq);
            lines.engine(result(seq, u32::try_from(seq).unwrap() * 1000), b"");
        }
        lines.engine(FromEngine::Dropped { seq: Seq(100), reason: DropReason::Corrupt }, b"");
        assert_eq!((lines.process_ms(0.5), lines.process_ms(0.95)), (Some(50.0), Some(95.0)));
        assert_eq!((lines.counts().ok, lines.counts().dropped_total()), (100, 1));
    }
}
