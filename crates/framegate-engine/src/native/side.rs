//! What a processor may call: the host, its extensions, and where results go.

use std::{
    ffi::{CStr, CString, c_char, c_void},
    os::unix::ffi::OsStrExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use framegate_abi as abi;
use framegate_wire::{
    LogLevel, PixelFormat, Want,
    limits::{LABEL_BYTES_MAX, MESSAGE_BYTES_MAX, RESULT_DATA_BYTES_MAX, SIDE_MAX, TEXT_BYTES_MAX},
};
use serde::de::IgnoredAny;

use super::{drawing, report::Report};
use crate::{
    instance::{Setting, Wanted},
    library::cut_text,
    random::Random,
};

/// What the processor's pointers lead back to. Lives as long as the process: a thread of the processor may outlast its
/// instance.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) host: abi::Host,
    pub(super) out: abi::Out,
    pub(super) setting: Setting,
    pub(super) report: Mutex<Report>,
    pub(super) wanted: Mutex<Wanted>,
    /// The last line of level error.
    pub(super) last_error: Mutex<Option<String>>,
    want_extension: abi::HostWant,
    message_extension: abi::HostMessage,
    clock_extension: abi::HostClock,
    random_extension: abi::HostRandom,
    image_extension: abi::OutImage,
    /// Level 1 has no wants.
    offers_want: bool,
    random: Mutex<Random>,
    returns_image: AtomicBool,
}

impl Side {
    pub(super) fn leak(setting: Setting, level: u32, folder: &Path) -> &'static Self {
        let text = |text: &[u8]| CString::new(text).unwrap_or_default().into_raw().cast_const();
        let (folder, stream) = (text(folder.as_os_str().as_bytes()), text(setting.stream.as_bytes()));
        let random = Mutex::new(Random::new(setting.seed, setting.place));
        let side = Box::into_raw(Box::new(Self {
            host: abi::Host {
                struct_size: size_of_u32::<abi::Host>(),
                abi_version: abi::ABI_VERSION,
                context: std::ptr::null_mut(),
                get_extension: host_extension,
                log,
                folder,
                stream,
            },
            out: abi::Out {
                struct_size: size_of_u32::<abi::Out>(),
                reserved: 0,
                context: std::ptr::null_mut(),
                detection: add_detection,
                data: set_data,
                get_extension: out_extension,
                error: set_error,
            },
            want_extension: abi::HostWant { struct_size: size_of_u32::<abi::HostWant>(), reserved: 0, set: set_want },
            message_extension: abi::HostMessage {
                struct_size: size_of_u32::<abi::HostMessage>(),
                reserved: 0,
                send: send_message,
            },
            clock_extension: abi::HostClock { struct_size: size_of_u32::<abi::HostClock>(), reserved: 0, now_ns },
            random_extension: abi::HostRandom { struct_size: size_of_u32::<abi::HostRandom>(), reserved: 0, fill },
            image_extension: abi::OutImage {
                struct_size: size_of_u32::<abi::OutImage>(),
                reserved: 0,
                is_wanted,
                submit,
                submit_frame,
            },
            offers_want: level >= 2,
            random,
            returns_image: AtomicBool::new(false),
            setting,
            report: Mutex::default(),
            wanted: Mutex::default(),
            last_error: Mutex::default(),
        }));
        // SAFETY: `side` was just leaked: it is valid for ever, and nothing else points to it yet.
        unsafe {
            (*side).host.context = side.cast();
            (*side).out.context = side.cast();
            &*side
        }
    }

    /// Begins a frame's report.
    pub(super) fn begin(&self, is_image_wanted: bool) {
        lock(&self.report).begin(is_image_wanted);
    }

    pub(super) fn returns_image(&self) -> bool {
        self.returns_image.load(Ordering::Relaxed)
    }

    fn log(&self, level: LogLevel, text: &str) {
        if level == LogLevel::Error {
            *lock(&self.last_error) = Some(text.to_owned());
        }
        match self.setting.prefix.as_str() {
            "" => self.setting.outbox.log(level, text),
            prefix => self.setting.outbox.log(level, &format!("{prefix}{text}")),
        }
    }

    /// # Safety
    /// `host` is NULL, or an `fg_host` whose context is that of [`Side::leak`].
    unsafe fn of_host(host: *const abi::Host) -> Option<&'static Self> {
        // SAFETY: the caller vouches for `host`; the context is a leaked `Side`.
        unsafe { host.as_ref()?.context.cast::<Self>().as_ref() }
    }

    /// # Safety
    /// `out` is NULL, or an `fg_out` whose context is that of [`Side::leak`].
    unsafe fn of_out(out: *const abi::Out) -> Option<&'static Self> {
        // SAFETY: the caller vouches for `out`; the context is a leaked `Side`.
        unsafe { out.as_ref()?.context.cast::<Self>().as_ref() }
    }
}

pub(super) const fn size_of_u32<T>() -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "structs of the interface have some hundred bytes")]
    let size = size_of::<T>() as u32;
    size
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The beginning of a processor's text, as far as a line goes.
///
/// # Safety
/// `text` is not NULL and ends with 0, or goes on for more than a line.
unsafe fn line<'a>(text: *const c_char) -> std::borrow::Cow<'a, str> {
    // SAFETY: the caller vouches for it; no more than the limit is read.
    String::from_utf8_lossy(unsafe {
        std::slice::from_raw_parts(text.cast::<u8>(), libc::strnlen(text, TEXT_BYTES_MAX))
    })
}

/// Defines functions that processors call: none lets a panic out into foreign frames.
macro_rules! callbacks {
    ($(
        $(#[$doc:meta])*
        fn $name:ident($($argument:ident: $kind:ty),*) -> $answer:ty, after a panic $fallback:expr, $body:block
    )*) => {$(
        $(#[$doc])*
        unsafe extern "C" fn $name($($argument: $kind),*) -> $answer {
            catch_unwind(AssertUnwindSafe(|| $body)).unwrap_or($fallback)
        }
    )*};
}

callbacks! {
    /// `fg_host.get_extension`. # Safety: as the header says.
    fn host_extension(host: *const abi::Host, id: *const c_char) -> *const c_void, after a panic std::ptr::null(), {
        // SAFETY: the processor passes the host it was given, and a text or NULL.
        let (side, id) = unsafe { (Side::of_host(host), if id.is_null() { c"" } else { CStr::from_ptr(id) }) };
        let Some(side) = side else { return std::ptr::null() };
        match id {
            id if id == abi::EXT_WANT && side.offers_want => (&raw const side.want_extension).cast(),
            id if id == abi::EXT_MESSAGE => (&raw const side.message_extension).cast(),
            id if id == abi::EXT_CLOCK => (&raw const side.clock_extension).cast(),
            id if id == abi::EXT_RANDOM => (&raw const side.random_extension).cast(),
            _ => std::ptr::null(),
        }
    }

    /// `fg_host.log`. # Safety: as the header says.
    fn log(host: *const abi::Host, level: i32, text: *const c_char) -> (), after a panic (), {
        // SAFETY: the processor passes the host it was given.
        let Some(side) = (unsafe { Side::of_host(host) }) else { return };
        if text.is_null() {
            return;
        }
        let level = match level {
            abi::LOG_ERROR => LogLevel::Error,
            abi::LOG_WARN => LogLevel::Warn,
            abi::LOG_DEBUG => LogLevel::Debug,
            _ => LogLevel::Info,
        };
        // SAFETY: not NULL; the text ends with 0, as the header demands.
        side.log(level, unsafe { line(text) }.trim_end());
    }

    /// `fg_host_want.set`. # Safety: as the header says.
    fn set_want(host: *const abi::Host, want: *const abi::Want) -> i32, after a panic abi::ERROR, {
        // SAFETY: the processor passes the host it was given, and NULL or a want whose first field is its size.
        let (side, size) = unsafe {
            (Side::of_host(host), if want.is_null() { 0 } else { (&raw const (*want).struct_size).read() })
        };
        let Some(side) = side else { return abi::ERROR_ARGUMENT };
        if size < size_of_u32::<abi::Want>() {
            return abi::ERROR_ARGUMENT;
        }
        // SAFETY: it is at least as large as the struct.
        let want = unsafe { want.read() };
        match parse_want(&want) {
            Ok(wanted) => {
                *lock(&side.wanted) = wanted;
                abi::OK
            }
            Err(status) => status,
        }
    }

    /// `fg_host_message.send`. # Safety: as the header says.
    fn send_message(host: *const abi::Host, json: *const c_char, length: u64) -> i32, after a panic abi::ERROR, {
        // SAFETY: the processor passes the host it was given.
        let Some(side) = (unsafe { Side::of_host(host) }) else { return abi::ERROR_ARGUMENT };
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= MESSAGE_BYTES_MAX) else {
            return abi::ERROR_LIMIT;
        };
        if json.is_null() {
            return abi::ERROR_ARGUMENT;
        }
        // SAFETY: not NULL, and the processor says that many bytes are there.
        let json = unsafe { std::slice::from_raw_parts(json.cast::<u8>(), length) };
        if serde_json::from_slice::<IgnoredAny>(json).is_err() || std::str::from_utf8(json).is_err() {
            return abi::ERROR_ARGUMENT;
        }
        if side.setting.outbox.message(side.setting.place, json) { abi::OK } else { abi::ERROR_LIMIT }
    }

    /// `fg_host_clock.now_ns`. # Safety: as the header says.
    fn now_ns(host: *const abi::Host) -> i64, after a panic 0, {
        // SAFETY: the processor passes the host it was given.
        unsafe { Side::of_host(host) }.map_or(0, |side| side.setting.clock.now_ns())
    }

    /// `fg_host_random.fill`. # Safety: as the header says.
    fn fill(host: *const abi::Host, bytes: *mut c_void, length: u64) -> i32, after a panic abi::ERROR, {
        // SAFETY: the processor passes the host it was given.
        let Some(side) = (unsafe { Side::of_host(host) }) else { return abi::ERROR_ARGUMENT };
        // More than half the address space is no memory of anybody.
        let Some(length) = usize::try_from(length).ok().filter(|length| isize::try_from(*length).is_ok()) else {
            return abi::ERROR_LIMIT;
        };
        if length == 0 {
            return abi::OK;
        }
        if bytes.is_null() {
            return abi::ERROR_ARGUMENT;
        }
        let mut random = lock(&side.random);
        let mut number = [0; size_of::<u64>()];
        for from in (0..length).step_by(number.len()) {
            random.fill(&mut number);
            // SAFETY: the processor says that `length` bytes are there; they may hold nothing yet, so they are only written.
            unsafe {
                let to = bytes.cast::<u8>().add(from);
                std::ptr::copy_nonoverlapping(number.as_ptr(), to, number.len().min(length - from));
            }
        }
        abi::OK
    }

    /// `fg_out.detection`. # Safety: as the header says.
    fn add_detection(out: *const abi::Out, detection: *const abi::Detection) -> i32, after a panic abi::ERROR, {
        // SAFETY: the processor passes the out it was given, and NULL or a detection whose first field is its size.
        let (side, size) = unsafe {
            (Side::of_out(out), if detection.is_null() { 0 } else { (&raw const (*detection).struct_size).read() })
        };
        let Some(side) = side else { return abi::ERROR_ARGUMENT };
        let mut report = lock(&side.report);
        if size < size_of_u32::<abi::Detection>() {
            return report.refuse_struct();
        }
        // SAFETY: it is at least as large as the struct; the label is NULL or ends with 0; there are as many keypoints
        // as it says, or none when the pointer is NULL.
        let (raw, label, keypoints) = unsafe {
            let raw = detection.read();
            let count = raw.keypoint_count.min(abi::KEYPOINTS_MAX) as usize;
            let keypoints: &[abi::Keypoint] =
                if raw.keypoints.is_null() { &[] } else { std::slice::from_raw_parts(raw.keypoints, count) };
            let label = if raw.label.is_null() { Some(String::new()) } else { cut_text(raw.label, LABEL_BYTES_MAX) };
            (raw, label, keypoints)
        };
        report.add(&raw, label, keypoints)
    }

    /// `fg_out.data`. # Safety: as the header says.
    fn set_data(out: *const abi::Out, json: *const c_char, length: u64) -> i32, after a panic abi::ERROR, {
        // SAFETY: the processor passes the out it was given.
        let Some(side) = (unsafe { Side::of_out(out) }) else { return abi::ERROR_ARGUMENT };
        let mut report = lock(&side.report);
        if json.is_null() && length > 0 {
            return report.refuse_null_data();
        }
        match usize::try_from(length) {
            Ok(length) if length <= RESULT_DATA_BYTES_MAX => {
                if length == 0 {
                    return report.set_data(&[]);
                }
                // SAFETY: not NULL, and the processor says that many bytes are there.
                report.set_data(unsafe { std::slice::from_raw_parts(json.cast(), length) })
            }
            _ => report.refuse_large_data(length),
        }
    }

    /// `fg_out.error`. # Safety: as the header says.
    fn set_error(out: *const abi::Out, text: *const c_char) -> i32, after a panic abi::ERROR, {
        // SAFETY: the processor passes the out it was given.
        let Some(side) = (unsafe { Side::of_out(out) }) else { return abi::ERROR_ARGUMENT };
        let mut report = lock(&side.report);
        if text.is_null() {
            return report.refuse_null_error();
        }
        // SAFETY: not NULL; the text ends with 0, as the header demands.
        report.refusal = Some(("processor", unsafe { line(text) }.trim_end().to_owned()));
        abi::OK
    }

    /// `fg_out.get_extension`. # Safety: as the header says.
    fn out_extension(out: *const abi::Out, id: *const c_char) -> *const c_void, after a panic std::ptr::null(), {
        // SAFETY: the processor passes the out it was given, and a text or NULL.
        let (side, id) = unsafe { (Side::of_out(out), if id.is_null() { c"" } else { CStr::from_ptr(id) }) };
        match side {
            Some(side) if id == abi::EXT_IMAGE => {
                side.returns_image.store(true, Ordering::Relaxed);
                (&raw const side.image_extension).cast()
            }
            _ => std::ptr::null(),
        }
    }

    /// `fg_out_image.is_wanted`. # Safety: as the header says.
    fn is_wanted(out: *const abi::Out) -> i32, after a panic 0, {
        // SAFETY: the processor passes the out it was given.
        unsafe { Side::of_out(out) }.map_or(0, |side| i32::from(lock(&side.report).is_image_wanted))
    }

    /// `fg_out_image.submit`. # Safety: as the header says.
    fn submit(out: *const abi::Out, picture: *const abi::Picture) -> i32, after a panic abi::ERROR, {
        // SAFETY: the processor passes the out it was given, and NULL or a picture whose first field is its size.
        let (side, size) = unsafe {
            (Side::of_out(out), if picture.is_null() { 0 } else { (&raw const (*picture).struct_size).read() })
        };
        let Some(side) = side else { return abi::ERROR_ARGUMENT };
        let mut report = lock(&side.report);
        if size < size_of_u32::<abi::Picture>() {
            return report.refuse_image(drawing::DrawingError::Struct);
        }
        // SAFETY: it is at least as large as the struct.
        let picture = unsafe { picture.read() };
        let layout = match drawing::check(&picture) {
            Ok(layout) => layout,
            Err(error) => return report.refuse_image(error),
        };
        report.is_frame_the_image = false;
        if report.is_image_wanted {
            // SAFETY: the processor says that its planes are as large as it says, which `check` has bounded.
            report.image = Some(unsafe { drawing::of_picture(&picture, layout) });
        }
        abi::OK
    }

    /// `fg_out_image.submit_frame`. # Safety: as the header says.
    fn submit_frame(out: *const abi::Out) -> i32, after a panic abi::ERROR, {
        // SAFETY: the processor passes the out it was given.
        let Some(side) = (unsafe { Side::of_out(out) }) else { return abi::ERROR_ARGUMENT };
        let mut report = lock(&side.report);
        report.image = None;
        report.is_frame_the_image = report.is_image_wanted;
        abi::OK
    }
}

fn parse_want(want: &abi::Want) -> Result<Wanted, i32> {
    let format = match want.format {
        0 => PixelFormat::Bgr24,
        format => drawing::pixel_format(format).ok_or(abi::ERROR_UNSUPPORTED)?,
    };
    if want.width > SIDE_MAX || want.height > SIDE_MAX {
        return Err(abi::ERROR_LIMIT);
    }
    // What a later version lets a processor ask for cannot be given; it may ask again without.
    if want.flags & !abi::WANT_WRITABLE != 0 {
        return Err(abi::ERROR_UNSUPPORTED);
    }
    let (width, height, rate_millihertz) = (want.width, want.height, want.rate_millihertz);
    let writable = want.flags & abi::WANT_WRITABLE != 0;
    Ok(Wanted { want: Want { width, height, format, rate_millihertz }, writable })
}
