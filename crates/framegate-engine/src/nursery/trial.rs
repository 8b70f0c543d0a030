//! The trial: a child like an engine that only makes the instances, so that the gateway knows what they are like before
//! anybody connects.

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use framegate_wire::{ExitKind, FaultStage, NurseryReply, ProcessorInfo, limits::TEXT_BYTES_MAX, signal_name};
use rustix::{
    io::{Errno, fcntl_dupfd_cloexec},
    pipe::{PipeFlags, pipe_with},
};

use super::{
    Ground,
    child::{Child, Ended, Task},
    fault::{enter, place_of},
};
use crate::{
    chain::{Chain, Opening},
    clock::{Clock, now_ns},
    limits::{INFOS_BYTES_MAX, TRIAL_NS},
    outbox::{Outbox, cut},
    resolve::Loaded,
};

/// What the trial's process says, as postcard.
type Answer = Result<Vec<ProcessorInfo>, String>;

/// Longest answer, in bytes: what the processors may say of themselves, or a text, and the little around either.
const ANSWER_BYTES_MAX: usize = INFOS_BYTES_MAX + 64;

const _: () = assert!(TEXT_BYTES_MAX < INFOS_BYTES_MAX);

/// The stream's name that instances of a trial see.
const STREAM: &str = "trial";

/// A running trial, seen from the nursery.
#[derive(Debug)]
pub(super) struct Trial {
    child: Child,
    /// Where its answer comes from; `None` after its end.
    pipe: Option<File>,
    answer: Vec<u8>,
    until_ns: u64,
    is_too_slow: bool,
}

impl Trial {
    /// Forks the trial's process.
    pub(super) fn start(ground: &Ground) -> Result<Self, Errno> {
        let (pipe, answer) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let log = fcntl_dupfd_cloexec(&ground.null, 3)?;
        let child = Child::fork(0, answer, log, ground, Task::Trial)?;
        let until_ns = now_ns().saturating_add(TRIAL_NS);
        Ok(Self { child, pipe: Some(pipe.into()), answer: Vec::new(), until_ns, is_too_slow: false })
    }

    /// What the nursery waits for: its end, and its answer.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.child.pidfd.as_fd()).chain(self.pipe.iter().map(AsFd::as_fd))
    }

    /// Nanoseconds until it has taken too long.
    pub(super) fn remaining_ns(&self) -> Option<u64> {
        (!self.is_too_slow).then(|| self.until_ns.saturating_sub(now_ns()))
    }

    pub(super) fn kill(&self) {
        self.child.kill();
    }

    /// Reads on; what to tell the gateway once the process has gone.
    pub(super) fn go_on(&mut self, loaded: &Loaded) -> Option<NurseryReply> {
        self.read();
        if self.remaining_ns() == Some(0) {
            self.is_too_slow = true;
            self.kill();
        }
        let ended = self.child.ended(loaded)?;
        self.read();
        let text = match self.parse(&ended) {
            Some(Ok(infos)) => return Some(NurseryReply::Described(infos)),
            Some(Err(text)) => text,
            None if self.is_too_slow => {
                format!("making the processors took longer than {} s", TRIAL_NS / 1_000_000_000)
            }
            None => explain(&ended),
        };
        Some(NurseryReply::DescribeFailed { text: cut(&text, TEXT_BYTES_MAX).to_owned() })
    }

    /// The answer, if it is whole and its process ended well.
    fn parse(&self, ended: &Ended) -> Option<Answer> {
        match postcard::take_from_bytes(&self.answer) {
            Ok((answer, [])) if ended.kind == ExitKind::Code(0) => Some(answer),
            _ => None,
        }
    }

    fn read(&mut self) {
        let mut bytes = [0; 4096];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut bytes) {
                Ok(count @ 1..) if self.answer.len() + count <= ANSWER_BYTES_MAX => {
                    self.answer.extend_from_slice(&bytes[..count]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The end, or more than an answer: the processor itself wrote there.
                _ => self.pipe = None,
            }
        }
    }
}

/// The trial's process: makes the instances and writes what they are like to `answer`.
pub(super) fn run(answer: OwnedFd, loaded: &Loaded) -> std::io::Result<()> {
    let outbox = Arc::new(Outbox::nowhere());
    let opening = Opening { stream: STREAM, seed: 0, clock: Clock::Live, params: &[], states: &[] };
    enter(FaultStage::Create);
    let opened = Chain::open(loaded, &opening, &outbox);
    enter(FaultStage::Idle);
    let said: Answer = match &opened {
        Ok(chain) => Ok(chain.infos()),
        Err(error) => Err(cut(&error.to_string(), TEXT_BYTES_MAX).to_owned()),
    };
    File::from(answer).write_all(&postcard::to_allocvec(&said).unwrap_or_default())
    // The instances are not destroyed: the process ends here, and nothing is left to learn from them.
}

/// Why there was no answer, for people.
fn explain(ended: &Ended) -> String {
    let how = match ended.kind {
        ExitKind::Code(code) => return format!("making the processors ended their process with status {code}"),
        ExitKind::Signal(libc::SIGSYS) => "SIGSYS, a system call that the sandbox kills for".to_owned(),
        ExitKind::Signal(signal) => signal_name(signal),
    };
    let place = ended.fault.as_ref().map(place_of).unwrap_or_default();
    format!("making the processors crashed with {how}{place}")
}
