//! The launcher's thread.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use framegate_core::runner::Death;
use framegate_core::schema;
use framegate_wire::limits::TEXT_BYTES_MAX;
use framegate_wire::{ExitKind, Loaded, NurseryReply, NurseryRequest};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::{Order, Owner, Request};
use crate::engines::children;
use crate::engines::control::{self, Received};
use crate::engines::nursery::{Kind, Nursery, NurseryProgram};
use crate::engines::output::Output;
use crate::engines::registry::{PipelineEntry, ProcessorState, Registry};
use crate::media::mailbox::Mail;

/// How often printing engines and strays are looked at.
const TICK: Duration = Duration::from_millis(250);

/// Least time between two tries to load a processor that fails.
const RELOAD_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Bytes of the socket buffers towards an engine, each way: a keyframe goes in one write.
const ENGINE_SOCKET_BYTES: usize = 512 << 10;

/// Replies taken from a nursery at once: two for each engine it can have. One that says more is ended, because nobody
/// else gets an engine meanwhile.
const REPLIES_PER_TURN_MAX: usize = 4096;

pub(super) const WAKER: Token = Token(0);
const FIRST_TOKEN: usize = 1;

/// An engine that was asked for.
#[derive(Debug)]
struct Engine {
    owner: Owner,
    nursery: usize,
    /// The session's end of the socket pair until the fork is confirmed.
    socket: Option<OwnedFd>,
    output: usize,
}

pub(super) struct Run {
    poll: Poll,
    inbox: Receiver<Order>,
    program: NurseryProgram,
    registry: Registry,
    /// By token of the control socket; the pidfd has the next token.
    nurseries: HashMap<usize, Nursery>,
    engines: HashMap<u64, Engine>,
    outputs: HashMap<usize, (u64, Output)>,
    /// Whether there may be processes that a nursery has left behind.
    has_strays: bool,
    failed_at: HashMap<usize, Instant>,
    next_token: usize,
    next_engine: u64,
    stopping: bool,
}

impl Run {
    pub(super) fn new(poll: Poll, inbox: Receiver<Order>, program: NurseryProgram, registry: Registry) -> Self {
        Self {
            poll,
            inbox,
            program,
            registry,
            nurseries: HashMap::new(),
            engines: HashMap::new(),
            outputs: HashMap::new(),
            has_strays: false,
            failed_at: HashMap::new(),
            next_token: FIRST_TOKEN,
            next_engine: 1,
            stopping: false,
        }
    }

    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(256);
        let mut last_tick = Instant::now();
        while !self.stopping {
            if let Err(error) = self.poll.poll(&mut events, Some(TICK))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the launcher cannot wait");
                return;
            }
            for event in &events {
                self.on_token(event.token().0);
            }
            while let Ok(order) = self.inbox.try_recv() {
                self.on_order(order);
            }
            let now = Instant::now();
            if now >= last_tick + TICK {
                last_tick = now;
                self.tick(now);
            }
        }
        for nursery in self.nurseries.values_mut() {
            nursery.kill();
            let _ = children::wait(&mut nursery.child);
        }
        self.tick(Instant::now());
        children::end_strays();
    }

    fn on_order(&mut self, order: Order) {
        match order {
            Order::Launch(request) => self.launch(request),
            Order::Warm(pipeline) => {
                // Why it fails was logged when it did; whoever asks for an engine is told.
                let _ = self.nursery_for(pipeline);
            }
            Order::Stop => self.stopping = true,
        }
    }

    fn launch(&mut self, request: Request) {
        match self.nursery_for(request.pipeline) {
            Ok(token) => {
                let Some(nursery) = self.nurseries.get_mut(&token) else { return };
                nursery.is_taken = nursery.kind == Kind::Once;
                nursery.waiting.push_back(request);
                self.fork_waiting(token);
            }
            Err(text) => request.owner.refuse(text),
        }
    }

    /// The nursery that serves a pipeline's next engine, started if need be.
    fn nursery_for(&mut self, pipeline: usize) -> Result<usize, String> {
        let state = self.registry.entries().get(pipeline).map(PipelineEntry::state);
        let kind = match &state {
            Some(ProcessorState::Ready(loaded)) if loaded.tasks > 1 => Kind::Once,
            _ => Kind::Forking,
        };
        let is_free = |nursery: &Nursery| !nursery.is_taken && !nursery.is_ending;
        let serves = |nursery: &Nursery| nursery.pipeline == pipeline && nursery.kind == kind && is_free(nursery);
        if let Some(token) = self.nurseries.iter().find_map(|(token, nursery)| serves(nursery).then_some(*token)) {
            return Ok(token);
        }
        if let Some(ProcessorState::Failed(text)) = &state
            && self.failed_at.get(&pipeline).is_some_and(|at| at.elapsed() < RELOAD_INTERVAL_MIN)
        {
            return Err(text.clone());
        }
        self.spawn(pipeline, kind).map_err(|error| {
            let text = format!("the engine program {} cannot be started: {error}", self.program.program.display());
            self.fail(pipeline, text.clone());
            text
        })
    }

    fn spawn(&mut self, pipeline: usize, kind: Kind) -> io::Result<usize> {
        let entry = self.registry.entries().get(pipeline).ok_or_else(|| io::Error::other("no such pipeline"))?;
        let nursery = Nursery::spawn(&self.program, pipeline, &entry.spec, kind)?;
        if kind == Kind::Forking {
            entry.set_loading();
        }
        let token = self.tokens(2);
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&nursery.control.as_raw_fd()), Token(token), Interest::READABLE)?;
        registry.register(&mut SourceFd(&nursery.pidfd.as_raw_fd()), Token(token + 1), Interest::READABLE)?;
        self.nurseries.insert(token, nursery);
        Ok(token)
    }

    fn tokens(&mut self, count: usize) -> usize {
        let token = self.next_token;
        self.next_token += count;
        token
    }

    /// Forks the engines that wait, as many as the nursery keeps up with.
    fn fork_waiting(&mut self, token: usize) {
        while let Some(request) = self.nurseries.get_mut(&token).and_then(Nursery::next_request) {
            let engine = self.next_engine;
            self.next_engine += 1;
            if let Err(error) = self.try_fork(token, engine, &request.owner) {
                request.owner.refuse(format!("no engine could be forked: {error}"));
            }
        }
    }

    fn try_fork(&mut self, token: usize, engine: u64, owner: &Owner) -> io::Result<()> {
        let nursery = self.nurseries.get_mut(&token).ok_or_else(|| io::Error::other("the nursery is gone"))?;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        for end in [&ours, &theirs] {
            // Smaller buffers than wished for only mean more writes.
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(end, ENGINE_SOCKET_BYTES);
        }
        rustix::fs::fcntl_setfl(&ours, rustix::fs::OFlags::NONBLOCK)?;
        let (writer, reader) = mio::unix::pipe::new()?;
        let request = NurseryRequest::Fork { engine };
        if let Err(error) = control::send(&nursery.control, &request, &[theirs.as_fd(), writer.as_fd()]) {
            if error.kind() == io::ErrorKind::BrokenPipe {
                // It hears nothing any more, whatever else it does.
                nursery.kill();
            }
            return Err(error);
        }
        nursery.asked(Instant::now());
        let output_token = self.tokens(1);
        let mut output = Output::new(reader, Instant::now());
        self.poll.registry().register(output.pipe(), Token(output_token), Interest::READABLE)?;
        self.outputs.insert(output_token, (engine, output));
        let record = Engine { owner: owner.clone(), nursery: token, socket: Some(ours), output: output_token };
        self.engines.insert(engine, record);
        Ok(())
    }

    fn on_token(&mut self, token: usize) {
        if self.nurseries.contains_key(&token) {
            self.read_control(token);
        } else if token > 0 && self.nurseries.contains_key(&(token - 1)) {
            self.nursery_died(token - 1);
        } else if self.outputs.contains_key(&token) {
            self.read_output(token);
        }
    }

    fn read_control(&mut self, token: usize) {
        for _ in 0..REPLIES_PER_TURN_MAX {
            let Some(nursery) = self.nurseries.get_mut(&token) else { return };
            match control::receive(&nursery.control) {
                Ok(Received::Reply(reply, descriptor)) => self.on_reply(token, reply, descriptor),
                Ok(Received::Empty) => return,
                Ok(Received::End) => {
                    // A nursery that became an engine closes this socket and lives on; any other is of no use without.
                    if nursery.kind == Kind::Forking {
                        nursery.kill();
                    }
                    let _ = self.poll.registry().deregister(&mut SourceFd(&nursery.control.as_raw_fd()));
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "a nursery speaks nonsense and is ended");
                    nursery.kill();
                    return;
                }
            }
        }
        if let Some(nursery) = self.nurseries.get_mut(&token) {
            tracing::warn!("a nursery does not stop talking and is ended");
            nursery.kill();
        }
    }

    fn on_reply(&mut self, token: usize, reply: NurseryReply, descriptor: Option<OwnedFd>) {
        let Some(nursery) = self.nurseries.get_mut(&token) else { return };
        if let NurseryReply::Forked { engine, .. }
        | NurseryReply::ForkFailed { engine, .. }
        | NurseryReply::Exited { engine, .. } = &reply
            && self.engines.get(engine).is_some_and(|record| record.nursery != token)
        {
            tracing::warn!("a nursery speaks of an engine that is not its own and is ended");
            nursery.kill();
            return;
        }
        if matches!(reply, NurseryReply::Forked { .. } | NurseryReply::ForkFailed { .. }) {
            nursery.answered(Instant::now());
        }
        match reply {
            NurseryReply::Ready(about) => self.nursery_ready(token, about),
            NurseryReply::Described(infos) => self.described(token, infos),
            NurseryReply::DescribeFailed { text } => self.trial_failed(token, &text),
            NurseryReply::Fault { text } => {
                if let Some(nursery) = self.nurseries.get_mut(&token) {
                    nursery.fault = Some(schema::beginning(&text, TEXT_BYTES_MAX).to_owned());
                }
            }
            NurseryReply::Forked { engine, pid } => self.forked(token, engine, pid, descriptor),
            NurseryReply::ForkFailed { engine, text } => {
                self.ended(engine, &Death { launch_error: Some(text), ..Death::default() })
            }
            NurseryReply::Exited { engine, kind, fault, .. } => {
                self.ended(engine, &Death { kind: Some(kind), fault, launch_error: None });
            }
            other => tracing::warn!(?other, "a nursery said something unknown"),
        }
        self.fork_waiting(token);
    }

    fn nursery_ready(&mut self, token: usize, about: Loaded) {
        let Some(nursery) = self.nurseries.get_mut(&token) else { return };
        if std::mem::replace(&mut nursery.ready, true) {
            tracing::warn!("a nursery is ready twice and is ended");
            nursery.kill();
            return;
        }
        let (pipeline, kind) = (nursery.pipeline, nursery.kind);
        if kind == Kind::Once {
            return;
        }
        let waiting = if about.tasks > 1 {
            // It cannot fork, not even for a trial: its only use was to find that out.
            nursery.kill();
            std::mem::take(&mut nursery.waiting)
        } else {
            VecDeque::new()
        };
        if let Some(entry) = self.registry.entries().get(pipeline) {
            match entry.set_loaded(about) {
                Ok(loaded) => note_loaded(&entry.name, &loaded),
                Err(text) => {
                    nursery.ready = false;
                    nursery.fault = Some(text);
                    nursery.kill();
                }
            }
        }
        for request in waiting {
            self.launch(request);
        }
    }

    /// The trial has shown what the processors are like.
    fn described(&mut self, token: usize, infos: Vec<framegate_wire::ProcessorInfo>) {
        let forking = |nursery: &&Nursery| nursery.ready && nursery.kind == Kind::Forking;
        let Some(nursery) = self.nurseries.get(&token).filter(forking) else { return };
        let entry = self.registry.entries().get(nursery.pipeline);
        if let Some(Err(text)) = entry.map(|entry| entry.set_described(infos)) {
            self.trial_failed(token, &text);
        }
    }

    /// No instance of the processors can be made: no engine would do better.
    fn trial_failed(&mut self, token: usize, text: &str) {
        let text = schema::beginning(text, TEXT_BYTES_MAX);
        // A second failure is nothing new; one that repeats it must not fill the log.
        let fails = |nursery: &&mut Nursery| nursery.kind == Kind::Forking && !nursery.is_retired;
        let Some(nursery) = self.nurseries.get_mut(&token).filter(fails) else { return };
        nursery.is_ending = true;
        nursery.is_retired = true;
        let (pipeline, waiting) = (nursery.pipeline, std::mem::take(&mut nursery.waiting));
        for request in waiting {
            request.owner.refuse(text.to_owned());
        }
        self.fail(pipeline, text.to_owned());
        self.end_if_retired(token);
    }

    /// Ends a nursery that nothing is wanted of any more.
    fn end_if_retired(&mut self, token: usize) {
        let retired = self.nurseries.get_mut(&token).filter(|nursery| nursery.is_retired);
        if let Some(nursery) = retired
            && !self.engines.values().any(|engine| engine.nursery == token)
        {
            nursery.kill();
        }
    }

    fn forked(&mut self, token: usize, engine: u64, pid: u32, pidfd: Option<OwnedFd>) {
        let (Some(record), Some(nursery)) = (self.engines.get_mut(&engine), self.nurseries.get_mut(&token)) else {
            return;
        };
        let (Some(socket), Some(pidfd)) = (record.socket.take(), pidfd) else { return };
        if !control::is_process_of(&pidfd, pid, nursery.child.id()) {
            tracing::warn!(pid, "a nursery shows a process that is not its own and is ended");
            nursery.kill();
            return;
        }
        record.owner.tell(|owner| Mail::EngineLaunched {
            session: owner.session,
            engine: owner.engine,
            socket,
            pid,
            pidfd,
        });
    }

    fn ended(&mut self, engine: u64, death: &Death) {
        let Some(record) = self.engines.remove(&engine) else { return };
        if let Some((_, mut output)) = self.outputs.remove(&record.output) {
            let lines = output.finish(Instant::now());
            let _ = self.poll.registry().deregister(output.pipe());
            pass_on(&record.owner, lines);
        }
        record.owner.tell(|owner| Mail::EngineEnded {
            session: owner.session,
            engine: owner.engine,
            death: death.clone(),
        });
        self.end_if_retired(record.nursery);
    }

    fn nursery_died(&mut self, token: usize) {
        self.read_control(token);
        let Some(mut nursery) = self.nurseries.remove(&token) else { return };
        self.has_strays = true;
        for descriptor in [&nursery.control, &nursery.pidfd] {
            let _ = self.poll.registry().deregister(&mut SourceFd(&descriptor.as_raw_fd()));
        }
        let status = children::wait(&mut nursery.child).ok();
        let kind = status.and_then(|status| match (status.code(), status.signal()) {
            (Some(code), _) => Some(ExitKind::Code(code)),
            (None, Some(signal)) => Some(ExitKind::Signal(signal)),
            (None, None) => None,
        });
        let orphaned: Vec<u64> =
            self.engines.iter().filter(|(_, engine)| engine.nursery == token).map(|(engine, _)| *engine).collect();
        for engine in orphaned {
            self.ended(engine, &Death { kind, fault: None, launch_error: None });
        }
        let text = nursery.fault.take().unwrap_or_else(|| match kind {
            Some(ExitKind::Signal(signal)) => format!("loading the processor ended with signal {signal}"),
            Some(ExitKind::Code(code)) => format!("loading the processor ended with exit code {code}"),
            None => "loading the processor failed".to_owned(),
        });
        for request in std::mem::take(&mut nursery.waiting) {
            request.owner.refuse(if nursery.ready { "its nursery ended".to_owned() } else { text.clone() });
        }
        match self.registry.entries().get(nursery.pipeline) {
            Some(entry) if nursery.ready => entry.end_trial(),
            _ => self.fail(nursery.pipeline, text),
        }
    }

    fn fail(&mut self, pipeline: usize, text: String) {
        self.failed_at.insert(pipeline, Instant::now());
        if let Some(entry) = self.registry.entries().get(pipeline) {
            tracing::error!(pipeline = %entry.name, %text, "the processor cannot be loaded");
            entry.set_failed(text);
        }
    }

    fn read_output(&mut self, token: usize) {
        let Some((engine, output)) = self.outputs.get_mut(&token) else { return };
        let lines = output.read(Instant::now());
        if let Some(record) = self.engines.get(engine) {
            pass_on(&record.owner, lines);
        }
    }

    fn tick(&mut self, now: Instant) {
        for nursery in self.nurseries.values_mut() {
            if let Some(text) = nursery.overdue(now) {
                tracing::warn!(text, "a nursery is ended");
                nursery.fault.get_or_insert_with(|| text.to_owned());
                nursery.kill();
            }
        }
        // Pipes are edge-triggered and read at a bounded rate: what was left is read now.
        let tokens: Vec<usize> = self.outputs.keys().copied().collect();
        for token in tokens {
            self.read_output(token);
        }
        if self.has_strays {
            self.has_strays = children::end_strays();
        }
    }
}

/// Says in the log what was loaded, in texts that were checked.
fn note_loaded(pipeline: &str, loaded: &Loaded) {
    for processor in &loaded.processors {
        let (name, version) = (&processor.name, &processor.version);
        tracing::info!(pipeline, processor = %name, ?version, tasks = loaded.tasks, "processor loaded");
    }
    if loaded.tasks > 1 {
        tracing::info!(pipeline, "it starts threads when loaded: each engine is started afresh");
    }
}

fn pass_on(owner: &Owner, lines: Vec<String>) {
    for line in lines {
        tracing::info!(session = owner.session, %line, "processor");
        owner.tell(|owner| Mail::EnginePrinted { session: owner.session, line });
    }
}
