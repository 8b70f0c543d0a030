//! The nursery: one single-threaded process per pipeline that has the codecs and the processor loaded, and forks an
//! engine for each session.
//!
//! Its control socket (`SOCK_SEQPACKET`, one message a packet) is standard input. It answers `Ready` or `Fault` once, then
//! each `Fork`, and says when an engine has gone. After `Ready` a trial finds out what the processors' instances are like,
//! beside everything else. When the control socket closes it kills its engines and exits.

pub(crate) mod alone;
mod child;
mod control;
pub(crate) mod fault;
pub(crate) mod fork;
mod host;
pub(crate) mod python;
mod shared;
mod trial;

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use framegate_wire::{Isolation, NurseryReply, NurseryRequest, PipelineSpec, ProcessorInfo, limits::TEXT_BYTES_MAX};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode as FileMode, OFlags},
    io::{Errno, fcntl_dupfd_cloexec},
    process::{Pid, PidfdFlags, getpid, getppid, pidfd_open, setpriority_process},
};

use crate::{
    engine::EngineError,
    limits::ENGINES_MAX,
    outbox::cut,
    resolve::{self, LibrariesIn, Loaded, Prepared, ResolveError, resolve},
    sandbox::{
        EngineFilter, FilterError, HostBounds, Policy, Reads, SandboxError, Threads, confine_nursery_calls,
        restrict_nursery,
    },
};
use child::{Child, Roots, Task};
use control::{Control, Fork};
use shared::Shared;
use trial::Trial;

/// How engines come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Each is forked.
    Fork,
    /// The nursery becomes the first engine: for processors whose threads a fork would lose.
    Once,
}

/// What a nursery is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What to load.
    pub pipeline: PipelineSpec,
    /// How engines come to be.
    pub mode: Mode,
}

/// Why a nursery ended. The gateway has been told, if it could be.
#[derive(Debug, thiserror::Error)]
#[error("nursery: {0}")]
pub struct NurseryError(#[from] Failure);

/// What failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum Failure {
    #[error("{0}: {1}")]
    System(&'static str, #[source] Errno),
    #[error("the process that started this one has gone")]
    Orphaned,
    #[error("loading the codecs: {0}")]
    Codec(#[from] framegate_codec::DecodeError),
    #[error(transparent)]
    Load(#[from] ResolveError),
    #[error("sandbox: {0}")]
    Sandbox(#[from] SandboxError),
    #[error("sandbox: {0}")]
    Filter(#[from] FilterError),
    #[error("engine: {0}")]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Python(#[from] python::HostError),
    #[error(
        "pipeline `{pipeline}`: a library started {threads} threads when it was loaded, which the process of \
         isolation = \"shared\", a fork of this one, would lose. Leave the line out; or start them when an instance is made"
    )]
    SharedThreads { pipeline: String, threads: u32 },
    #[error("answering what the processors are like: {0}")]
    Answer(#[source] std::io::Error),
}

/// How much nicer than the gateway engines are: with as many engines as it likes, packets are still taken in time.
const NICE: i32 = 10;

/// Runs a nursery until its control socket closes. Call from the only thread of a process whose standard input is the
/// control socket.
///
/// # Errors
/// [`NurseryError`] when the processor cannot be loaded or the system refuses something.
pub fn run(options: &Options) -> Result<(), NurseryError> {
    let control = Control::new(take_stdin().map_err(|error| Failure::System("taking the control socket", error))?);
    let ground = match prepare(options) {
        Ok(ground) => ground,
        Err(error) => {
            let text = cut(&error.to_string(), TEXT_BYTES_MAX).to_owned();
            // If the gateway has gone there is nobody to tell.
            let _ = control.send(&NurseryReply::Fault { text }, None);
            return Err(error.into());
        }
    };
    let about = framegate_wire::Loaded {
        processors: ground.loaded.descriptors(),
        tasks: ground.tasks(),
        reads_restricted: ground.reads == Reads::Restricted,
    };
    let lost = |error| Failure::System("answering on the control socket", error);
    control.send(&NurseryReply::Ready(about), None).map_err(lost)?;
    let mut nursery = Nursery { control, ground, mode: options.mode, children: Vec::new(), trial: None };
    nursery.try_out().map_err(lost)?;
    Ok(nursery.serve().map_err(lost)?)
}

/// What engines are made from.
#[derive(Debug)]
struct Ground {
    loaded: Loaded,
    filter: EngineFilter,
    policy: Policy,
    reads: Reads,
    /// `/dev/null` for writing, which the sandbox would not open: what a trial prints.
    null: OwnedFd,
    /// What runs the Python processors, if there are any.
    python: Option<python::Host>,
    /// Tasks of the process that is forked for them.
    python_tasks: u32,
    /// What runs the libraries of all engines, if they share a process.
    shared: Option<Shared>,
}

impl Ground {
    /// Gives the next engine what it needs of other processes; what processors print there goes to `log`.
    fn connect(&self, log: BorrowedFd<'_>) -> Result<(), Errno> {
        let link = match (&self.shared, &self.python) {
            (Some(shared), _) => Some(shared.connect(self, log)?),
            (None, Some(host)) => Some(host.connect(log)?),
            (None, None) => None,
        };
        self.loaded.link.replace(link);
        Ok(())
    }

    /// Tasks of the processes that are forked: above 1, a fork would lose the others.
    fn tasks(&self) -> u32 {
        tasks().max(self.python_tasks)
    }

    /// Lets go of what the engine that was just forked has taken.
    fn disconnect(&self) {
        self.loaded.link.take();
    }
}

/// Everything that can fail for reasons the author or operator must hear.
fn prepare(options: &Options) -> Result<Ground, Failure> {
    let parent = getppid();
    setpriority_process(None, NICE).map_err(|error| Failure::System("lowering the priority", error))?;
    sober();
    framegate_codec::preload()?;
    child::die_with_parent(parent)?;
    let prepared = resolve(&options.pipeline)?;
    surround(&prepared);
    let policy = policy(&options.pipeline, &prepared);
    // Before the processors' constructors run.
    let filter = EngineFilter::new()?;
    let null = open_null()?;
    let reads = restrict_nursery(&policy)?;
    let (isolation, mode) = (options.pipeline.isolation, options.mode);
    let bounds = HostBounds::Enforced(&policy, &filter);
    let start = |plan| python::Host::start(&plan, bounds, isolation, mode);
    let mut python = resolve::python(&prepared).map(start).transpose()?;
    confine_nursery_calls()?;
    let (described, python_tasks) = described(&mut python, isolation)?;
    // A nursery that becomes its only engine has nothing to share.
    let is_shared = isolation == Isolation::Shared && mode == Mode::Fork && python.is_none();
    let libraries_in = if is_shared { LibrariesIn::Host } else { LibrariesIn::Engine };
    let pipeline = &options.pipeline.name;
    let loaded = resolve::load(pipeline, prepared, described, libraries_in)?;
    fault::warm_up();
    let threads = tasks().saturating_sub(1);
    if is_shared && threads > 0 {
        return Err(Failure::SharedThreads { pipeline: pipeline.clone(), threads });
    }
    let shared = is_shared.then(Shared::default);
    Ok(Ground { loaded, filter, policy, reads, null, python, python_tasks, shared })
}

/// Keeps number libraries from starting a thread per core: parallel are the engines themselves.
fn sober() {
    for name in ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
        // SAFETY: no other thread exists yet that could read the environment.
        unsafe { std::env::set_var(name, "1") };
    }
}

/// `/dev/null` for writing.
fn open_null() -> Result<OwnedFd, Failure> {
    rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, FileMode::empty())
        .map_err(|error| Failure::System("opening /dev/null", error))
}

/// Puts what processors need into the environment.
fn surround(prepared: &[Prepared]) {
    for (name, value) in prepared.iter().flat_map(|processor| &processor.environment) {
        // SAFETY: no other thread exists yet that could read the environment.
        unsafe { std::env::set_var(name, value) };
    }
}

/// What the Python processors are like, and the tasks of the process that is forked for them.
fn described(host: &mut Option<python::Host>, isolation: Isolation) -> Result<(Vec<ProcessorInfo>, u32), Failure> {
    let Some(host) = host else { return Ok((Vec::new(), 1)) };
    let about = host.ready()?;
    // A process that serves all streams is not forked.
    Ok((about.infos, if isolation == Isolation::Process { about.tasks } else { 1 }))
}

/// What the pipeline may read, and what its processors need for themselves.
fn policy(pipeline: &PipelineSpec, prepared: &[Prepared]) -> Policy {
    let own = prepared.iter().flat_map(|processor| processor.readable.iter().cloned());
    Policy { readable: own.chain(pipeline.readable.iter().cloned()).collect() }
}

/// Moves standard input out of the processor's reach and puts `/dev/null` in its place.
pub(crate) fn take_stdin() -> Result<OwnedFd, Errno> {
    let control = fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, FileMode::empty())?;
    // SAFETY: both are descriptors of this process; what 0 was before lives on in `control`.
    if unsafe { libc::dup2(null.as_raw_fd(), 0) } < 0 {
        return Err(child::last_errno());
    }
    Ok(control)
}

/// Threads of this process; 0 when unknown.
fn tasks() -> u32 {
    std::fs::read_dir("/proc/self/task").map_or(0, |entries| u32::try_from(entries.count()).unwrap_or(u32::MAX))
}

struct Nursery {
    control: Control,
    ground: Ground,
    mode: Mode,
    children: Vec<Child>,
    trial: Option<Trial>,
}

impl Nursery {
    /// Starts the trial, where a fork is possible.
    fn try_out(&mut self) -> Result<(), Errno> {
        if self.mode == Mode::Once || self.ground.tasks() > 1 {
            return Ok(());
        }
        match Trial::start(&self.ground) {
            Ok(trial) => self.trial = Some(trial),
            Err(error) => {
                let text = format!("trying the processors out: {error}");
                self.control.send(&NurseryReply::DescribeFailed { text }, None)?;
            }
        }
        Ok(())
    }

    /// Serves until the control socket closes, which is not an error.
    fn serve(mut self) -> Result<(), Errno> {
        loop {
            let mut waited = vec![PollFd::from_borrowed_fd(self.control.socket(), PollFlags::IN)];
            waited.extend(
                self.ground.python.iter().map(|host| PollFd::from_borrowed_fd(host.control(), PollFlags::empty())),
            );
            let python = waited.len() - 1;
            waited.extend(self.children.iter().map(|child| PollFd::new(&child.pidfd, PollFlags::IN)));
            let trial = self.trial.iter().flat_map(Trial::descriptors);
            waited.extend(trial.map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN)));
            let shared = self.ground.shared.as_ref();
            let host = shared.map(Shared::host);
            waited.extend(host.iter().flat_map(|host| host.iter()).flat_map(|host| host.descriptors()));
            let remaining = [self.trial.as_ref().and_then(Trial::remaining_ns), shared.and_then(Shared::remaining_ns)];
            let patience = remaining.into_iter().flatten().min().map(|remaining_ns| Timespec {
                tv_sec: i64::try_from(remaining_ns / 1_000_000_000).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(remaining_ns % 1_000_000_000).unwrap_or(0),
            });
            match poll(&mut waited, patience.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
            let is_asked = waited.first().is_some_and(|control| !control.revents().is_empty());
            let has_python_gone = waited[1..=python].iter().any(|host| !host.revents().is_empty());
            drop(waited);
            drop(host);
            self.reap()?;
            if let Some(shared) = &self.ground.shared {
                shared.go_on(&self.ground.loaded)?;
            }
            if has_python_gone {
                // Its engines end with it, and no more can be made here.
                return Err(Errno::PIPE);
            }
            if let Some(described) = self.trial.as_mut().and_then(|trial| trial.go_on(&self.ground.loaded)) {
                self.trial = None;
                self.control.send(&described, None)?;
            }
            if is_asked {
                match self.control.receive()? {
                    Some(fork) => self.fork(fork)?,
                    None => return Ok(()),
                }
            }
        }
    }

    fn reap(&mut self) -> Result<(), Errno> {
        let mut index = 0;
        while let Some(child) = self.children.get_mut(index) {
            match child.reap(&self.ground.loaded) {
                Some(exited) => {
                    self.children.swap_remove(index);
                    self.control.send(&exited, None)?;
                }
                None => index += 1,
            }
        }
        Ok(())
    }

    fn fork(&mut self, fork: Fork) -> Result<(), Errno> {
        let Fork { request: NurseryRequest::Fork { engine }, descriptors } = fork else {
            return Ok(());
        };
        let Some([session, log]) = descriptors else {
            return self.refuse(engine, "Fork needs two descriptors: the session's socket and its output pipe");
        };
        if self.mode == Mode::Once {
            return self.become_engine(engine, Roots { session, log, fault: None });
        }
        let tasks = self.ground.tasks();
        if tasks > 1 {
            let text =
                format!("the processor started {} threads when it was loaded; a fork would lose them", tasks - 1);
            return self.refuse(engine, &text);
        }
        if self.children.len() >= ENGINES_MAX {
            return self.refuse(engine, &format!("this nursery has {ENGINES_MAX} engines already"));
        }
        match Child::fork(engine, session, log, &self.ground, Task::Engine) {
            Ok(child) => {
                let reply = NurseryReply::Forked { engine, pid: child.pid() };
                let sent = self.control.send(&reply, Some(&child.pidfd));
                self.children.push(child);
                sent
            }
            Err(error) => self.refuse(engine, &format!("fork: {error}")),
        }
    }

    fn refuse(&self, engine: u64, text: &str) -> Result<(), Errno> {
        self.control.send(&NurseryReply::ForkFailed { engine, text: text.to_owned() }, None)
    }

    fn become_engine(&mut self, engine: u64, roots: Roots) -> Result<(), Errno> {
        if let Err(error) = self.ground.connect(roots.log.as_fd()) {
            return self.refuse(engine, &format!("connecting it to its Python process: {error}"));
        }
        let pid: Pid = getpid();
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let reply = NurseryReply::Forked { engine, pid: pid.as_raw_nonzero().get().cast_unsigned() };
        self.control.send(&reply, Some(&pidfd))?;
        drop(pidfd);
        self.control.close();
        child::be_child(roots, &self.ground, Threads::All, Task::Engine)
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        self.children.iter().for_each(Child::kill);
        self.trial.iter().for_each(Trial::kill);
        self.ground.shared.iter().for_each(Shared::kill);
    }
}

/// Reads a dying engine's record, as far as it got.
fn read_up_to(pipe: &mut File, bytes: &mut [u8]) -> usize {
    let mut length = 0;
    while let Ok(count @ 1..) = pipe.read(&mut bytes[length..]) {
        length += count;
    }
    length
}
