//! Forking a process for one piece of work, and how it ended.

use std::{
    mem::MaybeUninit,
    os::unix::process::CommandExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    time::Duration,
};

use framegate_wire::ExitKind;
use rustix::{
    io::Errno,
    process::{Pid, Resource, Rlimit, Signal, getpid, getppid, set_parent_process_death_signal, setrlimit},
};

use super::child::{exit, last_errno};

/// Forks; the child does `body`, exits with its code, and never returns. Call while there is one thread.
pub(crate) fn fork(body: impl FnOnce() -> i32) -> Result<Pid, Errno> {
    // SAFETY: this process has one thread, which the caller vouches for, so the child finds every lock as it should be.
    match unsafe { libc::fork() } {
        -1 => Err(last_errno()),
        0 => {
            let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
            // SAFETY: flushing every stream of the C library; a processor's threads, if any, are part of its own peril.
            unsafe { libc::fflush(std::ptr::null_mut()) };
            exit(code)
        }
        pid => Pid::from_raw(pid).ok_or(Errno::SRCH),
    }
}

/// Has a program end with this process, even when this one is killed: the program itself at once, those that it starts
/// when they have used `cpu_max` of CPU time. Call from a thread that outlives the program.
pub(crate) fn end_with_us(command: &mut Command, cpu_max: Duration) {
    let (us, seconds) = (getpid(), Some(cpu_max.as_secs().max(1)));
    let bind = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(us) {
            return Err(Errno::SRCH.into());
        }
        Ok(setrlimit(Resource::Cpu, Rlimit { current: seconds, maximum: seconds })?)
    };
    // SAFETY: between fork and exec it makes system calls only, and takes neither locks nor memory.
    unsafe { command.pre_exec(bind) };
}

/// Waits for the end of a child: how it ended, and how many microseconds of CPU time it used.
pub(crate) fn wait(child: Pid) -> Result<(ExitKind, u64), Errno> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are valid for the call.
        let waited = unsafe { libc::wait4(child.as_raw_nonzero().get(), &raw mut status, 0, usage.as_mut_ptr()) };
        if waited >= 0 {
            break;
        }
        match last_errno() {
            Errno::INTR => {}
            error => return Err(error),
        }
    }
    // SAFETY: plain numbers, for which zero is valid, and filled by the kernel.
    let usage = unsafe { usage.assume_init() };
    let us = |time: libc::timeval| {
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0)
    };
    let kind = if libc::WIFSIGNALED(status) {
        ExitKind::Signal(libc::WTERMSIG(status))
    } else {
        ExitKind::Code(libc::WEXITSTATUS(status))
    };
    Ok((kind, us(usage.ru_utime) + us(usage.ru_stime)))
}
