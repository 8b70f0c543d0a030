//! The pages and the SDK, embedded in the program: the page and the server it talks to are always the same version.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::error::{Code, Problem};

/// Pages load nothing from elsewhere and run no inline script; the picture of a camera is a `blob:`.
const POLICY: &str = "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; \
                      worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// One embedded file.
#[derive(Debug)]
struct Page {
    /// Path of its URL.
    path: &'static str,
    content_type: &'static str,
    /// Entity tag with its quotes.
    etag: &'static str,
    body: &'static [u8],
}

/// Every embedded file.
static PAGES: &[Page] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// What `/` shows.
const INDEX: &str = "/web/index.html";

/// Answers `GET` of a page or of a file of the SDK.
pub(super) async fn get(uri: Uri, headers: HeaderMap) -> Response {
    let path = if uri.path() == "/" { INDEX } else { uri.path() };
    let Some(page) = PAGES.iter().find(|page| page.path == path) else {
        return Problem::new(Code::NoSuchPage, format!("there is nothing at {path}")).into_response();
    };
    let known = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim().trim_start_matches("W/") == page.etag);
    let mut response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { Body::from(page.body).into_response() };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    headers.insert(ETAG, HeaderValue::from_static(page.etag));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // Asked again each time, so that a page never meets a server of another version.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_embedded_once_each() {
        for (index, page) in PAGES.iter().enumerate() {
            assert!(!page.body.is_empty(), "{}", page.path);
            assert!(PAGES[..index].iter().all(|other| other.path != page.path), "{}", page.path);
        }
        for path in [INDEX, "/sdk/framegate.js", "/sdk/framegate.d.ts"] {
            assert!(PAGES.iter().any(|page| page.path == path), "{path}");
        }
        for path in ["/sdk/package.json", "/sdk/tsconfig.json"] {
            assert!(PAGES.iter().all(|page| page.path != path), "{path}");
        }
    }

    #[tokio::test]
    async fn known_version_is_not_sent_again() {
        let first = get(Uri::from_static("/sdk/framegate.js"), HeaderMap::new()).await;
        assert_eq!(first.status(), StatusCode::OK);
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        let second = get(Uri::from_static("/sdk/framegate.js"), headers.clone()).await;
        assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
        let missing = get(Uri::from_static("/web/../Cargo.toml"), headers).await;
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    }
}
