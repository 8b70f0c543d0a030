//! Stand-ins for an engine. The one here answers each unit after a fixed time and checks what a decoder would need.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use framegate_core::Now;
use framegate_wire::{
    Counts, Descriptor, FromEngine, NamedValue, Outcome, Param, ParamKind, ParamValue, ProcessorInfo, ResultHeader,
    SavedState, Status, Timing, ToEngine, Want, frame,
};

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
    /// Value of its one parameter, as JSON.
    threshold: String,
    /// Frames its processor has seen, over all engines: its state.
    seen: u64,
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
            threshold: "0.5".to_owned(),
            seen: 0,
        }
    }

    fn open(&mut self, now: Now, params: Vec<NamedValue>, state: &[u8]) {
        for value in params {
            assert_eq!((value.processor, value.id.as_str()), (0, "threshold"));
            self.threshold = value.json;
        }
        if !state.is_empty() {
            let saved: Vec<SavedState> = postcard::from_bytes(state).unwrap();
            assert_eq!((saved[0].name.as_str(), saved[0].version), ("fake", 1));
            self.seen = u64::from_le_bytes(saved[0].bytes.as_slice().try_into().unwrap());
        }
        self.answer(now.instant, &FromEngine::Ready(vec![info(&self.threshold)]), &[]);
    }

    fn save(&mut self) {
        let bytes = self.seen.to_le_bytes().to_vec();
        let saved = vec![SavedState { processor: 0, name: "fake".to_owned(), version: 1, bytes }];
        let payload = postcard::to_stdvec(&saved).unwrap();
        self.answer(self.busy_until, &FromEngine::State, &payload);
    }

    /// Takes values from 0 to 1 and refuses others, as an engine does.
    fn set(&mut self, now: Now, id: u64, wished: Vec<NamedValue>) {
        let (values, others): (Vec<_>, Vec<_>) =
            wished.into_iter().partition(|value| value.json.parse::<f64>().is_ok_and(|number| number <= 1.0));
        if let Some(value) = values.last() {
            self.threshold.clone_from(&value.json);
        }
        let refused = others.into_iter().map(|value| framegate_wire::RefusedValue {
            processor: 0,
            text: format!("`{}` is {}; it takes 0 to 1", value.id, value.json),
            id: value.id,
        });
        let answer = FromEngine::Params { id, values, refused: refused.collect() };
        self.answer(now.instant, &answer, &[]);
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
                ToEngine::Open(open) => self.open(now, open.params, &payload),
                ToEngine::SetParams { id, values } => self.set(now, id, values),
                ToEngine::Message { processor } => {
                    self.answer(now.instant, &FromEngine::Message { processor }, &payload);
                }
                ToEngine::Unit(header) => {
                    let picture = camera::number(&payload);
                    let follows = self.last_picture.is_some_and(|last| picture == last + 1);
                    assert!(header.keyframe || follows, "{picture} after {:?} cannot be decoded", self.last_picture);
                    self.last_picture = Some(picture);
                    self.busy_until = self.busy_until.max(now.instant) + self.takes;
                    self.counts.add(Outcome::Ok);
                    self.seen += 1;
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
                    let (seen, threshold) = (self.seen, &self.threshold);
                    let data = format!(r#"{{"number":{picture},"seen":{seen},"threshold":{threshold}}}"#);
                    self.answer(self.busy_until, &FromEngine::Result(result), data.as_bytes());
                    self.save();
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

fn info(threshold: &str) -> ProcessorInfo {
    let text = String::new;
    let descriptor =
        Descriptor { name: "fake".to_owned(), version: text(), description: text(), language: text(), level: 2 };
    let threshold = Param {
        id: "threshold".to_owned(),
        label: text(),
        group: text(),
        description: text(),
        unit: text(),
        kind: ParamKind::Float { range: Some((0.0, 1.0)), step: 0.0 },
        value: ParamValue::Float(threshold.parse().unwrap()),
        default: ParamValue::Float(0.5),
    };
    let want = Want::default();
    ProcessorInfo { descriptor, params: vec![threshold], want, writable: false, has_state: true, takes_messages: true }
}
