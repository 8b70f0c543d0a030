//! The examples in C, linked with a small host that plays synthetic frames to them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{root, run, scratch, strict};

/// One frame's answer.
#[derive(Debug)]
struct Answer {
    status: i32,
    data: String,
    /// `x, y, width, height, score, track` each.
    boxes: Vec<[f32; 6]>,
}

fn example(name: &str) -> PathBuf {
    root().join("examples/c").join(name)
}

/// Links an example with the host; the sanitizers end the program at the first wrong access.
fn link(folder: &Path, source: &Path, arguments: &[&str]) -> PathBuf {
    let program = folder.join("host");
    let host = root().join("crates/framegate-abi/tests/c/host.c");
    // Sign conversions are part of pixel arithmetic: the examples stay readable without a cast at each.
    run(strict("gcc").arg("-Wno-conversion").args(arguments).args([&host, source]).arg("-o").arg(&program));
    program
}

fn sanitized(test: &str, name: &str) -> PathBuf {
    let flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    link(&scratch(test), &example(name), &flags)
}

fn play(program: &Path, arguments: &[&str]) -> Vec<Answer> {
    let output = run(Command::new(program).args(arguments));
    String::from_utf8(output.stdout).unwrap().lines().map(parse).collect()
}

fn parse(line: &str) -> Answer {
    let mut words = line.split(' ').skip(1);
    let status = words.next().unwrap().parse().unwrap();
    let data = words.next().unwrap().to_owned();
    let boxes = words.skip(1).map(|found| {
        let numbers: Vec<f32> = found.split(',').map(|number| number.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    });
    Answer { status, data, boxes: boxes.collect() }
}

#[test]
fn every_example_and_test_processor_compiles_with_the_one_line() {
    let folder = scratch("one-line");
    let include = root().join("crates/framegate-abi/include");
    for sources in [root().join("examples/c"), root().join("testdata/processors")] {
        for entry in std::fs::read_dir(sources).unwrap() {
            let source = entry.unwrap().path();
            if source.extension().is_some_and(|extension| extension == "c") {
                let library = folder.join(source.with_extension("so").file_name().unwrap());
                let mut command = Command::new("cc");
                command.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-I"]).arg(&include);
                run(command.arg(&source).arg("-o").arg(library));
            }
        }
    }
}

#[test]
fn brightness_is_the_mean_of_all_bytes() {
    let program = sanitized("brightness", "brightness.c");
    assert_eq!(play(&program, &["dark", "1", "5", "3"])[0].data.as_bytes()[..8], *b"{\"mean\":");
    let answers = play(&program, &["still", "3"]);
    let mean: f32 = answers[0].data.trim_start_matches("{\"mean\":").trim_end_matches('}').parse().unwrap();
    assert!((110.0..140.0).contains(&mean), "{mean}");
    assert!(answers.iter().all(|answer| answer.status == 0 && answer.boxes.is_empty()));
}

#[test]
fn readall_touches_every_byte_and_no_other() {
    let program = sanitized("readall", "readall.c");
    for (width, height) in [("1", "1"), ("641", "479"), ("640", "480")] {
        let answers = play(&program, &["still", "2", width, height]);
        assert!(answers.iter().all(|answer| answer.status == 0 && answer.data.starts_with("{\"sum\":")));
    }
}

#[test]
fn framecode_reads_each_number_at_any_size() {
    let program = sanitized("framecode", "framecode.c");
    for (width, height) in [("640", "480"), ("320", "240"), ("1280", "720"), ("641", "479"), ("72", "16")] {
        for (index, answer) in play(&program, &["number", "12", width, height]).iter().enumerate() {
            assert_eq!(answer.data, format!("{{\"number\":{}}}", index * 97), "{width}x{height}");
            assert_eq!(answer.boxes.len(), 1);
        }
    }
}

#[test]
fn framecode_says_null_rather_than_a_wrong_number() {
    let program = sanitized("framecode-null", "framecode.c");
    for scene in ["torn", "still", "dark"] {
        for (width, height) in [("640", "480"), ("20", "4"), ("1", "1")] {
            for answer in play(&program, &[scene, "5", width, height]) {
                assert_eq!((answer.data.as_str(), answer.boxes.len()), ("{\"number\":null}", 0), "{scene}");
            }
        }
    }
}

#[test]
fn motion_ignores_noise_exposure_and_a_new_scene() {
    let program = sanitized("motion-quiet", "motion.c");
    for scene in ["still", "dim", "cut", "dark"] {
        for answer in play(&program, &[scene, "180"]) {
            assert_eq!((answer.status, answer.boxes.len()), (0, 0), "{scene}: {answer:?}");
        }
    }
}

#[test]
fn motion_follows_a_disc_with_one_box() {
    let program = sanitized("motion-ball", "motion.c");
    let answers = play(&program, &["ball", "450"]);
    // The disc crosses every 90 frames; the first crossings are learning, and at the edges it is cut or in two places.
    let crossing = |index: &usize| *index > 270 && (15..80).contains(&(index % 90));
    for index in (0..answers.len()).filter(crossing) {
        let [found] = answers[index].boxes[..] else { panic!("frame {index}: {:?}", answers[index]) };
        let [x, y, width, height, score, track] = found;
        let expected = (index % 90) as f32 / 90.0;
        assert!((x + width / 2.0 - expected).abs() < 0.02, "frame {index}: {found:?}, disc at {expected}");
        assert!((y + height / 2.0 - 0.5).abs() < 0.02, "frame {index}: {found:?}");
        assert!((0.12..0.20).contains(&width) && (0.17..0.23).contains(&height), "frame {index}: {found:?}");
        assert!((0.4..=1.0).contains(&score) && track >= 1.0, "frame {index}: {found:?}");
    }
    let tracks = |range: std::ops::Range<usize>| range.map(|index| answers[index].boxes[0][5]).collect::<Vec<_>>();
    assert!(tracks(285..350).windows(2).all(|pair| pair[0] == pair[1]), "one disc keeps one identity");
}

#[test]
fn motion_ends_when_the_disc_rests() {
    let program = sanitized("motion-stop", "motion.c");
    let answers = play(&program, &["stop", "140"]);
    assert!(answers[30..60].iter().all(|answer| !answer.boxes.is_empty()));
    assert!(answers[95..].iter().all(|answer| answer.boxes.is_empty()), "half a second later nothing moves");
}

/// How much two boxes have in common: the area of both over the area of either.
fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let along = |axis: usize| (a[axis] + a[axis + 2]).min(b[axis] + b[axis + 2]) - a[axis].max(b[axis]);
    let both = along(0).max(0.0) * along(1).max(0.0);
    both / (a[2] * a[3] + b[2] * b[3] - both)
}

/// Plays a thing of `size` that goes to and fro by `step` (pixels of 640 x 480), and compares each box with its place.
fn check_box_on_thing(scene: &str, step: u16, size: [f32; 2]) {
    let program = sanitized(&format!("motion-{scene}"), "motion.c");
    let answers = play(&program, &[scene, "300"]);
    let (mut poor, mut ghosts, mut tracks) = (Vec::new(), Vec::new(), Vec::new());
    // From half a second and the three frames on that a thing needs to be believed.
    for (index, answer) in (0_u16..).zip(&answers).skip(20) {
        let way = index * step % 880;
        let at = f32::from(100 + if way > 440 { 880 - way } else { way });
        let [width, height] = [size[0] / 640.0, size[1] / 480.0];
        let thing = [at / 640.0 - width / 2.0, 0.5 - height / 2.0, width, height];
        let boxes =
            answer.boxes.iter().map(|found| (overlap(thing, [found[0], found[1], found[2], found[3]]), found[5]));
        let (best, track) = boxes.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default();
        assert!(best > 0.45, "frame {index}: {best}, {answer:?}");
        if best < 0.7 {
            poor.push((index, best));
        }
        if answer.boxes.len() > 1 {
            ghosts.push(index);
        }
        tracks.push(track);
    }
    assert!(poor.len() <= 14, "more than one frame in twenty: {poor:?}");
    assert!(ghosts.len() <= 14, "more than one frame in twenty: {ghosts:?}");
    tracks.dedup();
    assert_eq!(tracks.len(), 1, "one thing keeps one identity: {tracks:?}");
}

#[test]
fn motion_puts_the_box_where_the_disc_is_now() {
    check_box_on_thing("roll", 6, [80.0, 80.0]);
}

#[test]
fn motion_sees_a_textured_thing_on_texture_as_one() {
    check_box_on_thing("drift", 4, [120.0, 90.0]);
}
