//! Clips are encoded, decoded and read back; damaged units end in an error or no picture, never worse.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use framegate_codec::{
    Converter, DecodeError, Decoder, EncodeError, EncodeFormat, Encoder, EncoderSettings, Keyframe, Layout, Numbering,
    Range, Scene, SceneKind, number_bar,
};
use framegate_wire::limits::{AREA_MAX, UNIT_BYTES_MAX};
use framegate_wire::{Codec, PictureSize, PixelFormat, vp8};

const SMALL: PictureSize = PictureSize { width: 320, height: 240 };

fn settings(size: PictureSize, kbit: u32) -> EncoderSettings {
    EncoderSettings { format: EncodeFormat::Vp8, size, range: Range::Limited, rate_hz: 30, kbit, key_interval: 30 }
}

fn clip(kind: SceneKind, size: PictureSize, kbit: u32, count: u32) -> Vec<Vec<u8>> {
    let mut scene = Scene::new(kind, size, 1, Numbering::Drawn).unwrap();
    let mut encoder = Encoder::new(&settings(size, kbit)).unwrap();
    (0..count).map(|index| encode(&mut encoder, &mut scene, index, Keyframe::WhenDue)).collect()
}

fn encode(encoder: &mut Encoder, scene: &mut Scene, index: u32, keyframe: Keyframe) -> Vec<u8> {
    let encoded = encoder.encode(&scene.draw(index), keyframe).unwrap().expect("real-time VP8 gives a unit a picture");
    assert_eq!(encoded.keyframe, vp8::is_keyframe(encoded.data));
    encoded.data.to_vec()
}

#[test]
fn numbers_survive_300_kbit_in_every_scene() {
    framegate_codec::preload().unwrap();
    for kind in [SceneKind::Room, SceneKind::Bars, SceneKind::Motion] {
        let units = clip(kind, SMALL, 300, 120);
        let bytes: usize = units.iter().map(Vec::len).sum();
        println!("{kind:?}: {} kbit/s", bytes * 8 / 120 * 30 / 1000);
        let mut decoder = Decoder::new(Codec::Vp8).unwrap();
        let layout = Layout::new(PixelFormat::Bgr24, SMALL.width, SMALL.height).unwrap();
        let (mut converter, mut bgr) = (Converter::new(), vec![0; layout.total_bytes]);
        for (index, unit) in units.iter().enumerate() {
            let picture = decoder.decode(unit, AREA_MAX).unwrap().unwrap();
            assert_eq!(picture.size, SMALL);
            let number = u16::try_from(index).unwrap();
            assert_eq!(number_bar::read(&picture.planes[0], SMALL), Some(number), "{kind:?}");
            converter.convert(&picture, &layout, &mut bgr).unwrap();
            let green = |x: u32, y: u32| bgr[y as usize * layout.planes[0].stride + x as usize * 3 + 1];
            assert_eq!(number_bar::read_with(SMALL, green), Some(number), "{kind:?}");
        }
    }
}

#[test]
fn decoded_pictures_resemble_what_was_drawn() {
    for size in [SMALL, PictureSize { width: 641, height: 479 }, PictureSize { width: 17, height: 3 }] {
        let mut scene = Scene::new(SceneKind::Bars, size, 1, Numbering::Absent).unwrap();
        let mut encoder = Encoder::new(&settings(size, 2000)).unwrap();
        let mut decoder = Decoder::new(Codec::Vp8).unwrap();
        for index in 0..10 {
            let unit = encode(&mut encoder, &mut scene, index, Keyframe::WhenDue);
            let drawn = scene.draw(index);
            let decoded = decoder.decode(&unit, AREA_MAX).unwrap().unwrap();
            assert_eq!(decoded.size, size);
            for plane in 0..3 {
                let half = u32::from(plane > 0);
                let (width, height) = ((size.width + half) >> half, (size.height + half) >> half);
                let row = |picture: &framegate_codec::Picture<'_>, y: u32| {
                    let plane = picture.planes[plane];
                    plane.data[y as usize * plane.stride..][..width as usize].to_vec()
                };
                let error: u64 = (0..height)
                    .flat_map(|y| row(&drawn, y).into_iter().zip(row(&decoded, y)))
                    .map(|(a, b)| u64::from(a.abs_diff(b)))
                    .sum();
                let mean = error as f64 / f64::from(width * height);
                assert!(mean < 6.0, "{size:?} plane {plane} picture {index}: mean error {mean:.2}");
            }
        }
    }
}

#[test]
fn keyframes_come_when_asked_and_when_due() {
    let mut scene = Scene::new(SceneKind::Room, SMALL, 1, Numbering::Drawn).unwrap();
    let mut encoder = Encoder::new(&settings(SMALL, 300)).unwrap();
    let keyframes: Vec<u32> = (0..70)
        .filter(|index| {
            let wanted = if *index == 10 { Keyframe::Now } else { Keyframe::WhenDue };
            vp8::is_keyframe(&encode(&mut encoder, &mut scene, *index, wanted))
        })
        .collect();
    assert_eq!(keyframes, [0, 10, 40]);
}

#[test]
fn the_size_may_change_at_a_keyframe() {
    let mut decoder = Decoder::new(Codec::Vp8).unwrap();
    for size in [SMALL, PictureSize { width: 64, height: 48 }, PictureSize { width: 641, height: 479 }, SMALL] {
        for unit in clip(SceneKind::Room, size, 500, 3) {
            assert_eq!(decoder.decode(&unit, AREA_MAX).unwrap().unwrap().size, size);
        }
    }
}

#[test]
fn units_that_cannot_be_decoded_are_errors() {
    let mut decoder = Decoder::new(Codec::Vp8).unwrap();
    let units = clip(SceneKind::Room, SMALL, 300, 3);
    let corrupt = |size: usize| Some(DecodeError::Corrupt { codec: Codec::Vp8, size });
    assert_eq!(decoder.decode(&[], AREA_MAX).err(), corrupt(0));
    assert_eq!(decoder.decode(&units[1], AREA_MAX).err(), corrupt(units[1].len()), "no keyframe yet");
    assert_eq!(decoder.decode(&units[0][..9], AREA_MAX).err(), corrupt(9));
    let long = vec![1; UNIT_BYTES_MAX + 1];
    assert_eq!(decoder.decode(&long, AREA_MAX).err(), corrupt(UNIT_BYTES_MAX + 1));
    for unit in &units {
        assert!(decoder.decode(unit, AREA_MAX).unwrap().is_some(), "errors leave the decoder usable");
    }
    let area_max = SMALL.width * SMALL.height - 1;
    assert!(matches!(decoder.decode(&units[0], area_max), Err(DecodeError::TooLarge { width: 320, .. })));
    assert!(matches!(decoder.decode(&units[2], area_max), Err(DecodeError::TooLarge { width: 320, .. })));
}

#[test]
fn a_bomb_is_refused_without_memory() {
    // A keyframe of 16383 x 16383 in 30 bytes would make the decoder allocate hundreds of megabytes.
    let mut bomb = vec![0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0xff, 0x3f, 0xff, 0x3f];
    bomb.resize(30, 0);
    let mut decoder = Decoder::new(Codec::Vp8).unwrap();
    let before = resident_peak_kib();
    for _ in 0..100 {
        let refused = decoder.decode(&bomb, AREA_MAX).err();
        assert!(matches!(refused, Some(DecodeError::TooLarge { width: 16383, height: 16383, .. })), "{refused:?}");
    }
    // Other tests of this process run beside this one; one bomb would show as 400 MiB.
    assert!(resident_peak_kib() - before < 200 << 10);
}

fn resident_peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn thousands_of_damaged_units_are_survived() {
    let units = clip(SceneKind::Motion, PictureSize { width: 96, height: 64 }, 200, 8);
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 20).unwrap() % bound
    };
    let (mut pictures, mut nothing, mut errors) = (0, 0, 0);
    let mut decoder = Decoder::new(Codec::Vp8).unwrap();
    for round in 0..6000 {
        let mut unit = units[if round % 2 == 0 { 0 } else { 1 + below(units.len() - 1) }].clone();
        match round % 3 {
            0 => unit.truncate(below(unit.len())),
            1 => (0..=below(8)).for_each(|_| unit[below(40).min(7)] ^= 1 << below(8)),
            _ => (0..=below(20)).for_each(|_| {
                let at = below(unit.len());
                unit[at] ^= 1 << below(8);
            }),
        }
        match decoder.decode(&unit, 640 * 480) {
            Ok(Some(picture)) => {
                let luma = picture.planes[0];
                assert!(luma.data.len() >= luma.stride * (picture.size.height as usize - 1));
                pictures += 1;
            }
            Ok(None) => nothing += 1,
            Err(_) => errors += 1,
        }
    }
    println!("{pictures} pictures, {nothing} hidden, {errors} errors");
    assert!(pictures > 0 && errors > 0);
    for unit in &units {
        assert!(decoder.decode(unit, AREA_MAX).unwrap().is_some(), "a keyframe mends it");
    }
}

#[test]
fn jpegs_are_whole_and_encoder_mistakes_are_errors() {
    let mut scene = Scene::new(SceneKind::Room, SMALL, 1, Numbering::Drawn).unwrap();
    let jpeg = EncoderSettings { format: EncodeFormat::Mjpeg, ..settings(SMALL, 1000) };
    let mut encoder = Encoder::new(&jpeg).unwrap();
    for index in 0..3 {
        let unit = encoder.encode(&scene.draw(index), Keyframe::WhenDue).unwrap().unwrap();
        assert!(unit.data.starts_with(&[0xff, 0xd8]) && unit.data.ends_with(&[0xff, 0xd9]));
    }
    let size = PictureSize { width: 64, height: 64 };
    let mut other = Scene::new(SceneKind::Room, size, 1, Numbering::Drawn).unwrap();
    assert_eq!(encoder.encode(&other.draw(0), Keyframe::WhenDue).err(), Some(EncodeError::Picture));
    for wrong in [
        EncoderSettings { rate_hz: 0, ..jpeg },
        EncoderSettings { kbit: 0, ..jpeg },
        EncoderSettings { key_interval: 0, ..jpeg },
        EncoderSettings { size: PictureSize { width: 0, height: 1 }, ..jpeg },
        EncoderSettings { size: PictureSize { width: 1, height: 10_000 }, ..jpeg },
    ] {
        assert_eq!(Encoder::new(&wrong).err(), Some(EncodeError::Settings));
    }
}
