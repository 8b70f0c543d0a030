//! The header compiles without a warning in C11 and C++17, alone and in processors of both levels.

use std::process::Command;

use crate::common::{COMPILERS, include, root, run, scratch, strict};

fn source(name: &str) -> std::path::PathBuf {
    root().join("crates/framegate-abi/tests/c").join(name)
}

#[test]
fn header_is_clean_in_every_compiler() {
    for compiler in COMPILERS {
        let language = if compiler.ends_with("++") { "c++" } else { "c" };
        run(strict(compiler).args(["-fsyntax-only", "-include", "framegate.h", "-x", language, "/dev/null"]));
    }
}

#[test]
fn processors_of_both_levels_export_the_entry_and_nothing_else() {
    let folder = scratch("levels");
    for compiler in COMPILERS {
        for name in ["level1", "level2"] {
            let library = folder.join(format!("{name}-{compiler}.so"));
            let language = if compiler.ends_with("++") { "c++" } else { "c" };
            let mut command = strict(compiler);
            command.args(["-shared", "-fPIC", "-O2", "-x", language]).arg(source(&format!("{name}.c")));
            run(command.arg("-o").arg(&library));
            let symbols = run(Command::new("nm").args(["-D", "--defined-only", "--format=just-symbols"]).arg(&library));
            let symbols = String::from_utf8(symbols.stdout).unwrap();
            assert_eq!(symbols.split_whitespace().collect::<Vec<_>>(), ["fg_entry_1"], "{}", library.display());
        }
    }
}

#[test]
fn the_example_in_the_header_compiles() {
    let header = std::fs::read_to_string(include().join("framegate.h")).unwrap();
    let code: Vec<_> = header
        .lines()
        .take_while(|line| !line.contains("*/"))
        .filter_map(|line| line.strip_prefix(" *     "))
        .collect();
    let (command, code) = code.split_last().unwrap();
    assert_eq!(*command, "cc -shared -fPIC -O2 -I include width.c -o width.so");
    let folder = scratch("header-example");
    std::fs::write(folder.join("width.c"), code.join("\n") + "\n").unwrap();
    run(strict("gcc").current_dir(&folder).args(["-shared", "-fPIC", "width.c", "-o", "width.so"]));
}

#[test]
fn an_exception_of_a_level_1_processor_becomes_an_error() {
    let program = scratch("throws").join("throws");
    run(strict("g++").arg(source("throws.cpp")).arg("-o").arg(&program));
    run(&mut Command::new(program));
    run(strict("g++").args(["-fno-exceptions", "-fsyntax-only", "-x", "c++"]).arg(source("level1.c")));
}
