//! Makes the table of files of the kit that is embedded in the program: headers, Python package, Rust crate.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What goes where in the kit: the folder it comes from, its place in the kit, and the endings of its files.
const PARTS: [(&str, &str, &[&str]); 3] = [
    ("crates/framegate-abi/include", "include", &["h", "hpp"]),
    ("crates/framegate-abi/src", "rust/framegate-abi/src", &["rs"]),
    ("sdk/python/framegate", "python/framegate", &["py", "typed"]),
];

/// Single files: where they come from, and their place in the kit. With these `pip install` takes the Python folder.
const SINGLE: [(&str, &str); 2] =
    [("sdk/python/pyproject.toml", "python/pyproject.toml"), ("sdk/python/README.md", "python/README.md")];

fn main() -> io::Result<()> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("../..").canonicalize()?;
    let mut table = String::from("&[\n");
    for (folder, place, endings) in PARTS {
        let folder = root.join(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        for file in files_below(&folder)? {
            let is_wanted = file.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted));
            let Some(name) = file.strip_prefix(&folder).ok().and_then(Path::to_str).filter(|_| is_wanted) else {
                continue;
            };
            writeln!(table, "({:?}, include_str!({file:?})),", format!("{place}/{name}")).map_err(io::Error::other)?;
        }
    }
    for (file, place) in SINGLE {
        let file = root.join(file);
        println!("cargo::rerun-if-changed={}", file.display());
        writeln!(table, "({place:?}, include_str!({file:?})),").map_err(io::Error::other)?;
    }
    table.push(']');
    let output = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    fs::write(output.join("kit_files.rs"), table)
}

/// All files below a folder, sorted; none when there is no such folder.
fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let found = if entry.file_type()?.is_dir() { &mut folders } else { &mut files };
            found.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}
