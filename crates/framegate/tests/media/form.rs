//! What a page and a processor have to say to each other while video runs, and single pictures over HTTP.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::{FRAMECODE, Fetched, Lab, Recipe, fetch};
use crate::visitor::Visitor;

/// One parameter of each kind; echoes messages; gives pictures.
const PARAMS: Recipe<'static> = ("params", "testdata/processors/params.c", &[]);

/// The answer with this id.
fn answer<'a>(visitor: &'a Visitor, id: &str) -> Option<&'a Value> {
    visitor.control.iter().find(|message| message["type"] == "params" && message["id"] == id)
}

/// Asks for a picture while the visitor goes on sending.
fn picture(lab: &Lab, visitor: &mut Visitor, path: &str) -> Fetched {
    let (port, path) = (lab.port, path.to_owned());
    let asked = thread::spawn(move || fetch(port, "GET", &path, ""));
    while !asked.is_finished() {
        visitor.stay(Duration::from_millis(10));
    }
    asked.join().unwrap()
}

#[test]
fn values_are_taken_live_and_survive_a_crash() {
    let lab = Lab::start(&[FRAMECODE, PARAMS]);
    let mut visitor = Visitor::begin(&lab, "params");
    let form = visitor.said("processors").next().unwrap()["processors"][0].clone();
    assert_eq!((&form["name"], &form["takes_messages"]), (&json!("params"), &json!(true)));
    let kinds: BTreeSet<_> = form["params"].as_array().unwrap().iter().map(|of| of["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["bool", "choice", "color", "float", "int", "text"]));

    visitor.say(r##"{"v":1,"type":"params","id":"a","data":{"values":{"threshold":0.75,"colour":"#00ff80","count":99,"title":"ä"}}}"##);
    visitor.until("the answer", |visitor| answer(visitor, "a").is_some());
    let data = &answer(&visitor, "a").unwrap()["data"];
    let refused: BTreeSet<_> =
        data["refused"].as_array().unwrap().iter().map(|of| of["id"].as_str().unwrap()).collect();
    assert_eq!(refused, BTreeSet::from(["count", "title"]), "{data}");
    let value =
        |id: &str| data["values"].as_array().unwrap().iter().find(|of| of["id"] == id).unwrap()["value"].clone();
    assert_eq!((value("threshold"), value("colour")), (json!(0.75), json!("#00ff80")));
    // What is in force instead of a refused value is said, too.
    assert_eq!(value("count"), 3);
    let is_set = |result: &Value| {
        let data = &result["data"];
        data["threshold"] == 0.75 && data["colour"] == "#00ff80" && data["count"] == 3 && data["title"] == "hello"
    };
    visitor.until("a result with them", |visitor| visitor.results.last().is_some_and(is_set));

    let begun = visitor.said("processors").count();
    for pid in lab.engines() {
        // The pipeline's own nursery is among them; without it, a new one is started.
        Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    }
    visitor.until("the next engine", |visitor| visitor.said("processors").count() > begun);
    let form = visitor.said("processors").last().unwrap()["processors"][0]["params"].clone();
    let threshold = form.as_array().unwrap().iter().find(|of| of["id"] == "threshold").unwrap();
    assert_eq!((&threshold["value"], &threshold["default"]), (&json!(0.75), &json!(0.5)));
    let results = visitor.results.len();
    visitor.until("its results", |visitor| visitor.results.len() > results);
    assert!(visitor.results[results..].iter().all(is_set), "every frame of the new engine has the values");
    visitor.leave();
}

#[test]
fn messages_come_back_as_they_were_sent() {
    let lab = Lab::start(&[PARAMS]);
    let mut visitor = Visitor::begin(&lab, "params");
    for message in [json!({"a": [1, 2.5, null]}), json!("\u{1f600} <b>"), json!(0)] {
        let count = visitor.said("message").count();
        visitor.say(&json!({"v": 1, "type": "message", "data": {"message": message}}).to_string());
        visitor.until("its echo", |visitor| visitor.said("message").count() > count);
        assert_eq!(visitor.said("message").last(), Some(&json!({"processor": "params", "data": message})));
    }
    visitor.say(r#"{"v":1,"type":"message","data":{"processor":"nobody","message":1}}"#);
    visitor.until("the log", |visitor| {
        visitor.said("log").any(|line| line["text"].as_str().unwrap().contains("no processor `nobody`"))
    });
    visitor.leave();
}

#[test]
fn pictures_of_a_stream_are_there_while_it_sends() {
    let lab = Lab::start(&[PARAMS, FRAMECODE]);
    let mut plain = Visitor::begin(&lab, "framecode?stream=plain");
    let source = picture(&lab, &mut plain, "/v1/streams/plain/snapshot.jpg");
    assert_eq!((source.status, source.header("content-type")), (200, Some("image/jpeg")));
    assert!(source.body.starts_with(&[0xff, 0xd8, 0xff]) && source.body.ends_with(&[0xff, 0xd9]));
    let seq: u64 = source.header("framegate-seq").unwrap().parse().unwrap();
    assert!(seq >= 1);
    let problem = |fetched: &Fetched| serde_json::from_slice::<Value>(&fetched.body).unwrap()["code"].clone();
    let processed = picture(&lab, &mut plain, "/v1/streams/plain/snapshot.jpg?view=processed");
    assert_eq!((processed.status, problem(&processed)), (404, json!("FG-2007")));
    let strange = picture(&lab, &mut plain, "/v1/streams/plain/snapshot.jpg?view=x");
    assert_eq!((strange.status, problem(&strange)), (400, json!("FG-2009")));
    let unknown = fetch(lab.port, "GET", "/v1/streams/nobody/snapshot.jpg", "");
    assert_eq!((unknown.status, problem(&unknown)), (404, json!("FG-2006")));

    let mut drawn = Visitor::begin(&lab, "params?stream=drawn");
    drawn.until("the announcement", |visitor| visitor.said("image").next().is_some());
    let asks: Vec<_> = (0..8)
        .map(|_| {
            let port = lab.port;
            thread::spawn(move || fetch(port, "GET", "/v1/streams/drawn/snapshot.jpg", ""))
        })
        .collect();
    while !asks.iter().all(thread::JoinHandle::is_finished) {
        drawn.stay(Duration::from_millis(10));
    }
    let pictures: Vec<_> = asks.into_iter().map(|ask| ask.join().unwrap()).collect();
    assert!(pictures.iter().all(|picture| picture.status == 200 && !picture.body.is_empty()));

    let cost = fetch(lab.port, "GET", "/v1/processors", "");
    let listed: Value = serde_json::from_slice(&cost.body).unwrap();
    let of =
        |name: &str| listed["processors"].as_array().unwrap().iter().find(|of| of["name"] == name).unwrap().clone();
    assert!(of("framecode")["cost"]["frames"].as_u64().unwrap() > 0, "{listed}");
    assert!(of("params")["cost"]["p50_us"].as_u64() <= of("params")["cost"]["p95_us"].as_u64());
    assert_eq!(of("params")["sandbox"]["mode"], "enforce");
    assert_eq!(of("params")["params"].as_array().unwrap().len(), 7);

    // Nobody sends any more: there is no next frame.
    drawn.leave();
    drop(plain);
    let none = fetch(lab.port, "GET", "/v1/streams/plain/snapshot.jpg", "");
    assert_eq!((none.status, problem(&none)), (504, json!("FG-2008")));
}
