//! Packets with file descriptors to and from a nursery.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use framegate_wire::limits::NURSERY_PACKET_BYTES_MAX;
use framegate_wire::{NurseryReply, NurseryRequest};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// Sends one request with its descriptors.
pub(crate) fn send(socket: impl AsFd, request: &NurseryRequest, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let packet = postcard::to_stdvec(request).map_err(io::Error::other)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("more descriptors than a request has"));
    }
    sendmsg(socket, &[IoSlice::new(&packet)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A packet from a nursery, or its end.
#[derive(Debug)]
pub(crate) enum Received {
    /// A reply and the descriptor that came with it.
    Reply(NurseryReply, Option<OwnedFd>),
    /// Nothing more now.
    Empty,
    /// The nursery closed its end.
    End,
}

/// Receives one reply; descriptors beyond the one a reply has are closed.
pub(crate) fn receive(socket: impl AsFd) -> io::Result<Received> {
    let mut packet = [0; NURSERY_PACKET_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut packet)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    );
    let length = match received {
        Ok(message) if message.bytes == 0 => return Ok(Received::End),
        Ok(message) => message.bytes,
        Err(rustix::io::Errno::AGAIN) => return Ok(Received::Empty),
        Err(rustix::io::Errno::CONNRESET) => return Ok(Received::End),
        Err(error) => return Err(error.into()),
    };
    let mut descriptor = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            for received in descriptors {
                descriptor.get_or_insert(received);
            }
        }
    }
    let reply = postcard::from_bytes(&packet[..length]).map_err(io::Error::other)?;
    Ok(Received::Reply(reply, descriptor))
}
