//! Reading: defaults, then the file, then the environment, then the command's options.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::check::{Finding, check};
use super::suggest::did_you_mean;
use super::{Config, Pipeline, chain_of, pipeline_name};
use crate::limits::{CONFIG_BYTES_MAX, NAME_CHARS_MAX};

/// Name of the file read when none is given and the working directory has one.
const FILE_NAME: &str = "framegate.toml";

/// Beginning of every environment variable that sets an option; names without `__` have other purposes.
const VARIABLE_PREFIX: &str = "FRAMEGATE_";

/// What the command's options say.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--config`: the file; absent: `framegate.toml` in the working directory, if there is one.
    pub config: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `-p`: processors and chains of them (`edges.cpp | faces.py`), each becoming a pipeline; the first is the default one.
    pub processors: Vec<String>,
}

/// A checked config and the file it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What was decided.
    pub config: Config,
    /// The file that was read, if any.
    pub path: Option<PathBuf>,
}

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file is larger than [`CONFIG_BYTES_MAX`].
    #[error("{path}: larger than {CONFIG_BYTES_MAX} bytes, which no config needs")]
    TooLarge {
        /// The file.
        path: String,
    },
    /// The file has a mistake.
    #[error("{path}:{line}:{column}: {text}")]
    File {
        /// The file.
        path: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong and, where it can be guessed, what was meant.
        text: String,
    },
    /// A variable has a mistake.
    #[error("environment variable {name}: {text}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong.
        text: String,
    },
    /// An option of the command has a mistake.
    #[error("{option}: {text}")]
    Option {
        /// The option.
        option: String,
        /// What is wrong.
        text: String,
    },
}

/// Reads and checks the config.
///
/// `variables` is the environment; `directory` the working directory, against which paths on the command line and in
/// variables are resolved. Paths in a file are relative to that file.
///
/// # Errors
/// [`ConfigError`] naming file, line and column, the variable or the option.
pub fn load(
    options: &Options,
    variables: impl IntoIterator<Item = (String, String)>,
    directory: &Path,
) -> Result<Loaded, ConfigError> {
    let file = File::read(options, directory)?;
    let mut table = file.table()?;
    file.parse::<Config>()?;

    let mut variables: Vec<_> = variables.into_iter().filter(|(name, _)| is_option(name)).collect();
    variables.sort();
    for (name, value) in &variables {
        set_variable(&mut table, name, value)?;
    }
    let mut config: Config = table.try_into().map_err(|error: toml::de::Error| file.error(&error))?;

    let names: Vec<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
    resolve_paths(&mut config, &names, &file.directory, directory);
    add_options(&mut config, options, directory)?;
    check(&config).map_err(|finding| blame(finding, &file, &names, options))?;
    if config.default_pipeline.is_none() {
        config.default_pipeline = config.pipelines.first().map(|pipeline| pipeline.name.clone());
    }
    Ok(Loaded { config, path: file.path })
}

/// The text of the config file; empty when there is none.
struct File {
    path: Option<PathBuf>,
    /// Where relative paths in it begin.
    directory: PathBuf,
    text: String,
}

impl File {
    fn read(options: &Options, directory: &Path) -> Result<Self, ConfigError> {
        let path = match &options.config {
            Some(path) => directory.join(path),
            None => directory.join(FILE_NAME),
        };
        let failed = |error| ConfigError::Read { path: path.display().to_string(), error };
        let size = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && options.config.is_none() => {
                return Ok(Self { path: None, directory: directory.to_owned(), text: String::new() });
            }
            Err(error) => return Err(failed(error)),
        };
        if size > CONFIG_BYTES_MAX {
            return Err(ConfigError::TooLarge { path: path.display().to_string() });
        }
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        let directory = path.parent().unwrap_or(directory).to_owned();
        Ok(Self { path: Some(path), directory, text })
    }

    fn table(&self) -> Result<Table, ConfigError> {
        self.parse()
    }

    fn parse<T: for<'de> Deserialize<'de>>(&self) -> Result<T, ConfigError> {
        toml::from_str(&self.text).map_err(|error| self.error(&error))
    }

    fn error(&self, error: &toml::de::Error) -> ConfigError {
        self.error_at(error.span(), explain(error.message()))
    }

    fn error_at(&self, span: Option<Range<usize>>, text: String) -> ConfigError {
        let (line, column) = position(&self.text, span.map_or(0, |span| span.start));
        let path = self.path.as_deref().unwrap_or_else(|| Path::new(FILE_NAME)).display().to_string();
        ConfigError::File { path, line, column, text }
    }

    /// Where `key`, such as `engine.late_ms` or `pipelines.1.name`, stands in the text.
    fn find(&self, key: &str) -> Option<Range<usize>> {
        use toml::de::{DeTable, DeValue};
        let document = DeTable::parse(&self.text).ok()?;
        let mut table = document.get_ref();
        let mut span = None;
        let mut parts = key.split('.');
        while let Some(part) = parts.next() {
            let (name, value) = table.iter().find(|(name, _)| name.get_ref() == part)?;
            span = Some(name.span());
            let mut value = value;
            if let DeValue::Array(items) = value.get_ref() {
                let Some(index) = parts.next() else { break };
                value = items.get(index.parse::<usize>().ok()?)?;
                span = Some(value.span());
            }
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        span
    }
}

/// Line and column, both from 1, of a byte.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// The parser's message, with a guess where a name is unknown.
fn explain(message: &str) -> String {
    let message = message.trim_end();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let names = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let unknown = names.then(|| quoted.next()).flatten();
    match unknown.and_then(|unknown| did_you_mean(unknown, quoted)) {
        Some(known) => format!("{message}; did you mean `{known}`?"),
        None => message.to_owned(),
    }
}

fn is_option(variable: &str) -> bool {
    variable.strip_prefix(VARIABLE_PREFIX).is_some_and(|rest| rest.contains("__"))
}

/// The option a variable sets: `FRAMEGATE_ENGINE__LATE_MS` is `engine.late_ms`.
fn variable_key(variable: &str) -> String {
    variable.trim_start_matches(VARIABLE_PREFIX).to_ascii_lowercase().replace("__", ".")
}

/// Puts a variable's value into the table: as TOML, else as text, else as a list of texts, whichever the option takes.
fn set_variable(table: &mut Table, name: &str, value: &str) -> Result<(), ConfigError> {
    let key = variable_key(name);
    let (section, option) = key.split_once('.').unwrap_or((key.as_str(), ""));
    let mut candidates: Vec<Value> = Vec::with_capacity(3);
    candidates.extend(toml::from_str::<Table>(&format!("value = {value}")).ok().and_then(|mut t| t.remove("value")));
    candidates.push(Value::String(value.to_owned()));
    candidates.push(Value::Array(value.split(',').map(|item| Value::String(item.trim().to_owned())).collect()));

    let mut first_error = None;
    for candidate in candidates {
        let mut tried = table.clone();
        let slot = tried.entry(section).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(options) = slot else { break };
        options.insert(option.to_owned(), candidate);
        match tried.clone().try_into::<Config>() {
            Ok(_) => {
                *table = tried;
                return Ok(());
            }
            Err(error) => first_error = first_error.or(Some(explain(error.message()))),
        }
    }
    let text = first_error.unwrap_or_else(|| format!("`{section}` is no section"));
    Err(ConfigError::Variable { name: name.to_owned(), text })
}

/// Makes every path absolute: those of the file against its folder, those of variables against the working directory.
fn resolve_paths(config: &mut Config, variables: &[&str], file: &Path, working: &Path) {
    let base = |key: &str| if variables.iter().any(|name| variable_key(name) == key) { working } else { file };
    if let Some(program) = &mut config.engine.program {
        *program = base("engine.program").join(&program);
    }
    for path in &mut config.engine.readable {
        *path = base("engine.readable").join(&path);
    }
    for pipeline in &mut config.pipelines {
        pipeline.resolve(file);
    }
}

fn add_options(config: &mut Config, options: &Options, directory: &Path) -> Result<(), ConfigError> {
    if let Some(listen) = options.listen {
        config.server.listen = listen;
    }
    for (index, text) in options.processors.iter().enumerate() {
        let refuse =
            |text_of_error: String| ConfigError::Option { option: format!("-p '{text}'"), text: text_of_error };
        let chain = chain_of(text, directory).map_err(|error| refuse(error.to_string()))?;
        let names: Option<Vec<_>> = chain.iter().map(pipeline_name).collect();
        let name = names.filter(|names| !names.is_empty()).ok_or_else(|| {
            refuse("no pipeline name can be made of this file's name; it needs a letter or a digit".to_owned())
        })?;
        let name = unused_name(config, &name.join("-"));
        if index == 0 {
            config.default_pipeline = Some(name.clone());
        }
        config.pipelines.push(Pipeline::of_chain(name, chain));
    }
    Ok(())
}

/// The name itself, or with `-2`, `-3` and so on behind it.
fn unused_name(config: &Config, name: &str) -> String {
    let name = &name[..name.len().min(NAME_CHARS_MAX)];
    let numbered = (2..).map(|number: u32| {
        let suffix = format!("-{number}");
        format!("{}{suffix}", &name[..name.len().min(NAME_CHARS_MAX - suffix.len())])
    });
    let mut candidates = std::iter::once(name.to_owned()).chain(numbered);
    candidates.find(|name| config.pipeline(name).is_none()).unwrap_or_default()
}

/// Says where a value came from that a check refused.
fn blame(finding: Finding, file: &File, variables: &[&str], options: &Options) -> ConfigError {
    let Finding { key, text } = finding;
    if let Some(name) = variables.iter().find(|name| variable_key(name) == key) {
        return ConfigError::Variable { name: (*name).to_owned(), text };
    }
    if key == "server.listen" && options.listen.is_some() {
        return ConfigError::Option { option: "--listen".to_owned(), text };
    }
    match file.find(&key) {
        Some(span) => file.error_at(Some(span), text),
        None => ConfigError::Option { option: key_of_option(&key, options), text },
    }
}

/// What the user wrote for a pipeline that stands in no file.
fn key_of_option(key: &str, options: &Options) -> String {
    let index = key.strip_prefix("pipelines.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    // Pipelines of the file come first, but a finding about one of those is located there.
    match (index, options.processors.as_slice()) {
        (Some(_), [only]) => format!("-p '{only}'"),
        (Some(_), _) => "-p".to_owned(),
        (None, _) => key.to_owned(),
    }
}
