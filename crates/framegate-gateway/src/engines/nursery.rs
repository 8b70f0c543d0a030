//! One nursery process: how it is started and what it is waiting for.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::launcher::Request;

/// How nurseries are started.
#[derive(Debug, Clone)]
pub(crate) struct NurseryProgram {
    pub(crate) program: PathBuf,
    pub(crate) readable: Vec<PathBuf>,
}

/// What it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Forks the engines of a pipeline.
    Forking,
    /// Becomes the one engine itself, because its processor starts threads when it is loaded.
    Once,
}

/// A nursery process.
#[derive(Debug)]
pub(crate) struct Nursery {
    pub(crate) pipeline: usize,
    pub(crate) kind: Kind,
    pub(crate) child: Child,
    pub(crate) control: OwnedFd,
    pub(crate) pidfd: OwnedFd,
    /// Engines asked for before it was ready.
    pub(crate) waiting: VecDeque<Request>,
    pub(crate) ready: bool,
    pub(crate) fault: Option<String>,
}

impl Nursery {
    pub(crate) fn spawn(program: &NurseryProgram, pipeline: usize, processor: &Path, kind: Kind) -> io::Result<Self> {
        let (control, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        // The nursery waits for its next request: its end blocks, ours does not.
        rustix::fs::fcntl_setfl(&theirs, rustix::fs::OFlags::empty())?;
        let mut command = Command::new(&program.program);
        command.arg("nursery").arg("--processor").arg(processor);
        if kind == Kind::Once {
            command.arg("--once");
        }
        for folder in &program.readable {
            command.arg("--readable").arg(folder);
        }
        let child = command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no pid"))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let waiting = VecDeque::new();
        Ok(Self { pipeline, kind, child, control, pidfd, waiting, ready: false, fault: None })
    }

    pub(crate) fn kill(&self) {
        // It may be gone already, which is what was wanted.
        let _ = rustix::process::pidfd_send_signal(self.pidfd.as_fd(), rustix::process::Signal::KILL);
    }
}
