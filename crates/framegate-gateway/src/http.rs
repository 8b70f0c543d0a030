//! HTTP: pages, WHIP (RFC 9725), the API and metrics, on one async thread.
//!
//! Nothing here touches media: a request becomes a message to the media threads, behind [`Media`], and its answer becomes
//! a response. Every connection, body and answer has a limit of [`crate::limits`]. Requests for foreign hosts and from
//! foreign pages end in `guard`; every error becomes an answer in `error`.

mod api;
mod connection;
mod error;
mod guard;
mod pages;
mod whip;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::Uri;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::config::Config;
use crate::limits::BODY_BYTES_MAX;
use crate::media::Media;
use error::{Code, Problem};
use guard::Guard;

pub use connection::serve;

/// What every request may use.
#[derive(Debug)]
pub struct App {
    media: Media,
    guard: Guard,
    default_pipeline: Option<String>,
}

impl App {
    /// An app that serves these media threads by this config, whose `server.listen` must be the address really bound.
    #[must_use]
    pub fn new(media: Media, config: &Config) -> Self {
        let guard = Guard::new(&config.server);
        Self { media, guard, default_pipeline: config.default_pipeline.clone() }
    }
}

/// Every route, behind the guard.
fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(api::health))
        .route("/readyz", get(api::ready))
        .route("/metrics", get(api::metrics))
        .route("/v1/sessions", get(api::sessions))
        .route("/v1/pipelines", get(api::pipelines))
        .route("/v1/processors", get(api::processors))
        .route("/v1/streams/{stream}/snapshot.jpg", get(api::snapshot))
        .route("/whip", post(whip::offer_to_default).get(whip::nothing))
        .route("/whip/{pipeline}", post(whip::offer).get(whip::nothing))
        .route("/sessions/{secret}", get(whip::nothing).patch(whip::candidates).delete(whip::close))
        .route("/", get(pages::get))
        .route("/web/{file}", get(pages::get))
        .route("/sdk/{file}", get(pages::get))
        .fallback(no_such_page)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(&app), guard::around))
        .with_state(app)
}

async fn no_such_page(uri: Uri) -> Problem {
    Problem::new(Code::NoSuchPage, format!("there is nothing at {}", uri.path()))
}

async fn method_not_allowed(State(_): State<Arc<App>>, uri: Uri) -> Problem {
    Problem::new(Code::MethodNotAllowed, format!("{} does not take this method", uri.path()))
}
