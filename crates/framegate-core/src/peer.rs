//! The browser's end of a connection, for tests and for the load generator.
//!
//! A [`Peer`] offers what a page offers (one `sendonly` VP8 track and the data channels `results` and `control`),
//! sends whole encoded pictures and receives results. It is sans-IO: call a mutator, then [`Peer::poll`] until it says
//! [`PeerOutput::WaitUntil`].

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use str0m::{
    Candidate, Event, IceConnectionState, IceCreds, Input, Output, Rtc, RtcError,
    change::{SdpAnswer, SdpPendingOffer},
    channel::{ChannelConfig, ChannelId},
    config::DtlsCert,
    crypto::CryptoProvider,
    media::{Direction, Frequency, MediaKind, MediaTime, Mid, Pt},
    net::{DatagramRecv, Protocol, Receive},
};

/// Label of the data channel that carries results.
pub const RESULTS_LABEL: &str = "results";

/// Protocol of the data channel that carries results.
pub const RESULTS_PROTOCOL: &str = "framegate.result.v1";

/// Label of the data channel that carries everything else.
pub const CONTROL_LABEL: &str = "control";

/// Protocol of the data channel that carries everything else.
pub const CONTROL_PROTOCOL: &str = "framegate.control.v1";

/// Packets kept for retransmission: some two seconds of 4 Mbit/s video.
const RESEND_PACKETS_MAX: usize = 1024;

/// Age to which packets are kept for retransmission: a NACK that is older comes from a frame given up long ago.
const RESEND_AGE_MAX: Duration = Duration::from_secs(3);

/// Time-outs str0m may ask for at one instant before the drain gives up: it needs 2 to 4 of them to packetise a frame.
const TIMEOUTS_PER_DRAIN_MAX: usize = 32;

/// What a peer is made of.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// The one address it sends from and receives at.
    pub local: SocketAddr,
    /// Makes the ICE credentials; two peers of one server must differ. SSRC and DTLS randoms are not derived from it.
    pub seed: u64,
    /// Shared by many peers, because making one costs more CPU than the rest of the set-up.
    pub certificate: PeerCertificate,
}

/// A DTLS certificate.
#[derive(Debug, Clone)]
pub struct PeerCertificate(DtlsCert);

impl PeerCertificate {
    /// Makes a new one: P-256, valid for a year. Costs a few hundred microseconds.
    ///
    /// # Errors
    /// [`PeerError::Certificate`] when OpenSSL refuses.
    pub fn generate() -> Result<Self, PeerError> {
        crypto().dtls_provider.generate_certificate().map(Self).ok_or(PeerError::Certificate)
    }
}

/// Why a peer cannot do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// OpenSSL made no certificate.
    #[error("no DTLS certificate could be made")]
    Certificate,
    /// The local address is no ICE candidate, for example an unspecified one.
    #[error("{0} is no address to send from")]
    Address(SocketAddr),
    /// The answer is not SDP, or not one to the offer.
    #[error("unusable answer: {0}")]
    Answer(String),
    /// There is no connection yet, or no longer.
    #[error("not connected")]
    NotConnected,
    /// The channel's send buffer is full: nothing was sent.
    #[error("the data channel is full")]
    ChannelFull,
    /// The protocol stack failed; the peer is of no more use.
    #[error("WebRTC failed: {0}")]
    Rtc(#[from] RtcError),
}

/// What the caller shall do next.
#[derive(Debug)]
pub enum PeerOutput {
    /// Send this datagram.
    Transmit {
        /// Where to.
        to: SocketAddr,
        /// Where from: always [`PeerConfig::local`].
        from: SocketAddr,
        /// The datagram.
        data: Vec<u8>,
    },
    /// Something happened.
    Event(PeerEvent),
    /// Nothing more to do until a datagram comes, a mutator is called or this instant is reached.
    WaitUntil(Instant),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// ICE and DTLS are done: frames may be sent.
    Connected,
    /// The channel for results is open.
    ResultsOpen,
    /// The channel for control is open: [`Peer::send_control`] works.
    ControlOpen,
    /// The server wants a keyframe (PLI or FIR).
    KeyframeWanted,
    /// A message on the channel for results.
    Result(Vec<u8>),
    /// A message on the channel for control.
    Control(Vec<u8>),
    /// The server stopped answering STUN for so long that this connection will not come back.
    Disconnected,
    /// Either end closed; nothing follows.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Connected,
    Closed,
}

/// The browser's end of one connection.
pub struct Peer {
    rtc: Rtc,
    local: SocketAddr,
    mid: Mid,
    payload_type: Option<Pt>,
    pending: Option<SdpPendingOffer>,
    results: ChannelId,
    control: ChannelId,
    outputs: VecDeque<PeerOutput>,
    wait_until: Instant,
    phase: Phase,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("local", &self.local).field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Peer {
    /// Makes a peer and its offer, an SDP text.
    ///
    /// # Errors
    /// [`PeerError::Address`] when `local` cannot be a host candidate.
    ///
    /// # Panics
    /// Never: an offer that adds media is never empty.
    pub fn new(config: PeerConfig, now: Instant) -> Result<(Self, String), PeerError> {
        let mut rtc = Rtc::builder()
            .set_crypto_provider(std::sync::Arc::new(crypto()))
            .set_dtls_cert(config.certificate.0)
            .set_local_ice_credentials(ice_credentials(config.seed))
            .clear_codecs()
            .enable_vp8(true)
            .build(now);
        let candidate = Candidate::host(config.local, "udp").map_err(|_| PeerError::Address(config.local))?;
        rtc.add_local_candidate(candidate).ok_or(PeerError::Address(config.local))?;
        let mut changes = rtc.sdp_api();
        let mid = changes.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
        let results = changes.add_channel_with_config(channel(RESULTS_LABEL, RESULTS_PROTOCOL, false));
        let control = changes.add_channel_with_config(channel(CONTROL_LABEL, CONTROL_PROTOCOL, true));
        let (offer, pending) = changes.apply().expect("adding media always needs an offer");
        let mut peer = Self {
            rtc,
            local: config.local,
            mid,
            payload_type: None,
            pending: Some(pending),
            results,
            control,
            outputs: VecDeque::new(),
            wait_until: now,
            phase: Phase::Connecting,
        };
        peer.drain(now)?;
        Ok((peer, offer.to_sdp_string()))
    }

    /// Takes the server's answer; connecting begins.
    ///
    /// # Errors
    /// [`PeerError::Answer`] when it does not fit the offer or was given twice.
    pub fn answer(&mut self, sdp: &str, now: Instant) -> Result<(), PeerError> {
        let refuse = |text: String| PeerError::Answer(text);
        let answer = SdpAnswer::from_sdp_string(sdp).map_err(|error| refuse(error.to_string()))?;
        let pending = self.pending.take().ok_or_else(|| refuse("there is one already".into()))?;
        self.rtc.sdp_api().accept_answer(pending, answer).map_err(|error| refuse(error.to_string()))?;
        self.drain(now)?;
        // Only the main payload type is listed here; the one for retransmissions belongs to it.
        let writer = self.rtc.writer(self.mid).ok_or_else(|| refuse("it has no video".into()))?;
        self.payload_type = writer.payload_params().next().map(|params| params.pt());
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(self.mid, None) {
            // Without this, str0m drops retransmissions above 15 % of the traffic; browsers answer every NACK.
            stream.set_rtx_cache(RESEND_PACKETS_MAX, RESEND_AGE_MAX, None);
        }
        self.drain(now)?;
        if self.payload_type.is_some() { Ok(()) } else { Err(refuse("it has no VP8".into())) }
    }

    /// Takes a received datagram. What is neither STUN, DTLS, RTP nor RTCP is ignored.
    ///
    /// # Errors
    /// [`PeerError::Rtc`]: the connection is dead.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        data: &[u8],
    ) -> Result<(), PeerError> {
        let Ok(contents) = DatagramRecv::try_from(data) else { return Ok(()) };
        let receive = Receive { proto: Protocol::Udp, source, destination, contents };
        self.rtc.handle_input(Input::Receive(now, receive))?;
        self.drain(now)
    }

    /// Lets time pass; call it when the instant of [`PeerOutput::WaitUntil`] is reached.
    ///
    /// # Errors
    /// [`PeerError::Rtc`]: the connection is dead.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), PeerError> {
        self.rtc.handle_input(Input::Timeout(now))?;
        self.drain(now)
    }

    /// Gives the next thing to do; [`PeerOutput::WaitUntil`] comes last and again until something changes.
    pub fn poll(&mut self) -> PeerOutput {
        self.outputs.pop_front().unwrap_or(PeerOutput::WaitUntil(self.wait_until))
    }

    /// Sends one whole VP8 picture as one burst of packets.
    ///
    /// `rtp_time` counts 90 000 ticks a second and goes to the wire as it is, cut to 32 bits; `wallclock` is the instant
    /// of its capture, from which sender reports tell the server the capture time.
    ///
    /// # Errors
    /// [`PeerError::NotConnected`] before [`PeerEvent::Connected`] and after the end.
    pub fn send_frame(
        &mut self,
        now: Instant,
        wallclock: Instant,
        rtp_time: u64,
        data: impl Into<std::sync::Arc<[u8]>>,
    ) -> Result<(), PeerError> {
        let payload_type = self.payload_type.filter(|_| self.phase == Phase::Connected);
        let payload_type = payload_type.ok_or(PeerError::NotConnected)?;
        let writer = self.rtc.writer(self.mid).ok_or(PeerError::NotConnected)?;
        writer.write(payload_type, wallclock, MediaTime::new(rtp_time, Frequency::NINETY_KHZ), data)?;
        self.drain(now)
    }

    /// Sends a text on the control channel.
    ///
    /// # Errors
    /// [`PeerError::NotConnected`] before [`PeerEvent::ControlOpen`] and after the end, [`PeerError::ChannelFull`].
    pub fn send_control(&mut self, now: Instant, text: &str) -> Result<(), PeerError> {
        let mut channel = self.rtc.channel(self.control).ok_or(PeerError::NotConnected)?;
        let taken = channel.write(false, text.as_bytes())?;
        self.drain(now)?;
        if taken { Ok(()) } else { Err(PeerError::ChannelFull) }
    }

    /// Ends the connection in order (RTCP BYE, DTLS close_notify). To vanish silently, drop the peer instead.
    ///
    /// # Errors
    /// [`PeerError::Rtc`]: the connection was dead already.
    pub fn close(&mut self, now: Instant) -> Result<(), PeerError> {
        self.rtc.close()?;
        self.drain(now)
    }

    /// Whether frames can be sent.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Empties str0m between two mutations, as its contract demands; outputs wait for [`Peer::poll`].
    fn drain(&mut self, now: Instant) -> Result<(), PeerError> {
        let mut timeouts_left = TIMEOUTS_PER_DRAIN_MAX;
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(at) if at <= now && timeouts_left > 0 => {
                    timeouts_left -= 1;
                    self.rtc.handle_input(Input::Timeout(now))?;
                }
                Output::Timeout(at) => {
                    // Never in the past, or a caller that obeys would spin.
                    self.wait_until = at.max(now + Duration::from_millis(1));
                    break;
                }
                Output::Transmit(packet) => self.outputs.push_back(PeerOutput::Transmit {
                    to: packet.destination,
                    from: packet.source,
                    data: packet.contents.into(),
                }),
                Output::Event(event) => self.take(event),
            }
        }
        if !self.rtc.is_alive() {
            self.end();
        }
        Ok(())
    }

    fn take(&mut self, event: Event) {
        let event = match event {
            Event::Connected => {
                self.phase = Phase::Connected;
                PeerEvent::Connected
            }
            Event::ChannelOpen(id, _) if id == self.results => PeerEvent::ResultsOpen,
            Event::ChannelOpen(id, _) if id == self.control => PeerEvent::ControlOpen,
            Event::ChannelData(message) if message.id == self.results => PeerEvent::Result(message.data),
            Event::ChannelData(message) if message.id == self.control => PeerEvent::Control(message.data),
            Event::KeyframeRequest(_) => PeerEvent::KeyframeWanted,
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => PeerEvent::Disconnected,
            Event::Closed => return self.end(),
            _ => return,
        };
        self.outputs.push_back(PeerOutput::Event(event));
    }

    fn end(&mut self) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.outputs.push_back(PeerOutput::Event(PeerEvent::Closed));
        }
    }
}

fn crypto() -> CryptoProvider {
    str0m::crypto::from_feature_flags()
}

fn channel(label: &str, protocol: &str, ordered: bool) -> ChannelConfig {
    ChannelConfig { label: label.into(), ordered, protocol: protocol.into(), ..ChannelConfig::default() }
}

/// Credentials from a seed: RFC 8839 §5.4 wants at least 4 and 22 characters.
fn ice_credentials(seed: u64) -> IceCreds {
    let mut state = seed;
    let mut text = |length: usize| -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        (0..length)
            .map(|_| {
                // SplitMix64: every seed gives another sequence, also neighbouring ones.
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                char::from(ALPHABET[(mixed >> 59) as usize])
            })
            .collect()
    };
    IceCreds { ufrag: text(8), pass: text(24) }
}

#[cfg(test)]
mod tests;
