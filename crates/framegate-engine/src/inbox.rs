//! The receiving half of the session's socket.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
};

use framegate_wire::{Open, SavedState, ToEngine, WIRE_VERSION, frame::Reader};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{RecvFlags, recv},
};

use crate::{
    clock::now_ns,
    engine::EngineError,
    limits::{DRAIN_BYTES_MAX, READ_BYTES},
};

/// Whether more will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Open,
    Closed,
}

/// Whether reading waits until something has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    Waits,
    None,
}

/// The receiving half of the session's socket.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) reader: Reader,
    /// When the last bytes were read.
    pub(crate) read_ns: u64,
    socket: Arc<OwnedFd>,
    buffer: Box<[u8]>,
}

impl Inbox {
    pub(crate) fn new(socket: Arc<OwnedFd>) -> Self {
        Self { reader: Reader::default(), read_ns: 0, socket, buffer: vec![0; READ_BYTES].into_boxed_slice() }
    }

    /// Waits for the first message. `None` when the gateway closed without any.
    pub(crate) fn open(&mut self) -> Result<Option<(Open, Vec<SavedState>)>, EngineError> {
        loop {
            match self.reader.next_message()? {
                Some((ToEngine::Open(open), payload)) if open.version == WIRE_VERSION => {
                    let states = match payload {
                        [] => Vec::new(),
                        bytes => postcard::from_bytes(bytes).map_err(EngineError::State)?,
                    };
                    return Ok(Some((open, states)));
                }
                Some((ToEngine::Open(open), _)) => return Err(EngineError::Version(open.version)),
                Some((ToEngine::Close, _)) => return Ok(None),
                Some(_) => return Err(EngineError::Order),
                None => {}
            }
            if self.fill(Patience::Waits)? == Flow::Closed {
                return Ok(None);
            }
        }
    }

    /// Waits until something has arrived here or at `other`; `true` when it is there.
    pub(crate) fn wait_beside(&self, other: BorrowedFd<'_>) -> bool {
        let mut both = [PollFd::new(&self.socket, PollFlags::IN), PollFd::from_borrowed_fd(other, PollFlags::IN)];
        // An error of `poll` shows again at the next `recv`.
        let _ = poll(&mut both, None);
        !both[1].revents().is_empty()
    }

    /// Reads everything that has arrived; if that is nothing, waits when it shall.
    pub(crate) fn fill(&mut self, patience: Patience) -> Result<Flow, EngineError> {
        let mut total = 0;
        while total < DRAIN_BYTES_MAX {
            match recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) if total == 0 => return Ok(Flow::Closed),
                Ok((0, _)) => break,
                Ok((count, _)) => {
                    self.reader.extend(&self.buffer[..count]);
                    total += count;
                    if count < self.buffer.len() {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if total > 0 || patience == Patience::None => break,
                Err(Errno::AGAIN) => {
                    // An error of `poll` shows again at the next `recv`.
                    let _ = poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], None);
                }
                Err(Errno::CONNRESET) => return Ok(Flow::Closed),
                Err(error) => return Err(EngineError::Receive(error)),
            }
        }
        self.read_ns = now_ns();
        Ok(Flow::Open)
    }
}
