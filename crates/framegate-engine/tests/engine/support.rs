//! The gateway's side of a nursery and its engines, as plain as possible: every wait has a bound, nothing sleeps.

use std::{
    collections::VecDeque,
    io::{IoSlice, IoSliceMut, Read},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use framegate_codec::{EncodeFormat, Encoder, EncoderSettings, I420Image, Keyframe, Range};
use framegate_wire::{
    Codec, Counts, Epoch, ExitKind, FaultReport, FromEngine, Isolation, Loaded, NurseryReply, NurseryRequest, Open,
    PictureSize, PipelineSpec, ProcessorSpec, ResultHeader, SandboxMode, Seq, Source, ToEngine, UnitHeader,
    WIRE_VERSION,
    frame::{self, Reader},
    limits::{AREA_MAX, NURSERY_PACKET_BYTES_MAX},
};
use rustix::{
    cmsg_space,
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg, socketpair,
    },
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Signal, pidfd_send_signal},
    time::{ClockId, clock_gettime},
};

/// Longest any answer may take, in seconds: the machine may be busy with other tests.
const PATIENCE_S: i64 = 60;

/// What most test processors begin with.
pub(crate) const PRELUDE: &str = "#define _GNU_SOURCE\n#include <framegate.h>\n";

/// A processor of level 1 named `test` whose function has this body.
pub(crate) fn level_1(globals: &str, body: &str) -> String {
    format!(
        "{PRELUDE}{globals}\nstatic int32_t process(const fg_frame *frame, const fg_out *out) {{ (void)frame; (void)out; {body} }}\n\
         FG_PROCESSOR(\"test\", \"1.0.0\", \"A test.\", process)\n"
    )
}

/// A folder that goes away with the test.
#[derive(Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Compiles a C text into the shared library `name.so` of this folder.
    pub(crate) fn compile(&self, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
        let (file, library) = (self.0.join(format!("{name}.c")), self.0.join(format!("{name}.so")));
        std::fs::write(&file, source).unwrap();
        let header = concat!(env!("CARGO_MANIFEST_DIR"), "/../framegate-abi/include");
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-g", "-fno-optimize-sibling-calls", "-I", header, "-o"])
            .arg(&library)
            .arg(&file)
            .args(arguments)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        library
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A pipeline of one library.
pub(crate) fn pipeline(library: &Path) -> PipelineSpec {
    PipelineSpec {
        name: "test".to_owned(),
        processors: vec![ProcessorSpec { source: Source::Library(library.to_owned()), params: Default::default() }],
        isolation: Isolation::Process,
        readable: Vec::new(),
        python: None,
        sandbox: SandboxMode::Enforce,
    }
}

/// A nursery process.
#[derive(Debug)]
pub(crate) struct Nursery {
    pub(crate) process: Child,
    pub(crate) control: Option<OwnedFd>,
    next_engine: u64,
}

impl Nursery {
    /// Starts a nursery on a processor made from C.
    pub(crate) fn of(source: &str) -> (Self, Folder) {
        let folder = Folder::new();
        let library = folder.compile("test", source, &[]);
        let mut nursery = Self::start(&library, &[]);
        nursery.ready();
        (nursery, folder)
    }

    pub(crate) fn start(library: &Path, arguments: &[&str]) -> Self {
        Self::start_pipeline(&pipeline(library), arguments)
    }

    pub(crate) fn start_pipeline(pipeline: &PipelineSpec, arguments: &[&str]) -> Self {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let pipeline = serde_json::to_string(pipeline).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_framegate-engine"))
            .args(["nursery", "--pipeline", &pipeline])
            .args(arguments)
            // Not the user's.
            .env("FRAMEGATE_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"))
            .stdin(Stdio::from(theirs))
            .spawn()
            .unwrap();
        Self { process, control: Some(ours), next_engine: 1 }
    }

    fn control(&self) -> BorrowedFd<'_> {
        self.control.as_ref().unwrap().as_fd()
    }

    pub(crate) fn ready(&mut self) -> Loaded {
        match self.reply() {
            (NurseryReply::Ready(descriptor), None) => descriptor,
            other => panic!("{other:?} instead of Ready"),
        }
    }

    /// The text of the fault that keeps the nursery from being ready.
    pub(crate) fn fault(&mut self) -> String {
        let (NurseryReply::Fault { text }, None) = self.reply() else { panic!("no fault") };
        assert!(!self.process.wait().unwrap().success());
        text
    }

    /// Waits for the next packet.
    pub(crate) fn reply(&mut self) -> (NurseryReply, Option<OwnedFd>) {
        wait_readable(self.control(), "a reply of the nursery");
        let mut packet = [0; NURSERY_PACKET_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut packet)];
        let received = recvmsg(self.control(), &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
        assert!(received.bytes > 0, "the nursery closed its control socket");
        let mut descriptor = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptor = rights.last();
            }
        }
        (postcard::from_bytes(&packet[..received.bytes]).unwrap(), descriptor)
    }

    /// Asks for an engine.
    pub(crate) fn request(&mut self) -> (u64, OwnedFd, OwnedFd) {
        let number = self.next_engine;
        self.next_engine += 1;
        let (session, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let (log, log_theirs) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let packet = postcard::to_allocvec(&NurseryRequest::Fork { engine: number }).unwrap();
        let rights = [theirs.as_fd(), log_theirs.as_fd()];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&rights)));
        sendmsg(self.control(), &[IoSlice::new(&packet)], &mut ancillary, SendFlags::NOSIGNAL).unwrap();
        (number, session, log)
    }

    /// Forks an engine and says `Open`.
    pub(crate) fn fork(&mut self) -> Engine {
        let (number, session, log) = self.request();
        let (pid, pidfd) = match self.reply() {
            (NurseryReply::Forked { engine, pid }, Some(pidfd)) if engine == number => (pid, pidfd),
            other => panic!("{other:?} instead of Forked"),
        };
        let mut engine = Engine { session, log, pid, pidfd, number, reader: Reader::default(), heard: VecDeque::new() };
        let open = Open {
            version: WIRE_VERSION,
            stream: "test".into(),
            area_max: AREA_MAX,
            late_ms: 200,
            seed: 1,
            params: Vec::new(),
        };
        engine.say(&ToEngine::Open(open), &[]);
        engine
    }

    /// Forks an engine and waits until its instance exists.
    pub(crate) fn fork_ready(&mut self) -> Engine {
        let mut engine = self.fork();
        engine.until(|message| matches!(message, FromEngine::Ready(_)).then_some(()));
        engine
    }

    /// Waits for the end of `engine`.
    pub(crate) fn exited(&mut self, engine: &Engine) -> (ExitKind, Option<FaultReport>) {
        match self.reply() {
            (NurseryReply::Exited { engine: number, kind, fault, .. }, None) if number == engine.number => {
                (kind, fault)
            }
            other => panic!("{other:?} instead of Exited of {}", engine.number),
        }
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        self.control = None;
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An engine, seen from the gateway.
#[derive(Debug)]
pub(crate) struct Engine {
    session: OwnedFd,
    log: OwnedFd,
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    number: u64,
    reader: Reader,
    heard: VecDeque<(FromEngine, Vec<u8>)>,
}

impl Engine {
    pub(crate) fn say(&mut self, message: &ToEngine, payload: &[u8]) {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, message, payload).unwrap();
        self.say_bytes(&bytes);
    }

    pub(crate) fn say_bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[send(&self.session, bytes, SendFlags::NOSIGNAL).unwrap()..];
        }
    }

    /// Sends a unit whose last packet arrived just now.
    pub(crate) fn unit(&mut self, seq: u64, unit: &Unit) {
        self.say(&ToEngine::Unit(unit_header(seq, unit.keyframe)), &unit.data);
    }

    /// The next message and its payload; `None` when the engine closed.
    pub(crate) fn hear(&mut self) -> Option<(FromEngine, Vec<u8>)> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Some(heard);
            }
            wait_readable(self.session.as_fd(), "a message of the engine");
            let mut bytes = vec![0; 64 << 10];
            match recv(&self.session, &mut bytes[..], RecvFlags::empty()) {
                Ok((1.., count)) => self.reader.extend(&bytes[..count]),
                _ => return None,
            }
            while let Some((message, payload)) = self.reader.next_message().unwrap() {
                self.heard.push_back((message, payload.to_vec()));
            }
        }
    }

    /// The first message `pick` picks; earlier ones are dropped.
    pub(crate) fn until<T>(&mut self, pick: impl Fn(FromEngine) -> Option<T>) -> T {
        loop {
            let (message, _) = self.hear().expect("the engine ended");
            if let FromEngine::Fault { text } = &message {
                panic!("fault: {text}");
            }
            if let Some(picked) = pick(message) {
                return picked;
            }
        }
    }

    /// The next result and its data.
    pub(crate) fn result(&mut self) -> (ResultHeader, String) {
        loop {
            if let (FromEngine::Result(result), payload) = self.hear().expect("the engine ended") {
                return (result, String::from_utf8(payload).unwrap());
            }
        }
    }

    /// Sends one unit and waits for its result.
    pub(crate) fn process(&mut self, seq: u64, unit: &Unit) -> (ResultHeader, String) {
        self.unit(seq, unit);
        let (result, data) = self.result();
        assert_eq!(result.seq, Seq(seq));
        (result, data)
    }

    /// Says `Close` and returns the totals.
    pub(crate) fn close(&mut self) -> Counts {
        self.say(&ToEngine::Close, &[]);
        self.until(|message| if let FromEngine::Totals(counts) = message { Some(counts) } else { None })
    }

    pub(crate) fn kill(&self) {
        pidfd_send_signal(&self.pidfd, Signal::KILL).unwrap();
    }

    /// Waits until the process is gone.
    pub(crate) fn wait_gone(&self) {
        wait_readable(self.pidfd.as_fd(), "the end of the engine");
    }

    /// What it printed, once it has gone.
    pub(crate) fn printed(self) -> String {
        self.wait_gone();
        let mut bytes = Vec::new();
        let _ = std::fs::File::from(self.log).read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

pub(crate) fn wait_readable(descriptor: BorrowedFd<'_>, what: &str) {
    let patience = Timespec { tv_sec: PATIENCE_S, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)], Some(&patience)).unwrap();
    assert!(ready > 0, "no {what} within {PATIENCE_S} s");
}

pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap()
}

pub(crate) fn unit_header(seq: u64, keyframe: bool) -> UnitHeader {
    let now = now_ns();
    UnitHeader {
        seq: Seq(seq),
        epoch: Epoch(0),
        rtp_time: seq * 3000,
        capture_us: None,
        received_ns: now,
        assembled_ns: now,
        codec: Codec::Vp8,
        keyframe,
    }
}

/// One encoded picture.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) data: Vec<u8>,
    pub(crate) keyframe: bool,
}

/// Encodes `count` pictures; picture `n` is grey of luma `16 + n`.
pub(crate) fn clip(width: u32, height: u32, count: u8) -> Vec<Unit> {
    let size = PictureSize { width, height };
    let settings = EncoderSettings {
        format: EncodeFormat::Vp8,
        size,
        range: Range::Limited,
        rate_hz: 30,
        kbit: 500,
        key_interval: 1000,
    };
    let mut encoder = Encoder::new(&settings).unwrap();
    let mut units = Vec::new();
    for number in 0..count {
        let mut image = I420Image::new(size).unwrap();
        for (plane, value) in [(0, 16 + number), (1, 128), (2, 128)] {
            image.rows_mut(plane).for_each(|row| row.fill(value));
        }
        let keyframe = if number == 0 { Keyframe::Now } else { Keyframe::WhenDue };
        let encoded = encoder.encode(&image.picture(), keyframe).unwrap().unwrap();
        units.push(Unit { data: encoded.data.to_vec(), keyframe: encoded.keyframe });
    }
    units
}

/// Whether process `pid` exists.
pub(crate) fn exists(pid: u32) -> bool {
    Pid::from_raw(i32::try_from(pid).unwrap()).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}
