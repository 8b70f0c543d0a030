//! Hot path: the processors of a pipeline, one after the other on one picture.
//!
//! The first processor's want decides size and format; each gets the frame as the one before left it. One that wants
//! another size or format gets a copy of its own, which it may not change. With one
//! processor nothing is allocated per frame but what the result holds.

mod frame;
mod guard;
mod memory;
mod opening;
mod plan;

use std::{io::Write as _, rc::Rc, sync::Arc};

use framegate_abi as abi;
use framegate_codec::{Converter, Image, Layout, Picture};
use framegate_wire::{
    Detection, FaultStage, LogLevel, NamedValue, ParamValue, PictureSize, ProcessorInfo, RefusedValue, SavedState,
    Status, Want,
    limits::{DETECTIONS_MAX, MESSAGE_BYTES_MAX, PARAMS_MAX, RESULT_DATA_BYTES_MAX},
};
use serde::de::IgnoredAny;

use crate::{
    bridge::Bridge,
    clock::{now_ns, us_between},
    instance::{Instance, Refusal, Said, Wanted},
    intake::Call,
    nursery::fault::enter,
    outbox::Outbox,
    params,
    pool::Slot,
};
pub(crate) use guard::{FrameMemory, GUARD_BYTES};
use memory::Memory;
pub(crate) use opening::{ChainError, Opening};
use plan::Plan;

/// The instances of one engine.
#[derive(Debug)]
pub(crate) struct Chain {
    pipeline: String,
    members: Vec<Member>,
    outbox: Arc<Outbox>,
    /// Of the whole chain, or why its processors' wants do not go together.
    wanted: Result<Wanted, String>,
    converter: Converter,
    memory: Memory,
    /// For the pictures that come now.
    plan: Option<Plan>,
    /// Whether each frame has memory of its own that faults when it is used against the rules: in `check`.
    is_guarded: bool,
    /// To the process of those processors that run in another one.
    bridge: Option<Rc<Bridge>>,
    /// The last frame's data.
    data: Vec<u8>,
}

/// One processor of a chain.
#[derive(Debug)]
struct Member {
    /// Unique within the chain.
    name: String,
    instance: Instance,
    info: ProcessorInfo,
    /// What it wants now.
    wanted: Wanted,
    /// What `configure` last accepted.
    configured: Option<(Layout, PictureSize)>,
}

/// What came of one frame.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: Status,
    pub(crate) detections: Vec<Detection>,
    /// When the first processor was entered.
    pub(crate) process_ns: u64,
    /// When the last one returned.
    pub(crate) end_ns: u64,
    /// Time in each processor, in microseconds; empty when there is one.
    pub(crate) processors_us: Vec<u32>,
    /// The processed picture, if it was wanted and there is one.
    pub(crate) image: Option<Image>,
}

impl Done {
    /// A frame that no processor was called with.
    pub(crate) fn failed(refusal: Refusal, start_ns: u64, end_ns: u64) -> Self {
        let (detections, processors_us) = (Vec::new(), Vec::new());
        Self { status: refusal.into(), detections, process_ns: start_ns, end_ns, processors_us, image: None }
    }
}

/// Why a picture did not reach the processors.
#[derive(Debug)]
pub(crate) enum StageError {
    /// What they want is impossible.
    Want(String),
    /// There is no memory for it.
    Memory,
    /// It cannot be converted.
    Convert,
}

impl Chain {
    /// What the processors are like, in their order, their parameters at their present values.
    pub(crate) fn infos(&self) -> Vec<ProcessorInfo> {
        let info = |member: &Member| {
            let Wanted { want, writable } = member.wanted;
            ProcessorInfo { want, writable, ..member.info.clone() }
        };
        self.members.iter().map(info).collect()
    }

    /// What the whole chain wants.
    pub(crate) fn want(&self) -> Want {
        self.wanted.as_ref().map_or_else(|_| Want::default(), |wanted| wanted.want)
    }

    /// Whether a processor has shown that it can give pictures of its own.
    pub(crate) fn returns_image(&self) -> bool {
        self.members.iter().any(|member| member.instance.returns_image())
    }

    /// The last frame's data: JSON, or empty.
    pub(crate) fn data(&self) -> &[u8] {
        &self.data
    }

    /// Takes over what the processors want now; `true` when that is news.
    pub(crate) fn follow_wants(&mut self) -> bool {
        let mut is_news = false;
        for member in &mut self.members {
            let wanted = member.instance.wanted();
            is_news |= wanted != member.wanted;
            member.wanted = wanted;
        }
        if is_news {
            self.wanted = opening::joint_want(&self.members);
            self.plan = None;
        }
        is_news
    }

    /// Converts a picture and hands it to each processor.
    ///
    /// # Errors
    /// [`StageError`]; no processor was called.
    pub(crate) fn process(
        &mut self,
        call: &Call,
        picture: &Picture<'_>,
        is_image_wanted: bool,
    ) -> Result<Done, StageError> {
        enter(FaultStage::Convert);
        self.data.clear();
        let wanted = self.wanted.as_ref().map_err(|conflict| StageError::Want(conflict.clone()))?;
        let is_writable = wanted.writable;
        if self.plan.as_ref().is_none_or(|plan| !plan.fits(picture.size)) {
            self.plan = Some(Plan::new(&wanted.want, &self.members, picture.size)?);
        }
        let Some(plan) = &self.plan else { return Err(StageError::Memory) };
        // Its other process has the right it needs: what this one may do with the memory changes nothing there.
        let is_sealed = !is_writable && !self.memory.is_shared();
        let slot = self.memory.place(plan.total_bytes, if self.is_guarded { GUARD_BYTES } else { 0 })?;
        plan.convert(picture, &mut self.converter, slot)?;
        if self.is_guarded {
            guard::announce(slot, &self.outbox, is_sealed).map_err(|_| StageError::Memory)?;
        }
        let process_ns = now_ns();
        let mut turn = Turn { call, plan, picture, is_image_wanted, converter: &mut self.converter, slot };
        let data = &mut self.data;
        let mut done = match self.members.as_mut_slice() {
            [only] => only.alone(&mut turn, data)?,
            members => one_by_one(members, &mut turn, data, process_ns)?,
        };
        done.process_ns = process_ns;
        if is_image_wanted && is_writable && done.image.is_none() {
            let plan::Frame { layout, offset, .. } = plan.shared;
            done.image = Image::of_bytes(layout, &slot.bytes()[offset..], picture.matrix, picture.range);
        }
        if self.is_guarded {
            self.memory.retire()?;
        }
        Ok(done)
    }

    /// From now on gives each frame memory of its own: read-only unless the processors write, walled off, and gone when
    /// they have returned. The outbox is told where it lies before they are called.
    pub(crate) fn guard(&mut self) {
        self.is_guarded = true;
    }

    /// Sets parameters: which values are in force of those that were asked for, and which were refused.
    pub(crate) fn set_params(&mut self, values: &[NamedValue]) -> (Vec<NamedValue>, Vec<RefusedValue>) {
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        // What is above the limit never came from a gateway, and its answer would not fit.
        for value in values.iter().take(PARAMS_MAX) {
            if let Err(text) = self.set_param(value) {
                refused.push(opening::refused_value(value.processor, &value.id, &text));
            }
            if let Some(present) = self.present_value(value)
                && !taken.contains(&present)
            {
                taken.push(present);
            }
        }
        (taken, refused)
    }

    fn set_param(&mut self, value: &NamedValue) -> Result<(), String> {
        let (place, index, parsed) = self.parse_param(value)?;
        self.members[place].set(index, parsed)
    }

    /// Finds the parameter and reads its value: the place of its processor, its own place there, and the value.
    fn parse_param(&self, value: &NamedValue) -> Result<(usize, usize, ParamValue), String> {
        let NamedValue { processor, id, json } = value;
        let place = usize::try_from(*processor).ok().filter(|place| *place < self.members.len());
        let place = place.ok_or_else(|| {
            format!("there is no processor number {processor}; the pipeline has {}", self.members.len())
        })?;
        let params = &self.members[place].info.params;
        let index = params.iter().position(|param| param.id == *id);
        let index = index.ok_or_else(|| format!("it has no parameter `{id}`; {}", opening::names_of(params)))?;
        Ok((place, index, params::parse(&params[index], json)?))
    }

    fn present_value(&self, asked: &NamedValue) -> Option<NamedValue> {
        let member = self.members.get(usize::try_from(asked.processor).ok()?)?;
        let param = member.info.params.iter().find(|param| param.id == asked.id)?;
        Some(NamedValue { json: params::to_json(&param.value), ..asked.clone() })
    }

    /// Hands a message of the page to the processor at `place`. The error says who did not take it, and why.
    pub(crate) fn receive(&mut self, place: u32, json: &[u8]) -> Result<(), String> {
        let count = self.members.len();
        let member = usize::try_from(place).ok().and_then(|place| self.members.get_mut(place));
        let member =
            member.ok_or_else(|| format!("a message for processor number {place}, but the pipeline has {count}"))?;
        if json.len() > MESSAGE_BYTES_MAX || serde_json::from_slice::<IgnoredAny>(json).is_err() {
            return Err(format!("a message for `{}` is no JSON of at most {MESSAGE_BYTES_MAX} bytes", member.name));
        }
        let refused = |text| format!("`{}` refused a message: {text}", member.name);
        member.instance.receive(json).map_err(refused)
    }

    /// Whether any processor keeps a state.
    pub(crate) fn has_state(&self) -> bool {
        self.members.iter().any(|member| member.info.has_state)
    }

    /// What the processors want kept.
    pub(crate) fn save_state(&mut self) -> Vec<SavedState> {
        let mut states = Vec::new();
        for (place, member) in (0..).zip(&mut self.members) {
            if member.info.has_state
                && let Some((version, bytes)) = member.instance.save_state()
            {
                states.push(SavedState { processor: place, name: member.info.descriptor.name.clone(), version, bytes });
            }
        }
        states
    }

    /// Gives each processor what one of its name and place before it kept. One that cannot use it begins anew, and the log
    /// says so.
    fn load_state(&mut self, states: &[SavedState]) {
        for state in states {
            let member = usize::try_from(state.processor).ok().and_then(|place| self.members.get_mut(place));
            let loaded = match member {
                Some(member) if member.info.descriptor.name == state.name => {
                    member.instance.load_state(state.version, &state.bytes, self.memory.shared())
                }
                Some(member) => Err(format!("`{}` has its place now", member.info.descriptor.name)),
                None => Err("it is no longer in the pipeline".to_owned()),
            };
            if let Err(reason) = loaded {
                let text = format!("the state of `{}` is not used, it begins anew: {reason}", state.name);
                self.outbox.log(LogLevel::Warn, &text);
            }
        }
    }

    /// The bridge to another process, if processors run there.
    pub(crate) fn bridge(&self) -> Option<&Bridge> {
        self.bridge.as_deref()
    }

    /// What happened to the process of a processor that runs in another one, once it has gone: the engine cannot go on.
    pub(crate) fn end(&self) -> Option<String> {
        let member = self.members.iter().find(|member| member.instance.end().is_some())?;
        Some(format!("the process of `{}` {}", member.name, member.instance.end()?))
    }

    /// Ends the instances, the last first.
    pub(crate) fn destroy(self) {
        for member in self.members.into_iter().rev() {
            member.instance.destroy();
        }
    }
}

impl Member {
    fn set(&mut self, index: usize, value: ParamValue) -> Result<(), String> {
        let param = &mut self.info.params[index];
        self.instance
            .set_param(index, &value)
            .map_err(|reason| format!("`{}` is {}; {reason}", param.id, params::to_json(&value)))?;
        param.value = value;
        Ok(())
    }

    /// The only processor of its chain.
    fn alone(&mut self, turn: &mut Turn<'_>, data: &mut Vec<u8>) -> Result<Done, StageError> {
        let said = self.call(0, turn)?;
        let end_ns = now_ns();
        let Said { status, detections, data: new, image } = said;
        self.instance.reuse(std::mem::replace(data, new));
        Ok(Done { status, detections, process_ns: end_ns, end_ns, processors_us: Vec::new(), image })
    }

    /// Configures the processor if need be, and hands it its frame.
    fn call(&mut self, place: usize, turn: &mut Turn<'_>) -> Result<Said, StageError> {
        enter(FaultStage::Convert);
        turn.plan.convert_changed(place, turn.picture, turn.converter, turn.slot)?;
        enter(FaultStage::Process);
        let plan::Frame { layout, offset, .. } = turn.plan.frame(place);
        let mut frame = frame::frame(turn.call, &layout, turn.picture, &mut turn.slot.bytes()[offset..]);
        if self.wanted.writable {
            frame.flags |= abi::FRAME_WRITABLE;
        }
        let configuration = (layout, turn.picture.size);
        if self.configured != Some(configuration) {
            // Also before the first frame: then the size is news as well.
            frame.flags |= abi::FRAME_SIZE_CHANGED;
            self.configured = None;
            if let Err(refusal) = self.instance.configure(&frame::config(&layout, turn.picture)) {
                return Ok(Said { status: refusal.into(), detections: Vec::new(), data: Vec::new(), image: None });
            }
            self.configured = Some(configuration);
        }
        Ok(self.instance.process(&frame, turn.is_image_wanted))
    }
}

/// One picture on its way through a chain.
struct Turn<'a> {
    call: &'a Call,
    plan: &'a Plan,
    picture: &'a Picture<'a>,
    is_image_wanted: bool,
    converter: &'a mut Converter,
    slot: &'a mut Slot,
}

/// Hands the frame to each of several processors, until one fails.
fn one_by_one(
    members: &mut [Member],
    turn: &mut Turn<'_>,
    data: &mut Vec<u8>,
    mut start_ns: u64,
) -> Result<Done, StageError> {
    let (mut status, mut image) = (Status::Ok, None);
    let (mut detections, mut processors_us) = (Vec::new(), Vec::with_capacity(members.len()));
    for (place, member) in members.iter_mut().enumerate() {
        let mut said = member.call(place, turn)?;
        let end_ns = now_ns();
        processors_us.push(us_between(start_ns, end_ns));
        start_ns = end_ns;
        if image.is_none() || said.image.is_some() {
            image = said.image;
        }
        let mut problem = match said.status {
            Status::Ok => None,
            Status::Error { code, text } => Some(Refusal { code, text }),
        };
        if detections.len() + said.detections.len() > DETECTIONS_MAX {
            let text = format!("more than {DETECTIONS_MAX} detections with those of the processors before it");
            problem.get_or_insert(Refusal { code: "too_many".to_owned(), text });
        } else {
            detections.append(&mut said.detections);
        }
        if !append(data, &member.name, &said.data) {
            let text =
                format!("more than {RESULT_DATA_BYTES_MAX} bytes of data with those of the processors before it");
            problem.get_or_insert(Refusal { code: "too_large".to_owned(), text });
        }
        member.instance.reuse(said.data);
        if let Some(Refusal { code, text }) = problem {
            status = Status::Error { code, text: format!("{}: {text}", member.name) };
            break;
        }
    }
    if !data.is_empty() {
        data.push(b'}');
    }
    Ok(Done { status, detections, process_ns: start_ns, end_ns: start_ns, processors_us, image })
}

/// Adds one processor's data to an object that is still open; `false` when it would grow too large.
fn append(object: &mut Vec<u8>, name: &str, json: &[u8]) -> bool {
    // A comma or brace, two quotes, a colon, and the closing brace.
    const AROUND: usize = 5;
    if json.is_empty() {
        return true;
    }
    if object.len() + name.len() + json.len() + AROUND > RESULT_DATA_BYTES_MAX {
        return false;
    }
    object.push(if object.is_empty() { b'{' } else { b',' });
    // Writing to memory does not fail; names need no escapes.
    let _ = write!(object, "\"{name}\":");
    object.extend_from_slice(json);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_several_is_an_object_that_stays_within_its_limit() {
        let mut object = Vec::new();
        assert!(append(&mut object, "a", b"[1]") && append(&mut object, "b", b"") && append(&mut object, "c-2", b"7"));
        assert_eq!(object, b"{\"a\":[1],\"c-2\":7");
        let rest = RESULT_DATA_BYTES_MAX - object.len() - "long".len() - 5;
        assert!(!append(&mut object, "long", &vec![b'1'; rest + 1]));
        assert!(append(&mut object, "long", &vec![b'1'; rest]));
        assert_eq!(object.len() + 1, RESULT_DATA_BYTES_MAX);
    }
}
