//! Checks that no type expresses.

use std::path::Path;

use framegate_wire::limits::SIDE_MAX;

use super::Config;
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

/// The pipeline name made of a processor's file name: `libFace Blur.so` becomes `face-blur`.
#[must_use]
pub fn pipeline_name(path: &Path) -> Option<String> {
    let stem = path.file_name()?.to_str()?.split('.').find(|part| !part.is_empty())?.to_ascii_lowercase();
    // Linkers and Cargo put `lib` before what the author called the library.
    let stem = stem.strip_prefix("lib").filter(|rest| !rest.is_empty()).unwrap_or(&stem);
    let name: String = stem.chars().map(|c| if is_name_char(c) { c } else { '-' }).take(NAME_CHARS_MAX).collect();
    let name = name.trim_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

const fn is_name_char(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '_' | '-')
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
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(is_name_char) {
            let text = format!("`{name}` is no pipeline name; it has 1 to {NAME_CHARS_MAX} of a-z, 0-9, _ and -");
            return refuse(format!("pipelines.{index}.name"), text);
        }
        if config.pipelines[..index].iter().any(|other| other.name == *name) {
            return refuse(format!("pipelines.{index}.name"), format!("there are two pipelines named `{name}`"));
        }
        check_processor(&pipeline.processor).or_else(|text| refuse(format!("pipelines.{index}.processor"), text))?;
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

/// A processor is a shared library that exists; whether it loads is found out by an engine, which may crash.
fn check_processor(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match std::fs::metadata(path) {
        Err(error) => return Err(format!("{shown}: {error}")),
        Ok(metadata) if !metadata.is_file() => return Err(format!("{shown} is not a file")),
        Ok(_) => {}
    }
    let compile = match extension {
        "c" => "cc -O2 -shared -fPIC",
        "cc" | "cpp" | "cxx" => "c++ -O2 -std=c++17 -shared -fPIC",
        "rs" => return Err(format!("{shown} is source; build it as a `cdylib` and give the .so")),
        _ => return Ok(()),
    };
    let library = path.with_extension("so");
    Err(format!("{shown} is source; compile it first: {compile} -o {} {shown}", library.display()))
}
