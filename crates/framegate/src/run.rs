//! `framegate run`: a clip or an image through a pipeline, without a browser. One result a line on standard output.

mod lines;
mod progress;

use std::io::{BufWriter, ErrorKind, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};

use anyhow::Context as _;
use clap::ValueEnum;
use framegate_core::runner::Death;
use framegate_wire::frame::Reader;
use framegate_wire::{FromOffline, OfflineFailure, SandboxMode};

use crate::failure::Failure;
use crate::pipeline::{Chosen, choose};
use lines::Lines;
use progress::Progress;

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Video or image of any kind FFmpeg reads; - is standard input
    clip: PathBuf,
    /// Processor: FILE.so, .c, .cpp, .py, 'gst: ELEMENTS', a chain 'a.cpp | b.py', or a pipeline's name in the config
    #[arg(short = 'p', long = "processor", value_name = "SPEC")]
    processor: String,
    /// Value of a parameter, as JSON or text
    #[arg(long = "set", value_name = "[PROCESSOR.]ID=VALUE")]
    sets: Vec<String>,
    /// Write a video, .mp4 or .webm: the pictures processors give, or the clip's with what they found drawn in
    #[arg(long, value_name = "FILE")]
    video: Option<PathBuf>,
    /// What the sandbox does with what serve would refuse: `audit` lets it pass and says so, `enforce` refuses it
    #[arg(long, value_enum, default_value = "audit")]
    sandbox: Sandbox,
    /// Seed of the randomness that processors are offered: the same seed, the same results
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Add times to the results, which makes them differ from run to run
    #[arg(long)]
    timing: bool,
    /// Config file; without it, framegate.toml is read where there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What the sandbox does.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Sandbox {
    Enforce,
    Audit,
}

/// Bytes read from the engine at once.
const READ_BYTES: usize = 64 << 10;

/// How the engine's messages ended.
enum End {
    Well,
    /// Nobody reads the results any more, as behind `head`.
    Unread,
    Failed(Failure),
}

/// Runs the clip.
pub(crate) fn run(arguments: &RunArgs) -> Result<ExitCode, Failure> {
    let chosen = choose(&arguments.processor, arguments.config.as_ref())?;
    let mut child = start(arguments, chosen)?;
    let stdout = child.stdout.take().context("reading from the engine")?;
    let mut progress = Progress::new();
    let ended = follow(arguments, stdout, &mut progress);
    if matches!(ended, Ok(End::Unread) | Err(_)) {
        // It may wait for a reader that will not come back; an engine that has gone needs no signal.
        let _ = child.kill();
    }
    let status = child.wait().context("waiting for the engine")?;
    match ended? {
        End::Well | End::Unread => Ok(ExitCode::SUCCESS),
        End::Failed(Failure::Ended { text, code }) if text.is_empty() => {
            let text = format!("the engine program ended without a word ({status}); framegate doctor says more");
            Err(Failure::Ended { text, code })
        }
        End::Failed(failure) => Err(failure),
    }
}

fn start(arguments: &RunArgs, chosen: Chosen) -> Result<Child, Failure> {
    let Chosen { mut spec, program, area_max } = chosen;
    spec.sandbox = match arguments.sandbox {
        Sandbox::Enforce => SandboxMode::Enforce,
        Sandbox::Audit => SandboxMode::Audit,
    };
    let pipeline = serde_json::to_string(&spec).context("describing the pipeline")?;
    let is_piped = arguments.clip.as_os_str() == "-";
    let mut command = Command::new(&program);
    command.args(["offline", "--pipeline", &pipeline]);
    command.args(["--seed", &arguments.seed.to_string(), "--area-max", &area_max.to_string()]);
    command.args(arguments.sets.iter().map(|set| format!("--set={set}")));
    if let Some(video) = &arguments.video {
        command.arg("--video").arg(video);
    }
    command.arg("--").arg(&arguments.clip);
    command.stdin(if is_piped { Stdio::inherit() } else { Stdio::null() }).stdout(Stdio::piped());
    command.spawn().map_err(|error| Failure::environment(format!("starting {}: {error}", program.display())))
}

fn follow(arguments: &RunArgs, mut stdout: ChildStdout, progress: &mut Progress) -> Result<End, Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut lines = Lines::new(arguments.timing);
    let (mut reader, mut buffer) = (Reader::default(), vec![0; READ_BYTES]);
    let mut end = None;
    loop {
        let count = match stdout.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(anyhow::Error::new(error).context("reading from the engine").into()),
        };
        reader.extend(&buffer[..count]);
        while let Some((message, payload)) = reader.next_message::<FromOffline>().context("reading from the engine")? {
            match heard(message, payload, &mut lines, progress) {
                Heard::Nothing => {}
                Heard::Line(line) => {
                    let written = out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n"));
                    if let Err(error) = written {
                        return unwritten(error);
                    }
                }
                Heard::End(last) => end = Some(last),
            }
        }
        if let Err(error) = out.flush() {
            return unwritten(error);
        }
        progress.show(&lines);
    }
    progress.finish(&lines);
    Ok(end.unwrap_or_else(|| End::Failed(Failure::environment(""))))
}

fn unwritten(error: std::io::Error) -> Result<End, Failure> {
    if error.kind() == ErrorKind::BrokenPipe {
        return Ok(End::Unread);
    }
    Err(anyhow::Error::new(error).context("writing results").into())
}

/// What a message means here.
enum Heard {
    Nothing,
    /// A result, without its end of line.
    Line(String),
    End(End),
}

fn heard(message: FromOffline, payload: &[u8], lines: &mut Lines, progress: &mut Progress) -> Heard {
    match message {
        FromOffline::Began { frames } => progress.set_frames(frames),
        FromOffline::Frame { seq, rtp_time } => lines.frame(seq, rtp_time),
        FromOffline::Engine(message) => {
            let (line, aside) = lines.engine(message, payload);
            if let Some(aside) = aside {
                progress.say(&aside);
            }
            if let Some(line) = line {
                return Heard::Line(line);
            }
        }
        FromOffline::Finding { text } | FromOffline::Notice { text } => progress.say(&text),
        FromOffline::Failed { kind, text } => {
            return Heard::End(End::Failed(match kind {
                OfflineFailure::Usage => Failure::usage(text),
                OfflineFailure::Processor => Failure::processor(text),
                OfflineFailure::Environment => Failure::environment(text),
            }));
        }
        FromOffline::Crashed { seq, kind, fault } => {
            let how = Death { kind: Some(kind), fault, launch_error: None }.text();
            let when = match seq {
                Some(seq) => format!("frame {}", seq.0),
                None if lines.frames() == 0 => "before the first frame".to_owned(),
                None => format!("after frame {}", lines.frames()),
            };
            return Heard::End(End::Failed(Failure::processor(format!("{when}: {how}"))));
        }
        FromOffline::Ended => return Heard::End(End::Well),
        _ => {}
    }
    Heard::Nothing
}
