//! Parameters, messages, states and pictures over several engines of one stream.

use framegate_wire::{NamedValue, Param, RefusedValue, SavedState, View};
use serde_json::{Value, json};

use super::*;
use crate::limits::PARAMS_PER_SECOND_MAX;
use crate::schema::tests::{float, info};

/// A runner whose engine has these processors.
fn with(names: &[&str]) -> (Runner, Now) {
    let (mut runner, now) = start();
    heard(&mut runner);
    be_ready(&mut runner, now, names);
    (runner, now)
}

fn be_ready(runner: &mut Runner, now: Now, names: &[&str]) {
    let params = || vec![float("threshold", 0.5), float("gain", 0.1)];
    let infos: Vec<_> = names.iter().map(|name| info(name, params())).collect();
    say(runner, now, &FromEngine::Ready(infos)).expect("ready");
}

/// Takes what was written for the engine.
fn heard(runner: &mut Runner) -> Vec<(ToEngine, Vec<u8>)> {
    let mut reader = frame::Reader::default();
    while !runner.to_engine().is_empty() {
        let bytes = runner.to_engine().to_vec();
        runner.written(bytes.len());
        reader.extend(&bytes);
    }
    let mut messages = Vec::new();
    while let Some((message, payload)) = reader.next_message().expect("readable") {
        messages.push((message, payload.to_vec()));
    }
    messages
}

fn say_with(runner: &mut Runner, now: Now, message: &FromEngine, payload: &[u8]) -> Result<(), EngineError> {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, message, payload).expect("framed");
    runner.from_engine(now, &bytes)
}

/// Takes the control messages of a type.
fn told(runner: &mut Runner, kind: &str) -> Vec<Value> {
    let mut all = Vec::new();
    while let Some(text) = runner.control().front() {
        let message: Value = serde_json::from_str(text).expect("JSON");
        all.extend((message["type"] == kind).then_some(message));
        runner.control().pop();
    }
    all
}

fn wish(values: &[(&str, &str)]) -> ParamsRequest {
    let values = values.iter().map(|(id, json)| ((*id).to_owned(), (*json).to_owned())).collect();
    ParamsRequest { id: Some(json!(7)), processor: None, values }
}

fn value(processor: u32, id: &str, json: &str) -> NamedValue {
    NamedValue { processor, id: id.to_owned(), json: json.to_owned() }
}

/// Lets the next engine start and gives its first message.
fn next_engine(runner: &mut Runner, now: &mut Now) -> (Open, Vec<u8>) {
    let action = loop {
        match runner.poll_engine(*now) {
            Some(action) => break action,
            None => {
                let until = runner.deadline().expect("a start");
                *now = now.after(until.saturating_duration_since(now.instant));
            }
        }
    };
    assert!(matches!(action, EngineAction::Launch(_)), "{action:?}");
    let (message, payload) = heard(runner).remove(0);
    let ToEngine::Open(open) = message else { panic!("{message:?}") };
    (open, payload)
}

#[test]
fn accepted_values_survive_the_engine() {
    let (mut runner, mut now) = with(&["a", "b"]);
    let shown = told(&mut runner, "processors");
    assert_eq!(shown[0]["data"]["processors"][1]["params"][0]["id"], "threshold");
    runner.set_params(now, wish(&[("threshold", "0.25"), ("gain", "7")]));
    let (message, _) = heard(&mut runner).remove(0);
    let ToEngine::SetParams { id, values } = message else { panic!("{message:?}") };
    assert_eq!(values, [value(0, "threshold", "0.25"), value(0, "gain", "7")]);
    let refused = vec![RefusedValue { processor: 0, id: "gain".to_owned(), text: "it takes 0 to 1".to_owned() }];
    let values = vec![value(0, "threshold", "0.25")];
    say(&mut runner, now, &FromEngine::Params { id, values: values.clone(), refused }).expect("taken");
    let answers = told(&mut runner, "params");
    let expected = json!({"v": 1, "type": "params", "id": 7, "data": {
        "values": [{"processor": "a", "id": "threshold", "value": 0.25}],
        "refused": [{"processor": "a", "id": "gain", "text": "it takes 0 to 1"}]}});
    assert_eq!(answers, [expected]);
    for engine in 1..=3 {
        runner.engine_gone(now, engine);
        let (open, _) = next_engine(&mut runner, &mut now);
        assert_eq!(open.params, values, "engine {}", engine + 1);
        be_ready(&mut runner, now, &["a", "b"]);
    }
}

#[test]
fn a_wish_made_while_no_engine_runs_waits_for_the_next() {
    let (mut runner, mut now) = with(&["a"]);
    runner.set_params(now, wish(&[("threshold", "0.1")]));
    runner.engine_gone(now, 1);
    let lost = told(&mut runner, "params");
    assert_eq!(lost[0]["data"]["refused"][0]["text"], "the engine ended before it took this value");
    runner.set_params(now, wish(&[("threshold", "0.2")]));
    let (open, _) = next_engine(&mut runner, &mut now);
    // It begins with the value, in case the one before was what killed it, and answers the wish once it can.
    assert_eq!(open.params, [value(0, "threshold", "0.2")]);
    be_ready(&mut runner, now, &["a"]);
    let (message, _) = heard(&mut runner).remove(0);
    let ToEngine::SetParams { id, values } = message else { panic!("{message:?}") };
    say(&mut runner, now, &FromEngine::Params { id, values, refused: Vec::new() }).expect("taken");
    assert_eq!(told(&mut runner, "params")[0]["data"]["values"][0]["value"], 0.2);
}

#[test]
fn wishes_without_sense_never_reach_an_engine() {
    let (mut runner, now) = with(&["a"]);
    told(&mut runner, "");
    let mut check = |wish: ParamsRequest, expected: &str| {
        runner.set_params(now, wish);
        let answer = told(&mut runner, "params").remove(0);
        let text = answer["data"]["refused"][0]["text"].as_str().expect("a text").to_owned();
        assert!(text.contains(expected), "{text}");
        assert_eq!(answer["id"], 7);
        assert!(heard(&mut runner).is_empty());
    };
    check(wish(&[("nothing", "1")]), "no parameter of this id");
    check(wish(&[("threshold", "{}")]), "true, false, a number or a text");
    check(wish(&[("threshold", "null")]), "true, false, a number or a text");
    check(wish(&[("threshold", &format!("\"{}\"", "x".repeat(20_000)))]), "at most");
    check(ParamsRequest { processor: Some("b".to_owned()), ..wish(&[("threshold", "1")]) }, "no processor `b`");
    check(wish(&[("threshold", "1"); 65]), "at most 64");
}

#[test]
fn a_flood_of_wishes_is_bounded_and_answered() {
    let (mut runner, now) = with(&["a"]);
    told(&mut runner, "");
    let (mut answered, mut waiting) = (0, 0);
    for step in 0..1000_usize {
        runner.set_params(now.after(Duration::from_millis(step as u64)), wish(&[("threshold", "0.1")]));
        answered += told(&mut runner, "params").len();
        waiting = 1 + step - answered;
        assert!(waiting <= PARAMS_PER_SECOND_MAX as usize);
    }
    assert_eq!(waiting, PARAMS_PER_SECOND_MAX as usize);
    assert_eq!(heard(&mut runner).len(), waiting);
    assert_eq!(runner.page_refusals(), 1000 - waiting as u64);
}

#[test]
fn news_of_parameters_are_told_without_a_number() {
    let (mut runner, now) = with(&["a"]);
    told(&mut runner, "");
    let news = FromEngine::Params { id: 0, values: vec![value(0, "gain", "0.75")], refused: Vec::new() };
    for _ in 0..1000 {
        say(&mut runner, now, &news).expect("said");
        runner.engine_waited(now, None);
    }
    let heard = told(&mut runner, "params");
    assert!(!heard.is_empty() && heard.len() <= PARAMS_PER_SECOND_MAX as usize);
    assert_eq!(heard[0].get("id"), None);
}

#[test]
fn answers_no_host_gives_end_the_engine() {
    let refused = |id: &str| vec![RefusedValue { processor: 0, id: id.to_owned(), text: String::new() }];
    let check = |values: Vec<NamedValue>, refused: Vec<RefusedValue>| {
        let (mut runner, now) = with(&["a"]);
        let said = say(&mut runner, now, &FromEngine::Params { id: 0, values, refused });
        assert!(matches!(said, Err(EngineError::Page(_))), "{said:?}");
    };
    check(vec![value(1, "gain", "1")], Vec::new());
    check(vec![value(u32::MAX, "gain", "1")], Vec::new());
    check(vec![value(0, "nothing", "1")], Vec::new());
    check(vec![value(0, "gain", "1}")], Vec::new());
    check(vec![value(0, "gain", "{\"x\":1}")], Vec::new());
    check(vec![value(0, "gain", "1"); 65], Vec::new());
    check(Vec::new(), refused("nothing"));
    check(Vec::new(), refused("\"}"));
}

#[test]
fn an_answer_fits_one_message() {
    let (mut runner, now) = with(&["a"]);
    runner.set_params(now, wish(&[("threshold", "0.7")]));
    let long = RefusedValue { processor: 0, id: "threshold".to_owned(), text: "\u{1}".repeat(256) };
    let answer = FromEngine::Params { id: 1, values: vec![value(0, "threshold", "0.7")], refused: vec![long; 64] };
    say(&mut runner, now, &answer).expect("an engine's own limits are lower in number");
    let mut longest = 0;
    while let Some(text) = runner.control().front() {
        longest = longest.max(text.len());
        runner.control().pop();
    }
    let range = crate::limits::MESSAGE_BYTES_MAX / 2..=crate::limits::MESSAGE_BYTES_MAX;
    assert!(range.contains(&longest), "{longest} bytes");
}

#[test]
fn an_engine_is_ready_once() {
    let (mut runner, now) = with(&["a"]);
    let again = say(&mut runner, now, &FromEngine::Ready(vec![info("b", Vec::new())]));
    assert!(matches!(again, Err(EngineError::Page(_))), "{again:?}");
}

#[test]
fn hostile_infos_end_the_engine_or_are_cut() {
    let (mut runner, now) = start();
    let bad = FromEngine::Ready(vec![info("\"}],\"evil\":[{", Vec::new())]);
    assert!(matches!(say(&mut runner, now, &bad), Err(EngineError::Page(_))));
    let (mut runner, now) = start();
    let params: Vec<Param> = (0..200).map(|number| float(&format!("p{number}"), 0.5)).collect();
    say(&mut runner, now, &FromEngine::Ready(vec![info("a", params); 9])).expect("cut");
    let shown = told(&mut runner, "processors").remove(0);
    let list = shown["data"]["processors"].as_array().expect("a list");
    assert_eq!(list.len(), limits::PROCESSORS_MAX);
    assert_eq!(list[0]["params"].as_array().map(Vec::len), Some(limits::PARAMS_MAX));
    assert_eq!(list[7]["name"], "a-8");
}

#[test]
fn messages_go_both_ways() {
    let (mut runner, now) = with(&["a", "b"]);
    told(&mut runner, "");
    runner.tell_processor(now, None, r#"{"x": 1.0}"#);
    runner.tell_processor(now, Some("b"), "[]");
    let all = heard(&mut runner);
    assert_eq!(all[0], (ToEngine::Message { processor: 0 }, br#"{"x": 1.0}"#.to_vec()));
    assert_eq!(all[1].0, ToEngine::Message { processor: 1 });
    say_with(&mut runner, now, &FromEngine::Message { processor: 1 }, br#"{"y":[1,2]}"#).expect("said");
    let data = told(&mut runner, "message").remove(0)["data"].clone();
    assert_eq!(data, json!({"processor": "b", "data": {"y": [1, 2]}}));
    runner.tell_processor(now, Some("nobody"), "1");
    assert!(told(&mut runner, "log")[0]["data"]["text"].as_str().is_some_and(|text| text.contains("no processor")));
    runner.engine_gone(now, 1);
    runner.tell_processor(now, None, "1");
    assert!(told(&mut runner, "log")[0]["data"]["text"].as_str().is_some_and(|text| text.contains("no engine runs")));
}

#[test]
fn messages_of_both_sides_are_few_and_small() {
    let (mut runner, now) = with(&["a"]);
    let mut said = 0;
    for _ in 0..1000 {
        say_with(&mut runner, now, &FromEngine::Message { processor: 0 }, b"1").expect("said");
        said += told(&mut runner, "message").len();
        runner.tell_processor(now, None, "1");
    }
    assert_eq!(said, limits::MESSAGES_PER_SECOND_MAX as usize);
    assert_eq!(heard(&mut runner).len(), crate::limits::PAGE_MESSAGES_PER_SECOND_MAX as usize);
    for (processor, payload) in [(0, &b"{"[..]), (0, b""), (0, b"\xff"), (9, b"1"), (0, &[b' '; 20_000])] {
        let message = FromEngine::Message { processor };
        let later = now.after(Duration::from_secs(2));
        assert!(matches!(say_with(&mut runner, later, &message, payload), Err(EngineError::Page(_))));
    }
}

fn state(name: &str) -> Vec<u8> {
    let saved = SavedState { processor: 0, name: name.to_owned(), version: 3, bytes: vec![9; 100] };
    postcard::to_stdvec(&vec![saved]).expect("encoded")
}

#[test]
fn the_newest_state_is_given_to_the_next_engine() {
    let (mut runner, mut now) = with(&["a"]);
    let newest = state("a");
    say_with(&mut runner, now, &FromEngine::State, b"an older one").expect("kept");
    say_with(&mut runner, now, &FromEngine::State, &newest).expect("kept");
    runner.engine_gone(now, 1);
    assert_eq!(next_engine(&mut runner, &mut now).1, newest);
    // It may have died of anything; two that die at once have died of the state.
    runner.engine_gone(now, 2);
    assert_eq!(next_engine(&mut runner, &mut now).1, newest);
    runner.engine_gone(now, 3);
    assert_eq!(next_engine(&mut runner, &mut now).1, b"");
}

#[test]
fn states_that_cannot_be_right_are_given_to_nobody() {
    for bad in [state("another"), b"\xff\xff\xff\xff\xff\xff".to_vec(), vec![0; limits::PAYLOAD_BYTES_MAX]] {
        let (mut runner, mut now) = with(&["a"]);
        say_with(&mut runner, now, &FromEngine::State, &bad).expect("kept for now");
        runner.engine_gone(now, 1);
        let given = next_engine(&mut runner, &mut now).1;
        assert!(given.len() < 10 && given != bad, "{} bytes", given.len());
    }
}

#[test]
fn one_picture_is_for_all_who_ask() {
    let (mut runner, mut now) = with(&["a"]);
    runner.want_snapshot(View::Source);
    runner.want_snapshot(View::Source);
    let asked = heard(&mut runner);
    assert_eq!(asked.len(), 1);
    runner.engine_gone(now, 1);
    next_engine(&mut runner, &mut now);
    be_ready(&mut runner, now, &["a"]);
    assert_eq!(heard(&mut runner), asked, "the next engine is asked again");
    let ToEngine::Snapshot { id, .. } = asked[0].0 else { panic!("{asked:?}") };
    let answer = FromEngine::Snapshot { id, seq: Seq(5) };
    assert!(say_with(&mut runner, now, &answer, b"<html>").is_err());
    let jpeg = b"\xff\xd8\xff\xe0 a picture \xff\xd9".to_vec();
    say_with(&mut runner, now, &answer, &jpeg).expect("taken");
    say_with(&mut runner, now, &answer, &jpeg).expect("ignored");
    assert_eq!(runner.take_snapshot(), Some(Snapshot { view: View::Source, seq: Seq(5), jpeg }));
    assert_eq!(runner.take_snapshot(), None);
}

#[test]
fn returned_pictures_are_announced_once() {
    let (mut runner, now) = with(&["a"]);
    for _ in 0..10 {
        say(&mut runner, now, &FromEngine::ReturnsImage).expect("said");
    }
    assert_eq!(told(&mut runner, "image").len(), 1);
    assert!(runner.returns_image());
}

#[test]
fn times_of_processors_come_out_one_by_one() {
    let (mut runner, now) = with(&["a", "b"]);
    frame(&mut runner, now, true);
    let header = ResultHeader { processors_us: vec![3, 4], ..result(1) };
    say(&mut runner, now, &FromEngine::Result(header)).expect("taken");
    assert_eq!(runner.take_times().collect::<Vec<_>>(), [(0, 3), (1, 4)]);
    let text = runner.take_result(now).expect("a result");
    let result: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(result["timing"]["processors"], json!({"a": 3, "b": 4}));
    assert_eq!(result["processor"], "a+b");
}
