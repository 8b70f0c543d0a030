//! Engines that are killed at any moment of a frame's life.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use crate::lab::{FRAMECODE, Lab};
use crate::visitor::{Neighbour, Visitor};

const KILLS: u64 = 50;
const NEIGHBOURS: usize = 3;

/// Longest random time from a result to the kill: an interval of the clip, so that every moment has its turn.
const MOMENT_MAX_US: u64 = 66_000;

#[test]
fn fifty_kills_of_one_engine_are_one_sessions_affair() {
    let lab = Lab::start(&[FRAMECODE]);
    let neighbours: Vec<_> = (0..NEIGHBOURS).map(|_| Neighbour::begin(&lab)).collect();
    let others = lab.engines();
    assert_eq!(others.len(), NEIGHBOURS);
    let mut visitor = Visitor::begin(&lab, "framecode");
    let mut killed = BTreeSet::new();
    let mut state = 1_u64;
    for _ in 0..KILLS {
        let results = visitor.results.len();
        visitor.until("a result", |visitor| visitor.results.len() > results);
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        visitor.stay(Duration::from_micros((state >> 33) % MOMENT_MAX_US));
        let victims: Vec<u32> =
            lab.engines().difference(&others).filter(|pid| !killed.contains(*pid)).copied().collect();
        assert_eq!(victims.len(), 1, "{victims:?}");
        assert!(Command::new("kill").args(["-KILL", &victims[0].to_string()]).status().unwrap().success());
        killed.insert(victims[0]);
    }
    let results = visitor.results.len();
    visitor.until("results after the last", |visitor| visitor.results.len() > results + 10);
    visitor.until("the last event", |visitor| {
        visitor.said("event").filter(|event| event["kind"] == "engine_crashed").count() as u64 == KILLS
    });
    assert!(
        visitor
            .said("event")
            .filter(|event| event["kind"] == "engine_crashed")
            .all(|event| event["signal"] == "SIGKILL")
    );
    visitor.leave();
    for neighbour in neighbours {
        neighbour.noticed_nothing();
    }
}
