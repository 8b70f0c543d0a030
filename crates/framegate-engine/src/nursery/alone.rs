//! One engine without a gateway: for `offline` and `check`.
//!
//! Three processes, as live: a supervisor, which runs no foreign code; a nursery, which loads the processors; and an
//! engine forked from it, so that the nursery can name the place of a crash. The engine talks to the supervisor on a
//! socket of its own. Under an audit the supervisor answers for the kernel's questions. What processors print comes to it
//! by a pipe.

mod inside;
mod output;
mod preparing;
mod report;

use std::{
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use framegate_wire::{ExitKind, FaultReport, FromOffline, PipelineSpec, frame::Reader};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair},
    process::{Pid, Signal, getpid, kill_process},
};
use serde::{Deserialize, Serialize};

use super::fork;
use crate::{
    limits::READ_BYTES,
    resolve::Loaded,
    sandbox::{
        Policy,
        audit::{Auditor, Finding},
    },
};
use inside::Ends;
use output::Output;
use preparing::Preparing;
use report::Report;

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
    /// Longest silence once the sources are compiled, if there is a limit. What processors print breaks no silence.
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
    let (output, output_theirs) = Output::new().map_err(system("making a pipe"))?;
    let supervisor = getpid();
    let theirs = Ends { control: control_theirs, session: session_theirs, output: output_theirs };
    let mut ours = Some((control, session, output));
    // In this process the closure goes away unused, and with it the nursery's ends, which would hide its end.
    let nursery = {
        let ours = &mut ours;
        fork::fork(move || {
            // Of the supervisor's ends the nursery keeps no copies.
            *ours = None;
            inside::be_nursery(task.pipeline, supervisor, theirs, body)
        })
    };
    let nursery = nursery.map_err(system("forking"))?;
    let (Some((control, session, output)), mut nursery) = (ours, Nursery(Some(nursery))) else {
        return Err(AloneError::System("making a socket", Errno::BADF));
    };
    let mut supervisor = Supervisor {
        control,
        session,
        is_open: true,
        output,
        auditor: None,
        reader: Reader::default(),
        buffer: vec![0; READ_BYTES],
        end: None,
        patience: task.patience,
        preparing: Preparing::new(task.pipeline),
        heard: None,
    };
    let ended = supervisor.supervise(&mut nursery, &mut hear);
    // The last words, above all of what went wrong.
    while supervisor.output.show() {}
    ended
}

/// A nursery that is killed when nobody supervises it any more; its engine dies with it. `None` once it was waited for:
/// its number may then be somebody else's.
struct Nursery(Option<Pid>);

impl Nursery {
    /// Waits for its end, and says how it ended.
    fn wait(&mut self) -> Result<ExitKind, Errno> {
        let (kind, _) = fork::wait(self.0.take().ok_or(Errno::CHILD)?)?;
        Ok(kind)
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        if let Some(nursery) = self.0 {
            // It may be gone already, which is what is wanted.
            let _ = kill_process(nursery, Signal::KILL);
            let _ = fork::wait(nursery);
        }
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
    output: Output,
    auditor: Option<Auditor>,
    reader: Reader,
    buffer: Vec<u8>,
    end: Option<End>,
    patience: Option<Duration>,
    /// What the terminal shows while sources are compiled.
    preparing: Option<Preparing>,
    /// When the nursery or the engine last said something, once the sources are compiled: compiling has its own limit.
    heard: Option<Instant>,
}

type Hear<'a> = &'a mut dyn FnMut(&OwnedFd, Heard<'_>) -> Result<(), String>;

/// What the supervisor has to see to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Report,
    Message,
    Output,
    Question,
}

impl Supervisor {
    fn supervise(&mut self, nursery: &mut Nursery, hear: Hear<'_>) -> Result<End, AloneError> {
        loop {
            for due in self.wait()? {
                match due {
                    Due::Question => self.answer(hear)?,
                    Due::Output => {
                        self.output.show();
                    }
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
                        let waited = nursery.wait();
                        let kind = waited.map_err(|error| AloneError::System("waiting for the engine", error))?;
                        return Ok(End { kind, fault: None, address: None });
                    }
                }
            }
        }
    }

    /// What is due; nothing when it is time to show that sources are compiled.
    fn wait(&mut self) -> Result<Vec<Due>, AloneError> {
        let timeout = self.timeout()?;
        let mut waited = vec![(Due::Report, PollFd::new(&self.control, PollFlags::IN))];
        if self.is_open {
            waited.insert(0, (Due::Message, PollFd::new(&self.session, PollFlags::IN)));
        }
        if let Some(pipe) = self.output.pipe() {
            waited.insert(0, (Due::Output, PollFd::new(pipe, PollFlags::IN)));
        }
        if let Some(auditor) = &self.auditor {
            waited.insert(0, (Due::Question, PollFd::new(auditor.listener(), PollFlags::IN)));
        }
        let (dues, mut descriptors): (Vec<_>, Vec<_>) = waited.into_iter().unzip();
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        match poll(&mut descriptors, timeout.as_ref()) {
            Ok(0) => {
                if let Some(preparing) = &mut self.preparing {
                    preparing.show();
                }
                Ok(Vec::new())
            }
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

    /// Longest time to wait now.
    fn timeout(&self) -> Result<Option<Duration>, AloneError> {
        if let Some(preparing) = &self.preparing {
            return Ok(Some(preparing.interval()));
        }
        let (Some(patience), Some(heard)) = (self.patience, self.heard) else { return Ok(None) };
        match patience.checked_sub(heard.elapsed()) {
            Some(left) if !left.is_zero() => Ok(Some(left)),
            _ => Err(AloneError::Silent(patience)),
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
        self.heard = Some(Instant::now());
        self.reader.extend(&self.buffer[..count]);
        while let Some((message, payload)) = self.reader.next_message().map_err(|_| AloneError::Messages)? {
            hear(&self.session, Heard::Message(message, payload)).map_err(AloneError::Listener)?;
        }
        Ok(true)
    }

    /// Takes one report of the nursery; `false` when it was the last.
    fn hear_report(&mut self, hear: Hear<'_>) -> Result<bool, AloneError> {
        let received =
            report::receive(&self.control).map_err(|error| AloneError::System("hearing the nursery", error))?;
        let Some((report, listener)) = received else { return Ok(false) };
        self.preparing = None;
        self.heard = Some(Instant::now());
        match report {
            Report::Resolved => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_begins_when_the_sources_are_compiled() {
        let ((control, nursery), (session, _engine)) =
            (pair(SocketType::SEQPACKET).unwrap(), pair(SocketType::STREAM).unwrap());
        let mut supervisor = Supervisor {
            control,
            session,
            is_open: true,
            output: Output::new().unwrap().0,
            auditor: None,
            reader: Reader::default(),
            buffer: Vec::new(),
            end: None,
            patience: Some(Duration::ZERO),
            preparing: None,
            heard: None,
        };
        assert!(matches!(supervisor.timeout(), Ok(None)), "compilers have a limit of their own");
        report::send(&nursery, &Report::Resolved, None).unwrap();
        assert!(supervisor.hear_report(&mut |_, _| Ok(())).unwrap());
        assert!(matches!(supervisor.timeout(), Err(AloneError::Silent(Duration::ZERO))));
    }
}
