//! A peer against a bare str0m server in simulated time, so that a fault here is the peer's own.

use std::sync::Arc;

use str0m::{change::SdpOffer, media::KeyframeRequestKind, media::MediaData};

use super::*;

const STEP: Duration = Duration::from_millis(5);

struct Server {
    rtc: Rtc,
    address: SocketAddr,
    frames: Vec<MediaData>,
    channels: Vec<(ChannelId, ChannelConfig)>,
    messages: Vec<Vec<u8>>,
    closed: bool,
}

struct Lab {
    peer: Peer,
    server: Server,
    now: Instant,
    events: Vec<PeerEvent>,
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn config(seed: u64) -> PeerConfig {
    PeerConfig { local: address(4000), seed, certificate: PeerCertificate::generate().unwrap() }
}

impl Server {
    fn accept(offer: &str, now: Instant) -> (Self, String) {
        let mut rtc = Rtc::builder()
            .set_crypto_provider(Arc::new(crypto()))
            .set_ice_lite(true)
            .clear_codecs()
            .enable_vp8(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(address(5000), "udp").unwrap()).unwrap();
        let offer = SdpOffer::from_sdp_string(offer).unwrap();
        let answer = rtc.sdp_api().accept_offer(offer).unwrap().to_sdp_string();
        let (channels, messages) = (Vec::new(), Vec::new());
        (Self { rtc, address: address(5000), frames: Vec::new(), channels, messages, closed: false }, answer)
    }

    fn drain(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) if at <= now => self.rtc.handle_input(Input::Timeout(now)).unwrap(),
                Output::Timeout(_) => return datagrams,
                Output::Transmit(packet) => datagrams.push(packet.contents.into()),
                Output::Event(Event::MediaData(data)) => self.frames.push(data),
                Output::Event(Event::ChannelData(data)) => self.messages.push(data.data),
                Output::Event(Event::ChannelOpen(id, _)) => {
                    let config = self.rtc.channel(id).unwrap().config().unwrap().clone();
                    self.channels.push((id, config));
                }
                Output::Event(Event::Closed) => self.closed = true,
                Output::Event(_) => {}
            }
        }
    }

    fn say(&mut self, label: &str, text: &str, now: Instant) -> Vec<Vec<u8>> {
        let id = self.channels.iter().find(|(_, config)| config.label == label).unwrap().0;
        assert!(self.rtc.channel(id).unwrap().write(false, text.as_bytes()).unwrap());
        self.drain(now)
    }
}

impl Lab {
    fn new() -> Self {
        let now = Instant::now();
        let (mut peer, offer) = Peer::new(config(1), now).unwrap();
        let (server, answer) = Server::accept(&offer, now);
        peer.answer(&answer, now).unwrap();
        Self { peer, server, now, events: Vec::new() }
    }

    fn connected() -> Self {
        let mut lab = Self::new();
        for _ in 0..200 {
            lab.step();
        }
        assert!(lab.peer.is_connected());
        assert_eq!(lab.server.channels.len(), 2);
        lab
    }

    fn deliver(&mut self, datagrams: Vec<Vec<u8>>) {
        for data in datagrams {
            self.peer.handle_datagram(self.now, self.server.address, address(4000), &data).unwrap();
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        self.peer.handle_timeout(self.now).unwrap();
        self.server.rtc.handle_input(Input::Timeout(self.now)).unwrap();
        let datagrams = self.server.drain(self.now);
        self.deliver(datagrams);
        loop {
            match self.peer.poll() {
                PeerOutput::Event(event) => self.events.push(event),
                PeerOutput::WaitUntil(at) => {
                    assert!(at > self.now);
                    break;
                }
                PeerOutput::Transmit { to, from, data } => {
                    assert_eq!((to, from), (self.server.address, address(4000)));
                    let contents = DatagramRecv::try_from(data.as_slice()).unwrap();
                    let receive = Receive { proto: Protocol::Udp, source: from, destination: to, contents };
                    self.server.rtc.handle_input(Input::Receive(self.now, receive)).unwrap();
                    let datagrams = self.server.drain(self.now);
                    self.deliver(datagrams);
                }
            }
        }
    }
}

fn keyframe(size: usize) -> Vec<u8> {
    let mut data = vec![0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01];
    data.resize(size, 7);
    data
}

#[test]
fn offers_what_a_page_offers_and_opens_both_channels() {
    let lab = Lab::connected();
    let offer = &lab.server.channels;
    for (label, protocol, ordered) in [("results", RESULTS_PROTOCOL, false), ("control", CONTROL_PROTOCOL, true)] {
        let (_, config) = offer.iter().find(|(_, config)| config.label == label).unwrap();
        assert_eq!((config.protocol.as_str(), config.ordered), (protocol, ordered));
    }
    for event in [PeerEvent::Connected, PeerEvent::ResultsOpen, PeerEvent::ControlOpen] {
        assert_eq!(lab.events.iter().filter(|seen| **seen == event).count(), 1, "{event:?}");
    }
}

#[test]
fn frames_arrive_whole_with_the_rtp_time_they_were_given() {
    let mut lab = Lab::connected();
    let base = u64::from(u32::MAX) - 4500;
    for (index, size) in [30_000, 1, 900, 1200, 5000].into_iter().enumerate() {
        let data = keyframe(size.max(10));
        let rtp_time = base + index as u64 * 3000;
        lab.peer.send_frame(lab.now, lab.now, rtp_time, data.clone()).unwrap();
        lab.step();
        let frame = lab.server.frames.pop().expect("one frame per step");
        assert_eq!(frame.data.as_ref(), data.as_slice());
        assert_eq!(frame.time.numer() & 0xffff_ffff, rtp_time & 0xffff_ffff);
        assert!(frame.contiguous && lab.server.frames.is_empty());
    }
}

#[test]
fn a_sender_report_follows_the_first_frames() {
    let mut lab = Lab::connected();
    let mut last = None;
    for index in 0..300 {
        if index % 6 == 0 {
            lab.peer.send_frame(lab.now, lab.now, 90_000 + index * 450, keyframe(500)).unwrap();
        }
        lab.step();
        last = lab.server.frames.last().and_then(|frame| frame.last_sender_info);
    }
    assert!(last.is_some());
}

#[test]
fn messages_go_both_ways_by_channel() {
    let mut lab = Lab::connected();
    for (label, expected) in
        [("results", PeerEvent::Result(b"{}".to_vec())), ("control", PeerEvent::Control(b"{}".to_vec()))]
    {
        let datagrams = lab.server.say(label, "{}", lab.now);
        lab.deliver(datagrams);
        lab.step();
        assert!(lab.events.contains(&expected), "{label}");
    }
    lab.peer.send_control(lab.now, "ping").unwrap();
    lab.step();
    assert_eq!(lab.server.messages, [b"ping"]);
}

#[test]
fn a_keyframe_request_surfaces() {
    let mut lab = Lab::connected();
    lab.peer.send_frame(lab.now, lab.now, 3000, keyframe(5000)).unwrap();
    lab.step();
    let mid = lab.server.frames[0].mid;
    lab.server.rtc.writer(mid).unwrap().request_keyframe(None, KeyframeRequestKind::Pli).unwrap();
    for _ in 0..20 {
        lab.step();
    }
    assert!(lab.events.contains(&PeerEvent::KeyframeWanted));
}

#[test]
fn closing_reaches_the_other_end_and_stops_this_one() {
    let mut lab = Lab::connected();
    lab.peer.close(lab.now).unwrap();
    lab.step();
    lab.step();
    assert!(lab.server.closed);
    assert_eq!(lab.events.iter().filter(|event| **event == PeerEvent::Closed).count(), 1);
    assert!(matches!(lab.peer.send_frame(lab.now, lab.now, 0, keyframe(10)), Err(PeerError::NotConnected)));
    assert!(matches!(lab.peer.send_control(lab.now, "late"), Err(PeerError::NotConnected)));
}

#[test]
fn a_close_by_the_server_is_told_once() {
    let mut lab = Lab::connected();
    lab.server.rtc.close().unwrap();
    for _ in 0..5 {
        lab.step();
    }
    assert_eq!(lab.events.iter().filter(|event| **event == PeerEvent::Closed).count(), 1);
    assert!(!lab.peer.is_connected());
}

#[test]
fn a_silent_server_is_noticed() {
    let mut lab = Lab::connected();
    let patience = lab.now + Duration::from_secs(60);
    while !lab.events.contains(&PeerEvent::Disconnected) {
        lab.now += STEP;
        assert!(lab.now < patience, "never noticed");
        lab.peer.handle_timeout(lab.now).unwrap();
        loop {
            match lab.peer.poll() {
                PeerOutput::Event(event) => lab.events.push(event),
                PeerOutput::Transmit { .. } => {}
                PeerOutput::WaitUntil(_) => break,
            }
        }
    }
}

#[test]
fn bad_answers_and_foreign_datagrams_are_refused() {
    let now = Instant::now();
    let (mut peer, offer) = Peer::new(config(2), now).unwrap();
    assert!(matches!(peer.answer("no sdp", now), Err(PeerError::Answer(_))));
    assert!(matches!(peer.send_frame(now, now, 0, keyframe(10)), Err(PeerError::NotConnected)));
    let (_, answer) = Server::accept(&offer, now);
    peer.answer(&answer, now).unwrap();
    assert!(matches!(peer.answer(&answer, now), Err(PeerError::Answer(_))));
    for data in [&[][..], &[0], &[255; 40], &[0; 20], &[22, 254, 253, 0], &[128; 12]] {
        let _ = peer.handle_datagram(now, address(6), address(4000), data);
    }
    assert!(!peer.is_connected());
    let unspecified = PeerConfig { local: SocketAddr::from(([0, 0, 0, 0], 1)), ..config(3) };
    assert!(matches!(Peer::new(unspecified, now), Err(PeerError::Address(_))));
}

#[test]
fn credentials_differ_by_seed_and_are_long_enough() {
    let (a, b) = (ice_credentials(1), ice_credentials(2));
    assert_eq!(a, ice_credentials(1));
    assert!(a.ufrag != b.ufrag && a.pass != b.pass);
    assert!(a.ufrag.len() >= 4 && a.pass.len() >= 22);
}
