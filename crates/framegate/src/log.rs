//! The log: on standard error, at the level of `FRAMEGATE_LOG`.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// What is logged when nothing is asked: sessions and engines that come and go, and whatever went wrong.
const DEFAULT: &str = "info,str0m=warn,sctp_proto=warn";

/// Starts logging.
pub(crate) fn start() -> Result<(), Failure> {
    let filter = std::env::var("FRAMEGATE_LOG").unwrap_or_default();
    let filter = if filter.is_empty() { DEFAULT } else { &filter };
    let filter = EnvFilter::try_new(filter).map_err(|error| Failure::Log(error.to_string()))?;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .try_init()
        .map_err(|error| Failure::Log(error.to_string()))
}
