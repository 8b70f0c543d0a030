//! Makes the table of pages that are embedded in the program: everything in `web/` and the browser's SDK.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What is served, by ending; files with other endings stay out of the program.
const TYPES: [(&str, &str); 8] = [
    (".html", "text/html; charset=utf-8"),
    (".js", "text/javascript; charset=utf-8"),
    (".css", "text/css; charset=utf-8"),
    (".svg", "image/svg+xml"),
    (".png", "image/png"),
    (".ico", "image/x-icon"),
    (".json", "application/json"),
    (".d.ts", "text/plain; charset=utf-8"),
];

/// Files of the SDK's folder that are for building it, not for pages.
const UNSERVED: [&str; 3] = ["package.json", "package-lock.json", "tsconfig.json"];

fn main() -> io::Result<()> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("../..");
    let mut table = String::from("&[\n");
    for (folder, prefix) in [("web", "/web/"), ("sdk/typescript", "/sdk/")] {
        let folder = root.join(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        for file in files_in(&folder)? {
            add(&mut table, &file, prefix)?;
        }
    }
    table.push(']');
    let output = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    fs::write(output.join("pages.rs"), table)
}

/// The files directly in a folder, sorted; none when there is no such folder.
fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder)? {
            files.push(entry?.path());
        }
    }
    files.sort();
    Ok(files)
}

fn add(table: &mut String, file: &Path, prefix: &str) -> io::Result<()> {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    let Some((_, content_type)) = TYPES.iter().find(|(ending, _)| name.ends_with(ending)) else { return Ok(()) };
    if UNSERVED.contains(&name) || name.starts_with('.') {
        return Ok(());
    }
    println!("cargo::rerun-if-changed={}", file.display());
    let mut bytes = fs::read(file)?;
    let mut path = file.canonicalize()?;
    if prefix == "/sdk/" && name.ends_with(".js") {
        bytes = without_comments(&String::from_utf8(bytes).map_err(io::Error::other)?).into_bytes();
        path = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?).join(name);
        fs::write(&path, &bytes)?;
    }
    writeln!(
        table,
        "    Page {{ path: {:?}, content_type: {content_type:?}, etag: \"\\\"{:016x}\\\"\", body: include_bytes!({path:?}) }},",
        format!("{prefix}{name}"),
        fnv1a(&bytes),
    )
    .map_err(io::Error::other)
}

/// A script without comments and indentation: a fifth less to send.
fn without_comments(script: &str) -> String {
    let mut kept = String::with_capacity(script.len());
    let mut inside = false;
    for mut line in script.lines().map(str::trim) {
        while inside || line.starts_with("/*") {
            let end = line.find("*/");
            inside = end.is_none();
            line = end.map_or("", |end| line[end + 2..].trim_start());
            if line.is_empty() {
                break;
            }
        }
        // What follows is a comment unless the slashes are inside a text, which would end behind them.
        if let Some((code, comment)) = line.rsplit_once(" // ")
            && !comment.contains(['\'', '"', '`'])
        {
            line = code.trim_end();
        }
        if !line.is_empty() && !line.starts_with("//") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// FNV-1a: tells one version of a file from the next, which is all an entity tag has to do.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
