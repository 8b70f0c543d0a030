//! What becomes of engines whose processor misbehaves.

use framegate_wire::{ExitKind, FaultReport, FaultStage, FromEngine, Status};

use crate::support::{Nursery, PRELUDE, clip, level_1};

/// Runs a processor on one frame and says how its engine ended.
fn end_of(source: &str) -> (ExitKind, Option<FaultReport>, String) {
    let (mut nursery, _folder) = Nursery::of(source);
    let mut engine = nursery.fork_ready();
    engine.unit(1, &clip(64, 64, 1)[0]);
    let (kind, fault) = nursery.exited(&engine);
    (kind, fault, engine.printed())
}

fn function(fault: Option<FaultReport>) -> String {
    let fault = fault.expect("a report");
    assert_eq!(fault.stage, FaultStage::Process);
    let location = fault.location.unwrap();
    assert!(location.contains("test.so+0x"), "{location}");
    fault.function.expect("a name")
}

#[test]
fn segmentation_fault_is_named() {
    let source = level_1(
        "__attribute__((noinline)) static int find_faces(volatile int *p) { return *p + 1; }",
        "return find_faces((int *)16);",
    );
    let (kind, fault, _) = end_of(&source);
    assert_eq!(kind, ExitKind::Signal(libc::SIGSEGV));
    assert_eq!(function(fault), "find_faces");
}

#[test]
fn a_fault_in_the_c_library_names_its_caller() {
    let source = level_1(
        "#include <string.h>\n__attribute__((noinline)) static int copy_row(char *to, size_t n) { memset(to, 1, n); return to[0]; }",
        "return copy_row((char *)16, 1u << 20 | frame->width);",
    );
    let (kind, fault, _) = end_of(&source);
    assert_eq!(kind, ExitKind::Signal(libc::SIGSEGV));
    assert_eq!(function(fault), "copy_row");
}

#[test]
fn abort_names_its_caller_and_its_words_are_kept() {
    let source = level_1(
        "#include <stdlib.h>\n__attribute__((noinline)) static void check_model(void) { printf(\"no model\\n\"); abort(); }",
        "check_model(); return 0;",
    );
    let (kind, fault, printed) = end_of(&source);
    assert_eq!(kind, ExitKind::Signal(libc::SIGABRT));
    assert_eq!(function(fault), "check_model");
    assert_eq!(printed, "no model\n");
}

#[test]
fn stack_overflow_is_named() {
    let source = level_1(
        "__attribute__((noinline)) static int deeper(volatile int *p, int n) { volatile char row[4096]; row[0] = (char)n; \
         return deeper(p, n + 1) + row[0] + *p; }",
        "int x = 0; return deeper(&x, 0);",
    );
    let (kind, fault, _) = end_of(&source);
    assert_eq!(kind, ExitKind::Signal(libc::SIGSEGV));
    assert_eq!(function(fault), "deeper");
}

#[test]
fn writing_past_the_picture_faults_at_once() {
    let source = level_1(
        "__attribute__((noinline)) static void smear(uint8_t *to, long n) { for (long i = 0; i < n; i++) to[i] = 1; }",
        "smear(frame->planes[0].data, frame->planes[0].stride_bytes * frame->height + 64); return 0;",
    );
    let (kind, fault, _) = end_of(&source);
    assert_eq!(kind, ExitKind::Signal(libc::SIGSEGV));
    assert_eq!(function(fault), "smear");
}

#[test]
fn exit_is_an_exit() {
    for call in ["exit(0)", "_exit(0)"] {
        let (kind, fault, _) =
            end_of(&level_1("#include <stdlib.h>\n#include <unistd.h>", &format!("{call}; return 0;")));
        assert_eq!((kind, fault), (ExitKind::Code(0), None), "{call}");
    }
}

#[test]
fn an_endless_loop_can_be_killed() {
    let (mut nursery, _folder) = Nursery::of(&level_1("static volatile int stop;", "while (!stop) {} return 0;"));
    let mut engine = nursery.fork_ready();
    engine.unit(1, &clip(64, 64, 1)[0]);
    engine.kill();
    assert_eq!(nursery.exited(&engine), (ExitKind::Signal(libc::SIGKILL), None));
}

#[test]
fn invalid_results_are_errors_of_their_frame_only() {
    let source = level_1(
        "#include <math.h>\n#include <stdlib.h>",
        "switch (frame->seq) {
         case 1: return fg_detect(out, \"x\", 0.5f, NAN, 0, 1, 1) == FG_ERROR_NOT_FINITE ? FG_OK : 99;
         case 2: return fg_data_printf(out, \"{\\\"mean\\\":%f}\", NAN);
         case 3: { char *big = calloc(10, 1 << 20); int32_t s = out->data(out, big, 10 << 20); free(big); return s; }
         case 4: for (int i = 0; i < 300; i++) fg_detect(out, \"x\", 1, 0, 0, 1, 1); return FG_OK;
         case 5: return out->error(out, 0);
         case 6: return fg_detect(out, \"\\xff\", 1, 0, 0, 1, 1);
         case 7: return -42;
         case 8: return fg_detect(out, \"x\", 1, 10, 20, 30, 40);
         default: return FG_NO_RESULT; }",
    );
    let (mut nursery, _folder) = Nursery::of(&source);
    let mut engine = nursery.fork_ready();
    let units = clip(64, 64, 9);
    let expected = ["not_finite", "bad_json", "too_large", "too_many", "bad_text", "bad_text", "processor", "bad_box"];
    for (seq, (unit, expected)) in (1..).zip(units.iter().zip(expected)) {
        let (result, data) = engine.process(seq, unit);
        let Status::Error { code, text } = result.status else { panic!("frame {seq} was accepted") };
        assert_eq!(code, expected, "{text}");
        assert!(text.len() <= framegate_wire::limits::TEXT_BYTES_MAX);
        assert_eq!(data, "");
    }
    let (result, data) = engine.process(9, &units[8]);
    assert_eq!((result.status, data.as_str()), (Status::Ok, ""));
    let counts = engine.close();
    assert_eq!((counts.ok, counts.error), (1, 8));
}

#[test]
fn printing_a_lot_blocks_nobody() {
    let (mut nursery, _folder) = Nursery::of(&level_1(
        "",
        "for (int i = 0; i < 20000; i++) { printf(\"a line that nobody reads %d\\n\", i); fprintf(stderr, \"err\\n\"); } return 0;",
    ));
    let mut engine = nursery.fork_ready();
    let (result, _) = engine.process(1, &clip(64, 64, 1)[0]);
    assert_eq!(result.status, Status::Ok);
    engine.close();
    assert!(engine.printed().starts_with("a line that nobody reads 0\n"));
}

#[test]
fn a_log_line_before_a_crash_arrives() {
    let source = format!(
        "{PRELUDE}static const fg_host *host;
        static int32_t process(fg_processor *p, const fg_frame *f, const fg_out *o) {{
            (void)p; (void)f; (void)o; host->log(host, FG_LOG_INFO, \"last words\"); __builtin_trap(); }}
        static int32_t create(const fg_host *h, fg_processor **made) {{
            static fg_processor one = {{sizeof one, 0, 0, 0, process, 0, 0}}; host = h; *made = &one; return FG_OK; }}
        FG_ENTRY(\"trap\", \"1\", \"Traps.\", create)"
    );
    let (mut nursery, _folder) = Nursery::of(&source);
    let mut engine = nursery.fork_ready();
    engine.unit(1, &clip(64, 64, 1)[0]);
    let text = engine.until(|message| if let FromEngine::Log { text, .. } = message { Some(text) } else { None });
    assert_eq!(text, "last words");
    let (kind, fault) = nursery.exited(&engine);
    assert_eq!(kind, ExitKind::Signal(libc::SIGILL));
    assert_eq!(fault.unwrap().function.as_deref(), Some("process"));
}

#[test]
fn a_failing_create_says_why_and_a_crashing_one_is_named() {
    let with_create = |body: &str| {
        format!(
            "{PRELUDE}static int32_t create(const fg_host *h, fg_processor **made) {{ (void)h; (void)made; {body} }}\nFG_ENTRY(\"c\", \"1\", \"C.\", create)"
        )
    };
    for (body, expected) in [
        ("return FG_ERROR_UNSUPPORTED;", "create returned FG_ERROR_UNSUPPORTED (-3)"),
        ("return FG_OK;", "no processor"),
        ("static fg_processor p; *made = &p; return FG_OK;", "struct_size is too small"),
        ("static fg_processor p = {sizeof p, 0, 0, 0, 0, 0, 0}; *made = &p; return FG_OK;", "process is NULL"),
    ] {
        let (mut nursery, _folder) = Nursery::of(&with_create(body));
        let mut engine = nursery.fork();
        let Some((FromEngine::Fault { text }, _)) = engine.hear() else { panic!("no fault") };
        assert!(text.contains(expected), "{text}");
        assert_eq!(nursery.exited(&engine).0, ExitKind::Code(1));
    }
    let (mut nursery, _folder) = Nursery::of(&with_create("*(volatile int *)0 = 1; return FG_OK;"));
    let engine = nursery.fork();
    let (kind, fault) = nursery.exited(&engine);
    assert_eq!(kind, ExitKind::Signal(libc::SIGSEGV));
    let fault = fault.unwrap();
    assert_eq!((fault.stage, fault.function.as_deref()), (FaultStage::Create, Some("create")));
}
