//! What is counted, and its text for Prometheus.
//!
//! Hot path: the functions here are called by the media threads. Every counter is made once, at the first use; counting is
//! one atomic addition. Names, help and units come from [`Metric`] only; labels take their values from enums, so no client
//! can create time series.

use std::sync::OnceLock;

use ::metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder, Unit};
use framegate_wire::{Counts, DropReason, SkipReason};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// Every metric there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Version of the program, as a label.
    BuildInfo,
    /// Sessions that exist now.
    Sessions,
    /// Offers answered with a session.
    SessionsOpened,
    /// Offers refused, by reason.
    SessionsRefused,
    /// Frames that found their outcome, by outcome and reason.
    Frames,
    /// Engines replaced, by reason.
    EngineRestarts,
    /// Changes of parameters and messages of pages that were refused.
    PageRefusals,
    /// HTTP requests answered, by class of status.
    HttpRequests,
    /// HTTP connections open now.
    HttpConnections,
    /// Resident memory of the gateway's process.
    ProcessMemory,
    /// CPU time of the gateway's process.
    ProcessCpu,
}

impl Metric {
    /// Every metric, in the order of the text.
    pub const ALL: [Self; 11] = [
        Self::BuildInfo,
        Self::Sessions,
        Self::SessionsOpened,
        Self::SessionsRefused,
        Self::Frames,
        Self::EngineRestarts,
        Self::PageRefusals,
        Self::HttpRequests,
        Self::HttpConnections,
        Self::ProcessMemory,
        Self::ProcessCpu,
    ];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BuildInfo => "framegate_build_info",
            Self::Sessions => "framegate_sessions",
            Self::SessionsOpened => "framegate_sessions_opened_total",
            Self::SessionsRefused => "framegate_sessions_refused_total",
            Self::Frames => "framegate_frames_total",
            Self::EngineRestarts => "framegate_engine_restarts_total",
            Self::PageRefusals => "framegate_page_refusals_total",
            Self::HttpRequests => "framegate_http_requests_total",
            Self::HttpConnections => "framegate_http_connections",
            Self::ProcessMemory => "framegate_process_resident_memory_bytes",
            Self::ProcessCpu => "framegate_process_cpu_milliseconds_total",
        }
    }

    /// What it tells, in one sentence.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::BuildInfo => "Version of the program; always 1.",
            Self::Sessions => "Sessions that exist now.",
            Self::SessionsOpened => "Offers answered with a session.",
            Self::SessionsRefused => "Offers refused.",
            Self::Frames => "Frames assembled by the gateway, by what became of them; each is counted once.",
            Self::EngineRestarts => "Engines that ended before their session did and were replaced.",
            Self::PageRefusals => "Changes of parameters and messages of pages that were refused, whole or in part.",
            Self::HttpRequests => "HTTP requests answered, by class of status.",
            Self::HttpConnections => "HTTP connections open now.",
            Self::ProcessMemory => "Resident memory of the gateway's process; engines are processes of their own.",
            Self::ProcessCpu => "CPU time of the gateway's process, user and system.",
        }
    }

    /// What it is counted in.
    #[must_use]
    pub const fn unit(self) -> Unit {
        match self {
            Self::ProcessMemory => Unit::Bytes,
            Self::ProcessCpu => Unit::Milliseconds,
            _ => Unit::Count,
        }
    }

    const fn is_counter(self) -> bool {
        match self {
            Self::SessionsOpened
            | Self::SessionsRefused
            | Self::Frames
            | Self::EngineRestarts
            | Self::PageRefusals
            | Self::HttpRequests
            | Self::ProcessCpu => true,
            Self::BuildInfo | Self::Sessions | Self::HttpConnections | Self::ProcessMemory => false,
        }
    }
}

/// Why an engine was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartReason {
    /// It died.
    Crashed,
    /// It made no progress and was killed.
    Hung,
}

impl RestartReason {
    /// Every reason.
    pub const ALL: [Self; 2] = [Self::Crashed, Self::Hung];

    /// The word used as label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crashed => "crashed",
            Self::Hung => "hung",
        }
    }
}

/// Why an offer was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedReason {
    /// It was malformed or cannot be answered.
    Offer,
    /// It asked for something that does not exist or is taken.
    Name,
    /// There is no room.
    Full,
    /// The processor cannot be loaded.
    Processor,
}

impl RefusedReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Offer, Self::Name, Self::Full, Self::Processor];

    /// The word used as label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Name => "name",
            Self::Full => "full",
            Self::Processor => "processor",
        }
    }
}

/// Sets the number of sessions that exist.
pub fn sessions(count: u32) {
    table().sessions.set(f64::from(count));
}

/// Counts an offer that became a session.
pub fn session_opened() {
    table().sessions_opened.increment(1);
}

/// Counts an offer that was refused.
pub fn session_refused(reason: RefusedReason) {
    table().sessions_refused[reason as usize].increment(1);
}

/// Counts the outcomes of a stream since it was counted last: `before` were counted already, `now` are all.
pub fn outcomes(before: &Counts, now: &Counts) {
    let table = table();
    let add = |counter: &Counter, now: u64, before: u64| {
        if now > before {
            counter.increment(now - before);
        }
    };
    add(&table.ok, now.ok, before.ok);
    add(&table.error, now.error, before.error);
    for (index, counter) in table.skipped.iter().enumerate() {
        add(counter, now.skipped[index], before.skipped[index]);
    }
    for (index, counter) in table.dropped.iter().enumerate() {
        add(counter, now.dropped[index], before.dropped[index]);
    }
}

/// Counts an engine that was replaced.
pub fn engine_restart(reason: RestartReason) {
    table().restarts[reason as usize].increment(1);
}

/// Counts changes of parameters and messages that were refused.
pub fn page_refusals(count: u64) {
    if count > 0 {
        table().page_refusals.increment(count);
    }
}

/// Counts an answered HTTP request by its status.
pub(crate) fn http_request(status: u16) {
    let class = usize::from(status / 100).clamp(1, HTTP_CLASSES.len()) - 1;
    table().http_requests[class].increment(1);
}

/// Sets the number of open HTTP connections.
pub(crate) fn http_connections(count: usize) {
    table().http_connections.set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
}

/// All values in Prometheus' text format.
#[must_use]
pub fn render() -> String {
    let table = table();
    table.memory.set(resident_bytes().unwrap_or_default());
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu_ms = u64::try_from(cpu.tv_sec).unwrap_or(0) * 1000 + u64::try_from(cpu.tv_nsec).unwrap_or(0) / 1_000_000;
    table.cpu.absolute(cpu_ms);
    table.handle.render()
}

/// Classes of HTTP status, by first digit.
const HTTP_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

struct Table {
    handle: PrometheusHandle,
    sessions: Gauge,
    sessions_opened: Counter,
    sessions_refused: [Counter; 4],
    ok: Counter,
    error: Counter,
    skipped: [Counter; 4],
    dropped: [Counter; 7],
    restarts: [Counter; 2],
    page_refusals: Counter,
    http_requests: [Counter; 5],
    http_connections: Gauge,
    memory: Gauge,
    cpu: Counter,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(Table::new)
}

impl Table {
    fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in Metric::ALL {
            let (name, unit, help) = (metric.name().into(), Some(metric.unit()), metric.help().into());
            if metric.is_counter() {
                recorder.describe_counter(name, unit, help);
            } else {
                recorder.describe_gauge(name, unit, help);
            }
        }
        let frames = |outcome, reason| {
            counter(&recorder, Metric::Frames, vec![Label::new("outcome", outcome), Label::new("reason", reason)])
        };
        let by_reason = |metric, reason| counter(&recorder, metric, vec![Label::new("reason", reason)]);
        gauge(&recorder, Metric::BuildInfo, vec![Label::new("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        Self {
            handle: recorder.handle(),
            sessions: gauge(&recorder, Metric::Sessions, Vec::new()),
            sessions_opened: counter(&recorder, Metric::SessionsOpened, Vec::new()),
            sessions_refused: RefusedReason::ALL.map(|reason| by_reason(Metric::SessionsRefused, reason.as_str())),
            ok: frames("ok", ""),
            error: frames("error", ""),
            skipped: SkipReason::ALL.map(|reason| frames("skipped", reason.as_str())),
            dropped: DropReason::ALL.map(|reason| frames("dropped", reason.as_str())),
            restarts: RestartReason::ALL.map(|reason| by_reason(Metric::EngineRestarts, reason.as_str())),
            page_refusals: counter(&recorder, Metric::PageRefusals, Vec::new()),
            http_requests: HTTP_CLASSES
                .map(|class| counter(&recorder, Metric::HttpRequests, vec![Label::new("status", class)])),
            http_connections: gauge(&recorder, Metric::HttpConnections, Vec::new()),
            memory: gauge(&recorder, Metric::ProcessMemory, Vec::new()),
            cpu: counter(&recorder, Metric::ProcessCpu, Vec::new()),
        }
    }
}

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

fn counter(recorder: &PrometheusRecorder, metric: Metric, labels: Vec<Label>) -> Counter {
    recorder.register_counter(&Key::from_parts(metric.name(), labels), &METADATA)
}

fn gauge(recorder: &PrometheusRecorder, metric: Metric, labels: Vec<Label>) -> Gauge {
    recorder.register_gauge(&Key::from_parts(metric.name(), labels), &METADATA)
}

/// Resident memory of this process, in bytes, where the system says it.
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u32 = line.split_whitespace().next()?.parse().ok()?;
    Some(f64::from(kib) * 1024.0)
}

#[cfg(test)]
mod tests {
    use framegate_wire::Outcome;

    use super::*;

    #[test]
    fn every_metric_is_in_the_text_with_its_help() {
        let mut before = Counts::default();
        before.add(Outcome::Dropped(DropReason::Closed));
        let mut now = before;
        now.add(Outcome::Skipped(SkipReason::Newer));
        outcomes(&before, &now);
        engine_restart(RestartReason::Hung);
        let text = render();
        for metric in Metric::ALL {
            let name = metric.name();
            assert!(name.starts_with("framegate_"));
            assert!(text.contains(&format!("# HELP {name} {}", metric.help())), "{name} in\n{text}");
            assert!(text.lines().any(|line| line.starts_with(name)), "{name} in\n{text}");
            assert_eq!(metric.is_counter(), name.ends_with("_total"), "{name}");
        }
        assert!(text.contains("framegate_frames_total{outcome=\"skipped\",reason=\"newer\"} 1"), "{text}");
        assert!(text.contains("framegate_frames_total{outcome=\"dropped\",reason=\"closed\"} 0"), "{text}");
        assert!(text.contains("framegate_frames_total{outcome=\"ok\",reason=\"\"} 0"), "{text}");
        assert!(text.contains("framegate_engine_restarts_total{reason=\"hung\"} 1"), "{text}");
    }

    #[test]
    fn reasons_count_in_their_own_place() {
        for (index, reason) in RestartReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        for (index, reason) in RefusedReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
