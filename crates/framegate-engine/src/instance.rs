//! One processor of a chain, wherever it runs.

use std::sync::Arc;

use framegate_abi as abi;
use framegate_codec::Image;
use framegate_wire::{Detection, ParamValue, ProcessorInfo, Status, Want};

use crate::{
    bridge::remote::{Remote, RemoteError},
    clock::Clock,
    native,
    outbox::Outbox,
    pool::Slot,
};

/// An instance of a processor. Calls never overlap.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are at most eight, and the usual one is the large one")]
pub(crate) enum Instance {
    /// A shared library in this process.
    Native(native::Instance),
    /// In a process of its own.
    Remote(Box<Remote>),
}

/// What an instance is made with.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// Place of the processor in its pipeline, from 0.
    pub(crate) place: u32,
    /// What its log lines begin with: its name in a chain, else nothing.
    pub(crate) prefix: String,
    /// Public name of the stream.
    pub(crate) stream: String,
    /// What `fg.random/1` is seeded with.
    pub(crate) seed: u64,
    /// What `fg.clock/1` tells.
    pub(crate) clock: Clock,
    /// Where its log lines and messages go.
    pub(crate) outbox: Arc<Outbox>,
}

/// What a processor wants, and whether it writes into pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    pub(crate) want: Want,
    pub(crate) writable: bool,
}

/// A call that failed: a word for programs and a text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) text: String,
}

/// What a processor said of one frame.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: Status,
    pub(crate) detections: Vec<Detection>,
    /// JSON text, or empty.
    pub(crate) data: Vec<u8>,
    /// The picture it gave, if one was wanted.
    pub(crate) image: Option<Image>,
}

impl Refusal {
    /// A refusal by the processor itself.
    pub(crate) fn of_processor(text: String) -> Self {
        Self { code: "processor".to_owned(), text }
    }
}

impl From<Refusal> for Status {
    fn from(Refusal { code, text }: Refusal) -> Self {
        Self::Error { code, text }
    }
}

impl Instance {
    /// What it is like, its parameters at their present values.
    pub(crate) fn info(&self) -> ProcessorInfo {
        match self {
            Self::Native(instance) => instance.info(),
            Self::Remote(instance) => instance.info(),
        }
    }

    /// What it wants now.
    pub(crate) fn wanted(&self) -> Wanted {
        match self {
            Self::Native(instance) => instance.wanted(),
            Self::Remote(instance) => instance.wanted(),
        }
    }

    /// Whether it has shown that it can give pictures of its own.
    pub(crate) fn returns_image(&self) -> bool {
        match self {
            Self::Native(instance) => instance.returns_image(),
            Self::Remote(instance) => instance.returns_image(),
        }
    }

    /// Sets parameter `index` to a value that was checked against it. The error says why the processor refused.
    pub(crate) fn set_param(&mut self, index: usize, value: &ParamValue) -> Result<(), String> {
        match self {
            Self::Native(instance) => instance.set_param(index, value),
            Self::Remote(instance) => instance.set_param(index, value),
        }
    }

    /// The parameters are set: runs the initialisation of authors who expect that.
    pub(crate) fn start(&mut self) -> Result<(), RemoteError> {
        match self {
            Self::Native(_) => Ok(()),
            Self::Remote(instance) => instance.start(),
        }
    }

    /// How the process it runs in went, if that is another one and has gone.
    pub(crate) fn end(&self) -> Option<String> {
        match self {
            Self::Native(_) => None,
            Self::Remote(instance) => instance.end(),
        }
    }

    /// Gives it the state of an instance before it; before the first `configure`. The error says why it is not usable.
    /// `memory` is that of a link, through which a remote instance gets it.
    pub(crate) fn load_state(&mut self, version: u32, bytes: &[u8], memory: Option<&mut Slot>) -> Result<(), String> {
        match (self, memory) {
            (Self::Native(instance), _) => instance.load_state(version, bytes),
            (Self::Remote(instance), Some(memory)) => instance.load_state(version, bytes, memory),
            (Self::Remote(_), None) => Err("its process has no memory to take it from".to_owned()),
        }
    }

    /// Its state and the state's version; `None` when there is nothing to keep.
    pub(crate) fn save_state(&mut self) -> Option<(u32, Vec<u8>)> {
        match self {
            Self::Native(instance) => instance.save_state(),
            Self::Remote(instance) => instance.save_state(),
        }
    }

    /// Hands it a message of the page. The error says why it was not taken.
    pub(crate) fn receive(&mut self, json: &[u8]) -> Result<(), String> {
        match self {
            Self::Native(instance) => instance.receive(json),
            Self::Remote(instance) => instance.receive(json),
        }
    }

    /// Announces frames of another size or format.
    pub(crate) fn configure(&mut self, config: &abi::Config) -> Result<(), Refusal> {
        match self {
            Self::Native(instance) => instance.configure(config),
            Self::Remote(instance) => instance.configure(config),
        }
    }

    /// Hands it one frame, whose planes stay valid and unread by others during the call.
    pub(crate) fn process(&mut self, frame: &abi::Frame, is_image_wanted: bool) -> Said {
        match self {
            Self::Native(instance) => instance.process(frame, is_image_wanted),
            Self::Remote(instance) => instance.process(frame, is_image_wanted),
        }
    }

    /// Gives back the memory of an earlier [`Said::data`], so that the next one need not be allocated.
    pub(crate) fn reuse(&mut self, data: Vec<u8>) {
        match self {
            Self::Native(instance) => instance.reuse(data),
            Self::Remote(instance) => instance.reuse(data),
        }
    }

    /// The last call.
    pub(crate) fn destroy(self) {
        match self {
            Self::Native(instance) => instance.destroy(),
            Self::Remote(instance) => instance.destroy(),
        }
    }
}
