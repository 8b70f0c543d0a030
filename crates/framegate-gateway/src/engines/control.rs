//! Packets with file descriptors to and from a nursery.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

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

/// Whether `pidfd` is process `pid` and that is the nursery itself or a child of it: what it stands for may be killed
/// later. One that has ended passes, because nothing can happen to it.
pub(crate) fn is_process_of(pidfd: &OwnedFd, pid: u32, nursery: u32) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap_or_default();
    let shown = info.lines().find_map(|line| line.strip_prefix("Pid:")).and_then(|pid| pid.trim().parse::<i64>().ok());
    match shown {
        Some(-1) => return true,
        Some(shown) if shown == i64::from(pid) => {}
        _ => return false,
    }
    if pid == nursery {
        return true;
    }
    // "pid (name) state parent …"; the name may contain anything.
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
    parent == Some(nursery)
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

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio, id};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;
    use crate::engines::children;

    #[test]
    fn only_a_nursery_s_own_processes_are_believed() {
        let mut command = Command::new("cat");
        let child = children::spawn(command.stdin(Stdio::piped()).stdout(Stdio::null()));
        let mut child = child.expect("a child");
        let open = |pid: u32| {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
            pidfd_open(pid, PidfdFlags::empty()).expect("a pidfd")
        };
        let (own, childs) = (open(id()), open(child.id()));
        assert!(is_process_of(&childs, child.id(), id()));
        assert!(is_process_of(&own, id(), id()));
        assert!(!is_process_of(&own, id(), child.id()), "a parent is not a child");
        assert!(!is_process_of(&own, child.id(), id()), "another process than it says");
        let file = OwnedFd::from(std::fs::File::open("/dev/null").expect("opened"));
        assert!(!is_process_of(&file, child.id(), id()), "no pidfd at all");
        drop(child.stdin.take());
        children::wait(&mut child).expect("ended");
        assert!(is_process_of(&childs, child.id(), 1), "what has ended cannot be harmed");
    }
}
