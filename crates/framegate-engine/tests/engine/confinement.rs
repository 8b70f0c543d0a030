//! What processors may not do, and what becomes of engines without a nursery or a gateway.

use framegate_wire::{ExitKind, FaultStage, PipelineSpec};
use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};

use crate::support::{Engine, Folder, Nursery, clip, level_1, pipeline, wait_readable};

/// What the C texts below need.
const INCLUDES: &str = "#include <errno.h>\n#include <fcntl.h>\n#include <pthread.h>\n#include <signal.h>\n\
    #include <sys/ptrace.h>\n#include <sys/resource.h>\n#include <sys/socket.h>\n#include <sys/syscall.h>\n\
    #include <sys/wait.h>\n#include <unistd.h>\n#include <stdlib.h>\n#include <string.h>\n\
    static int said(long r) { return r < 0 ? errno : 0; }\n";

fn has_landlock() -> bool {
    let required = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    required.handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create).is_ok()
}

fn first_data(nursery: &mut Nursery) -> (Engine, String) {
    let mut engine = nursery.fork_ready();
    let (_, data) = engine.process(1, &clip(64, 64, 1)[0]);
    (engine, data)
}

#[test]
fn network_exec_writes_and_processes_are_refused() {
    let source = level_1(
        INCLUDES,
        "char *no[] = {0}; char path[200]; strcpy(path, \"/tmp/framegate-test-file\");
         int r[16], n = 0;
         r[n++] = said(socket(AF_INET, SOCK_STREAM, 0));
         r[n++] = said(socket(AF_UNIX, SOCK_DGRAM, 0));
         r[n++] = said(execve(\"/bin/true\", no, no));
         r[n++] = said(open(path, O_WRONLY | O_CREAT, 0600));
         r[n++] = said(open(\"/dev/null\", O_RDWR));
         r[n++] = said(unlink(path));
         r[n++] = said(fork());
         r[n++] = said(kill(getppid(), SIGTERM));
         r[n++] = said(kill(0, SIGTERM));
         r[n++] = said(setpriority(PRIO_PROCESS, 0, -20));
         r[n++] = said(syscall(SYS_pidfd_open, getppid(), 0));
         r[n++] = said(syscall(SYS_clone3, 0, 0));
         r[n++] = said(syscall(SYS_io_uring_setup, 1, 0));
         int all = 1;
         for (int i = 0; i < n; i++) if (r[i] != (i == 11 ? ENOSYS : EPERM) && !(r[i] == EACCES)) all = 0;
         return fg_data_printf(out, \"[%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d]\", all, r[0], r[1], r[2], r[3], r[4], r[5],
             r[6], r[7], r[8], r[9], r[10], r[11], r[12]);",
    );
    let (mut nursery, _folder) = Nursery::of(&source);
    let (mut engine, data) = first_data(&mut nursery);
    assert!(data.starts_with("[1,"), "{data}");
    engine.close();
}

#[test]
fn only_granted_files_can_be_read() {
    let source = level_1(
        INCLUDES,
        "char other[64]; snprintf(other, sizeof other, \"/proc/%d/status\", getppid());
         return fg_data_printf(out, \"[%d,%d,%d,%d,%d]\", said(open(\"/etc/passwd\", O_RDONLY)), said(open(other, O_RDONLY)),
             said(open(\"/proc/self/maps\", O_RDONLY)), said(open(getenv(\"FG_TEST_GRANTED\"), O_RDONLY)),
             said(open(\"/dev/urandom\", O_RDONLY)));",
    );
    let (folder, granted) = (Folder::new(), Folder::new());
    let file = granted.0.join("model.bin");
    std::fs::write(&file, b"weights").unwrap();
    let source = source.replace("getenv(\"FG_TEST_GRANTED\")", &format!("\"{}\"", file.display()));
    let library = folder.compile("test", &source, &[]);
    let pipeline = PipelineSpec { readable: vec![granted.0.clone()], ..pipeline(&library) };
    let mut nursery = Nursery::start_pipeline(&pipeline, &[]);
    nursery.ready();
    let (_, data) = first_data(&mut nursery);
    let refused = if has_landlock() { libc::EACCES } else { 0 };
    assert_eq!(data, format!("[{refused},{refused},0,0,0]"), "a kernel without Landlock refuses no reads");
}

#[test]
fn ptrace_kills() {
    let (mut nursery, _folder) =
        Nursery::of(&level_1(INCLUDES, "return (int32_t)ptrace(PTRACE_ATTACH, getppid(), 0, 0);"));
    let mut engine = nursery.fork_ready();
    engine.unit(1, &clip(64, 64, 1)[0]);
    assert_eq!(nursery.exited(&engine), (ExitKind::Signal(libc::SIGSYS), None));
}

#[test]
fn threads_memory_and_time_work() {
    let source = level_1(
        &format!("{INCLUDES}#include <time.h>\n#include <sys/mman.h>\nstatic void *work(void *x) {{ usleep(100); *(int *)x = 7; return x; }}\n"),
        "int x = 0, big; pthread_t t; struct timespec now; char name[16];
         if (pthread_create(&t, 0, work, &x) || pthread_join(t, 0)) return -10;
         char *m = malloc(64 << 20); if (!m) return -11; memset(m, 1, 64 << 20); big = m[5]; free(m);
         void *code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
         if (code == MAP_FAILED) return -12;
         if (clock_gettime(CLOCK_REALTIME, &now) || prctl_name(name)) return -13;
         if (getenv(\"OMP_NUM_THREADS\") == 0 || strcmp(getenv(\"OMP_NUM_THREADS\"), \"1\")) return -14;
         return fg_data_printf(out, \"%d\", x + big);",
    )
    .replace("static int said", "#include <sys/prctl.h>\nstatic int prctl_name(char *n) { return prctl(PR_GET_NAME, n); }\nstatic int said");
    let (mut nursery, _folder) = Nursery::of(&source);
    let mut engine = nursery.fork_ready();
    let (result, data) = engine.process(1, &clip(64, 64, 1)[0]);
    assert_eq!(data, "8", "{:?}", result.status);
    engine.close();
    assert_eq!(nursery.exited(&engine).0, ExitKind::Code(0));
}

#[test]
fn memory_is_limited() {
    let source = level_1(INCLUDES, "char *m = malloc(3ul << 30); return fg_data_printf(out, \"%d\", m == 0);");
    let (mut nursery, _folder) = Nursery::of(&source);
    assert_eq!(first_data(&mut nursery).1, "1");
}

#[test]
fn an_engine_holds_only_its_own_descriptors() {
    let source = level_1(
        INCLUDES,
        "int open_ones = 0; for (int fd = 0; fd < 100; fd++) open_ones += fcntl(fd, F_GETFD) >= 0;
         return fg_data_printf(out, \"%d\", open_ones);",
    );
    let (mut nursery, _folder) = Nursery::of(&source);
    for _ in 0..3 {
        let (engine, data) = first_data(&mut nursery);
        assert_eq!(data, "5", "0 /dev/null, 1 and 2 log, 3 session, 4 fault");
        drop(engine);
        nursery.reply();
    }
}

#[test]
fn engines_die_with_their_nursery() {
    let (mut nursery, _folder) = Nursery::of(&level_1("static volatile int stop;", "while (!stop) {} return 0;"));
    let idle = nursery.fork_ready();
    let mut busy = nursery.fork_ready();
    busy.unit(1, &clip(64, 64, 1)[0]);
    nursery.process.kill().unwrap();
    idle.wait_gone();
    busy.wait_gone();
}

#[test]
fn a_nursery_without_gateway_kills_its_engines_and_ends() {
    let (mut nursery, _folder) = Nursery::of(&level_1("static volatile int stop;", "while (!stop) {} return 0;"));
    let mut busy = nursery.fork_ready();
    busy.unit(1, &clip(64, 64, 1)[0]);
    nursery.control = None;
    busy.wait_gone();
    assert!(nursery.process.wait().unwrap().success());
}

#[test]
fn threads_started_by_loading_need_an_engine_of_their_own() {
    let source = level_1(
        &format!(
            "{INCLUDES}static volatile int alive; static void *spin(void *x) {{ for (;;) {{ alive++; usleep(1000); }} return x; }}\n\
        __attribute__((constructor)) static void begin(void) {{ pthread_t t; pthread_create(&t, 0, spin, 0); }}\n"
        ),
        "int before = alive; while (alive == before) usleep(100);
         return fg_data_printf(out, \"%d\", said(socket(AF_INET, SOCK_STREAM, 0)));",
    );
    let folder = Folder::new();
    let library = folder.compile("test", &source, &[]);
    let mut nursery = Nursery::start(&library, &[]);
    assert_eq!(nursery.ready().tasks, 2);
    let (number, _session, _log) = nursery.request();
    let (framegate_wire::NurseryReply::ForkFailed { engine, text }, None) = nursery.reply() else {
        panic!("it forked")
    };
    assert_eq!(engine, number);
    assert!(text.contains("started 1 threads"), "{text}");

    let mut nursery = Nursery::start(&library, &["--once"]);
    nursery.ready();
    let mut engine = nursery.fork_ready();
    assert_eq!(engine.pid, nursery.process.id());
    assert_eq!(engine.process(1, &clip(64, 64, 1)[0]).1, libc::EPERM.to_string());
    engine.close();
    wait_readable(std::os::fd::AsFd::as_fd(&engine.pidfd), "its end");
    assert!(nursery.process.wait().unwrap().success());
}

#[test]
fn a_fault_elsewhere_names_its_stage() {
    // A handler of its own that returns would hide the fault from the gateway; the engine still ends by its signal.
    let (mut nursery, _folder) = Nursery::of(&level_1(INCLUDES, "return raise(SIGFPE);"));
    let mut engine = nursery.fork_ready();
    engine.unit(1, &clip(64, 64, 1)[0]);
    let (kind, fault) = nursery.exited(&engine);
    assert_eq!(kind, ExitKind::Signal(libc::SIGFPE));
    assert_eq!(fault.unwrap().stage, FaultStage::Process);
}
