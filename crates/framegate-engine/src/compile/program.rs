//! Starting compilers: what they say is bounded, and so is their time.

use std::{
    ffi::OsStr,
    io::{self, Read},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, Signal, kill_process_group},
};

use crate::nursery::fork::end_with_us;

/// Bytes kept of what a program says; the rest is read and dropped.
const SAID_BYTES_MAX: usize = 1 << 20;

/// What a program said and how it ended.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: ExitStatus,
    pub(super) text: String,
}

/// Why a program gave no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// It could not be started, or not be read.
    Run(io::Error),
    /// It took too long and was killed.
    TooSlow,
}

/// Which of a program's outputs is its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Stdout,
    Stderr,
}

/// Runs a program, in English, and returns one of its outputs; nothing of it outlives `limit`, even when this process is
/// killed meanwhile.
pub(super) fn run(command: &mut Command, answer: Answer, limit: Duration) -> Result<Said, Unanswered> {
    let piped = |wanted| if wanted == answer { Stdio::piped() } else { Stdio::null() };
    // A group of its own: a compiler is several programs, and all of them must end.
    end_with_us(command, limit);
    let mut child = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(piped(Answer::Stdout))
        .stderr(piped(Answer::Stderr))
        .process_group(0)
        .spawn()
        .map_err(Unanswered::Run)?;
    let text = match read(&mut child, answer, Instant::now() + limit) {
        Ok(text) => text,
        Err(error) => {
            end(&mut child);
            return Err(error);
        }
    };
    let status = child.wait().map_err(Unanswered::Run)?;
    Ok(Said { status, text: String::from_utf8_lossy(&text).into_owned() })
}

/// Reads until the program and all of its own have closed the pipe.
fn read(child: &mut Child, answer: Answer, deadline: Instant) -> Result<Vec<u8>, Unanswered> {
    let mut kept = Vec::new();
    match (answer, child.stdout.take(), child.stderr.take()) {
        (Answer::Stdout, Some(mut pipe), _) => drain(&mut pipe, &mut kept, deadline)?,
        (Answer::Stderr, _, Some(mut pipe)) => drain(&mut pipe, &mut kept, deadline)?,
        _ => return Err(Unanswered::Run(io::ErrorKind::BrokenPipe.into())),
    }
    Ok(kept)
}

fn drain<P: Read + std::os::fd::AsFd>(pipe: &mut P, kept: &mut Vec<u8>, deadline: Instant) -> Result<(), Unanswered> {
    let mut bytes = [0; 16 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(Unanswered::TooSlow),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(Unanswered::Run(error.into())),
        }
        match pipe.read(&mut bytes).map_err(Unanswered::Run)? {
            0 => return Ok(()),
            count => kept.extend_from_slice(&bytes[..count.min(SAID_BYTES_MAX - kept.len())]),
        }
    }
}

fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // One that is gone already needs no signal.
        let _ = kill_process_group(group, Signal::KILL);
    }
    // It was killed: this only reaps it.
    let _ = child.wait();
}

/// A command from words such as `ccache g++`.
pub(super) fn command(words: &[impl AsRef<OsStr>]) -> Option<Command> {
    let (program, arguments) = words.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments);
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_never_ends_is_killed_with_its_own() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & sleep 1000"]);
        let ended = run(&mut command, Answer::Stderr, Duration::from_millis(50));
        assert!(matches!(ended, Err(Unanswered::TooSlow)));
    }

    #[test]
    fn a_flood_is_cut() {
        let mut command = Command::new("sh");
        command.args(["-c", "head -c 3000000 /dev/zero; exit 3"]);
        let said = run(&mut command, Answer::Stdout, Duration::from_secs(60)).unwrap();
        assert_eq!((said.text.len(), said.status.code()), (SAID_BYTES_MAX, Some(3)));
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let ended = run(&mut Command::new("/no/such/compiler"), Answer::Stderr, Duration::from_secs(1));
        assert!(matches!(ended, Err(Unanswered::Run(error)) if error.kind() == io::ErrorKind::NotFound));
    }
}
