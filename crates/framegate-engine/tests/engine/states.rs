//! What survives an engine.

use framegate_wire::{ExitKind, FromEngine, SavedState};

use crate::support::{Engine, Level2, Nursery, Unit, clip};

/// Counts its calls, also those of instances before it. Version 1 is the format before.
const COUNTER: Level2<'_> = Level2 {
    name: "counter",
    globals: r#"
        static uint32_t calls; static int configured;
        static int64_t save(fg_processor *p, void *bytes, uint64_t capacity) {
            (void)p; if (capacity != 256 << 10) return -1; memcpy(bytes, &calls, 4); return 4; }
        static int32_t load(fg_processor *p, uint32_t version, const void *bytes, uint64_t length) {
            (void)p; if (version != 2 || length != 4 || configured) return FG_ERROR_UNSUPPORTED;
            memcpy(&calls, bytes, 4); return FG_OK; }
        static int32_t configure(fg_processor *p, const fg_config *c) { (void)p; (void)c; configured = 1; return 0; }
        static const fg_state state = {sizeof state, 2, save, load};"#,
    extension: "if (!strcmp(id, FG_EXT_STATE)) return &state;",
    create: "one.configure = configure;",
    process: r#"return fg_data_printf(out, "%u", ++calls);"#,
};

/// Processes frames until the engine says what is to be kept.
fn process_until_state(engine: &mut Engine, units: &[Unit]) -> (Vec<SavedState>, u64) {
    for seq in 1.. {
        engine.unit(seq, &units[if seq == 1 { 0 } else { 1 }]);
        loop {
            match engine.hear().expect("the engine ended") {
                (FromEngine::State, payload) => return (postcard::from_bytes(&payload).unwrap(), seq),
                (FromEngine::Result(result), _) if result.seq.0 == seq => break,
                _ => {}
            }
        }
    }
    unreachable!()
}

#[test]
fn a_killed_engine_hands_its_state_on() {
    let (mut nursery, _folder) = Nursery::of(&COUNTER.source());
    assert!(nursery.described().unwrap()[0].has_state);
    let mut engine = nursery.fork_ready();
    let units = clip(64, 64, 2);
    let (states, _) = process_until_state(&mut engine, &units);
    assert_eq!((states.len(), states[0].name.as_str(), states[0].version), (1, "counter", 2));
    let saved = u32::from_ne_bytes(states[0].bytes.clone().try_into().unwrap());
    assert!(saved > 0);
    engine.kill();
    assert_eq!(nursery.exited(&engine).0, ExitKind::Signal(libc::SIGKILL));
    let mut next = nursery.fork_with(1, &[], &states);
    assert_eq!(next.process(1, &units[0]).1, (saved + 1).to_string());
}

#[test]
fn a_state_that_cannot_be_used_is_left_and_the_log_says_so() {
    let (mut nursery, _folder) = Nursery::of(&COUNTER.source());
    let state =
        |processor, name: &str, version| SavedState { processor, name: name.into(), version, bytes: vec![7; 4] };
    let unit = &clip(64, 64, 1)[0];
    for (state, expected) in [
        (state(0, "counter", 1), "load of version 1 returned FG_ERROR_UNSUPPORTED (-3)"),
        (state(0, "other", 2), "`counter` has its place now"),
        (state(3, "counter", 2), "it is no longer in the pipeline"),
    ] {
        let name = state.name.clone();
        let mut engine = nursery.fork_with(1, &[], &[state]);
        assert_eq!(engine.log_line(), format!("the state of `{name}` is not used, it begins anew: {expected}"));
        assert_eq!(engine.process(1, unit).1, "1");
        engine.close();
        nursery.exited(&engine);
    }
}

#[test]
fn states_that_fail_or_are_too_large_are_told_once() {
    for (answer, expected) in [
        ("return FG_ERROR;", "`counter`: save returned FG_ERROR (-1); a new engine will begin without it"),
        ("return 300000;", "`counter`: its state has 300000 bytes, at most 262144; a new engine will begin without it"),
    ] {
        let globals = COUNTER.globals.replace("if (capacity != 256 << 10) return -1;", answer);
        let (mut nursery, _folder) = Nursery::of(&Level2 { globals: &globals, ..COUNTER }.source());
        let mut engine = nursery.fork_ready();
        let units = clip(64, 64, 2);
        let mut lines = Vec::new();
        // Two saves need frames of two seconds; how many those are is the machine's affair.
        let begin = crate::support::now_ns();
        for seq in 1.. {
            engine.unit(seq, &units[usize::from(seq > 1)]);
            loop {
                match engine.hear().expect("the engine ended").0 {
                    FromEngine::Log { text, .. } => lines.push(text),
                    FromEngine::State => panic!("a state"),
                    FromEngine::Result(result) if result.seq.0 == seq => break,
                    _ => {}
                }
            }
            if crate::support::now_ns() - begin > 3_500_000_000 {
                break;
            }
        }
        assert_eq!(lines, [expected]);
    }
}

#[test]
fn an_unchanged_state_is_sent_once() {
    let globals =
        COUNTER.globals.replace("memcpy(bytes, &calls, 4);", "memset(bytes, 5, 4); fprintf(stderr, \"saved\\n\");");
    let (mut nursery, _folder) = Nursery::of(&Level2 { globals: &globals, ..COUNTER }.source());
    let mut engine = nursery.fork_ready();
    let units = clip(64, 64, 2);
    let (states, last) = process_until_state(&mut engine, &units);
    assert_eq!(states[0].bytes, [5; 4]);
    // Frames of more than two further seconds: it saves again and has nothing new to say.
    let begin = crate::support::now_ns();
    for seq in last + 1.. {
        engine.unit(seq, &units[1]);
        loop {
            match engine.hear().expect("the engine ended").0 {
                FromEngine::State => panic!("the same state again"),
                FromEngine::Result(result) if result.seq.0 == seq => break,
                _ => {}
            }
        }
        if crate::support::now_ns() - begin > 2_500_000_000 {
            break;
        }
    }
    engine.close();
    assert!(engine.printed().lines().count() >= 3);
}
