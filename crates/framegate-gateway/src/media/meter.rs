//! What sessions cost, measured once a second by each media thread, and whether one more fits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use framegate_core::admit::{Capacity, Full, Load, admit};
use rustix::time::{ClockId, clock_gettime};

/// Interval of the measurement: engines report about as often.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// The measurement, shared by all media threads.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    capacity: Capacity,
    machine_cores: f64,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    sessions: u32,
    threads: Vec<Measured>,
    gateway_cores: f64,
    gateway_last: Option<(Instant, Duration)>,
}

/// What one media thread measured.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Measured {
    /// CPU its engines used, in cores.
    pub(crate) engine_cores: f64,
    /// Sessions that were there for the whole interval.
    pub(crate) sessions: u32,
}

impl Meter {
    pub(crate) fn new(cpu_max: f64, sessions_max: u32, threads: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let machine_cores = f64::from(u32::try_from(cores).unwrap_or(u32::MAX));
        let shared =
            Shared { sessions: 0, threads: vec![Measured::default(); threads], gateway_cores: 0.0, gateway_last: None };
        let capacity = Capacity { cores: machine_cores * cpu_max, sessions_max };
        Self { capacity, machine_cores, shared: Arc::new(Mutex::new(shared)) }
    }

    /// What an engine said it used, in cores, as far as it can be true.
    pub(crate) fn believable(&self, cores: f64) -> f64 {
        cores.min(self.machine_cores)
    }

    /// Takes a place if there is room for one more session.
    pub(crate) fn admit(&self) -> Result<Place, Full> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let cores_used = shared.gateway_cores + shared.threads.iter().map(|thread| thread.engine_cores).sum::<f64>();
        let sessions_measured = shared.threads.iter().map(|thread| thread.sessions).sum();
        admit(Load { sessions: shared.sessions, cores_used, sessions_measured }, self.capacity)?;
        shared.sessions += 1;
        crate::metrics::sessions(shared.sessions);
        Ok(Place { shared: self.shared.clone() })
    }

    /// Enters one thread's measurement.
    pub(crate) fn measured(&self, thread: usize, measured: Measured, now: Instant) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = shared.threads.get_mut(thread) {
            *slot = measured;
        }
        if thread == 0 {
            let cpu = clock_gettime(ClockId::ProcessCPUTime);
            let cpu = Duration::new(u64::try_from(cpu.tv_sec).unwrap_or(0), u32::try_from(cpu.tv_nsec).unwrap_or(0));
            if let Some((then, cpu_then)) = shared.gateway_last.replace((now, cpu)) {
                let wall = now.saturating_duration_since(then).as_secs_f64().max(0.001);
                shared.gateway_cores = cpu.saturating_sub(cpu_then).as_secs_f64() / wall;
            }
        }
    }
}

/// The right to exist of one session; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Arc<Mutex<Shared>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.sessions -= 1;
        crate::metrics::sessions(shared.sessions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_when_sessions_end() {
        let meter = Meter::new(0.9, 3, 1);
        let places: Vec<Place> = (0..3).map(|_| meter.admit().expect("room")).collect();
        assert!(matches!(meter.admit(), Err(Full::Sessions { sessions_max: 3 })));
        drop(places);
        assert!(meter.admit().is_ok());
    }
}
