//! `framegate serve`: reads the config, starts the gateway and says where it is.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use framegate_gateway::config::{Config, Loaded, Options, installed_processors, load};
use framegate_gateway::server::{Ended, Server};

use crate::failure::Failure;

/// Options of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Processor: FILE.so, .c, .cpp, .py, 'gst: ELEMENTS', or a chain 'a.cpp | b.py'; it becomes a pipeline named after it.
    /// The first is the default one
    #[arg(short = 'p', long = "processor", value_name = "SPEC")]
    processors: Vec<String>,
    /// Address and port, or just the port, of the pages, WHIP and the API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", value_parser = parse_listen)]
    listen: Option<SocketAddr>,
    /// Config file; without it, framegate.toml is read where there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ServeArgs {
    /// The config that these arguments and the environment make.
    pub(crate) fn load(&self) -> Result<Setup, Failure> {
        let directory = std::env::current_dir().context("finding the working directory")?;
        let options = Options { config: self.config.clone(), listen: self.listen, processors: self.processors.clone() };
        // A variable that is not Unicode is none of ours.
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let Loaded { mut config, path } = load(&options, variables, &directory)?;
        let installed = if config.pipelines.is_empty() { add_installed(&mut config) } else { None };
        Ok(Setup { config, path, installed })
    }
}

/// A config and where its parts come from.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    /// The config file.
    pub(crate) path: Option<PathBuf>,
    /// The folder whose processors are used because none were named.
    pub(crate) installed: Option<PathBuf>,
}

/// Serves until a signal.
pub(crate) fn run(arguments: &ServeArgs) -> Result<ExitCode, Failure> {
    crate::log::start()?;
    let Setup { config, path, installed } = arguments.load()?;
    let server = Server::start(config)?;
    let text = welcome(&Setup { config: server.config().clone(), path, installed });
    // A closed standard output must not stop a server.
    let _ = std::io::stdout().write_all(text.as_bytes());
    match server.run()? {
        Ended::Orderly => Ok(ExitCode::SUCCESS),
        Ended::AtOnce => {
            Err(Failure::Other(anyhow::anyhow!("ended by a second signal before all sessions were closed")))
        }
    }
}

/// Uses the processors that came with the program, and says where they are.
fn add_installed(config: &mut Config) -> Option<PathBuf> {
    let folder = std::env::var_os("FRAMEGATE_PROCESSORS").map(PathBuf::from);
    let program = std::env::current_exe().ok();
    let (folder, pipelines) = installed_processors(folder.as_deref(), program.as_deref())?;
    config.default_pipeline = pipelines.first().map(|pipeline| pipeline.name.clone());
    config.pipelines = pipelines;
    Some(folder)
}

/// What a start says.
fn welcome(setup: &Setup) -> String {
    let Setup { config, path, installed } = setup;
    let url = format!("http://{}", config.server.listen);
    let mut text = format!("framegate {}\n\n  Try it     {url}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: &str| {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    match &config.default_pipeline {
        Some(default) => {
            let others = config.pipelines.iter().map(|pipeline| pipeline.name.as_str()).filter(|name| name != default);
            let names = std::iter::once(format!("{default} (default)")).chain(others.map(ToOwned::to_owned));
            line("Pipelines", &names.collect::<Vec<_>>().join(", "));
            line("Send to", &format!("{url}/whip/{default}"));
        }
        None => line("Pipelines", "none yet: framegate serve -p yours.cpp"),
    }
    if let Some(folder) = installed {
        line("From", &format!("{}; your own: framegate serve -p yours.cpp", folder.display()));
    }
    if let Some(path) = path {
        line("Config", &path.display().to_string());
    }
    line("Stop", "Ctrl-C");
    text.push('\n');
    text
}

/// An address with port, or a port on loopback.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.trim_start_matches(':').parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| "write address and port, such as 127.0.0.1:9000, or only the port".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use framegate_gateway::config::Pipeline;
    use framegate_wire::Source;

    #[test]
    fn addresses_may_be_short() {
        let check = |text, expected: Option<&str>| {
            assert_eq!(parse_listen(text).ok(), expected.map(|address| address.parse().unwrap()), "{text}");
        };
        check("9000", Some("127.0.0.1:9000"));
        check(":9000", Some("127.0.0.1:9000"));
        check("localhost:9000", Some("127.0.0.1:9000"));
        check("[::1]:9000", Some("[::1]:9000"));
        check("127.0.0.1", None);
        check("99999", None);
    }

    #[test]
    fn welcome_says_where_and_what() {
        let pipeline = |name: &str| Pipeline::new(name.to_owned(), Source::Library(format!("/x/{name}.so").into()));
        let config = Config {
            default_pipeline: Some("motion".to_owned()),
            pipelines: vec![pipeline("blur"), pipeline("motion")],
            ..Config::default()
        };
        let text = welcome(&Setup { config, path: None, installed: Some("/x".into()) });
        assert!(text.contains("Try it     http://127.0.0.1:8080\n"), "{text}");
        assert!(text.contains("Pipelines  motion (default), blur\n"), "{text}");
        assert!(text.contains("/whip/motion\n"), "{text}");
        let text = welcome(&Setup { config: Config::default(), path: None, installed: None });
        assert!(text.contains("none yet: framegate serve -p yours.cpp"), "{text}");
    }
}
