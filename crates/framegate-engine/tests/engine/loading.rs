//! What authors are told when their processor cannot be loaded.

use crate::support::{Folder, Nursery, PRELUDE, level_1};

/// Starts a nursery on `name.so` made from `source` and returns what it complains about.
fn complaint(source: &str, arguments: &[&str]) -> String {
    let folder = Folder::new();
    let library = folder.compile("test", source, arguments);
    Nursery::start(&library, &[]).fault()
}

fn check(text: &str, expected: &[&str]) {
    for part in expected {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[test]
fn files_that_are_no_libraries() {
    let folder = Folder::new();
    let missing = folder.0.join("missing.so");
    check(&Nursery::start(&missing, &[]).fault(), &["missing.so", "No such file"]);
    let source = folder.0.join("faces.cpp");
    std::fs::write(&source, "int x;").unwrap();
    check(&Nursery::start(&source, &[]).fault(), &["is not a shared library", "c++ -shared -fPIC"]);
    check(&Nursery::start("/bin/sh".as_ref(), &[]).fault(), &["is not a shared library", "executable"]);
    check(&Nursery::start(&folder.0, &[]).fault(), &["directory"]);
}

#[test]
fn libraries_that_are_no_processors() {
    check(&complaint("int x;", &[]), &["does not export `fg_entry_1`", "FG_PROCESSOR", "extern \"C\""]);
    let undefined = level_1("int find_faces(void);", "return find_faces();");
    check(&complaint(&undefined, &[]), &["uses `find_faces`", "Link that library too"]);
}

#[test]
fn other_versions_and_broken_entries() {
    let entry = |entry: &str, descriptor: &str| {
        format!(
            "{PRELUDE}static int32_t create(const fg_host *h, fg_processor **m) {{ (void)h; (void)m; return -1; }}
            static const fg_descriptor d = {{{descriptor}}}; FG_EXPORT const fg_entry fg_entry_1;
            FG_EXPORT const fg_entry fg_entry_1 = {{{entry}}};"
        )
    };
    let good = "sizeof(fg_descriptor), 2, \"name\", \"1\", \"text\"";
    for (head, descriptor, expected) in [
        ("sizeof(fg_entry), 0x00020001, &d, create", good, "version 2.1"),
        ("sizeof(fg_entry), FG_ABI_VERSION, &d, 0", good, "create is NULL"),
        ("sizeof(fg_entry), FG_ABI_VERSION, 0, create", good, "descriptor is NULL"),
        ("8, FG_ABI_VERSION, &d, create", good, "struct_size"),
        (
            "sizeof(fg_entry), FG_ABI_VERSION, &d, create",
            "sizeof(fg_descriptor), 2, \"My Name\", \"1\", \"t\"",
            "a-z, 0-9",
        ),
        (
            "sizeof(fg_entry), FG_ABI_VERSION, &d, create",
            "sizeof(fg_descriptor), 2, \"n\", 0, \"t\"",
            "version must be",
        ),
        ("sizeof(fg_entry), FG_ABI_VERSION, &d, create", "sizeof(fg_descriptor), 3, \"n\", \"1\", \"t\"", "level"),
    ] {
        check(&complaint(&entry(head, descriptor), &[]), &[expected]);
    }
    let text = complaint(&entry("sizeof(fg_entry), 7, &d, create", good), &[]);
    check(&text, &["version 0.7", "speaks 1.0", "Recompile it with this framegate's framegate.h"]);
}

#[test]
fn libraries_beside_the_processor_are_found_and_missing_ones_named() {
    let folder = Folder::new();
    folder.compile("libhelper", "int help(void) { return 5; }", &["-Wl,-soname,libhelper.so"]);
    let source = level_1("int help(void);", "return fg_data_printf(out, \"%d\", help());");
    let here = folder.0.to_str().unwrap();
    let library = folder.compile("test", &source, &["-L", here, "-lhelper", "-Wl,-rpath,$ORIGIN"]);
    let mut nursery = Nursery::start(&library, &[]);
    nursery.ready();
    let mut engine = nursery.fork_ready();
    assert_eq!(engine.process(1, &crate::support::clip(64, 64, 1)[0]).1, "5");
    std::fs::remove_file(folder.0.join("libhelper.so")).unwrap();
    check(
        &Nursery::start(&library, &[]).fault(),
        &["needs the shared library libhelper.so", "apt-file search libhelper.so"],
    );
}

#[test]
fn loading_happens_inside_the_sandbox() {
    let source = level_1(
        "#include <errno.h>\n#include <sys/socket.h>\nstatic int at_load;\n\
         __attribute__((constructor)) static void begin(void) { at_load = socket(AF_INET, SOCK_STREAM, 0) < 0 ? errno : 0; }",
        "return fg_data_printf(out, \"%d\", at_load);",
    );
    let (mut nursery, _folder) = Nursery::of(&source);
    let mut engine = nursery.fork_ready();
    assert_eq!(engine.process(1, &crate::support::clip(64, 64, 1)[0]).1, libc::EPERM.to_string());
}
