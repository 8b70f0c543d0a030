//! The process that has the libraries' instances of all engines: forked from the nursery, confined as an engine is, it
//! takes one request of each engine at a time.

use std::{
    io::{IoSliceMut, Write as _},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
    rc::Rc,
};

use rustix::{
    cmsg_space,
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send},
};

use super::{
    Failure, Ground,
    child::{free, last_errno, line_buffer_stdout, put},
    fault,
};
use crate::{
    bridge::{link::FarEnd, served::Session},
    library::Library,
    sandbox::confine_shared,
};

/// Where the socket to the nursery is.
const RELAY_FD: RawFd = 3;
/// Where the fault handler finds the pipe to the nursery.
const FAULT_FD: RawFd = 4;
/// Where the nursery's standard error is, for what is printed while no engine is served.
const IDLE_FD: RawFd = 5;

/// Descriptors that come with an engine: bridge, frames, area, output.
pub(super) const DESCRIPTORS: usize = 4;

/// An engine that is served.
struct Served {
    /// The nursery's number of it.
    number: u64,
    log: OwnedFd,
    session: Session,
}

/// The whole life of the process; its exit code.
pub(super) fn run(relay: OwnedFd, fault: OwnedFd, ground: &Ground) -> i32 {
    let served = settle(relay, fault)
        .map_err(|error| Failure::System("arranging descriptors", error))
        .and_then(|relay| {
            confine_shared(&ground.policy, &ground.filter)?;
            Ok(relay)
        })
        .and_then(|relay| {
            let mut host = Host { relay, libraries: ground.loaded.shared(), engines: Vec::new(), printing: None };
            host.serve().map_err(|error| Failure::System("serving several engines", error))
        });
    match served {
        Ok(()) => 0,
        Err(error) => {
            // To where the nursery's own go; when that fails too, the exit status must do.
            let _ = writeln!(std::io::stderr(), "framegate-engine: {error}");
            1
        }
    }
}

/// Puts the descriptors in their places, closes all others, and installs the fault handler.
fn settle(relay: OwnedFd, fault: OwnedFd) -> Result<OwnedFd, Errno> {
    // First out of the way: any of them may have the number that another one is to get.
    let (relay, fault, idle) = (free(relay)?, free(fault)?, rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 16)?);
    put(&relay, RELAY_FD)?;
    put(&fault, FAULT_FD)?;
    put(&idle, IDLE_FD)?;
    put(&idle, 1)?;
    drop((relay, fault, idle));
    // Whatever else the nursery holds: an inherited socket would hide a session's end from the gateway.
    // SAFETY: no owned descriptor in this process is used after this but the ones placed above.
    if unsafe { libc::close_range(IDLE_FD.cast_unsigned() + 1, u32::MAX, 0) } != 0 {
        return Err(last_errno());
    }
    line_buffer_stdout();
    fault::install(Some(FAULT_FD))?;
    // SAFETY: the number was just given to a duplicate that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(RELAY_FD) })
}

struct Host {
    relay: OwnedFd,
    libraries: Vec<Rc<Library>>,
    engines: Vec<Served>,
    /// The engine whose output standard output and error lead to.
    printing: Option<u64>,
}

impl Host {
    /// Serves until the nursery goes.
    fn serve(&mut self) -> Result<(), Errno> {
        loop {
            let mut waited = vec![PollFd::new(&self.relay, PollFlags::IN)];
            waited.extend(self.engines.iter().map(|engine| PollFd::new(engine.session.socket(), PollFlags::IN)));
            match poll(&mut waited, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            }
            let is_due: Vec<bool> = waited.iter().map(|descriptor| !descriptor.revents().is_empty()).collect();
            drop(waited);
            // One request of each engine that has one: none waits for two of another. From the last on, because one that
            // is done leaves its place to the last.
            for index in (0..self.engines.len()).rev().filter(|index| is_due[index + 1]) {
                self.step(index)?;
            }
            if is_due[0] && !self.take()? {
                return Ok(());
            }
        }
    }

    fn step(&mut self, index: usize) -> Result<(), Errno> {
        let Served { number, log, session } = &mut self.engines[index];
        if self.printing != Some(*number) {
            // What is printed now is about this stream.
            lead_output(log.as_raw_fd())?;
            self.printing = Some(*number);
        }
        let parted = session.step(&self.libraries);
        if parted.is_err() || session.is_done() {
            let Served { number, log, session } = self.engines.swap_remove(index);
            session.close();
            lead_output(IDLE_FD)?;
            self.printing = None;
            drop(log);
            self.release(number);
        } else {
            flush();
        }
        Ok(())
    }

    /// Takes over one engine; `false` when the nursery has gone.
    fn take(&mut self) -> Result<bool, Errno> {
        let mut packet = [0; size_of::<u64>()];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut packet)];
        let received = match recvmsg(&self.relay, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => return Ok(true),
            Err(Errno::CONNRESET) => return Ok(false),
            other => other?,
        };
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let number = u64::from_le_bytes(packet);
        let Ok([socket, frames, area, log]) = <[OwnedFd; DESCRIPTORS]>::try_from(descriptors) else {
            return if received.bytes == 0 { Ok(false) } else { Err(Errno::BADMSG) };
        };
        match Session::new(FarEnd { socket, frames, area }) {
            Ok(session) => self.engines.push(Served { number, log, session }),
            Err(error) => {
                // The engine is told that its process is gone, and this says why.
                let _ = writeln!(std::io::stderr(), "framegate-engine: taking over an engine's memory: {error}");
                self.release(number);
            }
        }
        Ok(true)
    }

    /// Tells the nursery that an engine is let go of. When it has gone there is nobody to tell.
    fn release(&self, number: u64) {
        let _ = send(self.relay.as_fd(), &number.to_le_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }
}

/// Leads standard output and error to where `descriptor` does.
fn lead_output(descriptor: RawFd) -> Result<(), Errno> {
    flush();
    for standard in [1, 2] {
        // SAFETY: both are numbers of open descriptors; nobody owns the standard streams.
        if unsafe { libc::dup2(descriptor, standard) } < 0 {
            return Err(last_errno());
        }
    }
    Ok(())
}

/// Writes out what the libraries printed without an end of line.
fn flush() {
    // SAFETY: flushing every stream of the C library; a processor's threads, if any, are part of its own peril.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}
