//! A page without a browser: sends the lab's clip in real time and keeps what comes back.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use framegate_core::peer::{Peer, PeerCertificate, PeerConfig, PeerEvent, PeerOutput};
use serde_json::Value;

use crate::lab::{Lab, PATIENCE};

/// Between two pictures, as the clip was made.
const INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / 15);
const RTP_STEP: u64 = 6000;

pub(crate) struct Visitor {
    socket: UdpSocket,
    local: SocketAddr,
    pub(crate) server: SocketAddr,
    peer: Peer,
    clip: Arc<Vec<Vec<u8>>>,
    picture: usize,
    /// RTP time and number of each picture sent.
    sent: BTreeMap<u64, usize>,
    due: Instant,
    wake: Instant,
    is_connected: bool,
    has_control: bool,
    pub(crate) is_sending: bool,
    is_closed: bool,
    wants_keyframe: bool,
    pub(crate) location: String,
    pub(crate) results: Vec<Value>,
    pub(crate) control: Vec<Value>,
}

impl Visitor {
    /// Posts an offer; nothing is connected yet.
    pub(crate) fn enter(lab: &Lab, pipeline: &str) -> Self {
        static CERTIFICATE: OnceLock<PeerCertificate> = OnceLock::new();
        let certificate = CERTIFICATE.get_or_init(|| PeerCertificate::generate().unwrap()).clone();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let local = socket.local_addr().unwrap();
        let now = Instant::now();
        let (mut peer, offer) =
            Peer::new(PeerConfig { local, seed: u64::from(local.port()), certificate }, now).unwrap();
        let answer = lab.ask("POST", &format!("/whip/{pipeline}"), &offer);
        assert_eq!(answer.status, 201, "{}", answer.body);
        peer.answer(&answer.body, now).unwrap();
        Self {
            socket,
            local,
            server: SocketAddr::from(([127, 0, 0, 1], lab.port)),
            peer,
            clip: Arc::clone(&lab.clip),
            picture: 0,
            sent: BTreeMap::new(),
            due: now,
            wake: now,
            is_connected: false,
            has_control: false,
            is_sending: true,
            is_closed: false,
            wants_keyframe: false,
            location: answer.header("location").unwrap().to_owned(),
            results: Vec::new(),
            control: Vec::new(),
        }
    }

    /// Enters and stays until the first result.
    pub(crate) fn begin(lab: &Lab, pipeline: &str) -> Self {
        let mut visitor = Self::enter(lab, pipeline);
        visitor.until("the first result", |visitor| !visitor.results.is_empty());
        visitor
    }

    /// Sends and receives until the condition holds.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(
                Instant::now() < end,
                "not within {PATIENCE:?}: {what}; counts {}, events {:?}",
                self.counts(),
                self.events()
            );
            self.step();
        }
    }

    /// Sends and receives for a time that is part of the scenario.
    pub(crate) fn stay(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step();
        }
    }

    /// Sends one picture with this content instead of the clip's next.
    pub(crate) fn send(&mut self, picture: &[u8]) {
        let now = Instant::now();
        let rtp_time = self.rtp_next();
        self.peer.send_frame(now, now, rtp_time, picture).unwrap();
        self.sent.insert(rtp_time, usize::MAX);
        self.pump();
    }

    /// Says something on the control channel.
    pub(crate) fn say(&mut self, text: &str) {
        self.peer.send_control(Instant::now(), text).unwrap();
        self.pump();
    }

    /// Sends any bytes from this visitor's address.
    pub(crate) fn send_raw(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.server).unwrap();
    }

    fn rtp_next(&self) -> u64 {
        self.sent.last_key_value().map_or(0, |(last, _)| last + RTP_STEP)
    }

    fn step(&mut self) {
        let now = Instant::now();
        if self.is_connected && self.is_sending && now >= self.due {
            if std::mem::take(&mut self.wants_keyframe) {
                self.picture = self.picture.next_multiple_of(15) % self.clip.len();
            }
            let rtp_time = self.rtp_next();
            self.peer.send_frame(now, now, rtp_time, self.clip[self.picture].as_slice()).unwrap();
            self.sent.insert(rtp_time, self.picture);
            self.picture = (self.picture + 1) % self.clip.len();
            self.due = now + INTERVAL;
        }
        self.pump();
        let next = if self.is_connected && self.is_sending { self.wake.min(self.due) } else { self.wake };
        let wait = next.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), INTERVAL);
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut buffer = [0; 65_535];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, source)) => {
                self.peer.handle_datagram(Instant::now(), source, self.local, &buffer[..length]).unwrap();
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
        if Instant::now() >= self.wake && !self.is_closed {
            self.peer.handle_timeout(Instant::now()).unwrap();
        }
        self.pump();
    }

    fn pump(&mut self) {
        loop {
            match self.peer.poll() {
                PeerOutput::Transmit { to, data, .. } => drop(self.socket.send_to(&data, to)),
                PeerOutput::WaitUntil(at) => {
                    self.wake = at;
                    return;
                }
                PeerOutput::Event(PeerEvent::Connected) => self.is_connected = true,
                PeerOutput::Event(PeerEvent::ControlOpen) => self.has_control = true,
                PeerOutput::Event(PeerEvent::KeyframeWanted) => self.wants_keyframe = true,
                PeerOutput::Event(PeerEvent::Result(text)) => self.results.push(serde_json::from_slice(&text).unwrap()),
                PeerOutput::Event(PeerEvent::Control(text)) => {
                    self.control.push(serde_json::from_slice(&text).unwrap())
                }
                PeerOutput::Event(PeerEvent::Closed) => self.is_closed = true,
                PeerOutput::Event(_) => {}
            }
        }
    }

    /// Data of all control messages of a type.
    pub(crate) fn said(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.control.iter().filter(move |message| message["type"] == kind).map(|message| &message["data"])
    }

    /// Kinds of the events so far.
    pub(crate) fn events(&self) -> Vec<&str> {
        self.said("event").map(|event| event["kind"].as_str().unwrap()).collect()
    }

    pub(crate) fn event(&self, kind: &str) -> Option<&Value> {
        self.said("event").find(|event| event["kind"] == kind)
    }

    /// The newest counts: they only grow, while messages of two channels overtake each other.
    pub(crate) fn counts(&self) -> &Value {
        let all = self.results.iter().chain(self.said("counts")).map(|message| &message["counts"]);
        all.max_by_key(|counts| settled(counts)).unwrap_or(&Value::Null)
    }

    /// Results that are `ok`, so far.
    pub(crate) fn ok(&self) -> usize {
        self.results.iter().filter(|result| result["status"] == "ok").count()
    }

    /// Ends in order and checks the books: every frame sent has one outcome. Gives the summary's counts.
    #[track_caller]
    pub(crate) fn leave(mut self) -> Value {
        self.is_sending = false;
        let sent = self.sent.len() as u64;
        self.until("an outcome for every frame sent", |visitor| {
            visitor.has_control && settled(visitor.counts()) >= sent
        });
        self.peer.send_control(Instant::now(), r#"{"v":1,"type":"close"}"#).unwrap();
        self.until("the summary", |visitor| visitor.said("summary").next().is_some());
        let counts = self.said("summary").next().unwrap()["counts"].clone();
        assert_eq!(counts["received"], sent, "{counts}");
        assert_eq!(settled(&counts), sent, "{counts}");
        self.check_numbers();
        counts
    }

    /// Says goodbye by DTLS.
    pub(crate) fn hang_up(mut self) {
        self.peer.close(Instant::now()).unwrap();
        self.pump();
    }

    /// Each result is of the picture whose number it read.
    #[track_caller]
    fn check_numbers(&self) {
        let mut begin = None;
        for result in &self.results {
            let Some(number) = result["data"]["number"].as_u64() else { continue };
            let rtp = result["rtp"].as_u64().unwrap();
            let begin = *begin.get_or_insert_with(|| {
                let (sent, _) =
                    self.sent.iter().find(|(sent, _)| **sent % (1 << 32) == rtp).expect("a frame that was sent");
                rtp.wrapping_sub(*sent)
            });
            assert_eq!(
                self.sent.get(&rtp.wrapping_sub(begin)).map(|picture| *picture as u64),
                Some(number),
                "{result}"
            );
        }
    }
}

fn settled(counts: &Value) -> u64 {
    let sum = |value: &Value| value.as_object().map_or(0, |all| all.values().filter_map(Value::as_u64).sum());
    let one = |name: &str| counts[name].as_u64().unwrap_or(0);
    one("ok") + one("error") + sum(&counts["skipped"]) + sum(&counts["dropped"])
}

/// A session in a thread of its own that must not notice what happens to others.
pub(crate) struct Neighbour {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Visitor>,
}

impl Neighbour {
    pub(crate) fn begin(lab: &Lab) -> Self {
        let mut visitor = Visitor::begin(lab, "framecode");
        let stop = Arc::new(AtomicBool::new(false));
        let stops = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stops.load(Ordering::Relaxed) {
                visitor.step();
            }
            visitor
        });
        Self { stop, thread }
    }

    /// Ends it: it lost nothing, and nearly every picture was processed.
    #[track_caller]
    pub(crate) fn noticed_nothing(self) {
        self.stop.store(true, Ordering::Relaxed);
        let visitor = self.thread.join().unwrap();
        let unheard = visitor
            .said("event")
            .filter(|event| !["engine_starting", "engine_ready"].contains(&event["kind"].as_str().unwrap()))
            .count();
        assert_eq!(unheard, 0, "{:?}", visitor.events());
        let counts = visitor.leave();
        assert_eq!((&counts["dropped"], &counts["error"]), (&serde_json::json!({}), &serde_json::json!(0)), "{counts}");
        // On a machine this busy a picture may meet its successor before the engine's turn comes; that is reported.
        let share = counts["ok"].as_f64().unwrap() / counts["received"].as_f64().unwrap();
        assert!(share > 0.9, "{counts}");
    }
}
