//! The Python host of a pipeline, seen from its nursery: started before the nursery gives up the right to, confined
//! before any Python runs.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, Stdio},
};

use framegate_wire::{Isolation, ProcessorInfo, signal_name};
use rustix::{
    cmsg_space,
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
    process::getpid,
};
use serde_json::json;

use super::{Mode, child::die_with_parent};
use crate::{
    bridge::{
        description::{Answer, DescriptionError},
        link::{self, Access, FarEnd, Link},
    },
    resolve::PythonPlan,
    sandbox::{HostBounds, SandboxError, confine_host, plan_for_audited_host, plan_for_host},
};

/// What the interpreter is started with. A module that is missing here is one of the host's own: numpy.
const BOOTSTRAP: &str = r#"
import sys
sys.path.insert(0, sys.argv[1])
try:
    from framegate._host import main
except ModuleNotFoundError as error:
    import json, os, socket
    python = sys.executable
    text = f"framegate needs the module `{error.name}`, which {python} does not have; install it: {python} -m pip install {error.name}"
    with socket.socket(fileno=os.dup(0)) as control:
        control.recv(1)
        control.send(json.dumps({"error": text}).encode())
    sys.exit(1)
main()
"#;

/// Longest answer, in bytes: all that eight processors may say of themselves.
const ANSWER_BYTES_MAX: usize = 192 << 10;

/// Why there is no Python host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum HostError {
    /// The system refused something.
    #[error("starting Python: {0}: {1}")]
    System(&'static str, #[source] Errno),
    /// The interpreter cannot be started.
    #[error("starting {program}: {error}")]
    Start { program: String, error: std::io::Error },
    /// The sandbox's plan cannot be made.
    #[error("sandbox: {0}")]
    Sandbox(#[from] SandboxError),
    /// The author's file cannot be used; the text says why.
    #[error("{0}")]
    Author(String),
    /// What it says of a processor is unfit.
    #[error("{file}: {error}")]
    Description { file: String, error: DescriptionError },
    /// It ended.
    #[error("the Python process {how} while it imported {files}")]
    Ended { how: String, files: String },
}

/// A running host.
#[derive(Debug)]
pub(crate) struct Host {
    control: OwnedFd,
    child: Child,
    files: String,
    access: Access,
}

/// What a host has loaded.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) infos: Vec<ProcessorInfo>,
    /// Tasks of the process that imported.
    pub(crate) tasks: u32,
}

impl Host {
    /// Starts a host. Call when Landlock is on and the filter of system calls is not yet, or when an audit has begun.
    pub(crate) fn start(
        plan: &PythonPlan,
        bounds: HostBounds<'_>,
        isolation: Isolation,
        mode: Mode,
    ) -> Result<Self, HostError> {
        let (control, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|error| HostError::System("a socket", error))?;
        let nursery = getpid();
        let is_enforced = matches!(bounds, HostBounds::Enforced(..));
        let mut command = Command::new(&plan.interpreter.program);
        command.args(["-I", "-B", "-X", "utf8", "-c", BOOTSTRAP]).arg(&plan.package).stdin(Stdio::from(theirs));
        // Its telemetry starts a thread when it is imported, which a fork would lose, and has no network to use.
        command.env("ORT_DISABLE_TELEMETRY", "1");
        // SAFETY: this process has one thread, so that the child may do between fork and exec what it likes.
        unsafe {
            command.pre_exec(move || {
                die_with_parent(Some(nursery)).map_err(std::io::Error::other)?;
                if is_enforced { confine_host().map_err(std::io::Error::other) } else { Ok(()) }
            });
        }
        let program = plan.interpreter.program.display().to_string();
        let child = command.spawn().map_err(|error| HostError::Start { program, error })?;
        let processors: Vec<_> =
            plan.processors.iter().map(|(file, name)| json!({ "file": file, "processor": name })).collect();
        let how = match (isolation, mode) {
            (Isolation::Shared, _) => "shared",
            (Isolation::Process, Mode::Fork) => "fork",
            (Isolation::Process, Mode::Once) => "spare",
        };
        let mut message = json!({ "mode": how, "processors": processors, "sandbox": null, "audit": null });
        match bounds {
            HostBounds::Enforced(policy, filter) => message["sandbox"] = plan_for_host(policy, filter)?,
            HostBounds::Audited => message["audit"] = plan_for_audited_host(),
        }
        let names = plan.processors.iter().filter_map(|(file, _)| file.file_name());
        let files: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        let host = Self { control, child, files: files.join(", "), access: Access::Read };
        host.send(message.to_string().as_bytes(), &[]).map_err(|error| HostError::System("sending the plan", error))?;
        Ok(host)
    }

    /// Waits until the files are imported.
    pub(crate) fn ready(&mut self) -> Result<About, HostError> {
        let answer = self.receive().map_err(|error| HostError::System("reading the answer", error))?;
        if answer.is_empty() {
            return Err(HostError::Ended { how: self.how_it_ended(), files: self.files.clone() });
        }
        let unfit = |error| HostError::Description { file: self.files.clone(), error };
        let (tasks, described) = match Answer::parse(&answer).map_err(unfit)? {
            Answer::Failed { error } => return Err(HostError::Author(error)),
            Answer::Loaded { tasks, processors } => (tasks, processors),
        };
        let infos = described.into_iter().map(|described| described.check().map_err(unfit));
        let infos: Vec<ProcessorInfo> = infos.collect::<Result<_, _>>()?;
        if infos.iter().any(|info| info.writable) {
            self.access = Access::Write;
        }
        Ok(About { infos, tasks })
    }

    /// Has the host serve a new engine, whose end of the link is returned. What the processors print goes to `log`.
    pub(crate) fn connect(&self, log: BorrowedFd<'_>) -> Result<Link, Errno> {
        let (link, FarEnd { socket, frames, area }) = link::pair(self.access)?;
        self.send(b"engine", &[socket.as_fd(), frames.as_fd(), area.as_fd(), log])?;
        Ok(link)
    }

    /// The socket whose end says that the host has ended.
    pub(crate) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// How it ended, once it has.
    pub(crate) fn how_it_ended(&mut self) -> String {
        use std::os::unix::process::ExitStatusExt as _;
        match self.child.wait() {
            Ok(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => format!("was ended by {}", signal_name(signal)),
                (_, Some(code)) => format!("ended with status {code}"),
                _ => "ended".to_owned(),
            },
            Err(_) => "ended".to_owned(),
        }
    }

    fn send(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(4))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Errno::NOBUFS);
        }
        loop {
            match sendmsg(&self.control, &[IoSlice::new(packet)], &mut ancillary, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                other => return other.map(|_| ()),
            }
        }
    }

    /// One packet; empty when the host closed its end.
    fn receive(&self) -> Result<Vec<u8>, Errno> {
        let mut packet = vec![0; ANSWER_BYTES_MAX];
        let mut ancillary = RecvAncillaryBuffer::default();
        loop {
            let mut parts = [IoSliceMut::new(&mut packet)];
            match recvmsg(&self.control, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(Vec::new()),
                Err(error) => return Err(error),
                Ok(received) => {
                    packet.truncate(received.bytes);
                    return Ok(packet);
                }
            }
        }
    }
}
