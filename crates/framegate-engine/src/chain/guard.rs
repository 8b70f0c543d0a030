//! Frames in memory that faults when it is used against the rules: for `check`.

use framegate_wire::FromOffline;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::{
    outbox::Outbox,
    pool::{Slot, SlotAddresses},
};

/// Inaccessible bytes before and behind a frame: a row too many of the widest picture ends in them.
pub(crate) const GUARD_BYTES: usize = 1 << 20;

/// Where a frame lies, told before the processors are called with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FrameMemory {
    pub(crate) addresses: SlotAddresses,
    pub(crate) is_writable: bool,
}

/// Tells where the frame lies, and takes the right to write away if it is to be sealed.
pub(super) fn announce(slot: &mut Slot, outbox: &Outbox, is_sealed: bool) -> Result<(), Errno> {
    let memory = FrameMemory { addresses: slot.addresses(), is_writable: !is_sealed };
    if is_sealed {
        slot.seal()?;
    }
    let text = serde_json::to_string(&memory).unwrap_or_default();
    // A failing socket is noticed by whoever runs the chain.
    let _ = outbox.push_offline(&FromOffline::Notice { text }, &[]).and_then(|()| outbox.flush());
    Ok(())
}
