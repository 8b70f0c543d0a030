//! A small blocking HTTP/1.1 client: one request a connection, which is all that WHIP needs.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use anyhow::{Context, bail, ensure};

/// Longest wait for a connection, a write or a read: an honest server answers in milliseconds.
const IO_WAIT_MAX: Duration = Duration::from_secs(10);

/// Largest response, in bytes: an answer has a few kilobytes.
const RESPONSE_BYTES_MAX: u64 = 1 << 20;

/// The server and the address of its WHIP endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    host: String,
    path: String,
    token: Option<String>,
}

/// What the server answered to an offer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) sdp: String,
    /// Path of the session.
    pub(crate) location: String,
}

#[derive(Debug)]
struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Endpoint {
    /// Parses `http://host[:port][/path]`. Without a path, the server's default pipeline is asked for.
    pub(crate) fn find(url: &str, token: Option<String>) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("http://").with_context(|| format!("{url} does not begin with http://"))?;
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let with_port = if host.rsplit(']').next().is_some_and(|tail| tail.contains(':')) {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let address = with_port.to_socket_addrs().with_context(|| format!("looking up {host}"))?.next();
        let address = address.with_context(|| format!("{host} has no address"))?;
        let mut endpoint = Self { address, host: host.to_owned(), path: path.to_owned(), token };
        if path.is_empty() || path == "/" {
            endpoint.path = format!("/whip/{}", endpoint.default_pipeline()?);
        }
        Ok(endpoint)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.host, self.path)
    }

    /// Posts an offer.
    pub(crate) fn offer(&self, sdp: &str) -> anyhow::Result<Answer> {
        let response = self.request("POST", &self.path, Some(("application/sdp", sdp)))?;
        ensure!(response.status == 201, "the offer was answered {}: {}", response.status, response.body.trim());
        let location = response.header("location").context("the answer has no Location")?;
        // A relative reference is all that our own gateway sends; of an absolute one only the path matters.
        let path = location.strip_prefix(&format!("http://{}", self.host)).unwrap_or(location);
        ensure!(path.starts_with('/'), "the session is at {location}, another server");
        Ok(Answer { location: path.to_owned(), sdp: response.body })
    }

    /// Ends a session that has no connection to end itself by.
    pub(crate) fn delete(&self, location: &str) -> anyhow::Result<()> {
        self.request("DELETE", location, None).map(drop)
    }

    /// Process id of the gateway, where `/healthz` tells it.
    pub(crate) fn gateway_pid(&self) -> Option<u32> {
        let response = self.request("GET", "/healthz", None).ok()?;
        let health: serde_json::Value = serde_json::from_str(&response.body).ok()?;
        u32::try_from(health.get("pid")?.as_u64()?).ok()
    }

    fn default_pipeline(&self) -> anyhow::Result<String> {
        let response = self.request("GET", "/v1/pipelines", None)?;
        let list: serde_json::Value = serde_json::from_str(&response.body).context("reading /v1/pipelines")?;
        let name = list.get("default").and_then(|name| name.as_str());
        Ok(name.context("the server has no default pipeline: give the whole address, http://…/whip/NAME")?.to_owned())
    }

    fn request(&self, method: &str, path: &str, body: Option<(&str, &str)>) -> anyhow::Result<Response> {
        let mut stream = TcpStream::connect_timeout(&self.address, IO_WAIT_MAX)
            .with_context(|| format!("connecting to {}", self.address))?;
        stream.set_read_timeout(Some(IO_WAIT_MAX))?;
        stream.set_write_timeout(Some(IO_WAIT_MAX))?;
        stream.set_nodelay(true)?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.host);
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        let (kind, body) = body.unwrap_or_default();
        if !kind.is_empty() {
            head.push_str(&format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len()));
        }
        // One write, so that head and body are one segment.
        stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
        let mut bytes = Vec::new();
        stream.take(RESPONSE_BYTES_MAX).read_to_end(&mut bytes).with_context(|| format!("{method} {path}"))?;
        Response::parse(&bytes).with_context(|| format!("{method} {path}"))
    }
}

impl Response {
    fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let text = std::str::from_utf8(bytes).context("the response is no text")?;
        let (head, body) = text.split_once("\r\n\r\n").context("the response has no end of header")?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|word| word.parse().ok());
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut response =
            Self { status: status.context("the response has no status")?, headers, body: body.to_owned() };
        if response.header("transfer-encoding").is_some() {
            bail!("the response is in chunks, which this client does not read");
        }
        if let Some(length) = response.header("content-length") {
            let length: usize = length.parse().context("the response has no usable length")?;
            ensure!(body.len() >= length, "the response is cut off");
            response.body = body.get(..length).context("the response is no text")?.to_owned();
        }
        Ok(response)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_read_to_their_length_and_not_beyond() {
        let parse = |text: &str| Response::parse(text.as_bytes());
        let created = parse("HTTP/1.1 201 Created\r\nLocation: /s/1\r\nContent-Length: 2\r\n\r\nv=x").unwrap();
        assert_eq!((created.status, created.header("location"), created.body.as_str()), (201, Some("/s/1"), "v="));
        for broken in ["", "HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "no end"] {
            assert!(parse(broken).is_err(), "{broken:?}");
        }
        assert!(parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n").is_err());
    }

    #[test]
    fn addresses_are_understood() {
        for (url, address, path) in [
            ("http://127.0.0.1:8080/whip/a?stream=b", "127.0.0.1:8080", "/whip/a?stream=b"),
            ("http://[::1]:9/x", "[::1]:9", "/x"),
            ("http://127.0.0.1/x", "127.0.0.1:80", "/x"),
            ("http://[::1]/x", "[::1]:80", "/x"),
        ] {
            let endpoint = Endpoint::find(url, None).unwrap();
            assert_eq!((endpoint.address.to_string().as_str(), endpoint.path.as_str()), (address, path));
            assert_eq!(endpoint.url(), url);
        }
        assert!(Endpoint::find("https://127.0.0.1/x", None).is_err());
    }
}
