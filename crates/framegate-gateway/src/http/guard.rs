//! What happens around every request: whose it is, how long it may take, and the headers of its answer.
//!
//! A page of any site can send requests to a server on loopback, and a name of any site can point there. So the `Host`
//! must be one of ours (else a foreign page could read answers by DNS rebinding), and an `Origin`, where a browser sends
//! one, must be our own or one the operator has listed. CORS headers go to listed origins only, never to `*`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::App;
use super::error::{Code, Problem};
use crate::config::Server;
use crate::limits::ANSWER_TIMEOUT;
use crate::metrics;

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const PRIVATE_NETWORK_ASKED: HeaderName = HeaderName::from_static("access-control-request-private-network");
const PRIVATE_NETWORK_ALLOWED: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// Whose requests are answered.
#[derive(Debug)]
pub(super) struct Guard {
    listen: IpAddr,
    /// Lower case.
    hosts: Vec<String>,
    /// Lower case.
    origins: Vec<String>,
}

/// The page a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Caller {
    /// No page, or one of ours.
    Own,
    /// A page of an origin the operator has listed.
    Listed(HeaderValue),
}

impl Guard {
    pub(super) fn new(server: &Server) -> Self {
        Self {
            listen: server.listen.ip(),
            hosts: server.hosts.iter().map(|host| bare_host(host)).collect(),
            origins: server.origins.iter().map(|origin| origin.to_ascii_lowercase()).collect(),
        }
    }

    /// Finds out whose request this is, or why it is refused.
    fn admit(&self, uri_authority: Option<&Authority>, headers: &HeaderMap) -> Result<Caller, Problem> {
        let host = self.host(uri_authority, headers)?;
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(Caller::Own) };
        let text = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        let is_own = text
            .split_once("://")
            .is_some_and(|(scheme, authority)| matches!(scheme, "http" | "https") && authority == host);
        match origins.next() {
            None if is_own => Ok(Caller::Own),
            None if self.origins.contains(&text) => Ok(Caller::Listed(origin.clone())),
            _ => {
                let detail = format!("pages of {} may not use this server", shown(&text));
                Err(Problem::new(Code::ForeignOrigin, detail))
            }
        }
    }

    /// The host and port the request is for, in lower case, if it is ours.
    fn host(&self, uri_authority: Option<&Authority>, headers: &HeaderMap) -> Result<String, Problem> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let named = hosts.next().and_then(|host| host.to_str().ok());
        let text = uri_authority.map_or(named.unwrap_or_default(), Authority::as_str).to_ascii_lowercase();
        if hosts.next().is_none() && self.is_ours(&text) {
            return Ok(text);
        }
        Err(Problem::new(Code::WrongHost, format!("this server is not {}", shown(&text))))
    }

    fn is_ours(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let name = bare_host(authority.host());
        match name.parse::<IpAddr>() {
            Ok(address) => address.is_loopback() || address == self.listen || self.hosts.contains(&name),
            Err(_) => name == "localhost" || name.ends_with(".localhost") || self.hosts.contains(&name),
        }
    }
}

/// A host name without brackets, port and final dot, in lower case.
fn bare_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.to_owned();
    }
    let name = match host.split_once(':') {
        // More than one colon: an IPv6 address without brackets.
        Some((name, rest)) if !rest.contains(':') => name,
        _ => &host,
    };
    name.trim_end_matches('.').to_owned()
}

/// A foreign value as it may stand in an answer: short.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(100).collect();
    if short.is_empty() { "a host without a name".to_owned() } else { format!("`{short}`") }
}

/// Checks a request, answers `OPTIONS`, bounds the time of the answer and completes its headers.
pub(super) async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = match app.guard.admit(request.uri().authority(), request.headers()) {
        Ok(caller) => {
            let mut response = if request.method() == Method::OPTIONS {
                options(&path, request.headers(), &caller)
            } else {
                answer(request, next).await
            };
            if let Caller::Listed(origin) = caller {
                let headers = response.headers_mut();
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                let exposed = HeaderValue::from_static("Location, ETag, Link, Retry-After");
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
            }
            response
        }
        Err(problem) => problem.into_response(),
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods(&path)));
    }
    complete(response.headers_mut());
    metrics::http_request(response.status().as_u16());
    response
}

async fn answer(request: Request, next: Next) -> Response {
    match timeout(ANSWER_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
            Problem::new(Code::AnswerTooSlow, detail).into_response()
        }
    }
}

/// Headers that every answer has.
fn complete(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(PERMISSIONS_POLICY, HeaderValue::from_static("camera=(self), microphone=(self)"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

/// Answers `OPTIONS`: what a path takes, and to listed origins what a preflight asks.
fn options(path: &str, asked: &HeaderMap, caller: &Caller) -> Response {
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(methods(path)));
    if is_offer(path) {
        headers.insert(ACCEPT_POST, HeaderValue::from_static("application/sdp"));
    }
    if matches!(caller, Caller::Listed(_)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods(path)));
        let allowed = HeaderValue::from_static("Authorization, Content-Type, If-Match");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        if asked.contains_key(PRIVATE_NETWORK_ASKED) {
            headers.insert(PRIVATE_NETWORK_ALLOWED, HeaderValue::from_static("true"));
        }
    }
    response
}

fn is_offer(path: &str) -> bool {
    path == "/whip" || path.starts_with("/whip/")
}

fn methods(path: &str) -> &'static str {
    if is_offer(path) {
        "GET, HEAD, OPTIONS, POST"
    } else if path.starts_with("/sessions/") {
        "GET, HEAD, OPTIONS, PATCH, DELETE"
    } else {
        "GET, HEAD, OPTIONS"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new(&Server {
            listen: "127.0.0.1:8080".parse().unwrap(),
            origins: vec!["https://App.example".to_owned()],
            hosts: vec!["video.example".to_owned(), "192.0.2.7".to_owned()],
        })
    }

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_our_hosts_are_answered() {
        let guard = guard();
        let check = |host: &str, expected: bool| {
            assert_eq!(guard.admit(None, &headers(host, None)).is_ok(), expected, "{host}");
        };
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080", "a.localhost:1"] {
            check(host, true);
        }
        for host in ["video.example", "Video.Example:443", "video.example.:443", "192.0.2.7:80"] {
            check(host, true);
        }
        for host in
            ["", "evil.example", "localhost.evil.example", "evillocalhost", "video.example.evil", "10.0.0.1:8080"]
        {
            check(host, false);
        }
        for host in ["localhost@evil.example", "evil@localhost", "[::1", "localhost:8080/x", "[fe80::1]"] {
            check(host, false);
        }
    }

    #[test]
    fn missing_doubled_or_contradicted_hosts_are_refused() {
        let guard = guard();
        assert!(guard.admit(None, &HeaderMap::new()).is_err());
        let mut doubled = headers("localhost", None);
        doubled.append(header::HOST, HeaderValue::from_static("localhost"));
        assert!(guard.admit(None, &doubled).is_err());
        let foreign = Authority::from_static("evil.example");
        assert!(guard.admit(Some(&foreign), &headers("localhost", None)).is_err());
    }

    #[test]
    fn only_own_and_listed_pages_are_answered() {
        let guard = guard();
        let check = |host: &str, origin: &str, expected: Option<&str>| {
            let caller = guard.admit(None, &headers(host, Some(origin))).ok().map(|caller| match caller {
                Caller::Own => String::from("own"),
                Caller::Listed(origin) => origin.to_str().unwrap().to_owned(),
            });
            assert_eq!(caller.as_deref(), expected, "{origin} to {host}");
        };
        check("localhost:8080", "http://localhost:8080", Some("own"));
        check("video.example", "https://video.example", Some("own"));
        check("localhost:8080", "https://app.example", Some("https://app.example"));
        check("localhost:8080", "http://localhost:3000", None);
        check("localhost:8080", "http://app.example", None);
        check("localhost:8080", "https://app.example.evil", None);
        check("localhost:8080", "null", None);
        check("localhost:8080", "file://localhost:8080", None);
    }

    #[test]
    fn preflight_tells_listed_pages_only() {
        let asked = headers("localhost", None);
        let own = options("/whip/motion", &asked, &Caller::Own);
        assert_eq!(own.status(), StatusCode::OK);
        assert_eq!(own.headers()[ACCEPT_POST], "application/sdp");
        assert!(!own.headers().contains_key(header::ACCESS_CONTROL_ALLOW_METHODS));
        let listed = Caller::Listed(HeaderValue::from_static("https://app.example"));
        let listed = options("/sessions/0", &asked, &listed);
        assert_eq!(listed.headers()[header::ACCESS_CONTROL_ALLOW_METHODS], "GET, HEAD, OPTIONS, PATCH, DELETE");
        assert!(!listed.headers().contains_key(ACCEPT_POST));
    }
}
