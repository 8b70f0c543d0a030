//! `framegate check`: whether a processor keeps the rules, as a table.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;
use framegate_wire::{CheckLine, CheckVerdict};

use crate::failure::Failure;
use crate::pipeline::{Chosen, choose};

/// Options of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Processor: FILE.so, .c, .cpp, .py, 'gst: ELEMENTS', a chain 'a.cpp | b.py', or a pipeline's name in the config
    #[arg(value_name = "SPEC")]
    processor: String,
    /// Print JSON instead of a table: an array of what was tried
    #[arg(long)]
    json: bool,
    /// Config file; without it, framegate.toml is read where there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Width of the names' column: the longest is `parameters`.
const NAME_WIDTH: usize = 11;

/// Checks a processor, and prints each line as it comes.
pub(crate) fn run(arguments: &CheckArgs) -> Result<ExitCode, Failure> {
    let Chosen { spec, program, .. } = choose(&arguments.processor, arguments.config.as_ref())?;
    let pipeline = serde_json::to_string(&spec).context("describing the pipeline")?;
    let mut child = Command::new(&program)
        .args(["check", "--pipeline", &pipeline])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::environment(format!("starting {}: {error}", program.display())))?;
    let stdout = child.stdout.take().context("reading from the engine")?;
    let is_terminal = std::io::stdout().is_terminal();
    let mut lines = Vec::new();
    for text in BufReader::new(stdout).lines() {
        let text = text.context("reading from the engine")?;
        let line: CheckLine = serde_json::from_str(&text).context("reading from the engine")?;
        if !arguments.json {
            print(&shown(&line, is_terminal));
        }
        lines.push(line);
    }
    let status = child.wait().context("waiting for the engine")?;
    let failed = lines.iter().filter(|line| line.verdict == CheckVerdict::Fail).count();
    if lines.is_empty() || (!status.success() && failed == 0) {
        let text = format!("the check broke off ({status}); framegate doctor says what is missing");
        return Err(Failure::environment(text));
    }
    if arguments.json {
        let json = serde_json::to_string_pretty(&lines).context("writing JSON")?;
        print(&format!("{json}\n"));
    } else {
        print(&summary(&lines));
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(text: &str) {
    // A closed standard output must not hide the exit code.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// One row of the table, and what to do about it on the next.
fn shown(line: &CheckLine, is_terminal: bool) -> String {
    let (mark, colour) = match line.verdict {
        CheckVerdict::Ok => ("✓", "32"),
        CheckVerdict::Warn => ("!", "33"),
        CheckVerdict::Fail => ("✗", "31"),
    };
    let mark = if is_terminal { format!("\x1b[{colour}m{mark}\x1b[0m") } else { mark.to_owned() };
    let mut text = format!("{mark} {:<NAME_WIDTH$} {}\n", line.name, line.text);
    if let Some(remedy) = &line.remedy {
        text.push_str(&format!("  {:<NAME_WIDTH$} → {remedy}\n", ""));
    }
    text
}

fn summary(lines: &[CheckLine]) -> String {
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    match (count(CheckVerdict::Fail), count(CheckVerdict::Warn)) {
        (0, 0) => "\nIt keeps the rules.\n".to_owned(),
        (0, warnings) => format!("\nIt keeps the rules; {warnings} to know of.\n"),
        (failed, _) => format!("\n{failed} to mend.\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_line_up_and_name_the_remedy() {
        let line = |verdict, remedy: Option<&str>| CheckLine {
            name: "frames".to_owned(),
            verdict,
            text: "what was seen".to_owned(),
            remedy: remedy.map(str::to_owned),
        };
        assert_eq!(shown(&line(CheckVerdict::Ok, None), false), "✓ frames      what was seen\n");
        let text = shown(&line(CheckVerdict::Fail, Some("do this")), false);
        assert_eq!(text, "✗ frames      what was seen\n              → do this\n");
        assert_eq!(summary(&[line(CheckVerdict::Warn, None)]), "\nIt keeps the rules; 1 to know of.\n");
    }
}
