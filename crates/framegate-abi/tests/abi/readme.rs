//! What the README and the guide tell a stranger to type works, in a folder outside the repository.

use std::process::Command;

use crate::common::{root, run, scratch};

/// The fenced block after `<!-- test: NAME -->` in a document.
fn block(document: &str, name: &str) -> String {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let marker = format!("<!-- test: {name} -->");
    let (_, rest) = text.split_once(&marker).unwrap_or_else(|| panic!("{document} has no {marker}"));
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn your_own_file_compiles_as_written() {
    for (document, name) in [("README.md", "own-file"), ("docs/guide/your-algorithm.md", "own-state")] {
        let folder = scratch(name);
        let script = block(document, name);
        run(Command::new("sh").args(["-eu", "-c", &script]).env("FRAMEGATE", root()).current_dir(&folder));
        if !folder.join("algo.so").exists() {
            // What framegate does with a C file that it is given.
            let options = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-I"];
            let header = root().join("crates/framegate-abi/include");
            let files = ["algo.c", "-o", "algo.so"];
            run(Command::new("cc").args(options).arg(header).args(files).current_dir(&folder));
        }
        let symbols = run(Command::new("nm").args(["-D", "--defined-only"]).arg(folder.join("algo.so")));
        assert!(String::from_utf8(symbols.stdout).unwrap().contains(" fg_entry_1"), "{document}");
    }
}
