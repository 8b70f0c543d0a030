//! The pipeline that a command is about, and the engine program that runs it.

use std::path::PathBuf;

use anyhow::Context as _;
use framegate_gateway::config::{Config, ConfigError, Loaded, Options, load};
use framegate_wire::PipelineSpec;

use crate::failure::Failure;

/// A pipeline and what runs it.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) spec: PipelineSpec,
    /// The engine program.
    pub(crate) program: PathBuf,
    /// Largest picture, in pixels.
    pub(crate) area_max: u32,
}

/// The pipeline that `text` names: one of the configuration, or processors as `-p` takes them.
pub(crate) fn choose(text: &str, config_file: Option<&PathBuf>) -> Result<Chosen, Failure> {
    let configured = read(config_file, Vec::new())?;
    let config = match configured.pipeline(text) {
        Some(_) => configured,
        None => read(config_file, vec![text.to_owned()])?,
    };
    // A pipeline made of the text is the default one.
    let name = config.pipeline(text).map(|_| text).or(config.default_pipeline.as_deref());
    let pipeline = name.and_then(|name| config.pipeline(name));
    let pipeline = pipeline.ok_or_else(|| Failure::usage(format!("-p '{text}' names no processor")))?;
    for step in pipeline.steps() {
        if let Some(path) = step.processor.path()
            && !path.exists()
        {
            return Err(Failure::usage(format!("-p '{text}': {} does not exist", path.display())));
        }
    }
    let program = config.engine_program().context("finding the engine program")?;
    if !program.is_file() {
        let text = format!("the engine program {} is missing; install it beside framegate", program.display());
        return Err(Failure::environment(text));
    }
    Ok(Chosen { spec: pipeline.spec(&config), program, area_max: config.engine.area_max })
}

fn read(config: Option<&PathBuf>, processors: Vec<String>) -> Result<Config, Failure> {
    let directory = std::env::current_dir().context("finding the working directory")?;
    let options = Options { config: config.cloned(), listen: None, processors };
    // A variable that is not Unicode is none of ours.
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    match load(&options, variables, &directory) {
        Ok(Loaded { config, .. }) => Ok(config),
        Err(error @ ConfigError::Option { .. }) => Err(Failure::usage(error.to_string())),
        Err(error) => Err(error.into()),
    }
}
