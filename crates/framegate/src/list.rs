//! `framegate list`: what is there, without serving it. Processors' code runs in processes of its own, never in this one.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use framegate_gateway::engines::describe;
use framegate_gateway::media::{PipelineReport, ProcessorReport};

use crate::failure::Failure;
use crate::serve::ServeArgs;

/// Options of `list`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The processors of every pipeline: loaded once, tried once, and shown with their parameters
    Processors(ProcessorsArgs),
}

#[derive(Debug, clap::Args)]
struct ProcessorsArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Print JSON, as GET /v1/pipelines gives it
    #[arg(long)]
    json: bool,
}

/// Lists what is asked for; the exit code is 1 if any processor cannot be used.
pub(crate) fn run(arguments: &ListArgs) -> Result<ExitCode, Failure> {
    let What::Processors(options) = &arguments.what;
    let setup = options.serve.load()?;
    let pipelines = describe(&setup.config).context("finding the engine program")?;
    let text = if options.json {
        let default = &setup.config.default_pipeline;
        let body =
            serde_json::json!({ "pipelines": pipelines, "default": default, "server": env!("CARGO_PKG_VERSION") });
        format!("{body:#}\n")
    } else {
        table(&pipelines)
    };
    // A closed standard output has no reader to tell.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let has_failed = pipelines.iter().any(|pipeline| pipeline.error().is_some());
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// One row for each processor, its parameters below it, and what failed at the end.
fn table(pipelines: &[PipelineReport]) -> String {
    if pipelines.is_empty() {
        return "no processors: give one, framegate list processors -p yours.cpp\n".to_owned();
    }
    let head = ["PIPELINE", "PROCESSOR", "VERSION", "LANGUAGE", "STATE", "SOURCE"].map(str::to_owned);
    let row = |of: &ProcessorReport| {
        [&of.pipeline, &of.name, &of.version, &of.language, &of.state.to_owned(), &of.source].map(|text| plain(text))
    };
    let processors = || pipelines.iter().flat_map(|pipeline| &pipeline.processors);
    let rows: Vec<_> = std::iter::once(head.clone()).chain(processors().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3, 4, 5].map(width);
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let text = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", text.trim_end())
    };
    let mut text = line(&head);
    for processor in processors() {
        text += &line(&row(processor));
        for param in &processor.params {
            text += &format!("    {}\n", described(param));
        }
    }
    for pipeline in pipelines {
        if let Some(error) = pipeline.error() {
            text += &format!("\n{}: {}\n", pipeline.name, lines(error));
        }
    }
    text
}

/// A parameter in one line: `threshold  float 0 to 1, 0.5`.
fn described(param: &serde_json::Value) -> String {
    let text = |key: &str| match &param[key] {
        serde_json::Value::String(text) => plain(text),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    let range = match &param["choices"] {
        serde_json::Value::Array(choices) => {
            let choices = choices.iter().filter_map(|choice| choice.as_str()).map(plain);
            format!(" {}", choices.collect::<Vec<_>>().join("|"))
        }
        _ if param["min"].is_null() => String::new(),
        _ => format!(" {} to {}", text("min"), text("max")),
    };
    let unit = if param["unit"].is_null() { String::new() } else { format!(" {}", text("unit")) };
    format!("{} ({}{range}{unit}) = {}", text("id"), text("kind"), text("value"))
}

/// What a processor says, without what a terminal would obey, on one line.
fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}

/// The same with its line breaks, indented: errors of compilers have many.
fn lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_one_line_each() {
        let check = |param: serde_json::Value, expected: &str| assert_eq!(described(&param), expected);
        let param = serde_json::json!({"id": "t", "kind": "float", "min": 0.0, "max": 1.0, "unit": "px", "value": 0.5});
        check(param, "t (float 0.0 to 1.0 px) = 0.5");
        let param = serde_json::json!({"id": "c", "kind": "choice", "choices": ["a", "b\u{1b}[31m"], "value": "a"});
        check(param, "c (choice a|b[31m) = a");
    }

    #[test]
    fn nothing_to_list_says_how_to_have_something() {
        assert!(table(&[]).contains("-p yours.cpp"));
    }
}
