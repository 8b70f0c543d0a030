//! Filters of system calls. Several are stacked; the kernel obeys the strictest answer.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter, apply_filter_all_threads,
};

/// Why a filter could not be made or installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FilterError {
    /// It could not be made.
    #[error(transparent)]
    Make(#[from] seccompiler::BackendError),
    /// The kernel refused it.
    #[error(transparent)]
    Install(#[from] seccompiler::Error),
    /// The kernel does not ask about system calls.
    #[error("listening to system calls: {0}")]
    Listen(#[source] rustix::io::Errno),
}

/// Which threads a filter binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling thread, the only one.
    Caller,
    /// All there are: of a process that could not be forked.
    All,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Open flags that write or create. `O_TMPFILE` contains `O_DIRECTORY`, which alone is harmless.
const OPEN_WRITES: u64 =
    (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | (libc::O_TMPFILE & !libc::O_DIRECTORY)).cast_unsigned() as u64;

/// Nothing an honest processor ever calls: the process dies, so that nothing more is tried.
const KILLED: &[c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_bpf,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
];

/// The bits of a socket's type that are its kind, without flags (Linux: `SOCK_TYPE_MASK`).
const SOCKET_KINDS: u64 = 0xf;

/// The family of sockets that stay on this machine.
const LOCAL: u64 = libc::AF_UNIX.cast_unsigned() as u64;

/// Kinds of sockets that reach nobody but their other end.
const PAIRED: [u64; 2] = [libc::SOCK_STREAM.cast_unsigned() as u64, libc::SOCK_SEQPACKET.cast_unsigned() as u64];

/// Calls whose arguments lie in memory or in a struct, where a filter cannot look: said not to exist, so that the C
/// library falls back to `clone` and `openat`.
const UNKNOWN: &[c_long] = &[libc::SYS_clone3, libc::SYS_openat2];

/// What even loading a processor never needs.
const NURSERY_REFUSED: &[c_long] = &[
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_kill,
    libc::SYS_io_uring_setup,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_truncate,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
];

/// Starting another program.
const EXEC: &[c_long] = &[libc::SYS_execve, libc::SYS_execveat];

/// Calls an engine may make with any arguments: memory, reading, waiting, threads, time, and asking about itself.
const ALLOWED: &[c_long] = &[
    // Memory; for `mmap` see `counted_mappings`. Executable mappings stay possible: late `dlopen`, and libraries that
    // compile for the CPU they find.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_mincore,
    libc::SYS_membarrier,
    // Open files and paths, reading only.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_statfs,
    libc::SYS_lseek,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_fadvise64,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_umask,
    // Waiting and talking over descriptors that are open; for sockets see `own_sockets`.
    libc::SYS_recvfrom,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    // Threads and signals. `kill` and `tgkill` reach only the engine itself: see `own_process`.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_getpriority,
    // Time and randomness.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_setitimer,
    libc::SYS_getitimer,
    libc::SYS_getrandom,
    // Asking about itself and the machine.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_getcpu,
    libc::SYS_uname,
    libc::SYS_sysinfo,
];

/// Older names of calls in [`ALLOWED`], still used by C libraries.
#[cfg(target_arch = "x86_64")]
const ALLOWED_ARCH: &[c_long] = &[
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_dup2,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_pipe,
    libc::SYS_arch_prctl,
    libc::SYS_time,
    libc::SYS_alarm,
    libc::SYS_getrlimit,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_ARCH: &[c_long] = &[];

/// Asks for the process's own auxiliary vector, as runtimes do that look for features of the machine.
const PR_GET_AUXV: libc::c_int = 0x4155_5856;

/// The filter of engines, made once and put on after each fork.
#[derive(Debug)]
pub(crate) struct EngineFilter {
    program: BpfProgram,
    /// The same for a process that takes over sessions while it serves others: their descriptors come by `recvmsg`.
    shared: BpfProgram,
}

/// Where the process's own id stands in the programs of [`EngineFilter::for_host`]. No constant of theirs has this value.
pub(crate) const PID_MARK: u32 = 0x7fff_fe1d;

impl EngineFilter {
    pub(crate) fn new() -> Result<Self, FilterError> {
        let mut rules: Rules = any_arguments(ALLOWED);
        rules.append(&mut any_arguments(ALLOWED_ARCH));
        // Of two refusals the newest filter's counts: these stay the nursery's, with the answer the C library expects.
        rules.append(&mut any_arguments(UNKNOWN));
        let flags_clear = |argument, mask| rule(argument, SeccompCmpOp::MaskedEq(mask), 0);
        rules.insert(libc::SYS_openat, vec![flags_clear(2, OPEN_WRITES)?]);
        #[cfg(target_arch = "x86_64")]
        rules.insert(libc::SYS_open, vec![flags_clear(1, OPEN_WRITES)?]);
        rules.insert(libc::SYS_mmap, counted_mappings()?);
        rules.append(&mut own_sockets()?);
        let thread = libc::CLONE_THREAD.cast_unsigned().into();
        rules.insert(libc::SYS_clone, vec![rule(0, SeccompCmpOp::MaskedEq(thread), thread)?]);
        rules.insert(libc::SYS_prlimit64, vec![read_own_limit()?]);
        // Affinity and names of the calling thread only: a number could be another process.
        rules.insert(libc::SYS_sched_setaffinity, vec![equals(0, 0)?]);
        let names = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_GET_DUMPABLE, libc::PR_SET_VMA, PR_GET_AUXV];
        rules.insert(libc::SYS_prctl, one_of(0, &names.map(|option| u64::from(option.cast_unsigned())))?);
        // Whether a descriptor is a terminal, and how much it holds.
        rules.insert(libc::SYS_ioctl, one_of(1, &[libc::TCGETS, libc::TIOCGWINSZ, libc::FIONREAD])?);
        // `F_SETOWN` is left out: it would send signals to other processes.
        let commands =
            [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL];
        rules.insert(libc::SYS_fcntl, one_of(1, &commands.map(|command| u64::from(command.cast_unsigned())))?);
        let mut shared = rules.clone();
        shared.append(&mut any_arguments(&[libc::SYS_recvmsg]));
        let allow = |rules| program(rules, refuse(libc::EPERM), SeccompAction::Allow);
        Ok(Self { program: allow(rules)?, shared: allow(shared)? })
    }

    /// The programs as another process installs them, in their order: of an engine, and of one that serves several.
    pub(super) fn for_host(&self) -> Result<[Vec<String>; 2], FilterError> {
        let own = text(&own_process(PID_MARK)?);
        Ok([vec![own.clone(), text(&self.program)], vec![own, text(&self.shared)]])
    }

    /// Binds the calling thread, the only one, of a process that serves several engines.
    pub(super) fn apply_shared(&self) -> Result<(), FilterError> {
        apply_filter(&own_process(std::process::id())?)?;
        Ok(apply_filter(&self.shared)?)
    }

    pub(super) fn apply(&self, threads: Threads) -> Result<(), FilterError> {
        let own = own_process(std::process::id())?;
        for program in [&own, &self.program] {
            match threads {
                Threads::Caller => apply_filter(program)?,
                Threads::All => apply_filter_all_threads(program)?,
            }
        }
        Ok(())
    }
}

/// Filters for the nursery, which its engines inherit.
pub(super) fn confine_nursery() -> Result<(), FilterError> {
    apply_filter(&refuse_exec()?)?;
    confine_host()
}

/// The filter that refuses to start programs, as a host of another language installs it.
pub(super) fn exec_for_host() -> Result<String, FilterError> {
    Ok(text(&refuse_exec()?))
}

fn refuse_exec() -> Result<BpfProgram, FilterError> {
    program(any_arguments(EXEC), SeccompAction::Allow, refuse(libc::EPERM))
}

/// Filters for what the nursery starts: its own, but for starting one program.
pub(super) fn confine_host() -> Result<(), FilterError> {
    for program in nursery_programs()? {
        apply_filter(&program)?;
    }
    Ok(())
}

/// Filters of the nursery, but for that of [`refuse_exec`].
fn nursery_programs() -> Result<[BpfProgram; 3], FilterError> {
    let mut refused = any_arguments(NURSERY_REFUSED);
    let loose = (0..=SOCKET_KINDS).filter(|kind| !PAIRED.contains(kind));
    let mut pairs: Vec<SeccompRule> = loose.map(socket_of).collect::<Result<_, _>>()?;
    pairs.push(rule(0, SeccompCmpOp::Ne, LOCAL)?);
    refused.insert(libc::SYS_socketpair, pairs);
    let writes = |argument| -> Result<Vec<SeccompRule>, FilterError> {
        let bits = (0..u64::BITS).map(|bit| 1_u64 << bit).filter(|bit| OPEN_WRITES & bit != 0);
        bits.map(|bit| rule(argument, SeccompCmpOp::MaskedEq(bit), bit)).collect()
    };
    refused.insert(libc::SYS_openat, writes(2)?);
    #[cfg(target_arch = "x86_64")]
    refused.insert(libc::SYS_open, writes(1)?);
    #[cfg(target_arch = "x86_64")]
    refused.append(&mut any_arguments(&[
        libc::SYS_creat,
        libc::SYS_unlink,
        libc::SYS_rename,
        libc::SYS_renameat,
        libc::SYS_mkdir,
        libc::SYS_rmdir,
        libc::SYS_mknod,
        libc::SYS_link,
        libc::SYS_symlink,
        libc::SYS_chmod,
        libc::SYS_chown,
        libc::SYS_lchown,
    ]));
    Ok([
        program(refused, SeccompAction::Allow, refuse(libc::EPERM))?,
        program(any_arguments(UNKNOWN), SeccompAction::Allow, refuse(libc::ENOSYS))?,
        program(any_arguments(KILLED), SeccompAction::Allow, SeccompAction::KillProcess)?,
    ])
}

/// The filters of an audit: what an engine may do anyway passes unseen, what nobody may do still kills, what the C
/// library must do without is unknown, and everything else is asked about.
pub(super) struct AuditPrograms {
    /// To be put on first, in this order.
    pub(super) ahead: [BpfProgram; 2],
    /// To be put on last, with a listener.
    pub(super) asks: BpfProgram,
    /// What binds a nursery, and what binds its engines beside that, but for [`own_process`].
    pub(super) nursery: Vec<BpfProgram>,
    pub(super) engine: Vec<BpfProgram>,
}

impl AuditPrograms {
    pub(super) fn new() -> Result<Self, FilterError> {
        // Signals are looked at one by one. A message on a socket that is open carries the listener to the auditor.
        let looked_at = [libc::SYS_kill, libc::SYS_tgkill];
        let unseen: Vec<c_long> = ALLOWED.iter().chain(ALLOWED_ARCH).copied().collect();
        let mut rules = any_arguments(&unseen);
        rules.retain(|number, _| !looked_at.contains(number));
        rules.append(&mut any_arguments(&[libc::SYS_sendmsg]));
        // Libraries map memory all the time.
        rules.insert(libc::SYS_mmap, counted_mappings()?);
        rules.append(&mut own_sockets()?);
        let ask = refuse(libc::EPERM);
        let mut asks = program(rules, ask, SeccompAction::Allow)?;
        let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
        for instruction in asks.iter_mut().filter(|instruction| u32::from(instruction.code) == RETURN) {
            if instruction.k == refused {
                instruction.k = libc::SECCOMP_RET_USER_NOTIF;
            }
        }
        let [refused, unknown, killed] = nursery_programs()?;
        Ok(Self {
            ahead: [unknown.clone(), killed.clone()],
            asks,
            nursery: vec![refuse_exec()?, refused, unknown, killed],
            engine: vec![EngineFilter::new()?.program],
        })
    }
}

/// `BPF_RET | BPF_K`: an instruction that answers with its constant.
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Signals reach only process `pid`.
pub(super) fn own_process(pid: u32) -> Result<BpfProgram, FilterError> {
    let other = |number| -> Result<_, FilterError> { Ok((number, vec![rule(0, SeccompCmpOp::Ne, pid.into())?])) };
    let rules = [other(libc::SYS_kill)?, other(libc::SYS_tgkill)?].into_iter().collect();
    program(rules, SeccompAction::Allow, refuse(libc::EPERM))
}

/// Mappings that count against the limit of memory. Anonymous memory to share does not, and nobody is left to share it
/// with; neither does memory that grows downward, as only the kernel's own first stack does.
fn counted_mappings() -> Result<Vec<SeccompRule>, FilterError> {
    let without = |flags: libc::c_int| rule(3, SeccompCmpOp::MaskedEq(flags.cast_unsigned().into()), 0);
    Ok(vec![without(libc::MAP_GROWSDOWN | libc::MAP_SHARED)?, without(libc::MAP_GROWSDOWN | libc::MAP_ANONYMOUS)?])
}

/// Connected pairs, by which event loops wake themselves: those of GStreamer and of Python's asyncio. Not of datagrams,
/// which may be sent to any socket that has a name in the file system; and nothing is sent to a name.
fn own_sockets() -> Result<Rules, FilterError> {
    let pairs = PAIRED.into_iter().map(local_pair).collect::<Result<_, _>>()?;
    let unnamed = SeccompCondition::new(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    let sends = vec![SeccompRule::new(vec![unnamed])?];
    Ok([(libc::SYS_socketpair, pairs), (libc::SYS_sendto, sends)].into_iter().collect())
}

/// A pair of local sockets: other families, where the kernel makes pairs of them at all, lead into its network code.
fn local_pair(kind: u64) -> Result<SeccompRule, FilterError> {
    let local = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, LOCAL)?;
    let of_kind = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(SOCKET_KINDS), kind)?;
    Ok(SeccompRule::new(vec![local, of_kind])?)
}

/// A call whose second argument asks for this kind of socket, whatever its flags.
fn socket_of(kind: u64) -> Result<SeccompRule, FilterError> {
    rule(1, SeccompCmpOp::MaskedEq(SOCKET_KINDS), kind)
}

/// `prlimit64(0, resource, NULL, old)`.
fn read_own_limit() -> Result<SeccompRule, FilterError> {
    let own = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, 0)?;
    let reads = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    Ok(SeccompRule::new(vec![own, reads])?)
}

fn any_arguments(numbers: &[c_long]) -> Rules {
    numbers.iter().map(|&number| (number, Vec::new())).collect()
}

fn one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, FilterError> {
    values.iter().map(|&value| equals(argument, value)).collect()
}

fn equals(argument: u8, value: u64) -> Result<SeccompRule, FilterError> {
    rule(argument, SeccompCmpOp::Eq, value)
}

fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, FilterError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

/// A program in hexadecimal digits, each instruction as the kernel has it in memory.
fn text(program: &BpfProgram) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(program.len() * 16);
    for instruction in program {
        let code = instruction.code.to_ne_bytes();
        let constant = instruction.k.to_ne_bytes();
        for byte in code.into_iter().chain([instruction.jt, instruction.jf]).chain(constant) {
            // Writing to a text does not fail.
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

fn refuse(errno: i32) -> SeccompAction {
    SeccompAction::Errno(errno.cast_unsigned())
}

fn program(rules: Rules, otherwise: SeccompAction, matching: SeccompAction) -> Result<BpfProgram, FilterError> {
    let arch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, otherwise, matching, arch)?.try_into()?)
}
