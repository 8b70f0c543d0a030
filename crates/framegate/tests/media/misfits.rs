//! Processors that fail, and pictures that are no pictures.

use std::fs;
use std::net::UdpSocket;

use serde_json::json;

use crate::lab::{FRAMECODE, Lab, Recipe, compile};
use crate::visitor::{Neighbour, Visitor};

/// The call at which a processor fails, and whether its next engine goes on.
const ONCE: &[&str] = &["-DAT=10", "-DONCE"];

/// Results after which a session counts as going on.
const MORE: usize = 10;

/// A processor that ends its engine: the session is told how, and gets results from the next engine.
fn dies(lab: &Lab, pipeline: &str, kind: &str, signal: Option<&str>, words: &str) {
    let mut visitor = Visitor::begin(lab, pipeline);
    visitor.until(kind, |visitor| visitor.event(kind).is_some());
    let event = visitor.event(kind).unwrap();
    assert_eq!(event["signal"].as_str(), signal, "{event}");
    assert!(event["text"].as_str().unwrap().contains(words), "{event}");
    assert_eq!(event["restarts"], 1, "{event}");
    let lost = event["seq"].as_u64().expect("the frame that was lost");
    visitor.until("results after it", |visitor| {
        visitor.results.iter().filter(|result| result["seq"].as_u64().unwrap() > lost).count() > MORE
    });
    let reason = if kind == "engine_hung" { "hung" } else { "engine_crashed" };
    let counts = visitor.leave();
    assert!(counts["dropped"][reason].as_u64().is_some_and(|count| count > 0), "{pipeline}: {counts}");
}

/// A processor whose result is refused: that frame is an error with a code, the next is processed.
fn errs(lab: &Lab, pipeline: &str, code: &str) {
    let mut visitor = Visitor::begin(lab, pipeline);
    let refused = |visitor: &Visitor| visitor.results.iter().position(|result| result["status"] == "error");
    visitor.until("an error", |visitor| refused(visitor).is_some());
    let result = &visitor.results[refused(&visitor).unwrap()];
    assert_eq!(result["error"]["code"], code, "{result}");
    let ok = visitor.ok();
    visitor.until("results after it", |visitor| visitor.ok() > ok + MORE);
    assert_eq!(visitor.events(), ["engine_starting", "engine_ready"], "{pipeline}");
    let counts = visitor.leave();
    assert_eq!(counts["error"], 1, "{pipeline}: {counts}");
    assert_eq!(counts["dropped"], json!({}), "{pipeline}: {counts}");
}

#[test]
fn processors_that_fail_harm_only_their_own_frames() {
    let recipes: [Recipe<'_>; 9] = [
        FRAMECODE,
        ("crash", "testdata/processors/crash.c", ONCE),
        ("abort", "testdata/processors/abort.c", ONCE),
        ("exit0", "testdata/processors/exit0.c", ONCE),
        ("hang", "testdata/processors/hang.c", ONCE),
        ("nan", "testdata/processors/nan.c", &["-DAT=10"]),
        ("badjson", "testdata/processors/badjson.c", &["-DAT=10"]),
        ("huge", "testdata/processors/huge.c", &["-DAT=10"]),
        ("print", "testdata/processors/print.c", &["-DTOTAL_MIB=64"]),
    ];
    let lab = Lab::start(&recipes);
    let neighbour = Neighbour::begin(&lab);
    dies(&lab, "crash", "engine_crashed", Some("SIGSEGV"), "write_to_nowhere");
    dies(&lab, "abort", "engine_crashed", Some("SIGABRT"), "SIGABRT");
    dies(&lab, "exit0", "engine_crashed", None, "exit(0)");
    dies(&lab, "hang", "engine_hung", Some("SIGKILL"), "no progress");
    errs(&lab, "nan", "not_finite");
    errs(&lab, "badjson", "bad_json");
    errs(&lab, "huge", "too_large");

    let mut chatty = Visitor::begin(&lab, "print");
    chatty.until("its words", |visitor| visitor.said("log").next().is_some());
    chatty.until("results", |visitor| visitor.ok() > 2 * MORE);
    assert_eq!(chatty.leave()["dropped"], json!({}));
    neighbour.noticed_nothing();
}

/// A processor that cannot be loaded: its sessions are told why, `/v1/processors` too.
fn is_not_loaded(lab: &Lab, pipeline: &str, words: &str) {
    let mut visitor = Visitor::enter(lab, pipeline);
    visitor.until("the reason", |visitor| visitor.event("processor_failed").is_some());
    let text = visitor.event("processor_failed").unwrap()["text"].as_str().unwrap();
    assert!(text.contains(words), "{pipeline}: {text}");
    let own = || {
        let all = lab.get("/v1/processors").json();
        all["processors"].as_array().unwrap().iter().find(|one| one["name"] == pipeline).unwrap().clone()
    };
    // Whoever asked is told first.
    visitor.until("the verdict", |_| own()["state"] != "loading");
    let own = own();
    assert_eq!(own["state"], "failed", "{own}");
    assert!(own["error"].as_str().unwrap().contains(words), "{own}");
    visitor.hang_up();
}

#[test]
fn processors_that_cannot_be_loaded_say_why() {
    let folder = std::env::temp_dir().join(format!("framegate-gone-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let gone = compile(&folder, "libgone", "testdata/processors/no_symbol.c", &[]);
    let recipes: [Recipe<'_>; 4] = [
        FRAMECODE,
        ("wrong_abi", "testdata/processors/wrong_abi.c", &[]),
        ("no_symbol", "testdata/processors/no_symbol.c", &[]),
        ("needs_gone", "testdata/processors/abort.c", &["-Wl,--no-as-needed", gone.to_str().unwrap()]),
    ];
    let lab = Lab::start(&recipes);
    fs::remove_dir_all(&folder).unwrap();
    let neighbour = Neighbour::begin(&lab);
    is_not_loaded(&lab, "wrong_abi", "version 99.1");
    is_not_loaded(&lab, "no_symbol", "fg_entry_1");
    is_not_loaded(&lab, "needs_gone", "libgone.so");
    neighbour.noticed_nothing();
}

#[test]
fn pictures_too_large_and_garbage_cost_only_themselves() {
    let lab = Lab::start(&[FRAMECODE]);
    let neighbour = Neighbour::begin(&lab);
    let mut visitor = Visitor::begin(&lab, "framecode");
    // The header of a keyframe of 16383 × 16383 (RFC 6386 §9.1), and no picture behind it.
    visitor.send(&[0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0xff, 0x3f, 0xff, 0x3f, 0, 0, 0, 0, 0, 0]);
    visitor.until("the refusal", |visitor| visitor.event("frame_too_large").is_some());
    assert!(visitor.event("frame_too_large").unwrap()["text"].as_str().unwrap().contains("16383"));
    let ok = visitor.ok();
    visitor.until("results after it", |visitor| visitor.ok() > ok + MORE);

    // A keyframe that promises a small picture and breaks off.
    visitor.send(&[0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00, 7, 7, 7, 7, 7, 7]);
    let ok = visitor.ok();
    visitor.until("results after it", |visitor| visitor.ok() > ok + MORE);

    // Datagrams of every first byte (which tells STUN, DTLS, RTP and nothing apart), from a stranger and from inside.
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for first in 0..=255_u8 {
        for length in [1, 2, 12, 20, 100, 1200] {
            let bytes: Vec<u8> = (0..=255_u8).map(|at| first ^ at).cycle().take(length).collect();
            stranger.send_to(&bytes, visitor.server).unwrap();
            visitor.send_raw(&bytes);
        }
    }
    let ok = visitor.ok();
    visitor.until("results after it", |visitor| visitor.ok() > ok + MORE);
    assert!(!visitor.events().contains(&"engine_crashed"), "{:?}", visitor.events());
    let counts = visitor.leave();
    assert_eq!(counts["dropped"]["too_large"], 1, "{counts}");
    neighbour.noticed_nothing();
}
