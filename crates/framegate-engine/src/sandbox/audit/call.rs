//! System calls for people. Pure.

use std::path::Path;

/// A system call and its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) number: i64,
    pub(super) arguments: [u64; 6],
}

/// What a call opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opens {
    /// Nothing.
    Nothing,
    /// A file or folder.
    Path,
}

/// Names of socket domains that programs use.
const DOMAINS: [(i32, &str); 6] = [
    (libc::AF_UNIX, "AF_UNIX"),
    (libc::AF_INET, "AF_INET"),
    (libc::AF_INET6, "AF_INET6"),
    (libc::AF_NETLINK, "AF_NETLINK"),
    (libc::AF_PACKET, "AF_PACKET"),
    (libc::AF_VSOCK, "AF_VSOCK"),
];

/// What calls with a path do, beside opening: the number, which argument the path is, whether the one before it is a
/// folder, and the words for it.
const WITH_PATH: &[(i64, usize, bool, &str)] = &[
    (libc::SYS_execve, 0, false, "starting a program (execve"),
    (libc::SYS_execveat, 1, true, "starting a program (execveat"),
    (libc::SYS_unlinkat, 1, true, "deleting (unlinkat"),
    (libc::SYS_mkdirat, 1, true, "making a folder (mkdirat"),
    (libc::SYS_mknodat, 1, true, "making a node (mknodat"),
    (libc::SYS_renameat2, 1, true, "renaming (renameat2"),
    (libc::SYS_linkat, 1, true, "linking (linkat"),
    (libc::SYS_fchmodat, 1, true, "changing rights (fchmodat"),
    (libc::SYS_fchownat, 1, true, "changing the owner (fchownat"),
    (libc::SYS_truncate, 0, false, "cutting a file (truncate"),
    (libc::SYS_chdir, 0, false, "changing the working directory (chdir"),
    (libc::SYS_chroot, 0, false, "changing the root (chroot"),
    (libc::SYS_inotify_add_watch, 1, false, "watching files (inotify_add_watch"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, 0, false, "deleting (unlink"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, 0, false, "making a folder (mkdir"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, 0, false, "deleting a folder (rmdir"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, 0, false, "renaming (rename"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, 0, false, "linking (link"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_symlink, 1, false, "linking (symlink"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 0, false, "changing rights (chmod"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, 0, false, "writing (creat"),
];

/// What calls without a path do.
const WITHOUT_PATH: &[(i64, &str)] = &[
    (libc::SYS_socketpair, "making sockets (socketpair)"),
    (libc::SYS_getsockname, "asking about sockets (getsockname)"),
    (libc::SYS_getpeername, "asking about sockets (getpeername)"),
    (libc::SYS_getsockopt, "asking about sockets (getsockopt)"),
    (libc::SYS_setsockopt, "setting up sockets (setsockopt)"),
    (libc::SYS_sendto, "network (sendto)"),
    (libc::SYS_sendmmsg, "network (sendmmsg)"),
    (libc::SYS_recvmsg, "receiving descriptors (recvmsg)"),
    (libc::SYS_connect, "network (connect)"),
    (libc::SYS_bind, "network (bind)"),
    (libc::SYS_listen, "network (listen)"),
    (libc::SYS_accept, "network (accept)"),
    (libc::SYS_accept4, "network (accept4)"),
    (libc::SYS_clone, "starting a process (clone)"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_fork, "starting a process (fork)"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_vfork, "starting a process (vfork)"),
    (libc::SYS_waitid, "waiting for processes (waitid)"),
    (libc::SYS_pidfd_open, "watching processes (pidfd_open)"),
    (libc::SYS_setsid, "leaving its session (setsid)"),
    (libc::SYS_close_range, "closing all descriptors (close_range)"),
    (libc::SYS_wait4, "waiting for processes (wait4)"),
    (libc::SYS_kill, "signals to other processes (kill)"),
    (libc::SYS_tgkill, "signals to other processes (tgkill)"),
    (libc::SYS_tkill, "signals to other processes (tkill)"),
    (libc::SYS_memfd_create, "making memory files (memfd_create)"),
    (libc::SYS_ftruncate, "sizing files (ftruncate)"),
    (libc::SYS_pwrite64, "writing at a place of a file (pwrite64)"),
    (libc::SYS_shmget, "shared memory (shmget)"),
    (libc::SYS_io_uring_setup, "io_uring (io_uring_setup)"),
    (libc::SYS_perf_event_open, "performance counters (perf_event_open)"),
    (libc::SYS_inotify_init1, "watching files (inotify_init1)"),
    (libc::SYS_sched_setscheduler, "changing its scheduling (sched_setscheduler)"),
    (libc::SYS_setpriority, "changing its priority (setpriority)"),
    (libc::SYS_prlimit64, "changing limits (prlimit64)"),
    (libc::SYS_mlock, "locking memory (mlock)"),
    (libc::SYS_mbind, "placing memory (mbind)"),
    (libc::SYS_mlockall, "locking memory (mlockall)"),
    (libc::SYS_set_mempolicy, "placing memory (set_mempolicy)"),
    (libc::SYS_get_mempolicy, "asking where memory is (get_mempolicy)"),
    (libc::SYS_fchdir, "changing the working directory (fchdir)"),
    (libc::SYS_fallocate, "sizing files (fallocate)"),
    (libc::SYS_copy_file_range, "writing files (copy_file_range)"),
    (libc::SYS_sendfile, "writing files (sendfile)"),
    (libc::SYS_utimensat, "changing times of files (utimensat)"),
    (libc::SYS_fdatasync, "writing files (fdatasync)"),
    (libc::SYS_flock, "locking files (flock)"),
    (libc::SYS_fsync, "writing files (fsync)"),
];

/// What libraries try for themselves and go on without, as GLib does for each pool of threads: no author can do anything
/// about it, or has to.
const NEVER_MISSED: [i64; 2] = [libc::SYS_sched_getattr, libc::SYS_sched_setattr];

impl Call {
    /// Whether a refusal is worth telling.
    pub(super) fn is_missed(&self) -> bool {
        !NEVER_MISSED.contains(&self.number)
    }

    /// What it opens, if it is made.
    pub(super) fn opens(&self) -> Opens {
        let is_open = self.number == libc::SYS_openat;
        #[cfg(target_arch = "x86_64")]
        let is_open = is_open || self.number == libc::SYS_open;
        if is_open { Opens::Path } else { Opens::Nothing }
    }

    /// Whether it makes the process another program.
    pub(super) fn starts_program(&self) -> bool {
        [libc::SYS_execve, libc::SYS_execveat].contains(&self.number)
    }

    /// The descriptor of the folder its path is relative to (`None`: the working directory) and the path's address.
    pub(super) fn path_argument(&self) -> Option<(Option<i32>, u64)> {
        let (place, has_folder) = match self.opens() {
            Opens::Path => {
                let has_folder = self.number == libc::SYS_openat;
                (usize::from(has_folder), has_folder)
            }
            Opens::Nothing => {
                let &(_, place, has_folder, _) = WITH_PATH.iter().find(|(number, ..)| *number == self.number)?;
                (place, has_folder)
            }
        };
        let folder = self.arguments.get(place.wrapping_sub(1)).filter(|_| has_folder);
        #[expect(clippy::cast_possible_truncation, reason = "the kernel itself takes the low half of a descriptor")]
        let folder = folder.map(|&descriptor| descriptor as i32).filter(|&descriptor| descriptor != libc::AT_FDCWD);
        Some((folder, self.arguments[place]))
    }

    /// What it does, for a call that is refused.
    pub(super) fn describe(&self, path: Option<&Path>) -> String {
        let path_text = path.map_or_else(|| "a file".to_owned(), |path| path.display().to_string());
        if self.opens() == Opens::Path {
            return format!("writing {path_text}");
        }
        if self.number == libc::SYS_socket {
            let domain = DOMAINS.iter().find(|(domain, _)| self.arguments[0] == u64::from(domain.cast_unsigned()));
            let domain = domain.map_or_else(|| self.arguments[0].to_string(), |(_, name)| (*name).to_owned());
            return format!("network (socket {domain})");
        }
        if let Some((.., words)) = WITH_PATH.iter().find(|(number, ..)| *number == self.number) {
            return format!("{words} {path_text})");
        }
        // Of these the first or second argument says what is meant.
        for (number, place, words) in
            [(libc::SYS_prctl, 0, "prctl"), (libc::SYS_ioctl, 1, "ioctl"), (libc::SYS_fcntl, 1, "fcntl")]
        {
            if self.number == number {
                return format!("{words} with option {:#x}", self.arguments[place]);
            }
        }
        match WITHOUT_PATH.iter().find(|(number, _)| *number == self.number) {
            Some((_, words)) => (*words).to_owned(),
            None => format!("system call {}", self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: i64, arguments: [u64; 3]) -> Call {
        let [first, second, third] = arguments;
        Call { number, arguments: [first, second, third, 0, 0, 0] }
    }

    #[test]
    fn calls_are_described_for_people() {
        let path = Some(Path::new("/bin/sh"));
        for (number, arguments, path, expected) in [
            (libc::SYS_socket, [2, 1, 0], None, "network (socket AF_INET)"),
            (libc::SYS_socket, [99, 1, 0], None, "network (socket 99)"),
            (libc::SYS_execve, [0; 3], path, "starting a program (execve /bin/sh)"),
            (libc::SYS_openat, [0, 0, 1], Some(Path::new("/tmp/x")), "writing /tmp/x"),
            (libc::SYS_clone, [0; 3], None, "starting a process (clone)"),
            (i64::MAX, [0; 3], None, "system call 9223372036854775807"),
        ] {
            assert_eq!(call(number, arguments).describe(path), expected);
        }
    }

    #[test]
    fn paths_are_found_among_the_arguments() {
        let here = libc::AT_FDCWD.cast_unsigned().into();
        assert_eq!(call(libc::SYS_openat, [here, 7, 0]).path_argument(), Some((None, 7)));
        assert_eq!(call(libc::SYS_openat, [5, 7, 0]).path_argument(), Some((Some(5), 7)));
        assert_eq!(call(libc::SYS_execve, [7, 0, 0]).path_argument(), Some((None, 7)));
        assert_eq!(call(libc::SYS_mkdirat, [5, 7, 0]).path_argument(), Some((Some(5), 7)));
        assert_eq!(call(libc::SYS_read, [5, 7, 0]).path_argument(), None);
    }
}
