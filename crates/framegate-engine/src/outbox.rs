//! What an engine says to the gateway: replies gathered and sent in one write, log lines at once.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use framegate_wire::{
    FromEngine, FromOffline, LogLevel, frame,
    limits::{MESSAGES_PER_SECOND_MAX, TEXT_BYTES_MAX},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{SendFlags, send},
};

use crate::{
    bridge::packet::{Reply, Tell},
    clock,
    limits::LOG_LINES_PER_SECOND_MAX,
};

/// Where messages go.
#[derive(Debug)]
enum Sink {
    /// To the gateway.
    Socket(Arc<OwnedFd>),
    /// To the supervisor of an offline run, each inside a [`FromOffline`].
    Offline(Arc<OwnedFd>),
    /// To the engine of one stream, from a process that serves several; with the processor's number there.
    Bridge(Arc<OwnedFd>, u32),
    /// Nowhere: a trial's messages are for nobody.
    Nothing,
}

/// Why the gateway cannot be told anything more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SendError {
    /// The socket failed; the gateway has most likely gone.
    #[error("sending to the gateway: {0}")]
    Socket(#[from] Errno),
    /// A message does not fit the wire.
    #[error("framing a message: {0}")]
    Frame(#[from] frame::FrameError),
}

/// The sending half of the session's socket. Any thread of a processor may log and send messages through it.
#[derive(Debug)]
pub(crate) struct Outbox {
    sink: Sink,
    pending: Mutex<Vec<u8>>,
    lines: Mutex<LineLimit>,
    messages: Mutex<LineLimit>,
}

impl Outbox {
    /// An outbox towards the gateway.
    pub(crate) fn new(socket: Arc<OwnedFd>) -> Self {
        Self::of(Sink::Socket(socket))
    }

    /// An outbox towards the supervisor of an offline run.
    pub(crate) fn offline(socket: Arc<OwnedFd>) -> Self {
        Self::of(Sink::Offline(socket))
    }

    /// An outbox of the other end's processor `number`, towards the engine. Only log lines and messages go there.
    pub(crate) fn bridge(socket: Arc<OwnedFd>, number: u32) -> Self {
        Self::of(Sink::Bridge(socket, number))
    }

    /// An outbox whose messages nobody reads.
    pub(crate) fn nowhere() -> Self {
        Self::of(Sink::Nothing)
    }

    fn of(sink: Sink) -> Self {
        let lines = Mutex::new(LineLimit::new(LOG_LINES_PER_SECOND_MAX));
        let messages = Mutex::new(LineLimit::new(MESSAGES_PER_SECOND_MAX));
        Self { sink, pending: Mutex::default(), lines, messages }
    }

    /// Adds a message to the next write.
    pub(crate) fn push(&self, message: &FromEngine, payload: &[u8]) -> Result<(), SendError> {
        match &self.sink {
            Sink::Offline(_) => self.push_offline(&FromOffline::Engine(message.clone()), payload),
            Sink::Bridge(..) => Ok(()),
            Sink::Socket(_) | Sink::Nothing => Ok(frame::write(&mut lock(&self.pending), message, payload)?),
        }
    }

    /// Adds a message of an offline run to the next write; only on such a run's outbox.
    pub(crate) fn push_offline(&self, message: &FromOffline, payload: &[u8]) -> Result<(), SendError> {
        Ok(frame::write(&mut lock(&self.pending), message, payload)?)
    }

    /// Sends what was gathered; waits while the socket is full.
    pub(crate) fn flush(&self) -> Result<(), SendError> {
        let mut pending = lock(&self.pending);
        match &self.sink {
            Sink::Socket(socket) | Sink::Offline(socket) => send_all(socket, &pending)?,
            Sink::Bridge(..) | Sink::Nothing => {}
        }
        pending.clear();
        Ok(())
    }

    /// Sends a message of the processor at `place` for the page at once; `false` when it sends too many.
    pub(crate) fn message(&self, place: u32, json: &[u8]) -> bool {
        if lock(&self.messages).admit(clock::now_ns()) == Admission::Refused {
            return false;
        }
        if let Sink::Bridge(socket, number) = &self.sink {
            return tell(socket, Reply::of(Tell::Send, *number), json);
        }
        // A failing socket is noticed by the engine's loop, which ends the engine.
        let _ = self.push(&FromEngine::Message { processor: place }, json).and_then(|()| self.flush());
        true
    }

    /// Sends one log line at once: the next instruction may crash. Lines above the limit are counted instead.
    pub(crate) fn log(&self, level: LogLevel, text: &str) {
        let suppressed = match lock(&self.lines).admit(clock::now_ns()) {
            Admission::Refused => return,
            Admission::Admitted { suppressed } => suppressed,
        };
        let left_out = (suppressed > 0)
            .then(|| format!("{suppressed} log lines left out: at most {LOG_LINES_PER_SECOND_MAX} a second"));
        if let Sink::Bridge(socket, number) = &self.sink {
            let of = |level| Reply { extra: level, ..Reply::of(Tell::Log, *number) };
            // A line that finds the socket full is left out.
            if let Some(text) = left_out {
                tell(socket, of(LEVEL_WARN), text.as_bytes());
            }
            tell(socket, of(number_of(level)), cut(text, TEXT_BYTES_MAX).as_bytes());
            return;
        }
        // A failing socket is noticed by the engine's loop, which ends the engine.
        if let Some(text) = left_out {
            let _ = self.push(&FromEngine::Log { level: LogLevel::Warn, text }, &[]);
        }
        let _ = self.push(&FromEngine::Log { level, text: cut(text, TEXT_BYTES_MAX).to_owned() }, &[]);
        let _ = self.flush();
    }
}

fn send_all(socket: &OwnedFd, mut rest: &[u8]) -> Result<(), Errno> {
    while !rest.is_empty() {
        match send(socket, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) => rest = &rest[sent..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // An error of `poll` shows again at the next `send`.
                let _ = poll(&mut [PollFd::new(socket, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Number of [`LogLevel::Warn`] on a bridge.
const LEVEL_WARN: u32 = 2;

/// Number of a level on a bridge, which is that of the interface.
fn number_of(level: LogLevel) -> u32 {
    match level {
        LogLevel::Error => 1,
        LogLevel::Warn => LEVEL_WARN,
        LogLevel::Info => 3,
        LogLevel::Debug => 4,
    }
}

/// Sends a packet over a bridge without waiting; `false` when it did not go.
fn tell(socket: &OwnedFd, reply: Reply, body: &[u8]) -> bool {
    let mut packet = Reply { first_bytes: body.len(), ..reply }.to_bytes().to_vec();
    packet.extend_from_slice(body);
    send(socket, &packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).is_ok()
}

/// The longest beginning of `text` that has at most `bytes_max` bytes.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts lines or messages in each second.
#[derive(Debug)]
struct LineLimit {
    per_second_max: u32,
    second: u64,
    lines: u32,
    suppressed: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Admitted { suppressed: u32 },
    Refused,
}

impl LineLimit {
    fn new(per_second_max: u32) -> Self {
        Self { per_second_max, second: 0, lines: 0, suppressed: 0 }
    }

    fn admit(&mut self, now_ns: u64) -> Admission {
        let second = now_ns / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.lines = 0;
        }
        if self.lines >= self.per_second_max {
            self.suppressed = self.suppressed.saturating_add(1);
            return Admission::Refused;
        }
        self.lines += 1;
        Admission::Admitted { suppressed: std::mem::take(&mut self.suppressed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_above_the_limit_are_counted_and_named_later() {
        let mut limit = LineLimit::new(LOG_LINES_PER_SECOND_MAX);
        for _ in 0..LOG_LINES_PER_SECOND_MAX {
            assert_eq!(limit.admit(5_000_000_000), Admission::Admitted { suppressed: 0 });
        }
        assert_eq!(limit.admit(5_900_000_000), Admission::Refused);
        assert_eq!(limit.admit(5_999_999_999), Admission::Refused);
        assert_eq!(limit.admit(6_000_000_000), Admission::Admitted { suppressed: 2 });
        assert_eq!(limit.admit(6_000_000_001), Admission::Admitted { suppressed: 0 });
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("grün", 3), "gr");
        assert_eq!(cut("grün", 4), "grü");
        assert_eq!(cut("grün", 400), "grün");
    }
}
