//! The JSON of `framegate.result.v1` and of outcome counts.

use std::fmt::Write;

use framegate_wire::{Counts, Detection, DropReason, Outcome, ResultHeader, SkipReason, Status};

use crate::ledger::{Entry, Missed};

/// The part of a result that never changes: everything but `timing.total`, the counts and the missed frames. To be
/// completed by [`finish_result`].
///
/// `data` is JSON already checked. `stream` and `processor` are free of characters JSON escapes; `processor` is the names
/// of a chain's processors joined by `+`, as [`unique_names`](crate::schema::unique_names) makes them.
#[must_use]
pub fn result_body(stream: &str, processor: &str, entry: &Entry, header: &ResultHeader, data: &str) -> String {
    let mut out = result_facts(stream, processor, entry, header, data);
    write_timing(&mut out, processor, entry, header);
    out
}

/// The part of a result that is the same each time the same frame is processed: [`result_body`] without times.
#[must_use]
pub fn result_facts(stream: &str, processor: &str, entry: &Entry, header: &ResultHeader, data: &str) -> String {
    let mut out = String::with_capacity(384 + data.len() + header.detections.len() * 96);
    let capture = entry.capture_us.map_or_else(|| "null".to_owned(), |us| us.to_string());
    // Writing to a String cannot fail, so the results of `write!` carry nothing.
    let _ = write!(
        out,
        r#"{{"v":1,"stream":"{stream}","seq":{},"epoch":{},"rtp":{},"capture_us":{capture},"size":[{},{}],"processor":"{processor}""#,
        entry.seq.0, entry.epoch.0, entry.rtp, header.width, header.height
    );
    match &header.status {
        Status::Ok => out.push_str(r#","status":"ok""#),
        Status::Error { code, text } => {
            let error = serde_json::json!({ "code": code, "text": text });
            let _ = write!(out, r#","status":"error","error":{error}"#);
        }
    }
    let _ = write!(out, r#","dropped":{},"detections":["#, header.dropped_before);
    for (index, detection) in header.detections.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_detection(&mut out, detection);
    }
    let data = if data.is_empty() { "null" } else { data };
    let _ = write!(out, r#"],"data":{data}"#);
    out
}

fn write_timing(out: &mut String, processor: &str, entry: &Entry, header: &ResultHeader) {
    let timing = &header.timing;
    let _ = write!(
        out,
        r#","timing":{{"assemble":{},"queue":{},"decode":{},"wait":{},"convert":{},"process":{}"#,
        entry.assembled_ns.saturating_sub(entry.received_ns) / 1000,
        timing.queue_us,
        timing.decode_us,
        timing.wait_us,
        timing.convert_us,
        timing.process_us
    );
    if !header.processors_us.is_empty() {
        out.push_str(r#","processors":{"#);
        for (index, (name, took_us)) in processor.split('+').zip(&header.processors_us).enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(out, r#"{comma}"{name}":{took_us}"#);
        }
        out.push('}');
    }
}

/// Completes a [`result_body`] at the moment it is handed over.
pub fn finish_result(
    body: &mut String,
    total_us: u64,
    received: u64,
    counts: &Counts,
    undelivered: u64,
    missed: &[Missed],
) {
    let _ = write!(body, r#","total":{total_us}}},"#);
    write_counts_and_missed(body, received, counts, undelivered, missed);
    body.push('}');
}

/// Completes [`result_facts`] without times.
pub fn finish_facts(facts: &mut String, received: u64, counts: &Counts, missed: &[Missed]) {
    facts.push(',');
    write_counts_and_missed(facts, received, counts, 0, missed);
    facts.push('}');
}

/// `{"counts":…,"missed":…}`, the data of a `counts` control message.
#[must_use]
pub fn counts_data(received: u64, counts: &Counts, undelivered: u64, missed: &[Missed]) -> String {
    let mut out = String::from("{");
    write_counts_and_missed(&mut out, received, counts, undelivered, missed);
    out.push('}');
    out
}

/// `{"counts":…}`, the data of the summary and the answer to `DELETE`.
#[must_use]
pub fn summary_data(received: u64, counts: &Counts, undelivered: u64) -> String {
    let mut out = String::from("{");
    write_counts(&mut out, received, counts, undelivered);
    out.push('}');
    out
}

fn write_detection(out: &mut String, detection: &Detection) {
    let label = serde_json::Value::from(detection.label.as_str());
    let [x, y, w, h] = detection.bbox;
    let _ = write!(out, r#"{{"label":{label},"score":{:.4},"box":[{x:.4},{y:.4},{w:.4},{h:.4}]"#, detection.score);
    if detection.track != 0 {
        let _ = write!(out, r#","track":{}"#, detection.track);
    }
    if !detection.keypoints.is_empty() {
        out.push_str(r#","keypoints":["#);
        for (index, [x, y, score]) in detection.keypoints.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(out, "{comma}[{x:.4},{y:.4},{score:.4}]");
        }
        out.push(']');
        if detection.is_outline {
            out.push_str(r#","outline":true"#);
        }
    }
    out.push('}');
}

fn write_counts_and_missed(out: &mut String, received: u64, counts: &Counts, undelivered: u64, missed: &[Missed]) {
    write_counts(out, received, counts, undelivered);
    out.push_str(r#","missed":["#);
    for (index, frame) in missed.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let (outcome, reason) = match frame.outcome {
            Outcome::Skipped(reason) => ("skipped", reason.as_str()),
            Outcome::Dropped(reason) => ("dropped", reason.as_str()),
            Outcome::Ok | Outcome::Error => continue,
        };
        let _ = write!(
            out,
            r#"{comma}{{"seq":{},"rtp":{},"outcome":"{outcome}","reason":"{reason}"}}"#,
            frame.seq.0, frame.rtp
        );
    }
    out.push(']');
}

fn write_counts(out: &mut String, received: u64, counts: &Counts, undelivered: u64) {
    let _ = write!(out, r#""counts":{{"received":{received},"ok":{},"error":{},"skipped":"#, counts.ok, counts.error);
    write_reasons(out, SkipReason::ALL.iter().map(|reason| reason.as_str()).zip(counts.skipped));
    out.push_str(r#","dropped":"#);
    write_reasons(out, DropReason::ALL.iter().map(|reason| reason.as_str()).zip(counts.dropped));
    let _ = write!(out, r#","undelivered":{undelivered}}}"#);
}

fn write_reasons<'a>(out: &mut String, reasons: impl Iterator<Item = (&'a str, u64)>) {
    out.push('{');
    let mut comma = "";
    for (reason, count) in reasons.filter(|(_, count)| *count > 0) {
        let _ = write!(out, r#"{comma}"{reason}":{count}"#);
        comma = ",";
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use framegate_wire::{Epoch, Seq, Timing};

    use super::*;

    fn entry() -> Entry {
        Entry {
            seq: Seq(412),
            epoch: Epoch(1),
            rtp: 3_217_533_095,
            capture_us: Some(1_795_333_940_123_456),
            received_ns: 1_000_000,
            assembled_ns: 1_210_000,
        }
    }

    #[test]
    fn a_chain_tells_the_time_of_each() {
        let header = ResultHeader {
            seq: Seq(412),
            status: Status::Ok,
            width: 640,
            height: 480,
            dropped_before: 0,
            timing: Timing::default(),
            processors_us: vec![7, 9],
            detections: Vec::new(),
        };
        let mut text = result_body("s-1", "edges+edges-2+faces", &entry(), &header, "");
        finish_result(&mut text, 1490, 1, &Counts::default(), 0, &[]);
        let value: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
        assert_eq!(value["processor"], "edges+edges-2+faces");
        assert_eq!(value["timing"]["processors"], serde_json::json!({"edges": 7, "edges-2": 9}));
        assert_eq!(value["timing"]["total"], 1490);
    }

    #[test]
    fn a_result_is_json_as_documented() {
        let entry = entry();
        let header = ResultHeader {
            seq: Seq(412),
            status: Status::Error { code: "processor".into(), text: "a \"quoted\" text".into() },
            width: 640,
            height: 480,
            dropped_before: 2,
            timing: Timing { queue_us: 40, decode_us: 910, wait_us: 3, convert_us: 95, process_us: 180 },
            processors_us: Vec::new(),
            detections: vec![Detection {
                label: "<b>\"x\"</b>".into(),
                score: 0.5,
                bbox: [0.1, 0.2, 0.3, 0.4],
                track: 7,
                keypoints: vec![[0.1, 0.2, 1.0], [0.3, 0.4, 0.5]],
                is_outline: true,
            }],
        };
        let mut counts = Counts::default();
        counts.add(Outcome::Ok);
        counts.add(Outcome::Skipped(SkipReason::Newer));
        let missed = [Missed { seq: Seq(411), rtp: 5, outcome: Outcome::Skipped(SkipReason::Newer) }];
        let mut text = result_body("s-1", "motion", &entry, &header, r#"{"mean":1.5}"#);
        finish_result(&mut text, 1490, 412, &counts, 3, &missed);
        let value: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
        let expected = serde_json::json!({
            "v": 1, "stream": "s-1", "seq": 412, "epoch": 1, "rtp": 3_217_533_095_u32,
            "capture_us": 1_795_333_940_123_456_i64, "size": [640, 480], "processor": "motion", "status": "error",
            "error": {"code": "processor", "text": "a \"quoted\" text"}, "dropped": 2,
            "detections": [{"label": "<b>\"x\"</b>", "score": 0.5, "box": [0.1, 0.2, 0.3, 0.4], "track": 7,
                "keypoints": [[0.1, 0.2, 1.0], [0.3, 0.4, 0.5]], "outline": true}],
            "data": {"mean": 1.5},
            "timing": {"assemble": 210, "queue": 40, "decode": 910, "wait": 3, "convert": 95, "process": 180, "total": 1490},
            "counts": {"received": 412, "ok": 1, "error": 0, "skipped": {"newer": 1}, "dropped": {}, "undelivered": 3},
            "missed": [{"seq": 411, "rtp": 5, "outcome": "skipped", "reason": "newer"}],
        });
        assert_eq!(value, expected);
    }
}
