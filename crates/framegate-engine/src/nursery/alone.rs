//! One engine without a gateway: for `offline` and `check`.
//!
//! Three processes, as live: a supervisor, which runs no foreign code; a nursery, which loads the processors; and an
//! engine forked from it, so that the nursery can name the place of a crash. The engine talks to the supervisor on a
//! socket of its own. Under an audit the supervisor answers for the kernel's questions.

use std::{
    fs::File,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use framegate_wire::{
    ExitKind, FaultReport, FromOffline, PipelineSpec, SandboxMode,
    frame::Reader,
    limits::{NURSERY_PACKET_BYTES_MAX, TEXT_BYTES_MAX},
};
use rustix::{
    cmsg_space,
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
    },
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Signal, getpid, kill_process},
};
use serde::{Deserialize, Serialize};

use super::{
    Failure, Ground, Mode, child, described, fault, fork, open_null, policy, python, read_up_to, sober, surround, tasks,
};
use crate::{
    limits::READ_BYTES,
    outbox::cut,
    resolve::{self, LibrariesIn, Loaded, resolve},
    sandbox::{
        EngineFilter, Policy, Reads, Threads,
        audit::{self, Auditor, Finding, Phase},
        confine_audited_engine, confine_engine, confine_nursery_calls, restrict_nursery,
    },
};

/// What the nursery tells its supervisor, one per packet.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    /// The kernel asks the supervisor, by the descriptor beside this; what may be read follows.
    Audited(Vec<PathBuf>),
    /// The kernel cannot ask; the sandbox is enforced instead.
    Enforced(String),
    /// The processors are loaded: threads that run already.
    Loaded(u32),
    /// The processors cannot be loaded, or the system refuses something.
    Failed(String),
    /// The engine has gone.
    Exited(End),
}

/// How an engine ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) kind: ExitKind,
    pub(crate) fault: Option<FaultReport>,
    /// The address whose use was a fault.
    pub(crate) address: Option<u64>,
}

/// What the supervisor hears.
#[derive(Debug)]
pub(crate) enum Heard<'a> {
    /// The processors are loaded; so many threads run besides the first.
    Loaded(u32),
    /// A message of the engine with its payload.
    Message(FromOffline, &'a [u8]),
    /// The live sandbox would refuse something.
    Finding(Finding),
    /// Something the person should know.
    Notice(String),
}

/// Why there was no engine, or no end of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AloneError {
    /// The system refused something.
    #[error("{0}: {1}")]
    System(&'static str, #[source] Errno),
    /// The processors cannot be loaded.
    #[error("{0}")]
    Load(String),
    /// What came from the engine is no message.
    #[error("the engine's messages are unreadable: the processor writes into descriptors that are not its own")]
    Messages,
    /// Nothing was heard for too long; the engine was killed.
    #[error("nothing came of it for {} s", .0.as_secs())]
    Silent(Duration),
    /// Who listens cannot go on.
    #[error("{0}")]
    Listener(String),
}

/// What is to be done alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task<'a> {
    /// Whose processors.
    pub(crate) pipeline: &'a PipelineSpec,
    /// Longest silence, if there is a limit.
    pub(crate) patience: Option<Duration>,
}

/// Loads the pipeline's processors, runs `body` in an engine, and lets `hear` hear what comes of it. `body` gets the
/// engine's end of the socket, and its error is told as the reason of exit code 1. `hear` gets the supervisor's end,
/// for answers; its error ends the run. Call while there is one thread.
///
/// # Errors
/// [`AloneError`].
pub(crate) fn run(
    task: Task<'_>,
    body: impl FnOnce(&Loaded, Arc<OwnedFd>),
    mut hear: impl FnMut(&OwnedFd, Heard<'_>) -> Result<(), String>,
) -> Result<End, AloneError> {
    let system = |what| move |error| AloneError::System(what, error);
    let (control, control_theirs) = pair(SocketType::SEQPACKET).map_err(system("making a socket"))?;
    let (session, session_theirs) = pair(SocketType::STREAM).map_err(system("making a socket"))?;
    let supervisor = getpid();
    let mut ours = Some((control, session));
    // In this process the closure goes away unused, and with it the nursery's ends, which would hide its end.
    let nursery = {
        let theirs = &mut ours;
        fork::fork(move || {
            // Of the supervisor's ends the nursery keeps no copies.
            *theirs = None;
            be_nursery(task.pipeline, supervisor, &control_theirs, session_theirs, body)
        })
    };
    let nursery = nursery.map_err(system("forking"))?;
    let (Some((control, session)), _kept) = (ours, Nursery(nursery)) else {
        return Err(AloneError::System("making a socket", Errno::BADF));
    };
    let supervisor = Supervisor {
        control,
        session,
        is_open: true,
        auditor: None,
        reader: Reader::default(),
        buffer: vec![0; READ_BYTES],
        end: None,
        patience: task.patience,
    };
    supervisor.supervise(nursery, &mut hear)
}

/// A nursery that is killed when nobody supervises it any more; its engine dies with it.
struct Nursery(Pid);

impl Drop for Nursery {
    fn drop(&mut self) {
        // One that is gone and waited for has a number that nobody else got meanwhile: this process has no other child.
        let _ = kill_process(self.0, Signal::KILL);
        let _ = fork::wait(self.0);
    }
}

fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
}

/// The supervisor's half.
struct Supervisor {
    control: OwnedFd,
    session: OwnedFd,
    /// Whether the engine may still say something.
    is_open: bool,
    auditor: Option<Auditor>,
    reader: Reader,
    buffer: Vec<u8>,
    end: Option<End>,
    patience: Option<Duration>,
}

type Hear<'a> = &'a mut dyn FnMut(&OwnedFd, Heard<'_>) -> Result<(), String>;

/// What the supervisor has to see to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Report,
    Message,
    Question,
}

impl Supervisor {
    fn supervise(mut self, nursery: Pid, hear: Hear<'_>) -> Result<End, AloneError> {
        loop {
            for due in self.wait()? {
                match due {
                    Due::Question => self.answer(hear)?,
                    Due::Message => {
                        self.read(hear)?;
                    }
                    Due::Report if self.hear_report(hear)? => {}
                    Due::Report => {
                        // What the engine said before its end comes first.
                        while self.read(hear)? {}
                        if let Some(end) = self.end.take() {
                            return Ok(end);
                        }
                        // The nursery was the engine, or died without a word.
                        let waited = fork::wait(nursery);
                        let (kind, _) = waited.map_err(|error| AloneError::System("waiting for the engine", error))?;
                        return Ok(End { kind, fault: None, address: None });
                    }
                }
            }
        }
    }

    fn wait(&self) -> Result<Vec<Due>, AloneError> {
        let mut waited = vec![(Due::Report, PollFd::new(&self.control, PollFlags::IN))];
        if self.is_open {
            waited.insert(0, (Due::Message, PollFd::new(&self.session, PollFlags::IN)));
        }
        if let Some(auditor) = &self.auditor {
            waited.insert(0, (Due::Question, PollFd::new(auditor.listener(), PollFlags::IN)));
        }
        let (dues, mut descriptors): (Vec<_>, Vec<_>) = waited.into_iter().unzip();
        let timeout = self.patience.map(|patience| Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        });
        match poll(&mut descriptors, timeout.as_ref()) {
            Ok(0) => Err(AloneError::Silent(self.patience.unwrap_or_default())),
            Ok(_) | Err(Errno::INTR) => {
                // A listener whose processes have all gone hangs up, which asks nothing.
                let is_due = |(due, descriptor): &(Due, PollFd<'_>)| {
                    let events = descriptor.revents();
                    if *due == Due::Question { events.contains(PollFlags::IN) } else { !events.is_empty() }
                };
                Ok(dues.into_iter().zip(descriptors).filter(is_due).map(|(due, _)| due).collect())
            }
            Err(error) => Err(AloneError::System("waiting", error)),
        }
    }

    fn answer(&mut self, hear: Hear<'_>) -> Result<(), AloneError> {
        let Some(auditor) = &mut self.auditor else { return Ok(()) };
        match auditor.answer() {
            Ok(Some(finding)) => hear(&self.session, Heard::Finding(finding)).map_err(AloneError::Listener),
            Ok(None) => Ok(()),
            Err(error) => Err(AloneError::System("auditing", error)),
        }
    }

    /// Reads what the engine sent; `false` when there is nothing now.
    fn read(&mut self, hear: Hear<'_>) -> Result<bool, AloneError> {
        let count = match recv(&self.session, &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::CONNRESET) => {
                self.is_open = false;
                return Ok(false);
            }
            Ok((count, _)) => count,
            Err(Errno::AGAIN) => return Ok(false),
            Err(Errno::INTR) => return Ok(true),
            Err(error) => return Err(AloneError::System("reading from the engine", error)),
        };
        self.reader.extend(&self.buffer[..count]);
        while let Some((message, payload)) = self.reader.next_message().map_err(|_| AloneError::Messages)? {
            hear(&self.session, Heard::Message(message, payload)).map_err(AloneError::Listener)?;
        }
        Ok(true)
    }

    /// Takes one report of the nursery; `false` when it was the last.
    fn hear_report(&mut self, hear: Hear<'_>) -> Result<bool, AloneError> {
        let received = receive(&self.control).map_err(|error| AloneError::System("hearing the nursery", error))?;
        let Some((report, listener)) = received else { return Ok(false) };
        match report {
            Report::Audited(readable) => {
                let listener = listener.ok_or(AloneError::System("auditing", Errno::BADMSG))?;
                let auditor = Auditor::new(listener, &Policy { readable });
                self.auditor = Some(auditor.map_err(|error| AloneError::Load(error.to_string()))?);
            }
            Report::Enforced(reason) => {
                let text = format!("{reason}; the sandbox is enforced instead");
                hear(&self.session, Heard::Notice(text)).map_err(AloneError::Listener)?;
            }
            Report::Loaded(threads) => hear(&self.session, Heard::Loaded(threads)).map_err(AloneError::Listener)?,
            Report::Failed(text) => return Err(AloneError::Load(text)),
            Report::Exited(end) => {
                self.end = Some(end);
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn receive(control: &OwnedFd) -> Result<Option<(Report, Option<OwnedFd>)>, Errno> {
    let mut packet = vec![0; NURSERY_PACKET_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut packet)];
    let received = match recvmsg(control, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
        Ok(received) => received,
        Err(Errno::CONNRESET) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut listener = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            listener = rights.last();
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let bytes = packet.get(..received.bytes).ok_or(Errno::MSGSIZE)?;
    Ok(Some((postcard::from_bytes(bytes).map_err(|_| Errno::BADMSG)?, listener)))
}

fn send(control: &OwnedFd, report: &Report, listener: Option<&OwnedFd>) -> Result<(), Errno> {
    let packet = postcard::to_allocvec(report).map_err(|_| Errno::MSGSIZE)?;
    let rights: Vec<_> = listener.iter().map(|listener| listener.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !rights.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&rights));
    }
    sendmsg(control, &[IoSlice::new(&packet)], &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

/// The nursery's process. Returns its exit code, or that of the engine it became.
fn be_nursery(
    pipeline: &PipelineSpec,
    supervisor: Pid,
    control: &OwnedFd,
    session: OwnedFd,
    body: impl FnOnce(&Loaded, Arc<OwnedFd>),
) -> i32 {
    let failed = |text: &str| {
        // When the supervisor has gone there is nobody to tell.
        let _ = send(control, &Report::Failed(cut(text, TEXT_BYTES_MAX).to_owned()), None);
        1
    };
    let (ground, mode) = match prepare(pipeline, supervisor, control) {
        Ok(prepared) => prepared,
        Err(error) => return failed(&error.to_string()),
    };
    if let Err(error) = ground.connect(std::io::stderr().as_fd()) {
        return failed(&format!("connecting to the Python process: {error}"));
    }
    let threads = tasks().saturating_sub(1);
    if send(control, &Report::Loaded(threads), None).is_err() {
        return 1;
    }
    if threads > 0 {
        // A fork would lose the threads: this process becomes the engine, and nobody names the place of a crash.
        return be_engine(&ground, mode, None, session, Threads::All, body);
    }
    let Ok((fault_reader, fault)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else {
        return failed("no pipe for the engine's last words");
    };
    let nursery = getpid();
    let engine = fork::fork(|| match child::die_with_parent(Some(nursery)) {
        Ok(()) => be_engine(&ground, mode, Some(fault), session, Threads::Caller, body),
        Err(_) => 1,
    });
    match engine.and_then(fork::wait) {
        Ok((kind, _)) => {
            let mut bytes = [0; fault::RECORD_BYTES_MAX];
            let length = read_up_to(&mut File::from(fault_reader), &mut bytes);
            // A record from before the end, say of a signal the processor handled, explains nothing.
            let fault = fault::explain(&bytes[..length], &ground.loaded)
                .filter(|report| kind == ExitKind::Signal(report.signal));
            let address = fault.as_ref().and_then(|_| fault::address(&bytes[..length]));
            i32::from(send(control, &Report::Exited(End { kind, fault, address }), None).is_err())
        }
        Err(error) => failed(&format!("forking the engine: {error}")),
    }
}

/// As a live nursery does it, but for the audit.
fn prepare(pipeline: &PipelineSpec, supervisor: Pid, control: &OwnedFd) -> Result<(Ground, SandboxMode), Failure> {
    child::die_with_parent(Some(supervisor))?;
    sober();
    child::silence_output().map_err(|error| Failure::System("arranging descriptors", error))?;
    framegate_codec::preload()?;
    let prepared = resolve(pipeline)?;
    surround(&prepared);
    let policy = policy(pipeline, &prepared);
    let filter = EngineFilter::new()?;
    let told = |error| Failure::System("reporting to the supervisor", error);
    let python = resolve::python(&prepared);
    let mut sandbox = pipeline.sandbox;
    if sandbox == SandboxMode::Audit {
        // A Python process restricts itself, which no audit sees through.
        let audited = if python.is_some() { Err("Python processors cannot be audited".to_owned()) } else { Ok(()) };
        match audited.and_then(|()| audit::install().map_err(|error| format!("this kernel cannot audit: {error}"))) {
            Ok(listener) => {
                send(control, &Report::Audited(policy.readable.clone()), Some(&listener)).map_err(told)?;
            }
            Err(reason) => {
                sandbox = SandboxMode::Enforce;
                send(control, &Report::Enforced(reason), None).map_err(told)?;
            }
        }
    }
    let null = open_null()?;
    let reads = match sandbox {
        SandboxMode::Enforce => restrict_nursery(&policy)?,
        SandboxMode::Audit => Reads::Unrestricted,
    };
    // One engine is all there will be, so that no process needs to be forked for it.
    let start = |plan| python::Host::start(&plan, &policy, &filter, pipeline.isolation, Mode::Once);
    let mut python = python.map(start).transpose()?;
    if sandbox == SandboxMode::Enforce {
        confine_nursery_calls()?;
    }
    // And with one engine there is nothing to share.
    let (described, python_tasks) = described(&mut python, pipeline.isolation)?;
    audit::enter(Phase::Nursery);
    let loaded = resolve::load(&pipeline.name, prepared, described, LibrariesIn::Engine);
    audit::enter(Phase::Own);
    fault::warm_up();
    let ground = Ground { loaded: loaded?, filter, policy, reads, null, python, python_tasks, shared: None };
    let connected = ground.connect(std::io::stderr().as_fd());
    connected.map_err(|error| Failure::System("connecting to Python", error))?;
    Ok((ground, sandbox))
}

/// The engine's process: the sandbox, the work, and the exit code.
fn be_engine(
    ground: &Ground,
    mode: SandboxMode,
    fault: Option<OwnedFd>,
    session: OwnedFd,
    threads: Threads,
    body: impl FnOnce(&Loaded, Arc<OwnedFd>),
) -> i32 {
    let pipe = fault.as_ref().map(|fault| fault.as_raw_fd());
    let confined = fault::install(pipe).map_err(|error| Failure::System("installing the fault handler", error));
    let confined = confined.and_then(|()| match mode {
        SandboxMode::Enforce => Ok(confine_engine(&ground.policy, &ground.filter, threads)?),
        SandboxMode::Audit => Ok(confine_audited_engine()?),
    });
    let session = Arc::new(session);
    if let Err(error) = confined {
        let text = cut(&error.to_string(), TEXT_BYTES_MAX).to_owned();
        let outbox = crate::outbox::Outbox::offline(session);
        let message = FromOffline::Failed { kind: framegate_wire::OfflineFailure::Environment, text };
        // When the supervisor has gone there is nobody to tell.
        let _ = outbox.push_offline(&message, &[]).and_then(|()| outbox.flush());
        return 1;
    }
    audit::enter(Phase::Engine);
    body(&ground.loaded, session);
    audit::enter(Phase::Own);
    0
}
