//! Hot path: one media thread. Its epoll loop holds its UDP sockets and the engine sockets of its own sessions.

use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use framegate_core::Now;
use framegate_core::demux::{Demux, Route};
use framegate_core::link::Identity;
use framegate_core::runner::{Death, EngineAction};
use mio::{Events, Interest, Poll, Token, Waker};

use super::mailbox::{Mail, Mailbox};
use super::meter::{self, Measured, Meter};
use super::seat::{EngineRead, EngineSeat, Seat};
use super::socket::{Clock, DATAGRAM_BYTES_MAX, MediaSocket, now};
use super::{Refused, Streams};
use crate::config::Config;
use crate::engines::launcher::{Launcher, Owner, Request};
use crate::engines::registry::Registry;

mod door;

/// What a media thread is made of.
#[derive(Debug)]
pub(crate) struct ShardParts {
    pub(crate) index: usize,
    pub(crate) sockets: Vec<MediaSocket>,
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) registry: Registry,
    pub(crate) launcher: Launcher,
    pub(crate) meter: Meter,
    pub(crate) streams: Streams,
}

/// A media thread.
#[derive(Debug)]
pub(crate) struct Shard {
    parts: ShardParts,
    poll: Poll,
    inbox: Receiver<Mail>,
    mailbox: Mailbox,
    seats: HashMap<u64, Seat>,
    by_secret: HashMap<String, u64>,
    demux: Demux<u64>,
    timers: BinaryHeap<std::cmp::Reverse<(Instant, u64)>>,
    next_key: u64,
    /// Sockets that may hold more datagrams.
    hot: Vec<bool>,
    buffer: Vec<u8>,
    last_measured: Instant,
    stopping: Option<Instant>,
}

const WAKER: Token = Token(0);
const FIRST_SOCKET: usize = 1;
/// Engine sockets: this plus the session's key.
const FIRST_ENGINE: usize = 1 << 20;

/// Datagrams taken from a socket before everything else gets its turn.
const DATAGRAMS_PER_TURN: usize = 32;

/// Bytes read from an engine at once.
const ENGINE_READ_BYTES: usize = 64 << 10;

/// A session is not looked at more often than this for its timers alone.
const WAKE_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Time sessions have to end in order when the program does.
const STOP_TIMEOUT: Duration = Duration::from_millis(1500);

impl Shard {
    pub(crate) fn new(mut parts: ShardParts) -> io::Result<(Self, Mailbox)> {
        let poll = Poll::new()?;
        let (mailbox, inbox) = Mailbox::new(Waker::new(poll.registry(), WAKER)?);
        for (index, socket) in parts.sockets.iter_mut().enumerate() {
            poll.registry().register(&mut socket.socket, Token(FIRST_SOCKET + index), Interest::READABLE)?;
        }
        let hot = vec![false; parts.sockets.len()];
        let shard = Self {
            parts,
            poll,
            inbox,
            mailbox: mailbox.clone(),
            seats: HashMap::new(),
            by_secret: HashMap::new(),
            demux: Demux::default(),
            timers: BinaryHeap::new(),
            next_key: 1,
            hot,
            buffer: vec![0; ENGINE_READ_BYTES],
            last_measured: Instant::now(),
            stopping: None,
        };
        Ok((shard, mailbox))
    }

    /// Runs until told to stop and every session has ended.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        loop {
            if let Err(error) = self.poll.poll(&mut events, Some(self.wait()))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "a media thread cannot wait");
                return;
            }
            let present = now();
            for event in &events {
                match event.token() {
                    WAKER => {}
                    Token(token) if token >= FIRST_ENGINE => {
                        let key = u64::try_from(token - FIRST_ENGINE).unwrap_or(0);
                        self.engine_event(present, key);
                    }
                    Token(token) => self.hot[token - FIRST_SOCKET] = true,
                }
            }
            self.read_sockets();
            self.read_mail();
            let present = now();
            self.fire_timers(present);
            self.measure(present);
            if self.is_over(present) {
                return;
            }
        }
    }

    fn wait(&self) -> Duration {
        if self.hot.contains(&true) {
            return Duration::ZERO;
        }
        let present = Instant::now();
        let timer = self.timers.peek().map(|std::cmp::Reverse((at, _))| at.saturating_duration_since(present));
        timer.unwrap_or(meter::INTERVAL).min(meter::INTERVAL)
    }

    fn read_sockets(&mut self) {
        for index in 0..self.parts.sockets.len() {
            if self.hot[index] {
                self.hot[index] = self.read_socket(index);
            }
        }
    }

    /// Takes a turn's datagrams from a socket; whether there may be more.
    fn read_socket(&mut self, index: usize) -> bool {
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        for _ in 0..DATAGRAMS_PER_TURN {
            let clock = Clock::read();
            let socket = &mut self.parts.sockets[index];
            let destination = socket.address;
            match socket.receive(&mut buffer, clock) {
                Ok(Some(datagram)) => {
                    let bytes = &buffer[..datagram.length];
                    self.datagram(clock.now, datagram.received_ns, datagram.source, destination, bytes);
                }
                Ok(None) => return false,
                Err(error) => {
                    // ICMP errors of earlier sends arrive here; the socket lives on.
                    tracing::trace!(%error, "a datagram could not be received");
                }
            }
        }
        true
    }

    fn datagram(&mut self, now: Now, received_ns: u64, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        let key = match self.demux.route(source, bytes) {
            Route::Bound(key) => key,
            Route::Unproven(key) => {
                if !self.seats.get(&key).is_some_and(|seat| seat.session.authenticates(bytes)) {
                    return;
                }
                self.demux.bind(source, key);
                key
            }
            Route::Nobody => return,
        };
        self.with(now, key, |seat| seat.session.datagram(now, received_ns, source, destination, bytes));
    }

    /// Runs something on a session and does what follows. A panic ends that session and no other.
    fn with(&mut self, now: Now, key: u64, act: impl FnOnce(&mut Seat)) {
        let Some(seat) = self.seats.get_mut(&key) else { return };
        if catch_unwind(AssertUnwindSafe(|| act(seat))).is_err() {
            tracing::error!(stream = %seat.stream, "a session panicked and is removed");
            self.remove(key);
            return;
        }
        self.serve(now, key);
    }

    /// Sends, launches, kills, writes and plans what a session wants after an input.
    fn serve(&mut self, now: Now, key: u64) {
        let Some(seat) = self.seats.get_mut(&key) else { return };
        while let Some(outgoing) = seat.session.poll_outgoing() {
            let socket = self.parts.sockets.iter().find(|socket| socket.address == outgoing.source);
            if let Some(socket) = socket
                && let Err(error) = socket.socket.send_to(&outgoing.contents, outgoing.destination)
            {
                // UDP may lose anything; a full buffer is one way.
                tracing::trace!(%error, "a datagram could not be sent");
            }
        }
        while let Some(action) = seat.session.poll_engine(now) {
            match action {
                EngineAction::Launch(engine) => {
                    let owner = Owner { mailbox: self.mailbox.clone(), session: key, engine };
                    self.parts.launcher.launch(Request { pipeline: seat.pipeline, owner });
                }
                EngineAction::Kill(_) => seat.kill_engine(),
                EngineAction::SampleRunQueue(_) => {
                    let waited = seat.engine_waited();
                    if let Some(EngineAction::Kill(_)) = seat.session.engine_waited(now, waited) {
                        seat.kill_engine();
                    }
                }
            }
        }
        seat.write_engine();
        if seat.session.finished().is_some() {
            self.remove(key);
            return;
        }
        let wake = seat.session.deadline(now).max(now.instant + WAKE_INTERVAL_MIN);
        if seat.wake.is_none_or(|planned| wake < planned) {
            seat.wake = Some(wake);
            self.timers.push(std::cmp::Reverse((wake, key)));
        }
    }

    fn engine_event(&mut self, now: Now, key: u64) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut read = EngineRead::Open;
        self.with(now, key, |seat| read = seat.read_engine(now, &mut buffer));
        self.buffer = buffer;
        if read == EngineRead::Gone {
            self.engine_gone(now, key);
        }
    }

    fn engine_gone(&mut self, now: Now, key: u64) {
        let Some(mut engine) = self.seats.get_mut(&key).and_then(|seat| seat.engine.take()) else { return };
        let _ = self.poll.registry().deregister(&mut engine.socket);
        self.with(now, key, |seat| seat.session.engine_gone(now, engine.number));
    }

    fn fire_timers(&mut self, now: Now) {
        while let Some(std::cmp::Reverse((at, key))) = self.timers.peek().copied() {
            if at > now.instant {
                return;
            }
            self.timers.pop();
            let Some(seat) = self.seats.get_mut(&key) else { continue };
            // An entry that was superseded by an earlier one has nothing to say.
            if seat.wake == Some(at) {
                seat.wake = None;
                self.with(now, key, |seat| seat.session.tick(now));
            }
        }
    }

    fn measure(&mut self, now: Now) {
        let elapsed = now.instant.saturating_duration_since(self.last_measured);
        if elapsed < meter::INTERVAL {
            return;
        }
        self.last_measured = now.instant;
        let mut measured = Measured::default();
        for seat in self.seats.values_mut() {
            seat.count();
            if let Some(cpu_us) = seat.measure() {
                measured.sessions += 1;
                measured.engine_cores += Duration::from_micros(cpu_us).as_secs_f64() / elapsed.as_secs_f64();
            }
        }
        self.parts.meter.measured(self.parts.index, measured, now.instant);
    }

    fn remove(&mut self, key: u64) {
        let Some(mut seat) = self.seats.remove(&key) else { return };
        self.by_secret.remove(&seat.secret);
        self.demux.remove(&seat.ufrag, key);
        self.parts.streams.give_back(&seat.stream);
        seat.count();
        seat.tell_closers();
        seat.kill_engine();
        if let Some(engine) = &mut seat.engine {
            let _ = self.poll.registry().deregister(&mut engine.socket);
        }
        let reason = seat.session.finished();
        tracing::info!(stream = %seat.stream, ?reason, summary = %seat.session.summary(), "session ended");
    }

    fn is_over(&mut self, now: Now) -> bool {
        match self.stopping {
            Some(_) if self.seats.is_empty() => true,
            Some(since) if now.instant >= since + STOP_TIMEOUT => {
                let keys: Vec<u64> = self.seats.keys().copied().collect();
                for key in keys {
                    self.remove(key);
                }
                true
            }
            _ => false,
        }
    }
}
