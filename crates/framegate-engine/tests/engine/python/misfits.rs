//! Python processors that fail, in every way people have found.

use std::collections::BTreeSet;

use framegate_wire::{ExitKind, FromEngine, LogLevel, NurseryReply, Status};

use super::support::{Python, code_and_text, fault, interpreter, spec};
use crate::support::{Folder, Nursery, clip, exists};

#[test]
fn an_exception_costs_its_frame_and_names_its_place() {
    let mut python = Python::of(
        "
        @framegate.processor
        def test(frame):
            print('before', frame.seq)
            if frame.seq < 4:
                raise ValueError('too dark')
            return {'seq': frame.seq}
        ",
    );
    let mut engine = python.nursery.fork_ready();
    let units = clip(64, 48, 4);
    for (seq, unit) in (1..).zip(&units[..3]) {
        let (code, text) = code_and_text(engine.process(seq, unit).0.status);
        assert_eq!((code.as_str(), text.as_str()), ("exception", "ValueError: too dark (test.py:6)"));
    }
    assert_eq!(engine.process(4, &units[3]).1, "{\"seq\":4}", "the instance goes on");
    assert_eq!(engine.close().error, 3);
    let printed = engine.printed();
    assert!(printed.contains("before 1\n") && printed.contains("before 4\n"), "{printed}");
    assert!(printed.contains("line 6, in test") && printed.contains("ValueError: too dark"), "{printed}");
    // One place is told once a second; the frames above come within less, unless the machine is very busy.
    assert!(printed.matches("Traceback").count() < 4, "{printed}");
}

#[test]
fn what_is_no_result_is_refused_with_its_place() {
    let mut python = Python::of(
        "
        import numpy as np
        class Own:
            pass
        @framegate.processor
        def test(frame):
            return [
                {'a': {'b': [1, float('nan')]}},
                framegate.Box('x', 0.5, float('inf'), 0, 1, 1),
                {'set': {1, 2}},
                {'own': [Own()]},
                {'big': 'x' * 10_000_000},
                [framegate.Box('x', 1, 0, 0, 1, 1)] * 300,
                framegate.Box('x', 1, 10, 10, 20, 20),
                framegate.Result(['box']),
                framegate.Result(image=np.zeros((3, 3), float)),
                {(1, 2): 3},
                framegate.Box('x' * 65, 1, 0, 0, 1, 1),
                np.array([1.0, np.nan]),
            ][frame.seq - 1]
        ",
    );
    let mut engine = python.nursery.fork_ready();
    let expected = [
        ("not_finite", "data['a']['b'][1] is nan"),
        ("not_finite", "x of the box `x` is inf"),
        ("bad_json", "data['set'] is of the type set"),
        ("bad_json", "data['own'][0] is of the type Own"),
        ("too_large", "data of 10000010 bytes, at most 49152"),
        ("too_many", "more than 256 detections"),
        ("bad_box", "unit=\"px\""),
        ("bad_box", "a detection is of the type str"),
        ("bad_image", "an array of float64 and shape (3, 3)"),
        ("bad_json", "data has a key of the type tuple"),
        ("", ""),
        ("not_finite", "data[1] is nan"),
    ];
    let units = clip(64, 48, u8::try_from(expected.len()).unwrap());
    for ((seq, unit), (code, part)) in (1..).zip(&units).zip(expected) {
        let (result, _) = engine.process(seq, unit);
        if code.is_empty() {
            // A label that is too long is cut, as everybody's is.
            assert_eq!(result.status, Status::Ok);
            continue;
        }
        let said = code_and_text(result.status);
        assert!(said.0 == code && said.1.contains(part), "frame {seq}: {said:?} instead of {code}: {part}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_a_fault_with_the_remedy() {
    let python = interpreter().display().to_string();
    let text = fault("import no_such_module_at_all\n@framegate.processor\ndef test(frame): pass");
    let remedy = format!("needs the module `no_such_module_at_all`, which {python} does not have");
    assert!(text.contains(&remedy) && text.contains("-m pip install no_such_module_at_all"), "{text}");
    for (source, expected) in [
        ("x = 1 / 0", "importing test.py failed: ZeroDivisionError: division by zero (test.py:2: x = 1 / 0)"),
        ("def test(frame:", "test.py:2: "),
        ("x = 1", "test.py has no processor: put @framegate.processor before"),
        ("import sys; sys.exit(3)", "test.py calls sys.exit(3) when it is imported"),
        ("import os; os._exit(7)", "the Python process ended with status 7 while it imported test.py"),
        ("import os; os.abort()", "was ended by SIGABRT while it imported test.py"),
        ("@framegate.processor\ndef test(frame, x): pass", "`x` has no default: write x: float = 0.5"),
        ("@framegate.processor\ndef test(frame, x: list = []): pass", "has the type list; use bool, int, float"),
        ("@framegate.processor\ndef a(frame): pass\n@framegate.processor\ndef b(frame): pass", "name one as test.py:a"),
    ] {
        let text = fault(source);
        assert!(text.contains(expected), "{source}: {text}");
    }
    let folder = Folder::new();
    let mut missing = spec(&folder, "@framegate.processor\ndef test(frame): pass");
    missing.python = Some("/nowhere/python".into());
    assert!(Nursery::start_pipeline(&missing, &[]).fault().contains("/nowhere/python"));
}

#[test]
fn a_class_that_cannot_be_made_is_a_fault_of_its_engine() {
    let mut python = Python::of(
        "
        @framegate.processor
        class Test:
            def __init__(self, stream):
                open(stream.folder / 'model.onnx', 'rb')
            def process(self, frame):
                pass
        ",
    );
    let mut engine = python.nursery.fork();
    let text = engine.fault();
    assert!(text.contains("`test` cannot be made: FileNotFoundError") && text.contains("model.onnx"), "{text}");
    assert_eq!(python.nursery.exited(&engine).0, ExitKind::Code(1));
    assert!(python.nursery.described().unwrap_err().contains("FileNotFoundError"));
}

#[test]
fn a_module_that_starts_threads_gets_processes_of_its_own() {
    let source = "
        import threading, time
        threading.Thread(target=lambda: time.sleep(3600), daemon=True).start()
        @framegate.processor
        def test(frame):
            return {'threads': threading.active_count()}
        ";
    let mut python = Python::of(source);
    assert_eq!(python.loaded.tasks, 2);
    let _asked = python.nursery.request();
    let (NurseryReply::ForkFailed { text, .. }, _) = python.nursery.reply() else { panic!("it was forked") };
    assert!(text.contains("started 1 threads"), "{text}");
    let mut once = Python::with(source, |_| {}, &["--once"]);
    let mut engine = once.nursery.fork_ready();
    assert_eq!(engine.process(1, &clip(64, 48, 1)[0]).1, "{\"threads\":2}");
    assert_eq!(engine.close().ok, 1);
    engine.wait_gone();
}

#[test]
fn printing_without_end_neither_blocks_nor_fails() {
    let mut python = Python::of(
        "
        import os, warnings
        @framegate.processor
        def test(frame):
            for _ in range(200):
                print('x' * 10_000)
            os.write(1, b'low\\n') if frame.seq > 9 else None
            warnings.warn('careful')
            return {'seq': frame.seq}
        ",
    );
    let mut engine = python.nursery.fork_ready();
    for (seq, unit) in (1..).zip(clip(64, 48, 3)) {
        assert_eq!(engine.process(seq, &unit).1, format!("{{\"seq\":{seq}}}"));
    }
}

/// Python processes below a nursery, which are those of its own and of its children's.
fn below(pid: u32) -> BTreeSet<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let own: Vec<u32> = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    own.iter().flat_map(|&pid| below(pid).into_iter().chain([pid])).collect()
}

/// Waits until none of these is there or more than a zombie.
fn wait_all_gone(pids: &BTreeSet<u32>) {
    for &pid in pids {
        let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()) else { continue };
        if let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            crate::support::wait_readable(std::os::fd::AsFd::as_fd(&pidfd), "the end of a Python process");
        }
    }
}

const SLEEPER: &str = "
        import os, time
        @framegate.processor
        def test(frame):
            if frame.seq == 2:
                framegate.log.info('begun')
                time.sleep(3600)
            return os.getpid()
        ";

#[test]
fn an_engine_whose_python_is_killed_says_so_and_ends() {
    for (action, expected) in [
        ("import signal; signal.raise_signal(9)", "the process of `test` was ended by SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", "the process of `test` was ended by SIGSEGV"),
        ("os._exit(3)", "the process of `test` ended itself with status 3"),
        ("raise SystemExit(4)", "the process of `test` ended itself with status 4"),
    ] {
        let mut python = Python::of(&format!(
            "
        import os
        @framegate.processor
        def test(frame):
            if frame.seq == 2: {action}
            "
        ));
        let mut engine = python.nursery.fork_ready();
        let units = clip(64, 48, 2);
        engine.process(1, &units[0]);
        engine.unit(2, &units[1]);
        assert_eq!(engine.fault(), expected);
        assert_eq!(python.nursery.exited(&engine).0, ExitKind::Code(1));
        // The next engine is served by the same host.
        let mut next = python.nursery.fork_ready();
        assert_eq!(next.process(1, &units[0]).0.status, Status::Ok, "{action}");
    }
}

#[test]
fn a_death_between_frames_is_noticed_at_once() {
    let mut python = Python::of(SLEEPER);
    let mut engine = python.nursery.fork_ready();
    let child: i32 = engine.process(1, &clip(64, 48, 1)[0]).1.parse().unwrap();
    let child = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
    assert_eq!(engine.fault(), "the process of `test` was ended by SIGKILL");
}

#[test]
fn no_python_outlives_its_engine_or_its_nursery() {
    let mut python = Python::of(SLEEPER);
    python.nursery.described().unwrap();
    let mut engine = python.nursery.fork_ready();
    let units = clip(64, 48, 2);
    let child: u32 = engine.process(1, &units[0]).1.parse().unwrap();
    assert!(exists(child));
    // It hangs in its second frame, and is killed as the gateway kills engines that hang.
    engine.unit(2, &units[1]);
    assert_eq!(engine.log_line(), "begun");
    engine.kill();
    python.nursery.exited(&engine);
    wait_all_gone(&BTreeSet::from([child]));
    let mut engine = python.nursery.fork_ready();
    engine.process(1, &units[0]);
    engine.unit(2, &units[1]);
    assert_eq!(engine.log_line(), "begun");
    let all = below(python.nursery.process.id());
    assert!(all.len() >= 3, "host, engine and Python: {all:?}");
    python.nursery.process.kill().unwrap();
    wait_all_gone(&all);
}

#[test]
fn a_nursery_whose_host_is_killed_ends() {
    let mut python = Python::of(SLEEPER);
    python.nursery.described().unwrap();
    let [host] = python.nursery.children()[..] else { panic!("more than the host") };
    rustix::process::kill_process(host, rustix::process::Signal::KILL).unwrap();
    assert!(!python.nursery.process.wait().unwrap().success());
}

#[test]
fn a_kept_view_is_warned_of() {
    let mut python = Python::of(
        "
        kept = []
        @framegate.processor
        def test(frame):
            kept.append(frame.image[::2])
        ",
    );
    let mut engine = python.nursery.fork_ready();
    engine.unit(1, &clip(64, 48, 1)[0]);
    let line = engine.until(|message| match message {
        FromEngine::Log { level: LogLevel::Warn, text } => Some(text),
        FromEngine::Result(_) => None,
        _ => None,
    });
    assert!(line.contains("keeps a view of a frame") && line.contains("use .copy()"), "{line}");
}
