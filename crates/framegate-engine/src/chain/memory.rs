//! The frames of a chain: in memory of the engine's own, or in that of a link.

use super::StageError;
use crate::pool::Slot;

/// Where pictures are converted into.
#[derive(Debug)]
pub(super) enum Memory {
    /// The engine's own, with the bytes it was made for.
    Own(Option<(usize, Slot)>),
    /// Shared with the process of a remote processor, with the bytes it was last used for.
    Shared(Option<usize>, Slot),
}

impl Memory {
    /// Whether another process sees the pictures.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(..))
    }

    /// Room for so many bytes, with at least `wall` inaccessible bytes on either side where it is the engine's own.
    pub(super) fn place(&mut self, bytes: usize, wall: usize) -> Result<&mut Slot, StageError> {
        match self {
            Self::Own(own) => {
                if own.as_ref().is_none_or(|(of, _)| *of != bytes) {
                    // The old one goes first: two pictures of the largest size need not fit.
                    *own = None;
                    let slot = match wall {
                        0 => Slot::new(bytes),
                        wall => Slot::walled(bytes, wall),
                    };
                    *own = Some((bytes, slot.map_err(|_| StageError::Memory)?));
                }
                own.as_mut().map(|(_, slot)| slot).ok_or(StageError::Memory)
            }
            Self::Shared(of, slot) => {
                if *of != Some(bytes) {
                    *of = None;
                    if !slot.fit(bytes) {
                        return Err(StageError::Memory);
                    }
                    *of = Some(bytes);
                }
                Ok(slot)
            }
        }
    }

    /// Makes every later use of the last picture a fault, where it is in the engine's own memory.
    pub(super) fn retire(&mut self) -> Result<(), StageError> {
        match self {
            Self::Own(own) => own.take().map_or(Ok(()), |(_, slot)| slot.retire()).map_err(|_| StageError::Memory),
            Self::Shared(..) => Ok(()),
        }
    }

    /// The memory of a link, for something other than a picture.
    pub(super) fn shared(&mut self) -> Option<&mut Slot> {
        match self {
            Self::Own(_) => None,
            Self::Shared(of, slot) => {
                *of = None;
                Some(slot)
            }
        }
    }
}
