//! `framegate load`: synthetic sessions that send a clip as a browser would and check every result.
//!
//! Each session makes an offer by WHIP, loops the clip at its own rate, sends each picture as one burst, answers keyframe
//! requests, and keeps books by RTP timestamp: every frame sent must get exactly one outcome.

mod client;
mod clip;
mod fleet;
mod histogram;
mod ledger;
mod message;
mod process;
mod raw;
mod report;
mod trace;
mod whip;

use std::{
    io::Write,
    net::{IpAddr, UdpSocket},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context, ensure};

use self::{clip::Clip, fleet::Plan, report::Demand, report::Report, trace::Trace, whip::Endpoint};

/// Most sessions of one run: one thread serves a few hundred, and each takes a file descriptor.
const SESSIONS_MAX: u32 = 900;

/// Longest duration an argument may give, in seconds: a week.
const SECONDS_MAX: f64 = 7.0 * 86_400.0;

/// What kind of video the sessions send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LoadCodec {
    /// VP8.
    Vp8,
}

/// Sends synthetic sessions to a server and measures what comes back.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// The WHIP endpoint, or only http://HOST:PORT for the server's default pipeline.
    #[arg(default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Sessions at a time.
    #[arg(long, short = 'n', default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(SESSIONS_MAX)))]
    sessions: u32,
    /// Length of the measured window, in seconds.
    #[arg(long, short = 's', default_value = "8", value_parser = seconds)]
    seconds: Duration,
    /// IVF clip that every session loops; without it one is made (640x480, 30 Hz, 1 Mbit/s, numbered).
    #[arg(long)]
    clip: Option<PathBuf>,
    /// Codec of the clip.
    #[arg(long, value_enum, default_value_t = LoadCodec::Vp8)]
    codec: LoadCodec,
    /// Time from the start of one session to the next, in seconds.
    #[arg(long, default_value = "0.05", value_parser = seconds)]
    ramp: Duration,
    /// Time between the last session's first result and the window, in seconds.
    #[arg(long, default_value = "3", value_parser = seconds)]
    warm_up: Duration,
    /// How long the last outcomes are waited for, in seconds.
    #[arg(long, default_value = "1.5", value_parser = seconds)]
    grace: Duration,
    /// Ends each session after this many seconds and begins another in its place.
    #[arg(long, value_parser = seconds)]
    hold: Option<Duration>,
    /// Lets every Nth session that --hold ends go without a word, as a browser does that is killed.
    #[arg(long, value_name = "N", requires = "hold", value_parser = clap::value_parser!(u64).range(1..))]
    vanish: Option<u64>,
    /// Writes a line of JSON to this file for each result: its frame, when that was sent and when the result came.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Lets the run count when frames are skipped or dropped, if only each is reported.
    #[arg(long)]
    accept_skips: bool,
    /// Also measures the cost of decoding, converting and reading alone, before, during and after the run.
    #[arg(long)]
    raw: bool,
    /// Process id of the gateway, where /healthz does not tell it.
    #[arg(long)]
    pid: Option<u32>,
    /// Bearer token of the server.
    #[arg(long)]
    token: Option<String>,
    /// Makes timestamps and credentials repeatable.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs the sessions and prints what was found; exit status 1 when the run does not count.
///
/// # Errors
/// When the server cannot be reached, the clip cannot be read or the engine program is missing.
pub(crate) fn run(args: &LoadArgs) -> anyhow::Result<ExitCode> {
    let endpoint = Endpoint::find(&args.url, args.token.clone())?;
    let made = if args.clip.is_none() { Some(MadeClip::new()?) } else { None };
    let path = args.clip.as_ref().or(made.as_ref().map(|made| &made.0)).context("no clip")?;
    let LoadCodec::Vp8 = args.codec;
    let clip = Clip::read(path)?;
    let gateway = args.pid.or_else(|| endpoint.gateway_pid()).filter(|pid| process::exists(*pid));
    ensure!(args.pid.is_none() || gateway.is_some(), "there is no process {}", args.pid.unwrap_or(0));
    let raw = if args.raw { Some((raw::engine_program()?, path.clone())) } else { None };
    let measure = || raw.as_ref().map(|(program, clip)| raw::measure(program, clip)).transpose();

    let plan = Plan {
        address: local_address(&endpoint)?,
        endpoint,
        sessions: args.sessions as usize,
        ramp: args.ramp,
        warm_up: args.warm_up,
        window: args.seconds.max(Duration::from_millis(100)),
        grace: args.grace,
        hold: args.hold,
        vanish: args.vanish,
        trace: args.trace.as_deref().map(Trace::create).transpose()?,
        seed: args.seed.unwrap_or_else(seed_of_now),
        gateway,
        raw: raw.clone(),
    };
    let before = measure()?;
    let findings = fleet::run(&plan, &clip)?;
    let after = measure()?;
    if let Some(trace) = &plan.trace {
        trace.finish()?;
    }

    let rate = 1.0 / clip.interval.as_secs_f64();
    let about = format!("VP8 {}x{} at {rate:.2} Hz, {} pictures", clip.size.width, clip.size.height, clip.len());
    let demand = if args.accept_skips { Demand::AccountedFor } else { Demand::Processed };
    let report = Report::new(&plan, about, demand, findings, before.zip(after));
    let text = if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { report.to_text() };
    std::io::stdout().lock().write_all(text.as_bytes()).context("writing the report")?;
    Ok(if report.counts_as_held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A clip in the temporary folder, removed when dropped.
struct MadeClip(PathBuf);

impl MadeClip {
    fn new() -> anyhow::Result<Self> {
        let made = Self(std::env::temp_dir().join(format!("framegate-load-{}.ivf", std::process::id())));
        raw::make_clip(&made.0)?;
        Ok(made)
    }
}

impl Drop for MadeClip {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The address this machine sends from towards the server; connecting a UDP socket sends nothing.
fn local_address(endpoint: &Endpoint) -> anyhow::Result<IpAddr> {
    let any = if endpoint.address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).context("opening a UDP socket")?;
    socket.connect(endpoint.address).with_context(|| format!("finding a way to {}", endpoint.address))?;
    Ok(socket.local_addr()?.ip())
}

fn seed_of_now() -> u64 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    time.as_secs() << 32 ^ u64::from(time.subsec_nanos()) ^ u64::from(std::process::id()) << 16
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text.parse().map_err(|_| format!("{text} is not a number of seconds"))?;
    if (0.0..=SECONDS_MAX).contains(&value) {
        Ok(Duration::from_secs_f64(value))
    } else {
        Err(format!("{text} is not between 0 and {SECONDS_MAX} s"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_checked() {
        assert_eq!(seconds("0.05"), Ok(Duration::from_millis(50)));
        for wrong in ["-1", "nan", "inf", "1e9", "", "1s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
