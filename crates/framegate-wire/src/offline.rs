//! What `framegate-engine offline` and `framegate-engine check` say on their standard output.

use serde::{Deserialize, Serialize};

use crate::{ExitKind, FaultReport, FromEngine, Seq};

/// One message of an offline run, framed as between gateway and engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FromOffline {
    /// The clip is open.
    Began {
        /// Frames it has, as far as it says or its length tells.
        frames: Option<u64>,
    },
    /// The next frame: whatever the engine says of it follows.
    Frame {
        /// Its number, from 1.
        seq: Seq,
        /// When it is shown, in ticks of 90 kHz after the first.
        rtp_time: u64,
    },
    /// A message of the engine, as a live one gives it; the payload is that message's.
    Engine(FromEngine),
    /// The picture to show for a frame lies in shared memory; only between the engine's own processes.
    Picture {
        /// The frame.
        seq: Seq,
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// Whether its codes are BT.709's; else BT.601's.
        is_bt709: bool,
        /// Whether black is 0 and white 255; else 16 and 235.
        is_full: bool,
        /// Whether a processor made it; else it is the clip's own.
        is_processed: bool,
    },
    /// The live sandbox would refuse something the run let pass.
    Finding {
        /// What, and what would allow it, for people.
        text: String,
    },
    /// Something the person should know.
    Notice {
        /// For people.
        text: String,
    },
    /// The run cannot begin or go on; nothing follows.
    Failed {
        /// Whose fault it is.
        kind: OfflineFailure,
        /// What failed and what to do, for people.
        text: String,
    },
    /// The engine died; nothing follows.
    Crashed {
        /// The frame it had begun, if any.
        seq: Option<Seq>,
        /// How it ended.
        kind: ExitKind,
        /// What its fault handler said before it died.
        fault: Option<FaultReport>,
    },
    /// The clip is through. Every frame has had its result.
    Ended,
}

/// Whose fault it is that an offline run failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfflineFailure {
    /// What was asked for cannot be: no such parameter, no video in the file.
    Usage,
    /// The processor's.
    Processor,
    /// The machine's.
    Environment,
}

/// One line of a check, as JSON on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckLine {
    /// What was tried: a short name that stays.
    pub name: String,
    /// What came of it.
    pub verdict: CheckVerdict,
    /// What was seen, for people.
    pub text: String,
    /// What to do about it; absent when nothing needs doing.
    pub remedy: Option<String>,
}

/// What came of one part of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckVerdict {
    /// As it should be.
    Ok,
    /// Worth knowing: it works, with a price.
    Warn,
    /// It breaks a rule of the interface, or will fail when served.
    Fail,
}
