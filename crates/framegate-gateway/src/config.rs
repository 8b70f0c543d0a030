//! What an operator decides: one `framegate.toml`, environment variables and command-line options, made into one checked
//! [`Config`].
//!
//! Every option is described, with its default, in `framegate.toml` at the root of the repository; a test compares that
//! file with these types. [`load()`] reads in this order, later wins: defaults, the file, `FRAMEGATE_SECTION__KEY` in the
//! environment, options of the command. What comes out needs no checking later.

mod check;
mod discover;
mod load;
mod pipeline;
mod suggest;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use framegate_wire::limits::AREA_MAX;
use serde::{Deserialize, Serialize};

pub use discover::installed_processors;
pub use load::{ConfigError, Loaded, Options, load};
pub use pipeline::{Pipeline, Step, Value, chain_of, pipeline_name};

/// Everything an operator can set; see `framegate.toml` for each option in words.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the pipeline a page uses unless it asks for another; once loaded, set if there is any pipeline.
    pub default_pipeline: Option<String>,
    /// Where HTTP is served and to whom.
    pub server: Server,
    /// Where WebRTC media arrives.
    pub media: MediaConfig,
    /// How engines are started and watched.
    pub engine: EngineConfig,
    /// How much may exist at once.
    pub limits: Limits,
    /// When a new session is refused.
    pub admission: Admission,
    /// The pipelines, by unique name.
    pub pipelines: Vec<Pipeline>,
}

/// Where HTTP is served and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and TCP port of the pages, WHIP and the API.
    pub listen: SocketAddr,
    /// Origins of foreign pages that may use this server, such as `https://app.example`.
    pub origins: Vec<String>,
    /// Host names under which this server is reached, besides loopback names and `listen`.
    pub hosts: Vec<String>,
}

impl Default for Server {
    fn default() -> Self {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
        Self { listen, origins: Vec::new(), hosts: Vec::new() }
    }
}

/// Where WebRTC media arrives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediaConfig {
    /// Addresses offered to browsers; empty: loopback and every interface.
    pub addresses: Vec<IpAddr>,
    /// First UDP port, one for each thread; absent: the number of the HTTP port.
    pub port: Option<u16>,
    /// Media threads; a session lives and dies on one of them.
    pub threads: u32,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self { addresses: Vec::new(), port: None, threads: 1 }
    }
}

/// How engines are started and watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// The engine program; absent: `framegate-engine` beside this program.
    pub program: Option<PathBuf>,
    /// Age from which a waiting unit is skipped as late, in milliseconds.
    pub late_ms: u32,
    /// Time a processor may take for one frame before its engine is killed, in milliseconds.
    pub hard_deadline_ms: u32,
    /// The same for its first frame, in milliseconds: models are loaded there.
    pub first_frame_deadline_ms: u32,
    /// Crashes of one session's engines within 60 s after which it goes on without results for that long.
    pub crashes_max: u32,
    /// Largest picture that is decoded, in pixels.
    pub area_max: u32,
    /// Files and folders that processors may read, besides system libraries.
    pub readable: Vec<PathBuf>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            program: None,
            late_ms: 80,
            hard_deadline_ms: 1000,
            first_frame_deadline_ms: 30_000,
            crashes_max: 5,
            area_max: AREA_MAX,
            readable: Vec::new(),
        }
    }
}

/// How much may exist at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Sessions at once.
    pub sessions_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sessions_max: 1000 }
    }
}

/// When a new session is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admission {
    /// Fraction of all cores that sessions may use by measured cost, 0.05 … 100; above 1 overload is let in.
    pub cpu_max: f64,
}

impl Default for Admission {
    fn default() -> Self {
        Self { cpu_max: 0.9 }
    }
}

impl Config {
    /// UDP port of the first media thread: `media.port`, or the number of the HTTP port.
    #[must_use]
    pub fn media_port(&self) -> u16 {
        self.media.port.unwrap_or_else(|| self.server.listen.port())
    }

    /// The engine program: `engine.program`, or `framegate-engine` beside this program.
    ///
    /// # Errors
    /// When the system does not say where this program is.
    pub fn engine_program(&self) -> std::io::Result<PathBuf> {
        match &self.engine.program {
            Some(program) => Ok(program.clone()),
            None => Ok(std::env::current_exe()?.with_file_name("framegate-engine")),
        }
    }

    /// The pipeline of that name.
    #[must_use]
    pub fn pipeline(&self, name: &str) -> Option<&Pipeline> {
        self.pipelines.iter().find(|pipeline| pipeline.name == name)
    }
}
