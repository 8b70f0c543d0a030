//! Clips through pipelines without a gateway.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use framegate_codec::ivf::{IvfHeader, IvfUnit, write_unit};
use framegate_codec::{Media, MediaStep};
use framegate_wire::{
    ExitKind, FromEngine, FromOffline, OfflineFailure, PictureSize, ResultHeader, SandboxMode, Seq, Status, Timing,
    frame::Reader,
    limits::{AREA_MAX, PAYLOAD_BYTES_MAX},
};

use crate::support::{Folder, Nursery, PRELUDE, Unit, clip, level_1, pipeline};

/// A processor whose data depends on every byte of its frame.
const SUMS: &str = "uint64_t sum = 0; \
    for (uint32_t y = 0; y < frame->height; y++) \
        for (uint32_t x = 0; x < frame->width * 3; x++) \
            sum = sum * 31 + frame->planes[0].data[y * frame->planes[0].stride_bytes + x]; \
    fg_detect(out, \"sum\", 0.5f, 0.25f, 0.25f, 0.5f, 0.5f); \
    return fg_data_printf(out, \"{\\\"seq\\\":%llu,\\\"sum\\\":%llu,\\\"flags\\\":%u,\\\"size\\\":[%u,%u]}\", \
        (unsigned long long)frame->seq, (unsigned long long)(sum >> 12), frame->flags, frame->width, frame->height);";

/// Writes units as a clip, 30 a second.
fn write_clip(folder: &Folder, units: &[Unit], width: u32, height: u32) -> PathBuf {
    let unit_count = u32::try_from(units.len()).unwrap();
    let mut bytes = IvfHeader { size: PictureSize { width, height }, rate_hz: 30, unit_count }.to_bytes().to_vec();
    for (pts, unit) in units.iter().enumerate() {
        write_unit(&mut bytes, &IvfUnit { pts: pts as u64, data: &unit.data }).unwrap();
    }
    let path = folder.0.join("clip.ivf");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// What an offline run said, and whether it went through.
fn offline(
    library: &Path,
    sandbox: SandboxMode,
    arguments: &[&str],
    clip: &Path,
) -> (Vec<(FromOffline, Vec<u8>)>, bool) {
    let mut pipeline = pipeline(library);
    pipeline.sandbox = sandbox;
    let output = Command::new(env!("CARGO_BIN_EXE_framegate-engine"))
        .args(["offline", "--pipeline", &serde_json::to_string(&pipeline).unwrap()])
        .args(arguments)
        .arg(clip)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut reader = Reader::default();
    let mut heard = Vec::new();
    for chunk in output.stdout.chunks(PAYLOAD_BYTES_MAX) {
        reader.extend(chunk);
        while let Some((message, payload)) = reader.next_message::<FromOffline>().unwrap() {
            heard.push((message, payload.to_vec()));
        }
    }
    (heard, output.status.success())
}

fn results(heard: &[(FromOffline, Vec<u8>)]) -> Vec<(ResultHeader, String)> {
    let result = |(message, payload): &(FromOffline, Vec<u8>)| match message {
        FromOffline::Engine(FromEngine::Result(result)) => {
            Some((result.clone(), String::from_utf8(payload.clone()).unwrap()))
        }
        _ => None,
    };
    heard.iter().filter_map(result).collect()
}

fn findings(heard: &[(FromOffline, Vec<u8>)]) -> Vec<String> {
    let text = |(message, _): &(FromOffline, Vec<u8>)| match message {
        FromOffline::Finding { text } => Some(text.clone()),
        _ => None,
    };
    heard.iter().filter_map(text).collect()
}

fn without_time((mut header, data): (ResultHeader, String)) -> (ResultHeader, String) {
    header.timing = Timing::default();
    (header, data)
}

#[test]
fn results_are_those_of_a_live_stream() {
    let (mut nursery, folder) = Nursery::of(&level_1("", SUMS));
    let units = clip(321, 241, 30);
    let mut engine = nursery.fork_ready();
    let live: Vec<_> = (1..).zip(&units).map(|(seq, unit)| without_time(engine.process(seq, unit))).collect();
    let path = write_clip(&folder, &units, 321, 241);
    for sandbox in [SandboxMode::Enforce, SandboxMode::Audit] {
        let (heard, is_through) = offline(&folder.0.join("test.so"), sandbox, &[], &path);
        assert!(is_through, "{heard:?}");
        let offline: Vec<_> = results(&heard).into_iter().map(without_time).collect();
        assert_eq!(offline, live);
        assert_eq!(findings(&heard), Vec::<String>::new(), "a processor that only reads its frame needs nothing else");
        let times: Vec<_> = heard
            .iter()
            .filter_map(|(message, _)| match message {
                FromOffline::Frame { seq, rtp_time } => Some((seq.0, *rtp_time)),
                _ => None,
            })
            .collect();
        assert_eq!(times, (0..30).map(|n| (n + 1, n * 3000)).collect::<Vec<_>>());
        assert_eq!(heard.first().map(|(first, _)| first), Some(&FromOffline::Began { frames: Some(30) }));
        assert_eq!(heard.last().map(|(last, _)| last), Some(&FromOffline::Ended));
    }
}

#[test]
fn a_crash_ends_the_run_after_all_earlier_results() {
    let folder = Folder::new();
    let crash = "__attribute__((noinline)) void fall(void) { volatile int *volatile nowhere = 0; *nowhere = 1; }";
    let body = "if (frame->seq == 7) fall(); return FG_OK;";
    let library = folder.compile("test", &level_1(crash, body), &[]);
    let path = write_clip(&folder, &clip(64, 48, 10), 64, 48);
    for sandbox in [SandboxMode::Enforce, SandboxMode::Audit] {
        let (heard, is_through) = offline(&library, sandbox, &[], &path);
        assert!(!is_through);
        assert_eq!(results(&heard).len(), 6);
        let Some((FromOffline::Crashed { seq, kind, fault }, _)) = heard.last() else { panic!("{heard:?}") };
        assert_eq!((*seq, *kind), (Some(Seq(7)), ExitKind::Signal(libc::SIGSEGV)));
        assert_eq!(fault.as_ref().and_then(|fault| fault.function.as_deref()), Some("fall"));
    }
}

#[test]
fn an_audit_says_what_serve_would_refuse_and_lets_it_pass() {
    let folder = Folder::new();
    let written = folder.0.join("written");
    let globals = format!(
        "#include <fcntl.h>\n#include <unistd.h>\n#include <sys/socket.h>\n\
         static int loaded;\n\
         __attribute__((constructor)) static void load(void) {{ loaded = open(\"/etc/hostname\", O_RDONLY) >= 0; }}\n\
         #define WRITTEN \"{}\"\n",
        written.display()
    );
    let body = "int passwd = open(\"/etc/passwd\", O_RDONLY), net = socket(AF_INET, SOCK_STREAM, 0), \
         file = open(WRITTEN, O_CREAT | O_WRONLY, 0600), own = open(\"/proc/self/status\", O_RDONLY), none = open(\"/none\", O_RDONLY); \
         int said = fg_data_printf(out, \"[%d,%d,%d,%d,%d,%d]\", loaded, passwd >= 0, net >= 0, file >= 0, own >= 0, none >= 0); \
         close(passwd); close(net); close(file); close(own); return said;";
    let library = folder.compile("test", &level_1(&globals, body), &[]);
    let path = write_clip(&folder, &clip(64, 48, 5), 64, 48);
    let (heard, is_through) = offline(&library, SandboxMode::Enforce, &[], &path);
    assert!(is_through);
    assert!(results(&heard).iter().all(|(_, data)| data == "[0,0,0,0,1,0]"), "{heard:?}");
    assert!(findings(&heard).is_empty() && !written.exists());
    let (heard, is_through) = offline(&library, SandboxMode::Audit, &[], &path);
    assert!(is_through);
    assert!(results(&heard).iter().all(|(_, data)| data == "[1,1,1,1,1,0]"), "{heard:?}");
    assert!(written.exists());
    let expected = [
        "serve would refuse: reading /etc/hostname · to allow: readable = [\"/etc/hostname\"] in [[pipelines]]"
            .to_owned(),
        "serve would refuse: reading /etc/passwd · to allow: readable = [\"/etc/passwd\"] in [[pipelines]]".to_owned(),
        "serve would refuse: network (socket AF_INET) · no configuration allows it".to_owned(),
        format!("serve would refuse: writing {} · no configuration allows it", written.display()),
    ];
    assert_eq!(findings(&heard), expected, "each once, in the order of the first time");
}

/// A processor with a number and a text, which says what they are.
const PARAMS: &str = r#"
static const fg_param params[2] = {
    {"threshold", 0, 0, 0, 0, 0, 0, FG_PARAM_FLOAT, 0, 1, 0, 0.5, 0},
    {"word", 0, 0, 0, 0, 0, 0, FG_PARAM_TEXT, 0, 0, 0, 0, "none"},
};
static double threshold = 0.5;
static char word[300] = "none";
static int32_t set(fg_processor *self, uint32_t index, const fg_param_value *value) {
    (void)self;
    if (index == 0) threshold = value->number;
    else snprintf(word, sizeof word, "%s", value->text);
    return FG_OK;
}
static const fg_params extension = {sizeof(fg_params), 2, params, set};
static const fg_host *host;
static const void *get(fg_processor *self, const char *id) {
    (void)self;
    for (int i = 0; id[i] == FG_EXT_PARAMS[i]; i++) if (!id[i]) return &extension;
    return 0;
}
static int32_t process(fg_processor *self, const fg_frame *frame, const fg_out *out) {
    (void)self; (void)frame;
    const fg_host_clock *clock = host->get_extension(host, FG_EXT_CLOCK);
    return fg_data_printf(out, "[%g,\"%s\",%lld]", threshold, word, (long long)clock->now_ns(host));
}
static void destroy(fg_processor *self) { (void)self; }
static int32_t create(const fg_host *given, fg_processor **made) {
    static fg_processor one = {sizeof(fg_processor), 0, 0, 0, process, destroy, get};
    host = given;
    *made = &one;
    return FG_OK;
}
FG_ENTRY("test", "1.0.0", "A test.", create)
"#;

#[test]
fn parameters_are_set_and_time_is_the_clips() {
    let folder = Folder::new();
    let library = folder.compile("test", &format!("{PRELUDE}{PARAMS}"), &[]);
    let path = write_clip(&folder, &clip(64, 48, 3), 64, 48);
    let data = |arguments: &[&str]| {
        let (heard, is_through) = offline(&library, SandboxMode::Enforce, arguments, &path);
        assert!(is_through, "{heard:?}");
        results(&heard).into_iter().map(|(_, data)| data).collect::<Vec<_>>()
    };
    assert_eq!(data(&[]), ["[0.5,\"none\",0]", "[0.5,\"none\",33333333]", "[0.5,\"none\",66666666]"]);
    // A number is a text where a text is wanted.
    assert_eq!(data(&["--set", "threshold=0.25", "--set", "test.word=7"])[0], "[0.25,\"7\",0]");
    assert_eq!(data(&["--set", "word=\"a b\""])[0], "[0.5,\"a b\",0]");
    for (set, expected) in [
        ("threshold=2", "`threshold` is 2; it takes 0 to 1"),
        ("size=2", "there is no parameter size; there are test.threshold, test.word"),
        ("other.word=2", "there is no parameter other.word; there are none"),
        ("threshold", "expected ID=VALUE"),
    ] {
        let (heard, is_through) = offline(&library, SandboxMode::Enforce, &["--set", set], &path);
        let Some((FromOffline::Failed { kind: OfflineFailure::Usage, text }, _)) = heard.last() else {
            panic!("{set}: {heard:?}")
        };
        assert!(!is_through && text.contains(expected), "{set}: {text}");
    }
}

#[test]
fn a_video_shows_what_was_found() {
    let folder = Folder::new();
    let library = folder.compile("test", &level_1("", SUMS), &[]);
    let path = write_clip(&folder, &clip(320, 240, 12), 320, 240);
    for name in ["out.mp4", "out.webm"] {
        let video = folder.0.join(name);
        let (heard, is_through) = offline(&library, SandboxMode::Enforce, &["--video", video.to_str().unwrap()], &path);
        assert!(is_through, "{heard:?}");
        let mut media = Media::open(File::open(&video).unwrap(), AREA_MAX).unwrap();
        let mut count = 0;
        while let Some(MediaStep::Picture { picture, .. }) = media.next_step().unwrap() {
            let luma = |x: usize, y: usize| picture.planes[0].data[y * picture.planes[0].stride + x];
            // Grey of 16 to 27, but for the box from a quarter to three quarters.
            assert!(luma(40, 200) < 45 && luma(160, 120) < 45, "{name} frame {count}");
            assert!(luma(80, 150) > 60 && luma(160, 178) > 60, "{name} frame {count}: {}", luma(80, 150));
            count += 1;
        }
        assert_eq!(count, 12);
    }
    let (heard, _) = offline(&library, SandboxMode::Enforce, &["--video", "out.gif"], &path);
    assert!(matches!(heard.last(), Some((FromOffline::Failed { kind: OfflineFailure::Usage, .. }, _))), "{heard:?}");
}

#[test]
fn frames_a_processor_did_not_want_are_skipped_by_the_clips_time() {
    let folder = Folder::new();
    let rate = "static int32_t create(const fg_host *host, fg_processor **made);\n";
    let source = format!(
        "{PRELUDE}{rate}static int32_t process(fg_processor *self, const fg_frame *frame, const fg_out *out) {{ (void)self; (void)frame; (void)out; return FG_OK; }}\n\
         static void destroy(fg_processor *self) {{ (void)self; }}\n\
         static int32_t create(const fg_host *host, fg_processor **made) {{\n\
         static fg_processor one = {{sizeof(fg_processor), 0, 0, 0, process, destroy, 0}};\n\
         const fg_host_want *want = host->get_extension(host, FG_EXT_WANT);\n\
         fg_want ten = {{sizeof ten, 0, 0, 0, 0, 10000}};\n\
         *made = &one; return want->set(host, &ten); }}\n\
         FG_ENTRY(\"test\", \"1.0.0\", \"A test.\", create)\n"
    );
    let library = folder.compile("test", &source, &[]);
    let path = write_clip(&folder, &clip(64, 48, 30), 64, 48);
    let (heard, is_through) = offline(&library, SandboxMode::Enforce, &[], &path);
    assert!(is_through);
    let seqs: Vec<u64> = results(&heard).iter().map(|(result, _)| result.seq.0).collect();
    assert_eq!(seqs, [1, 4, 7, 10, 13, 16, 19, 22, 25, 28]);
    assert!(results(&heard).iter().all(|(result, _)| result.status == Status::Ok));
}

#[test]
fn what_cannot_run_says_why() {
    let folder = Folder::new();
    let library = folder.compile("test", &level_1("", "return FG_OK;"), &[]);
    let path = write_clip(&folder, &clip(64, 48, 2), 64, 48);
    let text = folder.0.join("text.txt");
    std::fs::write(&text, "no video ".repeat(500)).unwrap();
    for (library, clip, kind, expected) in [
        (&library, folder.0.join("missing.mp4"), OfflineFailure::Usage, "No such file"),
        (&library, folder.0.clone(), OfflineFailure::Usage, "is a folder"),
        (&library, text, OfflineFailure::Usage, "no video and no image"),
        (&folder.0.join("missing.so"), path, OfflineFailure::Processor, "missing.so"),
    ] {
        let (heard, is_through) = offline(library, SandboxMode::Audit, &[], &clip);
        let Some((FromOffline::Failed { kind: found, text }, _)) = heard.last() else { panic!("{heard:?}") };
        assert!(!is_through && *found == kind && text.contains(expected), "{text}");
    }
}

#[test]
fn threads_at_load_are_no_obstacle() {
    let folder = Folder::new();
    let globals = "#include <pthread.h>\n#include <unistd.h>\n\
        static void *idle(void *none) { for (;;) pause(); return none; }\n\
        __attribute__((constructor)) static void load(void) { pthread_t thread; pthread_create(&thread, 0, idle, 0); }\n";
    let library = folder.compile("test", &level_1(globals, "return fg_data_printf(out, \"1\");"), &["-pthread"]);
    let path = write_clip(&folder, &clip(64, 48, 4), 64, 48);
    for sandbox in [SandboxMode::Enforce, SandboxMode::Audit] {
        let (heard, is_through) = offline(&library, sandbox, &[], &path);
        assert!(is_through, "{heard:?}");
        assert_eq!(results(&heard).len(), 4);
    }
}
