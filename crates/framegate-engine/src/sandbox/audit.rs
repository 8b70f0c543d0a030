//! The sandbox that lets everything pass and says what `serve` would refuse.
//!
//! [`install`] puts a filter on that asks about every system call an engine could not make anyway. The kernel hands the
//! questions to an [`Auditor`] in another process, which puts each to the filters of the real sandbox, looks paths up in
//! the policy, lets the call go on and tells what is new. What kills in the real sandbox still kills. A process says by a
//! mark whose code it runs; what it starts is the same until it becomes another program.
//!
//! It advises: a processor with threads can change a path between the look and the call. Nothing relies on it.

mod call;
mod verdict;

use std::{
    collections::{BTreeSet, VecDeque},
    fs::File,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
};

use rustix::io::Errno;
use seccompiler::{BpfProgram, apply_filter};

use super::{
    Policy, SYSTEM_PATHS,
    filter::{AuditPrograms, FilterError, own_process},
};
use call::{Call, Opens};
use verdict::{Verdict, verdict};

/// Distinct findings told of one run: more would hide the first ones.
const FINDINGS_MAX: usize = 64;

/// Processes remembered that went on to run another program.
const LEFT_MAX: usize = 256;

/// Longest path read from an audited process, in bytes: the kernel's own limit.
const PATH_BYTES_MAX: usize = 4096;

/// First argument of the `seccomp` call, which the kernel knows no operation for, by which an audited process says what
/// it is from now on. The second one is a [`Phase`].
pub(super) const MARK: u64 = 0x4647_4155;

/// What an audited process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// framegate's own code, which is not reported.
    Own = 0,
    /// A nursery that loads processors.
    Nursery = 1,
    /// An engine that runs them.
    Engine = 2,
}

/// Something the sandbox of `serve` would refuse.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// What was done, as in "reading /etc/passwd".
    pub(crate) what: String,
    /// What would allow it, if anything does.
    pub(crate) remedy: Option<String>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.remedy {
            Some(remedy) => write!(f, "serve would refuse: {} · to allow: {remedy}", self.what),
            None => write!(f, "serve would refuse: {} · no configuration allows it", self.what),
        }
    }
}

/// Puts the asking filter on this process and everything it will start. The result is the listener, for an [`Auditor`]
/// in another process. Call while there is one thread.
///
/// # Errors
/// [`FilterError`]; the kernel refuses when it cannot ask (before 5.5), or when somebody asks already.
pub(crate) fn install() -> Result<OwnedFd, FilterError> {
    let programs = AuditPrograms::new()?;
    for program in &programs.ahead {
        apply_filter(program)?;
    }
    listen(&programs.asks).map_err(FilterError::Listen)
}

/// Installs `program` with a listener. `no_new_privs` has been set by the filters before.
fn listen(program: &BpfProgram) -> Result<OwnedFd, Errno> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
    let list = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the list points to as many instructions as it says, laid out as the kernel's `sock_filter`; the kernel
    // copies them.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const list,
        )
    };
    match i32::try_from(answer) {
        // SAFETY: the kernel made this descriptor for us just now.
        Ok(descriptor @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(last_errno()),
    }
}

/// Tells the auditor what this process is from now on. Without an auditor it does nothing.
pub(crate) fn enter(phase: Phase) {
    // SAFETY: the kernel knows no such operation and answers EINVAL, whatever the other arguments are.
    unsafe { libc::syscall(libc::SYS_seccomp, MARK, phase as u64, 0) };
}

/// Answers the kernel's questions.
#[derive(Debug)]
pub(crate) struct Auditor {
    listener: OwnedFd,
    nursery: Vec<BpfProgram>,
    engine: Vec<BpfProgram>,
    readable: Vec<PathBuf>,
    /// What each audited process says it is.
    phases: Vec<(u32, Phase)>,
    /// Processes that went on to run another program, newest last: of them that was told, and nothing more.
    left: VecDeque<u32>,
    told: BTreeSet<Finding>,
}

impl Auditor {
    /// An auditor that measures by `policy`.
    pub(crate) fn new(listener: OwnedFd, policy: &Policy) -> Result<Self, FilterError> {
        let AuditPrograms { nursery, engine, .. } = AuditPrograms::new()?;
        let system = SYSTEM_PATHS.iter().map(PathBuf::from);
        let readable =
            system.chain(policy.readable.iter().cloned()).filter_map(|path| path.canonicalize().ok()).collect();
        Ok(Self {
            listener,
            nursery,
            engine,
            readable,
            phases: Vec::new(),
            left: VecDeque::new(),
            told: BTreeSet::new(),
        })
    }

    /// The descriptor that is readable while a question waits, and hung up when nobody is left to ask about.
    pub(crate) fn listener(&self) -> &OwnedFd {
        &self.listener
    }

    /// Answers one question. A finding is given the first time only.
    pub(crate) fn answer(&mut self) -> Result<Option<Finding>, Errno> {
        let Some(question) = receive(&self.listener)? else { return Ok(None) };
        let finding = self.judge(&question);
        go_on(&self.listener, question.id)?;
        let Some(finding) = finding else { return Ok(None) };
        let is_new = self.told.len() < FINDINGS_MAX && self.told.insert(finding.clone());
        Ok(is_new.then_some(finding))
    }

    fn judge(&mut self, question: &libc::seccomp_notif) -> Option<Finding> {
        let (process, parent) = process_of(question.pid)?;
        let data = &question.data;
        if i64::from(data.nr) == libc::SYS_seccomp && data.args[0] == MARK {
            self.mark(process, data.args[1]);
            return None;
        }
        let phase = self.phase_of(process, parent);
        let call = Call { number: data.nr.into(), arguments: data.args };
        let mut programs: Vec<&BpfProgram> = self.nursery.iter().collect();
        let own = own_process(process).ok()?;
        match phase {
            Phase::Own => return None,
            Phase::Nursery => {}
            Phase::Engine => programs.extend(self.engine.iter().chain([&own])),
        }
        let is_allowed = programs.iter().all(|program| verdict(program, data) == Verdict::Allow);
        let path = call.path_argument();
        let path = path.and_then(|(folder, text)| path_at(question.pid, folder, text));
        if call.starts_program() {
            // One that is not there is only looked for.
            if !path.as_ref().is_some_and(|path| path.exists()) {
                return None;
            }
            self.leave(process);
        }
        if !is_allowed {
            let finding = Finding { what: call.describe(path.as_deref()), remedy: None };
            return call.is_missed().then_some(finding);
        }
        if call.opens() != Opens::Nothing
            && let Some(path) = path
        {
            return self.judge_reading(&path, process, phase);
        }
        None
    }

    /// What a process is: what it says, or else what the one that started it is.
    fn phase_of(&self, process: u32, parent: u32) -> Phase {
        let said = |process: u32| self.phases.iter().find(|(known, _)| *known == process).map(|(_, phase)| *phase);
        if self.left.contains(&process) {
            return Phase::Own;
        }
        said(process).or_else(|| said(parent)).unwrap_or(Phase::Own)
    }

    /// Notes that a process runs another program from now on, which is nobody's processor.
    fn leave(&mut self, process: u32) {
        if self.left.len() == LEFT_MAX {
            self.left.pop_front();
        }
        self.left.push_back(process);
    }

    fn mark(&mut self, process: u32, phase: u64) {
        let phase = match phase {
            1 => Phase::Nursery,
            2 => Phase::Engine,
            _ => Phase::Own,
        };
        self.phases.retain(|(known, _)| *known != process);
        self.phases.push((process, phase));
    }

    fn judge_reading(&self, path: &Path, process: u32, phase: Phase) -> Option<Finding> {
        let own = [PathBuf::from("/proc/self"), PathBuf::from("/proc/thread-self"), format!("/proc/{process}").into()];
        if own.iter().any(|own| path.starts_with(own)) || phase == Phase::Nursery && path.starts_with("/proc") {
            return None;
        }
        // What is not there cannot be refused.
        let real = path.canonicalize().ok()?;
        let is_readable = self.readable.iter().any(|allowed| real.starts_with(allowed));
        let remedy = || format!("readable = [{:?}] in [[pipelines]]", path.display().to_string());
        (!is_readable).then(|| Finding { what: format!("reading {}", path.display()), remedy: Some(remedy()) })
    }
}

/// The next question; `None` when the one that waited is void, because its process was killed.
fn receive(listener: &OwnedFd) -> Result<Option<libc::seccomp_notif>, Errno> {
    // The kernel demands zeroes.
    let mut question = MaybeUninit::<libc::seccomp_notif>::zeroed();
    // SAFETY: the kernel fills the struct, which is as large as the request's number says.
    match unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, question.as_mut_ptr()) } {
        // SAFETY: plain numbers, initialised with zeroes and filled by the kernel.
        0.. => Ok(Some(unsafe { question.assume_init() })),
        _ => match last_errno() {
            Errno::NOENT | Errno::INTR => Ok(None),
            error => Err(error),
        },
    }
}

/// Lets the asked-about call go on.
fn go_on(listener: &OwnedFd, id: u64) -> Result<(), Errno> {
    #[expect(clippy::cast_possible_truncation, reason = "the flag is 1")]
    let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
    let mut answer = libc::seccomp_notif_resp { id, val: 0, error: 0, flags };
    // SAFETY: the struct is as large as the request's number says.
    match unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) } {
        0.. => Ok(()),
        _ => match last_errno() {
            // It was killed meanwhile.
            Errno::NOENT => Ok(()),
            error => Err(error),
        },
    }
}

/// The process a thread belongs to, and that one's parent.
fn process_of(thread: u32) -> Option<(u32, u32)> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let number = |name| status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok();
    Some((number("Tgid:")?, number("PPid:")?))
}

/// The path whose text lies at address `text` of a thread, relative to its folder `folder`.
fn path_at(thread: u32, folder: Option<i32>, text: u64) -> Option<PathBuf> {
    let memory = File::open(format!("/proc/{thread}/mem")).ok()?;
    let mut bytes = Vec::new();
    // Page by page: the text may end right before memory that is not mapped.
    while bytes.len() < PATH_BYTES_MAX {
        let at = text.checked_add(bytes.len() as u64)?;
        let mut chunk = vec![0; 256 - usize::try_from(at % 256).ok()?];
        memory.read_exact_at(&mut chunk, at).ok()?;
        let end = chunk.iter().position(|&byte| byte == 0);
        bytes.extend_from_slice(&chunk[..end.unwrap_or(chunk.len())]);
        if end.is_some() {
            break;
        }
    }
    let path = PathBuf::from(String::from_utf8_lossy(&bytes).into_owned());
    if path.is_absolute() {
        return Some(path);
    }
    let base = match folder {
        Some(descriptor) => std::fs::read_link(format!("/proc/{thread}/fd/{descriptor}")),
        None => std::fs::read_link(format!("/proc/{thread}/cwd")),
    };
    Some(base.ok()?.join(path))
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
