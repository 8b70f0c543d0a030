//! What the gateway and an engine say to each other, and the nouns they share.
//!
//! The gateway hands an engine [`EncodedUnit`]s and gets back results, each bound to its unit by [`Seq`]. Messages are
//! [`ToEngine`] and [`FromEngine`] on one stream socket, framed by [`frame`]; a nursery is spoken to with
//! [`NurseryRequest`] and [`NurseryReply`], one per packet. Both ends parse what they read as hostile input: every
//! length is checked against [`limits`] before anything is allocated.
//!
//! All times are nanoseconds of `CLOCK_MONOTONIC`, which gateway and engine share because they share a machine.

#![forbid(unsafe_code)]

pub mod frame;
pub mod limits;
mod message;
mod nursery;
mod offline;
mod outcome;
mod processor;
mod unit;
pub mod vp8;

pub use message::{
    Detection, EngineStats, FromEngine, KeyframeReason, LogLevel, Open, PixelFormat, ResultHeader, Status, Timing,
    ToEngine, View, Want,
};
pub use nursery::{ExitKind, FaultReport, FaultStage, Loaded, NurseryReply, NurseryRequest, signal_name};
pub use offline::{CheckLine, CheckVerdict, FromOffline, OfflineFailure};
pub use outcome::{Counts, DropReason, Outcome, SkipReason};
pub use processor::{
    Descriptor, Isolation, NamedValue, Param, ParamKind, ParamValue, PipelineSpec, ProcessorInfo, ProcessorSpec,
    RefusedValue, SandboxMode, SavedState, Source, SourceError,
};
pub use unit::{Codec, EncodedUnit, Epoch, PictureSize, Seq, SizeError, UnitHeader};

/// Version of the messages; both ends refuse any other (gateway and engine ship in one package).
pub const WIRE_VERSION: u16 = 2;
