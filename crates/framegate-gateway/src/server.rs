//! The whole gateway: bound, started, served and ended in order.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use crate::config::Config;
use crate::http::{self, App};
use crate::media::{self, Media, MediaGuard, StartError};
use crate::port::{self, Transport};
use crate::shutdown;

/// A gateway whose sockets are bound and whose media threads run; [`Server::run`] makes it answer.
#[derive(Debug)]
pub struct Server {
    config: Config,
    listener: TcpListener,
    media: Media,
    guard: MediaGuard,
}

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Somebody else has the port.
    #[error("{transport} port {} is in use{}", address.port(), by(holder.as_deref()))]
    PortInUse {
        /// What was to be bound.
        address: SocketAddr,
        /// Of which transport.
        transport: Transport,
        /// The process that has it, where it can be seen.
        holder: Option<String>,
        /// A port nearby that is free.
        free: Option<u16>,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// What was to be bound.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The media threads did not start.
    #[error(transparent)]
    Media(#[from] StartError),
    /// The async runtime failed.
    #[error("the HTTP server failed")]
    Http(#[source] io::Error),
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// On a signal, every session told and closed.
    Orderly,
    /// On a second signal, without waiting for the sessions.
    AtOnce,
}

fn by(holder: Option<&str>) -> String {
    holder.map(|holder| format!(" by {holder}")).unwrap_or_default()
}

impl Server {
    /// Binds the ports and starts the media threads.
    ///
    /// # Errors
    /// [`ServerError`], with nothing left running.
    pub fn start(mut config: Config) -> Result<Self, ServerError> {
        raise_descriptor_limit();
        let listener = TcpListener::bind(config.server.listen)
            .map_err(|source| bind_error(config.server.listen, Transport::Tcp, source))?;
        config.server.listen =
            listener.local_addr().map_err(|source| ServerError::Bind { address: config.server.listen, source })?;
        // Asked for here, because only here is known which port would be free for both.
        let media = SocketAddr::new(config.server.listen.ip(), config.media_port());
        UdpSocket::bind(media).map_err(|source| bind_error(media, Transport::Udp, source))?;
        let (media, guard) = media::start(&config)?;
        Ok(Self { config, listener, media, guard })
    }

    /// What it was started with; `server.listen` is the address really bound.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Answers requests until SIGINT or SIGTERM, then tells and closes every session.
    ///
    /// # Errors
    /// [`ServerError::Http`] when the system gives no runtime, socket or signal handler.
    pub fn run(self) -> Result<Ended, ServerError> {
        let Self { config, listener, media, guard } = self;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServerError::Http)?;
        let ended = runtime.block_on(async {
            let (stop, stopping) = shutdown::channel();
            let serving = tokio::spawn(http::serve(listener, App::new(media, &config), stopping));
            let signal = shutdown::signal().await?;
            tracing::info!(signal, "ending");
            stop.now();
            let finish = async {
                let served = serving.await.map_err(io::Error::other)?;
                // Media goes last, so that the answers to the last requests are still true.
                tokio::task::spawn_blocking(|| guard.shutdown()).await.map_err(io::Error::other)?;
                served
            };
            tokio::select! {
                finished = finish => finished.map(|()| Ended::Orderly),
                second = shutdown::signal() => second.map(|_| Ended::AtOnce),
            }
        });
        runtime.shutdown_background();
        ended.map_err(ServerError::Http)
    }
}

fn bind_error(address: SocketAddr, transport: Transport, source: io::Error) -> ServerError {
    if source.kind() != io::ErrorKind::AddrInUse {
        return ServerError::Bind { address, source };
    }
    let holder = port::holder(transport, address.port());
    ServerError::PortInUse { address, transport, holder, free: port::next_free(address) }
}

/// Lets this process open as many descriptors as the system allows it: each session needs a few.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
