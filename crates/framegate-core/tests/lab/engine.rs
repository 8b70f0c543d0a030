//! Stand-ins for an engine. The one here answers each unit after a fixed time and checks what a decoder would need.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use framegate_core::Now;
use framegate_wire::{Counts, FromEngine, Outcome, ResultHeader, Status, Timing, ToEngine, frame};

use super::camera;

/// An engine in simulated time.
pub(crate) trait LabEngine {
    fn id(&self) -> u64;

    /// Takes bytes the session wrote.
    fn read(&mut self, now: Now, bytes: &[u8]);

    /// When it will have something to say.
    fn next_at(&self) -> Option<Instant>;

    /// The next bytes for the session, if they are due.
    fn says(&mut self, now: Now) -> Option<Vec<u8>>;

    /// Whether it was asked to end and has.
    fn has_ended(&self) -> bool;
}

#[derive(Debug)]
pub(crate) struct FakeEngine {
    id: u64,
    takes: Duration,
    reader: frame::Reader,
    answers: VecDeque<(Instant, Vec<u8>)>,
    busy_until: Instant,
    last_picture: Option<u32>,
    counts: Counts,
    closing: bool,
}

impl FakeEngine {
    pub(crate) fn new(id: u64, takes: Duration, now: Now) -> Self {
        Self {
            id,
            takes,
            reader: frame::Reader::default(),
            answers: VecDeque::new(),
            busy_until: now.instant,
            last_picture: None,
            counts: Counts::default(),
            closing: false,
        }
    }

    fn answer(&mut self, at: Instant, message: &FromEngine, payload: &[u8]) {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, message, payload).unwrap();
        self.answers.push_back((at, bytes));
    }
}

impl LabEngine for FakeEngine {
    fn id(&self) -> u64 {
        self.id
    }

    fn read(&mut self, now: Now, bytes: &[u8]) {
        self.reader.extend(bytes);
        let mut messages = Vec::new();
        while let Some((message, payload)) = self.reader.next_message::<ToEngine>().unwrap() {
            messages.push((message, payload.to_vec()));
        }
        for (message, payload) in messages {
            match message {
                ToEngine::Open(_) => self.answer(now.instant, &FromEngine::Ready(Vec::new()), &[]),
                ToEngine::Unit(header) => {
                    let picture = camera::number(&payload);
                    let follows = self.last_picture.is_some_and(|last| picture == last + 1);
                    assert!(header.keyframe || follows, "{picture} after {:?} cannot be decoded", self.last_picture);
                    self.last_picture = Some(picture);
                    self.busy_until = self.busy_until.max(now.instant) + self.takes;
                    self.counts.add(Outcome::Ok);
                    let result = ResultHeader {
                        seq: header.seq,
                        status: Status::Ok,
                        width: 640,
                        height: 480,
                        dropped_before: 0,
                        timing: Timing::default(),
                        processors_us: Vec::new(),
                        detections: Vec::new(),
                    };
                    let data = format!(r#"{{"number":{picture}}}"#);
                    self.answer(self.busy_until, &FromEngine::Result(result), data.as_bytes());
                }
                ToEngine::Close => {
                    self.answer(self.busy_until, &FromEngine::Totals(self.counts), &[]);
                    self.closing = true;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn next_at(&self) -> Option<Instant> {
        self.answers.front().map(|answer| answer.0)
    }

    fn says(&mut self, now: Now) -> Option<Vec<u8>> {
        self.answers.front().filter(|answer| answer.0 <= now.instant)?;
        self.answers.pop_front().map(|answer| answer.1)
    }

    fn has_ended(&self) -> bool {
        self.closing && self.answers.is_empty()
    }
}
