//! The parts of the server's messages that the load client checks.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A message on the channel `results`.
#[derive(Debug, Deserialize)]
pub(crate) struct ResultMessage<'a> {
    pub(crate) rtp: u32,
    #[serde(borrow)]
    pub(crate) status: Cow<'a, str>,
    #[serde(default)]
    pub(crate) timing: Timing,
    #[serde(borrow, default)]
    pub(crate) data: Option<&'a RawValue>,
    #[serde(default)]
    pub(crate) counts: Option<Counts>,
    #[serde(borrow, default)]
    pub(crate) missed: Vec<Missed<'a>>,
}

/// Where the server says the time went.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Timing {
    /// Last packet received → result handed to the data channel, in microseconds.
    pub(crate) total: Option<u32>,
}

/// A frame without a result.
#[derive(Debug, Deserialize)]
pub(crate) struct Missed<'a> {
    pub(crate) rtp: u32,
    #[serde(borrow)]
    pub(crate) outcome: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) reason: Cow<'a, str>,
}

/// The server's books of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) ok: u64,
    pub(crate) error: u64,
    pub(crate) skipped: BTreeMap<String, u64>,
    pub(crate) dropped: BTreeMap<String, u64>,
    pub(crate) undelivered: u64,
}

impl Counts {
    /// Frames with an outcome.
    pub(crate) fn outcomes(&self) -> u64 {
        self.ok + self.error + self.skipped.values().sum::<u64>() + self.dropped.values().sum::<u64>()
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.received += other.received;
        self.ok += other.ok;
        self.error += other.error;
        self.undelivered += other.undelivered;
        for (mine, theirs) in [(&mut self.skipped, &other.skipped), (&mut self.dropped, &other.dropped)] {
            for (reason, count) in theirs {
                *mine.entry(reason.clone()).or_default() += count;
            }
        }
    }
}

/// A message on the channel `control`.
#[derive(Debug, Deserialize)]
pub(crate) struct ControlMessage<'a> {
    #[serde(rename = "type", borrow)]
    pub(crate) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) data: Option<&'a RawValue>,
}

/// `data` of `counts` and `summary`.
#[derive(Debug, Deserialize)]
pub(crate) struct CountsData<'a> {
    pub(crate) counts: Counts,
    #[serde(borrow, default)]
    pub(crate) missed: Vec<Missed<'a>>,
}

/// `data` of `event`.
#[derive(Debug, Deserialize)]
pub(crate) struct EventData<'a> {
    #[serde(borrow)]
    pub(crate) kind: Cow<'a, str>,
}

/// The frame number a processor read out of the picture, if it is one that does.
pub(crate) fn number(data: Option<&RawValue>) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        number: Option<u64>,
    }
    // A list would be taken for the struct's fields in order.
    let object = data?.get().trim_start();
    if object.starts_with('{') { serde_json::from_str::<Numbered>(object).ok()?.number } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_result_is_read() {
        let text = r#"{"v":1,"stream":"s","seq":412,"epoch":0,"rtp":3217533095,"capture_us":null,"size":[640,480],
            "processor":"motion","status":"ok","dropped":0,"timing":{"assemble":210,"total":1490},"detections":[],
            "data":{"number":7},"counts":{"received":412,"ok":410,"skipped":{"newer":1},"dropped":{"corrupt":1}},
            "missed":[{"seq":411,"rtp":3217530125,"outcome":"skipped","reason":"newer"}]}"#;
        let message: ResultMessage = serde_json::from_str(text).unwrap();
        assert_eq!((message.rtp, number(message.data), message.timing.total), (3_217_533_095, Some(7), Some(1490)));
        let counts = message.counts.unwrap();
        assert_eq!((counts.outcomes(), counts.received), (412, 412));
        assert_eq!((message.missed[0].rtp, message.missed[0].reason.as_ref()), (3_217_530_125, "newer"));
    }

    #[test]
    fn a_number_is_found_only_where_there_is_one() {
        for (data, expected) in [(r#"{"number":3}"#, Some(3)), (r#"{"number":null}"#, None), ("[1]", None), ("4", None)]
        {
            let raw: &RawValue = serde_json::from_str(data).unwrap();
            assert_eq!(number(Some(raw)), expected, "{data}");
        }
        assert_eq!(number(None), None);
    }
}
