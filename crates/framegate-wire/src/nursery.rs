//! Packets on the control socket between the gateway and a nursery. File descriptors ride beside them (`SCM_RIGHTS`).

use serde::{Deserialize, Serialize};

use crate::{Descriptor, ProcessorInfo};

/// What the gateway asks of a nursery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NurseryRequest {
    /// Fork an engine. With it come two descriptors: the session's socket, and the writing end of its output pipe.
    Fork {
        /// The gateway's number for the engine.
        engine: u64,
    },
}

/// What a nursery answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NurseryReply {
    /// The processors are loaded; forks are welcome.
    Ready(Loaded),
    /// What the processors' instances are like, found by a trial after `Ready`.
    Described(Vec<ProcessorInfo>),
    /// The trial failed: no engine would do better.
    DescribeFailed {
        /// What failed and what to do, for people.
        text: String,
    },
    /// The processors cannot be loaded; the nursery exits after this.
    Fault {
        /// What failed and what to do, for people.
        text: String,
    },
    /// An engine runs. With it comes its pidfd.
    Forked {
        /// The gateway's number for it.
        engine: u64,
        /// Its process id.
        pid: u32,
    },
    /// An engine could not be forked.
    ForkFailed {
        /// The gateway's number for it.
        engine: u64,
        /// Why.
        text: String,
    },
    /// An engine is gone and reaped.
    Exited {
        /// The gateway's number for it.
        engine: u64,
        /// How it ended.
        kind: ExitKind,
        /// What its fault handler said before it died.
        fault: Option<FaultReport>,
        /// CPU time it used, in microseconds.
        cpu_us: u64,
    },
}

/// What a nursery has loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// The processors, in the pipeline's order.
    pub processors: Vec<Descriptor>,
    /// Tasks of the nursery after loading: above 1 it cannot be forked, and each engine is started afresh.
    pub tasks: u32,
    /// Whether what engines read is restricted to what is allowed.
    pub reads_restricted: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitKind {
    /// It returned a status.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

/// What the fault handler of a dying engine wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultReport {
    /// The signal.
    pub signal: i32,
    /// What the engine was doing.
    pub stage: FaultStage,
    /// Function the instruction pointer was in, when symbols name it.
    pub function: Option<String>,
    /// File of that code and the offset in it, for `addr2line`.
    pub location: Option<String>,
}

/// What an engine was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultStage {
    /// Setting up or waiting.
    Idle,
    /// Making the processor instance.
    Create,
    /// Decoding.
    Decode,
    /// Scaling or converting.
    Convert,
    /// Inside the processor.
    Process,
}

/// Linux's name of a signal that ends processes, as in `SIGSEGV`; of any other its number, as in `signal 40`.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    let name = match signal {
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
