//! An emulated network: seeded loss, delay, reordering and duplication, in simulated time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn hits(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// What the network does to a datagram.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) delay: Duration,
    /// Up to this much more delay, different for each: reorders.
    pub(crate) jitter: Duration,
    pub(crate) loss_percent: u64,
    pub(crate) duplicate_percent: u64,
    /// Nothing passes.
    pub(crate) blackout: bool,
    /// No RTP and no RTCP passes.
    pub(crate) media_blackout: bool,
}

#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) data: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) weather: Weather,
    random: Random,
    flying: BTreeMap<(Instant, u64), Datagram>,
    count: u64,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self { weather: Weather::default(), random: Random(seed), flying: BTreeMap::new(), count: 0 }
    }

    pub(crate) fn send(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, data: Vec<u8>) {
        let weather = self.weather;
        let is_media = data.first().is_some_and(|byte| (128..192).contains(byte));
        // Drawn always, so that one datagram's fate does not change those of all that follow.
        let (lost, doubled) = (self.random.hits(weather.loss_percent), self.random.hits(weather.duplicate_percent));
        let jitters = [self.random.next(), self.random.next()];
        if lost || weather.blackout || (weather.media_blackout && is_media) {
            return;
        }
        for jitter in &jitters[..if doubled { 2 } else { 1 }] {
            let span = u64::try_from(weather.jitter.as_micros()).unwrap() + 1;
            let at = now + weather.delay + Duration::from_micros(jitter % span);
            self.count += 1;
            self.flying.insert((at, self.count), Datagram { from, to, data: data.clone() });
        }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.flying.keys().next().map(|key| key.0)
    }

    pub(crate) fn arrived(&mut self, now: Instant) -> Option<Datagram> {
        let key = *self.flying.keys().next().filter(|key| key.0 <= now)?;
        self.flying.remove(&key)
    }
}
