//! What an engine does while all goes well.

use framegate_wire::{
    DropReason, ExitKind, FromEngine, KeyframeReason, LogLevel, NurseryReply, Outcome, PixelFormat, Seq, SkipReason,
    Status, ToEngine, Want,
};

use crate::support::{Folder, Nursery, PRELUDE, clip, exists, level_1, unit_header};

/// Says everything a frame carries.
fn telltale() -> String {
    level_1(
        "",
        "fg_detect(out, \"all\", 1, 0, 0, 1, 1);
         return fg_data_printf(out, \"{\\\"flags\\\":%u,\\\"dropped\\\":%u,\\\"blue\\\":%d,\\\"stride\\\":%d,\\\"aligned\\\":%d,\\\"size\\\":[%u,%u],\\\"rtp\\\":%u}\",
             frame->flags, frame->dropped_before, frame->planes[0].data[0], (int)frame->planes[0].stride_bytes,
             (int)((uintptr_t)frame->planes[0].data % 64), frame->width, frame->height, frame->rtp_ts);",
    )
}

#[test]
fn each_unit_gets_its_result() {
    let (mut nursery, _folder) = Nursery::of(&telltale());
    let mut engine = nursery.fork_ready();
    for (seq, unit) in (1..).zip(&clip(160, 120, 10)) {
        let (result, data) = engine.process(seq, unit);
        assert_eq!((result.status, result.width, result.height, result.dropped_before), (Status::Ok, 160, 120, 0));
        assert_eq!(result.detections[0].bbox, [0.0, 0.0, 1.0, 1.0]);
        let flags = if seq == 1 { 2 } else { 0 };
        assert!(data.contains(&format!("\"flags\":{flags},\"dropped\":0,")), "{data}");
        assert!(data.contains("\"stride\":512,\"aligned\":0,\"size\":[160,120]"), "{data}");
        assert!(data.contains(&format!("\"rtp\":{}}}", seq * 3000)), "{data}");
    }
    let counts = engine.close();
    assert_eq!((counts.ok, counts.total()), (10, 10));
    assert_eq!(nursery.exited(&engine), (ExitKind::Code(0), None));
}

#[test]
fn descriptor_says_what_the_processor_is() {
    let folder = Folder::new();
    let library = folder.compile("test", &telltale(), &[]);
    let loaded = Nursery::start(&library, &[]).ready();
    let descriptor = &loaded.processors[0];
    assert_eq!((descriptor.name.as_str(), descriptor.version.as_str()), ("test", "1.0.0"));
    assert_eq!((descriptor.level, descriptor.language.as_str(), loaded.tasks), (1, "c", 1));
}

#[test]
fn of_what_arrives_together_only_the_newest_is_processed() {
    let (mut nursery, _folder) = Nursery::of(&telltale());
    let mut engine = nursery.fork_ready();
    let units = clip(160, 120, 6);
    engine.process(1, &units[0]);
    let mut bytes = Vec::new();
    for (seq, unit) in (2..).zip(&units[1..]) {
        framegate_wire::frame::write(&mut bytes, &ToEngine::Unit(unit_header(seq, unit.keyframe)), &unit.data).unwrap();
    }
    engine.say_bytes(&bytes);
    let mut skipped = Vec::new();
    let result = loop {
        match engine.hear().unwrap() {
            (FromEngine::Skipped { seq, reason: SkipReason::Newer }, _) => skipped.push(seq.0),
            (FromEngine::Result(result), _) => break result,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((result.seq, result.dropped_before), (Seq(6), 4));
    assert_eq!(skipped, [2, 3, 4, 5]);
    assert_eq!(engine.close().total(), 6);
}

#[test]
fn a_new_engine_of_an_old_stream_says_resumed_and_needs_a_keyframe() {
    let (mut nursery, _folder) = Nursery::of(&telltale());
    let mut engine = nursery.fork_ready();
    let units = clip(64, 64, 2);
    engine.unit(40, &units[1]);
    assert_eq!(engine.hear().unwrap().0, FromEngine::Skipped { seq: Seq(40), reason: SkipReason::NoKeyframe });
    assert_eq!(engine.hear().unwrap().0, FromEngine::KeyframeWanted(KeyframeReason::Loss));
    let (_, data) = engine.process(41, &units[0]);
    assert!(data.contains("\"flags\":6,"), "resumed and size changed: {data}");
    let (_, data) = engine.process(42, &units[1]);
    assert!(data.contains("\"flags\":0,"), "{data}");
}

#[test]
fn corrupt_and_too_large_units_are_dropped_and_the_engine_goes_on() {
    let (mut nursery, _folder) = Nursery::of(&telltale());
    let mut engine = nursery.fork_ready();
    let units = clip(64, 64, 2);
    engine.process(1, &units[0]);
    let mut broken = units[0].clone();
    broken.data.truncate(8);
    engine.unit(2, &broken);
    assert_eq!(engine.hear().unwrap().0, FromEngine::Dropped { seq: Seq(2), reason: DropReason::Corrupt });
    assert_eq!(engine.hear().unwrap().0, FromEngine::KeyframeWanted(KeyframeReason::Loss));
    let mut large = units[0].clone();
    // Width and height of a VP8 keyframe lie in bytes 6 to 9 (RFC 6386 §9.1).
    large.data[6..10].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
    engine.unit(3, &large);
    assert_eq!(engine.hear().unwrap().0, FromEngine::Dropped { seq: Seq(3), reason: DropReason::TooLarge });
    engine.process(4, &units[0]);
    let counts = engine.close();
    let mut expected = framegate_wire::Counts::default();
    for outcome in
        [Outcome::Ok, Outcome::Dropped(DropReason::Corrupt), Outcome::Dropped(DropReason::TooLarge), Outcome::Ok]
    {
        expected.add(outcome);
    }
    assert_eq!(counts, expected);
}

#[test]
fn wants_logs_and_configure_reach_the_other_side() {
    let source = format!(
        "{PRELUDE}
        static int configured;
        static int32_t configure(fg_processor *p, const fg_config *c) {{
            (void)p; configured = (int)(c->width * 10000 + c->height); return c->source_width == 160 ? FG_OK : FG_ERROR; }}
        static int32_t process(fg_processor *p, const fg_frame *f, const fg_out *out) {{
            (void)p; f->planes[0].data[0] = 1;
            return fg_data_printf(out, \"[%d,%u,%u,%u]\", configured, f->format, f->flags, f->plane_count); }}
        static int32_t create(const fg_host *host, fg_processor **made) {{
            static fg_processor one = {{sizeof one, 0, 0, configure, process, 0, 0}};
            const fg_host_want *want = host->get_extension(host, FG_EXT_WANT);
            fg_want w = {{sizeof w, FG_WANT_WRITABLE, FG_GRAY8, 80, 0, 10000}};
            if (!want || want->set(host, &w) != FG_OK || host->get_extension(host, \"fg.none/1\")) return FG_ERROR;
            w.format = 77;
            if (want->set(host, &w) != FG_ERROR_UNSUPPORTED) return FG_ERROR;
            for (int i = 0; i < 500; i++) host->log(host, FG_LOG_WARN, \"made\");
            *made = &one; return FG_OK; }}
        FG_ENTRY(\"wants\", \"1\", \"Wants.\", create)"
    );
    let (mut nursery, _folder) = Nursery::of(&source);
    let mut engine = nursery.fork();
    let (mut logs, mut wants) = (0, Vec::new());
    loop {
        match engine.hear().unwrap().0 {
            FromEngine::Log { level: LogLevel::Warn, text } if text == "made" => logs += 1,
            FromEngine::Want(want) => wants.push(want),
            FromEngine::Ready(_) => break,
            other => panic!("{other:?}"),
        }
    }
    // A second may begin in between, and with it another hundred.
    assert!((100..=200).contains(&logs), "{logs} lines");
    assert_eq!(wants, [Want { width: 80, height: 0, format: PixelFormat::Gray8, rate_millihertz: 10_000 }]);
    let units = clip(160, 120, 4);
    assert_eq!(engine.process(1, &units[0]).1, "[800060,4,3,1]");
    for seq in 2..=3 {
        engine.unit(seq, &units[usize::try_from(seq).unwrap() - 1]);
        let skipped = FromEngine::Skipped { seq: Seq(seq), reason: SkipReason::Rate };
        assert_eq!(engine.hear().unwrap().0, skipped);
    }
    assert_eq!(engine.process(4, &units[3]).1, "[800060,4,1,1]");
    let other = clip(64, 64, 1);
    engine.unit(7, &other[0]);
    let (result, _) = engine.result();
    let Status::Error { code, text } = result.status else { panic!("configure refused") };
    assert_eq!(code, "processor");
    assert!(text.contains("configure returned FG_ERROR (-1)"), "{text}");
}

#[test]
fn a_session_that_just_closes_ends_its_engine_quietly() {
    let (mut nursery, _folder) = Nursery::of(&telltale());
    let engine = nursery.fork_ready();
    let (pid, pidfd) = (engine.pid, engine.pidfd.try_clone().unwrap());
    drop(engine);
    crate::support::wait_readable(std::os::fd::AsFd::as_fd(&pidfd), "the end of the engine");
    let (NurseryReply::Exited { kind, .. }, _) = nursery.reply() else { panic!("no Exited") };
    assert_eq!(kind, ExitKind::Code(0));
    assert!(!exists(pid));
}

#[test]
fn forks_leave_neither_descriptors_nor_zombies() {
    let (mut nursery, _folder) = Nursery::of(&telltale());
    let proc = format!("/proc/{}", nursery.process.id());
    let descriptors = || std::fs::read_dir(format!("{proc}/fd")).unwrap().count();
    nursery.described().unwrap();
    let before = descriptors();
    for _ in 0..200 {
        let mut engine = nursery.fork();
        engine.close();
        assert_eq!(nursery.exited(&engine).0, ExitKind::Code(0));
    }
    assert_eq!(descriptors(), before);
    let children = std::fs::read_to_string(format!("{proc}/task/{}/children", nursery.process.id())).unwrap();
    assert_eq!(children.trim(), "");
}

#[test]
fn engines_are_independent() {
    let (mut nursery, _folder) =
        Nursery::of(&level_1("static int calls;", "return fg_data_printf(out, \"%d\", ++calls);"));
    let mut engines: Vec<_> = (0..5).map(|_| nursery.fork_ready()).collect();
    let units = clip(64, 64, 2);
    for engine in &mut engines {
        assert_eq!(engine.process(1, &units[0]).1, "1");
    }
    engines[2].kill();
    assert_eq!(nursery.exited(&engines[2]).0, ExitKind::Signal(9));
    for index in [0, 1, 3, 4] {
        assert_eq!(engines[index].process(2, &units[1]).1, "2");
    }
}

#[test]
fn overwriting_the_library_harms_no_engine() {
    let (mut nursery, folder) = Nursery::of(&telltale());
    let mut engine = nursery.fork_ready();
    let units = clip(64, 64, 3);
    engine.process(1, &units[0]);
    // In place, as `cp` does: a mapping of the file itself would now crash.
    std::fs::write(folder.0.join("test.so"), b"gone").unwrap();
    engine.process(2, &units[1]);
    let mut later = nursery.fork_ready();
    later.process(1, &units[0]);
}
