//! The one place where an error becomes an HTTP answer: RFC 9457 problem details with a code and a next step.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::limits::SNAPSHOT_TIMEOUT;
use crate::media::Refused;
use crate::metrics::{self, RefusedReason};

/// What went wrong: each has a number that stays, so that documents and programs can name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// The request is for another host.
    WrongHost,
    /// A page of another origin asks.
    ForeignOrigin,
    NoSuchPage,
    MethodNotAllowed,
    WrongContentType,
    BodyTooLarge,
    BodyTooSlow,
    BodyNotText,
    BadStreamName,
    AnswerTooSlow,
    BadOffer,
    UnsupportedOffer,
    UnknownPipeline,
    UnknownSession,
    StreamTaken,
    UnknownStream,
    NoPicture,
    NoFrame,
    UnknownView,
    ProcessorUnavailable,
    Full,
    ShuttingDown,
    Busy,
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The client sent something wrong.
    Peer,
    /// The processor is broken.
    Processor,
    /// The machine is full or busy.
    Capacity,
}

impl Code {
    #[cfg(test)]
    const ALL: [Self; 23] = [
        Self::WrongHost,
        Self::ForeignOrigin,
        Self::NoSuchPage,
        Self::MethodNotAllowed,
        Self::WrongContentType,
        Self::BodyTooLarge,
        Self::BodyTooSlow,
        Self::BodyNotText,
        Self::BadStreamName,
        Self::AnswerTooSlow,
        Self::BadOffer,
        Self::UnsupportedOffer,
        Self::UnknownPipeline,
        Self::UnknownSession,
        Self::StreamTaken,
        Self::UnknownStream,
        Self::NoPicture,
        Self::NoFrame,
        Self::UnknownView,
        Self::ProcessorUnavailable,
        Self::Full,
        Self::ShuttingDown,
        Self::Busy,
    ];

    /// Status, number, and who has to act.
    const fn facts(self) -> (StatusCode, &'static str, Fault) {
        use Fault::{Capacity, Peer, Processor};
        match self {
            Self::WrongHost => (StatusCode::MISDIRECTED_REQUEST, "FG-1001", Peer),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, "FG-1002", Peer),
            Self::NoSuchPage => (StatusCode::NOT_FOUND, "FG-1003", Peer),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "FG-1004", Peer),
            Self::WrongContentType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "FG-1005", Peer),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "FG-1006", Peer),
            Self::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "FG-1007", Peer),
            Self::BodyNotText => (StatusCode::BAD_REQUEST, "FG-1008", Peer),
            Self::BadStreamName => (StatusCode::BAD_REQUEST, "FG-1009", Peer),
            Self::AnswerTooSlow => (StatusCode::SERVICE_UNAVAILABLE, "FG-1010", Capacity),
            Self::BadOffer => (StatusCode::BAD_REQUEST, "FG-2001", Peer),
            Self::UnsupportedOffer => (StatusCode::UNPROCESSABLE_ENTITY, "FG-2002", Peer),
            Self::UnknownPipeline => (StatusCode::NOT_FOUND, "FG-2003", Peer),
            Self::UnknownSession => (StatusCode::NOT_FOUND, "FG-2004", Peer),
            Self::StreamTaken => (StatusCode::CONFLICT, "FG-2005", Peer),
            Self::UnknownStream => (StatusCode::NOT_FOUND, "FG-2006", Peer),
            Self::NoPicture => (StatusCode::NOT_FOUND, "FG-2007", Peer),
            Self::NoFrame => (StatusCode::GATEWAY_TIMEOUT, "FG-2008", Peer),
            Self::UnknownView => (StatusCode::BAD_REQUEST, "FG-2009", Peer),
            Self::ProcessorUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "FG-3001", Processor),
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, "FG-4001", Capacity),
            Self::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "FG-4002", Capacity),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "FG-4003", Capacity),
        }
    }

    /// What to do next.
    const fn next(self) -> &'static str {
        match self {
            Self::WrongHost => {
                "Open the address that framegate printed at its start, or add this host name to server.hosts."
            }
            Self::ForeignOrigin => {
                "If this page may use the server, add its origin to server.origins and start framegate again."
            }
            Self::NoSuchPage => "Start at / and follow its links.",
            Self::MethodNotAllowed => "Use a method of the Allow header.",
            Self::WrongContentType => "Send the content type that is named here.",
            Self::BodyTooLarge => "Offer fewer codecs or tracks in one session.",
            Self::BodyTooSlow => "Send the body without pauses.",
            Self::BodyNotText => "Send the SDP as UTF-8 text.",
            Self::BadStreamName => "Use 1 to 64 of a-z, 0-9, `_` and `-`, or leave `stream` out to get a name.",
            Self::AnswerTooSlow => "Try again; if it stays, see the server's log.",
            Self::BadOffer => "Send the browser's offer as it is, without editing it.",
            Self::UnsupportedOffer => "Offer one video track to send, with a codec that is named here.",
            Self::UnknownPipeline => "Use a pipeline of GET /v1/pipelines, or start one with -p.",
            Self::UnknownSession => "The session has ended: send a new offer.",
            Self::StreamTaken => "Choose another name, or end the session that has it.",
            Self::UnknownStream => "Use a stream of GET /v1/sessions that is live.",
            Self::NoPicture => "Ask for view=source; only some processors make a picture of their own.",
            Self::NoFrame => "See whether the camera sends and the engine runs: GET /v1/sessions shows both.",
            Self::UnknownView => "Use view=source or view=processed, or leave it out.",
            Self::ProcessorUnavailable => "Correct the processor; GET /v1/processors shows the state of each.",
            Self::Full => "Try again after the time in Retry-After.",
            Self::ShuttingDown => "Try again when the server is back.",
            Self::Busy => "Try again in a second.",
        }
    }
}

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct Problem {
    code: Code,
    detail: String,
    retry_after_s: Option<u32>,
}

impl Problem {
    /// A problem whose `detail` says, as a sentence without a full stop, what was found.
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after_s: None }
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.code.facts().0
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let busy = |code, detail: &str| Self { retry_after_s: Some(1), ..Self::new(code, detail) };
        match refused {
            Refused::Sdp(text) => Self::new(Code::BadOffer, text),
            Refused::Unsupported(text) => Self::new(Code::UnsupportedOffer, text),
            Refused::UnknownPipeline { asked, known } => Self::new(Code::UnknownPipeline, unknown(&asked, &known)),
            Refused::UnknownSession => Self::new(Code::UnknownSession, "there is no such session"),
            Refused::UnknownStream { stream } => {
                Self::new(Code::UnknownStream, format!("there is no stream `{stream}`"))
            }
            Refused::NoPicture { stream } => {
                Self::new(Code::NoPicture, format!("the processors of the stream `{stream}` make no picture"))
            }
            Refused::NoFrame { stream } => {
                let detail = format!("no frame of `{stream}` came within {} s", SNAPSHOT_TIMEOUT.as_secs());
                Self::new(Code::NoFrame, detail)
            }
            Refused::Full { retry_after_s, text } => {
                Self { retry_after_s: Some(retry_after_s), ..Self::new(Code::Full, text) }
            }
            Refused::Processor { text } => Self::new(Code::ProcessorUnavailable, text),
            Refused::StreamTaken { stream } => {
                Self::new(Code::StreamTaken, format!("the stream `{stream}` is being sent by another session"))
            }
            Refused::ShuttingDown => busy(Code::ShuttingDown, "the server is ending"),
            Refused::Busy => busy(Code::Busy, "the media threads have too many requests waiting"),
        }
    }
}

/// Why an offer was refused, for the metric; `None` for what is no refusal of an offer.
pub(super) fn refused_reason(refused: &Refused) -> Option<RefusedReason> {
    match refused {
        Refused::Sdp(_) | Refused::Unsupported(_) => Some(RefusedReason::Offer),
        Refused::UnknownPipeline { .. } | Refused::StreamTaken { .. } => Some(RefusedReason::Name),
        Refused::Full { .. } | Refused::ShuttingDown | Refused::Busy => Some(RefusedReason::Full),
        Refused::Processor { .. } => Some(RefusedReason::Processor),
        Refused::UnknownSession
        | Refused::UnknownStream { .. }
        | Refused::NoPicture { .. }
        | Refused::NoFrame { .. } => None,
    }
}

fn unknown(asked: &str, known: &[String]) -> String {
    if known.is_empty() {
        return "this server has no pipeline: it was started without a processor".to_owned();
    }
    format!("there is no pipeline `{asked}`; there are: {}", known.join(", "))
}

/// The body of RFC 9457, with `code` and `next` as extension members.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    next: &'static str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, fault) = self.code.facts();
        match fault {
            Fault::Peer => tracing::debug!(code, detail = self.detail, "request refused"),
            Fault::Processor | Fault::Capacity => tracing::info!(code, detail = self.detail, "request refused"),
        }
        let title = status.canonical_reason().unwrap_or("Error");
        let body = Body {
            r#type: "about:blank",
            title,
            status: status.as_u16(),
            detail: &self.detail,
            code,
            next: self.code.next(),
        };
        // Six plain fields always serialise; an empty body would still carry the status.
        let text = serde_json::to_string(&body).unwrap_or_default();
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Counts a refused offer and makes it a problem.
pub(super) fn refuse_offer(refused: Refused) -> Problem {
    if let Some(reason) = refused_reason(&refused) {
        metrics::session_refused(reason);
    }
    refused.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_say_what_to_do() {
        for (index, code) in Code::ALL.into_iter().enumerate() {
            let ((status, number, _), next) = (code.facts(), code.next());
            assert!(status.is_client_error() || status.is_server_error(), "{number}");
            assert!(next.ends_with('.'), "{number}");
            assert!(Code::ALL[..index].iter().all(|other| other.facts().1 != number), "{number}");
            assert_eq!(code as usize, index, "ALL has every code");
        }
    }

    #[test]
    fn refusals_have_the_status_of_the_standard() {
        let check = |refused: Refused, expected: u16| {
            let text = format!("{refused:?}");
            assert_eq!(Problem::from(refused).status().as_u16(), expected, "{text}");
        };
        check(Refused::Sdp("no m-line".to_owned()), 400);
        check(Refused::Unsupported("only H.266".to_owned()), 422);
        check(Refused::UnknownPipeline { asked: "a".to_owned(), known: Vec::new() }, 404);
        check(Refused::UnknownSession, 404);
        check(Refused::Full { retry_after_s: 5, text: "full".to_owned() }, 503);
        check(Refused::Processor { text: "no symbol".to_owned() }, 503);
        check(Refused::StreamTaken { stream: "door".to_owned() }, 409);
        check(Refused::ShuttingDown, 503);
        check(Refused::Busy, 503);
    }

    #[tokio::test]
    async fn body_is_a_problem_document() {
        let refused = Refused::Full { retry_after_s: 7, text: "32 sessions are all".to_owned() };
        let response = Problem::from(refused).into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "7");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["status"], 503);
        assert_eq!(body["code"], "FG-4001");
        assert_eq!(body["detail"], "32 sessions are all");
        assert_eq!(body["title"], "Service Unavailable");
        assert!(body["next"].is_string());
    }
}
