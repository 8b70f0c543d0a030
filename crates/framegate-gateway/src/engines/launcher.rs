//! The thread that owns every nursery.

mod run;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use framegate_core::runner::Death;
use mio::{Poll, Waker};

use self::run::{Run, WAKER};
use super::nursery::NurseryProgram;
use super::registry::Registry;
use crate::media::mailbox::{Mail, Mailbox};

/// Which engine of which session on which media thread.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) mailbox: Mailbox,
    pub(crate) session: u64,
    pub(crate) engine: u64,
}

/// A wish for an engine.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) pipeline: usize,
    pub(crate) owner: Owner,
}

/// What the launcher is told.
#[derive(Debug)]
enum Order {
    Launch(Request),
    Warm(usize),
    Stop,
}

/// Orders waiting for the launcher: one engine per session at the most.
const ORDERS_MAX: usize = 16_384;

/// The launcher, from outside.
#[derive(Debug, Clone)]
pub(crate) struct Launcher {
    orders: SyncSender<Order>,
    waker: Arc<Waker>,
}

impl Launcher {
    /// Starts the thread.
    pub(crate) fn start(program: NurseryProgram, registry: Registry) -> io::Result<(Self, JoinHandle<()>)> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (orders, inbox) = sync_channel(ORDERS_MAX);
        let run = Run::new(poll, inbox, program, registry);
        // What a nursery that died leaves behind becomes ours to end and reap.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let thread = std::thread::Builder::new().name("launcher".to_owned()).spawn(move || run.run())?;
        Ok((Self { orders, waker }, thread))
    }

    /// Asks for an engine; its owner's mailbox gets the answer.
    pub(crate) fn launch(&self, request: Request) {
        self.order(Order::Launch(request));
    }

    /// Loads a pipeline's processor before anybody asks.
    pub(crate) fn warm(&self, pipeline: usize) {
        self.order(Order::Warm(pipeline));
    }

    /// Ends every nursery and the thread.
    pub(crate) fn stop(&self) {
        // The one order that may not be lost: its sender waits for the thread to end.
        if self.orders.send(Order::Stop).is_ok() {
            let _ = self.waker.wake();
        }
    }

    fn order(&self, order: Order) {
        if self.orders.try_send(order).is_ok() {
            // A failed wake-up only delays the order to the next tick.
            let _ = self.waker.wake();
        }
    }
}

impl Owner {
    fn tell(&self, mail: impl FnOnce(&Self) -> Mail) {
        self.mailbox.deliver(mail(self));
    }

    /// Tells that there will be no engine.
    fn refuse(&self, text: String) {
        let death = Death::unlaunched(text);
        self.tell(|owner| Mail::EngineEnded { session: owner.session, engine: owner.engine, death });
    }
}

#[cfg(test)]
mod tests;
