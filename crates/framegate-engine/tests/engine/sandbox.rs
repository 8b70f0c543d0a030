//! Processors that try what they may not, and processors that take what there is: the machine and the other engines go on.

use framegate_wire::{ExitKind, FromEngine, PipelineSpec, Status};

use crate::support::{Engine, Folder, Nursery, PRELUDE, Unit, clip, level_1, pipeline, wait_readable};

/// What the C texts below need.
const INCLUDES: &str = "#include <errno.h>\n#include <fcntl.h>\n#include <pthread.h>\n#include <sched.h>\n#include <signal.h>\n\
    #include <spawn.h>\n#include <stdlib.h>\n#include <string.h>\n#include <sys/ioctl.h>\n#include <sys/mman.h>\n\
    #include <sys/ptrace.h>\n#include <sys/resource.h>\n#include <sys/socket.h>\n#include <sys/stat.h>\n\
    #include <sys/syscall.h>\n#include <sys/uio.h>\n#include <sys/wait.h>\n#include <unistd.h>\n\
    static long said(long r) { return r < 0 ? errno : 0; }\n\
    static long mapped(void *p) { return p == MAP_FAILED ? errno : 0; }\n";

fn picture() -> Unit {
    clip(64, 64, 1).remove(0)
}

/// Has one engine make these calls, C expressions that are 0 or an `errno`, and gives what each was.
fn attempt(calls: &[&str], readable: &[&Folder]) -> Vec<i64> {
    let body: Vec<String> = calls
        .iter()
        .map(|call| format!("n += sprintf(text + n, \"%s%ld\", n > 1 ? \",\" : \"\", (long)({call}));"))
        .collect();
    let source = level_1(
        INCLUDES,
        &format!(
            "static char text[4096]; char *none[] = {{0}}; (void)none; int n = sprintf(text, \"[\"); {} n += sprintf(text + n, \"]\"); \
             return out->data(out, text, n);",
            body.join("\n")
        ),
    );
    let folder = Folder::new();
    let library = folder.compile("test", &source, &[]);
    let spec =
        PipelineSpec { readable: readable.iter().map(|folder| folder.0.clone()).collect(), ..pipeline(&library) };
    let mut nursery = Nursery::start_pipeline(&spec, &[]);
    nursery.ready();
    let mut engine = nursery.fork_ready();
    let (result, data) = engine.process(1, &picture());
    assert_eq!(result.status, Status::Ok);
    engine.close();
    assert_eq!(nursery.exited(&engine).0, ExitKind::Code(0));
    serde_json::from_str(&data).unwrap()
}

fn refused(calls: &[&str]) {
    for (call, errno) in calls.iter().zip(attempt(calls, &[])) {
        assert!([libc::EPERM, libc::EACCES, libc::ENOSYS].map(i64::from).contains(&errno), "{call} answered {errno}");
    }
}

#[test]
fn no_new_processes_however_they_are_asked_for() {
    refused(&[
        "said(fork())",
        "said(syscall(SYS_fork))",
        "said(syscall(SYS_vfork))",
        "said(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0))",
        "said(syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0))",
        "said(syscall(SYS_clone3, 0, 0))",
        "posix_spawn(&(pid_t){0}, \"/bin/true\", 0, 0, none, none)",
        "system(\"true\") == 127 << 8 ? EPERM : 0",
        "said(execve(\"/bin/true\", none, none))",
        "said(syscall(SYS_execveat, AT_FDCWD, \"/bin/true\", none, none, 0))",
        "said(syscall(SYS_unshare, CLONE_NEWUSER))",
        "said(syscall(SYS_setns, 0, 0))",
    ]);
}

#[test]
fn no_way_to_other_processes() {
    refused(&[
        "said(open(\"/proc/1/environ\", O_RDONLY))",
        "said(open(\"/proc/self/../1/environ\", O_RDONLY))",
        "said(open(\"/proc/self/mem\", O_RDWR))",
        "said(process_vm_readv(getppid(), &(struct iovec){text, 8}, 1, &(struct iovec){text, 8}, 1, 0))",
        "said(process_vm_writev(getppid(), &(struct iovec){text, 8}, 1, &(struct iovec){text, 8}, 1, 0))",
        "said(syscall(SYS_pidfd_open, getppid(), 0))",
        "said(syscall(SYS_pidfd_getfd, 3, 0, 0))",
        "said(kill(getppid(), SIGKILL))",
        "said(kill(-1, SIGTERM))",
        "said(syscall(SYS_tgkill, getppid(), getppid(), SIGKILL))",
        "said(syscall(SYS_tkill, getppid(), SIGKILL))",
        "said(fcntl(3, F_SETOWN, getppid()))",
        "said(syscall(SYS_sched_setaffinity, getppid(), 8, text))",
        "said(syscall(SYS_prlimit64, getppid(), RLIMIT_CPU, 0, text))",
        "said(syscall(SYS_shmget, 1, 4096, 0600))",
        "said(syscall(SYS_perf_event_open, text, 0, -1, -1, 0))",
        "said(syscall(SYS_userfaultfd, 0))",
        "said(syscall(SYS_keyctl, 0, 0, 0, 0, 0))",
    ]);
}

#[test]
fn no_network_of_any_kind() {
    refused(&[
        "said(socket(AF_INET, SOCK_STREAM, 0))",
        "said(socket(AF_INET6, SOCK_DGRAM, 0))",
        "said(socket(AF_UNIX, SOCK_STREAM, 0))",
        "said(socket(AF_NETLINK, SOCK_RAW, 0))",
        "said(socket(AF_VSOCK, SOCK_STREAM, 0))",
        "said(socketpair(AF_UNIX, SOCK_DGRAM, 0, (int[2]){0}))",
        "said(socketpair(AF_TIPC, SOCK_STREAM, 0, (int[2]){0}))",
        "said(socketpair(AF_UNIX, SOCK_RAW | SOCK_CLOEXEC, 0, (int[2]){0}))",
        "said(sendto(3, text, 1, 0, (void *)text, 16))",
        "said(connect(3, (void *)text, 16))",
        "said(bind(3, (void *)text, 16))",
        "said(sendmsg(3, &(struct msghdr){0}, 0))",
        "said(syscall(SYS_io_uring_setup, 1, text))",
    ]);
}

#[test]
fn an_event_loop_can_wake_itself() {
    let pair = "int pair[2]; char byte = 1; long r = said(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair));";
    let call = format!("({{ {pair} r || send(pair[0], &byte, 1, 0) != 1 || recv(pair[1], &byte, 1, 0) != 1; }})");
    assert_eq!(attempt(&[&call], &[]), [0]);
}

#[test]
fn no_writing_and_no_reading_elsewhere() {
    let (granted, secret) = (Folder::new(), Folder::new());
    std::fs::write(granted.0.join("model.bin"), b"weights").unwrap();
    std::fs::write(secret.0.join("key.pem"), b"secret").unwrap();
    std::os::unix::fs::symlink(secret.0.join("key.pem"), granted.0.join("link")).unwrap();
    let path = |folder: &Folder, name: &str| folder.0.join(name).display().to_string();
    let (model, link, key) = (path(&granted, "model.bin"), path(&granted, "link"), path(&secret, "key.pem"));
    let open = |path: &str, how: &str| format!("said(open(\"{path}\", {how}, 0600))");
    assert_eq!(attempt(&[&open(&model, "O_RDONLY"), &open("/proc/self/status", "O_RDONLY")], &[&granted]), [0, 0]);
    let calls = [
        open(&link, "O_RDONLY"),
        open(&key, "O_RDONLY"),
        open("/etc/passwd", "O_RDONLY"),
        open("/etc/shadow", "O_RDONLY"),
        open(&["/proc/self", "root", "etc/passwd"].join("/"), "O_RDONLY"),
        open(&model, "O_WRONLY"),
        open(&model, "O_RDWR"),
        open(&model, "O_RDONLY | O_TRUNC"),
        open(&path(&granted, "new"), "O_RDONLY | O_CREAT"),
        open("/tmp", "O_TMPFILE | O_RDWR"),
        open("/dev/shm/framegate-test", "O_CREAT | O_RDWR"),
        format!("said(unlink(\"{model}\"))"),
        format!("said(rename(\"{model}\", \"{model}.old\"))"),
        format!("said(truncate(\"{model}\", 0))"),
        format!("said(chmod(\"{model}\", 0))"),
        format!("said(mkdir(\"{model}.d\", 0700))"),
        format!("said(symlink(\"/etc/passwd\", \"{model}.l\"))"),
        "said(ftruncate(3, 0))".to_owned(),
        "said(syscall(SYS_memfd_create, \"x\", 0))".to_owned(),
        "said(ioctl(1, TIOCSTI, \"x\"))".to_owned(),
    ];
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    for (call, errno) in calls.iter().zip(attempt(&calls, &[&granted])) {
        assert!([libc::EPERM, libc::EACCES].map(i64::from).contains(&errno), "{call} answered {errno}");
    }
    assert_eq!(std::fs::read(granted.0.join("model.bin")).unwrap(), b"weights");
}

#[test]
fn memory_ends_however_it_is_asked_for() {
    let map = |how: &str| {
        format!(
            "({{ long r = 0; for (int i = 0; i < 300 && !r; i++) r = mapped(mmap(0, 16 << 20, PROT_READ | PROT_WRITE, {how}, -1, 0)); r; }})"
        )
    };
    // Shared and growing mappings are not counted by the limit, so there are none.
    let answers =
        attempt(&[&map("MAP_SHARED | MAP_ANONYMOUS"), &map("MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN")], &[]);
    assert_eq!(answers, [i64::from(libc::EPERM); 2]);
    assert_eq!(attempt(&[&map("MAP_PRIVATE | MAP_ANONYMOUS")], &[]), [i64::from(libc::ENOMEM)]);
}

#[test]
fn allocating_without_end_is_the_processors_own_affair() {
    let source =
        level_1(INCLUDES, "int n = 0; while (malloc(16 << 20)) n++; return fg_data_printf(out, \"%d\", n < 129);");
    let (mut nursery, _folder) = Nursery::of(&source);
    let mut engine = nursery.fork_ready();
    assert_eq!(engine.process(1, &picture()).1, "1");
    let mut other = nursery.fork_ready();
    assert_eq!(other.process(1, &picture()).1, "1");
}

#[test]
fn descriptors_end_and_frames_go_on() {
    let source = level_1(
        INCLUDES,
        "int n = 0; while (open(\"/dev/null\", O_RDONLY) >= 0) n++; return fg_data_printf(out, \"[%d,%d]\", n > 0 && n < 512, errno);",
    );
    let (mut nursery, _folder) = Nursery::of(&source);
    let mut engine = nursery.fork_ready();
    let units = clip(64, 64, 2);
    assert_eq!(engine.process(1, &units[0]).1, format!("[1,{}]", libc::EMFILE));
    assert_eq!(engine.process(2, &units[1]).1, format!("[0,{}]", libc::EMFILE), "none was closed");
    assert_eq!(engine.close().ok, 2);
}

#[test]
fn a_gibibyte_of_output_blocks_nobody() {
    let source = level_1(
        INCLUDES,
        "static char block[1 << 20]; memset(block, 'x', sizeof block); \
         for (int i = 0; i < 1024; i++) if (write(1 + i % 2, block, sizeof block) < 0 && errno != EAGAIN) return -10; return 0;",
    );
    let (mut nursery, _folder) = Nursery::of(&source);
    let mut engine = nursery.fork_ready();
    assert_eq!(engine.process(1, &picture()).0.status, Status::Ok);
    engine.close();
    assert!(engine.printed().len() <= 1 << 20, "no more than the pipe holds");
}

#[test]
fn writing_into_a_frame_changes_no_other() {
    let source = level_1(
        "",
        "int first = frame->planes[0].data[0]; frame->planes[0].data[0] = (uint8_t)(first + 100); return fg_data_printf(out, \"%d\", first);",
    );
    let (mut nursery, _folder) = Nursery::of(&source);
    let mut engine = nursery.fork_ready();
    let units = clip(64, 64, 3);
    let mut other = nursery.fork_ready();
    for (seq, unit) in (1..).zip(&units) {
        let (first, seen) = (engine.process(seq, unit).1, other.process(seq, unit).1);
        assert_eq!(first, seen);
        assert!(first.parse::<u8>().unwrap() < 60, "{first} is what was written into the frame before");
    }
}

/// A processor that says where it is and then spins, in the function named by `place`.
fn spins_in(place: &str) -> String {
    let spin = |here: &str| if here == place { "host->log(host, FG_LOG_INFO, \"here\"); for (;;) spun++;" } else { "" };
    format!(
        "{PRELUDE}{INCLUDES}static const fg_host *host; static volatile long spun;
        static int32_t process(fg_processor *p, const fg_frame *f, const fg_out *o) {{ (void)p; (void)f; (void)o; {} return FG_OK; }}
        static int32_t configure(fg_processor *p, const fg_config *c) {{ (void)p; (void)c; {} return FG_OK; }}
        static void destroy(fg_processor *p) {{ (void)p; {} }}
        static int32_t create(const fg_host *h, fg_processor **made) {{
            static fg_processor one = {{sizeof one, 0, 0, configure, process, destroy, 0}};
            host = h; sigset_t all; sigfillset(&all); sigprocmask(SIG_BLOCK, &all, 0); signal(SIGTERM, SIG_IGN);
            {} *made = &one; return FG_OK; }}
        FG_ENTRY(\"spins\", \"1\", \"Spins.\", create)",
        spin("process"),
        spin("configure"),
        spin("destroy"),
        spin("create")
    )
}

fn until_here(engine: &mut Engine) {
    engine.until(|message| matches!(message, FromEngine::Log { text, .. } if text == "here").then_some(()));
}

#[test]
fn every_stage_can_be_killed_and_the_next_engine_comes() {
    for place in ["create", "configure", "process", "destroy", "nowhere"] {
        let (mut nursery, _folder) = Nursery::of(&spins_in(place));
        for _ in 0..2 {
            let mut engine = nursery.fork();
            match place {
                "create" => {}
                "destroy" => engine.say(&framegate_wire::ToEngine::Close, &[]),
                _ => engine.unit(1, &picture()),
            }
            if place == "nowhere" {
                engine.result();
            } else {
                until_here(&mut engine);
            }
            // It ignores what can be ignored, and what can be blocked it blocks.
            for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
                rustix::process::pidfd_send_signal(&engine.pidfd, signal).unwrap();
            }
            engine.kill();
            assert_eq!(nursery.exited(&engine).0, ExitKind::Signal(libc::SIGKILL), "{place}");
        }
    }
}

#[test]
fn an_engine_that_is_stopped_stops_no_other() {
    let (mut nursery, _folder) = Nursery::of(&level_1(INCLUDES, "return frame->seq == 2 ? raise(SIGSTOP) : 0;"));
    let (mut stopped, mut other) = (nursery.fork_ready(), nursery.fork_ready());
    let units = clip(64, 64, 3);
    stopped.process(1, &units[0]);
    stopped.unit(2, &units[1]);
    other.process(1, &units[0]);
    other.unit(3, &units[1]);
    other.result();
    let mut third = nursery.fork_ready();
    third.process(1, &units[0]);
    stopped.kill();
    assert_eq!(nursery.exited(&stopped).0, ExitKind::Signal(libc::SIGKILL));
}

#[test]
fn a_file_overwritten_while_engines_run_changes_nothing() {
    let folder = Folder::new();
    let library = folder.compile("test", &level_1("", "return fg_data_printf(out, \"1\");"), &[]);
    let mut nursery = Nursery::start(&library, &[]);
    nursery.ready();
    let mut engine = nursery.fork_ready();
    let units = clip(64, 64, 2);
    assert_eq!(engine.process(1, &units[0]).1, "1");
    // In place, as `cp` does it: a mapped file would change under the code that runs.
    let length = std::fs::metadata(&library).unwrap().len();
    std::fs::write(&library, vec![0xcc; usize::try_from(length).unwrap()]).unwrap();
    assert_eq!(engine.process(2, &units[1]).1, "1");
    let mut next = nursery.fork_ready();
    assert_eq!(next.process(1, &units[0]).1, "1");
}

#[test]
fn a_thread_cannot_outlive_its_engine() {
    let source = level_1(
        &format!("{INCLUDES}static void *spin(void *x) {{ for (volatile long n = 0;; n++) {{}} return x; }}\n"),
        "pthread_t t; for (int i = 0; i < 8; i++) if (pthread_create(&t, 0, spin, 0)) return -10; return 0;",
    );
    let (mut nursery, _folder) = Nursery::of(&source);
    let mut engine = nursery.fork_ready();
    assert_eq!(engine.process(1, &picture()).0.status, Status::Ok);
    engine.close();
    assert_eq!(nursery.exited(&engine).0, ExitKind::Code(0));
    wait_readable(std::os::fd::AsFd::as_fd(&engine.pidfd), "the end of all its threads");
}

#[test]
fn threads_end_with_memory_and_frames_go_on() {
    let source = level_1(
        &format!("{INCLUDES}static void *rest(void *x) {{ for (;;) sleep(1000); return x; }}\n"),
        "pthread_t t; int n = 0, r; while ((r = pthread_create(&t, 0, rest, 0)) == 0) n++; \
         return fg_data_printf(out, \"[%d,%d]\", n < 300, r);",
    );
    let (mut nursery, _folder) = Nursery::of(&source);
    let mut engine = nursery.fork_ready();
    let units = clip(64, 64, 2);
    for (seq, unit) in (1..).zip(&units) {
        assert_eq!(engine.process(seq, unit).1, format!("[1,{}]", libc::EAGAIN));
    }
    engine.close();
    assert_eq!(nursery.exited(&engine).0, ExitKind::Code(0));
}
