//! Finds the session a datagram belongs to. One address at a time, nothing on trust.
//!
//! STUN names its session in the USERNAME attribute; everything else is known by its source address, and an address is
//! bound to a session only after an authenticated STUN check of *that* session. DTLS from anywhere else never reaches a
//! handshake.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;

use str0m::ice::StunMessage;

use crate::limits::SOURCES_PER_SESSION_MAX;

/// What a datagram's first bytes say it is (RFC 7983 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatagramKind {
    /// ICE connectivity checks.
    Stun,
    /// Handshake and data channels.
    Dtls,
    /// Media.
    Rtp,
    /// Reports about media.
    Rtcp,
    /// Nothing we speak.
    Other,
}

/// Classifies a datagram by its first two bytes.
#[must_use]
pub fn classify(datagram: &[u8]) -> DatagramKind {
    match datagram.first() {
        Some(0..=3) => DatagramKind::Stun,
        Some(20..=63) => DatagramKind::Dtls,
        // RFC 5761 §4: RTCP's packet types are 192 to 223.
        Some(128..=191) if matches!(datagram.get(1), Some(192..=223)) => DatagramKind::Rtcp,
        Some(128..=191) => DatagramKind::Rtp,
        _ => DatagramKind::Other,
    }
}

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<K> {
    /// From an address bound to this session.
    Bound(K),
    /// A STUN request naming this session, from an address not bound to it: bind it once the session has authenticated
    /// the request.
    Unproven(K),
    /// To nobody: drop it without an answer.
    Nobody,
}

/// Sessions by ICE user fragment and by source address.
#[derive(Debug)]
pub struct Demux<K> {
    by_ufrag: HashMap<String, K>,
    by_source: HashMap<SocketAddr, K>,
    sources: HashMap<K, Vec<SocketAddr>>,
}

impl<K: Copy + Eq + Hash> Default for Demux<K> {
    fn default() -> Self {
        Self { by_ufrag: HashMap::new(), by_source: HashMap::new(), sources: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash> Demux<K> {
    /// Makes a session known by its local user fragment.
    pub fn register(&mut self, ufrag: String, key: K) {
        self.by_ufrag.insert(ufrag, key);
    }

    /// Forgets a session and its addresses.
    pub fn remove(&mut self, ufrag: &str, key: K) {
        self.by_ufrag.remove(ufrag);
        for source in self.sources.remove(&key).unwrap_or_default() {
            if self.by_source.get(&source) == Some(&key) {
                self.by_source.remove(&source);
            }
        }
    }

    /// Finds where a datagram goes.
    #[must_use]
    pub fn route(&self, source: SocketAddr, datagram: &[u8]) -> Route<K> {
        match classify(datagram) {
            DatagramKind::Stun => {
                let Ok(message) = StunMessage::parse(datagram) else { return Route::Nobody };
                if !message.is_binding_request() {
                    return Route::Nobody;
                }
                let named = message.split_username().and_then(|(local, _)| self.by_ufrag.get(local)).copied();
                match named {
                    Some(key) if self.by_source.get(&source) == Some(&key) => Route::Bound(key),
                    Some(key) => Route::Unproven(key),
                    None => Route::Nobody,
                }
            }
            DatagramKind::Dtls | DatagramKind::Rtp | DatagramKind::Rtcp => {
                self.by_source.get(&source).map_or(Route::Nobody, |key| Route::Bound(*key))
            }
            DatagramKind::Other => Route::Nobody,
        }
    }

    /// The session an address is bound to.
    #[must_use]
    pub fn owner(&self, source: SocketAddr) -> Option<K> {
        self.by_source.get(&source).copied()
    }

    /// Binds an address to the session that authenticated it; its oldest address goes when it has too many.
    pub fn bind(&mut self, source: SocketAddr, key: K) {
        let sources = self.sources.entry(key).or_default();
        sources.retain(|known| *known != source);
        if sources.len() >= SOURCES_PER_SESSION_MAX {
            let oldest = sources.remove(0);
            if self.by_source.get(&oldest) == Some(&key) {
                self.by_source.remove(&oldest);
            }
        }
        sources.push(source);
        self.by_source.insert(source, key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn media_comes_only_from_bound_addresses() {
        let mut demux = Demux::default();
        demux.register("0abc".into(), 1);
        let dtls = [22, 254, 253, 0];
        assert_eq!(demux.route(address(1), &dtls), Route::Nobody);
        demux.bind(address(1), 1);
        assert_eq!(demux.route(address(1), &dtls), Route::Bound(1));
        assert_eq!(demux.route(address(2), &dtls), Route::Nobody);
        assert_eq!(demux.route(address(1), &[]), Route::Nobody);
        demux.remove("0abc", 1);
        assert_eq!(demux.route(address(1), &dtls), Route::Nobody);
    }

    #[test]
    fn addresses_of_a_session_are_bounded() {
        let mut demux = Demux::default();
        for port in 1..=100 {
            demux.bind(address(port), 1);
        }
        let rtp = [0x80, 96];
        assert_eq!(demux.route(address(80), &rtp), Route::Nobody);
        assert_eq!(demux.route(address(81), &rtp), Route::Bound(1));
        assert_eq!(demux.by_source.len(), SOURCES_PER_SESSION_MAX);
    }

    #[test]
    fn an_address_taken_over_stays_with_its_new_session() {
        let mut demux = Demux::default();
        demux.bind(address(1), 1);
        demux.bind(address(1), 2);
        demux.remove("x", 1);
        assert_eq!(demux.route(address(1), &[0x80, 96]), Route::Bound(2));
    }
}
