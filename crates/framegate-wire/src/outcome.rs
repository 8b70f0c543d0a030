//! What became of a frame: every frame the gateway assembled ends in exactly one outcome.

use serde::{Deserialize, Serialize};

/// Why a frame was deliberately not processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// A newer frame was there when the processor became free.
    Newer,
    /// It waited too long for a processor short of CPU.
    Late,
    /// The processor asked for fewer frames per second.
    Rate,
    /// Decoding waits for a keyframe.
    NoKeyframe,
}

/// Why a frame was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// Its engine died with it.
    EngineCrashed,
    /// Its engine was killed because it made no progress.
    Hung,
    /// The engine's backlog was full.
    Overflow,
    /// The picture is larger than allowed.
    TooLarge,
    /// A frame it depends on was lost on the network.
    NotContiguous,
    /// The decoder refused it.
    Corrupt,
    /// The session ended first.
    Closed,
}

/// The one fate of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Processed; a result was made.
    Ok,
    /// The processor was called and failed.
    Error,
    /// Deliberately not processed.
    Skipped(SkipReason),
    /// Lost.
    Dropped(DropReason),
}

impl SkipReason {
    /// All reasons, in the order of [`Counts::skipped`].
    pub const ALL: [Self; 4] = [Self::Newer, Self::Late, Self::Rate, Self::NoKeyframe];

    /// The word used in JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newer => "newer",
            Self::Late => "late",
            Self::Rate => "rate",
            Self::NoKeyframe => "no_keyframe",
        }
    }
}

impl DropReason {
    /// All reasons, in the order of [`Counts::dropped`].
    pub const ALL: [Self; 7] = [
        Self::EngineCrashed,
        Self::Hung,
        Self::Overflow,
        Self::TooLarge,
        Self::NotContiguous,
        Self::Corrupt,
        Self::Closed,
    ];

    /// The word used in JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EngineCrashed => "engine_crashed",
            Self::Hung => "hung",
            Self::Overflow => "overflow",
            Self::TooLarge => "too_large",
            Self::NotContiguous => "not_contiguous",
            Self::Corrupt => "corrupt",
            Self::Closed => "closed",
        }
    }
}

/// Cumulative outcomes of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Frames processed.
    pub ok: u64,
    /// Frames on which the processor failed.
    pub error: u64,
    /// Frames not processed, by [`SkipReason::ALL`].
    pub skipped: [u64; 4],
    /// Frames lost, by [`DropReason::ALL`].
    pub dropped: [u64; 7],
}

impl Counts {
    /// Adds one outcome.
    pub fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Error => self.error += 1,
            Outcome::Skipped(reason) => self.skipped[reason as usize] += 1,
            Outcome::Dropped(reason) => self.dropped[reason as usize] += 1,
        }
    }

    /// Frames with an outcome.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.ok + self.error + self.skipped_total() + self.dropped_total()
    }

    /// Frames skipped for any reason.
    #[must_use]
    pub fn skipped_total(&self) -> u64 {
        self.skipped.iter().sum()
    }

    /// Frames dropped for any reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_counts_in_its_own_place() {
        let mut counts = Counts::default();
        for (index, reason) in SkipReason::ALL.into_iter().enumerate() {
            counts.add(Outcome::Skipped(reason));
            assert_eq!(counts.skipped[index], 1, "{}", reason.as_str());
        }
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            counts.add(Outcome::Dropped(reason));
            assert_eq!(counts.dropped[index], 1, "{}", reason.as_str());
        }
        assert_eq!(counts.total(), 11);
    }
}
