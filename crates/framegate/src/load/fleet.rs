//! All synthetic sessions in one thread: starts them, feeds them, and measures a window of their common life.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use anyhow::Context;
use framegate_core::peer::PeerCertificate;
use mio::{Events, Interest, Poll, Token, Waker};

use super::{
    client::{Client, ClientConfig, DATAGRAM_BYTES_MAX, SETUP_WAIT_MAX},
    clip::Clip,
    histogram::Histogram,
    ledger::{PARTS, Tally},
    message::Counts,
    process::{CpuSample, CpuUse, Memory},
    raw::{self, RawCost},
    trace::Trace,
    whip::{Answer, Endpoint},
};

/// Most failures whose text is kept.
const FAILURE_TEXTS_MAX: usize = 8;

/// Longest sleep, so that progress is shown.
const SLEEP_MAX: Duration = Duration::from_millis(250);

const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) endpoint: Endpoint,
    pub(crate) sessions: usize,
    pub(crate) ramp: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    pub(crate) grace: Duration,
    /// How long each session lives before another takes its place.
    pub(crate) hold: Option<Duration>,
    /// Every so many sessions that are held end without a word.
    pub(crate) vanish: Option<u64>,
    pub(crate) trace: Option<Trace>,
    pub(crate) address: IpAddr,
    pub(crate) seed: u64,
    pub(crate) gateway: Option<u32>,
    /// The engine program and the clip, to measure the raw cost while the sessions are live.
    pub(crate) raw: Option<(PathBuf, PathBuf)>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) tally: Tally,
    pub(crate) latency: Vec<Histogram>,
    pub(crate) answered: Histogram,
    pub(crate) connected: Histogram,
    pub(crate) first_result: Histogram,
    pub(crate) lag: Histogram,
    pub(crate) server_total: Histogram,
    /// Sessions begun, those that failed, and those whose final counts add up.
    pub(crate) begun: u64,
    pub(crate) failed: u64,
    pub(crate) failures: Vec<String>,
    /// Sessions that ended without a word.
    pub(crate) vanished: u64,
    pub(crate) summaries: u64,
    pub(crate) balanced: u64,
    pub(crate) counts: Counts,
    pub(crate) events: BTreeMap<String, u64>,
    pub(crate) keyframes_wanted: u64,
    pub(crate) packets_refused: u64,
    pub(crate) pictures_left_out: u64,
    pub(crate) unreadable: u64,
    /// Results with status `ok` that came within the measured window, whenever their frames were sent.
    pub(crate) processed_in_window: u64,
    pub(crate) window: Duration,
    pub(crate) cpu: Option<CpuUse>,
    pub(crate) memory_before: Option<Memory>,
    pub(crate) memory_after: Option<Memory>,
    pub(crate) raw_during: Option<RawCost>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    SettingUp,
    WarmingUp(Instant),
    Measuring(Instant),
    /// All sessions go on while the raw cost is measured.
    Comparing,
    Closing,
}

enum Note {
    Answer { slot: usize, generation: u64, answer: anyhow::Result<Answer> },
    Raw(anyhow::Result<RawCost>),
}

#[derive(Default)]
struct Slot {
    client: Option<Client>,
    generation: u64,
    vanishes: bool,
}

struct Fleet<'a> {
    plan: &'a Plan,
    clip: &'a Clip,
    certificate: PeerCertificate,
    poll: Poll,
    waker: Arc<Waker>,
    notes: (mpsc::Sender<Note>, mpsc::Receiver<Note>),
    slots: Vec<Slot>,
    started: usize,
    start: Instant,
    phase: Phase,
    results_before: u64,
    results_ended: u64,
    cpu_before: CpuSample,
    progress_at: Instant,
    findings: Findings,
}

/// Runs a plan to its end.
pub(crate) fn run(plan: &Plan, clip: &Clip) -> anyhow::Result<Findings> {
    let poll = Poll::new().context("making an epoll instance")?;
    let start = Instant::now();
    let mut fleet = Fleet {
        plan,
        clip,
        certificate: PeerCertificate::generate()?,
        waker: Arc::new(Waker::new(poll.registry(), Token(usize::MAX))?),
        poll,
        notes: mpsc::channel(),
        slots: (0..plan.sessions).map(|_| Slot::default()).collect(),
        started: 0,
        start,
        phase: Phase::SettingUp,
        results_before: 0,
        results_ended: 0,
        cpu_before: CpuSample::take(plan.gateway),
        progress_at: start,
        findings: Findings { latency: vec![Histogram::default(); PARTS], ..Findings::default() },
    };
    fleet.run()?;
    Ok(fleet.findings)
}

impl Fleet<'_> {
    fn run(&mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(256);
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let wait = self.deadline().saturating_duration_since(Instant::now());
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            for event in &events {
                if let Some(client) = self.slots.get_mut(event.token().0).and_then(|slot| slot.client.as_mut()) {
                    client.readable(&mut buffer);
                }
            }
            self.take_notes();
            let now = Instant::now();
            self.tick(now)?;
            if self.advance(now) {
                return Ok(());
            }
            self.show_progress(now);
        }
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        let phase = match self.phase {
            Phase::WarmingUp(until) | Phase::Measuring(until) => until,
            Phase::SettingUp if self.started < self.slots.len() => self.start_of(self.started),
            Phase::SettingUp | Phase::Comparing | Phase::Closing => now + SLEEP_MAX,
        };
        let clients = self.slots.iter().filter_map(|slot| slot.client.as_ref()?.deadline());
        clients.chain([phase, now + SLEEP_MAX]).min().unwrap_or(now)
    }

    fn start_of(&self, slot: usize) -> Instant {
        self.start + self.plan.ramp * u32::try_from(slot).unwrap_or(u32::MAX)
    }

    fn take_notes(&mut self) {
        while let Ok(note) = self.notes.1.try_recv() {
            match note {
                Note::Raw(cost) => {
                    self.findings.raw_during = cost.ok();
                    if self.phase == Phase::Comparing {
                        self.close(Instant::now());
                    }
                }
                Note::Answer { slot, generation, answer } => {
                    let slot = &mut self.slots[slot];
                    match slot.client.as_mut().filter(|_| slot.generation == generation) {
                        Some(client) => client.answered(answer, Instant::now()),
                        // Nobody waits for it any more: the server shall not keep it either.
                        None => delete(&self.plan.endpoint, answer.ok().map(|answer| answer.location)),
                    }
                }
            }
        }
    }

    fn tick(&mut self, now: Instant) -> anyhow::Result<()> {
        let part = self.part(now);
        while self.phase == Phase::SettingUp && self.started < self.slots.len() && now >= self.start_of(self.started) {
            self.begin(self.started)?;
            self.started += 1;
        }
        for index in 0..self.started {
            let Slot { client: Some(client), vanishes, .. } = &mut self.slots[index] else { continue };
            client.tick(self.clip, now, part);
            let is_over = self.plan.hold.zip(client.sending_since).is_some_and(|(hold, since)| now - since >= hold);
            match is_over && self.phase != Phase::SettingUp {
                true if *vanishes => self.findings.vanished += u64::from(client.vanish()),
                true => client.finish(now),
                false => {}
            }
            if client.is_ended() {
                let has_failed = client.observed.failure.is_some();
                self.collect(index);
                // A server that fails is not hammered: the slot stays empty and the run does not count.
                if self.plan.hold.is_some() && self.phase != Phase::Closing && !has_failed {
                    self.begin(index)?;
                }
            }
        }
        Ok(())
    }

    fn part(&self, now: Instant) -> Option<usize> {
        let Phase::Measuring(until) = self.phase else { return None };
        let left = until.saturating_duration_since(now).as_secs_f64() / self.plan.window.as_secs_f64();
        // Which tenth of the window; the fraction left is between 0 and 1.
        (1..=PARTS).find(|part| left >= 1.0 - *part as f64 / PARTS as f64).map(|part| part - 1)
    }

    fn begin(&mut self, index: usize) -> anyhow::Result<()> {
        let slot = &mut self.slots[index];
        slot.generation += 1;
        slot.vanishes = self.plan.vanish.is_some_and(|every| (self.findings.begun + 1).is_multiple_of(every));
        let fraction = index as f64 / self.plan.sessions as f64;
        let config = ClientConfig {
            address: self.plan.address,
            seed: self.plan.seed.wrapping_add(slot.generation << 32).wrapping_add(index as u64),
            certificate: self.certificate.clone(),
            slot: self.start + self.clip.interval.mul_f64(fraction),
            grace: self.plan.grace,
            trace: self.plan.trace.clone().map(|trace| (trace, index)),
        };
        let (mut client, offer) = Client::new(config, self.clip, Instant::now())?;
        self.poll.registry().register(client.socket(), Token(index), Interest::READABLE)?;
        slot.client = Some(client);
        self.findings.begun += 1;
        // A request blocks, and the other sessions must not wait for it.
        let (generation, endpoint) = (slot.generation, self.plan.endpoint.clone());
        let (notes, waker) = (self.notes.0.clone(), Arc::clone(&self.waker));
        std::thread::spawn(move || {
            let answer = endpoint.offer(&offer);
            if notes.send(Note::Answer { slot: index, generation, answer }).is_ok() {
                let _ = waker.wake();
            }
        });
        Ok(())
    }

    /// Adds an ended session to the findings and frees its slot.
    fn collect(&mut self, index: usize) {
        let Some(mut client) = self.slots[index].client.take() else { return };
        let _ = self.poll.registry().deregister(client.socket());
        let seen = &client.observed;
        let sum = &mut self.findings;
        sum.tally.merge(&client.ledger.tally);
        for (mine, theirs) in sum.latency.iter_mut().zip(&client.ledger.latency) {
            mine.merge(theirs);
        }
        for (histogram, value) in [
            (&mut sum.answered, seen.answered),
            (&mut sum.connected, seen.connected),
            (&mut sum.first_result, seen.first_result),
        ] {
            if let Some(value) = value {
                histogram.add(value);
            }
        }
        sum.lag.merge(&seen.lag);
        sum.server_total.merge(&seen.server_total);
        sum.counts.merge(&seen.counts);
        sum.summaries += u64::from(seen.has_summary);
        sum.balanced += u64::from(seen.has_summary && seen.counts.received == seen.counts.outcomes());
        sum.keyframes_wanted += seen.keyframes_wanted;
        sum.packets_refused += seen.packets_refused;
        sum.pictures_left_out += seen.pictures_left_out;
        sum.unreadable += seen.unreadable;
        for (kind, count) in &seen.events {
            *sum.events.entry(kind.clone()).or_default() += count;
        }
        self.results_ended += seen.results_ok;
        if let Some(text) = &seen.failure {
            sum.failed += 1;
            if sum.failures.len() < FAILURE_TEXTS_MAX {
                sum.failures.push(text.clone());
            }
        }
        if seen.failure.is_some() || seen.connected.is_none() {
            delete(&self.plan.endpoint, client.location);
        }
    }

    /// Goes to the next phase when it is time; says whether all is done.
    fn advance(&mut self, now: Instant) -> bool {
        match self.phase {
            Phase::SettingUp => {
                let all_settled = self.started == self.slots.len()
                    && self.slots.iter().all(|slot| slot.client.as_ref().is_none_or(Client::is_up));
                let is_over = now >= self.start_of(self.slots.len()) + SETUP_WAIT_MAX;
                if all_settled || is_over {
                    self.phase = Phase::WarmingUp(now + self.plan.warm_up);
                }
            }
            Phase::WarmingUp(until) if now >= until => {
                self.findings.memory_before = self.plan.gateway.and_then(Memory::take);
                self.cpu_before = CpuSample::take(self.plan.gateway);
                self.results_before = self.results();
                self.phase = Phase::Measuring(Instant::now() + self.plan.window);
            }
            Phase::Measuring(until) if now >= until => {
                self.findings.cpu = Some(self.cpu_before.until(&CpuSample::take(self.plan.gateway)));
                self.findings.processed_in_window = self.results() - self.results_before;
                self.findings.window = self.plan.window + (now - until);
                self.findings.memory_after = self.plan.gateway.and_then(Memory::take);
                self.compare(now);
            }
            Phase::Closing if self.slots.iter().all(|slot| slot.client.is_none()) => return true,
            _ => {}
        }
        false
    }

    fn compare(&mut self, now: Instant) {
        let Some((program, clip)) = self.plan.raw.clone() else { return self.close(now) };
        self.phase = Phase::Comparing;
        let (notes, waker) = (self.notes.0.clone(), Arc::clone(&self.waker));
        std::thread::spawn(move || {
            if notes.send(Note::Raw(raw::measure(&program, &clip))).is_ok() {
                let _ = waker.wake();
            }
        });
    }

    fn close(&mut self, now: Instant) {
        self.phase = Phase::Closing;
        for slot in &mut self.slots {
            if let Some(client) = slot.client.as_mut() {
                client.finish(now);
            }
        }
    }

    fn results(&self) -> u64 {
        let live = self.slots.iter().filter_map(|slot| slot.client.as_ref());
        self.results_ended + live.map(|client| client.observed.results_ok).sum::<u64>()
    }

    fn show_progress(&mut self, now: Instant) {
        if now < self.progress_at {
            return;
        }
        self.progress_at = now + PROGRESS_EVERY;
        let mut err = std::io::stderr();
        if !err.is_terminal() {
            return;
        }
        let up = self.slots.iter().filter(|slot| slot.client.as_ref().is_some_and(Client::is_up)).count();
        let what = match self.phase {
            Phase::SettingUp => "setting up",
            Phase::WarmingUp(_) => "warming up",
            Phase::Measuring(_) => "measuring",
            Phase::Comparing => "raw limit",
            Phase::Closing => "closing",
        };
        let (all, failed, results) = (self.slots.len(), self.findings.failed, self.results());
        let seconds = (now - self.start).as_secs();
        let end = if self.phase == Phase::Closing { "\n" } else { "" };
        // Progress is a courtesy: a terminal that went away is no reason to stop.
        let _ = write!(
            err,
            "\r\x1b[K{seconds:>4} s  {what:<10}  {up}/{all} sessions, {failed} failed, {results} results{end}"
        );
    }
}

/// Frees a session at the server without waiting for the answer.
fn delete(endpoint: &Endpoint, location: Option<String>) {
    let Some(location) = location else { return };
    let endpoint = endpoint.clone();
    // A server that is gone has freed it already.
    std::thread::spawn(move || drop(endpoint.delete(&location)));
}
