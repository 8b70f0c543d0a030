//! Hot path: one media thread. Its epoll loop holds its UDP sockets and the engine sockets of its own sessions.

use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use framegate_core::Now;
use framegate_core::demux::{Demux, Route};
use framegate_core::link::Identity;
use framegate_core::runner::{Death, EngineAction};
use framegate_core::session::EndReason;
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
    /// Sessions whose engine may have said more.
    hot_engines: BTreeSet<u64>,
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

/// Reads from an engine before everything else gets its turn: one is enough for all that an honest engine says.
const ENGINE_READS_PER_TURN: usize = 4;

/// Timers beyond two a session before superseded ones are forgotten: seldom enough to cost nothing.
const TIMERS_SPARE: usize = 1024;

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
            hot_engines: BTreeSet::new(),
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
                        self.hot_engines.extend(u64::try_from(token - FIRST_ENGINE));
                    }
                    Token(token) => self.hot[token - FIRST_SOCKET] = true,
                }
            }
            for key in std::mem::take(&mut self.hot_engines) {
                self.read_engine(present, key, ENGINE_READS_PER_TURN);
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
        if self.hot.contains(&true) || !self.hot_engines.is_empty() {
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
        // A stranger's datagram that breaks the parser must not end the thread.
        let Ok(Some(key)) = catch_unwind(AssertUnwindSafe(|| self.owner_of(now, source, bytes))) else { return };
        self.with(now, key, |seat| seat.session.datagram(now, received_ns, source, destination, bytes));
    }

    fn owner_of(&mut self, now: Now, source: SocketAddr, bytes: &[u8]) -> Option<u64> {
        match self.demux.route(source, bytes) {
            Route::Bound(key) => Some(key),
            Route::Unproven(key) => {
                let owner = self.demux.owner(source).and_then(|owner| self.seats.get(&owner));
                if owner.is_some_and(|seat| seat.session.is_proven(now)) {
                    // Whoever forges a source address shall not get another session's packets.
                    return None;
                }
                let proven = self.seats.get(&key).is_some_and(|seat| seat.session.authenticates(bytes));
                proven.then(|| self.demux.bind(source, key)).map(|()| key)
            }
            Route::Nobody => None,
        }
    }

    /// Runs something on a session and does what follows. A panic ends that session and no other.
    fn with(&mut self, now: Now, key: u64, act: impl FnOnce(&mut Seat)) {
        let Some(seat) = self.seats.get_mut(&key) else { return };
        let acted = catch_unwind(AssertUnwindSafe(|| act(seat))).is_ok();
        if !acted || catch_unwind(AssertUnwindSafe(|| self.serve(now, key))).is_err() {
            tracing::error!(session = key, "a session panicked and is removed");
            self.remove(key);
        }
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
                EngineAction::Kill(engine) => seat.end_engine(now, engine),
                EngineAction::SampleRunQueue(_) => {
                    let waited = seat.engine_waited(now);
                    if let Some(EngineAction::Kill(engine)) = seat.session.engine_waited(now, waited) {
                        seat.end_engine(now, engine);
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
            self.forget_superseded_timers();
        }
    }

    /// Entries superseded by earlier ones stay until their time; they must not become many.
    fn forget_superseded_timers(&mut self) {
        if self.timers.len() > TIMERS_SPARE + 2 * self.seats.len() {
            let planned = |(key, seat): (&u64, &Seat)| seat.wake.map(|at| std::cmp::Reverse((at, *key)));
            self.timers = self.seats.iter().filter_map(planned).collect();
        }
    }

    fn read_engine(&mut self, now: Now, key: u64, reads_max: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut read = EngineRead::Open;
        self.with(now, key, |seat| read = seat.read_engine(now, &mut buffer, reads_max));
        self.buffer = buffer;
        match read {
            EngineRead::Open => {}
            EngineRead::More => {
                self.hot_engines.insert(key);
            }
            EngineRead::Gone => self.engine_gone(now, key),
        }
    }

    fn engine_gone(&mut self, now: Now, key: u64) {
        let Some(seat) = self.seats.get_mut(&key) else { return };
        // It may only have closed its socket: without it nobody would ever end it.
        seat.kill_engine();
        let Some(mut engine) = seat.engine.take() else { return };
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
                let cores = Duration::from_micros(cpu_us).as_secs_f64() / elapsed.as_secs_f64();
                measured.engine_cores += self.parts.meter.believable(cores);
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
        let reason = seat.session.finished().map_or("removed", EndReason::as_str);
        tracing::info!(stream = %seat.stream, reason, summary = %seat.session.summary(), "session ended");
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
