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
    Codec, Counts, Epoch, ExitKind, FaultReport, FromEngine, Isolation, Loaded, NamedValue, NurseryReply,
    NurseryRequest, Open, PictureSize, PipelineSpec, ProcessorInfo, ProcessorSpec, ResultHeader, SandboxMode,
    SavedState, Seq, Source, ToEngine, UnitHeader, WIRE_VERSION,
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

/// A processor of level 2, in C: `globals` at file scope, then what its functions do. `host` is what `create` was given;
/// `extension` sees `id`, `create` may return early, `process` sees `frame` and `out`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Level2<'a> {
    pub(crate) name: &'a str,
    pub(crate) globals: &'a str,
    pub(crate) extension: &'a str,
    pub(crate) create: &'a str,
    pub(crate) process: &'a str,
}

impl Level2<'_> {
    /// A processor that says nothing.
    pub(crate) const NOTHING: Self =
        Self { name: "test", globals: "", extension: "", create: "", process: "return FG_NO_RESULT;" };

    pub(crate) fn source(&self) -> String {
        let Self { name, globals, extension, create, process } = self;
        format!(
            "{PRELUDE}#include <stdlib.h>\n#include <string.h>\nstatic const fg_host *host;\n{globals}\n\
             static int32_t process(fg_processor *p, const fg_frame *frame, const fg_out *out) {{\n\
                 (void)p; (void)frame; (void)out; {process} }}\n\
             static const void *extension(fg_processor *p, const char *id) {{ (void)p; (void)id; {extension} return 0; }}\n\
             static int32_t create(const fg_host *h, fg_processor **made) {{\n\
                 static fg_processor one = {{sizeof one, 0, 0, 0, process, 0, extension}};\n\
                 host = h; {create} *made = &one; return FG_OK; }}\n\
             FG_ENTRY(\"{name}\", \"1\", \"A test.\", create)\n"
        )
    }
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
    chain(&[(library, &[])])
}

/// A pipeline of libraries with values of their parameters.
pub(crate) fn chain(processors: &[(&Path, &[(&str, &str)])]) -> PipelineSpec {
    let processor = |&(library, params): &(&Path, &[(&str, &str)])| ProcessorSpec {
        source: Source::Library(library.to_owned()),
        params: params.iter().map(|&(id, json)| (id.to_owned(), json.to_owned())).collect(),
    };
    PipelineSpec {
        name: "test".to_owned(),
        processors: processors.iter().map(processor).collect(),
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
    /// What the trial said, if it has been heard.
    described: Option<Result<Vec<ProcessorInfo>, String>>,
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
        Self { process, control: Some(ours), next_engine: 1, described: None }
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

    /// What the trial said.
    pub(crate) fn described(&mut self) -> Result<Vec<ProcessorInfo>, String> {
        while self.described.is_none() {
            match self.packet().0 {
                NurseryReply::Described(infos) => self.described = Some(Ok(infos)),
                NurseryReply::DescribeFailed { text } => self.described = Some(Err(text)),
                other => panic!("{other:?} instead of what the trial says"),
            }
        }
        self.described.clone().unwrap()
    }

    /// Waits for the next packet; that of the trial may come between any two others and is kept.
    pub(crate) fn reply(&mut self) -> (NurseryReply, Option<OwnedFd>) {
        loop {
            match self.packet() {
                (NurseryReply::Described(infos), _) => self.described = Some(Ok(infos)),
                (NurseryReply::DescribeFailed { text }, _) => self.described = Some(Err(text)),
                other => return other,
            }
        }
    }

    fn packet(&mut self) -> (NurseryReply, Option<OwnedFd>) {
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

    /// What it said before it closed its end, and nobody has heard.
    pub(crate) fn packets_left(&mut self) -> Vec<NurseryReply> {
        let mut left = Vec::new();
        let mut packet = vec![0; NURSERY_PACKET_BYTES_MAX];
        while let Ok((1.., count)) = recv(self.control(), &mut packet[..], RecvFlags::empty()) {
            left.push(postcard::from_bytes(&packet[..count]).unwrap());
        }
        left
    }

    /// Its children at this moment.
    pub(crate) fn children(&self) -> Vec<Pid> {
        let pid = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap()).collect()
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
        self.fork_with(1, &[], &[])
    }

    /// Forks an engine and says `Open` with these values of parameters and states.
    pub(crate) fn fork_with(&mut self, seed: u64, params: &[NamedValue], states: &[SavedState]) -> Engine {
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
            // On a busy machine a unit may wait for seconds, and these tests want it all the same.
            late_ms: 60_000,
            seed,
            params: params.to_vec(),
        };
        let states = if states.is_empty() { Vec::new() } else { postcard::to_allocvec(states).unwrap() };
        engine.say(&ToEngine::Open(open), &states);
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

    /// The first message `pick` picks, and its payload; earlier ones are dropped.
    pub(crate) fn until_with<T>(&mut self, pick: impl Fn(FromEngine) -> Option<T>) -> (T, Vec<u8>) {
        loop {
            let (message, payload) = self.hear().expect("the engine ended");
            if let Some(picked) = pick(message) {
                return (picked, payload);
            }
        }
    }

    /// The text of the fault that keeps the engine from being ready.
    pub(crate) fn fault(&mut self) -> String {
        loop {
            if let FromEngine::Fault { text } = self.hear().expect("the engine ended without a fault").0 {
                return text;
            }
        }
    }

    /// The next log line.
    pub(crate) fn log_line(&mut self) -> String {
        self.until(|message| if let FromEngine::Log { text, .. } = message { Some(text) } else { None })
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

/// Size of a JPEG, and the mean of its red, green and blue.
pub(crate) fn mjpeg_mean(jpeg: &[u8]) -> (PictureSize, [u8; 3]) {
    let codec = ffmpeg_the_third::codec::decoder::find(ffmpeg_the_third::codec::Id::MJPEG).unwrap();
    let context = ffmpeg_the_third::codec::Context::new_with_codec(codec);
    let mut decoder = context.decoder().video().unwrap();
    decoder.send_packet(&ffmpeg_the_third::codec::packet::Packet::copy(jpeg)).unwrap();
    let mut frame = ffmpeg_the_third::frame::Video::empty();
    decoder.receive_frame(&mut frame).unwrap();
    let size = PictureSize { width: frame.width(), height: frame.height() };
    let mean = |plane: usize, width: u32, height: u32| {
        let (data, stride) = (frame.data(plane), frame.stride(plane));
        let rows = (0..height as usize).map(|y| &data[y * stride..][..width as usize]);
        let sum: u64 = rows.flatten().map(|sample| u64::from(*sample)).sum();
        u8::try_from(sum / u64::from(width * height)).unwrap()
    };
    let (half_width, half_height) = (size.width.div_ceil(2), size.height.div_ceil(2));
    let sample = [mean(0, size.width, size.height), mean(1, half_width, half_height), mean(2, half_width, half_height)];
    (size, framegate_codec::reference::to_rgb(sample, framegate_codec::Matrix::Bt601, Range::Full))
}
