//! Whether one more session fits, by measured cost.

/// What sessions have cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// Sessions admitted and not ended.
    pub sessions: u32,
    /// CPU used by the gateway and all engines, in cores.
    pub cores_used: f64,
    /// Sessions the measurement covers: those that ran through the whole of it.
    pub sessions_measured: u32,
}

/// How much is allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity {
    /// CPU that sessions may use, in cores.
    pub cores: f64,
    /// Sessions whatever they cost.
    pub sessions_max: u32,
}

/// Why a session does not fit.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Full {
    /// The configured number is reached.
    #[error("{sessions_max} sessions are open, the configured maximum")]
    Sessions {
        /// The maximum.
        sessions_max: u32,
    },
    /// The measured cost leaves no room.
    #[error("{used:.2} of {allowed:.2} cores are in use and a session costs {each:.3}")]
    Cpu {
        /// Cores used and promised.
        used: f64,
        /// Cores allowed.
        allowed: f64,
        /// Cost of one session, in cores.
        each: f64,
    },
}

/// Cost of a session nobody has measured yet, in cores: 640×480 at 30 frames per second with a light processor.
pub const SESSION_CORES_UNKNOWN: f64 = 0.04;

/// Seconds after which a refused client may ask again: a measurement's interval.
pub const RETRY_AFTER_SECONDS: u32 = 5;

/// Decides on one more session.
///
/// Sessions begun after the measurement count with the measured average, so that a herd is not let in on old figures.
///
/// # Errors
/// [`Full`], with the figures.
pub fn admit(load: Load, capacity: Capacity) -> Result<(), Full> {
    if load.sessions >= capacity.sessions_max {
        return Err(Full::Sessions { sessions_max: capacity.sessions_max });
    }
    let each = match load.sessions_measured {
        0 => SESSION_CORES_UNKNOWN,
        measured => (load.cores_used / f64::from(measured)).max(0.001),
    };
    let unmeasured = load.sessions.saturating_sub(load.sessions_measured);
    let used = load.cores_used + each * f64::from(unmeasured);
    if used + each > capacity.cores {
        return Err(Full::Cpu { used, allowed: capacity.cores, each });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity { cores: 1.8, sessions_max: 1000 };

    #[test]
    fn the_measured_cost_decides() {
        let load = |sessions, cores_used| Load { sessions, cores_used, sessions_measured: sessions };
        assert_eq!(admit(load(0, 0.0), CAPACITY), Ok(()));
        assert_eq!(admit(load(36, 1.5), CAPACITY), Ok(()));
        assert!(matches!(admit(load(42, 1.79), CAPACITY), Err(Full::Cpu { .. })));
        assert_eq!(admit(load(500, 1.0), CAPACITY), Ok(()));
        assert!(matches!(admit(load(1000, 0.1), CAPACITY), Err(Full::Sessions { .. })));
    }

    #[test]
    fn a_herd_is_counted_before_it_is_measured() {
        let admitted = |mut load: Load| {
            let before = load.sessions;
            while admit(load, CAPACITY).is_ok() {
                load.sessions += 1;
            }
            load.sessions - before
        };
        assert_eq!(admitted(Load::default()), 45);
        assert_eq!(admitted(Load { sessions: 10, cores_used: 0.9, sessions_measured: 10 }), 10);
    }
}
