//! Why a command failed, what to do about it, and its exit code.

use framegate_gateway::config::ConfigError;
use framegate_gateway::port::Transport;
use framegate_gateway::server::ServerError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The config has a mistake.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A variable that is no option has a mistake.
    #[error("FRAMEGATE_LOG: {0}")]
    Log(String),
    /// The machine does not give what is needed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The machine has a fault that `doctor` has already shown.
    #[error("this machine is not ready for framegate")]
    Unfit,
    /// A command has ended with this exit code, for this reason.
    #[error("{text}")]
    Ended {
        /// Why, and what to do.
        text: String,
        /// 1 failure, 2 usage, 4 environment.
        code: u8,
    },
    /// Everything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl Failure {
    /// What was asked for cannot be.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Ended { text: text.into(), code: 2 }
    }

    /// The machine does not give what is needed.
    pub(crate) fn environment(text: impl Into<String>) -> Self {
        Self::Ended { text: text.into(), code: 4 }
    }

    /// The processor failed.
    pub(crate) fn processor(text: impl Into<String>) -> Self {
        Self::Ended { text: text.into(), code: 1 }
    }

    /// 1 failure, 3 config, 4 environment; 2 is for usage and given by the argument parser.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Ended { code, .. } => *code,
            Self::Config(_) | Self::Log(_) => 3,
            Self::Server(ServerError::Http(_)) | Self::Other(_) => 1,
            Self::Server(_) | Self::Unfit => 4,
        }
    }

    /// The error and, where one is known, the next step, each on its own line.
    pub(crate) fn shown(&self) -> String {
        let next = match self {
            Self::Server(ServerError::PortInUse { address, transport, free: Some(free), .. }) => {
                let ip = address.ip();
                let wanted = std::net::SocketAddr::new(ip, *free);
                match transport {
                    Transport::Tcp => format!("  use another one: framegate serve --listen {wanted}\n"),
                    Transport::Udp => format!(
                        "  use another one: framegate serve --listen {wanted}, or media.port = {free} in framegate.toml\n"
                    ),
                }
            }
            Self::Server(ServerError::Media(_)) => "  framegate doctor says what is missing\n".to_owned(),
            _ => String::new(),
        };
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        // Those of `Other` are in its own text already.
        while let Some(cause) = source.filter(|_| !matches!(self, Self::Other(_))) {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        format!("framegate: {text}\n{next}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_port_names_holder_free_port_and_option() {
        let failure = Failure::from(ServerError::PortInUse {
            address: "127.0.0.1:8080".parse().unwrap(),
            transport: Transport::Tcp,
            holder: Some("python3 (pid 7)".to_owned()),
            free: Some(8081),
        });
        let expected = "framegate: TCP port 8080 is in use by python3 (pid 7)\n  \
                        use another one: framegate serve --listen 127.0.0.1:8081\n";
        assert_eq!(failure.shown(), expected);
        assert_eq!(failure.exit_code(), 4);
    }
}
