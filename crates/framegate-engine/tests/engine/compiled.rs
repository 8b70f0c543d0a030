//! Sources as processors: compiled by the nursery, known by their own names and folders.

use std::process::Command;

use framegate_wire::{ProcessorSpec, Source};

use crate::support::{Folder, Nursery, PRELUDE, clip, level_1, pipeline};

/// Starts a nursery on a source of this text in `folder`.
fn start(folder: &Folder, name: &str, text: &str) -> Nursery {
    let source = folder.0.join(name);
    std::fs::write(&source, text).unwrap();
    let mut pipeline = pipeline(&source);
    pipeline.processors = vec![ProcessorSpec { source: Source::Compiled(source), params: Default::default() }];
    Nursery::start_pipeline(&pipeline, &[])
}

#[test]
fn a_source_runs_and_reads_what_lies_beside_it() {
    let folder = Folder::new();
    std::fs::write(folder.0.join("model.txt"), "7").unwrap();
    let text = "#include <framegate.hpp>\n#include <fstream>\n\
        struct Model : fg::Processor {\n\
            int number = 0;\n\
            explicit Model(const fg::Host &host) { std::ifstream(host.file(\"model.txt\")) >> number; }\n\
            void process(fg::Frame &, fg::Result &result) override { result.data(fg::Json().set(\"number\", number)); }\n\
        };\n\
        FRAMEGATE_PROCESSOR(Model, \"model\", \"1.0.0\", \"A test.\")\n";
    let mut nursery = start(&folder, "model.cpp", text);
    assert_eq!(nursery.ready().processors[0].language, "c++");
    let mut engine = nursery.fork_ready();
    let (_, data) = engine.process(1, &clip(64, 48, 1)[0]);
    assert_eq!(data, "{\"number\":7}");
}

#[test]
fn a_source_that_does_not_compile_says_where() {
    let folder = Folder::new();
    let fault = start(&folder, "bad.c", "int x = y;\n").fault();
    assert!(fault.contains("bad.c does not compile:\n  bad.c:1:9: error: "), "{fault}");
    let fault = start(&folder, "none.c", "int x;\n").fault();
    assert!(fault.contains("none.c is a shared library but not a processor"), "{fault}");
    let fault = start(&folder, "keys.c", &format!("// framegate: packages=x\n{PRELUDE}")).fault();
    assert!(fault.contains("keys.c:1: `packages=x` is none of pkg="), "{fault}");
}

#[test]
fn a_crash_in_a_source_names_its_function() {
    let folder = Folder::new();
    let broken = "__attribute__((noinline)) static int find_faces(volatile int *p) { return *p; }";
    let text = level_1(broken, "return find_faces((volatile int *)frame->seq);");
    let mut nursery = start(&folder, "crash.c", &text);
    nursery.ready();
    let mut engine = nursery.fork_ready();
    engine.unit(1, &clip(64, 48, 1)[0]);
    let (_, fault) = nursery.exited(&engine);
    assert_eq!(fault.unwrap().function.as_deref(), Some("find_faces"));
}

#[test]
fn a_crash_in_cpp_is_named_as_it_was_written_and_addr2line_finds_its_line() {
    let folder = Folder::new();
    let text = "#include <framegate.hpp>\n\
        namespace faces {\n\
        __attribute__((noinline)) static int find(volatile int *p, int scale) { return *p * scale; }\n\
        }\n\
        struct Crash : fg::Processor {\n\
            explicit Crash(const fg::Host &) {}\n\
            void process(fg::Frame &frame, fg::Result &result) override {\n\
                result.data(fg::Json().set(\"n\", faces::find((volatile int *)frame.seq(), 2)));\n\
            }\n\
        };\n\
        FRAMEGATE_PROCESSOR(Crash, \"crash\", \"1.0.0\", \"A test.\")\n";
    let mut nursery = start(&folder, "crash.cpp", text);
    nursery.ready();
    let mut engine = nursery.fork_ready();
    engine.unit(1, &clip(64, 48, 1)[0]);
    let (_, fault) = nursery.exited(&engine);
    let fault = fault.unwrap();
    assert_eq!(fault.function.as_deref(), Some("faces::find"));
    let (file, offset) = fault.location.as_deref().and_then(|at| at.rsplit_once('+')).unwrap();
    let found = Command::new("addr2line").args(["-e", file, offset]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.contains("/crash.cpp:3"), "{file} {offset}: {found}");
}
