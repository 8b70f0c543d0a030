//! `isolation = "shared"` of libraries: one process for all streams.

use std::path::Path;

use framegate_wire::{
    ExitKind, FromEngine, Isolation, NamedValue, NurseryReply, PipelineSpec, SavedState, Status, ToEngine, View,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::support::{Engine, Folder, Level2, Nursery, PRELUDE, chain, clip, level_1, mjpeg_mean, wait_readable};

/// Says process, calls of all streams, calls of its own and its gain. `on_frame` is what else it does with a frame.
fn counter(on_frame: &str) -> String {
    format!(
        r#"{PRELUDE}
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <unistd.h>
        static uint32_t total;
        typedef struct {{ fg_processor base; const fg_host *host; uint32_t count; double gain; }} one;
        __attribute__((noinline)) static int crash(volatile int *p) {{ return *p; }}
        static int32_t process(fg_processor *p, const fg_frame *frame, const fg_out *out) {{
            one *self = (one *)p; (void)crash; (void)frame; total++; self->count++;
            {on_frame}
            return fg_data_printf(out, "[%d,%u,%u,%g]", (int)getpid(), total, self->count, self->gain); }}
        static int32_t set(fg_processor *p, uint32_t i, const fg_param_value *v) {{
            (void)i; if (v->number == 7) return FG_ERROR; ((one *)p)->gain = v->number; return FG_OK; }}
        static int64_t save(fg_processor *p, void *bytes, uint64_t capacity) {{
            (void)capacity; memcpy(bytes, &((one *)p)->count, 4); return 4; }}
        static int32_t load(fg_processor *p, uint32_t version, const void *bytes, uint64_t length) {{
            if (version != 2 || length != 4) return FG_ERROR; memcpy(&((one *)p)->count, bytes, 4); return FG_OK; }}
        static int32_t receive(fg_processor *p, const char *json, uint64_t length) {{
            const fg_host *host = ((one *)p)->host;
            const fg_host_message *page = host->get_extension(host, FG_EXT_MESSAGE);
            host->log(host, FG_LOG_INFO, host->stream); return page->send(host, json, length); }}
        static const fg_param table[] = {{{{"gain", 0, 0, 0, 0, 0, 0, FG_PARAM_FLOAT, 0, 9, 0, 1, 0}}}};
        static const fg_params params = {{sizeof params, 1, table, set}};
        static const fg_state state = {{sizeof state, 2, save, load}};
        static const fg_message message = {{sizeof message, 0, receive}};
        static const void *extension(fg_processor *p, const char *id) {{
            (void)p;
            if (!strcmp(id, FG_EXT_PARAMS)) return &params;
            if (!strcmp(id, FG_EXT_STATE)) return &state;
            return strcmp(id, FG_EXT_MESSAGE) ? 0 : (const void *)&message; }}
        static void destroy(fg_processor *p) {{ puts("destroyed"); free(p); }}
        static int32_t create(const fg_host *host, fg_processor **made) {{
            one *self = calloc(1, sizeof *self);
            self->base = (fg_processor){{sizeof self->base, 0, 0, 0, process, destroy, extension}};
            self->host = host; *made = &self->base; return FG_OK; }}
        FG_ENTRY("counter", "1", "Counts.", create)"#
    )
}

fn spec(libraries: &[&Path]) -> PipelineSpec {
    let libraries: Vec<_> = libraries.iter().map(|library| (*library, &[][..])).collect();
    PipelineSpec { isolation: Isolation::Shared, ..chain(&libraries) }
}

/// A nursery whose trial is over.
fn shared(source: &str) -> (Nursery, Folder) {
    let folder = Folder::new();
    let library = folder.compile("test", source, &[]);
    let mut nursery = Nursery::start_pipeline(&spec(&[&library]), &[]);
    assert_eq!(nursery.ready().tasks, 1);
    assert_eq!(nursery.described().unwrap().len(), 1);
    (nursery, folder)
}

/// Process, calls of all, calls of its own, gain.
fn said(engine: &mut Engine, seq: u64, unit: &crate::support::Unit) -> [f64; 4] {
    let (result, data) = engine.process(seq, unit);
    assert_eq!(result.status, Status::Ok);
    serde_json::from_str(&data).unwrap()
}

/// Hears that this many engines have ended, in any order.
fn exits(nursery: &mut Nursery, count: usize) {
    for _ in 0..count {
        let reply = nursery.reply();
        assert!(matches!(reply, (NurseryReply::Exited { .. }, None)), "{reply:?}");
    }
}

#[test]
fn streams_share_a_process_and_its_globals_but_no_instance() {
    let (mut nursery, _folder) = shared(&counter("printf(\"call %u\\n\", self->count);"));
    let (mut one, mut two) = (nursery.fork_ready(), nursery.fork_ready());
    let units = clip(64, 48, 3);
    let [pid, total, count, gain] = said(&mut one, 1, &units[0]);
    assert_eq!([total, count, gain], [1.0, 1.0, 1.0]);
    assert!(pid != f64::from(one.pid) && pid != f64::from(two.pid) && pid != f64::from(nursery.process.id()));
    assert_eq!(said(&mut two, 1, &units[0]), [pid, 2.0, 1.0, 1.0]);
    assert_eq!(said(&mut one, 2, &units[1]), [pid, 3.0, 2.0, 1.0]);
    // Both at once.
    one.unit(3, &units[2]);
    two.unit(2, &units[1]);
    let totals: f64 =
        [one.result().1, two.result().1].map(|data| serde_json::from_str::<[f64; 4]>(&data).unwrap()[1]).iter().sum();
    assert!((totals - 9.0).abs() < 0.1, "one was called after the other");
    assert_eq!(one.close().ok, 3);
    assert_eq!(nursery.exited(&one).0, ExitKind::Code(0));
    assert_eq!(one.printed(), "call 1\ncall 2\ncall 3\ndestroyed\n", "what it prints for one stream is that stream's");
    // The end of one stream is nothing to the other.
    assert_eq!(said(&mut two, 3, &units[2]), [pid, 6.0, 3.0, 1.0]);
    // And nothing outlives the nursery.
    #[expect(clippy::cast_possible_truncation, reason = "a process's number")]
    let host = pidfd_open(Pid::from_raw(pid as i32).unwrap(), PidfdFlags::empty()).unwrap();
    nursery.control = None;
    assert!(nursery.process.wait().unwrap().success());
    wait_readable(std::os::fd::AsFd::as_fd(&host), "the end of the shared process");
    two.wait_gone();
}

#[test]
fn parameters_states_and_messages_are_each_streams_own() {
    let (mut nursery, _folder) = shared(&counter(""));
    let value = |json: &str| NamedValue { processor: 0, id: "gain".into(), json: json.into() };
    let state = SavedState { processor: 0, name: "counter".into(), version: 2, bytes: 40_u32.to_ne_bytes().to_vec() };
    let mut one = nursery.fork_with(1, &[value("2.5")], &[state]);
    let mut two = nursery.fork_ready();
    let units = clip(64, 48, 2);
    assert_eq!(said(&mut one, 1, &units[0])[2..], [41.0, 2.5]);
    assert_eq!(said(&mut two, 1, &units[0])[2..], [1.0, 1.0]);
    let mut set = |json: &str| {
        two.say(&ToEngine::SetParams { id: 9, values: vec![value(json)] }, &[]);
        two.until(|message| match message {
            FromEngine::Params { id: 9, values, refused } => Some((values[0].json.clone(), refused.len())),
            _ => None,
        })
    };
    assert_eq!(set("3"), ("3.0".to_owned(), 0));
    assert_eq!(set("7"), ("3.0".to_owned(), 1), "what the processor itself refuses");
    assert_eq!(set("10"), ("3.0".to_owned(), 1), "what is out of range");
    two.say(&ToEngine::Message { processor: 0 }, b"{\"a\":1}");
    assert_eq!(two.log_line(), "test");
    let (place, message) = two.until_with(|message| match message {
        FromEngine::Message { processor } => Some(processor),
        _ => None,
    });
    assert_eq!((place, message.as_slice()), (0, &b"{\"a\":1}"[..]));
    assert_eq!(said(&mut two, 2, &units[1])[2..], [2.0, 3.0]);
    assert_eq!(said(&mut one, 2, &units[1])[2..], [42.0, 2.5]);
    let states = (3..).find_map(|seq| {
        one.unit(seq, &units[1]);
        let mut states = None;
        loop {
            match one.hear().expect("the engine ended") {
                (FromEngine::State, payload) => states = Some((seq, payload)),
                (FromEngine::Result(result), _) if result.seq.0 == seq => return states,
                _ => {}
            }
        }
    });
    let (seq, payload) = states.unwrap();
    let kept: Vec<SavedState> = postcard::from_bytes(&payload).unwrap();
    let count = u64::from(u32::from_ne_bytes(kept[0].bytes.clone().try_into().unwrap()));
    assert_eq!((kept[0].version, count), (2, 40 + seq - 1), "after the frame before");
}

#[test]
fn a_crash_is_told_to_every_stream_and_the_next_engine_has_a_new_process() {
    let (mut nursery, folder) = shared(&counter("if (frame->seq == 2) return crash(0) + 1;"));
    let (mut one, mut two) = (nursery.fork_ready(), nursery.fork_ready());
    let units = clip(64, 48, 2);
    let pid = said(&mut one, 1, &units[0])[0];
    assert_eq!(said(&mut two, 1, &units[0])[0], pid);
    one.unit(2, &units[1]);
    let library = folder.0.join("test.so");
    let begin = "the process of `counter` was ended by SIGSEGV in `crash` (";
    for engine in [&mut one, &mut two] {
        // Of the second, without a frame: a death is noticed between them.
        let text = engine.fault();
        assert!(text.starts_with(begin) && text.contains(library.to_str().unwrap()), "{text}");
    }
    exits(&mut nursery, 2);
    let mut next = nursery.fork_ready();
    let [new, total, ..] = said(&mut next, 1, &units[0]);
    assert_ne!(new, pid);
    assert_eq!(total, 1.0);
}

#[test]
fn a_shared_process_that_hangs_is_replaced() {
    let hangs = "static volatile int stop; if (frame->seq == 2) {
        self->host->log(self->host, FG_LOG_INFO, \"begun\"); while (!stop) {} }";
    let (mut nursery, _folder) = shared(&counter(hangs));
    let (mut hung, mut other) = (nursery.fork_ready(), nursery.fork_ready());
    let units = clip(64, 48, 2);
    let pid = said(&mut hung, 1, &units[0])[0];
    hung.unit(2, &units[1]);
    assert_eq!(hung.log_line(), "begun");
    other.unit(1, &units[0]);
    hung.kill();
    // It does not let go of the engine that has gone, so it is ended, and the other stream is told.
    assert_eq!(other.fault(), "the process of `counter` was ended by SIGKILL");
    exits(&mut nursery, 2);
    let mut next = nursery.fork_ready();
    assert_ne!(said(&mut next, 1, &units[0])[0], pid);
}

#[test]
fn a_stream_that_is_slow_leaves_the_others_their_turns() {
    let is_slow = "if (self->gain > 5) { self->host->log(self->host, FG_LOG_INFO, \"begun\");
        for (volatile int i = 0; i < 30000000; i++) {} }";
    let (mut nursery, _folder) = shared(&counter(is_slow));
    let value = NamedValue { processor: 0, id: "gain".into(), json: "9".into() };
    let mut slow = nursery.fork_with(1, &[value], &[]);
    slow.until(|message| matches!(message, FromEngine::Ready(_)).then_some(()));
    let mut other = nursery.fork_ready();
    let units = clip(64, 48, 6);
    slow.unit(1, &units[0]);
    for (seq, pair) in (1_u32..).zip(units.windows(2)) {
        assert_eq!(slow.log_line(), "begun");
        // The slow one has its next frame before this one ends, and waits for its turn all the same.
        slow.unit(u64::from(seq) + 1, &pair[1]);
        assert_eq!(said(&mut other, u64::from(seq), &pair[0])[2], f64::from(seq));
    }
    assert_eq!(slow.result().0.status, Status::Ok);
}

#[test]
fn a_chain_is_shared_as_a_whole_and_gives_pictures() {
    let folder = Folder::new();
    let first = Level2 {
        name: "first",
        create: "fg_want want = {sizeof want, FG_WANT_WRITABLE, 0, 0, 0, 0};
                 ((const fg_host_want *)h->get_extension(h, FG_EXT_WANT))->set(h, &want);",
        process: "for (uint32_t y = 0; y < frame->height; y++)
                      memset(frame->planes[0].data + y * frame->planes[0].stride_bytes, 200, frame->width * 3);
                  return fg_data_printf(out, \"%d\", frame->planes[0].data[0]);",
        ..Level2::NOTHING
    };
    let first = folder.compile("first", &first.source(), &[]);
    let last = level_1("", "return fg_data_printf(out, \"%d\", frame->planes[0].data[5]);");
    let last = folder.compile("last", &last, &[]);
    let mut nursery = Nursery::start_pipeline(&spec(&[&first, &last]), &[]);
    let names: Vec<_> = nursery.ready().processors.into_iter().map(|processor| processor.name).collect();
    assert_eq!(names, ["first", "test"]);
    let mut engine = nursery.fork_ready();
    engine.say(&ToEngine::Snapshot { id: 5, view: View::Processed }, &[]);
    engine.unit(1, &clip(64, 48, 1)[0]);
    assert_eq!(engine.result().1, "{\"first\":200,\"test\":200}");
    let ((), jpeg) = engine.until_with(|message| matches!(message, FromEngine::Snapshot { id: 5, .. }).then_some(()));
    let (size, mean) = mjpeg_mean(&jpeg);
    assert_eq!((size.width, size.height), (64, 48));
    assert!(mean.iter().all(|channel| channel.abs_diff(200) <= 4), "{mean:?}");
}

#[test]
fn threads_started_by_loading_cannot_be_shared_and_it_says_so() {
    let begins = "#include <pthread.h>\n#include <unistd.h>\nstatic void *rest(void *x) { for (;;) pause(); return x; }\n\
        __attribute__((constructor)) static void begin(void) { pthread_t t; pthread_create(&t, 0, rest, 0); }";
    let folder = Folder::new();
    let library = folder.compile("test", &level_1(begins, "return FG_NO_RESULT;"), &[]);
    let text = Nursery::start_pipeline(&spec(&[&library]), &[]).fault();
    assert!(text.contains("started 1 threads when it was loaded") && text.contains("Leave the line out"), "{text}");
}
