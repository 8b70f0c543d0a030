//! Media threads: each with its sockets, its sessions and their engines, and nothing shared.
//!
//! [`start`] binds the sockets and starts the threads; [`Media`] is the way to them from HTTP. A session is made on one
//! thread, chosen when its offer is answered, and lives and dies there.

pub(crate) mod mailbox;
mod meter;
mod random;
mod report;
mod run_queue;
mod seat;
mod shard;
mod socket;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use framegate_core::link::Identity;
use framegate_core::runner::Snapshot;
use framegate_wire::View;
use tokio::sync::oneshot;

use self::mailbox::{Mail, Mailbox};
use self::meter::Meter;
use self::shard::{Shard, ShardParts};
use self::socket::MediaSocket;
use crate::config::Config;
use crate::engines::launcher::Launcher;
use crate::engines::registry::{ProcessorState, Registry};
use crate::limits::SNAPSHOT_TIMEOUT;

pub use report::{PipelineReport, ProcessorReport, SandboxReport, SessionReport};

/// The media threads, from outside.
#[derive(Debug, Clone)]
pub struct Media {
    mailboxes: Arc<Vec<Mailbox>>,
    registry: Registry,
    streams: Streams,
    next: Arc<AtomicUsize>,
    default_pipeline: Option<usize>,
}

/// Ends the media threads.
#[derive(Debug)]
pub struct MediaGuard {
    mailboxes: Arc<Vec<Mailbox>>,
    threads: Vec<JoinHandle<()>>,
    launcher: Launcher,
    launcher_thread: JoinHandle<()>,
}

/// A page's wish for a session.
#[derive(Debug)]
pub struct Offer {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Public name the stream shall have, `[a-z0-9_-]{1,64}`; one is made up otherwise.
    pub stream: Option<String>,
    /// The offer (RFC 8866).
    pub sdp: String,
}

/// A session that exists.
#[derive(Debug)]
pub struct Accepted {
    /// 32 hexadecimal digits: whoever knows them may end the session.
    pub secret: String,
    /// Entity tag of the ICE session, without quotes.
    pub etag: String,
    /// Public name of the stream.
    pub stream: String,
    /// The answer (RFC 8866).
    pub answer: String,
}

/// A wish for a picture of a stream.
#[derive(Debug)]
pub struct SnapshotWish {
    /// Public name of the stream.
    pub stream: String,
    /// Which picture; absent: what the processors make, if they make any.
    pub view: Option<View>,
}

/// Why a request cannot be served.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refused {
    /// The offer is malformed.
    Sdp(String),
    /// The offer asks for nothing we serve.
    Unsupported(String),
    /// No such pipeline.
    UnknownPipeline {
        /// What was asked for.
        asked: String,
        /// What exists.
        known: Vec<String>,
    },
    /// No such session, or none any more.
    UnknownSession,
    /// No such stream, or none any more.
    UnknownStream {
        /// The name.
        stream: String,
    },
    /// The stream gives no such picture.
    NoPicture {
        /// The name.
        stream: String,
    },
    /// No frame came in time.
    NoFrame {
        /// The name.
        stream: String,
    },
    /// No room.
    Full {
        /// When to ask again, in seconds.
        retry_after_s: u32,
        /// The figures.
        text: String,
    },
    /// The processor cannot be loaded.
    Processor {
        /// Why, and what to do.
        text: String,
    },
    /// Another session has that stream name.
    StreamTaken {
        /// The name.
        stream: String,
    },
    /// The program is ending.
    ShuttingDown,
    /// The media threads do not keep up.
    Busy,
}

/// Why the media threads cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A media address cannot be bound.
    #[error("UDP {address} cannot be bound")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// There is no address to offer.
    #[error("no address to receive media on")]
    NoAddress,
    /// OpenSSL made no certificate.
    #[error("no DTLS certificate: {0}")]
    Certificate(String),
    /// The engine program is missing.
    #[error("the engine program {0} does not exist; it belongs beside framegate, or set engine.program")]
    EngineProgram(PathBuf),
    /// A thread or descriptor could not be had.
    #[error("the media threads cannot start")]
    System(#[from] io::Error),
}

/// Binds the sockets, starts the threads and begins to load the default pipeline's processor.
///
/// # Errors
/// [`StartError`], naming what is missing.
pub fn start(config: &Config) -> Result<(Media, MediaGuard), StartError> {
    let program = config.engine_program()?;
    if !program.is_file() {
        return Err(StartError::EngineProgram(program));
    }
    let identity = Identity::generate().map_err(|error| StartError::Certificate(error.to_string()))?;
    let registry = Registry::new(config);
    let nursery = crate::engines::program(program);
    let (launcher, launcher_thread) = Launcher::start(nursery, registry.clone())?;
    let default_pipeline =
        config.default_pipeline.as_deref().and_then(|name| registry.find(name)).map(|(index, _)| index);
    if let Some(index) = default_pipeline {
        launcher.warm(index);
    }
    let threads_count = usize::try_from(config.media.threads.max(1)).unwrap_or(1);
    let meter = Meter::new(config.admission.cpu_max, config.limits.sessions_max, threads_count);
    let streams = Streams::default();
    let mut mailboxes = Vec::new();
    let mut threads = Vec::new();
    for index in 0..threads_count {
        let parts = ShardParts {
            index,
            sockets: bind_all(config, index)?,
            config: config.clone(),
            identity: identity.clone(),
            registry: registry.clone(),
            launcher: launcher.clone(),
            meter: meter.clone(),
            streams: streams.clone(),
        };
        let (shard, mailbox) = Shard::new(parts)?;
        mailboxes.push(mailbox);
        threads.push(std::thread::Builder::new().name(format!("media-{index}")).spawn(move || shard.run())?);
    }
    let mailboxes = Arc::new(mailboxes);
    let media = Media { mailboxes: mailboxes.clone(), registry, streams, next: Arc::default(), default_pipeline };
    Ok((media, MediaGuard { mailboxes, threads, launcher, launcher_thread }))
}

fn bind_all(config: &Config, thread: usize) -> Result<Vec<MediaSocket>, StartError> {
    let base = config.media_port();
    let offset = u16::try_from(thread).unwrap_or(u16::MAX);
    // Port 0 asks the system for a free one each time.
    let port = if base == 0 { 0 } else { base.saturating_add(offset) };
    let chosen = !config.media.addresses.is_empty();
    let addresses = if chosen { config.media.addresses.clone() } else { interface_addresses()? };
    let mut sockets = Vec::new();
    for address in addresses {
        let address = SocketAddr::new(address, port);
        match MediaSocket::bind(address) {
            Ok(socket) => sockets.push(socket),
            // An interface may lose its address at any moment; a chosen address or a taken port is an error.
            Err(error) if !chosen && error.kind() == io::ErrorKind::AddrNotAvailable => {}
            Err(source) => return Err(StartError::Bind { address, source }),
        }
    }
    if sockets.is_empty() { Err(StartError::NoAddress) } else { Ok(sockets) }
}

/// Loopback and every interface that is up, without link-local addresses: browsers cannot use those without a zone.
fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut addresses = vec![IpAddr::from([127, 0, 0, 1])];
    for interface in nix::ifaddrs::getifaddrs()? {
        let Some(storage) = interface.address else { continue };
        let address = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
            (Some(v4), _) if !v4.ip().is_link_local() => IpAddr::from(v4.ip()),
            (_, Some(v6)) if !v6.ip().is_unicast_link_local() => IpAddr::from(v6.ip()),
            _ => continue,
        };
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// Names of streams in use, and which thread each is on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<HashMap<String, usize>>>);

impl Streams {
    /// Takes a name for a thread; whether it was free.
    pub(crate) fn take(&self, name: &str, thread: usize) -> bool {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = !names.contains_key(name);
        if is_free {
            names.insert(name.to_owned(), thread);
        }
        is_free
    }

    /// Takes a name that nobody has.
    pub(crate) fn take_new(&self, thread: usize, mut make: impl FnMut() -> String) -> String {
        loop {
            let name = make();
            if self.take(&name, thread) {
                return name;
            }
        }
    }

    /// The thread of a stream.
    fn thread_of(&self, name: &str) -> Option<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    pub(crate) fn give_back(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

impl Media {
    /// Answers an offer with a session.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn offer(&self, offer: Offer) -> Result<Accepted, Refused> {
        let Some((pipeline, entry)) = self.registry.find(&offer.pipeline) else {
            let known = self.registry.entries().iter().map(|entry| entry.name.clone()).collect();
            return Err(Refused::UnknownPipeline { asked: offer.pipeline, known });
        };
        if let ProcessorState::Failed(text) = entry.state() {
            // The next try may succeed: the author mends the file and asks again.
            self.warm(pipeline);
            return Err(Refused::Processor { text });
        }
        let thread = self.next.fetch_add(1, Ordering::Relaxed) % self.mailboxes.len();
        self.ask(thread, |answer| Mail::Offer { offer, pipeline, answer }).await?
    }

    /// Takes trickled candidates.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn candidates(&self, secret: &str, fragment: String) -> Result<(), Refused> {
        let thread = self.thread_of(secret)?;
        let secret = secret.to_owned();
        self.ask(thread, |answer| Mail::Candidates { secret, fragment, answer }).await?
    }

    /// Ends a session in order and gives its summary.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn close(&self, secret: &str) -> Result<serde_json::Value, Refused> {
        let thread = self.thread_of(secret)?;
        let secret = secret.to_owned();
        self.ask(thread, |answer| Mail::Close { secret, answer }).await?
    }

    /// All sessions.
    pub async fn sessions(&self) -> Vec<SessionReport> {
        let mut all = Vec::new();
        for thread in 0..self.mailboxes.len() {
            all.extend(self.ask(thread, |answer| Mail::Report { answer }).await.unwrap_or_default());
        }
        all
    }

    /// A picture of the next frame of a stream, as JPEG. Whoever asks for the same meanwhile gets the same.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn snapshot(&self, wish: SnapshotWish) -> Result<Snapshot, Refused> {
        let stream = wish.stream.clone();
        let Some(thread) = self.streams.thread_of(&stream) else { return Err(Refused::UnknownStream { stream }) };
        let asked = self.ask(thread, |answer| Mail::Snapshot { wish, answer });
        let snapshot = match tokio::time::timeout(SNAPSHOT_TIMEOUT, asked).await {
            Ok(answered) => answered??,
            Err(_) => return Err(Refused::NoFrame { stream }),
        };
        if snapshot.jpeg.is_empty() { Err(Refused::NoPicture { stream }) } else { Ok(snapshot) }
    }

    /// All pipelines.
    #[must_use]
    pub fn pipelines(&self) -> Vec<PipelineReport> {
        self.registry.entries().iter().map(PipelineReport::of).collect()
    }

    /// Whether the default pipeline's processor is loaded, cannot be loaded, or does not exist: nothing is pending.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.default_pipeline.and_then(|index| self.registry.entries().get(index)).is_none_or(|entry| {
            match entry.state() {
                ProcessorState::Ready(_) => !entry.is_on_trial(),
                ProcessorState::Failed(_) => true,
                ProcessorState::Idle | ProcessorState::Loading => false,
            }
        })
    }

    /// Begins to load the next processor that nobody has asked for yet, so that whoever looks at the list learns what
    /// there is. One at a time: compiling all of them at once would leave nothing of the machine to the sessions.
    pub fn warm_next(&self) {
        let states = || self.registry.entries().iter().map(|entry| entry.state());
        if states().any(|state| matches!(state, ProcessorState::Loading)) {
            return;
        }
        if let Some(idle) = states().position(|state| matches!(state, ProcessorState::Idle)) {
            self.warm(idle);
        }
    }

    fn warm(&self, pipeline: usize) {
        if let Some(mailbox) = self.mailboxes.first() {
            // A lost wish only means that the next offer asks again.
            let _ = mailbox.try_deliver(Mail::Warm { pipeline });
        }
    }

    /// The secret begins with its thread's number, so that no table of sessions is shared.
    fn thread_of(&self, secret: &str) -> Result<usize, Refused> {
        let thread = secret.get(..2).and_then(|digits| usize::from_str_radix(digits, 16).ok());
        thread.filter(|thread| *thread < self.mailboxes.len()).ok_or(Refused::UnknownSession)
    }

    async fn ask<T>(&self, thread: usize, mail: impl FnOnce(oneshot::Sender<T>) -> Mail) -> Result<T, Refused> {
        let (answer, answered) = oneshot::channel();
        self.mailboxes[thread].try_deliver(mail(answer)).map_err(|_| Refused::Busy)?;
        answered.await.map_err(|_| Refused::ShuttingDown)
    }
}

impl MediaGuard {
    /// Ends all sessions in order, then the threads and nurseries. Blocks for about a second at the most.
    pub fn shutdown(self) {
        for mailbox in self.mailboxes.iter() {
            mailbox.deliver(Mail::Stop);
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a media thread had panicked");
            }
        }
        self.launcher.stop();
        if self.launcher_thread.join().is_err() {
            tracing::error!("the launcher had panicked");
        }
    }
}
