//! Rules of the source tree that no compiler checks: arrows between crates, length of files, where `unsafe` and
//! printing may stand, and words that must not stay.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::path::{Path, PathBuf};

/// Longest production part of a file, in lines.
const LINES_MAX: usize = 800;

/// Which crates of ours each crate may depend on.
const ARROWS: [(&str, &[&str]); 7] = [
    ("framegate", &["framegate-gateway", "framegate-core", "framegate-wire"]),
    ("framegate-gateway", &["framegate-core", "framegate-wire"]),
    ("framegate-core", &["framegate-wire"]),
    ("framegate-engine", &["framegate-codec", "framegate-abi", "framegate-wire"]),
    ("framegate-codec", &["framegate-wire"]),
    ("framegate-wire", &[]),
    ("framegate-abi", &[]),
];

/// Crates on the gateway's side of the wall: no codec, no foreign code.
const SAFE_SIDE: [&str; 4] = ["framegate", "framegate-gateway", "framegate-core", "framegate-wire"];
const FORBIDDEN_ON_THE_SAFE_SIDE: [&str; 7] = ["ffmpeg", "yuv", "libloading", "openh264", "vpx", "dav1d", "image"];

/// Crates whose every root forbids `unsafe`, which the compiler then enforces.
const FORBID_UNSAFE: [&str; 4] = ["framegate", "framegate-gateway", "framegate-core", "framegate-wire"];

/// Modules, by crate, in which `unsafe` may stand.
const DOORS: [(&str, &[&str]); 3] = [
    ("framegate-engine", &["pool", "library", "native", "sandbox", "nursery"]),
    ("framegate-codec", &["ffi"]),
    // `raw` has no code, but types of functions that are called with care.
    ("framegate-abi", &["raw", "export"]),
];

/// Modules that are programs: what they print is their answer.
const PRINTERS: [(&str, &[&str]); 2] =
    [("framegate", &[]), ("framegate-engine", &["clip.rs", "raw.rs", "main.rs", "doctor.rs", "sdk.rs"])];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

fn crate_folder(name: &str) -> PathBuf {
    root().join("crates").join(name)
}

/// Files below `folder` whose extension is one of `extensions` (all, if empty), but for what tools put there.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                if !["target", ".git", "node_modules", "out", "__pycache__"].iter().any(|skip| name == *skip) {
                    folders.push(path);
                }
            } else if extensions.is_empty() || extensions.iter().any(|e| path.extension().is_some_and(|x| x == *e)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines before the tests of a Rust file, with their numbers.
fn production(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).enumerate().map(|(index, line)| (index + 1, line))
}

/// A line without its comment and without the insides of its strings.
fn code(line: &str) -> String {
    let mut kept = String::new();
    let (mut in_string, mut previous) = (false, ' ');
    for character in line.chars() {
        match character {
            '"' if previous != '\\' && previous != '\'' => in_string = !in_string,
            '/' if previous == '/' && !in_string => return kept,
            _ if !in_string => kept.push(character),
            _ => {}
        }
        previous = character;
    }
    kept
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|character: char| !character.is_alphanumeric() && character != '_').any(|found| found == word)
}

/// Names in the normal dependency tables of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let normal = |table: &str| table == "dependencies" || table.ends_with(".dependencies");
            inside = normal(table);
            if let Some((table, name)) = table.rsplit_once('.').filter(|(table, _)| normal(table)) {
                assert!(!table.is_empty());
                names.push(name.to_owned());
            }
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['=', '.']).next().unwrap_or_default().trim();
            names.push(name.trim_matches('"').to_owned());
        }
    }
    names
}

/// Fails with the list of places, if there are any.
fn none(rule: &str, places: &[String]) {
    assert!(places.is_empty(), "{rule}:\n  {}", places.join("\n  "));
}

#[test]
fn every_crate_has_its_arrows() {
    let mut crates: Vec<_> = std::fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut known: Vec<_> = ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    crates.sort();
    known.sort();
    assert_eq!(crates, known, "a new crate needs its line in ARROWS and in ARCHITECTURE.md");
}

#[test]
fn arrows_between_crates_never_turn_round() {
    let mut wrong = Vec::new();
    for (name, allowed) in ARROWS {
        for dependency in dependencies(&read(&crate_folder(name).join("Cargo.toml"))) {
            if dependency.starts_with("framegate") && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} -> {dependency}"));
            }
        }
    }
    none("crates may not depend on", &wrong);
}

#[test]
fn the_gateway_has_no_codec_and_loads_no_library() {
    let mut wrong = Vec::new();
    for name in SAFE_SIDE {
        for dependency in dependencies(&read(&crate_folder(name).join("Cargo.toml"))) {
            if FORBIDDEN_ON_THE_SAFE_SIDE.iter().any(|forbidden| dependency.contains(forbidden)) {
                wrong.push(format!("{name} -> {dependency}"));
            }
        }
    }
    none("codecs and plug-ins belong to engines", &wrong);
    assert!(
        dependencies(&read(&crate_folder("framegate-abi").join("Cargo.toml"))).is_empty(),
        "abi depends on nothing"
    );
}

#[test]
fn unsafe_stands_only_in_its_doors() {
    for name in FORBID_UNSAFE {
        let source = crate_folder(name).join("src");
        let roots: Vec<_> =
            ["lib.rs", "main.rs"].map(|file| source.join(file)).into_iter().filter(|f| f.exists()).collect();
        assert!(!roots.is_empty());
        for file in roots {
            assert!(read(&file).contains("#![forbid(unsafe_code)]"), "{} must forbid unsafe", file.display());
        }
    }
    let mut wrong = Vec::new();
    for (name, doors) in DOORS {
        let source = crate_folder(name).join("src");
        for file in files(&source, &["rs"]) {
            let inside = file.strip_prefix(&source).unwrap().with_extension("");
            if inside.iter().any(|part| doors.iter().any(|door| part == *door)) {
                continue;
            }
            for (number, line) in read(&file).lines().enumerate() {
                if has_word(&code(line), "unsafe") {
                    wrong.push(format!("{}:{}", file.display(), number + 1));
                }
            }
        }
    }
    none("unsafe outside its doors", &wrong);
}

#[test]
fn files_are_short() {
    let mut wrong = Vec::new();
    for folder in ["crates", "sdk", "web", "examples", "bench", "scripts", "tests"] {
        for file in files(&root().join(folder), &["rs", "c", "h", "hpp", "cpp", "js", "mjs", "css", "py", "sh"]) {
            let lines = production(&read(&file)).count();
            if lines > LINES_MAX {
                wrong.push(format!("{}: {lines} lines", file.display()));
            }
        }
    }
    none("files above the limit", &wrong);
}

#[test]
fn nothing_is_left_undone() {
    // Joined here, so that this file does not find itself.
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat()];
    let macros = [["todo", "!("].concat(), ["unimplemented", "!("].concat(), ["dbg", "!("].concat()];
    let mut wrong = Vec::new();
    for file in
        files(&root(), &["rs", "c", "h", "hpp", "cpp", "js", "mjs", "ts", "css", "html", "py", "sh", "toml", "md"])
    {
        for (number, line) in read(&file).lines().enumerate() {
            if words.iter().any(|word| has_word(line, word)) || macros.iter().any(|name| line.contains(name.as_str())) {
                wrong.push(format!("{}:{}: {line}", file.display(), number + 1));
            }
        }
    }
    none("notes to self belong in an issue", &wrong);
}

#[test]
fn only_programs_print() {
    let macros = ["println!", "eprintln!", "print!", "eprint!"];
    let mut wrong = Vec::new();
    for (name, _) in ARROWS {
        let source = crate_folder(name).join("src");
        let printers = PRINTERS.iter().find(|(printer, _)| *printer == name).map(|(_, files)| *files);
        for file in files(&source, &["rs"]) {
            let inside = file.strip_prefix(&source).unwrap();
            let first = inside.iter().next().unwrap().to_string_lossy();
            let allowed = |files: &[&str]| {
                files.is_empty() || files.iter().any(|f| *f == first || f.strip_suffix(".rs") == Some(&*first))
            };
            if printers.is_some_and(allowed) {
                continue;
            }
            for (number, line) in production(&read(&file)) {
                if macros.iter().any(|name| code(line).contains(name)) {
                    wrong.push(format!("{}:{number}", file.display()));
                }
            }
        }
    }
    none("libraries do not print", &wrong);
}

#[test]
fn no_path_of_one_machine() {
    let paths = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat(), ["/ho", "me/"].concat(), ["/tmp/", "tgt"].concat()];
    let mut wrong = Vec::new();
    for file in files(&root(), &[]) {
        // Pictures and videos have no text.
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for (number, line) in text.lines().enumerate() {
            if paths.iter().any(|path| line.contains(path.as_str())) {
                wrong.push(format!("{}:{}: {line}", file.display(), number + 1));
            }
        }
    }
    none("paths of somebody's machine", &wrong);
}

#[test]
fn the_reader_of_manifests_reads_every_form() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na = \"1\"\nb.workspace = true\n\"c\" = { path = \"c\" }\n\
        [dependencies.d]\nversion = \"1\"\n[target.'cfg(unix)'.dependencies]\ne = \"1\"\n[dev-dependencies]\nf = \"1\"\n\
        [dev-dependencies.g]\nversion = \"1\"\n";
    assert_eq!(dependencies(manifest), ["a", "b", "c", "d", "e"]);
    assert!(has_word(&code("let x = unsafe { y() }; // why"), "unsafe"));
    assert!(!has_word(&code("#![deny(unsafe_code)] // unsafe"), "unsafe"));
    assert!(!has_word(&code("let text = \"unsafe\";"), "unsafe"));
}
