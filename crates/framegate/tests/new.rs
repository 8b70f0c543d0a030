//! `framegate new` in each language, and what it makes: it compiles, and gives what it says it gives.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const FRAMEGATE: &str = env!("CARGO_BIN_EXE_framegate");

/// An empty folder of this test's own.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The command in a folder, with a cache that is not the user's.
fn framegate(folder: &Path, arguments: &[&str]) -> Output {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new/cache");
    // Made by scripts/test.sh, with numpy.
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../venv-python");
    Command::new(FRAMEGATE)
        .args(arguments)
        .current_dir(folder)
        .env("FRAMEGATE_CACHE", cache)
        .env("VIRTUAL_ENV", venv)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Makes a processor, builds it if need be, and runs it on its clip.
fn check(language: &str, spec: &str) {
    let folder = scratch(language);
    let made = framegate(&folder, &["new", "my-algo", "--lang", language]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(text(&made.stdout).contains(&format!("framegate run clip.ivf -p {spec}")), "{}", text(&made.stdout));
    let folder = folder.join("my-algo");
    assert!(fs::read_to_string(folder.join("README.md")).unwrap().lines().count() <= 16);
    if language == "rust" {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--release", "--offline"]).current_dir(&folder).env_remove("CARGO_TARGET_DIR");
        let built = build.output().unwrap();
        assert!(built.status.success(), "{}", text(&built.stderr));
    }
    let ran = framegate(&folder, &["run", "clip.ivf", "-p", spec]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert_eq!(text(&ran.stdout), fs::read_to_string(folder.join("expected.jsonl")).unwrap());
    assert!(text(&ran.stdout).contains("\"moving\":9"), "something moves in the clip");
}

#[test]
fn a_processor_in_c_gives_what_it_says() {
    check("c", "my-algo.c");
}

#[test]
fn a_processor_in_cpp_gives_what_it_says() {
    check("cpp", "my-algo.cpp");
}

#[test]
fn a_processor_in_rust_gives_what_it_says() {
    check("rust", "target/release/libmy_algo.so");
}

#[test]
fn a_processor_in_python_gives_what_it_says() {
    check("python", "my-algo.py");
}

#[test]
fn what_is_there_is_left_alone() {
    let folder = scratch("taken");
    fs::write(folder.join("mine.txt"), "mine").unwrap();
    let refused = |arguments: &[&str], expected: &str| {
        let said = framegate(&folder, &[&["new"], arguments, &["--lang", "c"]].concat());
        assert_eq!(said.status.code(), Some(2), "{arguments:?}");
        assert!(text(&said.stderr).contains(expected), "{}", text(&said.stderr));
    };
    refused(&["algo", "--dir", "."], "is not empty; nothing was written");
    refused(&["algo", "--dir", "mine.txt"], "is a file; nothing was written");
    refused(&["../algo"], "letters a-z first");
    refused(&["numpy"], "take another");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn the_kit_serves_other_builds() {
    let folder = scratch("sdk");
    let kit = framegate(&folder, &["sdk"]);
    assert!(kit.status.success(), "{}", text(&kit.stderr));
    let kit = PathBuf::from(text(&kit.stdout).trim());
    let json: serde_json::Value = serde_json::from_slice(&framegate(&folder, &["sdk", "--json"]).stdout).unwrap();
    assert_eq!(json["folder"], kit.to_str().unwrap());
    for (part, file) in [("include", "framegate.hpp"), ("pkgconfig", "framegate.pc"), ("rust", "Cargo.toml")] {
        assert!(Path::new(json[part].as_str().unwrap()).join(file).is_file(), "{part}");
    }
    let source = "#include <framegate/json.hpp>\n#include <framegate.h>\nint x = FG_OK;\n";
    fs::write(folder.join("a.cpp"), source).unwrap();
    let script = "pkg-config --exists framegate && c++ -std=c++17 -c a.cpp $(pkg-config --cflags framegate)";
    let built = Command::new("sh")
        .args(["-c", script])
        .env("PKG_CONFIG_PATH", kit.join("lib/pkgconfig"))
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", text(&built.stderr));
}
