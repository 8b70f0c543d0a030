use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use framegate_wire::{Descriptor, Loaded, NurseryReply, ProcessorInfo, Source, Want};
use mio::Token;

use super::*;
use crate::config::{Config, Pipeline};
use crate::media::PipelineReport;

const PATIENCE: Duration = Duration::from_secs(60);

/// A launcher whose nurseries are a shell script, and what its one session hears.
struct Stage {
    folder: PathBuf,
    launcher: Launcher,
    thread: JoinHandle<()>,
    owner: Owner,
    registry: Registry,
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
        let (launcher, thread) = Launcher::start(NurseryProgram { program }, registry.clone()).expect("started");
        let poll = Poll::new().expect("a poll");
        let (mailbox, inbox) = Mailbox::new(Waker::new(poll.registry(), Token(0)).expect("a waker"));
        let owner = Owner { mailbox, session: 1, engine: 1 };
        Self { folder, launcher, thread, owner, registry, inbox, _poll: poll }
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

    /// Waits until the pipeline is as expected.
    #[track_caller]
    fn wait(&self, what: &str, condition: impl Fn(&PipelineReport) -> bool) -> PipelineReport {
        let end = Instant::now() + PATIENCE;
        loop {
            let report = PipelineReport::of(&self.registry.entries()[0]);
            if condition(&report) {
                return report;
            }
            assert!(Instant::now() < end, "{what}: {report:?}");
            std::thread::sleep(Duration::from_millis(5));
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

fn about(name: &str) -> Descriptor {
    let text = String::new;
    Descriptor { name: name.to_owned(), version: text(), description: text(), language: text(), level: 1 }
}

fn described(names: &[&str]) -> String {
    let info = |name: &&str| ProcessorInfo {
        descriptor: about(name),
        params: Vec::new(),
        want: Want { width: 320, ..Want::default() },
        writable: false,
        has_state: false,
        takes_messages: true,
    };
    say(&NurseryReply::Described(names.iter().map(info).collect()))
}

fn ready(tasks: u32) -> String {
    let about = about("test");
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

#[test]
fn a_trial_tells_what_instances_are_like() {
    let stage = Stage::new("trial", &format!("{}\n{}\n{HEAR}", ready(1), described(&["test"])));
    stage.launcher.warm(0);
    let report = stage.wait("ready", |report| report.processors[0].state == "ready");
    assert_eq!(report.processors[0].want.as_ref().map(|want| &want["width"]), Some(&320.into()));
    assert!(report.processors[0].takes_messages);
    assert_eq!(report.processors[0].sandbox.reads, Some("restricted"));
    assert_eq!(stage.stop(), 1);
}

#[test]
fn a_processor_is_ready_when_its_trial_cannot_be_or_has_died() {
    for (name, script) in [("threads", format!("{}\n{HEAR}", ready(2))), ("dies", format!("{}\nexit 0", ready(1)))] {
        let stage = Stage::new(name, &script);
        stage.launcher.warm(0);
        let report = stage.wait("ready", |report| report.processors[0].state == "ready");
        assert_eq!(report.processors[0].want, None);
        // What its first engine shows is learnt.
        let descriptor = about("test");
        let want = Want { width: 64, ..Want::default() };
        let info = ProcessorInfo {
            descriptor,
            params: Vec::new(),
            want,
            writable: false,
            has_state: false,
            takes_messages: false,
        };
        stage.registry.entries()[0].learn(vec![info]);
        assert!(stage.wait("learnt", |report| report.processors[0].want.is_some()).error().is_none());
        stage.stop();
    }
}

#[test]
fn a_failed_trial_fails_the_processor_until_one_succeeds() {
    let failed = say(&NurseryReply::DescribeFailed { text: "no such model".to_owned() });
    let script = format!(
        "{}\nmkdir $F/first 2> /dev/null && {{ {failed}; {HEAR}; exit 0; }}\n{}\n{HEAR}",
        ready(1),
        described(&["test"])
    );
    let stage = Stage::new("failed-trial", &script);
    stage.launcher.warm(0);
    let report = stage.wait("failed", |report| report.processors[0].state == "failed");
    assert_eq!(report.error(), Some("no such model"));
    let report = stage.wait("tried again", |report| {
        stage.launcher.warm(0);
        assert!(["failed", "ready"].contains(&report.processors[0].state), "no other state in between");
        report.processors[0].want.is_some()
    });
    assert_eq!((report.processors[0].state, report.error()), ("ready", None));
    assert_eq!(stage.stop(), 2);
}

#[test]
fn what_a_nursery_says_is_bounded() {
    let check = |name: &str, script: String, expected: &str| {
        let stage = Stage::new(name, &script);
        stage.launcher.warm(0);
        let report = stage.wait("failed", |report| report.processors[0].state == "failed");
        assert!(report.error().is_some_and(|text| text.contains(expected)), "{report:?}");
        stage.stop();
    };
    let loaded = |processors| say(&NurseryReply::Ready(Loaded { processors, tasks: 1, reads_restricted: true }));
    check("none", format!("{}\n{HEAR}", loaded(Vec::new())), "0 processors");
    check("bad-name", format!("{}\n{HEAR}", loaded(vec![about("\"}\n")])), "no name of a processor");
    check("two", format!("{}\n{}\n{HEAR}", ready(1), described(&["test", "test"])), "makes no sense");
    check("bad", format!("{}\n{}\n{HEAR}", ready(1), described(&["<b>"])), "makes no sense");
}
