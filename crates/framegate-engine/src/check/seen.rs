//! What a step has shown, and what to make of it. Pure.

use framegate_wire::{CheckLine, CheckVerdict, ExitKind, FaultStage, SavedState, signal_name};

use super::steps::{Problem, Told};
use crate::{chain::FrameMemory, nursery::alone::End};

/// Old frames whose addresses are remembered.
const FRAMES_REMEMBERED: usize = 4096;

/// Growth that counts as a leak, in bytes a frame and in all: allocators round up, and take a while to settle.
const LEAK_BYTES_PER_FRAME: u64 = 64;
const LEAK_BYTES: u64 = 96 << 10;

/// Growth that counts as a leak of instances, in bytes each.
const LEAK_BYTES_PER_INSTANCE: u64 = 16 << 10;

/// Longest time for a frame of a camera with 30 a second, in microseconds.
const FRAME_US: u64 = 33_333;

/// What a step has shown.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) infos: Vec<String>,
    /// Threads that run after loading.
    pub(super) threads: u32,
    next: String,
    memories: Vec<FrameMemory>,
    process_us: Vec<u64>,
    problems: Vec<Problem>,
    wrong: Vec<String>,
    pub(super) nothing: Option<String>,
    memory: Vec<(u64, u64)>,
    tried: u64,
    /// Parameters that took no other value.
    fixed: Vec<String>,
    pub(super) states: Vec<SavedState>,
    pub(super) is_done: bool,
    /// Why it could not go on.
    pub(super) failed: Option<String>,
}

impl Seen {
    /// Takes a notice.
    pub(super) fn hear(&mut self, text: &str, payload: &[u8]) {
        if let Ok(memory) = serde_json::from_str::<FrameMemory>(text) {
            if self.memories.len() == FRAMES_REMEMBERED {
                self.memories.remove(0);
            }
            self.memories.push(memory);
            return;
        }
        let Ok(told) = serde_json::from_str::<Told>(text) else { return };
        match told {
            Told::Infos(infos) => self.infos = infos,
            Told::Next(next) => self.next = next,
            Told::Frame { process_us, problem } => {
                self.process_us.push(process_us);
                self.problems.extend(problem);
            }
            Told::Nothing(why) => self.nothing = Some(why),
            Told::Memory { done, bytes } => self.memory.push((done, bytes)),
            Told::Wrong(text) => self.wrong.push(text),
            Told::Fixed(id) => self.fixed.push(id),
            Told::Tried(tried) => self.tried = tried,
            Told::States => self.states = postcard::from_bytes(payload).unwrap_or_default(),
            Told::Done => self.is_done = true,
        }
    }

    /// What killed the engine, and what to do about it.
    pub(super) fn crash(&self, end: &End) -> (String, String) {
        let function = end.fault.as_ref().and_then(|fault| fault.function.clone());
        let place = function.map_or_else(String::new, |name| format!(" in `{name}`"));
        let location = end.fault.as_ref().and_then(|fault| fault.location.clone());
        let at = location.map_or_else(String::new, |at| format!(" ({at})"));
        let next = if self.next.is_empty() { String::new() } else { format!(" {}", self.next) };
        let how = match end.kind {
            ExitKind::Signal(signal) => signal_name(signal),
            ExitKind::Code(code) => format!("exit({code})"),
        };
        let is_processing = end.fault.as_ref().is_some_and(|fault| fault.stage == FaultStage::Process);
        let rule = end.address.filter(|_| is_processing).and_then(|address| self.broken_rule(address));
        match rule {
            Some((what, remedy)) => (format!("{what}: {how}{place}{next}{at}"), remedy.to_owned()),
            None => {
                let remedy = "run it under a debugger, or build it with -g -fsanitize=address and a test of your own";
                (format!("{how}{place}{next}{at}"), remedy.to_owned())
            }
        }
    }

    /// Which rule the use of an address broke.
    fn broken_rule(&self, address: u64) -> Option<(&'static str, &'static str)> {
        let (now, before) = self.memories.split_last()?;
        let within = |(start, end): (u64, u64)| (start..end).contains(&address);
        let addresses = now.addresses;
        if within(addresses.mapped) {
            return Some(if address >= addresses.bytes.1 {
                ("reads or writes past the last row of its frame", "use width, height and stride_bytes of every frame")
            } else if address < addresses.bytes.0 {
                ("reads or writes before the first row of its frame", "start at planes[0].data and count rows from 0")
            } else {
                ("writes into its input without FG_WANT_WRITABLE", "copy the frame, or ask for FG_WANT_WRITABLE")
            });
        }
        before.iter().any(|frame| within(frame.addresses.mapped)).then_some((
            "keeps a pointer to a frame after process returned",
            "copy what you need of a frame before you return",
        ))
    }

    /// What the results of frames are like.
    pub(super) fn results(&self) -> CheckLine {
        let count = self.process_us.len();
        let invalid: Vec<&Problem> = self.problems.iter().filter(|problem| problem.code != "processor").collect();
        let (verdict, text, remedy) = if let Some(problem) = invalid.first() {
            let Problem { code, text, frame } = problem;
            let text = format!("{} of {count} results are invalid, first on a {frame}: {text} ({code})", invalid.len());
            (CheckVerdict::Fail, text, Some("a result must be finite numbers, valid JSON and UTF-8, within the limits"))
        } else if let Some(wrong) = self.wrong.first() {
            (CheckVerdict::Fail, wrong.clone(), None)
        } else if let Some(Problem { text, frame, .. }) = self.problems.first() {
            let text = format!("{} of {count} frames end in an error, first a {frame}: {text}", self.problems.len());
            (CheckVerdict::Warn, text, Some("answer FG_NO_RESULT where there is nothing to say"))
        } else {
            (CheckVerdict::Ok, format!("{count} frames of changing sizes, 1×1 to 4096×2160"), None)
        };
        line("frames", verdict, text, remedy)
    }

    /// What parameters or messages did.
    pub(super) fn trials(&self, name: &str, what: &str) -> CheckLine {
        if let Some(why) = &self.nothing {
            return line(name, CheckVerdict::Ok, why.clone(), None);
        }
        if let Some(wrong) = self.wrong.first() {
            let text = format!("{} of {} {what} are refused, first {wrong}", self.wrong.len(), self.tried);
            return line(name, CheckVerdict::Warn, text, Some("narrow the range, or take every value of it"));
        }
        let mut text = format!("{} {what}", self.tried);
        for id in &self.fixed {
            text.push_str(&format!("; `{id}` took no other value than it had"));
        }
        line(name, CheckVerdict::Ok, text, None)
    }

    /// How memory grew from instance to instance.
    pub(super) fn instances(&self) -> CheckLine {
        let count = self.memory.len();
        match self.growth() {
            Some(each) if each >= LEAK_BYTES_PER_INSTANCE => {
                let text = format!("grows by {} for each instance that was made and destroyed", kibibytes(each));
                line("instances", CheckVerdict::Fail, text, Some("free in destroy what create made"))
            }
            _ => line("instances", CheckVerdict::Ok, format!("made and destroyed, {count} in turn"), None),
        }
    }

    /// How memory grew from frame to frame.
    pub(super) fn memory(&self) -> CheckLine {
        let (Some((_, first)), Some((frames, last))) = (self.memory.first(), self.memory.last()) else {
            let text = "too slow to tell: fewer than 300 frames in 20 s".to_owned();
            return line("memory", CheckVerdict::Warn, text, None);
        };
        let megabytes = last >> 20;
        match self.growth() {
            Some(each) if each >= LEAK_BYTES_PER_FRAME && last.saturating_sub(*first) >= LEAK_BYTES => {
                let text = format!("grows by {} a frame over {frames} frames", kibibytes(each));
                line("memory", CheckVerdict::Fail, text, Some("free before process returns what it allocated"))
            }
            _ => line("memory", CheckVerdict::Ok, format!("steady at {megabytes} MiB over {frames} frames"), None),
        }
    }

    /// Bytes by which memory grows from one to the next, when it does so all the way and not in one leap.
    fn growth(&self) -> Option<u64> {
        // The first quarter settles.
        let settled = &self.memory[self.memory.len() / 4..];
        let (&(from, before), &(to, after)) = (settled.first()?, settled.last()?);
        let (_, middle) = settled[settled.len() / 2];
        let total = after.checked_sub(before)?;
        let halves = [middle.saturating_sub(before), after.saturating_sub(middle)];
        let is_steady = halves.iter().all(|half| *half >= total / 4);
        (is_steady && total > 0 && to > from).then(|| total / (to - from))
    }

    /// How long a frame takes.
    pub(super) fn time(&self) -> CheckLine {
        let mut sorted = self.process_us.clone();
        sorted.sort_unstable();
        let at =
            |percent: usize| sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied();
        let (Some(half), Some(most)) = (at(50), at(99)) else {
            return line("time", CheckVerdict::Warn, "no frame went through".to_owned(), None);
        };
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let ms = |us: u64| us as f64 / 1000.0;
        let text = format!("{:.2} ms a frame of 640×480 (p50), {:.2} ms (p99)", ms(half), ms(most));
        if half > FRAME_US {
            let remedy = "frames of a camera with 30 a second will be skipped; want a smaller size or a lower rate";
            return line("time", CheckVerdict::Warn, text, Some(remedy));
        }
        line("time", CheckVerdict::Ok, text, None)
    }
}

pub(super) fn line(name: &str, verdict: CheckVerdict, text: String, remedy: Option<&str>) -> CheckLine {
    CheckLine { name: name.to_owned(), verdict, text, remedy: remedy.map(str::to_owned) }
}

fn kibibytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let kibibytes = bytes as f64 / 1024.0;
    format!("{kibibytes:.1} KiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(bytes: &[u64]) -> Seen {
        let told = (1..).zip(bytes).map(|(done, bytes)| (done * 250, bytes << 10)).collect();
        Seen { memory: told, ..Seen::default() }
    }

    #[test]
    fn a_leak_is_growth_all_the_way() {
        let leak = memory(&[9000, 9250, 9500, 9750, 10_000, 10_250, 10_500, 10_750]).memory();
        assert_eq!(leak.verdict, CheckVerdict::Fail, "{}", leak.text);
        assert!(leak.text.contains("1.0 KiB a frame"), "{}", leak.text);
        for steady in [
            &[9000, 9000, 9000, 9000, 9000, 9000, 9000, 9000][..],
            // A pool that grew once, early or late.
            &[5000, 9000, 9000, 9000, 9000, 9000, 9000, 9000],
            &[5000, 5000, 5000, 5000, 5000, 5000, 5000, 9000],
            &[9000, 9010, 9000, 9010, 9000, 9010, 9000, 9010],
            &[9000, 8000, 7000, 6000, 6000, 6000, 6000, 6000],
        ] {
            assert_eq!(memory(steady).memory().verdict, CheckVerdict::Ok, "{steady:?}");
        }
    }
}
