//! What a run tells people on standard error while it goes on, and at its end.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::lines::Lines;

/// Time between two progress lines: eyes follow no faster.
const INTERVAL: Duration = Duration::from_millis(100);

/// Width of the bar, in characters.
const BAR_WIDTH: u64 = 24;

/// Standard error during a run.
#[derive(Debug)]
pub(super) struct Progress {
    is_terminal: bool,
    frames: Option<u64>,
    start: Instant,
    shown: Option<Instant>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), frames: None, start: Instant::now(), shown: None }
    }

    /// Frames there will be, as far as is known. Time counts from here: loading is over.
    pub(super) fn set_frames(&mut self, frames: Option<u64>) {
        self.frames = frames;
        self.start = Instant::now();
    }

    /// Says something, above the progress line.
    pub(super) fn say(&mut self, text: &str) {
        self.clear();
        write_line(&format!("{text}\n"));
    }

    /// Shows how far the run is, now and then.
    pub(super) fn show(&mut self, lines: &Lines) {
        let now = Instant::now();
        if !self.is_terminal || self.shown.is_some_and(|shown| now - shown < INTERVAL) {
            return;
        }
        self.shown = Some(now);
        write_line(&format!("\r\x1b[K{}", line(lines.frames(), self.frames, now - self.start)));
    }

    /// Says how the run went.
    pub(super) fn finish(&mut self, lines: &Lines) {
        self.clear();
        if lines.frames() > 0 {
            write_line(&format!("{}\n", summary(lines, self.start.elapsed())));
        }
    }

    fn clear(&mut self) {
        if self.shown.take().is_some() {
            write_line("\r\x1b[K");
        }
    }
}

fn write_line(text: &str) {
    // Standard error may be closed; there is nobody else to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn line(done: u64, frames: Option<u64>, elapsed: Duration) -> String {
    let rate = rate(done, elapsed);
    match frames {
        Some(frames) if frames >= done && frames > 0 => {
            let filled = usize::try_from(done * BAR_WIDTH / frames).unwrap_or(0);
            let empty = usize::try_from(BAR_WIDTH).unwrap_or(0) - filled;
            let bar = format!("{}{}", "█".repeat(filled), "░".repeat(empty));
            format!("{bar} {:3} %  {done} of {frames} frames  {rate:.0} fps", done * 100 / frames)
        }
        _ => format!("{done} frames  {rate:.0} fps"),
    }
}

fn rate(frames: u64, elapsed: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let frames = frames as f64;
    frames / elapsed.as_secs_f64().max(0.001)
}

fn summary(lines: &Lines, elapsed: Duration) -> String {
    let counts = lines.counts();
    let mut parts = vec![format!("{} ok", counts.ok), format!("{} errors", counts.error)];
    if counts.skipped_total() > 0 {
        parts.push(format!("{} skipped", counts.skipped_total()));
    }
    if counts.dropped_total() > 0 {
        parts.push(format!("{} dropped", counts.dropped_total()));
    }
    let times = match (lines.process_ms(0.5), lines.process_ms(0.95)) {
        (Some(half), Some(most)) => format!("; {half:.2} ms a frame (p50), {most:.2} ms (p95)"),
        _ => String::new(),
    };
    let (frames, rate) = (lines.frames(), rate(lines.frames(), elapsed));
    let s = if frames == 1 { "" } else { "s" };
    format!("{frames} frame{s}: {}{times}; {rate:.0} fps", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_bar_when_the_length_is_known() {
        let bar = format!("{}{}  50 %  15 of 30 frames  30 fps", "█".repeat(12), "░".repeat(12));
        assert_eq!(line(15, Some(30), Duration::from_millis(500)), bar);
        assert_eq!(line(15, None, Duration::from_millis(500)), "15 frames  30 fps");
        // An estimate may be too low.
        assert_eq!(line(31, Some(30), Duration::from_secs(1)), "31 frames  31 fps");
    }
}
