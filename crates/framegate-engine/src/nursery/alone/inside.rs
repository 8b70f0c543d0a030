//! The nursery of an engine without a gateway, and that engine.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
};

use framegate_wire::{
    ExitKind, FromOffline, Isolation, OfflineFailure, PipelineSpec, SandboxMode, limits::TEXT_BYTES_MAX,
};
use rustix::{
    pipe::{PipeFlags, pipe_with},
    process::{Pid, getpid},
};

use super::{
    End,
    report::{Report, send},
};
use crate::{
    nursery::{
        Failure, Ground, Mode, child, described, fault, fork, open_null, policy, python, read_up_to, sober, surround,
        tasks,
    },
    outbox::{Outbox, cut},
    resolve::{self, LibrariesIn, Loaded, resolve},
    sandbox::{
        EngineFilter, HostBounds, Reads, Threads,
        audit::{self, Phase},
        confine_audited_engine, confine_engine, confine_nursery_calls, restrict_nursery,
    },
};

/// The nursery's ends of what ties it to its supervisor.
pub(super) struct Ends {
    /// Where its reports go.
    pub(super) control: OwnedFd,
    /// The engine's socket.
    pub(super) session: OwnedFd,
    /// Where processors print.
    pub(super) output: OwnedFd,
}

/// The nursery's process. Returns its exit code, or that of the engine it became.
pub(super) fn be_nursery(
    pipeline: &PipelineSpec,
    supervisor: Pid,
    ends: Ends,
    body: impl FnOnce(&Loaded, Arc<OwnedFd>),
) -> i32 {
    let Ends { control, session, output } = ends;
    let failed = |text: &str| {
        // When the supervisor has gone there is nobody to tell.
        let _ = send(&control, &Report::Failed(cut(text, TEXT_BYTES_MAX).to_owned()), None);
        1
    };
    let (ground, mode) = match prepare(pipeline, supervisor, &control, output) {
        Ok(prepared) => prepared,
        Err(error) => return failed(&error.to_string()),
    };
    if let Err(error) = ground.connect(std::io::stderr().as_fd()) {
        return failed(&format!("connecting to the Python process: {error}"));
    }
    // A fork would lose the threads of this process; Python has a process of its own, which is not forked here.
    let threads = tasks().saturating_sub(1);
    if send(&control, &Report::Loaded(ground.tasks().saturating_sub(1)), None).is_err() {
        return 1;
    }
    if threads > 0 {
        // This process becomes the engine, and nobody names the place of a crash.
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
    // The engine's end of what ties it to Python must be the only one, so that its end is seen.
    ground.disconnect();
    match engine.and_then(fork::wait) {
        Ok((kind, _)) => {
            let mut bytes = [0; fault::RECORD_BYTES_MAX];
            let length = read_up_to(&mut File::from(fault_reader), &mut bytes);
            // A record from before the end, say of a signal the processor handled, explains nothing.
            let fault = fault::explain(&bytes[..length], &ground.loaded)
                .filter(|report| kind == ExitKind::Signal(report.signal));
            let address = fault.as_ref().and_then(|_| fault::address(&bytes[..length]));
            i32::from(send(&control, &Report::Exited(End { kind, fault, address }), None).is_err())
        }
        Err(error) => failed(&format!("forking the engine: {error}")),
    }
}

/// As a live nursery does it, but for the audit.
fn prepare(
    pipeline: &PipelineSpec,
    supervisor: Pid,
    control: &OwnedFd,
    output: OwnedFd,
) -> Result<(Ground, SandboxMode), Failure> {
    child::die_with_parent(Some(supervisor))?;
    sober();
    child::lead_output(output).map_err(|error| Failure::System("arranging descriptors", error))?;
    framegate_codec::preload()?;
    let prepared = resolve(pipeline)?;
    let told = |error| Failure::System("reporting to the supervisor", error);
    send(control, &Report::Resolved, None).map_err(told)?;
    surround(&prepared);
    let policy = policy(pipeline, &prepared);
    let filter = EngineFilter::new()?;
    let mut sandbox = pipeline.sandbox;
    if sandbox == SandboxMode::Audit {
        match audit::install() {
            Ok(listener) => {
                send(control, &Report::Audited(policy.readable.clone()), Some(&listener)).map_err(told)?;
            }
            Err(error) => {
                sandbox = SandboxMode::Enforce;
                send(control, &Report::Enforced(format!("this kernel cannot audit: {error}")), None).map_err(told)?;
            }
        }
    }
    let null = open_null()?;
    let (reads, bounds, isolation) = match sandbox {
        SandboxMode::Enforce => {
            (restrict_nursery(&policy)?, HostBounds::Enforced(&policy, &filter), pipeline.isolation)
        }
        // A process that serves several differs only in what it takes over while it serves.
        SandboxMode::Audit => (Reads::Unrestricted, HostBounds::Audited, Isolation::Process),
    };
    // One engine is all there will be, so that no process of Python needs to be forked for each.
    let start = |plan| python::Host::start(&plan, bounds, isolation, Mode::Once);
    let mut python = resolve::python(&prepared).map(start).transpose()?;
    if sandbox == SandboxMode::Enforce {
        confine_nursery_calls()?;
    }
    let (described, python_tasks) = described(&mut python, isolation)?;
    audit::enter(Phase::Nursery);
    let loaded = resolve::load(&pipeline.name, prepared, described, LibrariesIn::Engine);
    audit::enter(Phase::Own);
    fault::warm_up();
    Ok((Ground { loaded: loaded?, filter, policy, reads, null, python, python_tasks, shared: None }, sandbox))
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
        let outbox = Outbox::offline(session);
        let message = FromOffline::Failed { kind: OfflineFailure::Environment, text };
        // When the supervisor has gone there is nobody to tell.
        let _ = outbox.push_offline(&message, &[]).and_then(|()| outbox.flush());
        return 1;
    }
    audit::enter(Phase::Engine);
    body(&ground.loaded, session);
    audit::enter(Phase::Own);
    0
}
