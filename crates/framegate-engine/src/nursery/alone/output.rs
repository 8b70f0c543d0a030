//! What processors print, on its way to standard error.
//!
//! It comes through a pipe, as live: an engine may neither write to files, which standard error may be, nor must it be
//! able to do anything else to what it prints to.

use std::{
    io::{self, Write},
    os::fd::OwnedFd,
};

use rustix::{
    io::{Errno, ioctl_fionbio, read},
    pipe::{PipeFlags, pipe_with},
};

/// Most bytes shown of one run: a line for each frame of a long clip fits, and an endless loop does not fill a disk.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// Bytes read at once: what a pipe holds.
const CHUNK_BYTES: usize = 64 << 10;

/// The reading end.
#[derive(Debug)]
pub(super) struct Output {
    /// `None` once nobody can write any more.
    pipe: Option<OwnedFd>,
    buffer: Vec<u8>,
    left: usize,
}

impl Output {
    /// Makes the pipe; the other end is for the nursery. A writer waits while the pipe is full.
    pub(super) fn new() -> Result<(Self, OwnedFd), Errno> {
        let (pipe, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        ioctl_fionbio(&pipe, true)?;
        Ok((Self { pipe: Some(pipe), buffer: vec![0; CHUNK_BYTES], left: OUTPUT_BYTES_MAX }, writer))
    }

    /// What is readable when something was printed.
    pub(super) fn pipe(&self) -> Option<&OwnedFd> {
        self.pipe.as_ref()
    }

    /// Shows one chunk; `false` when there is nothing now.
    pub(super) fn show(&mut self) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        match read(pipe, &mut self.buffer[..]) {
            Ok(0) => self.pipe = None,
            Ok(count) => {
                // Standard error may be closed, and the pipe must be emptied all the same.
                let _ = pass(&self.buffer[..count], &mut self.left, &mut io::stderr().lock());
                return true;
            }
            Err(Errno::INTR) => return true,
            Err(Errno::AGAIN) => {}
            Err(_) => self.pipe = None,
        }
        false
    }
}

/// Writes as much of `bytes` as is `left`, and says so when that is the end.
fn pass(bytes: &[u8], left: &mut usize, to: &mut impl Write) -> io::Result<()> {
    if *left == 0 {
        return Ok(());
    }
    let count = bytes.len().min(*left);
    *left -= count;
    to.write_all(&bytes[..count])?;
    if *left == 0 {
        writeln!(to, "\nframegate: more than {} MiB were printed; the rest is not shown", OUTPUT_BYTES_MAX >> 20)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_not_shown_which_is_said_once() {
        let (mut left, mut shown) = (5, Vec::new());
        for bytes in [&b"abc"[..], b"def", b"ghi"] {
            pass(bytes, &mut left, &mut shown).unwrap();
        }
        let shown = String::from_utf8(shown).unwrap();
        assert_eq!(shown, "abcde\nframegate: more than 64 MiB were printed; the rest is not shown\n");
    }

    #[test]
    fn a_pipe_without_writers_has_ended() {
        let (mut output, writer) = Output::new().unwrap();
        assert!(!output.show() && output.pipe().is_some());
        drop(writer);
        assert!(!output.show() && output.pipe().is_none());
    }
}
