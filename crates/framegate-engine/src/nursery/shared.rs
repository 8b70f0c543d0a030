//! The process that has the libraries' instances of all engines, seen from the nursery: started for the first engine, told
//! of each further one, replaced when it has died, killed when it hangs.

use std::{
    cell::{Cell, Ref, RefCell},
    fs::File,
    io::IoSlice,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use framegate_wire::ExitKind;
use rustix::{
    cmsg_space,
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv,
        send, sendmsg, socketpair,
    },
    pipe::{PipeFlags, pipe_with},
    process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal},
};

use super::{
    Ground,
    child::die_with_parent,
    fault, fork,
    host::{self, DESCRIPTORS},
    read_up_to,
};
use crate::{
    bridge::{
        Death,
        link::{self, Access, FarEnd, Link},
        packet::{Reply, Tell},
    },
    clock::now_ns,
    limits::RELEASE_NS,
    resolve::Loaded,
};

/// What serves all engines, while there are any.
#[derive(Debug, Default)]
pub(super) struct Shared {
    host: RefCell<Option<Host>>,
    last_number: Cell<u64>,
}

/// The running process.
#[derive(Debug)]
pub(super) struct Host {
    pid: Pid,
    pidfd: OwnedFd,
    relay: OwnedFd,
    fault: File,
    bridges: Vec<Bridge>,
}

/// Our copy of a bridge's far end: for the last word, and to see the engine's end.
#[derive(Debug)]
struct Bridge {
    number: u64,
    socket: OwnedFd,
    parting: Parting,
}

/// Whether the engine of a bridge has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parting {
    /// No.
    Not,
    /// Yes; by then the process must have let go of it.
    Until(u64),
    /// Yes, and the process was killed for it.
    Killed,
}

impl Shared {
    /// Has the process serve a new engine, whose end of the link is returned. What the processors print goes to `log`.
    pub(super) fn connect(&self, ground: &Ground, log: BorrowedFd<'_>) -> Result<Link, Errno> {
        let mut host = self.host.borrow_mut();
        // Started before the link is made, of which it must not inherit the engine's end.
        let host = match &mut *host {
            Some(host) => host,
            None => host.insert(Host::start(ground)?),
        };
        // What a library does not ask to write it may change all the same, as in an engine.
        let (link, FarEnd { socket, frames, area }) = link::pair(Access::Write)?;
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        // One that has just died is buried soon, and the engine told so; one that hangs will be killed.
        let _ = host.hand_over(number, [socket.as_fd(), frames.as_fd(), area.as_fd(), log]);
        host.bridges.push(Bridge { number, socket, parting: Parting::Not });
        Ok(link)
    }

    /// The process, to wait for it with [`Host::descriptors`].
    pub(super) fn host(&self) -> Ref<'_, Option<Host>> {
        self.host.borrow()
    }

    /// Nanoseconds until it has taken too long to let go of an engine.
    pub(super) fn remaining_ns(&self) -> Option<u64> {
        let host = self.host.borrow();
        let until = host.iter().flat_map(|host| &host.bridges).filter_map(|bridge| match bridge.parting {
            Parting::Until(until_ns) => Some(until_ns),
            Parting::Not | Parting::Killed => None,
        });
        until.min().map(|until_ns| until_ns.saturating_sub(now_ns()))
    }

    /// Sees to what has happened: engines that have gone, a process that hangs or has died.
    pub(super) fn go_on(&self, loaded: &Loaded) -> Result<(), Errno> {
        let mut running = self.host.borrow_mut();
        let Some(host) = &mut *running else { return Ok(()) };
        host.hear();
        host.look_after_engines()?;
        if is_due(&host.pidfd, PollFlags::IN)? {
            host.bury(loaded)?;
            *running = None;
        }
        Ok(())
    }

    pub(super) fn kill(&self) {
        self.host.borrow().iter().for_each(Host::kill);
    }
}

impl Host {
    /// Forks the process. Call while there is one thread.
    fn start(ground: &Ground) -> Result<Self, Errno> {
        let (relay, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let (fault_reader, fault) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let nursery = getpid();
        let pid = fork::fork(move || match die_with_parent(Some(nursery)) {
            Ok(()) => host::run(theirs, fault, ground),
            Err(_) => 1,
        })?;
        // It cannot be reaped, and its number not be reused, before this process waits for it.
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { pid, pidfd, relay, fault: fault_reader.into(), bridges: Vec::new() })
    }

    /// What the nursery waits for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = PollFd<'_>> {
        let staying = self.bridges.iter().filter(|bridge| bridge.parting == Parting::Not);
        let own = [PollFd::new(&self.pidfd, PollFlags::IN), PollFd::new(&self.relay, PollFlags::IN)];
        // Nothing is read from a bridge here: only the engine's end is waited for.
        own.into_iter().chain(staying.map(|bridge| PollFd::new(&bridge.socket, PollFlags::empty())))
    }

    /// Passes on an engine's descriptors, without waiting.
    fn hand_over(&self, number: u64, descriptors: [BorrowedFd<'_>; DESCRIPTORS]) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(Errno::NOBUFS);
        }
        let number = number.to_le_bytes();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.relay, &[IoSlice::new(&number)], &mut ancillary, flags).map(drop)
    }

    /// Hears which engines it has let go of.
    fn hear(&mut self) {
        let mut number = [0; size_of::<u64>()];
        while let Ok((1.., _)) = recv(&self.relay, &mut number[..], RecvFlags::DONTWAIT) {
            let number = u64::from_le_bytes(number);
            self.bridges.retain(|bridge| bridge.number != number);
        }
    }

    /// Notes which engines have gone, and kills the process when it has not let go of one in time: it hangs, and others
    /// wait for it.
    fn look_after_engines(&mut self) -> Result<(), Errno> {
        let now_ns = now_ns();
        for index in 0..self.bridges.len() {
            let bridge = &mut self.bridges[index];
            match bridge.parting {
                Parting::Not if is_due(&bridge.socket, PollFlags::empty())? => {
                    bridge.parting = Parting::Until(now_ns.saturating_add(RELEASE_NS));
                }
                Parting::Until(until_ns) if until_ns <= now_ns => {
                    bridge.parting = Parting::Killed;
                    self.kill();
                }
                Parting::Not | Parting::Until(_) | Parting::Killed => {}
            }
        }
        Ok(())
    }

    /// Reaps it and tells its engines how it ended.
    fn bury(&mut self, loaded: &Loaded) -> Result<(), Errno> {
        let (kind, _) = fork::wait(self.pid)?;
        let mut record = [0; fault::RECORD_BYTES_MAX];
        let length = read_up_to(&mut self.fault, &mut record);
        let death = match kind {
            ExitKind::Code(code) => Death { code: Some(code), ..Death::default() },
            ExitKind::Signal(signal) => {
                // A record from before the end, say of a signal the processor handled, explains nothing.
                let report = fault::explain(&record[..length], loaded).filter(|report| report.signal == signal);
                let place = report.as_ref().map(fault::place_of).unwrap_or_default();
                Death { signal: Some(signal), place, ..Death::default() }
            }
        };
        let body = serde_json::to_vec(&death).unwrap_or_default();
        let mut packet = Reply { first_bytes: body.len(), ..Reply::of(Tell::Died, 0) }.to_bytes().to_vec();
        packet.extend_from_slice(&body);
        for bridge in self.bridges.drain(..) {
            // An engine that has gone as well needs no news.
            let _ = send(&bridge.socket, &packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
        Ok(())
    }

    fn kill(&self) {
        // One that is gone already needs no signal.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

/// Whether something has happened at a descriptor.
fn is_due(descriptor: &OwnedFd, flags: PollFlags) -> Result<bool, Errno> {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut [PollFd::new(descriptor, flags)], Some(&at_once)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    }
}
