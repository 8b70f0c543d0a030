//! Durations counted in buckets of at most 1.6 % width: fixed memory however long a run is.

use serde::Serialize;

const SUB_BITS: u32 = 6;
const SUB_COUNT: usize = 1 << SUB_BITS;

/// Values below 64 µs have a bucket each; above, every doubling has 64, up to 2^32 µs (71 minutes).
const BUCKETS: usize = SUB_COUNT * (32 - SUB_BITS as usize + 1);

/// Counts of durations in microseconds.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_us: u32,
}

/// The usual percentiles, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max_us: 0 }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, duration: std::time::Duration) {
        let us = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        self.buckets[bucket(us)] += 1;
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// `None` when nothing was counted.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        if self.count == 0 {
            return None;
        }
        let ms = |permille: u64| f64::from(self.quantile_us(permille)) / 1000.0;
        let max = f64::from(self.max_us) / 1000.0;
        Some(Percentiles { count: self.count, p50: ms(500), p95: ms(950), p99: ms(990), max })
    }

    /// Upper edge of the bucket that holds the value of this rank.
    fn quantile_us(&self, permille: u64) -> u32 {
        let rank = (self.count * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_edge_us(index).min(self.max_us);
            }
        }
        self.max_us
    }
}

fn bucket(us: u32) -> usize {
    let shift = (32 - us.leading_zeros()).saturating_sub(SUB_BITS + 1);
    shift as usize * SUB_COUNT + (us >> shift) as usize
}

fn upper_edge_us(bucket: usize) -> u32 {
    let shift = (bucket / SUB_COUNT).saturating_sub(1);
    let top = (bucket - shift * SUB_COUNT) as u64;
    u32::try_from(((top + 1) << shift) - 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_close_above_it() {
        for us in (0..5000).chain((0..32).map(|bit| 1 << bit)).chain([u32::MAX, u32::MAX - 1, 999_999]) {
            let edge = upper_edge_us(bucket(us));
            assert!(edge >= us && f64::from(edge - us) <= f64::from(us) / 60.0, "{us} {edge}");
        }
    }

    #[test]
    fn percentiles_are_ranks() {
        let mut histogram = Histogram::default();
        assert!(histogram.percentiles().is_none());
        for ms in 1..=100 {
            histogram.add(Duration::from_millis(ms));
        }
        let mut twice = histogram.clone();
        twice.merge(&histogram);
        for (histogram, count) in [(histogram, 100), (twice, 200)] {
            let seen = histogram.percentiles().unwrap();
            assert_eq!((seen.count, seen.max), (count, 100.0));
            for (value, expected) in [(seen.p50, 50.0), (seen.p95, 95.0), (seen.p99, 99.0)] {
                assert!((value - expected).abs() <= expected * 0.02, "{value} {expected}");
            }
        }
    }
}
