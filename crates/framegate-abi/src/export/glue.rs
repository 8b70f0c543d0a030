//! The C interface around a [`Processor`]. Every function here is called by framegate, as `framegate.h` promises.

use core::ffi::{CStr, c_char, c_void};
use core::marker::PhantomData;
use core::{ptr, slice};
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Config, Format, Frame, Host, Level, Out, Param, Processor, Value, host::c_text, struct_size};
use crate::raw;

/// What `fg_entry_1` is.
#[derive(Debug)]
#[repr(transparent)]
pub struct StaticEntry(raw::Entry);

// SAFETY: it holds pointers to constants only, which nobody writes.
unsafe impl Sync for StaticEntry {}

struct Describe<T>(PhantomData<T>);

impl<T: Processor> Describe<T> {
    const DESCRIPTOR: &'static raw::Descriptor = &raw::Descriptor {
        struct_size: struct_size::<raw::Descriptor>(),
        level: 2,
        name: T::NAME.as_ptr(),
        version: T::VERSION.as_ptr(),
        description: T::DESCRIPTION.as_ptr(),
        language: c"rust".as_ptr(),
    };
}

/// The entry of a processor, for [`export_processor!`](crate::export_processor).
#[must_use]
pub const fn entry<T: Processor>() -> StaticEntry {
    StaticEntry(raw::Entry {
        struct_size: struct_size::<raw::Entry>(),
        abi_version: raw::ABI_VERSION,
        descriptor: Describe::<T>::DESCRIPTOR,
        create: Some(create::<T>),
    })
}

/// One processor behind the C interface. Never moved: framegate holds pointers into it.
struct Instance<T> {
    table: raw::Processor,
    params: raw::Params,
    state: raw::State,
    message: raw::Message,
    live: Live<T>,
}

/// What only [process] calls use, of which one runs at a time; all else never changes.
struct Live<T> {
    described: Described,
    host: Host,
    saved: Vec<u8>,
    processor: T,
}

/// Parameters as C reads them, and what they point to.
#[derive(Default)]
struct Described {
    params: Vec<raw::Param>,
    ids: Vec<&'static str>,
    texts: Vec<CString>,
    choices: Vec<Vec<*const c_char>>,
}

impl Described {
    fn of(table: Vec<Param>) -> Self {
        let mut described = Self::default();
        for param in table {
            let (number, text) = match &param.default {
                Value::Number(number) => (*number, ""),
                Value::Text(text) => (0.0, text.as_str()),
            };
            let choices: Vec<_> = param.choices.iter().map(|choice| described.text(choice)).collect();
            let raw = raw::Param {
                id: described.text(param.id),
                label: described.text(param.label),
                group: described.text(param.group),
                description: described.text(param.description),
                unit: described.text(param.unit),
                choices: if choices.is_empty() { ptr::null() } else { choices.as_ptr() },
                choice_count: u32::try_from(choices.len()).unwrap_or(u32::MAX),
                kind: param.kind,
                min: param.min,
                max: param.max,
                step: param.step,
                number,
                text: described.text(text),
            };
            described.choices.push(choices);
            described.params.push(raw);
            described.ids.push(param.id);
        }
        described
    }

    /// Keeps a text where C finds it; null for an empty one. The bytes of a `CString` stay where they are when the list
    /// grows.
    fn text(&mut self, text: &str) -> *const c_char {
        if text.is_empty() {
            return ptr::null();
        }
        let kept = c_text(text);
        let pointer = kept.as_ptr();
        self.texts.push(kept);
        pointer
    }
}

/// Runs a call of framegate's; an error or panic goes to `tell` as text and becomes `FG_ERROR`.
fn guarded<E: Into<String>>(call: impl FnOnce() -> Result<i32, E>, tell: impl FnOnce(&str)) -> i32 {
    let text = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(code)) => return code,
        Ok(Err(text)) => text.into(),
        Err(payload) => {
            let said = payload.downcast_ref::<&str>().copied();
            let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            let text = format!("panic: {}", said.unwrap_or("without a text"));
            // Dropping a payload may panic again, and it is not known to be harmless: it is left behind.
            Box::leak(payload);
            text
        }
    };
    // What tells is this crate's; should it panic, nothing is left to tell.
    let _ = catch_unwind(AssertUnwindSafe(|| tell(&text)));
    raw::ERROR
}

unsafe extern "C" fn create<T: Processor>(host: *const raw::Host, made: *mut *mut raw::Processor) -> i32 {
    // SAFETY: framegate gives a host that is valid until destroy returns, which closes it; or until this call fails,
    // after which `host` is closed below.
    let host = unsafe { Host::of(host) };
    let code = guarded(
        || {
            let instance = Box::into_raw(instance::<T>(&host)?);
            // SAFETY: framegate gives a place for the pointer; the box was just made and is not null.
            unsafe { *made = &raw mut (*instance).table };
            Ok::<_, String>(raw::OK)
        },
        |text| host.log(Level::Error, text),
    );
    if code < 0 {
        host.close();
    }
    code
}

fn instance<T: Processor>(host: &Host) -> Result<Box<Instance<T>>, String> {
    let mut processor = T::new(host)?;
    host.want(processor.want())?;
    let table = processor.settings().map(|settings| settings.table()).unwrap_or_default();
    let described = Described::of(table);
    let mut instance = Box::new(Instance {
        table: raw::Processor {
            struct_size: struct_size::<raw::Processor>(),
            reserved: 0,
            this: ptr::null_mut(),
            configure: Some(configure::<T>),
            process: Some(process::<T>),
            destroy: Some(destroy::<T>),
            get_extension: Some(get_extension::<T>),
        },
        params: raw::Params {
            struct_size: struct_size::<raw::Params>(),
            count: u32::try_from(described.params.len()).unwrap_or(u32::MAX),
            params: described.params.as_ptr(),
            set: Some(set::<T>),
        },
        state: raw::State {
            struct_size: struct_size::<raw::State>(),
            version: T::STATE_VERSION.unwrap_or_default(),
            save: Some(save::<T>),
            load: Some(load::<T>),
        },
        message: raw::Message { struct_size: struct_size::<raw::Message>(), reserved: 0, receive: Some(receive::<T>) },
        live: Live { described, host: host.clone(), saved: Vec::new(), processor },
    });
    instance.table.this = (&raw mut *instance).cast();
    Ok(instance)
}

/// What changes of the instance behind a table.
///
/// # Safety
/// `table` is that of an instance of this type that is not destroyed, and this is called for one [process] call at a
/// time, which framegate promises.
unsafe fn of<'a, T>(table: *mut raw::Processor) -> &'a mut Live<T> {
    // SAFETY: the caller promises it; `this` was set to the instance when it was made.
    unsafe { &mut (*(*table).this.cast::<Instance<T>>()).live }
}

unsafe extern "C" fn configure<T: Processor>(table: *mut raw::Processor, config: *const raw::Config) -> i32 {
    // SAFETY: framegate calls with its instance and a config that is valid for the call.
    let (instance, config) = unsafe { (of::<T>(table), *config) };
    let Live { processor, host, .. } = instance;
    guarded(
        || {
            let raw::Config { format, width, height, source_width, source_height, .. } = config;
            let format = Format::of(format).ok_or_else(|| format!("pixel format {format} is not known"))?;
            processor.configure(&Config { format, width, height, source_width, source_height }).map(|()| raw::OK)
        },
        |text| host.log(Level::Error, text),
    )
}

unsafe extern "C" fn process<T: Processor>(
    table: *mut raw::Processor,
    frame: *const raw::Frame,
    out: *const raw::Out,
) -> i32 {
    // SAFETY: framegate calls with its instance, and with a frame that is as the header promises for the call.
    let (instance, frame) = unsafe { (of::<T>(table), Frame::of(frame)) };
    let Some(mut frame) = frame else { return raw::ERROR_ARGUMENT };
    guarded(
        || {
            // SAFETY: framegate's `fg_out` is valid for the call.
            let mut said = unsafe { Out::of(out, &frame) };
            instance.processor.process(&mut frame, &mut said)?;
            Ok::<_, String>(if said.is_silent { raw::NO_RESULT } else { raw::OK })
        },
        |text| {
            let text = c_text(text);
            // SAFETY: as above; the text ends with 0 and is copied.
            unsafe { ((*out).error)(out, text.as_ptr()) };
        },
    )
}

unsafe extern "C" fn destroy<T: Processor>(table: *mut raw::Processor) {
    // SAFETY: framegate calls this last, with the instance that `create` made of a box.
    let instance = unsafe { Box::from_raw((*table).this.cast::<Instance<T>>()) };
    let host = instance.live.host.clone();
    guarded(
        || {
            drop(instance);
            Ok::<_, String>(raw::OK)
        },
        |text| host.log(Level::Warn, text),
    );
    host.close();
}

unsafe extern "C" fn get_extension<T: Processor>(table: *mut raw::Processor, id: *const c_char) -> *const c_void {
    // SAFETY: framegate asks with its instance and a text that ends with 0. It may ask on any thread, so only fields that
    // never change are looked at, without a reference to the whole.
    let (instance, id) = unsafe { ((*table).this.cast::<Instance<T>>(), CStr::from_ptr(id)) };
    // SAFETY: as above.
    unsafe {
        if id == raw::EXT_PARAMS && (*instance).params.count > 0 {
            (&raw const (*instance).params).cast()
        } else if id == raw::EXT_STATE && T::STATE_VERSION.is_some() {
            (&raw const (*instance).state).cast()
        } else if id == raw::EXT_MESSAGE && T::TAKES_MESSAGES {
            (&raw const (*instance).message).cast()
        } else {
            ptr::null()
        }
    }
}

unsafe extern "C" fn set<T: Processor>(table: *mut raw::Processor, index: u32, value: *const raw::ParamValue) -> i32 {
    // SAFETY: framegate calls with its instance and a value that is valid for the call, whose text is null or ends with 0.
    let (instance, value) = unsafe {
        let text = (!(*value).text.is_null()).then(|| CStr::from_ptr((*value).text).to_string_lossy().into_owned());
        (of::<T>(table), text.map_or(Value::Number((*value).number), Value::Text))
    };
    let Live { processor, described, host, .. } = instance;
    guarded(|| change(processor, described, index as usize, &value), |text| host.log(Level::Warn, text))
}

fn change<T: Processor>(processor: &mut T, described: &Described, index: usize, value: &Value) -> Result<i32, String> {
    let gone = || "there is no such parameter".to_owned();
    let id = described.ids.get(index).ok_or_else(gone)?;
    let field = processor.settings().and_then(|settings| settings.field(index)).ok_or_else(gone)?;
    let before = field.value();
    field.assign(value)?;
    let refused = match catch_unwind(AssertUnwindSafe(|| processor.setting_changed(id))) {
        Ok(Ok(())) => return Ok(raw::OK),
        Ok(Err(text)) => text,
        Err(_) => "panic in setting_changed".to_owned(),
    };
    if let Some(field) = processor.settings().and_then(|settings| settings.field(index)) {
        field.assign(&before)?;
    }
    Err(refused)
}

unsafe extern "C" fn save<T: Processor>(table: *mut raw::Processor, bytes: *mut c_void, capacity: u64) -> i64 {
    // SAFETY: framegate calls with its instance.
    let instance = unsafe { of::<T>(table) };
    let Live { processor, host, saved, .. } = instance;
    let code = guarded(
        || {
            *saved = processor.save()?;
            Ok::<_, String>(raw::OK)
        },
        |text| host.log(Level::Warn, text),
    );
    if code < 0 {
        return code.into();
    }
    if !saved.is_empty() && saved.len() as u64 <= capacity {
        // SAFETY: framegate gives `capacity` bytes of its own to write, and no fewer are there than are copied.
        unsafe { ptr::copy_nonoverlapping(saved.as_ptr(), bytes.cast::<u8>(), saved.len()) };
    }
    i64::try_from(saved.len()).unwrap_or(i64::MAX)
}

unsafe extern "C" fn load<T: Processor>(
    table: *mut raw::Processor,
    version: u32,
    bytes: *const c_void,
    length: u64,
) -> i32 {
    // SAFETY: framegate calls with its instance and `length` bytes that are valid for the call.
    let (instance, bytes) = unsafe { (of::<T>(table), borrowed(bytes.cast(), length)) };
    let Live { processor, host, .. } = instance;
    guarded(|| processor.load(version, bytes).map(|()| raw::OK), |text| host.log(Level::Warn, text))
}

unsafe extern "C" fn receive<T: Processor>(table: *mut raw::Processor, json: *const c_char, length: u64) -> i32 {
    // SAFETY: framegate calls with its instance and `length` bytes that are valid for the call.
    let (instance, json) = unsafe { (of::<T>(table), borrowed(json.cast(), length)) };
    let Live { processor, host, .. } = instance;
    guarded(
        || {
            let json = core::str::from_utf8(json).map_err(|error| error.to_string())?;
            processor.receive(json).map(|()| raw::OK)
        },
        |text| host.log(Level::Warn, text),
    )
}

/// # Safety
/// `bytes` are `length` bytes that nobody writes for `'a`; or `length` is 0.
unsafe fn borrowed<'a>(bytes: *const u8, length: u64) -> &'a [u8] {
    match usize::try_from(length) {
        // SAFETY: the caller promises it.
        Ok(length @ 1..) if !bytes.is_null() => unsafe { slice::from_raw_parts(bytes, length) },
        _ => &[],
    }
}
