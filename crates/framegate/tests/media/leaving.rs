//! Sessions that end: in order, by hanging up, or without a word. Nothing of them stays.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::lab::{FRAMECODE, Lab};
use crate::visitor::{Neighbour, Visitor};

/// When all of a silent peer is back: 15 s without authenticated STUN, and a little for the engine's goodbye.
const SILENT_BOUND: Duration = Duration::from_secs(16);

/// Sessions of the churn, and how many of them at once.
const VISITS: usize = 50;
const AT_ONCE: usize = 5;

#[test]
fn a_peer_that_vanishes_leaves_nothing_behind() {
    let lab = Lab::start(&[FRAMECODE]);
    drop(Visitor::begin(&lab, "framecode").leave()); // whatever is made once is there from now on
    let before = lab.wait("the first visit's end", |lab| lab.engines().is_empty().then(|| lab.footprint()));
    let neighbour = Neighbour::begin(&lab);
    let with_neighbour = lab.footprint();
    assert_ne!(with_neighbour, before);

    drop(Visitor::begin(&lab, "framecode"));
    let took = lab.shrinks_to(&with_neighbour);
    assert!(took <= SILENT_BOUND, "{took:?}");
    neighbour.noticed_nothing();
    lab.shrinks_to(&before);
}

#[test]
fn fifty_visits_leave_nothing_behind() {
    let lab = Lab::start(&[FRAMECODE]);
    drop(Visitor::begin(&lab, "framecode").leave());
    let before = lab.wait("the first visit's end", |lab| lab.engines().is_empty().then(|| lab.footprint()));
    for round in 0..VISITS / AT_ONCE {
        let mut visitors: Vec<_> = (0..AT_ONCE).map(|_| Visitor::begin(&lab, "framecode")).collect();
        for (index, mut visitor) in visitors.drain(..).enumerate() {
            visitor.until("another result", |visitor| visitor.results.len() > 1);
            match (round + index) % 3 {
                0 => visitor.hang_up(),
                1 => assert_eq!(lab.ask("DELETE", &visitor.location, "").status, 200),
                _ => drop(visitor),
            }
        }
    }
    let left = Instant::now();
    lab.wait("the list to be empty", |lab| (lab.get("/v1/sessions").json()["sessions"] == json!([])).then_some(()));
    lab.shrinks_to(&before);
    let took = left.elapsed();
    assert!(took <= SILENT_BOUND, "{took:?}");
}
