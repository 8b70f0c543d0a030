//! A browser, a session and an engine joined by an emulated network, in simulated time.

pub(crate) mod camera;
pub(crate) mod engine;
pub(crate) mod network;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use framegate_core::Now;
use framegate_core::demux::{Demux, Route};
use framegate_core::link::{Identity, LinkConfig};
use framegate_core::peer::{Peer, PeerCertificate, PeerConfig, PeerEvent, PeerOutput};
use framegate_core::runner::{Death, EngineAction, RunnerConfig};
use framegate_core::session::{Session, SessionConfig};
use framegate_core::supervisor::Policy;
use serde_json::Value;

use engine::{FakeEngine, LabEngine};
use network::{Network, Weather};

pub(crate) const INTERVAL: Duration = Duration::from_micros(33_333);
pub(crate) const RTP_STEP: u64 = 3000;
/// Makes an engine with this number that takes so long for a frame.
pub(crate) type MakeEngine = fn(u64, Duration, Now) -> Box<dyn LabEngine>;

const UFRAG: &str = "0conversation";

/// Steps per simulated second beyond which something spins.
const STEPS_PER_SECOND_MAX: u64 = 20_000;

#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) number: u32,
    pub(crate) at: Instant,
    /// `ok`, `error`, or `outcome(reason)`; more than one is a fault.
    pub(crate) outcomes: Vec<String>,
    pub(crate) result_at: Option<Instant>,
}

pub(crate) struct Lab {
    pub(crate) seed: u64,
    pub(crate) now: Now,
    pub(crate) network: Network,
    pub(crate) peer: Option<Peer>,
    pub(crate) session: Session,
    pub(crate) demux: Demux<u32>,
    pub(crate) engine: Option<Box<dyn LabEngine>>,
    pub(crate) make_engine: MakeEngine,
    pub(crate) engine_takes: Duration,
    pub(crate) engines_launched: u64,
    pub(crate) browser: SocketAddr,
    pub(crate) server: SocketAddr,
    pub(crate) sending: bool,
    pub(crate) sent: Vec<Sent>,
    by_rtp: HashMap<u32, usize>,
    pub(crate) events: Vec<(Instant, PeerEvent)>,
    pub(crate) notices: Vec<String>,
    pub(crate) summary: Option<Value>,
    /// Control messages but for counts.
    pub(crate) control: Vec<Value>,
    pub(crate) last_result: Value,
    /// Datagrams the session sent to anyone but the browser.
    pub(crate) strays: Vec<SocketAddr>,
    /// Datagrams the browser sent, kept for those who want to replay them.
    pub(crate) overheard: Vec<Vec<u8>>,
    rtp_first: u64,
    due: Instant,
    next_number: u32,
    wants_keyframe: bool,
    peer_wake: Instant,
}

impl Lab {
    pub(crate) fn new(seed: u64) -> Self {
        let now = Now { instant: Instant::now(), ns: 1_000_000_000 };
        let browser = SocketAddr::from(([192, 0, 2, 1], 4000));
        let server = SocketAddr::from(([192, 0, 2, 2], 8080));
        let config = PeerConfig { local: browser, seed, certificate: certificate() };
        let (mut peer, offer) = Peer::new(config, now.instant).unwrap();
        let (session, answer) = Session::accept(session_config(server), &offer, now).unwrap();
        let mut demux = Demux::default();
        demux.register(UFRAG.to_owned(), 1);
        peer.answer(&answer, now.instant).unwrap();
        Self {
            seed,
            now,
            network: Network::new(seed),
            peer: Some(peer),
            session,
            demux,
            engine: None,
            make_engine: |id, takes, now| Box::new(FakeEngine::new(id, takes, now)),
            engine_takes: Duration::from_millis(2),
            engines_launched: 0,
            browser,
            server,
            sending: true,
            sent: Vec::new(),
            by_rtp: HashMap::new(),
            events: Vec::new(),
            notices: Vec::new(),
            summary: None,
            control: Vec::new(),
            last_result: Value::Null,
            strays: Vec::new(),
            overheard: Vec::new(),
            // Wraps after a little more than two seconds.
            rtp_first: u64::from(u32::MAX) - 200_000,
            due: now.instant,
            next_number: 0,
            wants_keyframe: true,
            peer_wake: now.instant,
        }
    }

    /// A lab whose browser is connected and whose engine is ready.
    pub(crate) fn connected(seed: u64, weather: Weather) -> Self {
        Self::new(seed).connect(weather)
    }

    /// Connects and waits for the engine; the weather begins then.
    pub(crate) fn connect(self, weather: Weather) -> Self {
        let mut lab = self;
        lab.network.weather.delay = weather.delay;
        lab.sending = false;
        lab.run_until(Duration::from_secs(5), |lab| {
            let open = |event| lab.events.iter().any(|(_, seen)| *seen == event);
            lab.notices.iter().any(|kind| kind == "engine_ready") && open(PeerEvent::ResultsOpen)
        });
        lab.network.weather = weather;
        lab.sending = true;
        lab.due = lab.now.instant;
        lab
    }

    /// Runs for a simulated time.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now.instant + duration;
        let mut steps_left = (duration.as_secs() + 1) * STEPS_PER_SECOND_MAX;
        while self.now.instant < end {
            self.step(end);
            steps_left -= 1;
            assert!(steps_left > 0, "the conversation spins, seed {}", self.seed);
        }
    }

    /// Runs until `done`, at most `duration`; panics when it is not done then. Says how long it took.
    pub(crate) fn run_until(&mut self, duration: Duration, done: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now.instant;
        while !done(self) {
            let past = self.now.instant - start;
            assert!(past < duration, "not within {duration:?}, seed {}", self.seed);
            self.run(Duration::from_millis(1));
        }
        self.now.instant - start
    }

    /// Says something on the control channel as a page does.
    pub(crate) fn say(&mut self, text: &str) {
        self.peer.as_mut().unwrap().send_control(self.now.instant, text).unwrap();
        self.empty_browser();
    }

    /// Data of the control messages of a type.
    pub(crate) fn told(&self, kind: &str) -> Vec<&Value> {
        self.control.iter().filter(|message| message["type"] == kind).map(|message| &message["data"]).collect()
    }

    /// Sends no more pictures and lets what is under way arrive.
    pub(crate) fn settle(&mut self) {
        self.sending = false;
        self.run(Duration::from_secs(2));
    }

    fn step(&mut self, end: Instant) {
        let mut next = end.min(self.session.deadline(self.now));
        if self.session.finished().is_some() {
            next = end;
        }
        let engine = self.engine.as_ref().and_then(|engine| engine.next_at());
        let peer = self.peer.as_ref().map(|_| self.peer_wake);
        let due = (self.sending && self.is_connected()).then_some(self.due);
        for at in [self.network.next_at(), engine, peer, due].into_iter().flatten() {
            next = next.min(at);
        }
        // Time stands still only while there is something to do now.
        let wait = next.saturating_duration_since(self.now.instant);
        self.now = self.now.after(wait.max(Duration::from_micros(10)));
        self.deliver();
        self.let_browser_act();
        self.let_session_act();
        self.let_engine_act();
    }

    fn is_connected(&self) -> bool {
        self.peer.as_ref().is_some_and(Peer::is_connected)
    }

    fn deliver(&mut self) {
        while let Some(datagram) = self.network.arrived(self.now.instant) {
            if datagram.to == self.server {
                self.arrives(datagram.from, &datagram.data);
            } else if datagram.to == self.browser {
                if let Some(peer) = self.peer.as_mut() {
                    peer.handle_datagram(self.now.instant, datagram.from, datagram.to, &datagram.data).unwrap();
                }
                self.empty_browser();
            }
        }
    }

    /// What a shard does with a datagram.
    pub(crate) fn arrives(&mut self, from: SocketAddr, data: &[u8]) {
        if self.session.finished().is_some() {
            return;
        }
        match self.demux.route(from, data) {
            Route::Bound(_) => {}
            Route::Unproven(key) if self.session.authenticates(data) => self.demux.bind(from, key),
            Route::Unproven(_) | Route::Nobody => return,
        }
        self.session.datagram(self.now, self.now.ns, from, self.server, data);
        self.empty_session();
    }

    fn let_browser_act(&mut self) {
        let now = self.now.instant;
        if self.sending && self.is_connected() && now >= self.due {
            let keyframe = std::mem::take(&mut self.wants_keyframe);
            let number = self.next_number;
            let rtp_time = self.rtp_first + u64::from(number) * RTP_STEP;
            self.next_number += 1;
            self.by_rtp.insert(u32::try_from(rtp_time & 0xffff_ffff).unwrap(), self.sent.len());
            self.sent.push(Sent { number, at: now, outcomes: Vec::new(), result_at: None });
            self.due += INTERVAL;
            let peer = self.peer.as_mut().unwrap();
            peer.send_frame(now, now, rtp_time, camera::picture(number, keyframe)).unwrap();
            self.empty_browser();
        }
        if now >= self.peer_wake
            && let Some(peer) = self.peer.as_mut()
        {
            peer.handle_timeout(now).unwrap();
            self.empty_browser();
        }
    }

    /// Sends and notes what the browser has to say; call after every change of it.
    pub(crate) fn empty_browser(&mut self) {
        while let Some(peer) = self.peer.as_mut() {
            match peer.poll() {
                PeerOutput::Transmit { to, from, data } => {
                    if self.overheard.len() < 2000 {
                        self.overheard.push(data.clone());
                    }
                    self.network.send(self.now.instant, from, to, data);
                }
                PeerOutput::WaitUntil(at) => {
                    self.peer_wake = at;
                    return;
                }
                PeerOutput::Event(event) => self.note(event),
            }
        }
    }

    fn note(&mut self, event: PeerEvent) {
        match &event {
            PeerEvent::KeyframeWanted => self.wants_keyframe = true,
            PeerEvent::Result(bytes) => {
                let result: Value = serde_json::from_slice(bytes).unwrap();
                let status = result["status"].as_str().unwrap().to_owned();
                let sent = self.outcome(&result["rtp"], status);
                assert_eq!(result["data"]["number"], sent.number, "a result is bound to another frame");
                self.missed(&result["missed"]);
                self.last_result = result;
                return;
            }
            PeerEvent::Control(bytes) => {
                let message: Value = serde_json::from_slice(bytes).unwrap();
                let data = &message["data"];
                match message["type"].as_str().unwrap() {
                    "counts" => self.missed(&data["missed"]),
                    "event" => self.notices.push(data["kind"].as_str().unwrap().to_owned()),
                    "summary" => self.summary = Some(data["counts"].clone()),
                    _ => {}
                }
                if message["type"] != "counts" {
                    self.control.push(message);
                }
                return;
            }
            _ => {}
        }
        self.events.push((self.now.instant, event));
    }

    fn missed(&mut self, list: &Value) {
        for missed in list.as_array().into_iter().flatten() {
            let name = format!("{}({})", missed["outcome"].as_str().unwrap(), missed["reason"].as_str().unwrap());
            self.outcome(&missed["rtp"], name);
        }
    }

    fn outcome(&mut self, rtp: &Value, name: String) -> &Sent {
        let rtp = u32::try_from(rtp.as_u64().unwrap()).unwrap();
        let index = *self.by_rtp.get(&rtp).expect("an outcome for a frame that was never sent");
        let sent = &mut self.sent[index];
        if name == "ok" {
            sent.result_at = Some(self.now.instant);
        }
        sent.outcomes.push(name);
        sent
    }

    fn let_session_act(&mut self) {
        if self.session.finished().is_none() && self.session.deadline(self.now) <= self.now.instant {
            self.session.tick(self.now);
        }
        self.empty_session();
    }

    /// Does what the session says; call after every change of it.
    pub(crate) fn empty_session(&mut self) {
        while let Some(out) = self.session.poll_outgoing() {
            assert_eq!(out.source, self.server);
            if out.destination != self.browser {
                self.strays.push(out.destination);
            }
            self.network.send(self.now.instant, out.source, out.destination, out.contents.to_vec());
        }
        while let Some(action) = self.session.poll_engine(self.now) {
            self.act(action);
        }
        let bytes = self.session.to_engine().to_vec();
        if let Some(engine) = self.engine.as_mut().filter(|_| !bytes.is_empty()) {
            self.session.written(bytes.len());
            engine.read(self.now, &bytes);
        }
    }

    fn act(&mut self, action: EngineAction) {
        match action {
            EngineAction::Launch(id) => {
                self.engines_launched += 1;
                self.engine = Some((self.make_engine)(id, self.engine_takes, self.now));
            }
            EngineAction::SampleRunQueue(_) => {
                if let Some(action) = self.session.engine_waited(self.now, Some(Duration::ZERO)) {
                    self.act(action);
                }
            }
            EngineAction::Kill(_) => self.kill_engine(),
        }
    }

    /// The engine dies as by a signal.
    pub(crate) fn kill_engine(&mut self) {
        if let Some(engine) = self.engine.take() {
            self.session.engine_gone(self.now, engine.id());
            let kind = Some(framegate_wire::ExitKind::Signal(11));
            self.session.engine_report(self.now, engine.id(), &Death { kind, ..Death::default() });
        }
        self.empty_session();
    }

    fn let_engine_act(&mut self) {
        while let Some(bytes) = self.engine.as_mut().and_then(|engine| engine.says(self.now)) {
            self.session.from_engine(self.now, &bytes).unwrap();
            self.empty_session();
        }
        if let Some(ended) = self.engine.take_if(|engine| engine.has_ended()) {
            self.session.engine_gone(self.now, ended.id());
            let kind = Some(framegate_wire::ExitKind::Code(0));
            self.session.engine_report(self.now, ended.id(), &Death { kind, ..Death::default() });
            self.empty_session();
        }
    }

    /// Share of frames from the `first` on that were processed, in percent; no frame may have two outcomes.
    pub(crate) fn ok_percent_from(&self, first: usize) -> f64 {
        for sent in &self.sent {
            assert!(sent.outcomes.len() <= 1, "frame {} has {:?}, seed {}", sent.number, sent.outcomes, self.seed);
        }
        let frames = &self.sent[first..];
        let ok = frames.iter().filter(|sent| sent.result_at.is_some()).count();
        100.0 * ok as f64 / frames.len() as f64
    }

    /// Longest time from a frame to its result.
    pub(crate) fn slowest(&self) -> Duration {
        let ages = self.sent.iter().filter_map(|sent| Some(sent.result_at? - sent.at));
        ages.max().unwrap_or_default()
    }

    /// Ends the session as a page does and checks that the server's books add up with the page's.
    pub(crate) fn close_and_check_books(&mut self) {
        self.settle();
        let peer = self.peer.as_mut().unwrap();
        peer.send_control(self.now.instant, r#"{"v":1,"type":"close"}"#).unwrap();
        self.empty_browser();
        self.run_until(Duration::from_secs(5), |lab| lab.summary.is_some());
        let counts = self.summary.clone().unwrap();
        let sum = |name: &str| -> u64 {
            counts[name].as_object().into_iter().flat_map(|map| map.values()).filter_map(Value::as_u64).sum()
        };
        let one = |name: &str| counts[name].as_u64().unwrap_or(0);
        let outcomes = one("ok") + one("error") + sum("skipped") + sum("dropped");
        assert_eq!(one("received"), outcomes, "{counts}, seed {}", self.seed);
        let told = self.sent.iter().filter(|sent| !sent.outcomes.is_empty()).count() as u64;
        assert_eq!(told + one("undelivered"), outcomes, "{counts}, seed {}", self.seed);
    }
}

fn certificate() -> PeerCertificate {
    static SHARED: OnceLock<PeerCertificate> = OnceLock::new();
    SHARED.get_or_init(|| PeerCertificate::generate().unwrap()).clone()
}

fn session_config(server: SocketAddr) -> SessionConfig {
    static SHARED: OnceLock<Identity> = OnceLock::new();
    let identity = SHARED.get_or_init(|| Identity::generate().unwrap()).clone();
    let policy =
        Policy { hard_deadline: Duration::from_secs(1), first_frame_deadline: Duration::from_secs(30), crashes_max: 5 };
    SessionConfig {
        link: LinkConfig {
            addresses: vec![server],
            ufrag: UFRAG.to_owned(),
            password: "passwordpasswordpassword".to_owned(),
            identity,
        },
        runner: RunnerConfig {
            stream: "s-1".to_owned(),
            processor: "fake".to_owned(),
            area_max: framegate_wire::limits::AREA_MAX,
            late_ms: 200,
            policy,
            seed: 7,
        },
        hello: serde_json::json!({"stream": "s-1"}),
    }
}
