//! GStreamer's elements as processors, inside the whole sandbox.

use std::path::Path;

use framegate_wire::{ExitKind, FromEngine, PipelineSpec, ProcessorSpec, Source, Status};
use serde_json::Value;

use crate::support::{Engine, Folder, Nursery, Unit, clip, level_1, pipeline};

/// A pipeline of these elements.
fn elements(text: &str) -> PipelineSpec {
    let source = Source::GStreamer(text.to_owned());
    PipelineSpec {
        processors: vec![ProcessorSpec { source, params: Default::default() }],
        ..pipeline(Path::new("/none.so"))
    }
}

/// The elements, and then a processor of level 1 made from C.
fn elements_then(text: &str, folder: &Folder, source: &str) -> PipelineSpec {
    let mut spec = elements(text);
    spec.processors.extend(pipeline(&folder.compile("after", source, &[])).processors);
    spec
}

fn start(spec: &PipelineSpec) -> (Nursery, Engine) {
    let mut nursery = Nursery::start_pipeline(spec, &[]);
    let loaded = nursery.ready();
    assert_eq!(loaded.processors[0].language, "gstreamer");
    assert_eq!(loaded.tasks, 1, "its threads begin in the engine");
    let engine = nursery.fork_ready();
    (nursery, engine)
}

/// What the engine says of the pipeline when it cannot be made.
fn refusal(text: &str) -> String {
    let mut nursery = Nursery::start_pipeline(&elements(text), &[]);
    nursery.ready();
    let mut engine = nursery.fork();
    loop {
        if let (FromEngine::Fault { text }, _) = engine.hear().expect("a fault") {
            return text;
        }
    }
}

/// The error of the frames that come.
fn error_of(text: &str, count: u8) -> String {
    let (_nursery, mut engine) = start(&elements(text));
    let mut last = String::new();
    for (seq, unit) in (1..).zip(clip(64, 64, count)) {
        if let Status::Error { text, .. } = engine.process(seq, &unit).0.status {
            last = text;
        }
    }
    engine.close();
    last
}

/// Sizes of the first column and of the last one, as a processor behind the elements sees them.
const COLUMNS: &str = "const fg_plane *p = frame->planes; long first = 0, last = 0;
    for (uint32_t y = 0; y < frame->height; y++) { const uint8_t *row = p->data + y * p->stride_bytes;
        first += row[0]; last += row[(frame->width - 1) * 3]; }
    return fg_data_printf(out, \"[%ld,%ld]\", first / frame->height, last / frame->height);";

/// A picture that is darker to the left.
fn slope() -> Unit {
    use framegate_codec::{EncodeFormat, Encoder, EncoderSettings, I420Image, Keyframe, Range};
    let size = framegate_wire::PictureSize { width: 64, height: 64 };
    let settings = EncoderSettings {
        format: EncodeFormat::Vp8,
        size,
        range: Range::Limited,
        rate_hz: 30,
        kbit: 4000,
        key_interval: 1000,
    };
    let mut image = I420Image::new(size).unwrap();
    image.rows_mut(0).for_each(|row| (0..).zip(row).for_each(|(x, luma)| *luma = 16 + 3 * x));
    (1..3).for_each(|plane| image.rows_mut(plane).for_each(|row| row.fill(128)));
    let mut encoder = Encoder::new(&settings).unwrap();
    let encoded = encoder.encode(&image.picture(), Keyframe::Now).unwrap().unwrap();
    Unit { data: encoded.data.to_vec(), keyframe: true }
}

#[test]
fn the_picture_comes_back_into_the_frame() {
    let folder = Folder::new();
    let columns = |text: &str| -> [i64; 2] {
        let (mut nursery, mut engine) = start(&elements_then(text, &folder, &level_1("", COLUMNS)));
        let (result, data) = engine.process(1, &slope());
        assert_eq!(result.status, Status::Ok);
        engine.close();
        assert_eq!(nursery.exited(&engine).0, ExitKind::Code(0));
        let data: Value = serde_json::from_str(&data).unwrap();
        serde_json::from_value(data["test"].clone()).unwrap()
    };
    let [dark, bright] = columns("identity");
    assert!(dark < 20 && bright > 180, "{dark} {bright}");
    assert_eq!(columns("videoflip video-direction=horiz"), [bright, dark]);
    let [left, right] = columns("videoflip video-direction=horiz ! videobalance brightness=-1");
    assert!(left < 100 && right < 20, "{left} {right}");
    // Another size is shown, but cannot come back.
    assert_eq!(columns("videoscale ! video/x-raw,width=32,height=32"), [dark, bright]);
}

#[test]
fn elements_with_plugins_threads_and_compiled_code_work_in_the_sandbox() {
    for text in [
        "videoflip video-direction=horiz ! edgetv",
        "queue ! agingtv ! queue",
        "videoscale ! video/x-raw,width=320 ! videoscale ! video/x-raw,width=64,height=64",
        "gamma gamma=2.0 ! videobox border-alpha=0 left=-4 right=-4 ! videoscale ! video/x-raw,width=64,height=64",
        "vp8enc deadline=1 ! vp8dec",
        "jpegenc ! jpegdec",
        "tee name=t ! queue ! fakesink t. ! queue ! coloreffects preset=heat",
        "videocrop left=8 ! videoconvert ! dilate ! videoconvert ! solarize",
    ] {
        let (mut nursery, mut engine) = start(&elements(text));
        for (seq, unit) in (1..).zip(clip(64, 64, 3)) {
            assert_eq!(engine.process(seq, &unit).0.status, Status::Ok, "{text}");
        }
        engine.close();
        assert_eq!(nursery.exited(&engine).0, ExitKind::Code(0), "{text}");
    }
}

#[test]
fn what_elements_say_is_data_of_the_frame() {
    let (_nursery, mut engine) = start(&elements("videoanalyse name=look"));
    for (seq, unit) in (1..).zip(clip(64, 64, 3)) {
        let (result, data) = engine.process(seq, &unit);
        assert_eq!(result.status, Status::Ok);
        let data: Value = serde_json::from_str(&data).unwrap();
        let [message] = data["messages"].as_array().unwrap().as_slice() else { panic!("{data}") };
        assert_eq!((&message["element"], &message["name"]), (&"look".into(), &"GstVideoAnalyse".into()));
        assert!(message["fields"]["luma-average"].as_f64().is_some(), "{data}");
    }
}

#[test]
fn a_text_that_is_wrong_says_so_in_gstreamers_words() {
    let check = |text: &str, expected: &[&str]| {
        let said = refusal(text);
        for part in expected.iter().chain(&["`gstreamer`"]) {
            assert!(said.contains(part), "{text}: {said}");
        }
    };
    check("nosuchelement ! edgetv", &["no element \"nosuchelement\"", "gstreamer1.0-plugins-good"]);
    check("videoflip method=sideways", &["could not set property \"method\"", "sideways"]);
    check("videoflip !", &["syntax error"]);
    check("fakesink", &["could not link fakesink0"]);
    check("audioresample", &["could not link"]);
}

#[test]
fn a_pipeline_that_fails_says_which_element_and_begins_again() {
    let (_nursery, mut engine) = start(&elements("identity name=trouble error-after=2"));
    let status: Vec<Status> =
        (1..).zip(clip(64, 64, 3)).map(|(seq, unit)| engine.process(seq, &unit).0.status).collect();
    assert_eq!((&status[0], &status[2]), (&Status::Ok, &Status::Ok));
    let Status::Error { code, text } = &status[1] else { panic!("{:?}", status[1]) };
    assert!(text.starts_with("trouble: Failed after iterations as requested"), "{code} {text}");
    assert!(text.contains("gstidentity.c"), "what GStreamer says of the place is kept: {text}");
}

#[test]
fn elements_that_keep_or_drop_frames_are_errors_and_no_hang() {
    let text = error_of("valve drop=true", 2);
    assert!(text.contains("no picture for this frame within 500 ms") && text.contains("hold frames back"), "{text}");
    // A picture of another moment is not this frame's.
    let text = error_of("identity datarate=1000", 2);
    assert!(text.contains("no picture for this frame") && text.contains("another time"), "{text}");
    let text = error_of("identity eos-after=1", 2);
    assert!(text.contains("has ended its stream"), "{text}");
}

#[test]
fn elements_may_not_do_what_processors_may_not() {
    let (folder, secret) = (Folder::new(), Folder::new());
    std::fs::write(secret.0.join("key.png"), b"secret").unwrap();
    let (out, key) = (folder.0.join("out.raw"), secret.0.join("key.png"));
    for (text, expected) in [
        (format!("tee name=t ! filesink async=false location={} t. ! queue", out.display()), "writing"),
        (format!("tee name=t ! multifilesink async=false location={} t. ! queue", out.display()), "file"),
        ("tee name=t ! queue ! jpegenc ! udpsink async=false host=127.0.0.1 port=9 t. ! queue".to_owned(), "socket"),
        (format!("queue name=q filesrc location={} ! fakesink q.", key.display()), "reading"),
        ("queue name=q filesrc location=/etc/passwd ! fakesink q.".to_owned(), "reading"),
        ("tee name=t ! shmsink async=false socket-path=/tmp/framegate-test t. ! queue".to_owned(), "socket"),
    ] {
        let said = error_of(&text, 1);
        assert!(said.contains(expected), "{text}: {said}");
    }
    assert!(!out.exists());
}

#[test]
fn a_granted_file_can_be_read() {
    let granted = Folder::new();
    std::fs::write(granted.0.join("data.bin"), b"weights").unwrap();
    let text = format!("queue name=q filesrc location={} ! fakesink q.", granted.0.join("data.bin").display());
    // Its end is the end of that branch only.
    let (_nursery, mut engine) = start(&PipelineSpec { readable: vec![granted.0.clone()], ..elements(&text) });
    for (seq, unit) in (1..).zip(clip(64, 64, 2)) {
        assert_eq!(engine.process(seq, &unit).0.status, Status::Ok);
    }
}

#[test]
fn each_size_gets_a_pipeline_of_its_own() {
    let folder = Folder::new();
    let size = level_1("", "return fg_data_printf(out, \"%u\", frame->width);");
    let (_nursery, mut engine) = start(&elements_then("videoflip video-direction=vert", &folder, &size));
    for (seq, width) in [(1, 64), (2, 128), (3, 66), (4, 64)] {
        let (result, data) = engine.process(seq, &clip(width, 64, 1)[0]);
        let data: Value = serde_json::from_str(&data).unwrap();
        assert_eq!((result.status, &data["test"]), (Status::Ok, &width.into()));
    }
}

#[test]
fn only_who_runs_framegate_says_what_the_pipeline_is() {
    let (_nursery, mut engine) = start(&elements("identity"));
    let value = framegate_wire::NamedValue { processor: 0, id: "pipeline".into(), json: "\"edgetv\"".into() };
    engine.say(&framegate_wire::ToEngine::SetParams { id: 1, values: vec![value] }, &[]);
    let refused =
        engine.until(|message| if let FromEngine::Params { refused, .. } = message { Some(refused) } else { None });
    assert!(refused[0].text.contains("set already"), "{}", refused[0].text);
    assert_eq!(engine.process(1, &slope()).0.status, Status::Ok);
}

#[test]
fn an_engine_full_of_gstreamer_can_be_killed() {
    let (mut nursery, mut engine) = start(&elements("queue ! edgetv ! queue ! identity sleep-time=100000"));
    engine.unit(1, &slope());
    engine.kill();
    assert_eq!(nursery.exited(&engine).0, ExitKind::Signal(libc::SIGKILL));
    let mut next = nursery.fork_ready();
    assert_eq!(next.process(1, &slope()).0.status, Status::Ok);
}
