//! `framegate new`: a folder with a processor that works, to be changed into another.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;

use crate::failure::Failure;
use crate::sdk;

/// Options of `new`.
#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// Its name: letters a-z first, then also 0-9, - and _; at most 64
    #[arg(value_parser = parse_name)]
    name: String,
    /// What it is written in
    #[arg(long, value_enum)]
    lang: Language,
    /// Folder to make; by default one of its name here
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What a processor is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    C,
    #[value(alias = "c++")]
    Cpp,
    Rust,
    Python,
}

/// Names that mean something else to a language: a module of that name would hide the other.
const TAKEN: [&str; 12] =
    ["framegate", "framegate-abi", "numpy", "test", "core", "std", "alloc", "self", "super", "crate", "json", "typing"];
/// Longest name.
const NAME_BYTES_MAX: usize = 64;

/// Files of every processor.
const CLIP: &[u8] = include_bytes!("../templates/clip.ivf");
const EXPECTED: &str = include_str!("../templates/expected.jsonl.in");
const README: &str = include_str!("../templates/README.md.in");

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::C => "C",
            Self::Cpp => "C++",
            Self::Rust => "Rust",
            Self::Python => "Python",
        }
    }

    /// Its own files: places, in which `@NAME@` stands for the name, and texts.
    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::C => &[("@NAME@.c", include_str!("../templates/c/processor.c"))],
            Self::Cpp => &[("@NAME@.cpp", include_str!("../templates/cpp/processor.cpp"))],
            Self::Python => &[("@NAME@.py", include_str!("../templates/python/processor.py"))],
            Self::Rust => &[
                ("src/lib.rs", include_str!("../templates/rust/lib.rs")),
                ("Cargo.toml", include_str!("../templates/rust/Cargo.toml.in")),
                (".gitignore", "/target\n"),
            ],
        }
    }

    /// What is given to `-p`.
    fn spec(self) -> &'static str {
        match self {
            Self::Rust => "target/release/lib@CRATE@.so",
            _ => self.files()[0].0,
        }
    }

    /// What comes before, if framegate does not do it.
    fn build(self) -> &'static str {
        if self == Self::Rust { "cargo build --release" } else { "" }
    }
}

/// Makes the folder, and says what to do next.
pub(crate) fn run(arguments: &NewArgs) -> Result<ExitCode, Failure> {
    let NewArgs { name, lang, dir } = arguments;
    let folder = dir.clone().unwrap_or_else(|| PathBuf::from(name));
    claim(&folder)?;
    let fill = |text: &str| filled(text, name, *lang);
    for (place, text) in lang.files() {
        write(&folder.join(fill(place)), fill(text).as_bytes())?;
    }
    write(&folder.join("README.md"), fill(README).as_bytes())?;
    write(&folder.join("clip.ivf"), CLIP)?;
    write(&folder.join("expected.jsonl"), fill(EXPECTED).as_bytes())?;
    if *lang == Language::Rust {
        copy(&sdk::kit()?.rust, &folder.join("framegate-abi"))?;
    }
    let spec = fill(lang.spec());
    let mut next = format!("Made {}. Next:\n\n  cd {}\n", folder.display(), folder.display());
    if !lang.build().is_empty() {
        next.push_str(&format!("  {}\n", lang.build()));
    }
    next.push_str(&format!(
        "  framegate run clip.ivf -p {spec}     # on the clip in it; expected.jsonl is what it gives\n  \
         framegate serve -p {spec}            # on your camera\n"
    ));
    std::io::stdout().write_all(next.as_bytes()).context("writing the answer")?;
    Ok(ExitCode::SUCCESS)
}

fn parse_name(text: &str) -> Result<String, String> {
    let is_letter = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let is_fit = text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.chars().all(|character| is_letter(character) || "-_".contains(character));
    if !is_fit || text.len() > NAME_BYTES_MAX {
        return Err(format!("letters a-z first, then also 0-9, - and _, {NAME_BYTES_MAX} at most"));
    }
    if TAKEN.contains(&text) {
        return Err("this name means something else to compilers and interpreters; take another".to_owned());
    }
    Ok(text.to_owned())
}

/// A template with its blanks filled.
fn filled(text: &str, name: &str, lang: Language) -> String {
    let build = if lang.build().is_empty() { String::new() } else { format!("{}\n", lang.build()) };
    text.replace("@BUILD@", &build)
        .replace("@SPEC@", lang.spec())
        .replace("@SOURCE@", lang.files()[0].0)
        .replace("@LANGUAGE@", lang.name())
        .replace("@CRATE@", &name.replace('-', "_"))
        .replace("@NAME@", name)
}

/// Makes the folder; one that is there must be empty.
fn claim(folder: &Path) -> Result<(), Failure> {
    let refused = |error| Failure::from(anyhow::Error::new(error).context(format!("making {}", folder.display())));
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Failure::usage(format!(
                "{} is not empty; nothing was written. Name another folder with --dir",
                folder.display()
            ))),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => fs::create_dir_all(folder).map_err(refused),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Err(Failure::usage(format!(
            "{} is a file; nothing was written. Name another folder with --dir",
            folder.display()
        ))),
        Err(error) => Err(refused(error)),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = match path.parent() {
        Some(parent) => fs::create_dir_all(parent).and_then(|()| fs::write(path, bytes)),
        None => fs::write(path, bytes),
    };
    Ok(written.with_context(|| format!("writing {}", path.display()))?)
}

/// Copies the kit's crate.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let read = || format!("reading {}", from.join(&folder).display());
        for entry in fs::read_dir(from.join(&folder)).with_context(read)? {
            let entry = entry.with_context(read)?;
            let place = folder.join(entry.file_name());
            if entry.file_type().with_context(read)?.is_dir() {
                folders.push(place);
            } else {
                write(&to.join(&place), &fs::read(entry.path()).with_context(read)?)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "faces", "my-algo_2", &"a".repeat(64)] {
            assert_eq!(parse_name(good).as_deref(), Ok(good));
        }
        for bad in ["", "2a", "-a", "A", "a b", "a/b", "../a", "a.b", "é", "numpy", "framegate", &"a".repeat(65)] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_blank_is_left() {
        for lang in Language::value_variants() {
            let texts = lang.files().iter().flat_map(|(place, text)| [*place, *text]);
            for text in texts.chain([README, EXPECTED]) {
                let text = filled(text, "my-algo", *lang);
                let blanks = ["@NAME@", "@CRATE@", "@SPEC@", "@BUILD@", "@SOURCE@", "@LANGUAGE@"];
                assert!(!blanks.iter().any(|blank| text.contains(blank)), "{lang:?}: {text}");
            }
        }
        assert_eq!(filled("@SPEC@", "my-algo", Language::Rust), "target/release/libmy_algo.so");
    }
}
