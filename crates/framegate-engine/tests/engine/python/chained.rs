//! Python in a chain with libraries, and pictures that come back.

use framegate_wire::{FromEngine, NamedValue, PipelineSpec, ProcessorSpec, Source, Status, ToEngine, View};

use super::support::{Python, interpreter, processor, write};
use crate::support::{Folder, Level2, Nursery, chain, clip, mjpeg_mean};

#[test]
fn python_writes_between_two_libraries() {
    let folder = Folder::new();
    let writes = Level2 {
        name: "first",
        create: "fg_want want = {sizeof want, FG_WANT_WRITABLE, 0, 0, 0, 0};
                 ((const fg_host_want *)h->get_extension(h, FG_EXT_WANT))->set(h, &want);",
        process: "frame->planes[0].data[0] = 100; return fg_data_printf(out, \"%d\", frame->planes[0].data[0]);",
        ..Level2::NOTHING
    };
    let reads = Level2 {
        name: "last",
        process: "return fg_data_printf(out, \"[%d,%d]\", frame->planes[0].data[0], frame->planes[0].data[1]);",
        ..Level2::NOTHING
    };
    let first = folder.compile("first", &writes.source(), &[]);
    let last = folder.compile("last", &reads.source(), &[]);
    let source = "
        @framegate.processor(writable=True)
        def middle(frame, add: int = 1):
            seen = int(frame.image[0, 0, 0])
            frame.image[0, 0, 0] = seen + add
            frame.image[0, 0, 1] = 7
            return {'seen': seen}
        ";
    let mut spec: PipelineSpec = chain(&[(&first, &[]), (&last, &[])]);
    let mut middle = processor(write(&folder, "middle.py", source));
    middle.params.insert("add".to_owned(), "20".to_owned());
    // The same file twice: two instances in one process.
    spec.processors.insert(1, middle.clone());
    spec.processors.insert(2, ProcessorSpec { params: Default::default(), ..middle });
    spec.python = Some(interpreter());
    let mut nursery = Nursery::start_pipeline(&spec, &[]);
    let loaded = nursery.ready();
    let languages: Vec<_> = loaded.processors.iter().map(|processor| processor.language.as_str()).collect();
    assert_eq!(languages, ["c", "python", "python", "c"]);
    let mut engine = nursery.fork_ready();
    let (result, data) = engine.process(1, &clip(64, 48, 1)[0]);
    assert_eq!(data, "{\"first\":100,\"middle\":{\"seen\":100},\"middle-2\":{\"seen\":120},\"last\":[121,7]}");
    assert_eq!(result.processors_us.len(), 4);
}

/// Asks for the processed picture with the first frame.
fn processed(python: &mut Python) -> Vec<u8> {
    let mut engine = python.nursery.fork_ready();
    engine.say(&ToEngine::Snapshot { id: 5, view: View::Processed }, &[]);
    engine.unit(1, &clip(64, 48, 1)[0]);
    let ((), jpeg) = engine.until_with(|message| matches!(message, FromEngine::Snapshot { id: 5, .. }).then_some(()));
    jpeg
}

#[test]
fn pictures_come_back() {
    for (body, expected) in [
        ("return framegate.Result(image=np.full((24, 32, 3), (0, 0, 250), np.uint8))", (32, 24, [250, 0, 0])),
        ("return np.full((24, 32), 200, np.uint8)", (32, 24, [200, 200, 200])),
        ("return framegate.Result(image=frame.image[::2, ::2] + np.uint8(100))", (32, 24, [100, 100, 100])),
        (
            "return framegate.Result(image=np.asfortranarray(np.full((20, 30, 4), 50, np.uint8)))",
            (30, 20, [50, 50, 50]),
        ),
    ] {
        let mut python = Python::of(&format!(
            "
        import numpy as np
        @framegate.processor
        def test(frame):
            assert frame.image_wanted
            {body}
            "
        ));
        let (size, mean) = mjpeg_mean(&processed(&mut python));
        assert_eq!((size.width, size.height), (expected.0, expected.1), "{body}");
        let is_near = mean.iter().zip(expected.2).all(|(seen, said)| seen.abs_diff(said) <= 6);
        assert!(is_near, "{body}: {mean:?} instead of {:?}", expected.2);
    }
    let mut python = Python::of(
        "
        @framegate.processor(writable=True)
        def test(frame):
            frame.image[:] = (250, 0, 0)
            return frame.image
        ",
    );
    let (size, mean) = mjpeg_mean(&processed(&mut python));
    assert_eq!((size.width, size.height), (64, 48));
    assert!(mean[2] > 240 && mean[0] < 10, "blue: {mean:?}");
}

#[test]
fn one_of_several_processors_of_a_file_is_named() {
    let folder = Folder::new();
    let file = write(
        &folder,
        "two.py",
        "
        @framegate.processor(name='a')
        def one(frame): return 'one'
        @framegate.processor(name='b')
        def two(frame, x: int = 3): return x
        ",
    );
    let mut spec = crate::support::pipeline(std::path::Path::new("/unused.so"));
    spec.python = Some(interpreter());
    spec.processors[0].source = Source::Python { file, processor: Some("b".to_owned()) };
    let mut nursery = Nursery::start_pipeline(&spec, &[]);
    assert_eq!(nursery.ready().processors[0].name, "b");
    let param = NamedValue { processor: 0, id: "x".into(), json: "5".into() };
    let mut engine = nursery.fork_with(1, &[param], &[]);
    let (result, data) = engine.process(1, &clip(64, 48, 1)[0]);
    assert_eq!((result.status, data.as_str()), (Status::Ok, "5"));
}
