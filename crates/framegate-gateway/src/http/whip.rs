//! WHIP (RFC 9725): an offer becomes a session with a URL of its own, which takes candidates and the end.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::time::timeout;

use super::App;
use super::api::json;
use super::error::{Code, Problem, refuse_offer};
use crate::limits::{BODY_BYTES_MAX, BODY_TIMEOUT, NAME_CHARS_MAX};
use crate::media::{Accepted, Offer};
use crate::metrics;

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// What may follow the `?` of an offer.
#[derive(Debug, Deserialize)]
pub(super) struct OfferQuery {
    /// Name of the stream; the server makes one if it is absent.
    stream: Option<String>,
}

/// `POST /whip/{pipeline}`: makes a session.
pub(super) async fn offer(
    State(app): State<Arc<App>>,
    Path(pipeline): Path<String>,
    query: Result<Query<OfferQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let stream = stream_name(query)?;
    let sdp = body_text(request, SDP).await?;
    let accepted = app.media.offer(Offer { pipeline, stream, sdp }).await.map_err(refuse_offer)?;
    metrics::session_opened();
    Ok(created(accepted))
}

/// `POST /whip`: the same with the default pipeline.
pub(super) async fn offer_to_default(
    State(app): State<Arc<App>>,
    query: Result<Query<OfferQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let pipeline = app.default_pipeline.clone().unwrap_or_default();
    offer(State(app), Path(pipeline), query, request).await
}

/// `GET` of an endpoint or a session: reserved by the standard, answered without content.
pub(super) async fn nothing() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// `PATCH /sessions/{secret}`: candidates found after the offer.
pub(super) async fn candidates(
    State(app): State<Arc<App>>,
    Path(secret): Path<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let fragment = body_text(request, FRAGMENT).await?;
    app.media.candidates(&secret, fragment).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /sessions/{secret}`: ends the session and tells what became of its frames.
pub(super) async fn close(State(app): State<Arc<App>>, Path(secret): Path<String>) -> Result<Response, Problem> {
    Ok(json(StatusCode::OK, &app.media.close(&secret).await?))
}

fn created(accepted: Accepted) -> Response {
    let Accepted { secret, etag, answer, .. } = accepted;
    let mut response = (StatusCode::CREATED, answer).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let location = HeaderValue::try_from(format!("/sessions/{secret}"));
    let etag = HeaderValue::try_from(format!("\"{etag}\""));
    if let (Ok(location), Ok(etag)) = (location, etag) {
        headers.insert(LOCATION, location);
        headers.insert(ETAG, etag);
    }
    response
}

fn stream_name(query: Result<Query<OfferQuery>, QueryRejection>) -> Result<Option<String>, Problem> {
    let Query(OfferQuery { stream }) =
        query.map_err(|rejection| Problem::new(Code::BadStreamName, rejection.body_text()))?;
    match stream {
        Some(name) if !is_stream_name(&name) => Err(Problem::new(Code::BadStreamName, "this is no name of a stream")),
        stream => Ok(stream),
    }
}

fn is_stream_name(name: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

/// The body of a request whose content type must be `expected`.
async fn body_text(request: Request, expected: &str) -> Result<String, Problem> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_type(content_type, expected) {
        return Err(Problem::new(Code::WrongContentType, format!("the content type must be {expected}")));
    }
    let body = match timeout(BODY_TIMEOUT, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = format!("the body may have {BODY_BYTES_MAX} bytes");
            return Err(Problem::new(Code::BodyTooLarge, detail));
        }
        Ok(Err(rejection)) => return Err(Problem::new(Code::BodyNotText, rejection.body_text())),
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
            return Err(Problem::new(Code::BodyTooSlow, detail));
        }
    };
    String::from_utf8(body.into()).map_err(|_| Problem::new(Code::BodyNotText, "the body is not UTF-8"))
}

/// Whether a `Content-Type`, its parameters aside, is `expected`.
fn is_type(content_type: &str, expected: &str) -> bool {
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check_body(content_type: &str, body: Vec<u8>, expected: Result<&str, u16>) {
        let request = Request::post("/whip/a").header(CONTENT_TYPE, content_type).body(body.into()).unwrap();
        let result = body_text(request, SDP).await;
        assert_eq!(result.as_deref().map_err(|problem| problem.status().as_u16()), expected);
    }

    #[tokio::test]
    async fn bodies_are_checked_before_they_are_used() {
        check_body("application/sdp", b"v=0\r\n".to_vec(), Ok("v=0\r\n")).await;
        check_body("Application/SDP; charset=utf-8", b"v=0".to_vec(), Ok("v=0")).await;
        check_body("application/json", b"{}".to_vec(), Err(415)).await;
        check_body("", b"v=0".to_vec(), Err(415)).await;
        check_body("application/sdp", vec![0xff, 0xfe], Err(400)).await;
    }

    #[test]
    fn stream_names_are_short_and_plain() {
        let check = |name: &str, expected| assert_eq!(is_stream_name(name), expected, "{name}");
        check("door-1", true);
        check("front_door", true);
        check("Door", false);
        check("door.2", false);
        check("", false);
        check("a b", false);
        check("a/b", false);
        check("ä", false);
        check(&"a".repeat(64), true);
        check(&"a".repeat(65), false);
    }

    #[test]
    fn session_url_and_tag_are_in_the_answer() {
        let accepted = Accepted {
            secret: "0123456789abcdef0123456789abcdef".to_owned(),
            etag: "ufrag".to_owned(),
            stream: "s-1".to_owned(),
            answer: "v=0\r\n".to_owned(),
        };
        let response = created(accepted);
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.headers()[LOCATION], "/sessions/0123456789abcdef0123456789abcdef");
        assert_eq!(response.headers()[ETAG], "\"ufrag\"");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/sdp");
    }
}
