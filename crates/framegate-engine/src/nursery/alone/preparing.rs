//! What a terminal shows while sources are compiled.

use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use framegate_wire::{PipelineSpec, Source};

/// Time between two lines, and before the first one: most sources are compiled already.
const INTERVAL: Duration = Duration::from_secs(1);

/// A compilation that may be going on.
#[derive(Debug)]
pub(super) struct Preparing {
    sources: String,
    start: Instant,
    is_shown: bool,
}

impl Preparing {
    /// Begins, if `pipeline` has sources and standard error is a terminal.
    pub(super) fn new(pipeline: &PipelineSpec) -> Option<Self> {
        let sources = sources(pipeline);
        let is_wanted = !sources.is_empty() && std::io::stderr().is_terminal();
        is_wanted.then(|| Self { sources, start: Instant::now(), is_shown: false })
    }

    /// Time to wait before [`Self::show`] has something new to say.
    pub(super) fn interval(&self) -> Duration {
        INTERVAL
    }

    /// Shows how long it has taken.
    pub(super) fn show(&mut self) {
        self.is_shown = true;
        write(&format!("\r\x1b[Kcompiling {} … {} s", self.sources, self.start.elapsed().as_secs()));
    }
}

impl Drop for Preparing {
    fn drop(&mut self) {
        if self.is_shown {
            write("\r\x1b[K");
        }
    }
}

fn write(text: &str) {
    // Standard error may be closed; there is nobody else to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Names of the files that are compiled, each once.
fn sources(pipeline: &PipelineSpec) -> String {
    let mut names: Vec<String> = Vec::new();
    for processor in &pipeline.processors {
        if let Source::Compiled(path) = &processor.source {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use framegate_wire::{Isolation, ProcessorSpec, SandboxMode};

    use super::*;

    #[test]
    fn only_sources_are_compiled() {
        let of = |sources: &[Source]| {
            let processor = |source: &Source| ProcessorSpec { source: source.clone(), params: Default::default() };
            super::sources(&PipelineSpec {
                name: "test".to_owned(),
                processors: sources.iter().map(processor).collect(),
                isolation: Isolation::Process,
                readable: Vec::new(),
                python: None,
                sandbox: SandboxMode::Enforce,
            })
        };
        let source = |name: &str| Source::Compiled(format!("/code/{name}").into());
        assert_eq!(of(&[Source::Library("/a.so".into()), Source::GStreamer("queue".to_owned())]), "");
        assert_eq!(of(&[source("a.c"), Source::Library("/a.so".into()), source("b.cpp"), source("a.c")]), "a.c, b.cpp");
    }
}
