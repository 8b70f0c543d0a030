//! The one way into a media thread: a bounded queue and a wake-up.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use framegate_core::runner::{Death, Snapshot};
use mio::Waker;
use tokio::sync::oneshot;

use super::{Accepted, Offer, Refused, SessionReport, SnapshotWish};

/// Messages waiting for a media thread: many times what it gets between two turns of its loop.
const MAIL_MAX: usize = 65_536;

/// What a media thread is told.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A page offers a session on a pipeline.
    Offer { offer: Offer, pipeline: usize, answer: oneshot::Sender<Result<Accepted, Refused>> },
    /// A page trickles candidates.
    Candidates { secret: String, fragment: String, answer: oneshot::Sender<Result<(), Refused>> },
    /// A page ends its session.
    Close { secret: String, answer: oneshot::Sender<Result<serde_json::Value, Refused>> },
    /// Somebody wants to see all sessions.
    Report { answer: oneshot::Sender<Vec<SessionReport>> },
    /// Somebody wants a picture.
    Snapshot { wish: SnapshotWish, answer: oneshot::Sender<Result<Snapshot, Refused>> },
    /// An engine runs.
    EngineLaunched { session: u64, engine: u64, socket: OwnedFd, pid: u32, pidfd: OwnedFd },
    /// An engine is gone, or could not be launched.
    EngineEnded { session: u64, engine: u64, death: Death },
    /// A line an engine printed.
    EnginePrinted { session: u64, line: String },
    /// Load a pipeline's processor.
    Warm { pipeline: usize },
    /// End all sessions in order, then the thread.
    Stop,
}

/// The sending end.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    queue: SyncSender<Mail>,
    waker: Arc<Waker>,
}

impl Mailbox {
    pub(crate) fn new(waker: Waker) -> (Self, Receiver<Mail>) {
        let (queue, inbox) = sync_channel(MAIL_MAX);
        (Self { queue, waker: Arc::new(waker) }, inbox)
    }

    /// Delivers what may be lost when the thread is drowning or gone; printed lines go first.
    pub(crate) fn deliver(&self, mail: Mail) {
        if self.try_deliver(mail).is_err() {
            tracing::warn!("a media thread does not take its mail");
        }
    }

    /// Makes the thread look at its mail; it also wakes by itself for its timers, so that a failure only delays.
    pub(crate) fn wake(&self) {
        let _ = self.waker.wake();
    }

    /// Delivers, or gives the mail back when the queue is full or the thread is gone.
    pub(crate) fn try_deliver(&self, mail: Mail) -> Result<(), Box<Mail>> {
        match self.queue.try_send(mail) {
            Ok(()) => {
                self.wake();
                Ok(())
            }
            Err(TrySendError::Full(mail) | TrySendError::Disconnected(mail)) => Err(Box::new(mail)),
        }
    }
}
