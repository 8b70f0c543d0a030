//! `framegate.hpp`: clean in both compilers, in C++17 and 20, with and without OpenCV; everything it offers works; and a
//! `cv::Mat` of a frame is the frame itself.

use std::path::PathBuf;
use std::process::Command;

use crate::common::{include, root, run, scratch};

const COMPILERS: [&str; 2] = ["g++", "clang++"];
const STANDARDS: [&str; 2] = ["-std=c++17", "-std=c++20"];

fn source(name: &str) -> PathBuf {
    root().join("crates/framegate-abi/tests/c").join(name)
}

fn compiler(name: &str, standard: &str) -> Command {
    let mut command = Command::new(name);
    command.args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]);
    command.arg("-I").arg(include());
    command
}

/// Reads the processor in every way, and in two of them lets its host check it.
fn check(folder: &str, more: &[&str], libraries: &[&str]) {
    let folder = scratch(folder);
    for (name, standard) in COMPILERS.into_iter().flat_map(|name| STANDARDS.map(|standard| (name, standard))) {
        let mut command = compiler(name, standard);
        if (name, standard) != ("g++", "-std=c++17") && (name, standard) != ("clang++", "-std=c++20") {
            run(command.args(more).arg("-fsyntax-only").arg(source("kit.cpp")));
            continue;
        }
        let program = folder.join(name);
        command.args([source("kit.cpp"), source("kit_host.cpp")]).args(more).args(libraries).arg("-o").arg(&program);
        if name == "g++" {
            command.arg("-fsanitize=address,undefined");
        }
        run(&mut command);
        run(&mut Command::new(program));
    }
}

#[test]
fn everything_works_without_opencv() {
    check("cpp", &[], &[]);
}

#[test]
fn everything_works_with_opencv_and_without_a_copy() {
    check("cpp-opencv", &["-DWITH_OPENCV", &opencv_include()], &["-lopencv_core"]);
}

/// OpenCV's headers, whose own warnings are not ours.
fn opencv_include() -> String {
    let found = run(Command::new("pkg-config").args(["--cflags-only-I", "--keep-system-cflags", "opencv4"])).stdout;
    String::from_utf8(found).unwrap().trim().replace("-I", "-isystem")
}

#[test]
fn a_processor_exports_the_entry_and_nothing_else() {
    let library = scratch("cpp-symbols").join("kit.so");
    let mut command = compiler("g++", "-std=c++17");
    command.args(["-shared", "-fPIC", "-fvisibility=hidden"]).arg(source("kit.cpp")).arg("-o").arg(&library);
    run(&mut command);
    let symbols = run(Command::new("nm").args(["-D", "--defined-only", "--format=just-symbols"]).arg(&library));
    let symbols = String::from_utf8(symbols.stdout).unwrap();
    // What is instantiated from the standard library's templates is the standard library's to export.
    let is_own =
        |name: &&str| ["fg", "_ZN2fg", "_ZNK2fg", "_ZN3Kit", "_ZNK3Kit"].iter().any(|begin| name.starts_with(begin));
    let own: Vec<_> = symbols.split_whitespace().filter(is_own).collect();
    assert_eq!(own, ["fg_entry_1"]);
}

#[test]
fn the_example_at_the_top_compiles() {
    for header in ["framegate.hpp", "framegate/json.hpp"] {
        let text = std::fs::read_to_string(include().join(header)).unwrap();
        let begin = text.lines().take_while(|line| line.starts_with("//"));
        let code: Vec<_> = begin.filter_map(|line| line.strip_prefix("//     ")).collect();
        let code = if code[0].starts_with('#') {
            code.join("\n")
        } else {
            format!("#include <framegate/json.hpp>\nfg::Json made() {{ {} return data; }}", code.join("\n"))
        };
        let file = scratch("cpp-example").join("example.cpp");
        std::fs::write(&file, code + "\n").unwrap();
        for name in COMPILERS {
            run(compiler(name, "-std=c++17").args(["-c", "-o", "/dev/null"]).arg(&file));
        }
    }
}

#[test]
fn the_example_in_the_guide_compiles() {
    let guide = std::fs::read_to_string(root().join("docs/guide/cpp.md")).unwrap();
    let (_, code) = guide.split_once("```cpp\n").unwrap();
    let file = scratch("cpp-guide").join("edges.cpp");
    std::fs::write(&file, code.split_once("```").unwrap().0).unwrap();
    run(compiler("g++", "-std=c++17").arg(opencv_include()).arg("-fsyntax-only").arg(&file));
}
