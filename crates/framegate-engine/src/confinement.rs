//! What of the sandbox this machine can do, for those who ask before anything depends on it.

use std::path::PathBuf;

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError, Scope};

use crate::sandbox::{EngineFilter, FilterError, Policy, SandboxError, Threads, confine_engine, confine_nursery};

/// The sandbox could not be put on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RehearsalError(#[from] SandboxError);

/// Versions of Landlock's interface that differ in what a sandbox asks for, newest first.
const LANDLOCK_VERSIONS: [(ABI, u32); 6] =
    [(ABI::V6, 6), (ABI::V5, 5), (ABI::V4, 4), (ABI::V3, 3), (ABI::V2, 2), (ABI::V1, 1)];

/// Version of the kernel's Landlock, as far as it is used; `None` when the kernel was built or started without.
#[must_use]
pub fn landlock_version() -> Option<u32> {
    LANDLOCK_VERSIONS.into_iter().find_map(|(abi, version)| knows(abi).is_ok().then_some(version))
}

/// Makes a rule set that only a kernel of this version or newer accepts. It binds nobody.
fn knows(abi: ABI) -> Result<(), RulesetError> {
    let mut rules =
        Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::from_all(abi))?;
    if !AccessNet::from_all(abi).is_empty() {
        rules = rules.handle_access(AccessNet::from_all(abi))?;
    }
    if !Scope::from_all(abi).is_empty() {
        rules = rules.scope(Scope::from_all(abi))?;
    }
    rules.create().map(drop)
}

/// Whether the kernel filters system calls.
#[must_use]
pub fn has_seccomp() -> bool {
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    ["errno", "kill_process"].iter().all(|wanted| actions.split_whitespace().any(|action| action == *wanted))
}

/// Puts the whole sandbox on the calling process, first a nursery's and then an engine's. It stays on: call in a process
/// made for it.
///
/// # Errors
/// [`RehearsalError`], naming what failed.
pub fn rehearse() -> Result<(), RehearsalError> {
    let policy = Policy { readable: vec![PathBuf::from("/")] };
    let filter = EngineFilter::new().map_err(|error: FilterError| SandboxError::Filter(error))?;
    confine_nursery(&policy)?;
    Ok(confine_engine(&policy, &filter, Threads::Caller)?)
}
