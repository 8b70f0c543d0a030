//! Messages both ways, clock and randomness, and a processor's own words about a failure.

use framegate_wire::{FromEngine, Status, ToEngine};

use crate::support::{Level2, Nursery, clip, now_ns};

/// Sends back what it is told, twice.
const ECHO: Level2<'_> = Level2 {
    name: "echo",
    globals: r#"
        static const fg_host_message *page;
        static int32_t receive(fg_processor *p, const char *json, uint64_t length) {
            char both[100]; (void)p;
            if (length > 40) return FG_ERROR_LIMIT;
            int n = snprintf(both, sizeof both, "[%.*s,%.*s]", (int)length, json, (int)length, json);
            return page->send(host, both, (uint64_t)n); }
        static const fg_message message = {sizeof message, 0, receive};"#,
    extension: "if (!strcmp(id, FG_EXT_MESSAGE)) return &message;",
    create: "page = host->get_extension(host, FG_EXT_MESSAGE); if (!page) return FG_ERROR;",
    ..Level2::NOTHING
};

#[test]
fn messages_go_both_ways_without_any_frame() {
    let (mut nursery, _folder) = Nursery::of(&ECHO.source());
    assert!(nursery.described().unwrap()[0].takes_messages);
    let mut engine = nursery.fork_ready();
    engine.say(&ToEngine::Message { processor: 0 }, b"{\"x\":1}");
    let (place, payload) = engine.until_with(|message| match message {
        FromEngine::Message { processor } => Some(processor),
        _ => None,
    });
    assert_eq!((place, payload.as_slice()), (0, &b"[{\"x\":1},{\"x\":1}]"[..]));
}

#[test]
fn messages_that_are_not_taken_are_logged() {
    let (mut nursery, _folder) = Nursery::of(&ECHO.source());
    let mut engine = nursery.fork_ready();
    let long = format!("\"{}\"", "x".repeat(16 << 10));
    for (place, json, expected) in [
        (
            0,
            &b"\"12345678901234567890123456789012345678901\""[..],
            "`echo` refused a message: receive returned FG_ERROR_LIMIT (-4)",
        ),
        (0, b"{", "a message for `echo` is no JSON of at most 16384 bytes"),
        (0, long.as_bytes(), "a message for `echo` is no JSON of at most 16384 bytes"),
        (2, b"1", "a message for processor number 2, but the pipeline has 1"),
    ] {
        engine.say(&ToEngine::Message { processor: place }, json);
        assert_eq!(engine.log_line(), expected);
    }
    let (mut nursery, _folder) = Nursery::of(&Level2::NOTHING.source());
    assert!(!nursery.described().unwrap()[0].takes_messages);
    let mut engine = nursery.fork_ready();
    engine.say(&ToEngine::Message { processor: 0 }, b"1");
    assert_eq!(engine.log_line(), "`test` refused a message: it takes no messages");
}

#[test]
fn what_a_processor_sends_is_checked_and_bounded() {
    let source = Level2 {
        create: r#"const fg_host_message *page = host->get_extension(host, FG_EXT_MESSAGE);
            static char big[20000]; memset(big, '1', sizeof big);
            if (page->send(host, big, 16384) != FG_OK || page->send(host, big, 16385) != FG_ERROR_LIMIT) return FG_ERROR;
            if (page->send(host, "{", 1) != FG_ERROR_ARGUMENT || page->send(host, "\"\xff\"", 3) != FG_ERROR_ARGUMENT) return FG_ERROR;
            if (page->send(host, 0, 0) != FG_ERROR_ARGUMENT || page->send(host, "", 0) != FG_ERROR_ARGUMENT) return FG_ERROR;
            int sent = 0; for (int i = 0; i < 200; i++) sent += page->send(host, "7", 1) == FG_OK;
            host->log(host, FG_LOG_INFO, sent < 45 ? "bounded" : "unbounded");"#,
        ..Level2::NOTHING
    }
    .source();
    let (mut nursery, _folder) = Nursery::of(&source);
    let mut engine = nursery.fork();
    let mut heard = 0;
    let line = loop {
        match engine.hear().unwrap() {
            (FromEngine::Message { processor: 0 }, payload) => heard += usize::from(payload == b"7"),
            (FromEngine::Log { text, .. }, _) => break text,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(line, "bounded");
    // A second may begin in between, and with it another twenty.
    assert!((19..=40).contains(&heard), "{heard} messages");
}

#[test]
fn the_clock_is_the_machines_and_randomness_is_the_seeds() {
    let source = Level2 {
        process: r#"const fg_host_clock *clock = host->get_extension(host, FG_EXT_CLOCK);
            const fg_host_random *random = host->get_extension(host, FG_EXT_RANDOM);
            uint32_t numbers[3] = {0, 0, 0};
            if (!clock || !random || random->fill(host, numbers, 12) || random->fill(host, 0, 0)) return FG_ERROR;
            if (random->fill(host, 0, 1) != FG_ERROR_ARGUMENT) return FG_ERROR;
            return fg_data_printf(out, "[%lld,%u,%u,%u]", (long long)clock->now_ns(host), numbers[0], numbers[1], numbers[2]);"#,
        ..Level2::NOTHING
    }
    .source();
    let (mut nursery, _folder) = Nursery::of(&source);
    let units = clip(64, 64, 2);
    let mut numbers = |seed| {
        let mut engine = nursery.fork_with(seed, &[], &[]);
        let mut said = Vec::new();
        for (seq, unit) in (1..).zip(&units) {
            let before = now_ns();
            let (_, data) = engine.process(seq, unit);
            let values: Vec<u64> = serde_json::from_str(&data).unwrap();
            assert!((before..=now_ns()).contains(&values[0]), "{data}");
            said.push(values[1..].to_vec());
        }
        engine.close();
        nursery.exited(&engine);
        said
    };
    let first = numbers(7);
    assert_ne!(first[0], first[1]);
    assert_eq!(numbers(7), first);
    assert_ne!(numbers(8), first);
}

#[test]
fn an_error_in_the_processors_own_words_is_the_frames_outcome() {
    let source = Level2 {
        process: r#"if (frame->seq == 1) { out->error(out, "not yet"); out->error(out, "no face model at models/face.xml"); return FG_OK; }
            if (frame->seq == 2) { out->error(out, "words"); return -9; }
            if (frame->seq == 3) { char *long_text = malloc(5000); memset(long_text, 'x', 4999); long_text[4999] = 0;
                out->error(out, long_text); free(long_text); return FG_OK; }
            return FG_OK;"#,
        ..Level2::NOTHING
    }
    .source();
    let (mut nursery, _folder) = Nursery::of(&source);
    let mut engine = nursery.fork_ready();
    let units = clip(64, 64, 4);
    let long = "x".repeat(1024);
    for (seq, expected) in (1..).zip(["no face model at models/face.xml", "words", &long]) {
        let (result, _) = engine.process(seq, &units[usize::try_from(seq).unwrap() - 1]);
        assert_eq!(result.status, Status::Error { code: "processor".into(), text: expected.into() });
    }
    assert_eq!(engine.process(4, &units[3]).0.status, Status::Ok);
}

#[test]
fn the_last_error_line_of_create_is_the_reason() {
    let create = r#"host->log(host, FG_LOG_ERROR, "first"); host->log(host, FG_LOG_ERROR, "no model at models/face.xml");
        host->log(host, FG_LOG_INFO, "giving up"); return FG_ERROR;"#;
    let (mut nursery, _folder) = Nursery::of(&Level2 { create, ..Level2::NOTHING }.source());
    let expected = "`test` cannot be made: its create returned FG_ERROR (-1): no model at models/face.xml";
    assert_eq!(nursery.described(), Err(expected.to_owned()));
    assert_eq!(nursery.fork().fault(), expected);
}
