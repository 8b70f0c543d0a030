//! `framegate-engine sdk`: unpacks the kit for authors and says where it is.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use framegate_engine::kit::Kit;
use serde::Serialize;

/// Options of `sdk`.
#[derive(Debug, clap::Args)]
pub(crate) struct SdkArgs {
    /// Print JSON instead of the folder
    #[arg(long)]
    json: bool,
}

/// The answer, which `framegate new` reads.
#[derive(Debug, Serialize)]
struct Answer {
    version: &'static str,
    folder: PathBuf,
    include: PathBuf,
    pkgconfig: PathBuf,
    python: PathBuf,
    rust: PathBuf,
}

/// Unpacks, and prints where.
pub(crate) fn run(arguments: &SdkArgs) -> Result<()> {
    let kit = Kit::unpack()?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let answer = Answer {
            version: env!("CARGO_PKG_VERSION"),
            folder: kit.folder().to_owned(),
            include: kit.include(),
            pkgconfig: kit.pkgconfig(),
            python: kit.python(),
            rust: kit.rust(),
        };
        serde_json::to_writer(&mut out, &answer)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{}", kit.folder().display())?;
    }
    Ok(())
}
