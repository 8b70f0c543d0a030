//! The control socket: one message a packet, descriptors beside it.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use framegate_wire::{NurseryReply, NurseryRequest, limits::NURSERY_PACKET_BYTES_MAX};
use rustix::{
    cmsg_space,
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
};

/// Descriptors that come with a request.
const DESCRIPTORS: usize = 2;

/// The nursery's end of the control socket.
#[derive(Debug)]
pub(super) struct Control {
    socket: Option<OwnedFd>,
}

/// A request, and the descriptors beside it if there were exactly as many as expected.
#[derive(Debug)]
pub(super) struct Fork {
    pub(super) request: NurseryRequest,
    pub(super) descriptors: Option<[OwnedFd; DESCRIPTORS]>,
}

impl Control {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket: Some(socket) }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_ref().expect("closed only by a nursery that has become an engine").as_fd()
    }

    pub(super) fn close(&mut self) {
        self.socket = None;
    }

    /// Sends one reply, with at most one descriptor. A gateway that has gone is no error here: `receive` tells.
    pub(super) fn send(&self, reply: &NurseryReply, descriptor: Option<&OwnedFd>) -> Result<(), Errno> {
        let packet = postcard::to_allocvec(reply).map_err(|_| Errno::INVAL)?;
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let rights = descriptor.map(|descriptor| [descriptor.as_fd()]);
        if let Some(rights) = &rights
            && !ancillary.push(SendAncillaryMessage::ScmRights(rights))
        {
            return Err(Errno::NOBUFS);
        }
        loop {
            match sendmsg(self.socket(), &[IoSlice::new(&packet)], &mut ancillary, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => return Ok(()),
                other => return other.map(|_| ()),
            }
        }
    }

    /// Receives one request; `None` when the gateway closed its end. A packet that is no request is an error: both ends
    /// are of one package.
    pub(super) fn receive(&self) -> Result<Option<Fork>, Errno> {
        let mut packet = [0; NURSERY_PACKET_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut packet)];
            match recvmsg(self.socket(), &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                other => break other?,
            }
        };
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        let bytes = packet.get(..received.bytes).ok_or(Errno::MSGSIZE)?;
        let request = postcard::from_bytes(bytes).map_err(|_| Errno::BADMSG)?;
        Ok(Some(Fork { request, descriptors: descriptors.try_into().ok() }))
    }
}
