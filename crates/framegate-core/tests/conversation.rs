//! `Session` against `Peer` over an emulated network in simulated time: what must hold whatever the network does.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

mod lab;

use std::net::SocketAddr;
use std::time::Duration;

use framegate_core::peer::PeerEvent;
use framegate_core::session::EndReason;
use lab::network::Weather;
use lab::{INTERVAL, Lab};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// When the very first packets change places, the assembler begins with the wrong one and needs another keyframe.
const FIRST_FRAMES: usize = 12;

/// 50 ms there and back.
fn weather() -> Weather {
    Weather { delay: 25 * MS, ..Weather::default() }
}

fn keyframes_wanted(lab: &Lab) -> usize {
    lab.events.iter().filter(|(_, event)| *event == PeerEvent::KeyframeWanted).count()
}

#[test]
fn a_clean_network_gives_each_frame_its_result() {
    let mut lab = Lab::connected(1, weather());
    lab.run(60 * SECOND);
    assert_eq!(keyframes_wanted(&lab), 0);
    lab.settle();
    assert!(lab.sent.len() >= 1800);
    assert_eq!(lab.ok_percent_from(0), 100.0);
    assert!(lab.slowest() <= 54 * MS, "{:?}", lab.slowest());
    lab.close_and_check_books();
}

fn check_loss(loss_percent: u64, ok_percent_min: f64) {
    let mut lab = Lab::connected(loss_percent, Weather { loss_percent, ..weather() });
    lab.run(60 * SECOND);
    lab.settle();
    let ok = lab.ok_percent_from(0);
    assert!(ok >= ok_percent_min, "{ok:.2} % with {loss_percent} % loss, {} keyframes", keyframes_wanted(&lab));
    lab.network.weather = weather();
    lab.close_and_check_books();
}

#[test]
fn one_percent_loss_costs_at_most_one_percent_of_results() {
    check_loss(1, 99.0);
}

#[test]
fn five_percent_loss_costs_at_most_three_percent_of_results() {
    check_loss(5, 97.0);
}

#[test]
fn ten_percent_loss_costs_at_most_ten_percent_of_results() {
    check_loss(10, 90.0);
}

#[test]
fn reordering_costs_no_result() {
    let mut lab = Lab::connected(4, Weather { jitter: 30 * MS, ..weather() });
    lab.run(20 * SECOND);
    lab.settle();
    assert_eq!(lab.ok_percent_from(FIRST_FRAMES), 100.0);
    lab.network.weather = weather();
    lab.close_and_check_books();
}

#[test]
fn duplicates_make_no_second_result() {
    let mut lab = Lab::connected(5, Weather { duplicate_percent: 30, jitter: 5 * MS, ..weather() });
    lab.run(20 * SECOND);
    lab.settle();
    assert_eq!(lab.ok_percent_from(FIRST_FRAMES), 100.0);
    lab.network.weather = weather();
    lab.close_and_check_books();
}

#[test]
fn results_come_again_two_seconds_after_a_blackout() {
    let mut lab = Lab::connected(6, weather());
    lab.run(5 * SECOND);
    lab.network.weather.blackout = true;
    lab.run(SECOND);
    lab.network.weather.blackout = false;
    let (light, before) = (lab.now.instant, lab.sent.len());
    let assembled = lab.session.runner().received();
    lab.run_until(SECOND * 3 / 4, |lab| lab.session.runner().received() > assembled);
    // SCTP has repeated the results under way once, in vain, and does so again 2 s later (RTO.Min of RFC 9260 §16 is 1 s).
    lab.run_until(2 * SECOND + 100 * MS, |lab| {
        lab.sent[before..].iter().any(|sent| sent.result_at.is_some_and(|at| at > light))
    });
    lab.run(10 * SECOND);
    let count = lab.sent.len();
    lab.settle();
    // From three seconds after it on, all is as before.
    let healed = &lab.sent[before + 90..count];
    assert!(healed.iter().all(|sent| sent.result_at.is_some()));
    lab.close_and_check_books();
}

#[test]
fn keyframe_after_loss() {
    let mut lab = Lab::connected(7, weather());
    lab.run(3 * SECOND);
    assert_eq!(keyframes_wanted(&lab), 0);
    lab.network.weather.media_blackout = true;
    lab.run(700 * MS);
    lab.network.weather.media_blackout = false;
    let before = lab.sent.len();
    lab.run(5 * SECOND);
    lab.settle();
    let wanted = keyframes_wanted(&lab);
    assert!((1..=4).contains(&wanted), "{wanted} keyframes asked for");
    assert!(lab.sent[before + 60..].iter().all(|sent| sent.result_at.is_some()));
    lab.close_and_check_books();
}

#[test]
fn the_page_s_close_gives_the_summary_and_ends_the_session() {
    let mut lab = Lab::connected(8, weather());
    lab.run(SECOND);
    lab.close_and_check_books();
    lab.run(SECOND);
    assert_eq!(lab.session.finished(), Some(EndReason::Asked));
    assert!(lab.events.iter().any(|(_, event)| *event == PeerEvent::Closed));
    assert!(lab.engine.is_none());
}

#[test]
fn a_peer_that_closes_frees_everything_at_once() {
    let mut lab = Lab::connected(9, weather());
    lab.run(SECOND);
    lab.sending = false;
    let now = lab.now.instant;
    lab.peer.as_mut().unwrap().close(now).unwrap();
    lab.empty_browser();
    let took = lab.run_until(SECOND, |lab| lab.session.finished().is_some());
    assert!(took <= 100 * MS, "{took:?}");
    assert_eq!(lab.session.finished(), Some(EndReason::PeerClosed));
    assert!(lab.engine.is_none());
}

#[test]
fn a_peer_that_vanishes_is_given_up_within_fifteen_seconds() {
    let mut lab = Lab::connected(10, weather());
    lab.run(SECOND);
    lab.peer = None;
    let took = lab.run_until(16 * SECOND, |lab| lab.session.finished().is_some());
    assert!(took <= 15 * SECOND + 100 * MS, "{took:?}");
    assert!(lab.engine.is_none());
}

#[test]
fn an_offer_that_never_connects_ends_after_ten_seconds() {
    let mut lab = Lab::new(11);
    lab.peer = None;
    let took = lab.run_until(11 * SECOND, |lab| lab.session.finished().is_some());
    assert!(took >= 10 * SECOND - 10 * MS, "{took:?}");
    assert_eq!(lab.session.finished(), Some(EndReason::NeverConnected));
    assert_eq!(lab.engines_launched, 0);
}

#[test]
fn datagrams_from_a_stranger_do_nothing() {
    let stranger = SocketAddr::from(([198, 51, 100, 66], 666));
    let mut lab = Lab::new(12);
    lab.network.weather.delay = 25 * MS;
    let mut heard = 0;
    for _ in 0..4000 {
        lab.run(MS);
        // Every datagram the browser sends once more from elsewhere, STUN with another password.
        let overheard: Vec<Vec<u8>> = lab.overheard[heard..].to_vec();
        heard = lab.overheard.len();
        for mut data in overheard {
            if data[0] < 4 {
                spoil_integrity(&mut data);
            }
            lab.arrives(stranger, &data);
        }
        lab.arrives(stranger, &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        lab.arrives(stranger, &[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    assert!(heard > 300 && lab.strays.is_empty(), "{heard} {:?}", lab.strays);
    lab.settle();
    // Frames sent before the channels were open have no place to tell their outcome; the summary counts them.
    assert!(lab.sent[30..].iter().all(|sent| sent.result_at.is_some()));
    lab.close_and_check_books();
}

/// Changes one bit of MESSAGE-INTEGRITY, whose 20 bytes are followed by the 8 of FINGERPRINT.
fn spoil_integrity(data: &mut [u8]) {
    if let Some(at) = data.len().checked_sub(12) {
        data[at] ^= 1;
    }
}

#[test]
fn a_crash_costs_half_a_second_of_results_at_most() {
    let mut lab = Lab::connected(13, weather());
    lab.run(2 * SECOND);
    lab.kill_engine();
    let (crash, before) = (lab.now.instant, lab.sent.len());
    lab.run_until(SECOND / 2, |lab| lab.sent[before..].iter().any(|sent| sent.result_at.is_some()));
    lab.run(3 * SECOND);
    lab.settle();
    assert_eq!(lab.engines_launched, 2);
    assert!(lab.notices.iter().any(|kind| kind == "engine_crashed"));
    for sent in &lab.sent {
        assert_eq!(sent.outcomes.len(), 1, "frame {}", sent.number);
        let near = sent.at + 2 * INTERVAL + 50 * MS >= crash && sent.at <= crash + SECOND / 2;
        assert!(sent.result_at.is_some() || near, "frame {} has {:?}", sent.number, sent.outcomes);
    }
    lab.close_and_check_books();
}

#[test]
fn sessions_connect_whatever_the_network_reorders() {
    for seed in 20..30 {
        let mut lab = Lab::new(seed);
        lab.network.weather = Weather { delay: 10 * MS, jitter: 40 * MS, duplicate_percent: 20, ..Weather::default() };
        lab.run_until(8 * SECOND, |lab| lab.sent.iter().any(|sent| sent.result_at.is_some()));
    }
}

#[test]
fn values_and_state_survive_the_engines() {
    let mut lab = Lab::connected(20, weather());
    lab.run_until(SECOND, |lab| !lab.told("processors").is_empty());
    assert_eq!(lab.told("processors")[0]["processors"][0]["params"][0]["value"], 0.5);
    lab.say(r#"{"v":1,"type":"params","id":"a","data":{"values":{"threshold":0.25}}}"#);
    lab.say(r#"{"v":1,"type":"params","id":"b","data":{"values":{"threshold":7}}}"#);
    lab.run_until(SECOND, |lab| lab.told("params").len() == 2);
    let answers: Vec<_> = lab.control.iter().filter(|message| message["type"] == "params").collect();
    assert_eq!(answers[0]["id"], "a");
    let taken = serde_json::json!([{"processor": "fake", "id": "threshold", "value": 0.25}]);
    assert_eq!(answers[0]["data"]["values"], taken);
    assert_eq!(answers[1]["id"], "b");
    assert_eq!(answers[1]["data"]["refused"][0]["text"], "`threshold` is 7; it takes 0 to 1");
    for engine in 2..=4 {
        lab.run(2 * SECOND);
        let seen = lab.last_result["data"]["seen"].as_u64().unwrap();
        lab.kill_engine();
        lab.run_until(2 * SECOND, |lab| lab.told("processors").len() == engine);
        assert_eq!(lab.told("processors")[engine - 1]["processors"][0]["params"][0]["value"], 0.25);
        let results = lab.last_result["seq"].clone();
        lab.run_until(2 * SECOND, |lab| lab.last_result["seq"] != results);
        assert_eq!(lab.last_result["data"]["threshold"], 0.25);
        assert!(lab.last_result["data"]["seen"].as_u64().unwrap() > seen);
    }
    lab.close_and_check_books();
}

#[test]
fn a_page_and_a_processor_talk() {
    let mut lab = Lab::connected(21, weather());
    for text in [r#"{"deep":[{"x":1.5}]}"#, "[]", "null", "\"\u{1f600}\""] {
        let before = lab.told("message").len();
        lab.say(&format!(r#"{{"v":1,"type":"message","data":{{"message":{text}}}}}"#));
        lab.run_until(SECOND, |lab| lab.told("message").len() > before);
        let said = lab.told("message")[before];
        assert_eq!(said["processor"], "fake");
        assert_eq!(said["data"], serde_json::from_str::<serde_json::Value>(text).unwrap());
    }
    lab.close_and_check_books();
}

#[test]
fn a_page_that_floods_hurts_only_its_own_form() {
    let mut lab = Lab::connected(22, weather());
    let large = format!(r#"{{"v":1,"type":"params","data":{{"values":{{"threshold":"{}"}}}}}}"#, "x".repeat(8000));
    for step in 0..2000 {
        let text = match step % 4 {
            0 => r#"{"v":1,"type":"params","id":1,"data":{"values":{"threshold":0.1}}}"#,
            1 => &large,
            2 => r#"{"v":1,"type":"message","data":{"message":[1,2,3]}}"#,
            _ => r#"{"v":1,"type":"params","data":{"values":{"a":1,"b":{},"c":[]},"processor":"x"}}"#,
        };
        // A full channel is the page's own affair.
        let _ = lab.peer.as_mut().unwrap().send_control(lab.now.instant, text);
        lab.empty_browser();
        lab.run(5 * MS);
    }
    lab.run(5 * SECOND);
    lab.settle();
    assert_eq!(lab.ok_percent_from(FIRST_FRAMES), 100.0);
    lab.close_and_check_books();
}
