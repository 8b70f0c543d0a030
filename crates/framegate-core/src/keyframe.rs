//! When to ask the sender for a keyframe: one policy for all reasons.

use std::time::Instant;

use framegate_wire::KeyframeReason;

use crate::limits::{KEYFRAME_INTERVAL_MIN, KEYFRAME_LATE_INTERVAL_MIN};

/// Collects wishes for a keyframe and spaces the requests; asks again until one arrives.
#[derive(Debug, Default)]
pub struct KeyframePolicy {
    wanted: Option<KeyframeReason>,
    last_request: Option<Instant>,
    requests: u64,
}

impl KeyframePolicy {
    /// Wishes for a keyframe. An urgent reason replaces `Late`.
    pub fn want(&mut self, reason: KeyframeReason) {
        match self.wanted {
            Some(current) if current != KeyframeReason::Late => {}
            _ => self.wanted = Some(reason),
        }
    }

    /// A keyframe arrived: nothing is wanted any more.
    pub fn arrived(&mut self) {
        self.wanted = None;
    }

    /// When [`poll`](Self::poll) will next say yes; a moment already past means at once.
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let interval = match self.wanted? {
            KeyframeReason::Late => KEYFRAME_LATE_INTERVAL_MIN,
            _ => KEYFRAME_INTERVAL_MIN,
        };
        Some(self.last_request.map_or(now, |last| last + interval))
    }

    /// Whether to send a request now. A yes counts as sent.
    pub fn poll(&mut self, now: Instant) -> bool {
        let due = self.deadline(now).is_some_and(|deadline| deadline <= now);
        if due {
            self.last_request = Some(now);
            self.requests += 1;
        }
        due
    }

    /// Requests sent so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn requests_are_spaced_and_repeated_until_a_keyframe_comes() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut policy = KeyframePolicy::default();
        assert!(!policy.poll(at(0)));
        policy.want(KeyframeReason::Loss);
        assert!(policy.poll(at(0)));
        policy.want(KeyframeReason::Crash);
        assert!(!policy.poll(at(499)));
        assert!(policy.poll(at(500)));
        policy.arrived();
        assert_eq!(policy.deadline(at(2000)), None);
        policy.want(KeyframeReason::Late);
        assert!(!policy.poll(at(1400)));
        assert!(policy.poll(at(1500)));
        assert_eq!(policy.requests(), 3);
    }

    #[test]
    fn an_urgent_reason_replaces_late() {
        let start = Instant::now();
        let mut policy = KeyframePolicy::default();
        policy.want(KeyframeReason::Late);
        assert!(policy.poll(start));
        policy.want(KeyframeReason::Loss);
        assert!(policy.poll(start + KEYFRAME_INTERVAL_MIN));
    }
}
