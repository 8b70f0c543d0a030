//! Processors that were compiled when a version of the interface came out, in this build of the engine. Nobody compiles
//! them again: `testdata/abi-*/README.md` says how they were made.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::Command,
};

use framegate_wire::{
    Detection, FromEngine, NamedValue, ParamKind, ParamValue, ProcessorInfo, ResultHeader, SavedState, Status,
    ToEngine, View,
};

use crate::support::{Engine, Nursery, Unit, clip, mjpeg_mean};

/// New values, if the processor has parameters of these names.
const VALUES: [(&str, &str); 6] = [
    ("on", "false"),
    ("count", "5"),
    ("part", "0.75"),
    ("mode", "\"fast\""),
    ("word", "\"\\\"gr\u{fc}n\\\"\""),
    ("ink", "\"#ff0000\""),
];

/// What the kept processors write into the log, among framegate's own words.
const OWN_LINES: [&str; 3] = ["made", "elsewhere", "not 7"];

/// Folders of kept processors, one for each version of the interface.
fn folders() -> Vec<PathBuf> {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    let entries = std::fs::read_dir(testdata).unwrap().map(|entry| entry.unwrap());
    let is_kept = |name: &str| name.starts_with("abi-");
    let mut found: Vec<_> =
        entries.filter(|entry| is_kept(entry.file_name().to_str().unwrap())).map(|entry| entry.path()).collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

fn libraries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|ending| ending == "so")).collect();
    found.sort();
    found
}

#[test]
fn kept_processors_are_those_of_their_day() {
    for folder in folders() {
        let sums = std::fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
        let listed: Vec<_> = sums.lines().map(|line| folder.join(line.split_once("  ").unwrap().1)).collect();
        assert_eq!(listed, libraries(&folder), "SHA256SUMS of {}", folder.display());
        let mut check = Command::new("sha256sum");
        let output = check.args(["--check", "--strict", "SHA256SUMS"]).current_dir(&folder).output().unwrap();
        assert!(
            output.status.success(),
            "a kept processor is another one now; bring the old one back:\n{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[test]
fn kept_processors_say_what_they_said_then() {
    let mut others = Vec::new();
    for library in folders().iter().flat_map(|folder| libraries(folder)) {
        let told = Play::of(&library);
        let kept = library.with_extension("txt");
        if std::fs::read_to_string(&kept).ok().as_ref() != Some(&told) {
            let name = format!("said-by-{}.txt", library.file_stem().unwrap().to_str().unwrap());
            let now = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
            std::fs::write(&now, told).unwrap();
            others.push(format!("diff {} {}", kept.display(), now.display()));
        }
    }
    assert!(
        others.is_empty(),
        "this build gets other results of processors that it has to run:\n{}",
        others.join("\n")
    );
}

/// One processor through everything a session has, and what it said.
struct Play {
    told: String,
    logs: Vec<String>,
    units: Vec<Unit>,
}

impl Play {
    fn of(library: &Path) -> String {
        let mut play = Self { told: String::new(), logs: Vec::new(), units: clip(64, 48, 6) };
        let mut nursery = Nursery::start(library, &[]);
        let descriptor = &nursery.ready().processors[0];
        let info = nursery.described().unwrap().remove(0);
        assert_eq!(*descriptor, info.descriptor);
        play.describe(&info);
        let mut engine = nursery.fork_ready();
        for seq in 1..=3 {
            play.frame(&mut engine, seq);
        }
        if !info.params.is_empty() {
            play.set(&mut engine, &VALUES);
            play.set(&mut engine, &[("count", "7")]);
        }
        if info.takes_messages {
            play.message(&mut engine, "{\"x\":[1,\"\u{fc}\"]}");
        }
        play.picture(&mut engine, 4);
        if info.has_state {
            let saved = play.state(&mut engine, &info);
            engine = nursery.fork_with(1, &[], &[saved]);
            play.frame(&mut engine, 1);
        }
        let counts = play.close(&mut engine);
        play.say(format_args!("processed {counts}"));
        let logs = std::mem::take(&mut play.logs);
        logs.iter().for_each(|line| play.say(format_args!("log {line}")));
        play.told
    }

    fn say(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.told, "{line}").unwrap();
    }

    /// Waits for what `pick` picks; lines of the log are kept.
    fn until<T>(&mut self, engine: &mut Engine, mut pick: impl FnMut(FromEngine, Vec<u8>) -> Option<T>) -> T {
        loop {
            match engine.hear().expect("the engine ended") {
                (FromEngine::Log { text, .. }, _) => {
                    if OWN_LINES.contains(&text.as_str()) {
                        self.logs.push(text);
                    }
                }
                (message, payload) => {
                    if let Some(picked) = pick(message, payload) {
                        return picked;
                    }
                }
            }
        }
    }

    fn describe(&mut self, info: &ProcessorInfo) {
        let own = &info.descriptor;
        self.say(format_args!(
            "{} {}, level {}, {}: {}",
            own.name, own.version, own.level, own.language, own.description
        ));
        let want = &info.want;
        self.say(format_args!(
            "wants format {} {}x{} at {} mHz, writable {}, state {}, messages {}",
            want.format as u32,
            want.width,
            want.height,
            want.rate_millihertz,
            info.writable,
            info.has_state,
            info.takes_messages
        ));
        for param in &info.params {
            let default = value_text(&param.default);
            self.say(format_args!(
                "{} `{}` `{}` `{}` `{}` {}, {default}",
                param.id,
                param.label,
                param.group,
                param.description,
                param.unit,
                kind_text(&param.kind)
            ));
            assert_eq!(param.value, param.default);
        }
    }

    /// Sends a frame and tells its result.
    fn frame(&mut self, engine: &mut Engine, seq: u64) {
        engine.unit(seq, &self.units[usize::try_from(seq).unwrap() - 1]);
        self.result(engine, seq);
    }

    fn result(&mut self, engine: &mut Engine, seq: u64) {
        let (result, data) = self.until(engine, |message, data| match message {
            FromEngine::Result(result) if result.seq.0 == seq => Some((result, data)),
            _ => None,
        });
        let ResultHeader { status, width, height, detections, .. } = result;
        self.say(format_args!("frame {seq} of {width}x{height} {}", status_text(&status)));
        for Detection { label, score, bbox, track, keypoints, is_outline } in detections {
            self.say(format_args!("  `{label}` {score} {bbox:?} track {track} {keypoints:?} outline {is_outline}"));
        }
        self.say(format_args!("  data {}", String::from_utf8(data).unwrap()));
    }

    fn set(&mut self, engine: &mut Engine, values: &[(&str, &str)]) {
        let values = values.iter().map(|&(id, json)| NamedValue { processor: 0, id: id.into(), json: json.into() });
        engine.say(&ToEngine::SetParams { id: 9, values: values.collect() }, &[]);
        let (values, refused) = self.until(engine, |message, _| match message {
            FromEngine::Params { id: 9, values, refused } => Some((values, refused)),
            _ => None,
        });
        values.iter().for_each(|value| self.say(format_args!("{} is {}", value.id, value.json)));
        refused.iter().for_each(|refused| self.say(format_args!("refused: {}", refused.id)));
    }

    fn message(&mut self, engine: &mut Engine, json: &str) {
        engine.say(&ToEngine::Message { processor: 0 }, json.as_bytes());
        let answer = self.until(engine, |message, payload| match message {
            FromEngine::Message { processor: 0 } => Some(String::from_utf8(payload).unwrap()),
            _ => None,
        });
        self.say(format_args!("message {answer}"));
    }

    /// Asks for the picture of a frame.
    fn picture(&mut self, engine: &mut Engine, seq: u64) {
        engine.say(&ToEngine::Snapshot { id: 5, view: View::Processed }, &[]);
        engine.unit(seq, &self.units[usize::try_from(seq).unwrap() - 1]);
        let (mut jpeg, mut result) = (None, None);
        self.until(engine, |message, payload| {
            match message {
                FromEngine::Snapshot { id: 5, .. } => jpeg = Some(payload),
                FromEngine::Result(header) if header.seq.0 == seq => {
                    result = Some((status_text(&header.status), payload));
                }
                _ => {}
            }
            (jpeg.is_some() && result.is_some()).then_some(())
        });
        let (status, data) = result.unwrap();
        self.say(format_args!("frame {seq} with picture: {status}, data {}", String::from_utf8(data).unwrap()));
        match jpeg.unwrap() {
            nothing if nothing.is_empty() => self.say(format_args!("no picture")),
            jpeg => {
                let (size, [red, green, blue]) = mjpeg_mean(&jpeg);
                // JPEG and its colours are a matter of rounding.
                let is_red = red > 240 && green < 16 && blue < 16;
                self.say(format_args!("picture {}x{}, red {is_red}", size.width, size.height));
            }
        }
    }

    /// Sends frames until the engine keeps a state, and gives one like it that says 41 calls.
    fn state(&mut self, engine: &mut Engine, info: &ProcessorInfo) -> SavedState {
        for seq in 5.. {
            engine.unit(seq, &self.units[4]);
            let saved = self.until(engine, |message, payload| match message {
                FromEngine::State => Some(Some(postcard::from_bytes::<Vec<SavedState>>(&payload).unwrap())),
                FromEngine::Result(result) if result.seq.0 == seq => Some(None),
                _ => None,
            });
            let Some(saved) = saved else { continue };
            let [SavedState { processor, name, version, bytes }] = &saved[..] else { panic!("{saved:?}") };
            assert!(bytes[0] > 0 && *name == info.descriptor.name);
            self.say(format_args!("state of version {version}, {} bytes", bytes.len()));
            // Little end first, as each of them counts.
            let bytes = [&[41], &vec![0; bytes.len() - 1][..]].concat();
            return SavedState { processor: *processor, name: name.clone(), version: *version, bytes };
        }
        unreachable!()
    }

    fn close(&mut self, engine: &mut Engine) -> u64 {
        engine.say(&ToEngine::Close, &[]);
        self.until(engine, |message, _| match message {
            FromEngine::Totals(counts) => Some(counts.ok + counts.error),
            _ => None,
        })
    }
}

/// The outcome with what the processor says about it; framegate's own words may become better ones.
fn status_text(status: &Status) -> String {
    match status {
        Status::Ok => "ok".to_owned(),
        Status::Error { code, text } if text == "tired" => format!("{code}: {text}"),
        Status::Error { code, .. } => code.clone(),
    }
}

fn kind_text(kind: &ParamKind) -> String {
    match kind {
        ParamKind::Bool => "bool".to_owned(),
        ParamKind::Int { range, step } => format!("int {range:?} step {step}"),
        ParamKind::Float { range, step } => format!("float {range:?} step {step}"),
        ParamKind::Choice(choices) => format!("choice {choices:?}"),
        ParamKind::Text { bytes_max } => format!("text of {bytes_max}"),
        ParamKind::Color => "color".to_owned(),
    }
}

fn value_text(value: &ParamValue) -> String {
    match value {
        ParamValue::Bool(value) => value.to_string(),
        ParamValue::Int(value) => value.to_string(),
        ParamValue::Float(value) => value.to_string(),
        ParamValue::Text(value) => value.clone(),
        ParamValue::Color(value) => format!("#{value:06x}"),
    }
}
