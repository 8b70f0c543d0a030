//! What an engine prints, read at a bounded rate.

use std::io::Read;
use std::time::{Duration, Instant};

use framegate_wire::limits::TEXT_BYTES_MAX;
use mio::unix::pipe::Receiver;

/// Bytes read from one engine per second; the rest stays in its pipe, and once that is full the engine's writes fail.
const BYTES_PER_SECOND_MAX: usize = 64 << 10;

/// Lines passed on from one engine per second; more are read and counted.
const LINES_PER_SECOND_MAX: u32 = 50;

/// The reading end of an engine's standard output and error.
#[derive(Debug)]
pub(crate) struct Output {
    pipe: Receiver,
    partial: Vec<u8>,
    window: Instant,
    bytes: usize,
    lines: u32,
    suppressed: u32,
}

impl Output {
    pub(crate) fn new(pipe: Receiver, now: Instant) -> Self {
        Self { pipe, partial: Vec::new(), window: now, bytes: 0, lines: 0, suppressed: 0 }
    }

    pub(crate) fn pipe(&mut self) -> &mut Receiver {
        &mut self.pipe
    }

    /// Reads what the rate allows and gives whole lines.
    pub(crate) fn read(&mut self, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        if now >= self.window + Duration::from_secs(1) {
            (self.window, self.bytes, self.lines) = (now, 0, 0);
            let suppressed = std::mem::take(&mut self.suppressed);
            if suppressed > 0 {
                lines.push(format!("({suppressed} more lines were printed and not kept)"));
            }
        }
        let mut buffer = [0; 4096];
        while self.bytes < BYTES_PER_SECOND_MAX {
            match self.pipe.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    self.bytes += count;
                    self.split(&buffer[..count], &mut lines);
                }
                _ => break,
            }
        }
        lines
    }

    fn split(&mut self, bytes: &[u8], lines: &mut Vec<String>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = TEXT_BYTES_MAX.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.line(lines);
            }
        }
    }

    fn line(&mut self, lines: &mut Vec<String>) {
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.partial))
            .chars()
            .filter(|character| !character.is_control())
            .collect::<String>();
        if text.is_empty() {
            return;
        }
        self.lines += 1;
        if self.lines > LINES_PER_SECOND_MAX {
            self.suppressed += 1;
        } else {
            lines.push(text);
        }
    }

    /// The last words of an engine that is gone.
    pub(crate) fn finish(&mut self, now: Instant) -> Vec<String> {
        let mut lines = self.read(now);
        self.line(&mut lines);
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_flood_is_cut_and_the_rest_is_counted() {
        let (mut sender, receiver) = mio::unix::pipe::new().expect("a pipe");
        let start = Instant::now();
        let mut output = Output::new(receiver, start);
        let mut total = 0;
        for _ in 0..1000 {
            while sender.write(&b"spam spam spam\n".repeat(50)).is_ok() {}
            total += output.read(start).len();
        }
        assert_eq!(total, LINES_PER_SECOND_MAX as usize);
        let later = output.read(start + Duration::from_secs(1));
        assert!(later[0].contains("more lines"), "{later:?}");
    }

    #[test]
    fn lines_are_cut_and_cleaned() {
        let (mut sender, receiver) = mio::unix::pipe::new().expect("a pipe");
        let start = Instant::now();
        let mut output = Output::new(receiver, start);
        sender.write_all(b"\x1b[31mred\x1b[0m\n\n").expect("room");
        sender.write_all(&[b'x'; 3000]).expect("room");
        sender.write_all(b"\nlast").expect("room");
        assert_eq!(output.read(start), ["[31mred[0m".to_owned(), "x".repeat(TEXT_BYTES_MAX)]);
        drop(sender);
        assert_eq!(output.finish(start), ["last"]);
    }
}
