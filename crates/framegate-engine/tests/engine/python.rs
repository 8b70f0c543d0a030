//! Processors in Python: real interpreters, the whole sandbox.

mod chained;
mod misfits;
mod sandbox;
mod sharing;
mod support;

use framegate_wire::{FromEngine, LogLevel, NamedValue, ParamValue, SavedState, Seq, Status, ToEngine};
use support::{Python, code_and_text};

use crate::support::{Engine, Unit, clip};

/// A grey picture of luma 16, which is black.
fn black() -> Unit {
    clip(64, 48, 1).remove(0)
}

#[test]
fn results_of_every_kind_arrive() {
    let mut python = Python::of(
        "
        import numpy as np
        @framegate.processor(name='many', version='1.2.3')
        def many(frame):
            'Says many things.'
            return [
                framegate.Result([framegate.Box('a', 0.5, 0.1, 0.2, 0.3, 0.4, track=7, keypoints=[(0.1, 0.2, 0.5)])], {'n': 1}),
                framegate.Box('px', np.float32(1), 16, 12, 32, 24, unit='px'),
                [framegate.Box('b', 1, 0, 0, 1, 1), framegate.Box('c', 1, 0, 0, 1, 1)],
                {'f': np.float32(0.5), 'i': np.int64(3), 'a': np.arange(3), 'b': np.bool_(True), 's': 'grün'},
                None,
                np.float64(2.5),
                [],
            ][frame.seq - 1]
        ",
    );
    assert_eq!(python.loaded.processors[0].version, "1.2.3");
    assert_eq!(python.loaded.processors[0].description, "Says many things.");
    assert_eq!(python.loaded.processors[0].language, "python");
    assert_eq!(python.loaded.tasks, 1);
    let mut engine = python.nursery.fork_ready();
    let units = clip(64, 48, 7);
    let results: Vec<_> = (1..).zip(&units).map(|(seq, unit)| engine.process(seq, unit)).collect();
    assert!(results.iter().all(|(result, _)| result.status == Status::Ok), "{results:?}");
    let found = &results[0].0.detections[0];
    assert_eq!((found.label.as_str(), found.bbox, found.track), ("a", [0.1, 0.2, 0.3, 0.4], 7));
    assert_eq!(found.keypoints, [[0.1, 0.2, 0.5]]);
    assert_eq!(results[1].0.detections[0].bbox, [0.25, 0.25, 0.5, 0.5]);
    assert_eq!(results[2].0.detections.len(), 2);
    let data: Vec<_> = results.iter().map(|(_, data)| data.as_str()).collect();
    assert_eq!(
        data,
        ["{\"n\":1}", "", "", "{\"f\":0.5,\"i\":3,\"a\":[0,1,2],\"b\":true,\"s\":\"grün\"}", "", "2.5", ""]
    );
    assert_eq!(engine.close().ok, 7);
}

#[test]
fn frames_say_what_they_are() {
    let mut python = Python::of(
        "
        @framegate.processor
        def test(frame):
            image = frame.image
            return {'shape': image.shape, 'mean': int(image.mean()), 'writable': bool(image.flags.writeable), 'seq': frame.seq,
                    'rtp': frame.rtp, 'capture': frame.capture_us, 'size': frame.size, 'dropped': frame.dropped_before,
                    'changed': frame.size_changed, 'clock': frame.clock > 0}
        ",
    );
    let mut engine = python.nursery.fork_ready();
    let (_, data) = engine.process(1, &black());
    assert_eq!(
        data,
        "{\"shape\":[48,64,3],\"mean\":0,\"writable\":false,\"seq\":1,\"rtp\":3000,\"capture\":null,\"size\":[64,48],\
         \"dropped\":0,\"changed\":true,\"clock\":true}"
    );
    // Another size needs no other memory.
    let (_, data) = engine.process(2, &clip(642, 480, 1)[0]);
    assert!(data.starts_with("{\"shape\":[480,642,3]") && data.contains("\"changed\":true"), "{data}");
}

#[test]
fn every_format_is_seen_as_it_is() {
    for (format, expected) in [
        ("bgr", "[[48,64,3]]"),
        ("rgb", "[[48,64,3]]"),
        ("bgra", "[[48,64,4]]"),
        ("gray", "[[48,64]]"),
        ("i420", "[[48,64],[24,32],[24,32]]"),
        ("nv12", "[[48,64],[24,32,2]]"),
    ] {
        let mut python = Python::of(&format!(
            "
        @framegate.processor(format='{format}')
        def test(frame):
            return [plane.shape for plane in frame.planes] if frame.seq == 1 else [int(plane.max()) for plane in frame.planes]
            "
        ));
        let mut engine = python.nursery.fork_ready();
        let units = clip(64, 48, 2);
        assert_eq!(engine.process(1, &units[0]).1, expected, "{format}");
        let (_, maxima) = engine.process(2, &units[1]);
        match format {
            "i420" => assert_eq!(maxima, "[17,128,128]"),
            "nv12" => assert_eq!(maxima, "[17,128]"),
            "bgra" => assert_eq!(maxima, "[255]"),
            _ => assert_eq!(maxima, "[1]", "{format}"),
        }
    }
}

const PARAMS: &str = "
        import enum
        from typing import Literal
        class Mode(enum.Enum):
            FAST = 'fast'
            GOOD = 'good'
        @framegate.processor
        def test(
            frame: framegate.Frame,
            threshold: float = framegate.Param(0.5, ge=0, le=1, step=0.01, label='Threshold', group='Find', unit='%'),
            count: int = framegate.Param(3, ge=1, le=9),
            on: bool = True,
            text: str = 'hello',
            mode: Mode = Mode.FAST,
            size: Literal['s', 'm'] = 's',
            colour: framegate.Color = framegate.Color('#ff8000'),
        ):
            return [threshold, count, on, text, mode.name, size, colour.rgb]
        ";

#[test]
fn parameters_of_each_kind_are_described_set_and_refused() {
    let mut python = Python::of(PARAMS);
    let mut engine = python.nursery.fork();
    let infos = engine.until(|message| if let FromEngine::Ready(infos) = message { Some(infos) } else { None });
    let params = &infos[0].params;
    let ids: Vec<_> = params.iter().map(|param| param.id.as_str()).collect();
    assert_eq!(ids, ["threshold", "count", "on", "text", "mode", "size", "colour"]);
    assert_eq!(
        (params[0].label.as_str(), params[0].group.as_str(), params[0].unit.as_str()),
        ("Threshold", "Find", "%")
    );
    assert_eq!(params[6].value, ParamValue::Color(0xff_8000));
    let units = clip(64, 48, 3);
    assert_eq!(engine.process(1, &units[0]).1, "[0.5,3,true,\"hello\",\"FAST\",\"s\",[255,128,0]]");
    let value = |id: &str, json: &str| NamedValue { processor: 0, id: id.into(), json: json.into() };
    let values = vec![
        value("threshold", "0.25"),
        value("count", "4"),
        value("on", "false"),
        value("text", "\"bye\""),
        value("mode", "\"good\""),
        value("size", "\"m\""),
        value("colour", "\"#010203\""),
    ];
    let mut set = |id: u64, values: Vec<NamedValue>| {
        engine.say(&ToEngine::SetParams { id, values }, &[]);
        let answer = |message| if let FromEngine::Params { refused, .. } = message { Some(refused) } else { None };
        engine.until(answer)
    };
    assert_eq!(set(1, values), []);
    let refused =
        set(2, vec![value("threshold", "2"), value("count", "1.5"), value("mode", "\"x\""), value("no", "1")]);
    assert_eq!(refused.len(), 4);
    assert!(refused[0].text.contains("`threshold` is 2; it takes 0 to 1"), "{}", refused[0].text);
    assert_eq!(engine.process(2, &units[1]).1, "[0.25,4,false,\"bye\",\"GOOD\",\"m\",[1,2,3]]");
}

const COUNTER: &str = "
        @framegate.processor(state_version=2)
        class Counter:
            step: int = framegate.Param(1, ge=1, le=100)
            own: int = 5
            def __init__(self, stream):
                self.count = 0
                self.stream = stream
                self.first_step = self.step
            def configure(self, width, height):
                self.size = (width, height)
            def process(self, frame):
                self.count += self.step
                return {'count': self.count, 'size': self.size, 'first': self.first_step, 'stream': self.stream.name}
            def receive(self, message):
                if message == 'bad':
                    raise ValueError('no')
                self.stream.send({'got': message, 'count': self.count})
            def save(self):
                return str(self.count).encode()
            def load(self, state):
                self.count = int(state)
        ";

#[test]
fn classes_keep_state_take_messages_and_know_their_parameters_at_the_start() {
    let mut python = Python::of(COUNTER);
    let param = NamedValue { processor: 0, id: "step".into(), json: "10".into() };
    let mut engine = python.nursery.fork_with(1, std::slice::from_ref(&param), &[]);
    let units = clip(64, 48, 3);
    let (_, data) = engine.process(1, &units[0]);
    assert_eq!(data, "{\"count\":10,\"size\":[64,48],\"first\":10,\"stream\":\"test\"}");
    engine.say(&ToEngine::Message { processor: 0 }, b"{\"hello\":[1]}");
    let ((), message) =
        engine.until_with(|message| matches!(message, FromEngine::Message { processor: 0 }).then_some(()));
    assert_eq!(String::from_utf8_lossy(&message), "{\"got\":{\"hello\":[1]},\"count\":10}");
    engine.say(&ToEngine::Message { processor: 0 }, b"\"bad\"");
    let refused = engine.until(|message| match message {
        FromEngine::Log { level: LogLevel::Warn, text } => Some(text),
        _ => None,
    });
    assert!(refused.contains("ValueError: no (test.py:"), "{refused}");
    engine.process(2, &units[1]);
    // The state is saved about once a second, after a frame.
    let mut seq = 2;
    let state = loop {
        seq += 1;
        engine.unit(seq, &units[2]);
        if let Some(state) = saved(&mut engine, seq) {
            break state;
        }
    };
    let [kept] = state.as_slice() else { panic!("{state:?}") };
    assert_eq!((kept.name.as_str(), kept.version), ("counter", 2));
    engine.kill();
    python.nursery.exited(&engine);
    let mut next = python.nursery.fork_with(1, &[param], &state);
    let (_, data) = next.process(1, &units[0]);
    let count: u64 = String::from_utf8(kept.bytes.clone()).unwrap().parse().unwrap();
    assert!(data.starts_with(&format!("{{\"count\":{},", count + 10)), "{data} after {count}");
}

/// The states that come before the result of frame `seq` does, if any.
fn saved(engine: &mut Engine, seq: u64) -> Option<Vec<SavedState>> {
    loop {
        match engine.hear().expect("the engine ended") {
            (FromEngine::State, payload) => return Some(postcard::from_bytes(&payload).unwrap()),
            (FromEngine::Result(result), _) if result.seq == Seq(seq) => return None,
            _ => {}
        }
    }
}

#[test]
fn a_state_of_another_version_is_left_with_a_warning() {
    let mut python = Python::of(COUNTER);
    let state = SavedState { processor: 0, name: "counter".into(), version: 1, bytes: b"9".to_vec() };
    let mut engine = python.nursery.fork_with(1, &[], &[state]);
    let warned = engine.until(|message| match message {
        FromEngine::Log { level: LogLevel::Warn, text } => Some(text),
        _ => None,
    });
    assert!(warned.contains("the state has version 1, the processor's is 2"), "{warned}");
    assert!(engine.process(1, &black()).1.starts_with("{\"count\":1,"));
}

#[test]
fn frames_are_read_only_unless_writing_was_asked_for() {
    let body = "
            frame.image[0, 0] = 255
            return {'ok': int(frame.image[0, 0, 0])}
        ";
    let mut python = Python::of(&format!("\n        @framegate.processor\n        def test(frame):{body}"));
    let mut engine = python.nursery.fork_ready();
    let (code, text) = code_and_text(engine.process(1, &black()).0.status);
    assert_eq!(code, "exception");
    assert!(text.contains("ValueError: assignment destination is read-only (test.py:"), "{text}");
    let mut python =
        Python::of(&format!("\n        @framegate.processor(writable=True)\n        def test(frame):{body}"));
    let mut engine = python.nursery.fork_ready();
    assert_eq!(engine.process(1, &black()).1, "{\"ok\":255}");
}

#[test]
fn log_lines_have_levels_and_randomness_a_seed() {
    let source = "
        @framegate.processor
        def test(frame):
            framegate.log.warn('careful\\nplease')
            return [int(framegate.random().integers(1000)), int(framegate.random().integers(1000))]
        ";
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut python = Python::of(source);
        let mut engine = python.nursery.fork_ready();
        engine.unit(1, &black());
        for expected in ["careful", "please"] {
            let line = engine.until(|message| match message {
                FromEngine::Log { level: LogLevel::Warn, text } => Some(text),
                _ => None,
            });
            assert_eq!(line, expected);
        }
        seen.push(engine.result().1);
    }
    assert_eq!(seen[0], seen[1], "the same seed");
}
