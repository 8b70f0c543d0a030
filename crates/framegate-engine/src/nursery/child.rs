//! An engine's process: forking it, what it does first, and how it ended.

use std::{
    cell::RefCell,
    fs::File,
    io::Write,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
    panic::{AssertUnwindSafe, catch_unwind},
};

use framegate_wire::{ExitKind, FaultReport, NurseryReply};
use rustix::{
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::{
        Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, pidfd_send_signal, set_parent_process_death_signal,
    },
};

use super::{Failure, Ground, fault, read_up_to, trial};
use crate::{
    bridge::link::Link,
    engine,
    resolve::Loaded,
    sandbox::{Threads, confine_engine},
};

/// Where an engine finds its session's socket.
const SESSION_FD: RawFd = 3;
/// Where its fault handler finds the pipe to the nursery.
const FAULT_FD: RawFd = 4;
/// Where an engine's bridge to another process is, and the area of its answers.
const BRIDGE_FDS: [RawFd; 2] = [5, 6];
/// Descriptors from here on are not in the way of the fixed ones.
const FREE_FD: RawFd = 10;

/// A running engine, seen from the nursery.
#[derive(Debug)]
pub(super) struct Child {
    engine: u64,
    pid: Pid,
    pub(super) pidfd: OwnedFd,
    fault: File,
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) kind: ExitKind,
    /// What its fault handler said.
    pub(super) fault: Option<FaultReport>,
    /// CPU time it used, in microseconds.
    cpu_us: u64,
}

/// What a child is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Serving a session.
    Engine,
    /// Making the instances once; the session's socket is where it says what they are like.
    Trial,
}

/// What an engine is born with.
#[derive(Debug)]
pub(super) struct Roots {
    pub(super) session: OwnedFd,
    pub(super) log: OwnedFd,
    /// Where its fault handler writes, if anybody reads it.
    pub(super) fault: Option<OwnedFd>,
}

impl Child {
    /// Forks an engine or a trial. Both descriptors are closed here when this returns.
    pub(super) fn fork(
        engine: u64,
        session: OwnedFd,
        log: OwnedFd,
        ground: &Ground,
        task: Task,
    ) -> Result<Self, Errno> {
        let (fault_reader, fault) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        ground.connect(log.as_fd())?;
        let nursery = getpid();
        // SAFETY: this process has one thread, which the caller checked, so the child finds every lock as it should be.
        let forked = unsafe { libc::fork() };
        if forked != 0 {
            ground.disconnect();
        }
        match forked {
            -1 => Err(last_errno()),
            0 => {
                if die_with_parent(Some(nursery)).is_err() {
                    exit(1);
                }
                be_child(Roots { session, log, fault: Some(fault) }, ground, Threads::Caller, task)
            }
            pid => {
                drop((session, log, fault));
                let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
                // It cannot be reaped, and its number not be reused, before this process waits for it.
                let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
                Ok(Self { engine, pid, pidfd, fault: fault_reader.into() })
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    pub(super) fn kill(&self) {
        // One that is gone already needs no signal.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// What to tell the gateway once the engine has gone; `None` while it runs.
    pub(super) fn reap(&mut self, loaded: &Loaded) -> Option<NurseryReply> {
        let Ended { kind, fault, cpu_us } = self.ended(loaded)?;
        Some(NurseryReply::Exited { engine: self.engine, kind, fault, cpu_us })
    }

    /// Takes leave of the process, once it has gone.
    pub(super) fn ended(&mut self, loaded: &Loaded) -> Option<Ended> {
        let mut status = 0;
        // SAFETY: `rusage` is plain numbers, for which zero is valid.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are valid for the call; `pid` is a child of this process that was not yet waited for.
        let waited =
            unsafe { libc::wait4(self.pid.as_raw_nonzero().get(), &raw mut status, libc::WNOHANG, &raw mut usage) };
        if waited == 0 {
            return None;
        }
        let kind = if libc::WIFSIGNALED(status) {
            ExitKind::Signal(libc::WTERMSIG(status))
        } else {
            ExitKind::Code(libc::WEXITSTATUS(status))
        };
        let us = |time: libc::timeval| {
            u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0)
        };
        let cpu_us = us(usage.ru_utime) + us(usage.ru_stime);
        Some(Ended { kind, fault: self.fault_report(kind, loaded), cpu_us })
    }

    fn fault_report(&mut self, kind: ExitKind, loaded: &Loaded) -> Option<FaultReport> {
        let mut bytes = [0; fault::RECORD_BYTES_MAX];
        let length = read_up_to(&mut self.fault, &mut bytes);
        let report = fault::explain(&bytes[..length], loaded)?;
        // A record from before the end, say of a signal the processor handled, explains nothing.
        (kind == ExitKind::Signal(report.signal)).then_some(report)
    }
}

/// Turns this process into an engine or a trial: descriptors, fault handler, sandbox, task. Never returns.
pub(super) fn be_child(roots: Roots, ground: &Ground, threads: Threads, task: Task) -> ! {
    let ended = catch_unwind(AssertUnwindSafe(|| serve(roots, ground, threads, task)));
    // SAFETY: flushing every stream of the C library; the processor's threads, if any, are part of its own peril.
    unsafe { libc::fflush(std::ptr::null_mut()) };
    exit(match ended {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            // To the engine's own log; when that fails too, the exit status must do.
            let _ = writeln!(std::io::stderr(), "framegate-engine: {error}");
            1
        }
        Err(_) => 101,
    })
}

fn serve(roots: Roots, ground: &Ground, threads: Threads, task: Task) -> Result<(), Failure> {
    let session =
        place(roots, threads, &ground.loaded.link).map_err(|error| Failure::System("arranging descriptors", error))?;
    confine_engine(&ground.policy, &ground.filter, threads)?;
    match task {
        Task::Engine => Ok(engine::run(session, &ground.loaded)?),
        Task::Trial => Ok(trial::run(session, &ground.loaded).map_err(Failure::Answer)?),
    }
}

/// Puts the descriptors in their places, closes all others, and installs the fault handler.
fn place(roots: Roots, threads: Threads, link: &RefCell<Option<Link>>) -> Result<OwnedFd, Errno> {
    let has_fault_pipe = roots.fault.is_some();
    // First out of the way: any of them may have the number that another one is to get.
    let [session, log] = [free(roots.session)?, free(roots.log)?];
    let fault = roots.fault.map(free).transpose()?;
    put(&session, SESSION_FD)?;
    put(&log, 1)?;
    put(&log, 2)?;
    match &fault {
        Some(fault) => put(fault, FAULT_FD)?,
        // SAFETY: nothing in this process owns that number: libraries keep theirs by number, and lose it here.
        None if threads == Threads::Caller => drop(unsafe { libc::close(FAULT_FD) }),
        None => {}
    }
    drop((session, log, fault));
    if threads == Threads::Caller {
        let last = place_link(link)?;
        // Whatever else the nursery holds: an inherited socket would hide another session's end from the gateway.
        // SAFETY: no owned descriptor in this process is used after this but the ones placed above.
        if unsafe { libc::close_range(last.cast_unsigned() + 1, u32::MAX, 0) } != 0 {
            return Err(last_errno());
        }
    }
    line_buffer_stdout();
    fault::install(has_fault_pipe.then_some(FAULT_FD))?;
    // SAFETY: the number was just given to a duplicate that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(SESSION_FD) })
}

/// Leads standard output and error to `pipe`, so that what a processor prints is seen and mixes with nothing.
pub(super) fn lead_output(pipe: OwnedFd) -> Result<(), Errno> {
    put(&pipe, 1)?;
    put(&pipe, 2)?;
    line_buffer_stdout();
    Ok(())
}

/// Puts the descriptors of a link in their places; the last number that is taken now.
fn place_link(link: &RefCell<Option<Link>>) -> Result<RawFd, Errno> {
    let Some(Link { socket, frames, area }) = link.take() else { return Ok(FAULT_FD) };
    let [bridge_fd, area_fd] = BRIDGE_FDS;
    let (socket, area) = (free(socket)?, free(area)?);
    put(&socket, bridge_fd)?;
    put(&area, area_fd)?;
    drop((socket, area));
    // SAFETY: both numbers were just given to duplicates that nothing else owns.
    let (socket, area) = unsafe { (OwnedFd::from_raw_fd(bridge_fd), OwnedFd::from_raw_fd(area_fd)) };
    link.replace(Some(Link { socket, frames, area }));
    Ok(area_fd)
}

pub(super) fn free(descriptor: OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(&descriptor, FREE_FD)
}

pub(super) fn put(descriptor: &OwnedFd, number: RawFd) -> Result<(), Errno> {
    // SAFETY: what `number` was before is replaced on purpose; no owner of it is used again in this process.
    if unsafe { libc::dup2(descriptor.as_raw_fd(), number) } < 0 { Err(last_errno()) } else { Ok(()) }
}

/// On a pipe the C library would hold lines back until 4 KiB are full, and lose them in a crash.
pub(super) fn line_buffer_stdout() {
    unsafe extern "C" {
        static mut stdout: *mut libc::FILE;
    }
    // SAFETY: `stdout` is the C library's own stream; nothing has been written to it in this process.
    unsafe { libc::setvbuf(stdout, std::ptr::null_mut(), libc::_IOLBF, 0) };
}

/// Asks the kernel to kill this process when its parent's thread ends, and makes sure that has not happened yet.
pub(super) fn die_with_parent(parent: Option<Pid>) -> Result<(), Failure> {
    let refused = |error| Failure::System("PR_SET_PDEATHSIG", error);
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(refused)?;
    if getppid() == parent { Ok(()) } else { Err(Failure::Orphaned) }
}

/// The error of the last system call.
pub(super) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Ends the process without running exit handlers, which belong to the nursery or to threads that do not exist here.
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: always safe to call.
    unsafe { libc::_exit(code) }
}
