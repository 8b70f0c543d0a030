//! A running program with processors of its own, and what it occupies.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything that must happen: a loaded machine may take seconds, a fault takes for ever.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Time between two looks at a condition outside this process.
const LOOK: Duration = Duration::from_millis(20);

/// A processor to be compiled: its name, which becomes the pipeline's; its source; options of the compiler.
pub(crate) type Recipe<'a> = (&'a str, &'a str, &'a [&'a str]);

/// Reads the number in a picture: whoever must not notice anything runs it. First, so it is the default.
pub(crate) const FRAMECODE: Recipe<'static> = ("framecode", "examples/c/framecode.c", &[]);

/// The program, running; killed when dropped.
pub(crate) struct Lab {
    child: Child,
    pub(crate) port: u16,
    folder: PathBuf,
    pub(crate) clip: Arc<Vec<Vec<u8>>>,
    /// Those that are there without any session.
    nurseries: BTreeSet<u32>,
}

/// What a program occupies.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    descriptors: usize,
    threads: usize,
    processes: usize,
}

pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// An answer with any body.
pub(crate) struct Fetched {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Fetched {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// One HTTP request.
pub(crate) fn fetch(port: u16, method: &str, path: &str, body: &str) -> Fetched {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = "Host: localhost\r\nConnection: close\r\nContent-Type: application/sdp\r\n";
    let request = format!("{method} {path} HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let body = bytes.split_off(end + 4);
    let head = String::from_utf8(bytes).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Fetched { status, head, body }
}

impl Lab {
    /// Starts the program with `recipes`, the default processor first, and waits until that is loaded.
    pub(crate) fn start(recipes: &[Recipe<'_>]) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("framegate-media-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut libraries = Vec::new();
        for (name, source, options) in recipes {
            libraries.push(compile(&folder, name, source, options));
        }
        let clip = make_clip(&folder);
        let mut command = Command::new(env!("CARGO_BIN_EXE_framegate"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FRAMEGATE_")) {
            command.env_remove(name);
        }
        // Tests share the machine: being late and being refused are not what these are about.
        command.env("FRAMEGATE_ENGINE__LATE_MS", "10000").env("FRAMEGATE_ADMISSION__CPU_MAX", "1");
        command.env("FRAMEGATE_ENGINE__CRASHES_MAX", "1000");
        command.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(&folder);
        for library in &libraries {
            command.arg("-p").arg(library);
        }
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut lab = Self { child, port: 0, folder, clip, nurseries: BTreeSet::new() };
        lab.port = lab.wait("the address", Self::said_port);
        lab.wait("readiness", |lab| (lab.get("/readyz").status == 200).then_some(()));
        lab.nurseries = lab.descendants();
        lab
    }

    fn said_port(&self) -> Option<u16> {
        let log = self.log();
        // The line is whole once its successor is there.
        let (_, rest) = log.split_once("http://127.0.0.1:").filter(|_| log.contains("Ctrl-C"))?;
        rest.lines().next()?.parse().ok()
    }

    /// What the program has said.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap()).into_owned()
    }

    /// Waits until `condition` gives something.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, condition: impl Fn(&Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = condition(self) {
                return found;
            }
            assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}; it said: {}", self.log());
            std::thread::sleep(LOOK);
        }
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.ask("GET", path, "")
    }

    /// One HTTP request.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Response {
        let Fetched { status, head, body } = fetch(self.port, method, path, body);
        Response { status, head, body: String::from_utf8(body).unwrap() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The engines of sessions.
    pub(crate) fn engines(&self) -> BTreeSet<u32> {
        self.descendants().difference(&self.nurseries).copied().collect()
    }

    fn descendants(&self) -> BTreeSet<u32> {
        let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
                let mut rest = stat.rsplit_once(") ")?.1.split(' ');
                // A zombie holds nothing but its place; whether it is reaped is for `footprint`.
                rest.next()?;
                Some((pid, rest.next()?.parse().ok()?))
            })
            .collect();
        let mut found = BTreeSet::from([self.pid()]);
        loop {
            let more: Vec<u32> = parents
                .iter()
                .filter(|(pid, parent)| found.contains(parent) && !found.contains(pid))
                .map(|(pid, _)| *pid)
                .collect();
            if more.is_empty() {
                break;
            }
            found.extend(more);
        }
        found.remove(&self.pid());
        found
    }

    /// What the gateway holds, and how many processes it has.
    pub(crate) fn footprint(&self) -> Footprint {
        let count = |what: &str| fs::read_dir(format!("/proc/{}/{what}", self.pid())).unwrap().count();
        Footprint { descriptors: count("fd"), threads: count("task"), processes: self.descendants().len() }
    }

    /// Waits until the footprint is `before` again, and says how long that took.
    #[track_caller]
    pub(crate) fn shrinks_to(&self, before: &Footprint) -> Duration {
        let begun = Instant::now();
        let mut now = self.footprint();
        while now != *before {
            assert!(begun.elapsed() < PATIENCE, "{now:?} instead of {before:?}; it said: {}", self.log());
            std::thread::sleep(LOOK);
            now = self.footprint();
        }
        begun.elapsed()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Nothing to tell anybody: the test has its verdict.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// Compiles a source, relative to the repository or in `folder`, to a shared library.
pub(crate) fn compile(folder: &Path, name: &str, source: &str, options: &[&str]) -> PathBuf {
    let library = folder.join(format!("{name}.so"));
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-O2", "-I"]).arg(root().join("crates/framegate-abi/include"));
    command.arg(root().join(source)).arg("-o").arg(&library).args(options);
    assert!(command.status().unwrap().success(), "compiling {source}");
    library
}

/// Numbered pictures: small and few a second, so that many sessions fit beside each other in an unoptimised program.
fn make_clip(folder: &Path) -> Arc<Vec<Vec<u8>>> {
    let engine = Path::new(env!("CARGO_BIN_EXE_framegate")).with_file_name("framegate-engine");
    assert!(engine.is_file(), "{} is missing: build the whole workspace first", engine.display());
    let path = folder.join("clip.ivf");
    let mut command = Command::new(engine);
    command.args([
        "clip",
        "--size",
        "320x240",
        "--rate",
        "15",
        "--frames",
        "150",
        "--kbit",
        "200",
        "--key-interval",
        "15",
    ]);
    assert!(command.arg("--output").arg(&path).status().unwrap().success());
    let bytes = fs::read(path).unwrap();
    // IVF: 32 bytes of header; before each picture its length in 4 bytes and its PTS in 8.
    let mut rest = &bytes[32..];
    let mut pictures = Vec::new();
    while let Some((head, tail)) = rest.split_at_checked(12) {
        let length = u32::from_le_bytes(head[..4].try_into().unwrap()) as usize;
        let (picture, tail) = tail.split_at(length);
        pictures.push(picture.to_vec());
        rest = tail;
    }
    Arc::new(pictures)
}
