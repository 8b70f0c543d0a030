//! Making the instances of a chain: what may go wrong before the first frame.

use std::{rc::Rc, sync::Arc};

use framegate_codec::Converter;
use framegate_wire::{
    FromEngine, LogLevel, NamedValue, Param, ParamKind, ParamValue, RefusedValue, SavedState, Want,
    limits::PARAM_NAME_BYTES_MAX,
};

use super::{Chain, Member, memory::Memory, plan::same_frames};
use crate::{
    bridge::{
        Bridge,
        remote::{About, Remote, RemoteError},
    },
    clock::Clock,
    instance::{Instance, Setting, Wanted},
    limits::{INFOS_BYTES_MAX, REFUSED_TEXT_BYTES_MAX},
    native,
    outbox::{Outbox, cut},
    resolve::{Loaded, Program},
};

/// What a chain is opened with.
#[derive(Debug, Clone)]
pub(crate) struct Opening<'a> {
    /// Public name of the stream.
    pub(crate) stream: &'a str,
    /// What `fg.random/1` is seeded with.
    pub(crate) seed: u64,
    /// What `fg.clock/1` tells.
    pub(crate) clock: Clock,
    /// Values of parameters that differ from those of the pipeline.
    pub(crate) params: &'a [NamedValue],
    /// What instances before these kept.
    pub(crate) states: &'a [SavedState],
}

/// Why a chain cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ChainError {
    /// An instance cannot be made.
    #[error("`{name}` cannot be made: {error}")]
    Create {
        name: String,
        #[source]
        error: native::CreateError,
    },
    /// An instance in another process cannot be made.
    #[error("`{name}` cannot be made: {error}")]
    Remote {
        name: String,
        #[source]
        error: RemoteError,
    },
    /// A processor runs in another process, and there is none.
    #[error("`{0}` runs in a process of its own, which this engine has not been given")]
    NoLink(String),
    /// A value of a parameter is not taken.
    #[error("pipeline `{pipeline}`, processor `{processor}`: {text}")]
    Param { pipeline: String, processor: String, text: String },
    /// The wants do not go together.
    #[error("pipeline `{pipeline}`: {text}")]
    Want { pipeline: String, text: String },
    /// There is too much to say of the parameters.
    #[error(
        "pipeline `{pipeline}`: the names, texts and choices of its processors' parameters have {bytes} bytes, at most \
         {INFOS_BYTES_MAX}"
    )]
    Infos { pipeline: String, bytes: usize },
}

/// What a parameter shall be when a chain opens.
struct Wish {
    /// Its default, or what the pipeline says.
    value: ParamValue,
    /// What the page had set.
    of_page: Option<ParamValue>,
}

impl Chain {
    /// Makes the instances, sets their parameters, and gives them their states.
    ///
    /// # Errors
    /// [`ChainError`]; instances that were made are not destroyed: the process ends after it.
    pub(crate) fn open(loaded: &Loaded, opening: &Opening<'_>, outbox: &Arc<Outbox>) -> Result<Self, ChainError> {
        let mut members: Vec<Member> = Vec::with_capacity(loaded.processors.len());
        let (bridge, memory) = match loaded.link.take() {
            Some(link) => {
                let (bridge, slot) = Bridge::new(link, Arc::clone(outbox));
                (Some(Rc::new(bridge)), Memory::Shared(None, slot))
            }
            None => (None, Memory::Own(None)),
        };
        let is_chain = loaded.processors.len() > 1;
        for (place, processor) in (0..).zip(&loaded.processors) {
            let name = unique(&processor.program.descriptor().name, &members);
            let prefix = if is_chain { format!("{name}: ") } else { String::new() };
            let setting = Setting {
                place,
                prefix,
                stream: opening.stream.to_owned(),
                seed: opening.seed,
                clock: opening.clock.clone(),
                outbox: Arc::clone(outbox),
            };
            let instance = make(&name, &processor.program, setting, bridge.as_ref())?;
            let (info, wanted) = (instance.info(), instance.wanted());
            members.push(Member { name, instance, info, wanted, configured: None });
        }
        let wanted = joint_want(&members);
        let pipeline = loaded.pipeline.clone();
        if let Err(text) = wanted {
            return Err(ChainError::Want { pipeline, text });
        }
        let mut chain = Self {
            pipeline,
            members,
            outbox: Arc::clone(outbox),
            wanted,
            converter: Converter::new(),
            memory,
            plan: None,
            is_guarded: false,
            bridge,
            data: Vec::new(),
        };
        chain.check_size()?;
        chain.set_all(loaded, opening.params)?;
        chain.start()?;
        chain.load_state(opening.states);
        chain.follow_wants();
        Ok(chain)
    }

    /// Runs the initialisation of authors who expect their parameters to be set.
    fn start(&mut self) -> Result<(), ChainError> {
        for member in &mut self.members {
            let started = member.instance.start();
            started.map_err(|error| ChainError::Remote { name: member.name.clone(), error })?;
        }
        Ok(())
    }

    /// Sets each parameter of each processor once, in their order: to what the page had set, else to what the pipeline says,
    /// else to its default. A value of the page that is not taken now is told and left.
    fn set_all(&mut self, loaded: &Loaded, of_page: &[NamedValue]) -> Result<(), ChainError> {
        let (wishes, mut refused) = self.wishes(loaded, of_page)?;
        for (place, wishes) in (0..).zip(wishes) {
            for (index, Wish { value, of_page }) in wishes.into_iter().enumerate() {
                if let Some(newer) = of_page {
                    let Err(text) = self.members[place].set(index, newer) else { continue };
                    self.outbox.log(LogLevel::Warn, &text);
                    let id = &self.members[place].info.params[index].id;
                    refused.push(refused_value(u32::try_from(place).unwrap_or(u32::MAX), id, &text));
                }
                self.members[place].set(index, value).map_err(|text| self.param_error(place, text))?;
            }
        }
        if !refused.is_empty() {
            // A failing socket is noticed by the engine's loop, which ends the engine.
            let _ = self.outbox.push(&FromEngine::Params { id: 0, values: Vec::new(), refused }, &[]);
        }
        Ok(())
    }

    /// What each parameter shall be, checked but for what the processors themselves refuse; and which values of the page
    /// they no longer take: they may have been changed since it set them.
    fn wishes(
        &self,
        loaded: &Loaded,
        of_page: &[NamedValue],
    ) -> Result<(Vec<Vec<Wish>>, Vec<RefusedValue>), ChainError> {
        let default = |param: &Param| Wish { value: param.default.clone(), of_page: None };
        let defaults = |member: &Member| member.info.params.iter().map(default).collect();
        let mut wishes: Vec<Vec<Wish>> = self.members.iter().map(defaults).collect();
        let error = |processor: u32, text| self.param_error(usize::try_from(processor).unwrap_or(usize::MAX), text);
        for (processor, of_pipeline) in (0..).zip(&loaded.processors) {
            for (id, json) in &of_pipeline.params {
                let value = NamedValue { processor, id: id.clone(), json: json.clone() };
                let (place, index, parsed) = self.parse_param(&value).map_err(|text| error(processor, text))?;
                wishes[place][index].value = parsed;
            }
        }
        let mut refused = Vec::new();
        for value in of_page {
            match self.parse_param(value) {
                Ok((place, index, parsed)) => wishes[place][index].of_page = Some(parsed),
                Err(text) => {
                    self.outbox.log(LogLevel::Warn, &format!("a value that a page had set is left: {text}"));
                    refused.push(refused_value(value.processor, &value.id, &text));
                }
            }
        }
        Ok((wishes, refused))
    }

    fn param_error(&self, place: usize, text: String) -> ChainError {
        let processor = self.members.get(place).map_or_else(|| place.to_string(), |member| member.name.clone());
        ChainError::Param { pipeline: self.pipeline.clone(), processor, text }
    }

    /// Refuses what would not fit the message that describes the processors, whatever values they get.
    fn check_size(&self) -> Result<(), ChainError> {
        let infos = self.infos();
        let growth = |param: &Param| match (&param.kind, &param.default) {
            (ParamKind::Text { bytes_max }, ParamValue::Text(text)) => (*bytes_max as usize).saturating_sub(text.len()),
            (ParamKind::Choice(choices), _) => choices.iter().map(String::len).max().unwrap_or(0),
            _ => 0,
        };
        let growth: usize = infos.iter().flat_map(|info| &info.params).map(growth).sum();
        let bytes = postcard::to_allocvec(&infos).map_or(usize::MAX, |bytes| bytes.len()).saturating_add(growth);
        if bytes > INFOS_BYTES_MAX {
            return Err(ChainError::Infos { pipeline: self.pipeline.clone(), bytes });
        }
        Ok(())
    }
}

fn make(name: &str, program: &Program, setting: Setting, bridge: Option<&Rc<Bridge>>) -> Result<Instance, ChainError> {
    let name = || name.to_owned();
    let remote = |about, number, setting| {
        let bridge = bridge.ok_or_else(|| ChainError::NoLink(name()))?;
        let made = Remote::create(Rc::clone(bridge), number, about, setting);
        made.map(|remote| Instance::Remote(Box::new(remote)))
            .map_err(|error| ChainError::Remote { name: name(), error })
    };
    match program {
        Program::Native(library) => {
            let made = native::Instance::create(library, setting);
            made.map(Instance::Native).map_err(|error| ChainError::Create { name: name(), error })
        }
        Program::Shared { library, number } => remote(About::Library(library.descriptor().clone()), *number, setting),
        Program::Remote { info, number } => remote(About::All((**info).clone()), *number, setting),
    }
}

/// The processor's name, or with `-2` and so on behind it when it comes again.
fn unique(name: &str, members: &[Member]) -> String {
    let is_free = |name: &str| members.iter().all(|member| member.name != name);
    if is_free(name) {
        return name.to_owned();
    }
    (2..).map(|number| format!("{name}-{number}")).find(|name| is_free(name)).unwrap_or_default()
}

/// What a chain wants: size and format of the first, the lowest rate of all, writable if any writes. The error says which
/// two do not go together: frames of a processor's own are copies, and what it changed in them would be lost.
pub(super) fn joint_want(members: &[Member]) -> Result<Wanted, String> {
    let Some((first, later)) = members.split_first() else { return Ok(Wanted::default()) };
    let mut joint = first.wanted;
    for member in later {
        let Wanted { want, writable } = member.wanted;
        if writable && !same_frames(&joint.want, &want) {
            return Err(format!(
                "`{}` changes its frames and wants {}, but `{}`, the first of the chain, wants {}; one that changes frames \
                 must take those of the first",
                member.name,
                Frames(want),
                first.name,
                Frames(joint.want)
            ));
        }
        joint.writable |= writable;
        joint.want.rate_millihertz = match (joint.want.rate_millihertz, want.rate_millihertz) {
            (0, rate) | (rate, 0) => rate,
            (one, other) => one.min(other),
        };
    }
    Ok(joint)
}

/// A want, for people.
struct Frames(Want);

impl std::fmt::Display for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let format = format!("{:?}", self.0.format).to_uppercase();
        match (self.0.width, self.0.height) {
            (0, 0) => write!(f, "{format} of the camera's size"),
            (width, 0) => write!(f, "{format} {width} wide"),
            (0, height) => write!(f, "{format} {height} high"),
            (width, height) => write!(f, "{format} of {width}x{height}"),
        }
    }
}

/// A refusal that fits an answer together with all others.
pub(super) fn refused_value(processor: u32, id: &str, text: &str) -> RefusedValue {
    let (id, text) = (cut(id, PARAM_NAME_BYTES_MAX), cut(text, REFUSED_TEXT_BYTES_MAX));
    RefusedValue { processor, id: id.to_owned(), text: text.to_owned() }
}

/// What parameters there are, for people.
pub(super) fn names_of(params: &[Param]) -> String {
    if params.is_empty() {
        return "it has none".to_owned();
    }
    let names: Vec<_> = params.iter().map(|param| format!("`{}`", param.id)).collect();
    format!("it has {}", names.join(", "))
}
