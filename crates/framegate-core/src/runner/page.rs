//! What pages and processors have to say to each other: parameters, messages and kept states, over every engine of a
//! stream.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use framegate_wire::limits::{MESSAGE_BYTES_MAX, MESSAGES_PER_SECOND_MAX, PARAMS_MAX, PROCESSORS_MAX, STATE_BYTES_MAX};
use framegate_wire::{LogLevel, NamedValue, ProcessorInfo, RefusedValue, SavedState, ToEngine};
use serde_json::{Value, json};

use super::hostile::{self, EngineError};
use crate::backlog::Backlog;
use crate::control::ControlQueue;
use crate::limits::{
    PAGE_MESSAGES_PER_SECOND_MAX, PARAM_JSON_BYTES_MAX, PARAMS_KEPT_BYTES_MAX, PARAMS_PER_SECOND_MAX,
    PARAMS_UNANSWERED_MAX,
};
use crate::rate::RateWindow;
use crate::schema;

/// Engines that may die of a state before their first result until it is forgotten: one may have died of anything.
const STATE_DEATHS_MAX: u32 = 2;

/// Longest reason for which a value was not taken, in bytes: there may be one for each of them in a message.
const REFUSAL_BYTES_MAX: usize = 256;

/// Bytes of a control message that lists of values and refusals may fill; its frame and the page's own number take less.
const MESSAGE_ROOM: usize = crate::limits::MESSAGE_BYTES_MAX - (1 << 10);

/// A page's wish for other values.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamsRequest {
    /// Given back in the answer.
    pub id: Option<Value>,
    /// Name of the processor; absent: the first that has a parameter of that id.
    pub processor: Option<String>,
    /// Ids and values, each value as JSON.
    pub values: Vec<(String, String)>,
}

/// A wish on its way to an engine.
#[derive(Debug)]
struct Asked {
    id: u64,
    reply: Option<Value>,
    values: Vec<NamedValue>,
    refused: Vec<Value>,
    is_sent: bool,
}

/// Parameters, messages and states of one stream.
#[derive(Debug)]
pub(super) struct Page {
    infos: Vec<ProcessorInfo>,
    names: Vec<String>,
    /// Whether nobody has looked at `infos` since an engine gave them.
    is_fresh: bool,
    /// Whether an engine listens.
    is_ready: bool,
    /// Values that differ from the pipeline's, by processor and id.
    kept: BTreeMap<(u32, String), String>,
    asked: VecDeque<Asked>,
    next_id: u64,
    /// Payload of the newest `State`, as it came.
    state: Vec<u8>,
    state_was_given: bool,
    state_deaths: u32,
    returns_image: bool,
    refused: u64,
    wishes: RateWindow,
    news: RateWindow,
    from_page: RateWindow,
    from_engine: RateWindow,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            infos: Vec::new(),
            names: Vec::new(),
            is_fresh: false,
            is_ready: false,
            kept: BTreeMap::new(),
            asked: VecDeque::new(),
            next_id: 1,
            state: Vec::new(),
            state_was_given: false,
            state_deaths: 0,
            returns_image: false,
            refused: 0,
            wishes: RateWindow::new(PARAMS_PER_SECOND_MAX),
            news: RateWindow::new(PARAMS_PER_SECOND_MAX),
            from_page: RateWindow::new(PAGE_MESSAGES_PER_SECOND_MAX),
            from_engine: RateWindow::new(MESSAGES_PER_SECOND_MAX),
        }
    }
}

impl Page {
    /// Names of the processors, joined; `None` while nothing is known of them.
    pub(super) fn joined_names(&self) -> Option<String> {
        (!self.names.is_empty()).then(|| self.names.join("+"))
    }

    /// What a new engine's processors are like, unless a page has changed them; once for each engine.
    pub(super) fn take_fresh_infos(&mut self) -> Option<Vec<ProcessorInfo>> {
        let is_fresh = std::mem::take(&mut self.is_fresh) && self.kept.is_empty() && self.asked.is_empty();
        is_fresh.then(|| self.infos.clone())
    }

    pub(super) const fn is_ready(&self) -> bool {
        self.is_ready
    }

    pub(super) const fn returns_image(&self) -> bool {
        self.returns_image
    }

    /// Wishes and messages of the page that were refused so far.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// Values a new engine begins with: those in force, and those nobody has answered yet.
    pub(super) fn values_for_open(&self) -> Vec<NamedValue> {
        let mut values = self.kept.clone();
        for asked in &self.asked {
            for value in &asked.values {
                keep(&mut values, value);
            }
        }
        values.into_iter().map(|((processor, id), json)| NamedValue { processor, id, json }).collect()
    }

    /// The state a new engine begins with, as payload of `Open`; empty when there is none that can be right.
    pub(super) fn state_for_open(&mut self) -> &[u8] {
        if !self.is_state_right() {
            self.state.clear();
        }
        self.state_was_given = !self.state.is_empty();
        &self.state
    }

    fn is_state_right(&self) -> bool {
        let Ok((saved, [])) = postcard::take_from_bytes::<Vec<SavedState>>(&self.state) else { return false };
        let is_right = |state: &SavedState| {
            let info = usize::try_from(state.processor).ok().and_then(|index| self.infos.get(index));
            state.bytes.len() <= STATE_BYTES_MAX && info.is_some_and(|info| info.descriptor.name == state.name)
        };
        saved.len() <= PROCESSORS_MAX && saved.iter().all(is_right)
    }

    /// The processors exist: tells the page and sends what waits. `infos` are checked.
    pub(super) fn ready(&mut self, infos: Vec<ProcessorInfo>, control: &mut ControlQueue, backlog: &mut Backlog) {
        self.names = schema::unique_names(infos.iter().map(|info| info.descriptor.name.as_str()));
        self.infos = infos;
        self.is_fresh = true;
        self.is_ready = true;
        if !self.infos.is_empty() {
            control.send("processors", None, &schema::processors(&self.infos).to_string());
        }
        for asked in &mut self.asked {
            asked.is_sent = backlog.push_extra(&asked.message(), &[]);
        }
        self.refuse_asked(control, "the engine does not read; try again", |asked| !asked.is_sent);
    }

    /// The engine is gone; `had_result` says whether it gave any.
    pub(super) fn engine_gone(&mut self, had_result: bool, control: &mut ControlQueue) {
        self.is_ready = false;
        self.state_deaths = if self.state_was_given && !had_result { self.state_deaths + 1 } else { 0 };
        self.state_was_given = false;
        if self.state_deaths >= STATE_DEATHS_MAX {
            self.state.clear();
            self.state_deaths = 0;
            control.log(LogLevel::Warn, "the kept state is given up: engines that begin with it die");
        }
        self.refuse_asked(control, "the engine ended before it took this value", |asked| asked.is_sent);
    }

    fn refuse_asked(&mut self, control: &mut ControlQueue, text: &str, is_lost: impl Fn(&Asked) -> bool) {
        for mut asked in std::mem::take(&mut self.asked) {
            if !is_lost(&asked) {
                self.asked.push_back(asked);
                continue;
            }
            let refused = asked.values.iter().map(|value| self.refusal(value.processor, &value.id, text));
            asked.refused.extend(refused);
            self.refused += 1;
            answer(control, asked.reply.as_ref(), &[], &asked.refused);
        }
    }

    /// Takes a page's wish; it is answered now or when the engine answers.
    pub(super) fn set(
        &mut self,
        now: Instant,
        request: ParamsRequest,
        control: &mut ControlQueue,
        backlog: &mut Backlog,
    ) {
        let ParamsRequest { id: reply, processor, values } = request;
        if let Err(text) = self.admit(now, values.len()) {
            self.refused += 1;
            let refused = [json!({ "processor": processor.unwrap_or_default(), "id": "", "text": text })];
            return answer(control, reply.as_ref(), &[], &refused);
        }
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for (id, json) in values {
            match self.find(processor.as_deref(), &id, &json) {
                Ok(processor) => taken.push(NamedValue { processor, id, json }),
                Err(text) => {
                    let name = processor.clone().unwrap_or_default();
                    refused.push(json!({ "processor": name, "id": schema::beginning(&id, 64), "text": text }));
                }
            }
        }
        if taken.is_empty() {
            self.refused += 1;
            return answer(control, reply.as_ref(), &[], &refused);
        }
        let mut asked = Asked { id: self.next_id, reply, values: taken, refused, is_sent: false };
        self.next_id += 1;
        let is_lost = self.is_ready && {
            asked.is_sent = backlog.push_extra(&asked.message(), &[]);
            !asked.is_sent
        };
        self.asked.push_back(asked);
        if is_lost {
            self.refuse_asked(control, "the engine does not read; try again", |asked| !asked.is_sent);
        }
    }

    fn admit(&mut self, now: Instant, count: usize) -> Result<(), String> {
        if !self.wishes.allows(now) {
            return Err(format!("more than {PARAMS_PER_SECOND_MAX} changes in a second; try again"));
        }
        if self.asked.len() >= PARAMS_UNANSWERED_MAX {
            return Err("the processor has not answered the changes before this one; try again".to_owned());
        }
        if count > PARAMS_MAX {
            return Err(format!("{count} values at once; at most {PARAMS_MAX} are taken"));
        }
        if self.infos.is_empty() {
            return Err("the processors are not known yet; wait for `processors`".to_owned());
        }
        Ok(())
    }

    /// The processor that has this parameter, if the value can be one.
    fn find(&self, processor: Option<&str>, id: &str, json: &str) -> Result<u32, String> {
        let mut candidates = self.infos.iter().zip(&self.names).enumerate();
        let has = |info: &ProcessorInfo| info.params.iter().any(|param| param.id == id);
        let found = match processor {
            Some(name) => match candidates.find(|(_, (_, known))| *known == name) {
                Some((index, (info, _))) => has(info).then_some(index),
                None => return Err(self.no_such_processor(name)),
            },
            None => candidates.find(|(_, (info, _))| has(info)).map(|(index, _)| index),
        };
        let index = found.and_then(|index| u32::try_from(index).ok());
        let index = index.ok_or_else(|| "there is no parameter of this id".to_owned())?;
        if json.len() > PARAM_JSON_BYTES_MAX {
            return Err(format!("the value has {} bytes; at most {PARAM_JSON_BYTES_MAX} are taken", json.len()));
        }
        if is_scalar(json) { Ok(index) } else { Err("a value is true, false, a number or a text".to_owned()) }
    }

    fn no_such_processor(&self, name: &str) -> String {
        format!("there is no processor `{}`; there are: {}", schema::beginning(name, 64), self.names.join(", "))
    }

    /// The engine's answer, or news of it: keeps the values and tells the page.
    pub(super) fn on_params(
        &mut self,
        now: Instant,
        id: u64,
        values: &[NamedValue],
        refused: &[RefusedValue],
        control: &mut ControlQueue,
    ) -> Result<(), EngineError> {
        let asked = self.asked.iter().position(|asked| asked.id == id && asked.is_sent);
        // Before anything is looked at: what nobody asked for must stay cheap.
        if asked.is_none() && !self.news.allows(now) {
            return Ok(());
        }
        self.check_params(values, refused)?;
        for value in values {
            keep(&mut self.kept, value);
        }
        let asked = asked.and_then(|index| self.asked.remove(index));
        let (reply, mut refusals) = asked.map_or((None, Vec::new()), |asked| (asked.reply, asked.refused));
        refusals.extend(
            refused.iter().map(|value| {
                self.refusal(value.processor, &value.id, schema::beginning(&value.text, REFUSAL_BYTES_MAX))
            }),
        );
        self.refused += u64::from(!refusals.is_empty());
        let values: Vec<String> = values
            .iter()
            .map(|value| {
                let name = self.name(value.processor);
                format!(r#"{{"processor":"{name}","id":"{}","value":{}}}"#, value.id, value.json)
            })
            .collect();
        answer(control, reply.as_ref(), &values, &refusals);
        Ok(())
    }

    /// No host speaks of parameters that do not exist, or of more than there are.
    fn check_params(&self, values: &[NamedValue], refused: &[RefusedValue]) -> Result<(), EngineError> {
        let exists = |processor: u32, id: &str| {
            let info = usize::try_from(processor).ok().and_then(|index| self.infos.get(index));
            info.is_some_and(|info| info.params.iter().any(|param| param.id == id))
        };
        let is_value = |value: &NamedValue| {
            exists(value.processor, &value.id) && value.json.len() <= PARAM_JSON_BYTES_MAX && is_scalar(&value.json)
        };
        let bytes: usize = values.iter().map(|value| value.json.len()).sum();
        if values.len() > PARAMS_MAX || refused.len() > PARAMS_MAX || bytes > PARAMS_KEPT_BYTES_MAX / 4 {
            return Err(EngineError::Page("more parameters than one answer has"));
        }
        if !values.iter().all(is_value) || !refused.iter().all(|value| exists(value.processor, &value.id)) {
            return Err(EngineError::Page("a parameter or value that does not exist"));
        }
        Ok(())
    }

    fn refusal(&self, processor: u32, id: &str, text: &str) -> Value {
        json!({ "processor": self.name(processor), "id": id, "text": text })
    }

    fn name(&self, processor: u32) -> &str {
        usize::try_from(processor).ok().and_then(|index| self.names.get(index)).map_or("", String::as_str)
    }

    /// A page's message for a processor. `json` is JSON.
    pub(super) fn tell(
        &mut self,
        now: Instant,
        processor: Option<&str>,
        json: &str,
        control: &mut ControlQueue,
        backlog: &mut Backlog,
    ) {
        let told = self.addressee(now, processor, json).and_then(|index| {
            let is_queued = backlog.push_extra(&ToEngine::Message { processor: index }, json.as_bytes());
            if is_queued { Ok(()) } else { Err("the engine does not read".to_owned()) }
        });
        if let Err(text) = told {
            self.refused += 1;
            control.log(LogLevel::Warn, &format!("a message of the page is lost: {text}"));
        }
    }

    fn addressee(&mut self, now: Instant, processor: Option<&str>, json: &str) -> Result<u32, String> {
        if !self.from_page.allows(now) {
            return Err(format!("more than {PAGE_MESSAGES_PER_SECOND_MAX} in a second"));
        }
        if json.len() > MESSAGE_BYTES_MAX {
            return Err(format!("it has {} bytes; at most {MESSAGE_BYTES_MAX} are taken", json.len()));
        }
        if !self.is_ready {
            return Err("no engine runs".to_owned());
        }
        let mut candidates = self.infos.iter().zip(&self.names).enumerate();
        let index = match processor {
            Some(name) => match candidates.find(|(_, (_, known))| *known == name) {
                Some((index, (info, _))) if info.takes_messages => index,
                Some(_) => return Err(format!("processor `{name}` takes none")),
                None => return Err(self.no_such_processor(name)),
            },
            None => match candidates.find(|(_, (info, _))| info.takes_messages) {
                Some((index, _)) => index,
                None => return Err("no processor of this pipeline takes any".to_owned()),
            },
        };
        u32::try_from(index).map_err(|error| error.to_string())
    }

    /// A processor's message for the page; above the limit they are left out, and the page is told once a second.
    pub(super) fn on_message(
        &mut self,
        now: Instant,
        processor: u32,
        payload: &[u8],
        control: &mut ControlQueue,
    ) -> Result<(), EngineError> {
        let name = self.name(processor).to_owned();
        if name.is_empty() {
            return Err(EngineError::Page("a message of a processor that does not exist"));
        }
        if !self.from_engine.allows(now) {
            if self.from_engine.is_newly_exceeded() {
                let text = format!("more than {MESSAGES_PER_SECOND_MAX} messages in a second: some are left out");
                control.log(LogLevel::Warn, &text);
            }
            return Ok(());
        }
        let data =
            hostile::json(payload, MESSAGE_BYTES_MAX).ok_or(EngineError::Page("a message is no JSON or too long"))?;
        control.send_expendable("message", &format!(r#"{{"processor":"{name}","data":{data}}}"#));
        Ok(())
    }

    /// What the processors want kept. It is looked at when an engine needs it.
    pub(super) fn on_state(&mut self, payload: &[u8]) {
        self.state.clear();
        // Names and lengths beside each processor's bytes are few.
        if payload.len() <= self.infos.len() * (STATE_BYTES_MAX + 128) {
            self.state.extend_from_slice(payload);
        }
    }

    /// The pipeline gives pictures: says so once.
    pub(super) fn on_returns_image(&mut self, control: &mut ControlQueue) {
        if !std::mem::replace(&mut self.returns_image, true) {
            control.send("image", None, "{}");
        }
    }
}

impl Asked {
    fn message(&self) -> ToEngine {
        ToEngine::SetParams { id: self.id, values: self.values.clone() }
    }
}

/// Notes a value while there is room for it; one that finds none is in force until its engine ends.
fn keep(kept: &mut BTreeMap<(u32, String), String>, value: &NamedValue) {
    let bytes: usize = kept.iter().map(|((_, id), json)| id.len() + json.len() + 16).sum();
    if bytes + value.id.len() + value.json.len() <= PARAMS_KEPT_BYTES_MAX {
        kept.insert((value.processor, value.id.clone()), value.json.clone());
    }
}

fn is_scalar(json: &str) -> bool {
    matches!(serde_json::from_str(json), Ok(Value::Bool(_) | Value::Number(_) | Value::String(_)))
}

/// Tells the page what became of values. `values` are JSON objects. Refusals for which one message has no room are left
/// out: texts full of characters that JSON escapes make six times their bytes.
fn answer(control: &mut ControlQueue, reply: Option<&Value>, values: &[String], refused: &[Value]) {
    let values = values.join(",");
    let mut room = MESSAGE_ROOM.saturating_sub(values.len());
    let mut fits = |refusal: &String| {
        let is_fitting = refusal.len() < room;
        room = room.saturating_sub(refusal.len() + 1);
        is_fitting
    };
    let refused: Vec<String> = refused.iter().map(ToString::to_string).take_while(|refusal| fits(refusal)).collect();
    let data = format!(r#"{{"values":[{values}],"refused":[{}]}}"#, refused.join(","));
    control.send("params", reply, &data);
}
