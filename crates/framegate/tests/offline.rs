//! `framegate run` and `framegate check` as their users meet them.
//!
//! Needs `framegate-engine` beside `framegate` (build the whole workspace) and a C compiler.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const BRIGHTNESS: &str = "#include <framegate.h>\n\
    static int32_t process(const fg_frame *frame, const fg_out *out) {\n\
        return fg_data_printf(out, \"[%d,%u]\", frame->planes[0].data[0], frame->width);\n\
    }\n\
    FG_PROCESSOR(\"first\", \"1.0.0\", \"Says the first byte.\", process)\n";

const NOTHING_CPP: &str = "#include <framegate.hpp>\n\
    struct Nothing : fg::Processor {\n\
        fg::Param<int> level{*this, \"level\", 1, fg::range(0, 3)};\n\
        explicit Nothing(const fg::Host &) {}\n\
        void process(fg::Frame &, fg::Result &) override {}\n\
    };\n\
    FRAMEGATE_PROCESSOR(Nothing, \"nothing\", \"1.0.0\", \"Does nothing.\")\n";

const MEAN_PY: &str = "import framegate\n\
@framegate.processor\n\
def mean(frame):\n\
    \x20   'Says the shape and mean.'\n\
    \x20   print('frame', frame.seq, 'seen')\n\
    \x20   return {'shape': frame.image.shape, 'mean': int(frame.image.mean())}\n";

const THREADS_PY: &str = "import threading\n\
threading.Thread(target=threading.Event().wait, daemon=True).start()\n";

const GREEDY_PY: &str = "import os, socket, framegate\n\
open('/etc/hostname').close()\n\
@framegate.processor\n\
def greedy(frame):\n\
    \x20   'Wants much.'\n\
    \x20   open('/etc/passwd').close()\n\
    \x20   socket.socket().close()\n\
    \x20   open(os.path.join(os.path.dirname(__file__), 'written'), 'w').close()\n\
    \x20   return os.system('true')\n";

/// A folder with a clip and processors, which goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let made = Command::new(Path::new(env!("CARGO_BIN_EXE_framegate")).with_file_name("framegate-engine"))
            .args(["clip", "--frames", "20", "--size", "160x120", "--output"])
            .arg(path.join("clip.ivf"))
            .status()
            .unwrap();
        assert!(made.success());
        Self(path)
    }

    fn library(&self, name: &str, source: &str) {
        let file = self.0.join(format!("{name}.c"));
        std::fs::write(&file, source).unwrap();
        let header = concat!(env!("CARGO_MANIFEST_DIR"), "/../framegate-abi/include");
        let compiler = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-I", header, "-o"])
            .arg(file.with_extension("so"))
            .arg(&file)
            .output()
            .unwrap();
        assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_framegate"));
        command.args(arguments).current_dir(&self.0).env("FRAMEGATE_CACHE", self.0.join("cache")).stdin(Stdio::null());
        command
    }

    fn framegate(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_clip_gives_a_line_a_frame_and_the_same_ones_each_time() {
    let folder = Folder::new("lines");
    folder.library("first", BRIGHTNESS);
    let output = folder.framegate(&["run", "clip.ivf", "-p", "first.so"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 20);
    for (number, line) in (0_u64..).zip(&lines) {
        assert_eq!(
            (&line["v"], &line["seq"], &line["rtp"]),
            (&1.into(), &(number + 1).into(), &(number * 3000).into())
        );
        assert_eq!((&line["processor"], &line["status"]), (&"first".into(), &"ok".into()));
        assert_eq!((&line["data"][1], &line["counts"]["received"]), (&160.into(), &(number + 1).into()));
    }
    assert!(text(&output.stderr).contains("20 frames: 20 ok, 0 errors; "), "{}", text(&output.stderr));
    for arguments in [&["--sandbox", "enforce"][..], &["--video", "seen.mp4"]] {
        let again = folder.framegate(&[&["run", "clip.ivf", "-p", "first.so"], arguments].concat());
        assert_eq!(text(&again.stdout), text(&output.stdout), "{arguments:?}");
    }
    let seen = folder.framegate(&["run", "seen.mp4", "-p", "first.so", "--timing"]);
    let first: Value = serde_json::from_str(text(&seen.stdout).lines().next().unwrap()).unwrap();
    assert!(first["timing"]["total"].is_u64() && text(&seen.stdout).lines().count() == 20);
    // A chain, from standard input.
    let mut piped = folder.command(&["run", "-", "-p", "first.so | first.so"]);
    let mut child = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let clip = std::fs::read(folder.0.join("clip.ivf")).unwrap();
    child.stdin.take().unwrap().write_all(&clip).unwrap();
    let output = child.wait_with_output().unwrap();
    let last: Value = serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap();
    assert_eq!((&last["processor"], &last["seq"]), (&"first+first-2".into(), &20.into()));
    assert_eq!(last["data"]["first"], last["data"]["first-2"]);
}

/// What was said of what `serve` would refuse.
fn findings(output: &Output) -> Vec<String> {
    let said = text(&output.stderr);
    said.lines().filter_map(|line| line.strip_prefix("serve would refuse: ")).map(str::to_owned).collect()
}

#[test]
fn what_processors_print_reaches_a_file() {
    let folder = Folder::new("prints");
    let prints = "printf(\"out %u\\n\", frame->width); fputs(\"err\\n\", stderr); return fg";
    let source = BRIGHTNESS.replace("return fg", prints);
    folder.library("first", &format!("#include <stdio.h>\n{source}"));
    for sandbox in ["enforce", "audit"] {
        let file = folder.0.join("said.txt");
        let mut command = folder.command(&["run", "clip.ivf", "-p", "first.so", "--sandbox", sandbox]);
        let output = command.stderr(File::create(&file).unwrap()).output().unwrap();
        let said = std::fs::read_to_string(&file).unwrap();
        assert!(output.status.success(), "{said}");
        let count = |line: &str| said.lines().filter(|said| *said == line).count();
        assert_eq!((count("out 160"), count("err"), text(&output.stdout).lines().count()), (20, 20, 20), "{said}");
    }
}

#[test]
fn a_processor_that_does_nothing_is_refused_nothing() {
    let folder = Folder::new("nothing");
    folder.library("first", BRIGHTNESS);
    std::fs::write(folder.0.join("nothing.cpp"), NOTHING_CPP).unwrap();
    for arguments in [
        &["first.so"][..],
        &["nothing.cpp"],
        &["first.so | nothing.cpp", "--video", "seen.webm", "--set", "nothing.level=2", "--timing"],
    ] {
        let output = folder.framegate(&[&["run", "clip.ivf", "-p"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(findings(&output), Vec::<String>::new(), "{arguments:?}");
    }
}

/// A command that finds the interpreter which the tests' requirements are installed for.
fn with_python<'a>(folder: &Folder, command: &'a mut Command) -> &'a mut Command {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("venv-python");
    assert!(environment.exists(), "{} is missing: scripts/test.sh makes it", environment.display());
    command.env("VIRTUAL_ENV", environment).env("HOME", &folder.0)
}

#[test]
fn a_python_file_runs_whether_or_not_it_starts_threads() {
    let folder = Folder::new("python");
    std::fs::write(folder.0.join("mean.py"), MEAN_PY).unwrap();
    std::fs::write(folder.0.join("threads.py"), format!("{THREADS_PY}{MEAN_PY}")).unwrap();
    let mut lines = Vec::new();
    for (file, sandbox) in
        [("mean.py", "audit"), ("mean.py", "enforce"), ("threads.py", "audit"), ("threads.py", "enforce")]
    {
        let mut command = folder.command(&["run", "clip.ivf", "-p", file, "--sandbox", sandbox]);
        let output = with_python(&folder, &mut command).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.success() && said.contains("frame 20 seen"), "{file} {sandbox}: {said}");
        assert_eq!(findings(&output), Vec::<String>::new(), "{file} {sandbox}");
        lines.push(text(&output.stdout));
    }
    assert_eq!(lines[0].lines().count(), 20);
    let last: Value = serde_json::from_str(lines[0].lines().last().unwrap()).unwrap();
    assert_eq!((&last["processor"], &last["data"]["shape"]), (&"mean".into(), &serde_json::json!([120, 160, 3])));
    assert!(lines.iter().all(|other| *other == lines[0]), "{lines:?}");
    let mut command = folder.command(&["check", "threads.py"]);
    let table = text(&with_python(&folder, &mut command).output().unwrap().stdout);
    assert!(table.contains("starts 1 threads when it is loaded") && !table.contains('✗'), "{table}");
    assert!(table.contains("✓ sandbox     needs nothing that serve refuses"), "{table}");
}

#[test]
fn an_audit_tells_what_serve_would_refuse_a_python_file() {
    let folder = Folder::new("audit");
    std::fs::write(folder.0.join("greedy.py"), GREEDY_PY).unwrap();
    let mut command = folder.command(&["run", "clip.ivf", "-p", "greedy.py"]);
    let output = with_python(&folder, &mut command).output().unwrap();
    let (said, findings) = (text(&output.stderr), findings(&output));
    assert!(output.status.success(), "{said}");
    let first: Value = serde_json::from_str(text(&output.stdout).lines().next().unwrap()).unwrap();
    assert_eq!((&first["status"], &first["data"]), (&"ok".into(), &0.into()), "all of it was let pass: {first}");
    let written = format!("writing {}", folder.0.join("written").display());
    for expected in [
        "reading /etc/hostname · to allow: readable = [\"/etc/hostname\"]",
        "reading /etc/passwd · to allow: readable = [\"/etc/passwd\"]",
        "network (socket AF_INET)",
        "starting a program (execve /bin/sh)",
        &written,
    ] {
        assert_eq!(findings.iter().filter(|said| said.starts_with(expected)).count(), 1, "{expected}: {findings:#?}");
    }
    let own = |path: &str| findings.iter().any(|said| said.contains(path));
    assert!(!own("framegate/_") && !own("python3"), "the interpreter is no finding: {findings:#?}");
}

#[test]
fn elements_of_gstreamer_run_and_keep_the_rules() {
    let folder = Folder::new("gst");
    let spec = "gst: videoflip video-direction=horiz ! queue";
    let output = folder.framegate(&["run", "clip.ivf", "-p", spec, "--video", "seen.mp4"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(findings(&output), Vec::<String>::new());
    assert_eq!(text(&output.stdout).lines().count(), 20);
    assert!(folder.0.join("seen.mp4").exists());
    let output = folder.framegate(&["check", spec, "--json"]);
    let lines: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |name: &str| lines.as_array().unwrap().iter().find(|line| line["name"] == name).unwrap().clone();
    assert_eq!(of("parameters")["verdict"], "ok", "{lines:#}");
    assert!(of("parameters")["text"].as_str().unwrap().contains("`pipeline` took no other value"), "{lines:#}");
    assert!(lines.as_array().unwrap().iter().all(|line| line["verdict"] != "fail"), "{lines:#}");
}

#[test]
fn who_stops_reading_stops_the_run() {
    let folder = Folder::new("head");
    folder.library("first", BRIGHTNESS);
    let mut child = folder.command(&["run", "clip.ivf", "-p", "first.so"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"v\":1,"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn mistakes_say_what_is_wrong_and_have_their_exit_codes() {
    let folder = Folder::new("mistakes");
    folder.library("first", BRIGHTNESS);
    folder.library("dies", &BRIGHTNESS.replace("return fg", "if (frame->seq == 3) __builtin_trap(); return fg"));
    std::fs::write(folder.0.join("text.txt"), "no video ".repeat(400)).unwrap();
    for (arguments, code, expected) in [
        (&["run", "missing.mp4", "-p", "first.so"][..], 2, "missing.mp4: No such file"),
        (&["run", "text.txt", "-p", "first.so"], 2, "no video and no image"),
        (&["run", "clip.ivf", "-p", "missing.so"], 2, "missing.so"),
        (&["run", "clip.ivf", "-p", "first.so", "--set", "x=1"], 2, "no parameter x"),
        (&["run", "clip.ivf", "-p", "first.so", "--video", "x.gif"], 2, "neither .mp4 nor .webm"),
        (&["run", "clip.ivf"], 2, "--processor"),
        (&["run", "clip.ivf", "-p", "dies.so"], 1, "frame 3: ended by SIGILL in the processor, function "),
    ] {
        let output = folder.framegate(arguments);
        let said = text(&output.stderr);
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    }
    assert_eq!(text(&folder.framegate(&["run", "clip.ivf", "-p", "dies.so"]).stdout).lines().count(), 2);
}

#[test]
fn a_check_is_a_table_or_json() {
    let folder = Folder::new("check");
    folder.library("first", BRIGHTNESS);
    folder.library("writes", &BRIGHTNESS.replace("return fg", "frame->planes[0].data[0] = 7; return fg"));
    let output = folder.framegate(&["check", "first.so"]);
    let table = text(&output.stdout);
    assert!(output.status.success() && table.ends_with("\nIt keeps the rules.\n"), "{table}");
    assert!(table.contains("✓ frames      1000 frames of changing sizes"), "{table}");
    let output = folder.framegate(&["check", "writes.so", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Value = serde_json::from_slice(&output.stdout).unwrap();
    let frames = lines.as_array().unwrap().iter().find(|line| line["name"] == "frames").unwrap();
    assert_eq!(frames["verdict"], "fail");
    assert!(frames["text"].as_str().unwrap().contains("writes into its input without FG_WANT_WRITABLE"), "{frames}");
}
