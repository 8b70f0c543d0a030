//! Processors that break one rule each, and what a check says of them.

use std::process::{Command, Stdio};

use framegate_wire::{CheckLine, CheckVerdict};

use crate::support::{Folder, PRELUDE, level_1, pipeline};

/// Checks a processor made from C; the lines, and whether no rule is broken.
fn check(source: &str) -> (Vec<CheckLine>, bool) {
    let folder = Folder::new();
    let library = folder.compile("test", source, &["-pthread"]);
    let output = Command::new(env!("CARGO_BIN_EXE_framegate-engine"))
        .args(["check", "--pipeline", &serde_json::to_string(&pipeline(&library)).unwrap()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<CheckLine> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, output.status.success())
}

/// The verdict and text of one line.
fn of<'a>(lines: &'a [CheckLine], name: &str) -> (CheckVerdict, &'a str) {
    let line = lines.iter().find(|line| line.name == name).unwrap_or_else(|| panic!("no {name} in {lines:?}"));
    (line.verdict, &line.text)
}

/// Fails unless the line `name` has this verdict and all of these words, and the check as a whole agrees.
fn expect(source: &str, name: &str, verdict: CheckVerdict, words: &[&str]) {
    let (lines, is_sound) = check(source);
    let (found, text) = of(&lines, name);
    assert!(found == verdict && words.iter().all(|word| text.contains(word)), "{name}: {found:?} {text}: {lines:#?}");
    assert_eq!(is_sound, lines.iter().all(|line| line.verdict != CheckVerdict::Fail));
    assert!(verdict != CheckVerdict::Fail || !is_sound);
}

#[test]
fn a_processor_that_keeps_the_rules_passes() {
    let read_all = "uint64_t sum = 0; \
        for (uint32_t y = 0; y < frame->height; y++) \
            for (uint32_t x = 0; x < frame->width * 3; x++) \
                sum += frame->planes[0].data[y * frame->planes[0].stride_bytes + x]; \
        return fg_data_printf(out, \"%llu\", (unsigned long long)sum);";
    let (lines, is_sound) = check(&level_1("", read_all));
    assert!(is_sound, "{lines:#?}");
    assert!(lines.iter().all(|line| line.verdict == CheckVerdict::Ok), "{lines:?}");
    let names: Vec<_> = lines.iter().map(|line| line.name.as_str()).collect();
    assert_eq!(names, ["load", "instances", "frames", "parameters", "messages", "state", "memory", "time", "sandbox"]);
}

#[test]
fn a_row_too_many_is_found_and_named() {
    let globals = "__attribute__((noinline)) static int sum_rows(const fg_frame *frame) { \
        int sum = 0; \
        for (uint32_t y = 0; y <= frame->height; y++) sum += frame->planes[0].data[y * frame->planes[0].stride_bytes]; \
        return sum; }";
    let body = "return fg_data_printf(out, \"%d\", sum_rows(frame));";
    let words = ["past the last row", "SIGSEGV", "`sum_rows`", "×"];
    expect(&level_1(globals, body), "frames", CheckVerdict::Fail, &words);
}

#[test]
fn a_kept_pointer_is_found() {
    let body = "static uint8_t *kept; int before = kept ? kept[0] : 0; kept = frame->planes[0].data; \
        return fg_data_printf(out, \"%d\", before);";
    expect(&level_1("", body), "frames", CheckVerdict::Fail, &["keeps a pointer", "SIGSEGV"]);
}

#[test]
fn writing_into_a_frame_unasked_is_found() {
    let body = "frame->planes[0].data[0] = 1; return FG_OK;";
    expect(&level_1("", body), "frames", CheckVerdict::Fail, &["writes into its input", "FG_WANT_WRITABLE"]);
}

#[test]
fn a_leak_of_a_kibibyte_a_frame_is_found() {
    let globals = "#include <stdlib.h>\n#include <string.h>\n";
    let body = "static void *volatile last; last = malloc(1024); memset(last, 1, 1024); return FG_OK;";
    expect(&level_1(globals, body), "memory", CheckVerdict::Fail, &["1.0 KiB a frame"]);
}

#[test]
fn invalid_results_are_found() {
    let body = "return fg_data_printf(out, \"{%d\", 1);";
    expect(&level_1("", body), "frames", CheckVerdict::Fail, &["invalid", "bad_json"]);
}

#[test]
fn threads_at_load_are_worth_knowing() {
    let globals = "#include <pthread.h>\n#include <unistd.h>\n\
        static void *idle(void *none) { for (;;) pause(); return none; }\n\
        __attribute__((constructor)) static void load(void) { pthread_t thread; pthread_create(&thread, 0, idle, 0); }\n";
    expect(&level_1(globals, "return FG_OK;"), "threads", CheckVerdict::Warn, &["1 threads"]);
}

#[test]
fn what_serve_would_refuse_is_told() {
    let globals = "#include <fcntl.h>\n#include <sys/socket.h>\n#include <unistd.h>\n";
    let copes = "int file = open(\"/etc/passwd\", O_RDONLY), net = socket(AF_INET, SOCK_DGRAM, 0); \
        if (file >= 0) close(file); if (net >= 0) close(net); return FG_OK;";
    let words = ["reading /etc/passwd", "network (socket AF_INET)"];
    expect(&level_1(globals, copes), "sandbox", CheckVerdict::Warn, &words);
    let does_not =
        "int file = open(\"/etc/passwd\", O_RDONLY); if (file < 0) __builtin_trap(); close(file); return FG_OK;";
    let (lines, is_sound) = check(&level_1(globals, does_not));
    assert!(!is_sound);
    let (verdict, text) = of(&lines, "sandbox");
    assert!(verdict == CheckVerdict::Fail && text.contains("fails when served"), "{text}");
}

#[test]
fn what_cannot_be_loaded_is_the_only_line() {
    let (lines, is_sound) = check("int nothing;");
    assert!(!is_sound);
    assert_eq!(lines.len(), 1);
    assert_eq!(of(&lines, "load").0, CheckVerdict::Fail);
}

/// A processor with a number from 0 to 1 and a text, and what its setter does with either.
fn with_params(number: &str, text: &str) -> String {
    format!(
        r#"{PRELUDE}
static const fg_param params[2] = {{
    {{"number", 0, 0, 0, 0, 0, 0, FG_PARAM_FLOAT, 0, 1, 0, 0.25, 0}},
    {{"text", 0, 0, 0, 0, 0, 0, FG_PARAM_TEXT, 0, 0, 0, 0, "none"}},
}};
static int32_t set(fg_processor *self, uint32_t index, const fg_param_value *value) {{
    (void)self;
    return (index == 0 ? ({number}) : ({text})) ? FG_OK : FG_ERROR_ARGUMENT;
}}
static const fg_params extension = {{sizeof(fg_params), 2, params, set}};
static const void *get(fg_processor *self, const char *id) {{
    (void)self;
    for (int i = 0; id[i] == FG_EXT_PARAMS[i]; i++) if (!id[i]) return &extension;
    return 0;
}}
static int32_t process(fg_processor *self, const fg_frame *frame, const fg_out *out) {{
    (void)self; (void)frame; (void)out;
    return FG_OK;
}}
static void destroy(fg_processor *self) {{ (void)self; }}
static int32_t create(const fg_host *host, fg_processor **made) {{
    static fg_processor one = {{sizeof(fg_processor), 0, 0, 0, process, destroy, get}};
    (void)host;
    *made = &one;
    return FG_OK;
}}
FG_ENTRY("test", "1.0.0", "A test.", create)
"#
    )
}

#[test]
fn a_parameter_that_is_set_once_is_no_warning() {
    let fixed = ["7 values", "`number` took no other value", "`text` took no other value"];
    expect(&with_params("value->number == 0.25", "value->text[0] == 'n'"), "parameters", CheckVerdict::Ok, &fixed);
    let half = ["1 of 7 values", "with `number` = 0.0: "];
    expect(&with_params("value->number > 0", "value->text[0]"), "parameters", CheckVerdict::Warn, &half);
}
