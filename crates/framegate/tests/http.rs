//! The program as its users meet it over HTTP: started, asked, misused and ended.
//!
//! Needs `framegate-engine` beside `framegate` (build the whole workspace) and a C compiler for the example processor.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use framegate_core::peer::{Peer, PeerCertificate, PeerConfig};
use serde_json::Value;

/// Longest wait for anything that must happen: a loaded machine may take seconds, a fault takes for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program, running; killed if a test fails before it ends.
struct Framegate {
    child: Child,
    port: u16,
    welcome: String,
}

impl Framegate {
    fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = command(arguments, variables).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut welcome = String::new();
        while !welcome.contains("Ctrl-C") {
            let line = lines.next().expect("it says where it is before it ends").unwrap();
            welcome += &line;
            welcome.push('\n');
        }
        let (_, rest) = welcome.split_once("http://127.0.0.1:").unwrap();
        let port = rest.lines().next().unwrap().parse().unwrap();
        Self { child, port, welcome }
    }

    fn ask(&self, head: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut all = vec![("Host", "localhost"), ("Connection", "close")];
        for (name, value) in headers {
            all.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            all.push((name, value));
        }
        let mut text = format!("{head} HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in all {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        // A refused body may meet a closed connection.
        let _ = stream.write_all(body);
        Response::read(stream)
    }

    fn get(&self, path: &str) -> Response {
        self.ask(&format!("GET {path}"), &[], b"")
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Waits until it is ready, and gives what it says then.
    fn ready(&self) -> Value {
        let begin = Instant::now();
        loop {
            let ready = self.get("/readyz");
            if ready.status == 200 || begin.elapsed() > PATIENCE {
                return ready.json();
            }
        }
    }

    /// Ends it as a user does and gives its exit code.
    fn end(mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Framegate {
    fn drop(&mut self) {
        // It has ended already in every test that holds.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Response {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Response {
    fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A reset after the answer takes nothing away from it.
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body: bytes.split_off(end + 4) }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    #[track_caller]
    fn is_problem(&self, status: u16, code: &str) {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.json()["code"], code, "{text}");
        assert_eq!(self.json()["status"], status, "{text}");
    }
}

/// The program with its surroundings removed: no config, no variables, no installed processors.
fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_framegate"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FRAMEGATE_")) {
        command.env_remove(name);
    }
    command.current_dir(std::env::temp_dir()).env("FRAMEGATE_PROCESSORS", "/nonexistent");
    command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    command(arguments, variables).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
}

/// The example processor, compiled once.
fn motion() -> &'static str {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| compile("examples/c/motion.c")).to_str().unwrap()
}

/// One parameter of each kind, compiled once.
fn params() -> &'static str {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| compile("testdata/processors/params.c")).to_str().unwrap()
}

/// A folder for what this process makes.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("http-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Compiles a source of the repository to a library.
fn compile(source: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(source);
    let library = folder().join(source.with_extension("so").file_name().unwrap());
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-O2", "-I"]);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../framegate-abi/include"));
    assert!(command.arg(source).arg("-o").arg(&library).status().unwrap().success());
    library
}

fn offer() -> String {
    let local = "127.0.0.1:9".parse().unwrap();
    let certificate = PeerCertificate::generate().unwrap();
    Peer::new(PeerConfig { local, seed: 1, certificate }, Instant::now()).unwrap().1
}

#[test]
fn starts_without_processors_and_explains() {
    let framegate = Framegate::start(&["--listen", "0"], &[]);
    assert!(framegate.welcome.contains("none yet: framegate serve -p yours.cpp"), "{}", framegate.welcome);
    let health = framegate.get("/healthz");
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["pid"], framegate.child.id());
    assert_eq!(framegate.get("/readyz").json()["ready"], true);
    assert_eq!(framegate.get("/v1/pipelines").json()["pipelines"], Value::Array(Vec::new()));
    framegate.ask("POST /whip", &[("Content-Type", "application/sdp")], b"v=0\r\n").is_problem(404, "FG-2003");
    assert_eq!(framegate.end("-INT"), Some(0));
}

#[test]
fn pages_come_with_their_policy() {
    let framegate = Framegate::start(&["serve", "--listen", "0"], &[]);
    let page = framegate.get("/");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'self';"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("access-control-allow-origin"), None);
    let sdk = framegate.get("/sdk/framegate.js");
    assert_eq!(sdk.header("content-type"), Some("text/javascript; charset=utf-8"));
    let again = framegate.ask("GET /sdk/framegate.js", &[("If-None-Match", sdk.header("etag").unwrap())], b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    framegate.get("/web/nothing.js").is_problem(404, "FG-1003");
    framegate.get("/sdk/../../Cargo.toml").is_problem(404, "FG-1003");
    let metrics = String::from_utf8(framegate.get("/metrics").body).unwrap();
    assert!(metrics.contains("framegate_sessions 0"), "{metrics}");
    assert_eq!(framegate.end("-TERM"), Some(0));
}

#[test]
fn foreign_hosts_and_pages_get_nothing() {
    let variables =
        [("FRAMEGATE_SERVER__ORIGINS", "https://app.example"), ("FRAMEGATE_SERVER__HOSTS", "video.example")];
    let framegate = Framegate::start(&["--listen", "0"], &variables);
    let get = |headers: &[(&str, &str)]| framegate.ask("GET /v1/sessions", headers, b"");
    get(&[("Host", "evil.example")]).is_problem(421, "FG-1001");
    get(&[("Host", "")]).is_problem(421, "FG-1001");
    get(&[("Origin", "https://evil.example")]).is_problem(403, "FG-1002");
    get(&[("Origin", "null")]).is_problem(403, "FG-1002");
    framegate.ask("DELETE /sessions/x", &[("Origin", "http://localhost:1")], b"").is_problem(403, "FG-1002");
    assert_eq!(get(&[("Host", "video.example"), ("Origin", "https://video.example")]).status, 200);

    let listed = get(&[("Origin", "https://app.example")]);
    assert_eq!(listed.status, 200);
    assert_eq!(listed.header("access-control-allow-origin"), Some("https://app.example"));
    assert!(listed.header("access-control-expose-headers").unwrap().contains("Location"));
    let asked = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST")];
    let preflight = framegate.ask("OPTIONS /whip/motion", &asked, b"");
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.header("accept-post"), Some("application/sdp"));
    assert!(preflight.header("access-control-allow-methods").unwrap().contains("POST"));
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("Content-Type"));
    framegate.ask("OPTIONS /whip/motion", &[("Origin", "https://evil.example")], b"").is_problem(403, "FG-1002");
    assert_eq!(framegate.end("-TERM"), Some(0));
}

#[test]
fn session_lives_from_offer_to_summary() {
    let framegate = Framegate::start(&["--listen", "0", "-p", motion()], &[]);
    assert!(framegate.welcome.contains("motion (default)"), "{}", framegate.welcome);
    let sdp = [("Content-Type", "application/sdp")];
    let ready = framegate.ready();
    assert_eq!(ready["processors"][0]["state"], "ready", "{ready}");

    let created = framegate.ask("POST /whip/motion?stream=door", &sdp, offer().as_bytes());
    assert_eq!(created.status, 201, "{}", String::from_utf8_lossy(&created.body));
    assert_eq!(created.header("content-type"), Some("application/sdp"));
    assert!(created.header("etag").is_some_and(|tag| tag.starts_with('"') && tag.ends_with('"')));
    assert!(created.body.starts_with(b"v=0\r\n"));
    let url = created.header("location").unwrap();
    assert_eq!(url.len(), "/sessions/".len() + 32, "{url}");

    let sessions = framegate.get("/v1/sessions");
    assert_eq!(sessions.json()["sessions"][0]["stream"], "door");
    let text = String::from_utf8(sessions.body).unwrap();
    assert!(!text.contains(url.strip_prefix("/sessions/").unwrap()), "the session's URL is a secret");
    framegate.ask("POST /whip/motion?stream=door", &sdp, offer().as_bytes()).is_problem(409, "FG-2005");

    let fragment = [("Content-Type", "application/trickle-ice-sdpfrag")];
    let patch = format!("PATCH {url}");
    framegate.ask(&patch, &sdp, b"").is_problem(415, "FG-1005");
    let candidate = b"a=mid:0\r\na=candidate:1 1 udp 2130706431 0f3a.local 50000 typ host\r\n";
    let patched = framegate.ask(&patch, &fragment, candidate);
    assert_eq!((patched.status, patched.header("etag")), (204, None));
    framegate.ask("PATCH /sessions/0123", &fragment, candidate).is_problem(404, "FG-2004");
    assert_eq!(framegate.get(url).status, 204);

    let closed = framegate.ask(&format!("DELETE {url}"), &[], b"");
    assert_eq!(closed.status, 200);
    assert!(closed.json()["counts"].is_object(), "{}", closed.json());
    framegate.ask(&format!("DELETE {url}"), &[], b"").is_problem(404, "FG-2004");
    let metrics = String::from_utf8(framegate.get("/metrics").body).unwrap();
    assert!(metrics.contains("framegate_sessions_opened_total 1"), "{metrics}");
    assert!(metrics.contains("framegate_sessions_refused_total{reason=\"name\"} 1"), "{metrics}");
    assert_eq!(framegate.end("-TERM"), Some(0));
}

#[test]
fn offers_that_are_none_are_refused() {
    let framegate = Framegate::start(&["--listen", "0", "-p", motion()], &[]);
    let post = |path: &str, content_type: &str, body: &[u8]| {
        framegate.ask(&format!("POST {path}"), &[("Content-Type", content_type)], body)
    };
    let sdp = "application/sdp";
    post("/whip/motion", "text/plain", b"v=0\r\n").is_problem(415, "FG-1005");
    post("/whip/motion", sdp, &vec![b'a'; (64 << 10) + 1]).is_problem(413, "FG-1006");
    post("/whip/motion", sdp, &[0xff; 10]).is_problem(400, "FG-1008");
    post("/whip/motion?stream=a%2Fb", sdp, b"v=0\r\n").is_problem(400, "FG-1009");
    post("/whip/nothing", sdp, offer().as_bytes()).is_problem(404, "FG-2003");
    for text in ["", "v=0\r\n", "\r\n\r\n", "a=ice-ufrag:\u{0}", &"v=0\r\n".repeat(1000)] {
        let status = post("/whip/motion", sdp, text.as_bytes()).status;
        assert!(status == 400 || status == 422, "{status} for {text:.20?}");
    }
    let put = framegate.ask("PUT /whip/motion", &[], b"");
    put.is_problem(405, "FG-1004");
    assert!(put.header("allow").unwrap().contains("POST"));
    assert_eq!(framegate.get("/whip/motion").status, 204);
    assert_eq!(framegate.get("/v1/sessions").json()["sessions"], Value::Array(Vec::new()));
    assert_eq!(framegate.end("-TERM"), Some(0));
}

#[test]
fn slow_and_oversized_requests_lose_their_connection() {
    let framegate = Framegate::start(&["--listen", "0"], &[]);
    let mut silent = framegate.connect();
    let mut half = framegate.connect();
    half.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    let mut body = framegate.connect();
    body.write_all(
        b"POST /whip/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\nContent-Length: 10\r\n\r\nv=0",
    )
    .unwrap();
    let mut large = framegate.connect();
    // The server may hang up before it has read all of it.
    let _ =
        large.write_all(format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "a".repeat(64 << 10)).as_bytes());
    assert_eq!(Response::read(large).status, 431);

    let begin = Instant::now();
    let mut rest = Vec::new();
    assert_eq!(silent.read_to_end(&mut rest).unwrap(), 0, "closed without an answer");
    half.read_to_end(&mut rest).unwrap();
    let mut first = [0; 12];
    body.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 408");
    assert!(begin.elapsed() < PATIENCE);
    assert_eq!(framegate.get("/healthz").status, 200);
    assert_eq!(framegate.end("-TERM"), Some(0));
}

#[test]
fn exit_codes_say_what_went_wrong() {
    let framegate = Framegate::start(&["--listen", "0"], &[]);
    let check = |arguments: &[&str], variables: &[(&str, &str)], code: i32, text: &str| {
        let output = run(arguments, variables);
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(text), "{arguments:?}: {said}");
    };
    let port = framegate.port.to_string();
    check(&["--version"], &[], 0, "framegate 0.");
    check(&["serve", "--bogus"], &[], 2, "--bogus");
    check(&["--config", "missing.toml"], &[], 3, "missing.toml");
    check(&[], &[("FRAMEGATE_SERVER__LISTNE", "x")], 3, "did you mean `listen`?");
    check(&["-p", "missing.so"], &[], 3, "-p 'missing.so'");
    check(&["--listen", "0.0.0.0:0"], &[], 3, "not a loopback address");
    check(
        &["--listen", &port],
        &[],
        4,
        &format!("TCP port {port} is in use by framegate (pid {})", framegate.child.id()),
    );
    check(&["--listen", &port], &[], 4, "framegate serve --listen 127.0.0.1:");
    check(&["--listen", "0"], &[("FRAMEGATE_ENGINE__PROGRAM", "/nonexistent")], 4, "/nonexistent");
    check(&["doctor", "--listen", "0"], &[("FRAMEGATE_ENGINE__PROGRAM", "/nonexistent")], 4, "FAIL  engine");
    assert_eq!(framegate.end("-TERM"), Some(0));
}

#[test]
fn doctor_speaks_json() {
    let output = run(&["doctor", "--json", "--listen", "0"], &[]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let level = |name: &str| checks.iter().find(|check| check["name"] == name).map(|check| check["level"].clone());
    assert_eq!(level("config"), Some(Value::from("ok")), "{report}");
    assert_eq!(level("engine"), Some(Value::from("ok")), "{report}");
    assert_eq!(report["ok"], output.status.success(), "{report}");
}

#[test]
fn processors_are_listed_with_what_they_take_and_may() {
    let framegate = Framegate::start(&["--listen", "0", "-p", params(), "-p", motion()], &[]);
    framegate.ready();
    let listed = framegate.get("/v1/processors").json();
    let processor = &listed["processors"][0];
    let about = ["pipeline", "name", "version", "language", "state", "isolation"].map(|key| processor[key].clone());
    assert_eq!(about, ["params", "params", "1.2.0", "c", "ready", "process"].map(Value::from), "{listed}");
    assert_eq!(processor["source"], params());
    assert_eq!(processor["params"].as_array().map(Vec::len), Some(7));
    assert_eq!(processor["want"]["format"], "bgr24");
    assert_eq!((&processor["cost"], &processor["error"]), (&Value::Null, &Value::Null));
    let sandbox = &processor["sandbox"];
    assert_eq!((&sandbox["mode"], &sandbox["network"]), (&Value::from("enforce"), &Value::from(false)));
    assert!(sandbox["reads"].is_string(), "{sandbox}");
    assert_eq!(listed["processors"][1]["state"], "idle");
    let grouped = framegate.get("/v1/pipelines").json();
    assert_eq!((&grouped["pipelines"][0]["processors"][0], &grouped["default"]), (processor, &Value::from("params")));
    framegate.get("/v1/streams/nobody/snapshot.jpg").is_problem(404, "FG-2006");
    framegate.get("/v1/streams/No%20Name/snapshot.jpg").is_problem(404, "FG-2006");
    framegate.get("/v1/streams/nobody/snapshot.jpg?view=all").is_problem(400, "FG-2009");
    assert_eq!(framegate.end("-TERM"), Some(0));
}

#[test]
fn a_processor_that_cannot_be_made_says_why() {
    let config = folder().join("failing.toml");
    let text = |count: u32| {
        let library = params();
        format!("[[pipelines]]\nname = \"p\"\nprocessor = \"{library}\"\nparams = {{ count = {count} }}\n")
    };
    std::fs::write(&config, text(99)).unwrap();
    let config = config.to_str().unwrap();
    let framegate = Framegate::start(&["--listen", "0", "--config", config], &[]);
    let ready = framegate.ready();
    assert_eq!((&ready["ready"], &ready["processors"][0]["state"]), (&Value::from(true), &Value::from("failed")));
    let error = ready["processors"][0]["error"].as_str().unwrap();
    assert!(error.contains("`count` is 99; it takes 1 to 10"), "{error}");
    let offered = framegate.ask("POST /whip/p", &[("Content-Type", "application/sdp")], offer().as_bytes());
    offered.is_problem(503, "FG-3001");
    assert_eq!(framegate.end("-TERM"), Some(0));
}

#[test]
fn list_tries_processors_out_without_a_server() {
    let good = run(&["list", "processors", "--json", "-p", params()], &[]);
    let listed: Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!(good.status.code(), Some(0), "{listed}");
    assert_eq!(listed["pipelines"][0]["processors"][0]["params"][1]["max"], 10, "{listed}");

    let broken = compile("testdata/processors/wrong_abi.c");
    let mixed = run(&["list", "processors", "-p", params(), "-p", broken.to_str().unwrap()], &[]);
    let text = String::from_utf8(mixed.stdout).unwrap();
    assert_eq!(mixed.status.code(), Some(1), "{text}");
    assert!(text.contains("count (int 1 to 10) = 3"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("wrong_abi: ") && line.contains("interface")), "{text}");
    let none = run(&["list", "processors"], &[]);
    assert_eq!(none.status.code(), Some(0));
}
