//! Alone in its process, so that the count of tasks is its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use framegate_codec::{Decoder, EncodeFormat, Encoder, EncoderSettings, Keyframe, Numbering, Range, Scene, SceneKind};
use framegate_wire::{Codec, PictureSize};

fn task_count() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn nothing_starts_a_thread() {
    let before = task_count();
    framegate_codec::preload().unwrap();
    framegate_codec::preload().unwrap();
    assert_eq!(task_count(), before, "preload");
    let size = PictureSize { width: 640, height: 480 };
    let mut scene = Scene::new(SceneKind::Motion, size, 1, Numbering::Drawn).unwrap();
    let range = Range::Limited;
    let settings =
        EncoderSettings { format: EncodeFormat::Vp8, size, range, rate_hz: 30, kbit: 1000, key_interval: 30 };
    let mut encoder = Encoder::new(&settings).unwrap();
    let mut decoder = Decoder::new(Codec::Vp8).unwrap();
    for index in 0..3 {
        let unit = encoder.encode(&scene.draw(index), Keyframe::WhenDue).unwrap().unwrap();
        decoder.decode(unit.data, size.width * size.height).unwrap().unwrap();
        assert_eq!(task_count(), before, "picture {index}");
    }
}
