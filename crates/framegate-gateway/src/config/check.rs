//! Checks that no type expresses.

use std::collections::BTreeMap;
use std::path::Path;

use framegate_core::schema::{is_name, is_param_id};
use framegate_wire::limits::{PARAM_TEXT_BYTES_MAX, PARAMS_MAX, PROCESSORS_MAX, SIDE_MAX};

use super::{Config, Pipeline, Value};
use crate::limits::{CRASHES_MAX, MEDIA_THREADS_MAX, NAME_CHARS_MAX, PIPELINES_MAX, SESSIONS_MAX};

/// A value that cannot stand, and the option it belongs to.
pub(super) struct Finding {
    /// Such as `engine.late_ms` or `pipelines.1.name`.
    pub(super) key: String,
    /// What is wrong, as a sentence.
    pub(super) text: String,
}

/// Checks a config whose paths are absolute.
pub(super) fn check(config: &Config) -> Result<(), Finding> {
    check_server(config)?;
    check_numbers(config)?;
    check_pipelines(config)
}

fn refuse(key: impl Into<String>, text: impl Into<String>) -> Result<(), Finding> {
    Err(Finding { key: key.into(), text: text.into() })
}

fn check_server(config: &Config) -> Result<(), Finding> {
    let server = &config.server;
    if !server.listen.ip().is_loopback() {
        let text = format!(
            "{} is not a loopback address, and this version knows no login: whoever reaches it could watch and stop every \
             session; listen on 127.0.0.1 and put a reverse proxy with a login (see server.hosts) or an SSH tunnel before it",
            server.listen.ip()
        );
        return refuse("server.listen", text);
    }
    for origin in &server.origins {
        let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let host = rest.unwrap_or_default();
        if host.is_empty() || host.contains(['/', '*', '?', '#', '@', ' ']) {
            let text =
                format!("`{origin}` is no origin; write scheme, host and port only, such as https://app.example");
            return refuse("server.origins", text);
        }
    }
    for host in &server.hosts {
        if host.is_empty() || host.contains(['/', '*', '@', ' ']) {
            return refuse("server.hosts", format!("`{host}` is no host name; write it without scheme and path"));
        }
    }
    Ok(())
}

fn check_numbers(config: &Config) -> Result<(), Finding> {
    let engine = &config.engine;
    if config.media.threads == 0 || config.media.threads > MEDIA_THREADS_MAX {
        return refuse("media.threads", format!("must be 1 to {MEDIA_THREADS_MAX}"));
    }
    let last = u32::from(config.media_port()) + config.media.threads - 1;
    if config.media.port == Some(0) || last > u32::from(u16::MAX) {
        return refuse("media.port", "must be 1 to 65535, with room for one port for each thread");
    }
    if let Some(address) = config.media.addresses.iter().find(|address| address.is_unspecified()) {
        let text = format!("{address} is no address a browser could send to; leave the list empty for all interfaces");
        return refuse("media.addresses", text);
    }
    if engine.late_ms < 20 {
        return refuse("engine.late_ms", "must be at least 20: below one frame's interval every frame would be late");
    }
    if engine.hard_deadline_ms < 50 {
        return refuse("engine.hard_deadline_ms", "must be at least 50: below that, healthy engines would be killed");
    }
    if engine.first_frame_deadline_ms < engine.hard_deadline_ms {
        return refuse("engine.first_frame_deadline_ms", "must not be below engine.hard_deadline_ms");
    }
    if engine.crashes_max > CRASHES_MAX {
        return refuse("engine.crashes_max", format!("must be at most {CRASHES_MAX}"));
    }
    if engine.area_max < 16 * 16 || engine.area_max > SIDE_MAX * SIDE_MAX {
        return refuse("engine.area_max", format!("must be 256 to {} pixels", SIDE_MAX * SIDE_MAX));
    }
    if config.limits.sessions_max == 0 || config.limits.sessions_max > SESSIONS_MAX {
        return refuse("limits.sessions_max", format!("must be 1 to {SESSIONS_MAX}"));
    }
    if !(0.05..=100.0).contains(&config.admission.cpu_max) {
        return refuse("admission.cpu_max", "must be 0.05 to 100, a fraction of all cores; above 1 overload is let in");
    }
    Ok(())
}

fn check_pipelines(config: &Config) -> Result<(), Finding> {
    if config.pipelines.len() > PIPELINES_MAX {
        return refuse(
            "pipelines",
            format!("there are {}, at most {PIPELINES_MAX} are possible", config.pipelines.len()),
        );
    }
    for (index, pipeline) in config.pipelines.iter().enumerate() {
        let name = &pipeline.name;
        if !is_name(name) {
            let text = format!("`{name}` is no pipeline name; it has 1 to {NAME_CHARS_MAX} of a-z, 0-9, _ and -");
            return refuse(format!("pipelines.{index}.name"), text);
        }
        if config.pipelines[..index].iter().any(|other| other.name == *name) {
            return refuse(format!("pipelines.{index}.name"), format!("there are two pipelines named `{name}`"));
        }
        check_chain(pipeline).or_else(|(key, text)| refuse(format!("pipelines.{index}.{key}"), text))?;
    }
    match &config.default_pipeline {
        Some(name) if config.pipeline(name).is_none() => {
            let known: Vec<_> = config.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
            let text = format!("there is no pipeline `{name}`; there are: {}", known.join(", "));
            refuse("default_pipeline", text)
        }
        _ => Ok(()),
    }
}

/// One or several processors whose files exist; whether they load is found out by an engine, which may crash.
fn check_chain(pipeline: &Pipeline) -> Result<(), (&'static str, String)> {
    let key = match (&pipeline.processor, pipeline.processors.as_slice()) {
        (Some(_), [_, ..]) => {
            return Err(("processors", "a pipeline has `processor` or `processors`, not both".to_owned()));
        }
        (None, []) => {
            return Err(("name", "a pipeline has `processor` or `processors`; this one has neither".to_owned()));
        }
        (Some(_), []) => "processor",
        (None, steps) if steps.len() > PROCESSORS_MAX => {
            return Err(("processors", format!("there are {}, at most {PROCESSORS_MAX} are possible", steps.len())));
        }
        (None, _) => "processors",
    };
    if pipeline.processor.is_none() && !pipeline.params.is_empty() {
        let text = "with `processors`, each has its own: { processor = \"edges.cpp\", params = { low = 50 } }";
        return Err(("params", text.to_owned()));
    }
    for step in pipeline.steps() {
        if let Some(file) = step.processor.path() {
            check_file(file).map_err(|text| (key, text))?;
        }
        let params_key = if pipeline.processor.is_some() { "params" } else { key };
        check_params(&step.params).map_err(|text| (params_key, text))?;
    }
    match &pipeline.python {
        Some(python) => check_file(python).map_err(|text| ("python", text)),
        None => Ok(()),
    }
}

fn check_file(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Err(error) => Err(format!("{shown}: {error}")),
        Ok(metadata) if !metadata.is_file() => Err(format!("{shown} is not a file")),
        Ok(_) => Ok(()),
    }
}

fn check_params(params: &BTreeMap<String, Value>) -> Result<(), String> {
    if params.len() > PARAMS_MAX {
        return Err(format!("there are {}, at most {PARAMS_MAX} are possible", params.len()));
    }
    for (id, value) in params {
        if !is_param_id(id) {
            return Err(format!("`{id}` is no id of a parameter; it begins with a-z and has a-z, 0-9 and _"));
        }
        match value {
            Value::Text(text) if text.len() > PARAM_TEXT_BYTES_MAX => {
                return Err(format!("the text of `{id}` is longer than {PARAM_TEXT_BYTES_MAX} bytes"));
            }
            Value::Float(number) if !number.is_finite() => return Err(format!("`{id}` is no finite number")),
            _ => {}
        }
    }
    Ok(())
}
