//! Pictures that go back, and pictures on request.

use framegate_wire::{FromEngine, Seq, Status, ToEngine, View};

use crate::support::{Engine, Level2, Nursery, clip, level_1, mjpeg_mean};

/// Asks for a picture, sends one frame, and gives the JPEG and the frame it shows.
fn snapshot(engine: &mut Engine, view: View, seq: u64, unit: &crate::support::Unit) -> (Vec<u8>, Seq) {
    engine.say(&ToEngine::Snapshot { id: 70 + seq, view }, &[]);
    engine.unit(seq, unit);
    let (shown, jpeg) = engine.until_with(|message| match message {
        FromEngine::Snapshot { id, seq: shown } if id == 70 + seq => Some(shown),
        _ => None,
    });
    (jpeg, shown)
}

/// Asserts that a JPEG is of this size and of one colour, red, green, blue.
fn check(jpeg: &[u8], size: (u32, u32), color: [u8; 3]) {
    let (found, mean) = mjpeg_mean(jpeg);
    assert_eq!((found.width, found.height), size);
    let near = mean.iter().zip(color).all(|(a, b)| a.abs_diff(b) <= 4);
    assert!(near, "{mean:?} instead of {color:?}");
}

/// Submits a blue picture of 40x20 when one is wanted, and says whether it was.
const SUBMITS: Level2<'_> = Level2 {
    process: r#"const fg_out_image *image = out->get_extension(out, FG_EXT_IMAGE);
        static uint8_t pixels[20][130]; fg_picture picture = {sizeof picture, FG_RGB24, 40, 20, 1, 0, {{0, 0, 0, 0}}};
        for (int y = 0; y < 20; y++) for (int x = 0; x < 120; x++) pixels[y][x] = x % 3 == 2 ? 255 : 0;
        picture.planes[0].data = &pixels[0][0]; picture.planes[0].stride_bytes = 130;
        picture.planes[0].width = 40; picture.planes[0].height = 20;
        int wanted = image->is_wanted(out), status = image->submit(out, &picture);
        memset(pixels, 77, sizeof pixels);
        return fg_data_printf(out, "[%d,%d]", wanted, status);"#,
    ..Level2::NOTHING
};

#[test]
fn the_decoded_picture_is_shown() {
    let (mut nursery, _folder) = Nursery::of(&level_1("", "return FG_NO_RESULT;"));
    let mut engine = nursery.fork_ready();
    // Luma 16 + 60 of limited range is 60 * 255 / 219 of full range.
    let units = clip(160, 120, 61);
    for (seq, unit) in (1..).zip(&units[..60]) {
        engine.process(seq, unit);
    }
    let (jpeg, shown) = snapshot(&mut engine, View::Source, 61, &units[60]);
    assert_eq!(shown, Seq(61));
    check(&jpeg, (160, 120), [70; 3]);
    let (jpeg, shown) = snapshot(&mut engine, View::Processed, 62, &units[60]);
    assert_eq!((jpeg.len(), shown), (0, Seq(62)), "nothing was made of it");
}

#[test]
fn a_submitted_picture_is_shown_and_copied_only_when_wanted() {
    let (mut nursery, _folder) = Nursery::of(&SUBMITS.source());
    let mut engine = nursery.fork_ready();
    let units = clip(64, 64, 3);
    engine.unit(1, &units[0]);
    let mut returns_image = 0;
    let data = loop {
        match engine.hear().unwrap() {
            (FromEngine::Result(_), data) => break String::from_utf8(data).unwrap(),
            (FromEngine::ReturnsImage, _) => returns_image += 1,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((data.as_str(), returns_image), ("[0,0]", 0));
    assert_eq!(engine.hear().unwrap().0, FromEngine::ReturnsImage);
    engine.say(&ToEngine::Snapshot { id: 5, view: View::Processed }, &[]);
    let (_, data) = engine.process(2, &units[1]);
    assert_eq!(data, "[1,0]");
    let (message, jpeg) = engine.hear().unwrap();
    assert_eq!(message, FromEngine::Snapshot { id: 5, seq: Seq(2) }, "and ReturnsImage is said once");
    check(&jpeg, (40, 20), [0, 0, 255]);
    assert_eq!(engine.process(3, &units[2]).1, "[0,0]");
}

#[test]
fn a_frame_can_be_its_own_picture() {
    for (submit, format, fill) in [
        (
            "image->submit_frame(out);",
            "FG_BGR24",
            "for (uint32_t i = 0; i < frame->width; i++) { row[3 * i] = 0; row[3 * i + 1] = 255; row[3 * i + 2] = 0; }",
        ),
        (
            "image->submit_frame(out);",
            "FG_BGRA",
            "for (uint32_t i = 0; i < frame->width; i++) { row[4 * i] = 0; row[4 * i + 1] = 255; row[4 * i + 2] = 0; }",
        ),
        // Who writes into frames and says nothing of pictures is shown all the same.
        (
            "(void)image;",
            "FG_BGR24",
            "for (uint32_t i = 0; i < frame->width; i++) { row[3 * i] = 0; row[3 * i + 1] = 255; row[3 * i + 2] = 0; }",
        ),
    ] {
        let create = format!(
            "const fg_host_want *want = host->get_extension(host, FG_EXT_WANT);
             fg_want w = {{sizeof w, FG_WANT_WRITABLE, {format}, 32, 24, 0}}; if (want->set(host, &w)) return FG_ERROR;"
        );
        let process = format!(
            "const fg_out_image *image = out->get_extension(out, FG_EXT_IMAGE); {submit}
             for (uint32_t y = 0; y < frame->height; y++) {{ uint8_t *row = frame->planes[0].data + y * frame->planes[0].stride_bytes; {fill} }}
             return FG_OK;"
        );
        let (mut nursery, _folder) =
            Nursery::of(&Level2 { create: &create, process: &process, ..Level2::NOTHING }.source());
        let mut engine = nursery.fork_ready();
        let (jpeg, _) = snapshot(&mut engine, View::Processed, 1, &clip(64, 64, 1)[0]);
        check(&jpeg, (32, 24), [0, 255, 0]);
    }
}

#[test]
fn planar_frames_are_shown_as_decoded() {
    for format in ["FG_I420", "FG_NV12", "FG_GRAY8"] {
        let create = format!(
            "const fg_host_want *want = host->get_extension(host, FG_EXT_WANT);
             fg_want w = {{sizeof w, 0, {format}, 0, 0, 0}}; if (want->set(host, &w)) return FG_ERROR;"
        );
        let process =
            "const fg_out_image *image = out->get_extension(out, FG_EXT_IMAGE); return image->submit_frame(out);";
        let (mut nursery, _folder) = Nursery::of(&Level2 { create: &create, process, ..Level2::NOTHING }.source());
        let mut engine = nursery.fork_ready();
        let units = clip(66, 34, 40);
        for (seq, unit) in (1..).zip(&units[..39]) {
            engine.process(seq, unit);
        }
        let (jpeg, _) = snapshot(&mut engine, View::Processed, 40, &units[39]);
        check(&jpeg, (66, 34), [45; 3]);
    }
}

#[test]
fn pictures_that_are_none_are_errors_of_their_frame() {
    let spoil = |change: &str| SUBMITS.process.replace("int wanted", &format!("{change} int wanted"));
    for (change, expected) in [
        ("picture.format = 99;", "format 99 is none"),
        ("picture.width = 0;", "is 0x20"),
        ("picture.width = 8192; picture.height = 8192;", "is 8192x8192; at most 8192 a side and 8847360 pixels"),
        ("picture.plane_count = 3;", "has 3 planes; its format has 1"),
        ("picture.planes[0].stride_bytes = 119;", "plane 0 of a submitted picture"),
        ("picture.planes[0].stride_bytes = -130;", "plane 0 of a submitted picture"),
        ("picture.planes[0].data = 0;", "plane 0 of a submitted picture"),
        ("picture.struct_size = 8;", "struct_size is not sizeof(fg_picture)"),
    ] {
        let process = spoil(change);
        let (mut nursery, _folder) = Nursery::of(&Level2 { process: &process, ..SUBMITS }.source());
        let mut engine = nursery.fork_ready();
        let (result, _) = engine.process(1, &clip(64, 64, 1)[0]);
        let Status::Error { code, text } = result.status else { panic!("{change} was accepted") };
        assert_eq!(code, "bad_image");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn of_many_requests_the_oldest_are_answered_with_none() {
    let (mut nursery, _folder) = Nursery::of(&level_1("", "return FG_NO_RESULT;"));
    let mut engine = nursery.fork_ready();
    for id in 1..=6 {
        engine.say(&ToEngine::Snapshot { id, view: View::Source }, &[]);
    }
    let mut answer =
        || engine.until_with(|message| if let FromEngine::Snapshot { id, .. } = message { Some(id) } else { None });
    assert_eq!((answer(), answer()), ((1, Vec::new()), (2, Vec::new())));
    engine.unit(1, &clip(64, 64, 1)[0]);
    for expected in 3..=6 {
        let (id, jpeg) =
            engine.until_with(|message| if let FromEngine::Snapshot { id, .. } = message { Some(id) } else { None });
        assert_eq!(id, expected);
        assert!(jpeg.starts_with(&[0xff, 0xd8]));
    }
}
