//! `isolation = "shared"`: one process for all streams.

use framegate_wire::{ExitKind, Isolation, NurseryReply, Status};

use super::support::{Python, spec};
use crate::support::{Folder, Nursery, clip, level_1, pipeline};

fn shared(source: &str) -> Python {
    Python::with(source, |spec| spec.isolation = Isolation::Shared, &[])
}

/// Hears that this many engines have ended, in any order.
fn exits(python: &mut Python, count: usize) {
    for _ in 0..count {
        let reply = python.nursery.reply();
        assert!(matches!(reply, (NurseryReply::Exited { .. }, None)), "{reply:?}");
    }
}

#[test]
fn streams_share_a_process_but_no_instance() {
    let mut python = shared(
        "
        import os, threading
        # Threads do not matter to a process that is not forked.
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        @framegate.processor
        class Test:
            def __init__(self):
                self.count = 0
            def process(self, frame):
                self.count += 1
                print('count', self.count)
                return [os.getpid(), self.count]
        ",
    );
    assert_eq!(python.loaded.tasks, 1);
    let (mut one, mut two) = (python.nursery.fork_ready(), python.nursery.fork_ready());
    let units = clip(64, 48, 3);
    let first = one.process(1, &units[0]).1;
    let pid = first.trim_start_matches('[').split(',').next().unwrap().to_owned();
    assert_eq!(first, format!("[{pid},1]"));
    assert_eq!(two.process(1, &units[0]).1, format!("[{pid},1]"));
    // Both at once.
    one.unit(2, &units[1]);
    two.unit(2, &units[1]);
    assert_eq!((one.result().1, two.result().1), (format!("[{pid},2]"), format!("[{pid},2]")));
    assert_eq!(one.close().ok, 2);
    assert_eq!(python.nursery.exited(&one).0, ExitKind::Code(0));
    assert_eq!(one.printed(), "count 1\ncount 2\n", "what it prints for one stream is that stream's");
    // The end of one stream is nothing to the other.
    assert_eq!(two.process(3, &units[2]).1, format!("[{pid},3]"));
}

#[test]
fn a_crash_is_told_to_every_stream_and_the_next_engine_has_a_new_process() {
    let mut python = shared(
        "
        import os
        @framegate.processor
        def test(frame):
            if frame.seq == 2:
                os.abort()
            return os.getpid()
        ",
    );
    python.nursery.described().unwrap();
    let (mut one, mut two) = (python.nursery.fork_ready(), python.nursery.fork_ready());
    let units = clip(64, 48, 2);
    let pid = one.process(1, &units[0]).1;
    assert_eq!(two.process(1, &units[0]).1, pid);
    one.unit(2, &units[1]);
    assert_eq!(one.fault(), "the process of `test` was ended by SIGABRT");
    // Without a frame: a death is noticed between them.
    assert_eq!(two.fault(), "the process of `test` was ended by SIGABRT");
    exits(&mut python, 2);
    let mut next = python.nursery.fork_ready();
    let new = next.process(1, &units[0]);
    assert_eq!(new.0.status, Status::Ok);
    assert_ne!(new.1, pid);
}

#[test]
fn a_shared_process_that_hangs_is_replaced() {
    let mut python = shared(
        "
        import os, time
        @framegate.processor
        def test(frame):
            if frame.seq == 2:
                framegate.log.info('begun')
                time.sleep(3600)
            return os.getpid()
        ",
    );
    python.nursery.described().unwrap();
    let mut hung = python.nursery.fork_ready();
    let units = clip(64, 48, 2);
    let pid = hung.process(1, &units[0]).1;
    let mut other = python.nursery.fork_ready();
    hung.unit(2, &units[1]);
    assert_eq!(hung.log_line(), "begun");
    other.unit(1, &units[0]);
    hung.kill();
    // It does not let go of the engine that has gone, so it is ended, and the other stream is told.
    assert_eq!(other.fault(), "the process of `test` was ended by SIGKILL");
    exits(&mut python, 2);
    let mut next = python.nursery.fork_ready();
    assert_ne!(next.process(1, &units[0]).1, pid);
}

#[test]
fn python_and_libraries_cannot_be_shared_together_and_it_says_so() {
    let folder = Folder::new();
    let library = folder.compile("test", &level_1("", "return FG_NO_RESULT;"), &[]);
    let mut spec = spec(&folder, "@framegate.processor\ndef other(frame): pass");
    spec.processors.extend(pipeline(&library).processors);
    spec.isolation = Isolation::Shared;
    let text = Nursery::start_pipeline(&spec, &[]).fault();
    assert!(text.contains("pipeline `test`: isolation = \"shared\"") && text.contains("make two pipelines"), "{text}");
}
