//! The listening socket and its connections, each with a limit in time and memory.

use std::io;
use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::{App, router};
use crate::limits::{
    ACCEPT_PAUSE, ANSWER_TIMEOUT, CONNECTION_DRAIN, CONNECTION_LIFETIME, CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_TIMEOUT,
    HEADERS_MAX,
};
use crate::metrics;
use crate::shutdown::Stopping;

/// Serves until `stopping`, then lets requests under way finish within [`CONNECTION_DRAIN`].
///
/// # Errors
/// When the listening socket cannot be given to the async runtime.
pub async fn serve(listener: std::net::TcpListener, app: App, mut stopping: Stopping) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let router = router(Arc::new(app));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The place comes first: a connection beyond the limit waits in the system's bounded backlog.
        let place = Arc::clone(&places).acquire_owned();
        let (place, accepted) = tokio::select! {
            both = async { (place.await, listener.accept().await) } => both,
            () = stopping.wait() => break,
        };
        let Ok(place) = place else { break };
        metrics::http_connections(CONNECTIONS_MAX - places.available_permits());
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, router.clone(), stopping.clone(), place));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    // Connections that outlive this end with the runtime.
    let _ = timeout(CONNECTION_DRAIN, places.acquire_many(all)).await;
    Ok(())
}

async fn connection(stream: TcpStream, router: Router, mut stopping: Stopping, place: OwnedSemaphorePermit) {
    // Answers are single writes; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let drain = tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "connection broke off");
            }
            return;
        }
        () = stopping.wait() => CONNECTION_DRAIN,
        () = sleep(CONNECTION_LIFETIME) => ANSWER_TIMEOUT,
    };
    connection.as_mut().graceful_shutdown();
    // Whoever does not read the answer by then loses it.
    let _ = timeout(drain, connection).await;
    drop(place);
}

/// Whether `accept` reported the fate of one connection, not of the listening socket.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
