//! One nursery process: how it is started and what it is waiting for.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use framegate_wire::{PipelineSpec, Source};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::children;
use super::launcher::Request;

/// Time a nursery has to load its processor: constructors of large libraries take seconds on a cold disk.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Time it has more for each processor that it compiles: the compile step's own limit.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(300);

/// Time a nursery has to answer a request, which takes it a millisecond on a quiet machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests sent and not answered, at the most: the control socket holds a few hundred packets.
const UNANSWERED_MAX: usize = 64;

/// How nurseries are started.
#[derive(Debug, Clone)]
pub(crate) struct NurseryProgram {
    pub(crate) program: PathBuf,
}

/// What it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Forks the engines of a pipeline.
    Forking,
    /// Becomes the one engine itself, because its processor starts threads when it is loaded.
    Once,
}

/// Time a nursery has to load these processors.
pub(crate) fn load_timeout(spec: &PipelineSpec) -> Duration {
    let is_compiled = |source: &Source| matches!(source, Source::Compiled(_));
    let compiled = spec.processors.iter().filter(|processor| is_compiled(&processor.source)).count();
    LOAD_TIMEOUT + COMPILE_TIMEOUT * u32::try_from(compiled).unwrap_or(1)
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
    /// Whether it is promised to an engine; only those that become one are.
    pub(crate) is_taken: bool,
    /// Whether no engine may be asked of it any more.
    pub(crate) is_ending: bool,
    /// Whether it ends as soon as its last engine has.
    pub(crate) is_retired: bool,
    pub(crate) fault: Option<String>,
    load_timeout: Duration,
    /// Engines asked for and not answered.
    unanswered: usize,
    /// When it was started, or last answered or asked while nothing was unanswered.
    since: Instant,
}

impl Nursery {
    pub(crate) fn spawn(
        program: &NurseryProgram,
        pipeline: usize,
        spec: &PipelineSpec,
        kind: Kind,
    ) -> io::Result<Self> {
        let (control, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        // The nursery waits for its next request: its end blocks, ours does not.
        rustix::fs::fcntl_setfl(&theirs, rustix::fs::OFlags::empty())?;
        let mut command = Command::new(&program.program);
        command.arg("nursery").arg("--pipeline").arg(serde_json::to_string(spec).map_err(io::Error::other)?);
        if kind == Kind::Once {
            command.arg("--once");
        }
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::inherit());
        let child = children::spawn(&mut command)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no pid"))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let waiting = VecDeque::new();
        Ok(Self {
            pipeline,
            kind,
            child,
            control,
            pidfd,
            waiting,
            ready: false,
            is_taken: false,
            is_ending: false,
            is_retired: false,
            fault: None,
            load_timeout: load_timeout(spec),
            unanswered: 0,
            since: Instant::now(),
        })
    }

    /// The next request to send now, if any.
    pub(crate) fn next_request(&mut self) -> Option<Request> {
        if !self.ready || self.is_ending || self.unanswered >= UNANSWERED_MAX {
            return None;
        }
        self.waiting.pop_front()
    }

    /// A request was sent.
    pub(crate) fn asked(&mut self, now: Instant) {
        if self.unanswered == 0 {
            self.since = now;
        }
        self.unanswered += 1;
    }

    /// A request was answered.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.since = now;
    }

    /// What it should have done by now.
    pub(crate) fn overdue(&self, now: Instant) -> Option<&'static str> {
        let waited = now.saturating_duration_since(self.since);
        if !self.ready && waited > self.load_timeout {
            Some("loading the processor takes too long; its constructors must end")
        } else if self.unanswered > 0 && waited > ANSWER_TIMEOUT {
            Some("the nursery does not answer")
        } else {
            None
        }
    }

    pub(crate) fn kill(&mut self) {
        self.is_ending = true;
        // It may be gone already, which is what was wanted.
        let _ = rustix::process::pidfd_send_signal(self.pidfd.as_fd(), rustix::process::Signal::KILL);
    }
}
