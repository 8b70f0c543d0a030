//! What a run has found, for people and as JSON.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;

use super::{
    fleet::{Findings, Plan},
    histogram::{Histogram, Percentiles},
    ledger::Tally,
    message::Counts,
    process::{CpuUse, Memory},
    raw::RawCost,
};

/// Share of frames that must be processed (or accounted for) for a run to count.
const OK_SHARE_MIN: f64 = 0.995;

/// Sessions that were begun and how they ended.
#[derive(Debug, Serialize)]
struct Sessions {
    asked: usize,
    begun: u64,
    failed: u64,
    failures: Vec<String>,
    /// Those that ended without a word, as they were told to.
    vanished: u64,
    /// Those whose final summary came, and those of them whose outcomes add up to the frames received.
    summaries: u64,
    balanced: u64,
}

#[derive(Debug, Serialize)]
struct Setup {
    answer: Option<Percentiles>,
    connected: Option<Percentiles>,
    first_result: Option<Percentiles>,
}

/// CPU time, in milliseconds per processed frame where the name says so.
#[derive(Debug, Serialize)]
struct Cpu {
    #[serde(flatten)]
    used: CpuUse,
    gateway_ms_per_frame: f64,
    engines_ms_per_frame: f64,
    client_ms_per_frame: f64,
}

#[derive(Debug, Serialize)]
struct Raw {
    before_ms: f64,
    during_ms: Option<f64>,
    after_ms: f64,
    smallest_ms: f64,
    /// CPU of gateway and engines per processed frame, divided by the smallest.
    ratio: Option<f64>,
}

/// Everything about one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) counts_as_held: bool,
    why_not: Vec<String>,
    version: &'static str,
    command: Vec<String>,
    machine: String,
    url: String,
    clip: String,
    window_s: f64,
    sessions: Sessions,
    frames: Tally,
    frames_per_second: f64,
    /// Last packet handed to the socket → result received, in milliseconds.
    latency_ms: Option<Percentiles>,
    /// The same in the first and last tenth of the window, and the 99th percentile of each tenth.
    latency_p99_by_tenth_ms: Vec<Option<f64>>,
    /// Last packet received → result handed over, as the server says it, over the whole run.
    server_total_ms: Option<Percentiles>,
    setup_ms: Setup,
    cpu: Option<Cpu>,
    raw: Option<Raw>,
    memory_before_kib: Option<Memory>,
    memory_after_kib: Option<Memory>,
    /// The server's books over the whole life of all sessions.
    server_counts: Counts,
    events: BTreeMap<String, u64>,
    keyframes_wanted: u64,
    unreadable_messages: u64,
    client_lag_ms: Option<Percentiles>,
    client_packets_refused: u64,
    client_pictures_left_out: u64,
}

/// What a run must show to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Nearly every frame is processed.
    Processed,
    /// Nearly every frame has some outcome.
    AccountedFor,
}

impl Report {
    pub(crate) fn new(
        plan: &Plan,
        clip: String,
        demand: Demand,
        findings: Findings,
        raw: Option<(RawCost, RawCost)>,
    ) -> Self {
        let mut latency = Histogram::default();
        findings.latency.iter().for_each(|part| latency.merge(part));
        let p99 = |part: &Histogram| part.percentiles().map(|seen| seen.p99);
        let why_not = objections(plan, demand, &findings);
        let frames = findings.processed_in_window as f64;
        let per_frame = |seconds: f64| if frames > 0.0 { 1000.0 * seconds / frames } else { 0.0 };
        let cpu = findings.cpu.map(|used| Cpu {
            used,
            gateway_ms_per_frame: per_frame(used.gateway_s),
            engines_ms_per_frame: per_frame(used.engines_s),
            client_ms_per_frame: per_frame(used.client_s),
        });
        let server_ms = cpu.as_ref().map(|cpu| cpu.gateway_ms_per_frame + cpu.engines_ms_per_frame);
        let server_ms = server_ms.filter(|_| plan.gateway.is_some() && frames > 0.0);
        let ms = |cost: RawCost| cost.cpu_us_per_frame / 1000.0;
        let raw = raw.map(|(before, after)| {
            let during_ms = findings.raw_during.map(ms);
            let smallest_ms = ms(before).min(ms(after)).min(during_ms.unwrap_or(f64::INFINITY));
            let ratio = server_ms.map(|server| server / smallest_ms);
            Raw { before_ms: ms(before), during_ms, after_ms: ms(after), smallest_ms, ratio }
        });
        Self {
            counts_as_held: why_not.is_empty(),
            why_not,
            version: env!("CARGO_PKG_VERSION"),
            command: std::env::args().collect(),
            machine: super::process::machine(),
            url: plan.endpoint.url(),
            clip,
            window_s: findings.window.as_secs_f64(),
            sessions: Sessions {
                asked: plan.sessions,
                begun: findings.begun,
                failed: findings.failed,
                failures: findings.failures,
                vanished: findings.vanished,
                summaries: findings.summaries,
                balanced: findings.balanced,
            },
            frames: findings.tally,
            frames_per_second: frames / findings.window.as_secs_f64().max(f64::MIN_POSITIVE),
            latency_ms: latency.percentiles(),
            latency_p99_by_tenth_ms: findings.latency.iter().map(p99).collect(),
            server_total_ms: findings.server_total.percentiles(),
            setup_ms: Setup {
                answer: findings.answered.percentiles(),
                connected: findings.connected.percentiles(),
                first_result: findings.first_result.percentiles(),
            },
            cpu,
            raw,
            memory_before_kib: findings.memory_before,
            memory_after_kib: findings.memory_after,
            server_counts: findings.counts,
            events: findings.events,
            keyframes_wanted: findings.keyframes_wanted,
            unreadable_messages: findings.unreadable,
            client_lag_ms: findings.lag.percentiles(),
            client_packets_refused: findings.packets_refused,
            client_pictures_left_out: findings.pictures_left_out,
        }
    }

    /// The report as a table of lines.
    pub(crate) fn to_text(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a `String` cannot fail.
            let _ = writeln!(out, "{name:<22}{value}");
        };
        let frames = &self.frames;
        let sessions = &self.sessions;
        line("server", self.url.clone());
        line("clip", self.clip.clone());
        let some = |count: u64, what| if count > 0 { format!(", {count} {what}") } else { String::new() };
        let failed = some(sessions.failed, "failed") + &some(sessions.vanished, "vanished");
        line("sessions", format!("{} begun{failed}, books of {} balanced", sessions.begun, sessions.balanced));
        for text in &sessions.failures {
            line("", text.clone());
        }
        let share = percent(frames.ok, frames.sent);
        line("frames", format!("{} sent in {:.1} s, {} ok ({share:.2} %)", frames.sent, self.window_s, frames.ok));
        let missed: Vec<String> = frames.missed.iter().map(|(name, count)| format!("{name} {count}")).collect();
        line("", format!("{} missing, {} error; {}", frames.missing, frames.error, or_none(&missed.join(", "))));
        line(
            "identity",
            format!(
                "{} numbers right, {} wrong; {} wrong timestamps, {} duplicates",
                frames.right_number, frames.wrong_number, frames.wrong_rtp, frames.duplicate
            ),
        );
        line("latency", spread(self.latency_ms));
        line("  says the server", spread(self.server_total_ms));
        line("set-up to answer", spread(self.setup_ms.answer));
        line("  to first result", spread(self.setup_ms.first_result));
        if let Some(cpu) = &self.cpu {
            let (gateway, engines) = (cpu.gateway_ms_per_frame, cpu.engines_ms_per_frame);
            line("CPU per frame", format!("{:.3} ms: gateway {gateway:.3}, engines {engines:.3}", gateway + engines));
            line(
                "",
                format!(
                    "client {:.3} ms, machine {:.0} % busy, steal {:.1} %",
                    cpu.client_ms_per_frame, cpu.used.machine_busy_percent, cpu.used.steal_percent
                ),
            );
        }
        if let Some(raw) = &self.raw {
            let ratio = raw.ratio.map_or_else(|| "unknown".into(), |ratio| format!("{ratio:.2}"));
            line("raw limit", format!("{:.3} ms; framegate is at {ratio} × it", raw.smallest_ms));
        }
        if let Some(memory) = &self.memory_after_kib {
            line(
                "memory",
                format!(
                    "gateway {} KiB in {} threads, {} engines of {} KiB private, {} KiB PSS",
                    memory.gateway_rss,
                    memory.gateway_threads,
                    memory.engines,
                    memory.engine_private_mean,
                    memory.engine_pss_mean
                ),
            );
        }
        line("client", format!("lag {}; {} keyframes asked for", spread(self.client_lag_ms), self.keyframes_wanted));
        let verdict = if self.counts_as_held { "counts".into() } else { self.why_not.join("; ") };
        line(if self.counts_as_held { "this run" } else { "does not count" }, verdict);
        out
    }
}

fn objections(plan: &Plan, demand: Demand, findings: &Findings) -> Vec<String> {
    let tally = &findings.tally;
    let good = match demand {
        Demand::Processed => tally.ok,
        Demand::AccountedFor => tally.sent - tally.missing,
    };
    let word = if demand == Demand::Processed { "processed" } else { "accounted for" };
    let mut why = Vec::new();
    if tally.sent == 0 {
        why.push("no frame was sent in the window".to_owned());
    } else if (good as f64) < OK_SHARE_MIN * tally.sent as f64 {
        why.push(format!("{:.2} % of the frames are {word}", percent(good, tally.sent)));
    }
    for (count, what) in [
        (findings.failed, "sessions failed"),
        (tally.wrong_rtp, "results for frames that were never sent"),
        (tally.wrong_number, "results with the number of another frame"),
        (tally.duplicate, "frames with more than one outcome"),
        (findings.unreadable, "unreadable messages"),
        (findings.summaries - findings.balanced, "sessions whose final counts do not add up"),
    ] {
        if count > 0 {
            why.push(format!("{count} {what}"));
        }
    }
    if findings.begun < plan.sessions as u64 {
        why.push(format!("{} of {} sessions begun", findings.begun, plan.sessions));
    }
    why
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none skipped or dropped" } else { text }
}

fn spread(seen: Option<Percentiles>) -> String {
    seen.map_or_else(
        || "none".into(),
        |seen| format!("p50 {:.2}  p95 {:.2}  p99 {:.2}  max {:.2} ms", seen.p50, seen.p95, seen.p99, seen.max),
    )
}
