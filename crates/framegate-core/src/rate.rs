use std::time::{Duration, Instant};

/// Counts events in windows of one second.
#[derive(Debug)]
pub(crate) struct RateWindow {
    per_second_max: u32,
    start: Option<Instant>,
    count: u32,
}

impl RateWindow {
    pub(crate) fn new(per_second_max: u32) -> Self {
        Self { per_second_max, start: None, count: 0 }
    }

    /// Whether one more event is within the limit.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        if self.start.is_none_or(|start| now >= start + Duration::from_secs(1)) {
            (self.start, self.count) = (Some(now), 0);
        }
        self.count = self.count.saturating_add(1);
        self.count <= self.per_second_max
    }

    /// Whether the last event was the first one beyond the limit in its second.
    pub(crate) fn is_newly_exceeded(&self) -> bool {
        self.count == self.per_second_max.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_own_count() {
        let start = Instant::now();
        let mut window = RateWindow::new(3);
        let allowed = |window: &mut RateWindow, at| (0..10).filter(|_| window.allows(at)).count();
        assert_eq!(allowed(&mut window, start), 3);
        assert_eq!(allowed(&mut window, start + Duration::from_millis(999)), 0);
        assert_eq!(allowed(&mut window, start + Duration::from_secs(1)), 3);
    }
}
