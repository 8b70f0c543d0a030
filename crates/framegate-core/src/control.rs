//! Messages of `framegate.control.v1`: what is said to the page besides results, and what it says.

use std::collections::VecDeque;

use framegate_wire::{LogLevel, Seq};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::limits::{CONTROL_BYTES_MAX, CONTROL_QUEUED_BYTES_MAX, CONTROL_QUEUED_MAX};

/// Something that happened, for the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What.
    pub kind: NoticeKind,
    /// For people.
    pub text: String,
    /// Frame it concerns.
    pub seq: Option<Seq>,
    /// Name of the signal that ended the engine.
    pub signal: Option<String>,
    /// Engines started anew so far.
    pub restarts: Option<u64>,
}

/// Kinds of [`Notice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// An engine is being forked.
    EngineStarting,
    /// The processor instance exists.
    EngineReady,
    /// The engine died.
    EngineCrashed,
    /// The engine was killed for making no progress.
    EngineHung,
    /// The next start is delayed.
    EngineBackoff,
    /// No more starts for a while.
    CircuitOpen,
    /// A picture above the limit was refused.
    FrameTooLarge,
    /// The processor could not be made.
    ProcessorFailed,
}

impl NoticeKind {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EngineStarting => "engine_starting",
            Self::EngineReady => "engine_ready",
            Self::EngineCrashed => "engine_crashed",
            Self::EngineHung => "engine_hung",
            Self::EngineBackoff => "engine_backoff",
            Self::CircuitOpen => "circuit_open",
            Self::FrameTooLarge => "frame_too_large",
            Self::ProcessorFailed => "processor_failed",
        }
    }
}

impl Notice {
    /// A notice with a kind and a text.
    #[must_use]
    pub fn new(kind: NoticeKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), seq: None, signal: None, restarts: None }
    }

    fn data(&self) -> Value {
        let mut data = json!({ "kind": self.kind.as_str(), "text": self.text });
        if let Some(seq) = self.seq {
            data["seq"] = seq.0.into();
        }
        if let Some(signal) = &self.signal {
            data["signal"] = signal.as_str().into();
        }
        if let Some(restarts) = self.restarts {
            data["restarts"] = restarts.into();
        }
        data
    }
}

/// Messages waiting for the control channel.
#[derive(Debug, Default)]
pub struct ControlQueue {
    queue: VecDeque<(bool, String)>,
    bytes: usize,
}

impl ControlQueue {
    /// Queues a notice.
    pub fn notice(&mut self, notice: &Notice) {
        self.push(false, message("event", None, &notice.data().to_string()));
    }

    /// Queues a log line; these go first when the queue is full.
    pub fn log(&mut self, level: LogLevel, text: &str) {
        let data = json!({ "level": level, "text": text });
        self.push(true, message("log", None, &data.to_string()));
    }

    /// Queues any message; `data` is JSON.
    pub fn send(&mut self, kind: &str, id: Option<&Value>, data: &str) {
        self.push(false, message(kind, id, data));
    }

    /// Queues a message that goes when the queue is full, as log lines do; `data` is JSON.
    pub fn send_expendable(&mut self, kind: &str, data: &str) {
        self.push(true, message(kind, None, data));
    }

    /// Puts a message before all others.
    pub fn send_first(&mut self, kind: &str, data: &str) {
        let text = message(kind, None, data);
        self.make_room(text.len());
        self.bytes += text.len();
        self.queue.push_front((false, text));
    }

    fn push(&mut self, expendable: bool, text: String) {
        self.make_room(text.len());
        self.bytes += text.len();
        self.queue.push_back((expendable, text));
    }

    fn make_room(&mut self, bytes: usize) {
        while !self.queue.is_empty()
            && (self.queue.len() >= CONTROL_QUEUED_MAX || self.bytes + bytes > CONTROL_QUEUED_BYTES_MAX)
        {
            let victim = self.queue.iter().position(|(expendable, _)| *expendable).unwrap_or(0);
            self.bytes -= self.queue.remove(victim).map_or(0, |(_, text)| text.len());
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The oldest message.
    #[must_use]
    pub fn front(&self) -> Option<&str> {
        self.queue.front().map(|(_, text)| text.as_str())
    }

    /// Removes the oldest message.
    pub fn pop(&mut self) {
        self.bytes -= self.queue.pop_front().map_or(0, |(_, text)| text.len());
    }
}

fn message(kind: &str, id: Option<&Value>, data: &str) -> String {
    let id = id.map(|id| format!(r#","id":{id}"#)).unwrap_or_default();
    format!(r#"{{"v":1,"type":"{kind}"{id},"data":{data}}}"#)
}

/// What a page says.
#[derive(Debug, Clone, PartialEq)]
pub enum PageMessage {
    /// Answer with the same `id` and data.
    Ping {
        /// The page's own number or text.
        id: Option<Value>,
        /// Given back, at most 1 KiB.
        data: Value,
    },
    /// Change parameters.
    Params {
        /// The page's own number or text, given back in the answer.
        id: Option<Value>,
        /// Name of the processor; absent: the first that has a parameter of that id.
        processor: Option<String>,
        /// Ids and values, each value as JSON.
        values: Vec<(String, String)>,
    },
    /// Something for a processor.
    Message {
        /// Name of the processor; absent: the first that takes messages.
        processor: Option<String>,
        /// JSON, as the page wrote it.
        json: String,
    },
    /// Send the summary and close.
    Close,
    /// Of another type: ignored.
    Unknown,
}

/// Reads a message of a page; `None` when it is too large, not JSON or not an object.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<PageMessage> {
    if bytes.len() > CONTROL_BYTES_MAX {
        return None;
    }
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    let object = value.as_object_mut()?;
    let id = object.remove("id").filter(|id| id.is_number() || id.as_str().is_some_and(|text| text.len() <= 64));
    match object.get("type").and_then(Value::as_str) {
        Some("ping") => {
            let data = object.remove("data").unwrap_or(Value::Null);
            (data.to_string().len() <= 1024).then_some(PageMessage::Ping { id, data })
        }
        Some("params") => {
            let data = object.get_mut("data")?.as_object_mut()?;
            let processor = processor(data)?;
            let values = std::mem::take(data.get_mut("values")?.as_object_mut()?);
            let values = values.into_iter().map(|(id, value)| (id, value.to_string())).collect();
            Some(PageMessage::Params { id, processor, values })
        }
        Some("message") => {
            let processor = processor(object.get_mut("data")?.as_object_mut()?)?;
            // Numbers and the order of keys are the page's business: the processor gets the text itself.
            let raw: RawMessage<'_> = serde_json::from_slice(bytes).ok()?;
            Some(PageMessage::Message { processor, json: raw.data.message.get().to_owned() })
        }
        Some("close") => Some(PageMessage::Close),
        _ => Some(PageMessage::Unknown),
    }
}

/// The part of a message for a processor that is passed on untouched.
#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow)]
    data: RawData<'a>,
}

#[derive(Deserialize)]
struct RawData<'a> {
    #[serde(borrow)]
    message: &'a RawValue,
}

/// The name of the processor that is meant, if one is named; `None` when that is no name.
fn processor(data: &serde_json::Map<String, Value>) -> Option<Option<String>> {
    match data.get("processor") {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(name)) if name.len() <= 64 + 4 => Some(Some(name.clone())),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_make_room_for_events() {
        let mut queue = ControlQueue::default();
        queue.notice(&Notice::new(NoticeKind::EngineReady, "first"));
        for number in 0..200 {
            queue.log(LogLevel::Info, &format!("line {number}"));
        }
        assert!(queue.front().is_some_and(|text| text.contains("first")));
        let mut count = 0;
        while queue.front().is_some() {
            queue.pop();
            count += 1;
        }
        assert_eq!(count, CONTROL_QUEUED_MAX);
    }

    #[test]
    fn a_channel_opened_again_and_again_queues_no_more() {
        let mut queue = ControlQueue::default();
        for _ in 0..2 * CONTROL_QUEUED_MAX {
            queue.send_first("hello", "{}");
        }
        assert_eq!(queue.queue.len(), CONTROL_QUEUED_MAX);
    }

    #[test]
    fn bytes_waiting_are_bounded() {
        let mut queue = ControlQueue::default();
        queue.send("params", None, "{}");
        for _ in 0..50 {
            queue.send_expendable("message", &format!("\"{}\"", "x".repeat(16 << 10)));
        }
        assert!(queue.bytes <= CONTROL_QUEUED_BYTES_MAX && queue.bytes > CONTROL_QUEUED_BYTES_MAX / 2);
        assert!(queue.front().is_some_and(|text| text.contains("params")), "an answer stays");
        while queue.front().is_some() {
            queue.pop();
        }
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn values_and_messages_are_read() {
        let params =
            parse(br##"{"type":"params","id":"a","data":{"values":{"x":0.50,"c":"#00ff00"},"processor":"p"}}"##);
        let values = vec![("c".to_owned(), "\"#00ff00\"".to_owned()), ("x".to_owned(), "0.5".to_owned())];
        let expected =
            PageMessage::Params { id: Some(json!("a")), processor: Some("p".to_owned()), values: values.clone() };
        assert_eq!(params, Some(expected));
        let message = parse(br#"{"type":"message","data":{"message":{"b":1e400, "a":12345678901234567890123}}}"#);
        assert_eq!(message, None, "numbers must be numbers");
        let message = parse(br#"{"type":"message","data":{"message":{"b":1.0, "a":[]}}}"#);
        let json = r#"{"b":1.0, "a":[]}"#.to_owned();
        assert_eq!(message, Some(PageMessage::Message { processor: None, json }));
        for bad in [
            &br#"{"type":"params"}"#[..],
            br#"{"type":"params","data":{"values":[]}}"#,
            br#"{"type":"params","data":{"values":{},"processor":7}}"#,
            br#"{"type":"message","data":{}}"#,
            br#"{"type":"message","data":[1]}"#,
        ] {
            assert_eq!(parse(bad), None);
        }
    }

    #[test]
    fn hostile_messages_are_not_messages() {
        for bad in [&b""[..], b"[]", b"1", b"{", b"\xff\xfe", &[b'['; 4000], &[b' '; CONTROL_BYTES_MAX + 1]] {
            assert_eq!(parse(bad), None);
        }
        assert_eq!(parse(b"{}"), Some(PageMessage::Unknown));
        assert_eq!(parse(br#"{"type":"close"}"#), Some(PageMessage::Close));
        let ping = parse(br#"{"type":"ping","id":3,"data":{"t":1}}"#);
        assert_eq!(ping, Some(PageMessage::Ping { id: Some(json!(3)), data: json!({"t": 1}) }));
    }
}
