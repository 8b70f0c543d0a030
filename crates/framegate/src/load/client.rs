//! One synthetic session: a peer, its socket, its place in the clip and its books.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::Context;
use framegate_core::peer::{Peer, PeerCertificate, PeerConfig, PeerError, PeerEvent, PeerOutput};
use mio::net::UdpSocket;

use super::{
    clip::Clip,
    histogram::Histogram,
    ledger::Ledger,
    message::{self, ControlMessage, Counts, CountsData, EventData, Missed, ResultMessage},
    trace::Trace,
    whip::Answer,
};

/// Longest time from the offer to the first result: an offer that is not connected ends after 10 s at the server.
pub(crate) const SETUP_WAIT_MAX: Duration = Duration::from_secs(15);

/// How long the server may take to answer `close` with its summary.
const SUMMARY_WAIT_MAX: Duration = Duration::from_secs(2);

/// A client this many pictures behind its schedule leaves them out instead of sending a burst.
const BEHIND_PICTURES_MAX: u32 = 5;

/// Largest datagram: the largest UDP payload, so that none is cut off unseen.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Most different events counted; the protocol has eight.
const EVENT_KINDS_MAX: usize = 32;

const CLOSE_MESSAGE: &str = r#"{"v":1,"type":"close"}"#;

/// How a client shall behave.
#[derive(Debug, Clone)]
pub(crate) struct ClientConfig {
    pub(crate) address: IpAddr,
    pub(crate) seed: u64,
    pub(crate) certificate: PeerCertificate,
    /// Its pictures are due whole intervals after this instant, so that sessions do not send all at once.
    pub(crate) slot: Instant,
    /// How long it waits for the last outcomes.
    pub(crate) grace: Duration,
    /// Where its results are noted, and under which number.
    pub(crate) trace: Option<(Trace, usize)>,
}

/// What a session has seen besides the fates of its frames.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// Offer posted → answer, → connected, → first result.
    pub(crate) answered: Option<Duration>,
    pub(crate) connected: Option<Duration>,
    pub(crate) first_result: Option<Duration>,
    pub(crate) results_ok: u64,
    pub(crate) keyframes_wanted: u64,
    /// Datagrams the socket did not take.
    pub(crate) packets_refused: u64,
    /// Pictures left out because this program was behind.
    pub(crate) pictures_left_out: u64,
    /// Messages that are not what the protocol says.
    pub(crate) unreadable: u64,
    /// How far behind schedule pictures were sent.
    pub(crate) lag: Histogram,
    /// `timing.total` as the server says it.
    pub(crate) server_total: Histogram,
    pub(crate) events: BTreeMap<String, u64>,
    /// The newest counts of the server, and whether they are the final ones.
    pub(crate) counts: Counts,
    pub(crate) has_summary: bool,
    pub(crate) failure: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Offering,
    Connecting,
    Sending,
    /// Waits for the last outcomes.
    Settling(Instant),
    /// Waits for the summary.
    Closing(Instant),
    Ended,
}

#[derive(Debug)]
pub(crate) struct Client {
    socket: UdpSocket,
    local: SocketAddr,
    peer: Peer,
    config: ClientConfig,
    stage: Stage,
    begun: Instant,
    /// When frames began to flow.
    pub(crate) sending_since: Option<Instant>,
    pub(crate) location: Option<String>,
    wake: Instant,
    due: Instant,
    index: u64,
    picture: usize,
    wants_keyframe: bool,
    pub(crate) ledger: Ledger,
    pub(crate) observed: Observed,
}

impl Client {
    /// Makes a session and its offer; register `socket()` before posting it.
    pub(crate) fn new(config: ClientConfig, clip: &Clip, now: Instant) -> anyhow::Result<(Self, String)> {
        let socket = UdpSocket::bind(SocketAddr::new(config.address, 0)).context("opening a UDP socket")?;
        let local = socket.local_addr()?;
        let certificate = config.certificate.clone();
        let (peer, offer) = Peer::new(PeerConfig { local, seed: config.seed, certificate }, now)?;
        // The start of an RTP timestamp is random (RFC 3550 §5.1): any will do, also one that wraps soon.
        let rtp_first = u32::try_from((config.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 32)?;
        let client = Self {
            socket,
            local,
            peer,
            config,
            stage: Stage::Offering,
            begun: now,
            sending_since: None,
            location: None,
            wake: now + SETUP_WAIT_MAX,
            due: now,
            index: 0,
            picture: 0,
            wants_keyframe: false,
            ledger: Ledger::new(rtp_first, clip.rtp_step),
            observed: Observed::default(),
        };
        Ok((client, offer))
    }

    pub(crate) fn socket(&mut self) -> &mut UdpSocket {
        &mut self.socket
    }

    /// Takes what the server answered to the offer.
    pub(crate) fn answered(&mut self, answer: anyhow::Result<Answer>, now: Instant) {
        let accepted = answer.and_then(|answer| {
            self.location = Some(answer.location);
            Ok(self.peer.answer(&answer.sdp, now)?)
        });
        match accepted {
            Ok(()) => {
                self.observed.answered = Some(now - self.begun);
                self.stage = Stage::Connecting;
                self.pump(now);
            }
            Err(error) => self.fail(format!("{error:#}")),
        }
    }

    /// Reads all that has arrived.
    pub(crate) fn readable(&mut self, buffer: &mut [u8]) {
        loop {
            match self.socket.recv_from(buffer) {
                Ok((length, source)) => {
                    let received = Instant::now();
                    let handled = self.peer.handle_datagram(received, source, self.local, &buffer[..length]);
                    self.check(handled);
                    self.pump(received);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Does what is due; `part` is the part of the measured window.
    pub(crate) fn tick(&mut self, clip: &Clip, now: Instant, part: Option<usize>) {
        if self.stage == Stage::Sending && now >= self.due {
            self.send_picture(clip, now, part);
        }
        if now >= self.wake && self.stage != Stage::Offering && self.stage != Stage::Ended {
            let handled = self.peer.handle_timeout(now);
            self.check(handled);
            self.pump(now);
        }
        match self.stage {
            Stage::Offering | Stage::Connecting | Stage::Sending
                if self.observed.first_result.is_none() && now - self.begun >= SETUP_WAIT_MAX =>
            {
                self.fail(format!("no result within {} s, while {:?}", SETUP_WAIT_MAX.as_secs(), self.stage));
            }
            Stage::Settling(until) if now >= until || self.ledger.is_settled() => self.ask_for_summary(now),
            Stage::Closing(until) if now >= until || self.observed.has_summary => self.end(now),
            _ => {}
        }
    }

    /// When [`Client::tick`] is to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Offering => Some(self.begun + SETUP_WAIT_MAX),
            Stage::Connecting => Some(self.wake.min(self.begun + SETUP_WAIT_MAX)),
            Stage::Sending => Some(self.wake.min(self.due)),
            Stage::Settling(until) | Stage::Closing(until) => Some(self.wake.min(until)),
            Stage::Ended => None,
        }
    }

    /// Sends no more; waits for the last outcomes and the summary, then ends.
    pub(crate) fn finish(&mut self, now: Instant) {
        match self.stage {
            Stage::Sending => self.stage = Stage::Settling(now + self.config.grace),
            // Too young to have been measured: its place at the server is given back, and that is all.
            Stage::Offering | Stage::Connecting => self.stage = Stage::Ended,
            Stage::Settling(_) | Stage::Closing(_) | Stage::Ended => {}
        }
    }

    /// Ends without a word, as a browser does whose machine loses power. Says whether there was anything to end.
    pub(crate) fn vanish(&mut self) -> bool {
        let was_sending = self.stage == Stage::Sending;
        if was_sending {
            self.ledger.abandon();
            self.stage = Stage::Ended;
        }
        was_sending
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    pub(crate) fn is_up(&self) -> bool {
        self.observed.first_result.is_some() && self.observed.failure.is_none()
    }

    fn send_picture(&mut self, clip: &Clip, now: Instant, part: Option<usize>) {
        let behind = now - self.due;
        self.observed.lag.add(behind);
        if behind > clip.interval * BEHIND_PICTURES_MAX {
            let intervals = behind.as_nanos() / clip.interval.as_nanos();
            let intervals = u32::try_from(intervals).unwrap_or(u32::MAX);
            self.observed.pictures_left_out += u64::from(intervals);
            self.index += u64::from(intervals);
            self.due += clip.interval * intervals;
        }
        if std::mem::take(&mut self.wants_keyframe) {
            self.picture = clip.keyframe_from(self.picture);
        }
        let (index, picture) = (self.index, self.picture);
        let rtp_time = self.ledger.rtp_time(index);
        let taken = self.peer.send_frame(now, self.due, rtp_time, clip.picture(picture));
        self.picture = (picture + 1) % clip.len();
        self.index += 1;
        self.due += clip.interval;
        if index == 0 {
            // The first picture leaves at once, for the set-up time; from the second on the session keeps to its slot.
            self.due = next_slot(self.config.slot, clip.interval, now + clip.interval / 2);
        }
        let is_taken = taken.is_ok();
        self.check(taken);
        let sent = self.pump(now);
        if is_taken {
            self.ledger.sent(index, picture as u64, sent.unwrap_or(now), part);
        }
    }

    /// Does what the peer says; returns when the last datagram went to the socket.
    fn pump(&mut self, now: Instant) -> Option<Instant> {
        let mut sent = None;
        loop {
            match self.peer.poll() {
                PeerOutput::Transmit { to, data, .. } => {
                    // Before the call: on loopback the server may have the datagram before it returns.
                    sent = Some(Instant::now());
                    self.observed.packets_refused += u64::from(self.socket.send_to(&data, to).is_err());
                }
                PeerOutput::WaitUntil(at) => {
                    self.wake = at;
                    return sent;
                }
                PeerOutput::Event(event) => self.take(event, now),
            }
        }
    }

    fn take(&mut self, event: PeerEvent, now: Instant) {
        match event {
            PeerEvent::Connected => {
                self.observed.connected = Some(now - self.begun);
                if self.stage == Stage::Connecting {
                    self.stage = Stage::Sending;
                    self.sending_since = Some(now);
                    self.due = now;
                }
            }
            PeerEvent::KeyframeWanted => {
                self.observed.keyframes_wanted += 1;
                self.wants_keyframe = true;
            }
            PeerEvent::Result(bytes) => self.take_result(&bytes, now),
            PeerEvent::Control(bytes) => self.take_control(&bytes),
            PeerEvent::Disconnected => self.fail("the server fell silent".into()),
            PeerEvent::Closed if self.stage == Stage::Sending => self.fail("the server closed".into()),
            _ => {}
        }
    }

    fn take_result(&mut self, bytes: &[u8], now: Instant) {
        let Ok(result) = serde_json::from_slice::<ResultMessage<'_>>(bytes) else {
            self.observed.unreadable += 1;
            return;
        };
        self.observed.first_result.get_or_insert(now - self.begun);
        let ok = result.status == "ok";
        self.observed.results_ok += u64::from(ok);
        if let Some(total) = result.timing.total {
            self.observed.server_total.add(Duration::from_micros(u64::from(total)));
        }
        let age = self.ledger.result(result.rtp, ok, message::number(result.data), now);
        if let (Some(age), Some((trace, session))) = (age, &self.config.trace) {
            trace.result(*session, result.rtp, age, &result.status);
        }
        self.take_counts(result.counts, &result.missed);
    }

    fn take_control(&mut self, bytes: &[u8]) {
        let Ok(message) = serde_json::from_slice::<ControlMessage<'_>>(bytes) else {
            self.observed.unreadable += 1;
            return;
        };
        let data = message.data.map_or("null", |data| data.get());
        match message.kind.as_ref() {
            kind @ ("counts" | "summary") => {
                let Ok(data) = serde_json::from_str::<CountsData<'_>>(data) else {
                    self.observed.unreadable += 1;
                    return;
                };
                self.take_counts(Some(data.counts), &data.missed);
                self.observed.has_summary |= kind == "summary";
            }
            "event" => {
                let kind = serde_json::from_str::<EventData<'_>>(data).map_or("?".into(), |event| event.kind);
                if self.observed.events.len() < EVENT_KINDS_MAX || self.observed.events.contains_key(kind.as_ref()) {
                    *self.observed.events.entry(kind.into_owned()).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    fn take_counts(&mut self, counts: Option<Counts>, missed: &[Missed<'_>]) {
        for missed in missed {
            self.ledger.missed(missed.rtp, &missed.outcome, &missed.reason);
        }
        // `results` is unordered: an older message may come after a newer one.
        if let Some(counts) = counts.filter(|counts| counts.outcomes() >= self.observed.counts.outcomes()) {
            self.observed.counts = counts;
        }
    }

    fn ask_for_summary(&mut self, now: Instant) {
        let asked = self.peer.send_control(now, CLOSE_MESSAGE);
        self.stage = if asked.is_ok() { Stage::Closing(now + SUMMARY_WAIT_MAX) } else { Stage::Closing(now) };
        self.pump(now);
    }

    fn end(&mut self, now: Instant) {
        self.ledger.finish();
        self.stage = Stage::Ended;
        let closed = self.peer.close(now);
        self.check(closed);
        self.pump(now);
    }

    fn check(&mut self, done: Result<(), PeerError>) {
        if let Err(error) = done {
            self.fail(error.to_string());
        }
    }

    fn fail(&mut self, text: String) {
        if self.stage != Stage::Ended {
            self.stage = Stage::Ended;
            self.ledger.finish();
            self.observed.failure = Some(text);
        }
    }
}

/// First instant from `after` on that is whole intervals away from `slot`.
fn next_slot(slot: Instant, interval: Duration, after: Instant) -> Instant {
    let past = after.saturating_duration_since(slot).as_nanos();
    let intervals = past.div_ceil(interval.as_nanos().max(1));
    slot + interval * u32::try_from(intervals).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_whole_intervals_away() {
        let (slot, ms) = (Instant::now(), Duration::from_millis(1));
        for (after, expected) in [(0, 0), (1, 33), (33, 33), (34, 66), (330_000, 330_000)] {
            assert_eq!(next_slot(slot, ms * 33, slot + ms * after), slot + ms * expected);
        }
        assert_eq!(next_slot(slot + ms, ms * 33, slot), slot + ms);
    }
}
