//! The API: what the server is, has and does. Sessions appear under their public names; their URLs are secrets.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use framegate_core::schema::is_name;
use framegate_wire::View;
use serde::{Deserialize, Serialize};
use serde_json::json as object;

use super::App;
use super::error::{Code, Problem};
use crate::media::{PipelineReport, SnapshotWish};

/// The `seq` of the frame a snapshot shows.
const FRAME: HeaderName = HeaderName::from_static("framegate-seq");

/// States in which a processor does not change by itself: waiting any longer would not help.
const SETTLED: [&str; 2] = ["ready", "failed"];

/// `GET /healthz`: the process answers.
pub(super) async fn health() -> Response {
    let version = env!("CARGO_PKG_VERSION");
    json(StatusCode::OK, &object!({ "status": "ok", "version": version, "pid": std::process::id() }))
}

/// `GET /readyz`: the default pipeline's processor is loaded, or will never be; else 503.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let (ready, body) = readiness(&app.media.pipelines(), app.default_pipeline.as_deref());
    json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}

/// `GET /metrics`: everything counted, for Prometheus.
pub(super) async fn metrics() -> Response {
    let mut response = crate::metrics::render().into_response();
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `GET /v1/sessions`.
pub(super) async fn sessions(State(app): State<Arc<App>>) -> Response {
    json(StatusCode::OK, &object!({ "sessions": app.media.sessions().await }))
}

/// `GET /v1/pipelines`. Loads what nobody has asked for yet, one after the other as long as somebody looks.
pub(super) async fn pipelines(State(app): State<Arc<App>>) -> Response {
    app.media.warm_next();
    let body = object!({
        "pipelines": app.media.pipelines(),
        "default": app.default_pipeline,
        "server": env!("CARGO_PKG_VERSION"),
    });
    json(StatusCode::OK, &body)
}

/// `GET /v1/processors`: those of all pipelines.
pub(super) async fn processors(State(app): State<Arc<App>>) -> Response {
    app.media.warm_next();
    let processors: Vec<_> = app.media.pipelines().into_iter().flat_map(|pipeline| pipeline.processors).collect();
    json(StatusCode::OK, &object!({ "processors": processors }))
}

/// What may follow the `?` of a snapshot.
#[derive(Debug, Deserialize)]
pub(super) struct SnapshotQuery {
    /// Which picture; absent: what the processors make, if they make any.
    view: Option<View>,
}

/// `GET /v1/streams/{stream}/snapshot.jpg`: the next frame.
pub(super) async fn snapshot(
    State(app): State<Arc<App>>,
    Path(stream): Path<String>,
    query: Result<Query<SnapshotQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(SnapshotQuery { view }) =
        query.map_err(|rejection| Problem::new(Code::UnknownView, rejection.body_text()))?;
    if !is_name(&stream) {
        return Err(Problem::new(Code::UnknownStream, "this is no name of a stream"));
    }
    let snapshot = app.media.snapshot(SnapshotWish { stream, view }).await?;
    let headers = [(CONTENT_TYPE, "image/jpeg"), (CACHE_CONTROL, "no-store")];
    let frame = [(FRAME, snapshot.seq.0.to_string())];
    Ok((headers, frame, snapshot.jpeg).into_response())
}

/// A JSON answer that nobody keeps.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => {
            let mut response = (status, text).into_response();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn readiness(pipelines: &[PipelineReport], default: Option<&str>) -> (bool, serde_json::Value) {
    let pipeline = pipelines.iter().find(|pipeline| Some(pipeline.name.as_str()) == default);
    let processors = pipeline.map(|pipeline| pipeline.processors.as_slice()).unwrap_or_default();
    let ready = processors.iter().all(|processor| SETTLED.contains(&processor.state));
    (ready, object!({ "ready": ready, "pipeline": default, "processors": processors }))
}
