//! What an engine may not do. Rights are only ever taken away: first the nursery's, before it loads the processor, then
//! more of the engine's, before it makes an instance.
//!
//! | | nursery | engine |
//! |---|---|---|
//! | network, exec | no | no |
//! | files | read: system libraries, `/proc`, what is configured | the same, of `/proc` only its own |
//! | processes | forks engines | threads only, signals only to itself |
//! | everything else | as the kernel allows | a list of allowed system calls |
//!
//! Paths are restricted by Landlock. Where the kernel lacks it reads stay unrestricted, which is reported; writes, network
//! and exec are refused by seccomp all the same.

#[expect(unsafe_code, reason = "listens to the kernel's questions about system calls")]
pub(crate) mod audit;
mod filter;

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

pub(crate) use filter::{EngineFilter, FilterError, Threads};

use crate::{
    confinement,
    limits::{ENGINE_DATA_BYTES_MAX, ENGINE_FILES_MAX, ENGINES_MAX, SHARED_DATA_BYTES_MAX, SHARED_FILES_MAX},
};

/// Newest Landlock interface used; the kernel enforces what it knows of it.
const LANDLOCK_ABI: ABI = ABI::V6;

/// Descriptors of the nursery itself.
const NURSERY_FILES_OWN: u64 = 64;

/// What every program needs to find and run its libraries.
const SYSTEM_PATHS: [&str; 16] = [
    "/lib",
    "/lib64",
    "/usr",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/fonts",
    "/etc/localtime",
    "/dev/null",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/filesystems",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
];

/// Why a restriction could not be put on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SandboxError {
    /// Landlock failed although the kernel offers it.
    #[error("restricting paths: {0}")]
    Paths(#[from] RulesetError),
    /// A filter of system calls could not be made or installed.
    #[error("filtering system calls: {0}")]
    Filter(#[from] FilterError),
    /// A resource limit was refused.
    #[error("limiting {0:?}: {1}")]
    Limit(Resource, rustix::io::Errno),
}

/// Whether reading files is restricted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    Restricted,
    /// The kernel has no Landlock.
    Unrestricted,
}

/// What a sandbox lets through, beside the system's libraries.
#[derive(Debug)]
pub(crate) struct Policy {
    /// Files and folders that may be read.
    pub(crate) readable: Vec<PathBuf>,
}

/// Restricts the nursery, and with it every engine it will fork.
pub(crate) fn confine_nursery(policy: &Policy) -> Result<Reads, SandboxError> {
    let reads = restrict_nursery(policy)?;
    confine_nursery_calls()?;
    Ok(reads)
}

/// The first half of [`confine_nursery`]: paths and resources. What is started after it is restricted as well.
pub(crate) fn restrict_nursery(policy: &Policy) -> Result<Reads, SandboxError> {
    let reads = restrict_paths(policy, "/proc")?;
    limit(Resource::Core, 0)?;
    // Of each engine its process, its fault pipe, and where libraries are shared their process's end of its bridge.
    limit(Resource::Nofile, NURSERY_FILES_OWN + 3 * ENGINES_MAX as u64)?;
    Ok(reads)
}

/// The second half: system calls. Nothing is started after it.
pub(crate) fn confine_nursery_calls() -> Result<(), SandboxError> {
    Ok(filter::confine_nursery()?)
}

/// Filters the system calls of a process that is about to become another program of the nursery's. That program refuses
/// itself to start others, with what [`plan_for_host`] says.
pub(crate) fn confine_host() -> Result<(), SandboxError> {
    Ok(filter::confine_host()?)
}

/// What bounds a host of another language.
#[derive(Debug, Clone, Copy)]
pub(crate) enum HostBounds<'a> {
    /// It restricts itself, and the processes it forks, as engines are.
    Enforced(&'a Policy, &'a EngineFilter),
    /// It is audited: it only says when the author's code runs.
    Audited,
}

/// All that an audited host needs: how it says what it is, and limits that keep the machine from harm.
pub(crate) fn plan_for_audited_host() -> Value {
    json!({
        "mark": audit::MARK,
        "limits": [[libc::RLIMIT_CORE, 0], [libc::RLIMIT_DATA, ENGINE_DATA_BYTES_MAX]],
    })
}

/// All that a host of another language needs to restrict itself, and the processes it forks, as engines are.
pub(crate) fn plan_for_host(policy: &Policy, engine: &EngineFilter) -> Result<Value, SandboxError> {
    let [alone, shared] = engine.for_host()?;
    let readable: Vec<_> = SYSTEM_PATHS
        .iter()
        .map(|path| (*path).into())
        .chain(policy.readable.iter().map(|p| p.to_string_lossy()))
        .collect();
    let landlock = landlock_abi().map(|(abi, attribute_bytes)| {
        json!({
            "fs": AccessFs::from_all(abi).bits(),
            "net": AccessNet::from_all(abi).bits(),
            "scope": Scope::from_all(abi).bits(),
            "read": AccessFs::from_read(abi).bits(),
            "attribute_bytes": attribute_bytes,
        })
    });
    let limits = |files: u64, data: u64| {
        json!([[libc::RLIMIT_NOFILE, files], [libc::RLIMIT_FSIZE, 0], [libc::RLIMIT_DATA, data]])
    };
    Ok(json!({
        "host": filter::exec_for_host()?,
        "engine": alone,
        "shared": shared,
        "pid_mark": filter::PID_MARK,
        "landlock": landlock,
        "readable": readable,
        "limits": limits(ENGINE_FILES_MAX, ENGINE_DATA_BYTES_MAX),
        "shared_limits": limits(SHARED_FILES_MAX, SHARED_DATA_BYTES_MAX),
    }))
}

/// The newest interface of Landlock that both this kernel and we know, and how long the description of its rules is.
fn landlock_abi() -> Option<(ABI, u32)> {
    let abi = match confinement::landlock_version()? {
        1 => (ABI::V1, 8),
        2 => (ABI::V2, 8),
        3 => (ABI::V3, 8),
        4 => (ABI::V4, 16),
        5 => (ABI::V5, 16),
        _ => (ABI::V6, 24),
    };
    Some(abi)
}

/// Restricts an engine for good.
pub(crate) fn confine_engine(policy: &Policy, filter: &EngineFilter, threads: Threads) -> Result<(), SandboxError> {
    // `/proc/self` names the engine here and would name the nursery there.
    restrict_paths(policy, "/proc/self")?;
    limit(Resource::Nofile, ENGINE_FILES_MAX)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Data, ENGINE_DATA_BYTES_MAX)?;
    // No limit of processes: it would count every process of the user. The filter refuses new ones.
    Ok(filter.apply(threads)?)
}

/// Restricts a process that serves several engines as each of them is, but that it takes over their descriptors and has
/// room for all.
pub(crate) fn confine_shared(policy: &Policy, filter: &EngineFilter) -> Result<(), SandboxError> {
    restrict_paths(policy, "/proc/self")?;
    limit(Resource::Nofile, SHARED_FILES_MAX)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Data, SHARED_DATA_BYTES_MAX)?;
    Ok(filter.apply_shared()?)
}

/// Restricts an engine that is audited: only where going on would harm the machine.
pub(crate) fn confine_audited_engine() -> Result<(), SandboxError> {
    limit(Resource::Core, 0)?;
    limit(Resource::Data, ENGINE_DATA_BYTES_MAX)
}

fn restrict_paths(policy: &Policy, proc_path: &str) -> Result<Reads, SandboxError> {
    let system = SYSTEM_PATHS.iter().map(PathBuf::from).chain([PathBuf::from(proc_path)]);
    // What does not exist needs no permission: `path_beneath_rules` leaves it out.
    let paths = system.chain(policy.readable.iter().cloned());
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK_ABI))?
        .handle_access(AccessNet::from_all(LANDLOCK_ABI))?
        .scope(Scope::from_all(LANDLOCK_ABI))?
        .create()?
        .add_rules(path_beneath_rules(paths, AccessFs::from_read(LANDLOCK_ABI)))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::NotEnforced => Reads::Unrestricted,
        _ => Reads::Restricted,
    })
}

/// Lowers a limit; one that is lower already stays.
fn limit(resource: Resource, value: u64) -> Result<(), SandboxError> {
    let value = getrlimit(resource).maximum.map_or(value, |maximum| maximum.min(value));
    let new = Rlimit { current: Some(value), maximum: Some(value) };
    setrlimit(resource, new).map_err(|error| SandboxError::Limit(resource, error))
}
