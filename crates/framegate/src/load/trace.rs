//! One line of JSON for each result, for those who want to put a run beside what they did to the server meanwhile.

use std::{
    cell::RefCell,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    rc::Rc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use serde::Serialize;

/// The file and its first failure.
#[derive(Debug, Clone)]
pub(crate) struct Trace(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    file: BufWriter<File>,
    failure: Option<serde_json::Error>,
}

/// A line; times are microseconds of the Unix epoch, so that other programs can tell what came first.
#[derive(Debug, Serialize)]
struct Line<'a> {
    session: usize,
    rtp: u32,
    sent_us: u64,
    received_us: u64,
    status: &'a str,
}

impl Trace {
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(Rc::new(RefCell::new(State { file: BufWriter::new(file), failure: None }))))
    }

    /// Notes a result that came now, for a frame sent `age` ago. A failure is kept for [`Trace::finish`].
    pub(crate) fn result(&self, session: usize, rtp: u32, age: Duration, status: &str) {
        let received = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (sent_us, received_us) = (us(received.saturating_sub(age)), us(received));
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        if state.failure.is_none() {
            let line = Line { session, rtp, sent_us, received_us, status };
            let written = serde_json::to_writer(&mut state.file, &line);
            state.failure = written.and_then(|()| state.file.write_all(b"\n").map_err(serde_json::Error::io)).err();
        }
    }

    /// Writes what is buffered.
    pub(crate) fn finish(&self) -> anyhow::Result<()> {
        let mut state = self.0.borrow_mut();
        if let Some(error) = state.failure.take() {
            return Err(error).context("writing the trace");
        }
        state.file.flush().context("writing the trace")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_result_is_a_line() {
        let path = std::env::temp_dir().join(format!("framegate-trace-{}.jsonl", std::process::id()));
        let trace = Trace::create(&path).unwrap();
        trace.result(3, 7, Duration::from_micros(250), "ok");
        trace.clone().result(4, 8, Duration::ZERO, "error");
        trace.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        let us = |name: &str| lines[0][name].as_u64().unwrap();
        assert_eq!((us("session"), us("rtp"), us("received_us") - us("sent_us")), (3, 7, 250));
        assert_eq!(lines[1]["status"], "error");
    }
}
