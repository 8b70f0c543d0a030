//! Processors that are shared libraries in this process: framegate's side of the C interface.
//!
//! `side.rs` is what a processor may call, `report.rs` what it says of a frame, `drawing.rs` a picture it gives back,
//! `table.rs` its parameters; here is how it is called.

mod drawing;
pub(crate) mod report;
mod side;
mod table;

use std::{
    ffi::{CStr, CString},
    ptr::NonNull,
};

use framegate_abi as abi;
use framegate_wire::{
    Descriptor, LogLevel, Param, ParamKind, ParamValue, ProcessorInfo, Status,
    limits::{STATE_BYTES_MAX, TEXT_BYTES_MAX},
};

use crate::{
    instance::{Refusal, Said, Setting, Wanted},
    library::Library,
    outbox::cut,
};
use side::{Side, lock, size_of_u32};
use table::TableError;

/// Why a processor instance could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CreateError {
    /// `create` said so, and perhaps why.
    #[error("its create returned {}{}", StatusText(*.status), Reason(.reason.as_deref()))]
    Refused { status: i32, reason: Option<String> },
    /// It succeeded without an instance.
    #[error("its create returned FG_OK but no processor")]
    Nothing,
    /// The instance is unusable.
    #[error("its create gave an fg_processor whose struct_size is too small; set it to sizeof(fg_processor)")]
    Size,
    /// There is nothing to call.
    #[error("its create gave an fg_processor whose process is NULL")]
    NoProcess,
    /// An extension is not as the header says.
    #[error("its extension {id} has a struct_size that is too small or a function that is NULL")]
    Extension { id: &'static str },
    /// Its parameters are not as the header says.
    #[error("its parameters: {0}")]
    Params(#[from] TableError),
}

/// What a processor said before it failed.
struct Reason<'a>(Option<&'a str>);

impl std::fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// A status code with its name.
struct StatusText(i32);

impl std::fmt::Display for StatusText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.0 {
            abi::ERROR => "FG_ERROR",
            abi::ERROR_ARGUMENT => "FG_ERROR_ARGUMENT",
            abi::ERROR_UNSUPPORTED => "FG_ERROR_UNSUPPORTED",
            abi::ERROR_LIMIT => "FG_ERROR_LIMIT",
            abi::ERROR_NOT_FINITE => "FG_ERROR_NOT_FINITE",
            code => return write!(f, "{code}"),
        };
        write!(f, "{name} ({})", self.0)
    }
}

type SetParam = unsafe extern "C" fn(*mut abi::Processor, u32, *const abi::ParamValue) -> i32;
type SaveState = unsafe extern "C" fn(*mut abi::Processor, *mut std::ffi::c_void, u64) -> i64;
type LoadState = unsafe extern "C" fn(*mut abi::Processor, u32, *const std::ffi::c_void, u64) -> i32;
type Receive = unsafe extern "C" fn(*mut abi::Processor, *const std::ffi::c_char, u64) -> i32;

/// One instance of a processor.
#[derive(Debug)]
pub(crate) struct Instance {
    processor: NonNull<abi::Processor>,
    process: unsafe extern "C" fn(*mut abi::Processor, *const abi::Frame, *const abi::Out) -> i32,
    side: &'static Side,
    descriptor: Descriptor,
    params: Vec<Param>,
    set: Option<SetParam>,
    state: Option<State>,
    receive: Option<Receive>,
}

/// `fg.state/1` of a processor.
#[derive(Debug)]
struct State {
    version: u32,
    save: SaveState,
    load: LoadState,
    /// What `save` writes into; empty until it is asked for the first time.
    scratch: Vec<u8>,
    /// Whether the log has been told that saving fails.
    is_failing: bool,
}

impl Instance {
    /// Calls the processor's `create` and reads what the instance offers.
    pub(crate) fn create(library: &Library, setting: Setting) -> Result<Self, CreateError> {
        let descriptor = library.descriptor();
        let side = Side::leak(setting, descriptor.level, library.folder());
        let mut made = std::ptr::null_mut();
        let create = library.create().ok_or(CreateError::Nothing)?;
        // SAFETY: `create` is the function of a checked entry; both pointers are valid, `host` for the process's life.
        let status = unsafe { create(&side.host, &mut made) };
        if status < 0 {
            return Err(CreateError::Refused { status, reason: lock(&side.last_error).take() });
        }
        let processor = NonNull::new(made).ok_or(CreateError::Nothing)?;
        // SAFETY: the header demands a processor that is valid until `destroy`; its first field is its size.
        let size = unsafe { (&raw const (*processor.as_ptr()).struct_size).read() };
        if size < size_of_u32::<abi::Processor>() {
            return Err(CreateError::Size);
        }
        // SAFETY: as above, and the struct is as large as the header's.
        let process = unsafe { processor.as_ref() }.process.ok_or(CreateError::NoProcess)?;
        let (params, set) = match extension::<abi::Params>(processor, abi::EXT_PARAMS, "fg.params/1")? {
            // SAFETY: the processor vouches for its table, which is unchanged until `destroy`.
            Some(offered) if offered.count > 0 => (unsafe { table::read(&offered) }?, offered.set),
            _ => (Vec::new(), None),
        };
        if set.is_none() && !params.is_empty() {
            return Err(CreateError::Extension { id: "fg.params/1" });
        }
        let state = extension::<abi::State>(processor, abi::EXT_STATE, "fg.state/1")?.map(State::of).transpose()?;
        let receive = match extension::<abi::Message>(processor, abi::EXT_MESSAGE, "fg.message/1")? {
            Some(offered) => Some(offered.receive.ok_or(CreateError::Extension { id: "fg.message/1" })?),
            None => None,
        };
        Ok(Self { processor, process, side, descriptor: descriptor.clone(), params, set, state, receive })
    }

    /// What the processor is like.
    pub(crate) fn info(&self) -> ProcessorInfo {
        let Wanted { want, writable } = self.wanted();
        ProcessorInfo {
            descriptor: self.descriptor.clone(),
            params: self.params.clone(),
            want,
            writable,
            has_state: self.state.is_some(),
            takes_messages: self.receive.is_some(),
        }
    }

    /// What the processor wants now.
    pub(crate) fn wanted(&self) -> Wanted {
        *lock(&self.side.wanted)
    }

    /// Whether the processor has asked for `fg.image/1`.
    pub(crate) fn returns_image(&self) -> bool {
        self.side.returns_image()
    }

    /// Calls `set` of `fg.params/1`.
    pub(crate) fn set_param(&mut self, index: usize, value: &ParamValue) -> Result<(), String> {
        let (Some(set), Some(param)) = (self.set, self.params.get_mut(index)) else {
            return Err("it has no such parameter".to_owned());
        };
        let text = match value {
            ParamValue::Text(text) => CString::new(text.as_str()).map_err(|_| "its text contains a 0".to_owned())?,
            _ => CString::default(),
        };
        let (kind, number) = raw_value(&param.kind, value);
        let text = if kind == abi::PARAM_TEXT { text.as_ptr() } else { std::ptr::null() };
        let raw = abi::ParamValue { struct_size: size_of_u32::<abi::ParamValue>(), kind, number, text };
        let place = u32::try_from(index).unwrap_or(u32::MAX);
        *lock(&self.side.last_error) = None;
        // SAFETY: the processor is valid until `destroy`, which takes `self`; the value and its text live through the
        // call; calls never overlap because of `&mut self`.
        let status = unsafe { set(self.processor.as_ptr(), place, &raw const raw) };
        if status < 0 {
            let reason = lock(&self.side.last_error).take();
            return Err(format!("the processor refused it with {}{}", StatusText(status), Reason(reason.as_deref())));
        }
        param.value = value.clone();
        Ok(())
    }

    /// Calls `load` of `fg.state/1`.
    pub(crate) fn load_state(&mut self, version: u32, bytes: &[u8]) -> Result<(), String> {
        let Some(state) = &self.state else { return Err("it keeps no state any more".to_owned()) };
        // SAFETY: the processor is valid until `destroy`, which takes `self`; the bytes live through the call; calls never
        // overlap because of `&mut self`.
        let status =
            unsafe { (state.load)(self.processor.as_ptr(), version, bytes.as_ptr().cast(), bytes.len() as u64) };
        if status < 0 { Err(format!("load of version {version} returned {}", StatusText(status))) } else { Ok(()) }
    }

    /// Calls `save` of `fg.state/1`.
    pub(crate) fn save_state(&mut self) -> Option<(u32, Vec<u8>)> {
        let state = self.state.as_mut()?;
        state.scratch.resize(STATE_BYTES_MAX, 0);
        let capacity = state.scratch.len() as u64;
        // SAFETY: the processor is valid until `destroy`, which takes `self`; the memory is as large as said; calls never
        // overlap because of `&mut self`.
        let written = unsafe { (state.save)(self.processor.as_ptr(), state.scratch.as_mut_ptr().cast(), capacity) };
        let problem = match usize::try_from(written) {
            Ok(length) if length <= STATE_BYTES_MAX => {
                state.is_failing = false;
                return (length > 0).then(|| (state.version, state.scratch[..length].to_vec()));
            }
            Ok(length) => format!("its state has {length} bytes, at most {STATE_BYTES_MAX}"),
            Err(_) => format!("save returned {}", StatusText(i32::try_from(written).unwrap_or(i32::MIN))),
        };
        if !std::mem::replace(&mut state.is_failing, true) {
            let text = format!("`{}`: {problem}; a new engine will begin without it", self.descriptor.name);
            self.side.setting.outbox.log(LogLevel::Warn, &text);
        }
        None
    }

    /// Calls `receive` of `fg.message/1`.
    pub(crate) fn receive(&mut self, json: &[u8]) -> Result<(), String> {
        let Some(receive) = self.receive else { return Err("it takes no messages".to_owned()) };
        // SAFETY: the processor is valid until `destroy`, which takes `self`; the bytes live through the call; calls never
        // overlap because of `&mut self`.
        let status = unsafe { receive(self.processor.as_ptr(), json.as_ptr().cast(), json.len() as u64) };
        if status < 0 { Err(format!("receive returned {}", StatusText(status))) } else { Ok(()) }
    }

    /// Calls `configure`, if there is one.
    pub(crate) fn configure(&mut self, config: &abi::Config) -> Result<(), Refusal> {
        // SAFETY: the processor is valid until `destroy`, which takes `self`.
        let Some(configure) = (unsafe { self.processor.as_ref() }).configure else { return Ok(()) };
        // SAFETY: as above; `config` is valid during the call; calls never overlap because of `&mut self`.
        let status = unsafe { configure(self.processor.as_ptr(), config) };
        if status >= 0 {
            return Ok(());
        }
        let (width, height) = (config.width, config.height);
        let text = format!("configure returned {} for frames of {width}x{height}", StatusText(status));
        Err(Refusal::of_processor(text))
    }

    /// Calls `process`.
    pub(crate) fn process(&mut self, frame: &abi::Frame, is_image_wanted: bool) -> Said {
        self.side.begin(is_image_wanted);
        // SAFETY: the processor is valid until `destroy`, which takes `self`; `frame` and what it points to live through
        // the call, `out` for ever; calls never overlap because of `&mut self`.
        let status = unsafe { (self.process)(self.processor.as_ptr(), frame, &self.side.out) };
        let mut report = lock(&self.side.report);
        let status = match report.refusal.take() {
            Some((code, text)) => Status::Error { code: code.to_owned(), text: cut(&text, TEXT_BYTES_MAX).to_owned() },
            None if status < 0 => Refusal::of_processor(format!("process returned {}", StatusText(status))).into(),
            None => Status::Ok,
        };
        let (detections, data) = (std::mem::take(&mut report.detections), std::mem::take(&mut report.data));
        let image = if report.is_frame_the_image {
            // SAFETY: the planes of a frame of ours are as large as it says, and valid until the caller's borrow ends.
            unsafe { drawing::of_frame(frame) }
        } else {
            report.image.take()
        };
        Said { status, detections, data, image }
    }

    /// Takes back the memory of an earlier result's data.
    pub(crate) fn reuse(&mut self, data: Vec<u8>) {
        lock(&self.side.report).data = data;
    }

    /// Calls `destroy`, if there is one.
    pub(crate) fn destroy(self) {
        // SAFETY: the processor is valid until this call; `self` is consumed, so that no other follows.
        unsafe {
            if let Some(destroy) = self.processor.as_ref().destroy {
                destroy(self.processor.as_ptr());
            }
        }
    }
}

impl State {
    fn of(offered: abi::State) -> Result<Self, CreateError> {
        let (Some(save), Some(load)) = (offered.save, offered.load) else {
            return Err(CreateError::Extension { id: "fg.state/1" });
        };
        Ok(Self { version: offered.version, save, load, scratch: Vec::new(), is_failing: false })
    }
}

/// A kind of the interface, and the number of a value that is no text.
fn raw_value(kind: &ParamKind, value: &ParamValue) -> (u32, f64) {
    #[expect(clippy::cast_precision_loss, reason = "checked to be a whole number that a double holds, or a short list")]
    match (kind, value) {
        (_, ParamValue::Bool(value)) => (abi::PARAM_BOOL, f64::from(u8::from(*value))),
        (_, ParamValue::Int(value)) => (abi::PARAM_INT, *value as f64),
        (_, ParamValue::Float(value)) => (abi::PARAM_FLOAT, *value),
        (_, ParamValue::Color(value)) => (abi::PARAM_COLOR, f64::from(*value)),
        (ParamKind::Choice(choices), ParamValue::Text(text)) => {
            let index = choices.iter().position(|choice| choice == text).unwrap_or(0);
            (abi::PARAM_ENUM, index as f64)
        }
        (_, ParamValue::Text(_)) => (abi::PARAM_TEXT, 0.0),
    }
}

/// A copy of an extension that the processor offers.
fn extension<T: Copy>(
    processor: NonNull<abi::Processor>,
    id: &'static CStr,
    name: &'static str,
) -> Result<Option<T>, CreateError> {
    // SAFETY: the processor is valid until `destroy`.
    let Some(get) = (unsafe { processor.as_ref() }).get_extension else { return Ok(None) };
    // SAFETY: as above; `id` ends with 0.
    let offered = unsafe { get(processor.as_ptr(), id.as_ptr()) }.cast::<T>();
    if offered.is_null() {
        return Ok(None);
    }
    // SAFETY: every extension of the header begins with its size; it is read before the rest.
    let size = unsafe { offered.cast::<u32>().read() };
    if size < size_of_u32::<T>() {
        return Err(CreateError::Extension { id: name });
    }
    // SAFETY: it is as large as the struct and lives until `destroy`, as the header demands.
    Ok(Some(unsafe { offered.read() }))
}
