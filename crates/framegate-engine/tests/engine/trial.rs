//! What a nursery finds out before anybody connects.

use crate::support::{Folder, Level2, Nursery, clip, wait_readable};

#[test]
fn a_crash_while_an_instance_is_made_is_named() {
    let source = Level2 {
        globals: "__attribute__((noinline)) static int read_model(volatile int *p) { return *p; }",
        create: "if (read_model((int *)16)) return FG_ERROR;",
        ..Level2::NOTHING
    };
    let (mut nursery, _folder) = Nursery::of(&source.source());
    let text = nursery.described().unwrap_err();
    assert!(text.starts_with("making the processors crashed with SIGSEGV in `read_model` ("), "{text}");
    assert!(text.contains("test.so+0x"), "{text}");
}

#[test]
fn a_trial_has_the_whole_sandbox_and_prints_for_nobody() {
    let source = Level2 {
        globals: "#include <errno.h>\n#include <fcntl.h>\n#include <sys/socket.h>\n",
        create: r#"printf("from the trial\n");
            if (socket(AF_INET, SOCK_STREAM, 0) >= 0 || open("/dev/null", O_WRONLY) >= 0) { host->log(host, FG_LOG_ERROR, "let through"); return FG_ERROR; }"#,
        ..Level2::NOTHING
    };
    let (mut nursery, _folder) = Nursery::of(&source.source());
    assert_eq!(nursery.described().map(|infos| infos.len()), Ok(1));
}

#[test]
fn exit_in_create_is_told() {
    let (mut nursery, _folder) = Nursery::of(&Level2 { create: "_Exit(3);", ..Level2::NOTHING }.source());
    assert_eq!(nursery.described(), Err("making the processors ended their process with status 3".to_owned()));
}

#[test]
fn what_the_processor_writes_where_the_answer_goes_is_no_answer() {
    let source = Level2 {
        globals: "#include <unistd.h>",
        create: r#"static char junk[200000]; memset(junk, 1, sizeof junk); if (write(3, junk, sizeof junk) < 0) _exit(0); _exit(0);"#,
        ..Level2::NOTHING
    };
    let (mut nursery, _folder) = Nursery::of(&source.source());
    let text = nursery.described().unwrap_err();
    assert!(text.starts_with("making the processors "), "{text}");
}

#[test]
fn engines_are_forked_while_the_trial_runs() {
    // The trial's stream has a name of its own; only there does it never end.
    let create = "static volatile int stop; if (!strcmp(host->stream, \"trial\")) while (!stop) {}";
    let (mut nursery, _folder) = Nursery::of(&Level2 { create, ..Level2::NOTHING }.source());
    let mut engine = nursery.fork_ready();
    engine.process(1, &clip(64, 64, 1)[0]);
    engine.close();
    nursery.exited(&engine);
    let children = nursery.children();
    assert_eq!(children.len(), 1, "the trial runs on");
    let trial = rustix::process::pidfd_open(children[0], rustix::process::PidfdFlags::empty()).unwrap();
    nursery.control = None;
    assert!(nursery.process.wait().unwrap().success());
    wait_readable(std::os::fd::AsFd::as_fd(&trial), "the end of the trial");
}

#[test]
fn a_processor_with_threads_is_not_tried() {
    let source = Level2 {
        globals: "#include <pthread.h>\n#include <unistd.h>\nstatic void *rest(void *x) { for (;;) pause(); return x; }\n\
            __attribute__((constructor)) static void begin(void) { pthread_t t; pthread_create(&t, 0, rest, 0); }",
        ..Level2::NOTHING
    };
    let folder = Folder::new();
    let library = folder.compile("test", &source.source(), &[]);
    let mut nursery = Nursery::start(&library, &["--once"]);
    nursery.ready();
    let mut engine = nursery.fork_ready();
    engine.process(1, &clip(64, 64, 1)[0]);
    engine.close();
    assert!(nursery.process.wait().unwrap().success());
    assert!(nursery.packets_left().is_empty(), "nothing but Ready and Forked was said");
}
