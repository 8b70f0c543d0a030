use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use framegate_wire::{Descriptor, Loaded, NurseryReply, Source};
use mio::Token;

use super::*;
use crate::config::{Config, Pipeline};

const PATIENCE: Duration = Duration::from_secs(60);

/// A launcher whose nurseries are a shell script, and what its one session hears.
struct Stage {
    folder: PathBuf,
    launcher: Launcher,
    thread: JoinHandle<()>,
    owner: Owner,
    inbox: Receiver<Mail>,
    _poll: Poll,
}

impl Stage {
    /// `script` finds the control socket at descriptor 0 and a folder of its own in `$F`.
    fn new(name: &str, script: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("framegate-launcher-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let program = folder.join("nursery");
        let text = format!("#!/bin/sh\nF={}\necho started >> $F/log\n{script}\n", folder.display());
        std::fs::write(&program, text).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("executable");
        let pipelines = vec![Pipeline::new("test".to_owned(), Source::Library(folder.join("test.so")))];
        let config = Config { pipelines, ..Config::default() };
        let registry = Registry::new(&config);
        let (launcher, thread) = Launcher::start(NurseryProgram { program }, registry).expect("started");
        let poll = Poll::new().expect("a poll");
        let (mailbox, inbox) = Mailbox::new(Waker::new(poll.registry(), Token(0)).expect("a waker"));
        let owner = Owner { mailbox, session: 1, engine: 1 };
        Self { folder, launcher, thread, owner, inbox, _poll: poll }
    }

    fn launch(&self) {
        self.launcher.launch(Request { pipeline: 0, owner: self.owner.clone() });
    }

    fn ended(&self) -> Death {
        match self.inbox.recv_timeout(PATIENCE).expect("mail") {
            Mail::EngineEnded { death, .. } => death,
            other => panic!("{other:?}"),
        }
    }

    /// Stops, and says how many nurseries were started. Nothing may be left to hear.
    fn stop(self) -> usize {
        self.launcher.stop();
        self.thread.join().expect("ended");
        assert_eq!(self.inbox.try_iter().count(), 0);
        let started = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default().lines().count();
        let _ = std::fs::remove_dir_all(&self.folder);
        started
    }
}

/// A command that sends `reply`.
fn say(reply: &NurseryReply) -> String {
    let bytes = postcard::to_stdvec(reply).expect("encoded");
    let mut text = "printf '".to_owned();
    for byte in bytes {
        let _ = write!(text, "\\{byte:03o}");
    }
    text + "' >&0"
}

fn ready(tasks: u32) -> String {
    let text = String::new;
    let about =
        Descriptor { name: "test".to_owned(), version: text(), description: text(), language: text(), level: 1 };
    say(&NurseryReply::Ready(Loaded { processors: vec![about], tasks, reads_restricted: true }))
}

/// Waits for one packet; `read` would wait for the end of a line.
const HEAR: &str = "head -c 1 > /dev/null";

#[test]
fn warming_a_processor_that_starts_threads_keeps_one_spare() {
    // Asked to become an engine, it ends as one would.
    let stage = Stage::new("spare", &format!("{}\n{HEAR}", ready(2)));
    stage.launch();
    stage.ended();
    for _ in 0..20 {
        stage.launcher.warm(0);
    }
    stage.launch();
    stage.ended();
    // One to find out, one for each engine.
    assert_eq!(stage.stop(), 3);
}

#[test]
fn a_nursery_that_cannot_load_refuses_whoever_waits() {
    let stage = Stage::new("broken", "exit 3");
    stage.launch();
    assert!(stage.ended().launch_error.is_some_and(|text| text.contains("exit code 3")));
    stage.stop();
}

#[test]
fn a_nursery_without_its_control_socket_is_replaced() {
    // It lives on, but nobody can ask it for anything.
    let stage = Stage::new("deaf", &format!("{}\nexec sleep 1000 < /dev/null", ready(1)));
    stage.launch();
    stage.ended();
    stage.launch();
    stage.ended();
    assert_eq!(stage.stop(), 2);
}

#[test]
fn a_nursery_may_not_end_another_s_engine() {
    let exited =
        |engine| say(&NurseryReply::Exited { engine, kind: framegate_wire::ExitKind::Code(0), fault: None, cpu_us: 0 });
    // The first finds out, the second becomes an honest engine, the third claims that every engine has ended.
    let script = format!(
        "mkdir $F/first 2> /dev/null && mkfifo $F/fifo && role=first\n\
         [ -z $role ] && mkdir $F/second 2> /dev/null && role=second\n\
         {}\n{HEAR}\n[ $role = second ] && {{ echo > $F/fifo; exec cat > /dev/null; }}\n\
         read word < $F/fifo\n{}\n{}\nexec cat > /dev/null",
        ready(2),
        exited(1),
        exited(2)
    );
    let stage = Stage::new("foreign", &script);
    stage.launch();
    stage.launch();
    // The liar's own engine ends, and no other.
    stage.ended();
    stage.stop();
}
