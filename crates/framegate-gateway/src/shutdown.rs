//! The one signal that everything is to end.

use tokio::sync::watch;

/// Tells everything that waits on a [`Stopping`] to end.
#[derive(Debug)]
pub struct Stop(watch::Sender<bool>);

/// Waits for the end; clones wait for the same one.
#[derive(Debug, Clone)]
pub struct Stopping(watch::Receiver<bool>);

/// A pair: who says it and who waits for it.
#[must_use]
pub fn channel() -> (Stop, Stopping) {
    let (sender, receiver) = watch::channel(false);
    (Stop(sender), Stopping(receiver))
}

impl Stop {
    /// Says it, once and for all.
    pub fn now(&self) {
        self.0.send_replace(true);
    }
}

impl Stopping {
    /// Returns when the end was said, or when nobody is left to say it.
    pub async fn wait(&mut self) {
        // An error means that the sender is gone, which is an end too.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}

/// Waits for SIGINT (Ctrl-C) or SIGTERM and returns its name.
///
/// # Errors
/// When the system installs no handler.
pub async fn signal() -> std::io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => Ok("SIGINT"),
        _ = terminate.recv() => Ok("SIGTERM"),
    }
}
