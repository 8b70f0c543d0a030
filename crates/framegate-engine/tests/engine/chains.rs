//! Several processors on one picture.

use framegate_wire::{FromEngine, NamedValue, SavedState, Status, ToEngine};

use crate::support::{Folder, Level2, Nursery, chain, clip};

/// Adds its parameter to the first byte of the picture, and says what it found there.
fn adder(name: &str) -> String {
    Level2 {
        name,
        globals: r#"
            static double add = 1;
            static const fg_param table[] = {{"add", 0, 0, 0, 0, 0, 0, FG_PARAM_INT, 0, 100, 0, 1, 0}};
            static int32_t set(fg_processor *p, uint32_t i, const fg_param_value *v) { (void)p; (void)i; add = v->number; return 0; }
            static const fg_params params = {sizeof params, 1, table, set};"#,
        extension: "if (!strcmp(id, FG_EXT_PARAMS)) return &params;",
        create: r#"const fg_host_want *want = host->get_extension(host, FG_EXT_WANT);
            fg_want w = {sizeof w, FG_WANT_WRITABLE, FG_GRAY8, 0, 0, 0}; if (want->set(host, &w)) return FG_ERROR;
            host->log(host, FG_LOG_INFO, "made");"#,
        process: r#"uint8_t before = frame->planes[0].data[0];
            frame->planes[0].data[0] = (uint8_t)(before + add);
            fg_detect(out, "seen", 1, 0, 0, 1, 1);
            return fg_data_printf(out, "[%u,%u]", before, frame->flags);"#,
    }
    .source()
}

#[test]
fn each_sees_the_frame_as_the_one_before_left_it() {
    let folder = Folder::new();
    let (one, two) = (folder.compile("one", &adder("one"), &[]), folder.compile("two", &adder("two"), &[]));
    let pipeline = chain(&[(&one, &[("add", "5")]), (&two, &[]), (&two, &[("add", "9")])]);
    let mut nursery = Nursery::start_pipeline(&pipeline, &[]);
    let loaded = nursery.ready();
    let names: Vec<_> = loaded.processors.iter().map(|processor| processor.name.as_str()).collect();
    assert_eq!(names, ["one", "two", "two"]);
    assert_eq!(nursery.described().unwrap().len(), 3);
    let mut engine = nursery.fork();
    let logs = [engine.log_line(), engine.log_line(), engine.log_line()];
    assert_eq!(logs, ["one: made", "two: made", "two-2: made"]);
    let units = clip(64, 64, 2);
    let (result, data) = engine.process(1, &units[0]);
    // Two instances of one library share its globals: the last value set is that of both.
    assert_eq!(data, r#"{"one":[0,3],"two":[5,3],"two-2":[14,3]}"#);
    assert_eq!((result.status, result.detections.len(), result.processors_us.len()), (Status::Ok, 3, 3));
    let sum: u32 = result.processors_us.iter().sum();
    assert!(sum <= result.timing.process_us && result.timing.process_us - sum <= 3, "{:?}", result.timing);
    let value = NamedValue { processor: 0, id: "add".into(), json: "100".into() };
    engine.say(&ToEngine::SetParams { id: 3, values: vec![value.clone()] }, &[]);
    let (values, refused) = engine.until(|message| match message {
        FromEngine::Params { id: 3, values, refused } => Some((values, refused)),
        _ => None,
    });
    assert_eq!((values, refused.len()), (vec![value], 0));
    let (_, data) = engine.process(2, &units[1]);
    assert!(data.starts_with(r#"{"one":[1,1],"two":[101,1],"#), "{data}");
}

#[test]
fn an_error_ends_the_frame_and_names_its_processor() {
    let folder = Folder::new();
    let good = Level2 { name: "good", process: "return fg_data_printf(out, \"1\");", ..Level2::NOTHING };
    let bad = Level2 {
        name: "bad",
        process: "if (frame->seq == 1) { out->error(out, \"too dark\"); } return frame->seq == 2 ? -7 : FG_OK;",
        ..Level2::NOTHING
    };
    let (good, bad) = (folder.compile("good", &good.source(), &[]), folder.compile("bad", &bad.source(), &[]));
    let mut nursery = Nursery::start_pipeline(&chain(&[(&good, &[]), (&bad, &[]), (&good, &[])]), &[]);
    nursery.ready();
    let mut engine = nursery.fork_ready();
    let units = clip(64, 64, 3);
    for (seq, expected) in [(1, "bad: too dark"), (2, "bad: process returned -7")] {
        let (result, data) = engine.process(seq, &units[usize::try_from(seq).unwrap() - 1]);
        assert_eq!(result.status, Status::Error { code: "processor".into(), text: expected.into() });
        assert_eq!((data.as_str(), result.processors_us.len()), (r#"{"good":1}"#, 2), "the third was not called");
    }
    assert_eq!(engine.process(3, &units[2]).1, r#"{"good":1,"good-2":1}"#);
}

#[test]
fn the_limits_hold_for_all_together() {
    let folder = Folder::new();
    let many = Level2 {
        name: "many",
        process: "for (int i = 0; i < 200; i++) fg_detect(out, \"x\", 1, 0, 0, 1, 1); return FG_OK;",
        ..Level2::NOTHING
    };
    let large = Level2 {
        name: "large",
        process: "static char text[40000]; memset(text, '1', sizeof text); return out->data(out, text, sizeof text);",
        ..Level2::NOTHING
    };
    for (processor, code, text) in [
        (many, "too_many", "many-2: more than 256 detections with those of the processors before it"),
        (large, "too_large", "large-2: more than 49152 bytes of data with those of the processors before it"),
    ] {
        let library = folder.compile(processor.name, &processor.source(), &[]);
        let mut nursery = Nursery::start_pipeline(&chain(&[(&library, &[]), (&library, &[])]), &[]);
        nursery.ready();
        let (result, _) = nursery.fork_ready().process(1, &clip(64, 64, 1)[0]);
        assert_eq!(result.status, Status::Error { code: code.into(), text: text.into() });
    }
}

#[test]
fn wants_that_do_not_go_together_name_both() {
    let folder = Folder::new();
    let wants = |name: &str, want: &str| {
        let create = format!(
            "const fg_host_want *want = host->get_extension(host, FG_EXT_WANT);
             fg_want w = {{sizeof w, FG_WANT_WRITABLE, {want}}}; if (want->set(host, &w)) return FG_ERROR;"
        );
        folder.compile(name, &Level2 { name, create: &create, ..Level2::NOTHING }.source(), &[])
    };
    let small = wants("small", "FG_GRAY8, 320, 240, 0");
    let other = wants("other", "FG_GRAY8, 640, 480, 0");
    let text = "`other` changes its frames and wants GRAY8 of 640x480, but `small`, the first of the chain, wants GRAY8 of \
                320x240;";
    let mut nursery = Nursery::start_pipeline(&chain(&[(&small, &[]), (&other, &[])]), &[]);
    nursery.ready();
    let said = nursery.described().unwrap_err();
    assert!(said.starts_with(&format!("pipeline `test`: {text}")), "{said}");
    assert_eq!(nursery.fork().fault(), said);
    let any = wants("any", "FG_GRAY8, 0, 0, 0");
    let mut nursery = Nursery::start_pipeline(&chain(&[(&small, &[]), (&any, &[])]), &[]);
    nursery.ready();
    assert_eq!(nursery.fork_ready().process(1, &clip(64, 64, 1)[0]).0.status, Status::Ok);
}

/// Wants frames like this one, and says what it got; paints them first if it may.
fn painter(name: &str, want: &str) -> String {
    let create = format!(
        "const fg_host_want *want = host->get_extension(host, FG_EXT_WANT);
         fg_want w = {{sizeof w, {want}, 0}}; if (want->set(host, &w)) return FG_ERROR;"
    );
    let process = r#"const fg_plane *plane = &frame->planes[0];
        if (frame->flags & FG_FRAME_WRITABLE) memset(plane->data, 200, (size_t)(plane->stride_bytes * plane->height));
        return fg_data_printf(out, "[%u,%u,%u,%u]", frame->format, frame->width, frame->height,
                              plane->data[plane->stride_bytes * (plane->height / 2) + plane->width / 2]);"#;
    Level2 { name, create: &create, process, ..Level2::NOTHING }.source()
}

#[test]
fn one_that_wants_other_frames_gets_a_copy_as_the_one_before_left_it() {
    let folder = Folder::new();
    let compile = |name: &str, want: &str| folder.compile(name, &painter(name, want), &[]);
    let first = compile("first", "0, FG_BGR24, 0, 0");
    let paint = compile("paint", "FG_WANT_WRITABLE, FG_BGR24, 0, 0");
    let gray = compile("gray", "0, FG_GRAY8, 32, 24");
    let run = |pipeline| {
        let mut nursery = Nursery::start_pipeline(&pipeline, &[]);
        nursery.ready();
        let mut engine = nursery.fork_ready();
        let units = clip(160, 120, 2);
        assert_eq!(engine.process(1, &units[0]).0.status, Status::Ok);
        serde_json::from_str::<serde_json::Value>(&engine.process(2, &units[1]).1).unwrap()
    };
    let said = run(chain(&[(&first, &[]), (&gray, &[]), (&paint, &[]), (&gray, &[])]));
    let gray = |name: &str| said[name][3].as_u64().unwrap();
    assert_eq!((&said["first"][1], &said["paint"][1]), (&160.into(), &160.into()));
    assert_eq!((&said["gray"][0], &said["gray"][1], &said["gray"][2]), (&4.into(), &32.into(), &24.into()));
    assert_eq!((&said["gray-2"][0], &said["gray-2"][1]), (&4.into(), &32.into()));
    assert_eq!(said["paint"][3], 200);
    assert!(gray("gray-2").abs_diff(200) <= 1, "it was painted before: {said}");
    assert!(gray("gray").abs_diff(200) > 8, "it was not painted yet: {said}");
}

#[test]
fn the_lowest_rate_of_a_chain_rules() {
    let folder = Folder::new();
    let rate = |name: &str, rate: u32| {
        let create = format!(
            "const fg_host_want *want = host->get_extension(host, FG_EXT_WANT);
             fg_want w = {{sizeof w, 0, 0, 0, 0, {rate}}}; if (want->set(host, &w)) return FG_ERROR;"
        );
        folder.compile(name, &Level2 { name, create: &create, ..Level2::NOTHING }.source(), &[])
    };
    let (fast, slow, any) = (rate("fast", 20_000), rate("slow", 5_000), rate("any", 0));
    let mut nursery = Nursery::start_pipeline(&chain(&[(&any, &[]), (&fast, &[]), (&slow, &[])]), &[]);
    nursery.ready();
    let mut engine = nursery.fork();
    let want = engine.until(|message| if let FromEngine::Want(want) = message { Some(want) } else { None });
    assert_eq!(want.rate_millihertz, 5_000);
}

#[test]
fn messages_and_states_reach_their_own_processor() {
    let folder = Folder::new();
    let keeper = |name: &str| {
        let source = Level2 {
            name,
            globals: r#"
                static char kept[40] = "nothing";
                static int64_t save(fg_processor *p, void *bytes, uint64_t capacity) { (void)p; (void)capacity; memcpy(bytes, kept, 40); return 40; }
                static int32_t load(fg_processor *p, uint32_t v, const void *bytes, uint64_t length) { (void)p; (void)v; memcpy(kept, bytes, length); return 0; }
                static const fg_state state = {sizeof state, 1, save, load};
                static int32_t receive(fg_processor *p, const char *json, uint64_t length) {
                    (void)p; const fg_host_message *page = host->get_extension(host, FG_EXT_MESSAGE); return page->send(host, json, length); }
                static const fg_message message = {sizeof message, 0, receive};"#,
            extension: "if (!strcmp(id, FG_EXT_STATE)) return &state; if (!strcmp(id, FG_EXT_MESSAGE)) return &message;",
            process: r#"return fg_data_printf(out, "\"%s\"", kept);"#,
            ..Level2::NOTHING
        };
        folder.compile(name, &source.source(), &[])
    };
    let (left, right) = (keeper("left"), keeper("right"));
    let mut nursery = Nursery::start_pipeline(&chain(&[(&left, &[]), (&right, &[])]), &[]);
    nursery.ready();
    let state = |processor, name: &str| {
        let bytes = format!("of {name}\0").into_bytes();
        SavedState { processor, name: name.into(), version: 1, bytes }
    };
    let mut engine = nursery.fork_with(1, &[], &[state(0, "left"), state(1, "right")]);
    assert_eq!(engine.process(1, &clip(64, 64, 1)[0]).1, r#"{"left":"of left","right":"of right"}"#);
    for place in [1, 0] {
        engine.say(&ToEngine::Message { processor: place }, b"true");
        let from = engine.until(|message| match message {
            FromEngine::Message { processor } => Some(processor),
            _ => None,
        });
        assert_eq!(from, place);
    }
}

#[test]
fn a_crash_in_the_second_is_named() {
    let folder = Folder::new();
    let good = folder.compile("good", &Level2 { name: "good", ..Level2::NOTHING }.source(), &[]);
    let crash = Level2 {
        name: "bad",
        globals: "__attribute__((noinline)) static int find_nothing(volatile int *p) { return *p; }",
        process: "return find_nothing((int *)16);",
        ..Level2::NOTHING
    };
    let crash = folder.compile("bad", &crash.source(), &[]);
    let mut nursery = Nursery::start_pipeline(&chain(&[(&good, &[]), (&crash, &[])]), &[]);
    nursery.ready();
    let mut engine = nursery.fork_ready();
    engine.unit(1, &clip(64, 64, 1)[0]);
    let (_, fault) = nursery.exited(&engine);
    let fault = fault.unwrap();
    assert_eq!(fault.function.as_deref(), Some("find_nothing"));
    assert!(fault.location.unwrap().contains("bad.so+0x"));
}

#[test]
fn a_pipeline_has_one_to_eight_processors() {
    let folder = Folder::new();
    let library = folder.compile("test", &Level2::NOTHING.source(), &[]);
    for count in [0, 9] {
        let processors = vec![(library.as_path(), &[][..]); count];
        let text = Nursery::start_pipeline(&chain(&processors), &[]).fault();
        assert_eq!(text, format!("pipeline `test` has {count} processors; it takes 1 to 8"));
    }
    let mut nursery = Nursery::start_pipeline(&chain(&vec![(library.as_path(), &[][..]); 8]), &[]);
    nursery.ready();
    assert_eq!(nursery.fork_ready().process(1, &clip(64, 64, 1)[0]).0.processors_us.len(), 8);
}
