//! What the nursery tells its supervisor: one message a packet, a descriptor beside it.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use framegate_wire::limits::NURSERY_PACKET_BYTES_MAX;
use rustix::{
    cmsg_space,
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
};
use serde::{Deserialize, Serialize};

use super::End;

/// What the nursery tells its supervisor, one per packet.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// Sources are compiled, and everything else that is loaded is found.
    Resolved,
    /// The kernel asks the supervisor, by the descriptor beside this; what may be read follows.
    Audited(Vec<PathBuf>),
    /// The kernel cannot ask; the sandbox is enforced instead.
    Enforced(String),
    /// The processors are loaded: threads that run already.
    Loaded(u32),
    /// The processors cannot be loaded, or the system refuses something.
    Failed(String),
    /// The engine has gone.
    Exited(End),
}

/// The next report, and the descriptor beside it; `None` when the nursery has gone.
pub(super) fn receive(control: &OwnedFd) -> Result<Option<(Report, Option<OwnedFd>)>, Errno> {
    let mut packet = vec![0; NURSERY_PACKET_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut packet)];
    let received = match recvmsg(control, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
        Ok(received) => received,
        Err(Errno::CONNRESET) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut listener = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            listener = rights.last();
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let bytes = packet.get(..received.bytes).ok_or(Errno::MSGSIZE)?;
    Ok(Some((postcard::from_bytes(bytes).map_err(|_| Errno::BADMSG)?, listener)))
}

/// Sends a report, with a descriptor beside it if there is one.
pub(super) fn send(control: &OwnedFd, report: &Report, listener: Option<&OwnedFd>) -> Result<(), Errno> {
    let packet = postcard::to_allocvec(report).map_err(|_| Errno::MSGSIZE)?;
    let rights: Vec<_> = listener.iter().map(|listener| listener.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !rights.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&rights));
    }
    sendmsg(control, &[IoSlice::new(&packet)], &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}
