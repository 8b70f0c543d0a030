//! A slow processor sees fewer frames, never older ones: the engine's own intake behind a whole session, in
//! simulated time.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

#[expect(dead_code, reason = "the laboratory of framegate-core serves other tests as well")]
#[path = "../../framegate-core/tests/lab/mod.rs"]
mod lab;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use framegate_core::Now;
use framegate_engine::intake::{Intake, Step};
use framegate_wire::{FromEngine, Outcome, ResultHeader, Seq, Status, Timing, ToEngine, UnitHeader, frame};

use lab::engine::LabEngine;
use lab::network::Weather;
use lab::{INTERVAL, Lab, camera};

/// What decoding a picture takes: that of 640×480 at 1 Mbit/s on a slow core.
const DECODE: Duration = Duration::from_millis(1);

/// What a result may be older than its processing and one frame interval.
const SLACK: Duration = Duration::from_millis(15);

const RUN: Duration = Duration::from_secs(60);

/// The engine's loop with the real intake: reads all that has arrived, decodes it, looks once more when that was more than
/// one unit, and processes the newest.
struct IntakeEngine {
    id: u64,
    takes: Duration,
    reader: frame::Reader,
    intake: Intake,
    /// Units not yet read, oldest first: the socket's buffer.
    socket: VecDeque<(UnitHeader, u32)>,
    last_decoded: Option<u32>,
    said: VecDeque<(Instant, Vec<u8>)>,
    busy_until: Now,
    /// Whether it decodes what had waited and looks once more before it processes.
    looks_again: bool,
    closing: bool,
}

impl IntakeEngine {
    fn boxed(id: u64, takes: Duration, now: Now) -> Box<dyn LabEngine> {
        Box::new(Self {
            id,
            takes,
            reader: frame::Reader::default(),
            intake: Intake::new(0),
            socket: VecDeque::new(),
            last_decoded: None,
            said: VecDeque::new(),
            busy_until: now,
            looks_again: false,
            closing: false,
        })
    }

    fn say(&mut self, at: Now, message: &FromEngine, payload: &[u8]) {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, message, payload).unwrap();
        self.said.push_back((at.instant, bytes));
    }

    fn say_answers(&mut self, at: Now) {
        let answers: Vec<FromEngine> = self.intake.answers().collect();
        for answer in answers {
            self.say(at, &answer, &[]);
        }
    }

    /// Decodes what has arrived; gives when that is done.
    fn decode(&mut self, now: Now) -> Now {
        let mut at = now;
        for (header, number) in std::mem::take(&mut self.socket) {
            if self.intake.unit(&header, at.ns) == Step::Decode {
                let follows = self.last_decoded.is_some_and(|last| number == last + 1);
                assert!(header.keyframe || follows, "{number} after {:?} cannot be decoded", self.last_decoded);
                self.last_decoded = Some(number);
                at = at.after(DECODE);
                self.intake.decoded(header);
            }
        }
        at
    }

    fn process(&mut self, now: Now) {
        let mut end = now;
        if let (Some(number), Some(call)) = (self.last_decoded, self.intake.call()) {
            end = now.after(self.takes);
            self.intake.busy(now.ns, end.ns);
            self.intake.processed(Outcome::Ok);
            self.say_answers(end);
            let data = format!(r#"{{"number":{number}}}"#);
            self.say(end, &FromEngine::Result(result(call.header.seq, call.dropped_before)), data.as_bytes());
        }
        self.say_answers(end);
        self.busy_until = end;
    }

    fn has_work(&self) -> bool {
        self.looks_again || !self.socket.is_empty()
    }

    fn work(&mut self, now: Now) {
        if now.instant < self.busy_until.instant || !self.has_work() {
            return;
        }
        let had_waited = self.socket.len() > 1;
        let decoded = self.decode(now);
        self.looks_again = had_waited && !self.looks_again;
        if self.looks_again {
            self.busy_until = decoded;
        } else {
            self.process(decoded);
        }
    }
}

impl LabEngine for IntakeEngine {
    fn id(&self) -> u64 {
        self.id
    }

    fn read(&mut self, now: Now, bytes: &[u8]) {
        self.reader.extend(bytes);
        loop {
            let unit = match self.reader.next_message::<ToEngine>().unwrap() {
                Some((ToEngine::Unit(header), payload)) => (header, camera::number(payload)),
                Some((ToEngine::Open(_), _)) => {
                    self.say(now, &FromEngine::Ready(Vec::new()), &[]);
                    continue;
                }
                Some((ToEngine::Close, _)) => {
                    self.closing = true;
                    continue;
                }
                Some(other) => panic!("{other:?}"),
                None => break,
            };
            self.socket.push_back(unit);
        }
        self.work(now);
    }

    fn next_at(&self) -> Option<Instant> {
        let work = self.has_work().then_some(self.busy_until.instant);
        let said = self.said.front().map(|said| said.0);
        work.into_iter().chain(said).min()
    }

    fn says(&mut self, now: Now) -> Option<Vec<u8>> {
        self.work(now);
        self.said.front().filter(|said| said.0 <= now.instant)?;
        self.said.pop_front().map(|said| said.1)
    }

    fn has_ended(&self) -> bool {
        self.closing && !self.has_work() && self.said.is_empty()
    }
}

fn result(seq: Seq, dropped_before: u32) -> ResultHeader {
    let timing = Timing::default();
    let (width, height, detections) = (640, 480, Vec::new());
    ResultHeader {
        seq,
        status: Status::Ok,
        width,
        height,
        dropped_before,
        timing,
        processors_us: Vec::new(),
        detections,
    }
}

struct Ran {
    ok: usize,
    skipped: usize,
    oldest: Duration,
}

fn run(seed: u64, takes: Duration) -> Ran {
    let mut lab = Lab::new(seed);
    lab.make_engine = IntakeEngine::boxed;
    lab.engine_takes = takes;
    let mut lab = lab.connect(Weather::default());
    lab.run(RUN);
    lab.close_and_check_books();
    assert_eq!(lab.engines_launched, 1, "seed {seed}");
    let outcomes = || lab.sent.iter().flat_map(|sent| &sent.outcomes).map(String::as_str);
    let other = outcomes().find(|outcome| !matches!(*outcome, "ok" | "skipped(newer)"));
    assert_eq!(other, None, "seed {seed}");
    let count = |name| outcomes().filter(|outcome| *outcome == name).count();
    let (ok, skipped) = (count("ok"), count("skipped(newer)"));
    assert_eq!(ok + skipped, lab.sent.len(), "every frame has its outcome, seed {seed}");
    // No newer frame replaces the last one while it waits.
    let replaceable = lab.sent.iter().rev().skip(1);
    let oldest = replaceable.filter_map(|sent| Some(sent.result_at? - sent.at)).max().unwrap_or_default();
    Ran { ok, skipped, oldest }
}

#[test]
fn slow_processor_gets_newest() {
    for (seed, ms) in [(1, 150), (2, 250), (3, 900)] {
        let takes = Duration::from_millis(ms);
        let ran = run(seed, takes);
        assert!(ran.oldest <= takes + INTERVAL + SLACK, "a result of {takes:?} is {:?} old", ran.oldest);
        // It is never idle either.
        let most = RUN.as_millis() / u128::from(ms);
        assert!(ran.ok as u128 * 10 >= most * 9, "{} of {most} frames in {RUN:?}", ran.ok);
        assert!(ran.skipped > ran.ok, "{} skipped", ran.skipped);
    }
}

#[test]
fn fast_processor_gets_every_frame() {
    let ran = run(4, Duration::from_millis(10));
    assert_eq!(ran.skipped, 0);
    assert!(ran.oldest <= Duration::from_millis(10) + SLACK, "{:?}", ran.oldest);
}
