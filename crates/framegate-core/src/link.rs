//! One WebRTC connection, server side: str0m behind a door that keeps its rules.
//!
//! Every change is followed by a full drain; ICE is lite; the peer's candidates are not used; a frame is given out whole,
//! with its RTP timestamp unwrapped and its sender's capture time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use framegate_wire::{Codec, Epoch};
use str0m::change::SdpOffer;
use str0m::channel::ChannelId;
use str0m::config::{CryptoProvider, DtlsCert};
use str0m::ice::StunMessage;
use str0m::media::{KeyframeRequestKind, MediaData, MediaKind, Mid};
use str0m::net::{DatagramSend, Protocol, Receive, Transmit};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, Event, IceConnectionState, IceCreds, Input, Output, Rtc};

use crate::limits::{CHANNEL_BUFFERED_MAX, CHANNELS_MAX, REORDER_FRAMES_MAX, REORDER_TIMEOUT};
use crate::offer::{self, OfferError};
use crate::runner::Incoming;

/// The gateway's DTLS identity, made once and shared by all sessions: making one costs tens of milliseconds.
#[derive(Debug, Clone)]
pub struct Identity {
    certificate: DtlsCert,
    crypto: Arc<CryptoProvider>,
}

impl Identity {
    /// Makes a self-signed certificate; the stack's own random source is used.
    ///
    /// # Errors
    /// [`OfferError::Malformed`] when OpenSSL refuses; nothing can be served then.
    pub fn generate() -> Result<Self, OfferError> {
        let crypto = Arc::new(str0m::crypto::from_feature_flags());
        let certificate = crypto
            .dtls_provider
            .generate_certificate()
            .ok_or_else(|| OfferError::Malformed("no DTLS certificate could be made".to_owned()))?;
        Ok(Self { certificate, crypto })
    }
}

/// What a link is made of.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// Addresses the media sockets are bound to, offered as host candidates.
    pub addresses: Vec<SocketAddr>,
    /// Local ICE user fragment, unguessable.
    pub ufrag: String,
    /// Local ICE password, unguessable.
    pub password: String,
    /// DTLS identity.
    pub identity: Identity,
}

/// Something to send.
#[derive(Debug)]
pub struct Outgoing {
    /// Address of the socket to send from.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
    /// One datagram.
    pub contents: DatagramSend,
}

/// What happened on a link.
#[derive(Debug)]
pub enum LinkEvent {
    /// ICE and DTLS are done.
    Connected,
    /// A whole video frame.
    Frame(Incoming),
    /// The results channel is open.
    ResultsOpen,
    /// The control channel is open.
    ControlOpen,
    /// A message on the control channel.
    Control(Vec<u8>),
    /// The results channel can take more.
    Writable,
    /// The peer ended the connection, or it broke.
    Closed,
}

/// How often a dead connection is looked at until its session is removed.
const DEAD_WAKE_INTERVAL: Duration = Duration::from_secs(1);

/// A WebRTC connection.
#[derive(Debug)]
pub struct Link {
    rtc: Rtc,
    crypto: Arc<CryptoProvider>,
    password: String,
    outgoing: VecDeque<Outgoing>,
    events: VecDeque<Event>,
    timeout: Instant,
    video: Option<Mid>,
    results: Option<ChannelId>,
    control: Option<ChannelId>,
    channels: usize,
    clock: MediaClock,
    closed_told: bool,
}

impl Link {
    /// Answers an offer.
    ///
    /// # Errors
    /// [`OfferError`] when the offer is hostile, malformed or asks for nothing we serve.
    pub fn accept(config: LinkConfig, sdp: &str, now: Instant) -> Result<(Self, String), OfferError> {
        let cleaned = offer::check(sdp)?;
        let sdp_offer =
            SdpOffer::from_sdp_string(&cleaned).map_err(|error| OfferError::Malformed(error.to_string()))?;
        let mut rtc = Rtc::builder()
            .set_crypto_provider(config.identity.crypto.clone())
            .set_dtls_cert(config.identity.certificate)
            .set_local_ice_credentials(IceCreds { ufrag: config.ufrag, pass: config.password.clone() })
            .set_ice_lite(true)
            .set_reordering_size_video(REORDER_FRAMES_MAX)
            .set_reordering_timeout_video(Some(REORDER_TIMEOUT))
            .clear_codecs()
            .enable_vp8(true)
            .enable_opus(true, false)
            .set_extension_map(extensions())
            .build(now);
        for address in &config.addresses {
            let candidate =
                Candidate::host(*address, "udp").map_err(|error| OfferError::Malformed(error.to_string()))?;
            rtc.add_local_candidate(candidate);
        }
        let answer = rtc.sdp_api().accept_offer(sdp_offer).map_err(|error| OfferError::Malformed(error.to_string()))?;
        let mut link = Self {
            rtc,
            crypto: config.identity.crypto,
            password: config.password,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            timeout: now,
            video: None,
            results: None,
            control: None,
            channels: 0,
            clock: MediaClock::default(),
            closed_told: false,
        };
        link.drain();
        Ok((link, answer.to_sdp_string()))
    }

    /// Whether a STUN request carries this session's password (RFC 8489 §9.1).
    #[must_use]
    pub fn authenticates(&self, datagram: &[u8]) -> bool {
        StunMessage::parse(datagram).is_ok_and(|message| {
            message.verify(self.password.as_bytes(), |key, parts| self.crypto.sha1_hmac_provider.sha1_hmac(key, parts))
        })
    }

    /// Takes a datagram for this session. Unreadable ones are dropped.
    pub fn datagram(&mut self, now: Instant, source: SocketAddr, destination: SocketAddr, datagram: &[u8]) {
        let Ok(contents) = datagram.try_into() else { return };
        let receive = Receive { proto: Protocol::Udp, source, destination, contents };
        self.input(Input::Receive(now, receive));
    }

    /// Lets time pass.
    pub fn timeout(&mut self, now: Instant) {
        self.input(Input::Timeout(now));
    }

    fn input(&mut self, input: Input<'_>) {
        if let Err(error) = self.rtc.handle_input(input) {
            tracing::debug!(%error, "connection broke");
            self.rtc.disconnect();
        }
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.timeout = at;
                    return;
                }
                Ok(Output::Transmit(Transmit { source, destination, contents, .. })) => {
                    self.outgoing.push_back(Outgoing { source, destination, contents });
                }
                Ok(Output::Event(event)) => self.events.push_back(event),
                Err(error) if self.rtc.is_alive() => {
                    tracing::debug!(%error, "connection broke");
                    self.rtc.disconnect();
                }
                Err(_) => {
                    self.timeout += DEAD_WAKE_INTERVAL;
                    return;
                }
            }
        }
    }

    /// When [`timeout`](Self::timeout) must be called.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.timeout
    }

    /// Next datagram to send.
    pub fn poll_outgoing(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    /// Next thing that happened. `received_ns` is when the kernel got the datagram being handled.
    pub fn poll_event(&mut self, received_ns: u64) -> Option<LinkEvent> {
        while let Some(event) = self.events.pop_front() {
            if let Some(event) = self.translate(event, received_ns) {
                return Some(event);
            }
        }
        if !self.rtc.is_alive() && !std::mem::replace(&mut self.closed_told, true) {
            (self.results, self.control) = (None, None);
            return Some(LinkEvent::Closed);
        }
        None
    }

    fn translate(&mut self, event: Event, received_ns: u64) -> Option<LinkEvent> {
        match event {
            Event::Connected => Some(LinkEvent::Connected),
            Event::MediaAdded(added) => {
                let receives = added.kind == MediaKind::Video && added.direction.is_receiving();
                if receives && self.video.is_none() {
                    self.video = Some(added.mid);
                }
                None
            }
            Event::MediaData(data) if Some(data.mid) == self.video => {
                let epoch_hint = self.ssrc();
                Some(LinkEvent::Frame(self.clock.frame(&data, epoch_hint, received_ns)))
            }
            Event::ChannelOpen(id, label) => self.channel_open(id, &label),
            Event::ChannelData(data) if Some(data.id) == self.control => Some(LinkEvent::Control(data.data)),
            Event::ChannelBufferedAmountLow(_) => Some(LinkEvent::Writable),
            Event::ChannelClose(id) => {
                self.channels = self.channels.saturating_sub(1);
                if Some(id) == self.results {
                    self.results = None;
                } else if Some(id) == self.control {
                    self.control = None;
                }
                None
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) | Event::Closed => {
                self.rtc.disconnect();
                None
            }
            _ => None,
        }
    }

    fn ssrc(&mut self) -> Option<u32> {
        let mid = self.video?;
        self.rtc.direct_api().stream_rx_by_mid(mid, None).map(|stream| *stream.ssrc())
    }

    fn channel_open(&mut self, id: ChannelId, label: &str) -> Option<LinkEvent> {
        self.channels += 1;
        if self.channels > CHANNELS_MAX {
            self.rtc.direct_api().close_data_channel(id);
            self.drain();
            return None;
        }
        match label {
            "results" if self.results.is_none() => {
                self.results = Some(id);
                if let Some(mut channel) = self.rtc.channel(id) {
                    channel.set_buffered_amount_low_threshold(CHANNEL_BUFFERED_MAX / 2);
                }
                self.drain();
                Some(LinkEvent::ResultsOpen)
            }
            "control" if self.control.is_none() => {
                self.control = Some(id);
                Some(LinkEvent::ControlOpen)
            }
            _ => None,
        }
    }

    /// Whether the results channel is open and has room inside SCTP.
    pub fn can_send_result(&mut self) -> bool {
        let Some(id) = self.results else { return false };
        self.rtc.channel(id).is_some_and(|mut channel| channel.buffered_amount() < CHANNEL_BUFFERED_MAX)
    }

    /// Sends a text on the results channel; no when it was not taken.
    pub fn send_result(&mut self, text: &str) -> bool {
        let id = self.results;
        self.send(id, text)
    }

    /// Whether the control channel is open.
    #[must_use]
    pub fn has_control(&self) -> bool {
        self.control.is_some()
    }

    /// Whether everything said on the control channel has been acknowledged.
    pub fn control_drained(&mut self) -> bool {
        let Some(id) = self.control else { return true };
        self.rtc.channel(id).is_none_or(|mut channel| channel.buffered_amount() == 0)
    }

    /// Whether the control channel is open and has room inside SCTP.
    pub fn can_send_control(&mut self) -> bool {
        let Some(id) = self.control else { return false };
        self.rtc.channel(id).is_some_and(|mut channel| channel.buffered_amount() < CHANNEL_BUFFERED_MAX)
    }

    /// Sends a text on the control channel; no when it was not taken.
    pub fn send_control(&mut self, text: &str) -> bool {
        let id = self.control;
        self.send(id, text)
    }

    fn send(&mut self, id: Option<ChannelId>, text: &str) -> bool {
        let Some(id) = id else { return false };
        let taken =
            self.rtc.channel(id).is_some_and(|mut channel| channel.write(false, text.as_bytes()).unwrap_or(false));
        self.drain();
        taken
    }

    /// Asks the sender for a keyframe (PLI, RFC 4585 §6.3.1).
    pub fn request_keyframe(&mut self) {
        let Some(mid) = self.video else { return };
        if let Some(mut writer) = self.rtc.writer(mid)
            && let Err(error) = writer.request_keyframe(None, KeyframeRequestKind::Pli)
        {
            tracing::debug!(%error, "no keyframe can be asked for");
        }
        self.drain();
    }

    /// Says goodbye (RTCP BYE, SCTP shutdown, DTLS close_notify); what remains to send follows from
    /// [`poll_outgoing`](Self::poll_outgoing).
    pub fn close(&mut self) {
        if self.rtc.close().is_err() {
            self.rtc.disconnect();
        }
        self.drain();
    }
}

/// Header extensions we answer: without VideoOrientation, so that senders rotate and boxes refer to upright pictures.
fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    map.set(2, Extension::AbsoluteSendTime);
    map.set(3, Extension::TransportSequenceNumber);
    map.set(4, Extension::RtpMid);
    map.set(9, Extension::AbsoluteCaptureTime);
    map.set(10, Extension::RtpStreamId);
    map.set(11, Extension::RepairedRtpStreamId);
    map
}

/// Follows the sender's clocks: epoch and capture time of each frame.
#[derive(Debug, Default)]
struct MediaClock {
    epoch: Epoch,
    ssrc: Option<u32>,
    last_rtp: Option<u64>,
    anchor: Option<Anchor>,
}

/// A moment known on both of the sender's clocks.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    rtp_time: u64,
    wall_us: i64,
    from_extension: bool,
}

/// A jump of the RTP clock above this is another clock: 10 s at 90 kHz.
const CLOCK_JUMP_TICKS: u64 = 900_000;

impl MediaClock {
    fn frame(&mut self, data: &MediaData, ssrc: Option<u32>, received_ns: u64) -> Incoming {
        let rtp_time = data.time.numer();
        let jumped = self.last_rtp.is_some_and(|last| last.abs_diff(rtp_time) > CLOCK_JUMP_TICKS);
        let other_source = self.ssrc.is_some() && ssrc.is_some() && self.ssrc != ssrc;
        if jumped || other_source {
            self.epoch.0 += 1;
            self.anchor = None;
        }
        self.ssrc = ssrc.or(self.ssrc);
        self.last_rtp = Some(rtp_time);
        self.update_anchor(data, rtp_time);
        Incoming {
            epoch: self.epoch,
            rtp_time,
            capture_us: self.anchor.map(|anchor| anchor.capture_us(rtp_time)),
            received_ns,
            codec: Codec::Vp8,
            keyframe: data.is_keyframe(),
            contiguous: data.contiguous,
            data: data.data.clone(),
        }
    }

    /// The capture time extension wins over sender reports once seen: two sources would disagree by a millisecond.
    fn update_anchor(&mut self, data: &MediaData, rtp_time: u64) {
        if let Some(extension) = &data.ext_vals.abs_capture_time
            && let Some(wall_us) = unix_us(extension.capture_time)
        {
            self.anchor = Some(Anchor { rtp_time, wall_us, from_extension: true });
            return;
        }
        if self.anchor.is_some_and(|anchor| anchor.from_extension) {
            return;
        }
        if let Some(report) = &data.last_sender_info
            && let Some(wall_us) = unix_us(report.ntp_time)
        {
            // The report's timestamp has 32 bits; it lies near this frame's.
            let near = nearest_unwrapped(report.rtp_time.numer(), rtp_time);
            self.anchor = Some(Anchor { rtp_time: near, wall_us, from_extension: false });
        }
    }
}

impl Anchor {
    fn capture_us(self, rtp_time: u64) -> i64 {
        let ticks = i64::try_from(rtp_time).unwrap_or(i64::MAX) - i64::try_from(self.rtp_time).unwrap_or(i64::MAX);
        self.wall_us + ticks * 100 / 9
    }
}

fn unix_us(time: SystemTime) -> Option<i64> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok()
}

/// The 64-bit time nearest to `around` whose low 32 bits are those of `wire`.
fn nearest_unwrapped(wire: u64, around: u64) -> u64 {
    const SPAN: u64 = 1 << 32;
    let low = wire % SPAN;
    let base = around - around % SPAN;
    [base.checked_sub(SPAN), Some(base), base.checked_add(SPAN)]
        .into_iter()
        .flatten()
        .map(|base| base + low)
        .min_by_key(|candidate| candidate.abs_diff(around))
        .unwrap_or(wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_timestamps_unwrap_to_the_nearest() {
        const SPAN: u64 = 1 << 32;
        for (wire, around, expected) in [
            (5, 10, 5),
            (SPAN - 1, SPAN + 2, SPAN - 1),
            (3, SPAN - 1, SPAN + 3),
            (100, 7 * SPAN + 90, 7 * SPAN + 100),
            (SPAN - 5, 3, SPAN - 5),
        ] {
            assert_eq!(nearest_unwrapped(wire, around), expected);
        }
    }

    #[test]
    fn capture_time_follows_the_rtp_clock() {
        let anchor = Anchor { rtp_time: 90_000, wall_us: 1_000_000, from_extension: false };
        assert_eq!(anchor.capture_us(180_000), 2_000_000);
        assert_eq!(anchor.capture_us(87_000), 966_667);
    }
}
