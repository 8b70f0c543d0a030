//! framegate's side of the C interface: what a processor may call, and how it is called.

mod report;

use std::{
    ffi::{CStr, CString, c_char, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    ptr::NonNull,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use framegate_abi as abi;
use framegate_codec::{Layout, Matrix, Picture, Range};
use framegate_wire::{
    Detection, LogLevel, PixelFormat, Status, Want,
    limits::{RESULT_DATA_BYTES_MAX, SIDE_MAX, TEXT_BYTES_MAX},
};

use crate::{
    intake::Call,
    library::{Library, bounded_text},
    limits::DEADLINE_NS,
    outbox::Outbox,
};
use report::Report;

/// Why a processor instance could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CreateError {
    /// `create` said so.
    #[error("the processor's create returned {}", StatusText(*.0))]
    Refused(i32),
    /// It succeeded without an instance.
    #[error("the processor's create returned FG_OK but no processor")]
    Nothing,
    /// The instance is unusable.
    #[error(
        "the processor's create gave an fg_processor whose struct_size is too small; set it to sizeof(fg_processor)"
    )]
    Size,
    /// There is nothing to call.
    #[error("the processor's create gave an fg_processor whose process is NULL")]
    NoProcess,
}

/// What a processor wants, and whether it writes into pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    pub(crate) want: Want,
    pub(crate) writable: bool,
}

/// How one call of `process` or `configure` ended.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) status: Status,
    pub(crate) detections: Vec<Detection>,
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

/// What the processor's pointers lead back to. Lives as long as the process, as does the one instance.
#[derive(Debug)]
struct Side {
    host: abi::Host,
    want_extension: abi::HostWant,
    out: abi::Out,
    /// Level 1 has no wants.
    offers_want: bool,
    outbox: Arc<Outbox>,
    wanted: Mutex<Wanted>,
    report: Mutex<Report>,
}

/// One instance of a processor.
#[derive(Debug)]
pub(crate) struct Instance {
    processor: NonNull<abi::Processor>,
    process: unsafe extern "C" fn(*mut abi::Processor, *const abi::Frame, *const abi::Out) -> i32,
    side: &'static Side,
}

impl Instance {
    /// Calls the processor's `create`.
    pub(crate) fn create(library: &Library, outbox: Arc<Outbox>, stream: &str) -> Result<Self, CreateError> {
        let folder = library.image().path().parent().unwrap_or(Path::new("/"));
        let side = Side::leak(outbox, library.descriptor().level, folder, stream);
        let mut made = std::ptr::null_mut();
        let create = library.create().ok_or(CreateError::Nothing)?;
        // SAFETY: `create` is the function of a checked entry; both pointers are valid, `host` for the process's life.
        let status = unsafe { create(&side.host, &mut made) };
        if status < 0 {
            return Err(CreateError::Refused(status));
        }
        let processor = NonNull::new(made).ok_or(CreateError::Nothing)?;
        // SAFETY: the header demands a processor that is valid until `destroy`; its first field is its size.
        let size = unsafe { (&raw const (*processor.as_ptr()).struct_size).read() };
        if (size as usize) < size_of::<abi::Processor>() {
            return Err(CreateError::Size);
        }
        // SAFETY: as above, and the struct is as large as the header's.
        let process = unsafe { processor.as_ref() }.process.ok_or(CreateError::NoProcess)?;
        Ok(Self { processor, process, side })
    }

    /// What the processor wants now.
    pub(crate) fn wanted(&self) -> Wanted {
        *lock(&self.side.wanted)
    }

    /// Calls `configure`, if there is one.
    pub(crate) fn configure(&mut self, config: &abi::Config) -> Result<(), Verdict> {
        // SAFETY: the processor is valid until `destroy`, which takes `self`.
        let Some(configure) = (unsafe { self.processor.as_ref() }).configure else { return Ok(()) };
        // SAFETY: as above; `config` is valid during the call; calls never overlap because of `&mut self`.
        let status = unsafe { configure(self.processor.as_ptr(), config) };
        if status >= 0 {
            return Ok(());
        }
        let (width, height) = (config.width, config.height);
        let text = format!("configure returned {} for frames of {width}x{height}", StatusText(status));
        Err(Verdict { status: Status::Error { code: "processor".to_owned(), text }, detections: Vec::new() })
    }

    /// Calls `process`.
    pub(crate) fn process(&mut self, frame: &abi::Frame) -> Verdict {
        lock(&self.side.report).clear();
        // SAFETY: the processor is valid until `destroy`, which takes `self`; `frame` and what it points to live through
        // the call, `out` for ever; calls never overlap because of `&mut self`.
        let status = unsafe { (self.process)(self.processor.as_ptr(), frame, &self.side.out) };
        let mut report = lock(&self.side.report);
        let detections = std::mem::take(&mut report.detections);
        let status = match report.refusal.take() {
            Some((code, text)) => Status::Error { code: code.to_owned(), text },
            None if status < 0 => {
                let text = format!("process returned {}", StatusText(status));
                Status::Error { code: "processor".to_owned(), text }
            }
            None => Status::Ok,
        };
        Verdict { status, detections }
    }

    /// Gives the last call's `data` to `read`.
    pub(crate) fn with_data<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        read(&lock(&self.side.report).data)
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

impl Side {
    fn leak(outbox: Arc<Outbox>, level: u32, folder: &Path, stream: &str) -> &'static Self {
        let text = |text: &[u8]| CString::new(text).unwrap_or_default().into_raw().cast_const();
        let (folder, stream) = (text(folder.as_os_str().as_encoded_bytes()), text(stream.as_bytes()));
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
            want_extension: abi::HostWant { struct_size: size_of_u32::<abi::HostWant>(), reserved: 0, set: set_want },
            out: abi::Out {
                struct_size: size_of_u32::<abi::Out>(),
                reserved: 0,
                context: std::ptr::null_mut(),
                detection: add_detection,
                data: set_data,
                get_extension: out_extension,
                error: set_error,
            },
            offers_want: level >= 2,
            outbox,
            wanted: Mutex::default(),
            report: Mutex::default(),
        }));
        // SAFETY: `side` was just leaked: it is valid for ever, and nothing else points to it yet.
        unsafe {
            (*side).host.context = side.cast();
            (*side).out.context = side.cast();
            &*side
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

/// The frame a call is made with. `slot` holds the converted picture and must stay borrowed during the call.
pub(crate) fn frame(call: &Call, layout: &Layout, picture: &Picture<'_>, slot: &mut [u8], flags: u32) -> abi::Frame {
    let header = &call.header;
    let signed = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    let empty = abi::Plane { data: std::ptr::null_mut(), stride_bytes: 0, width: 0, height: 0 };
    let mut planes = [empty; 4];
    for (plane, from) in planes.iter_mut().zip(&layout.planes[..layout.plane_count]) {
        *plane = abi::Plane {
            data: slot[from.offset..].as_mut_ptr(),
            stride_bytes: signed(from.stride as u64),
            width: from.width,
            height: from.height,
        };
    }
    abi::Frame {
        struct_size: size_of_u32::<abi::Frame>(),
        flags,
        seq: header.seq.0,
        #[expect(clippy::cast_possible_truncation, reason = "the wire's timestamp is the low half")]
        rtp_ts: header.rtp_time as u32,
        dropped_before: call.dropped_before,
        capture_us: header.capture_us.unwrap_or(abi::CAPTURE_UNKNOWN),
        received_ns: signed(header.received_ns),
        deadline_ns: signed(header.received_ns.saturating_add(DEADLINE_NS)),
        format: layout.format as u32,
        width: layout.width,
        height: layout.height,
        rotation: 0,
        matrix: match picture.matrix {
            Matrix::Bt601 => abi::MATRIX_BT601,
            Matrix::Bt709 => abi::MATRIX_BT709,
        },
        range: match picture.range {
            Range::Limited => abi::RANGE_LIMITED,
            Range::Full => abi::RANGE_FULL,
        },
        plane_count: u32::try_from(layout.plane_count).unwrap_or(0),
        reserved: 0,
        planes,
    }
}

/// The configuration that announces frames of `layout`.
pub(crate) fn config(layout: &Layout, picture: &Picture<'_>) -> abi::Config {
    abi::Config {
        struct_size: size_of_u32::<abi::Config>(),
        format: layout.format as u32,
        width: layout.width,
        height: layout.height,
        source_width: picture.size.width,
        source_height: picture.size.height,
    }
}

const fn size_of_u32<T>() -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "structs of the interface have some hundred bytes")]
    let size = size_of::<T>() as u32;
    size
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        match side {
            Some(side) if side.offers_want && id == abi::EXT_WANT => (&raw const side.want_extension).cast(),
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
        // SAFETY: the text ends with 0, as the header demands; no more than the limit is read.
        let bytes = unsafe {
            std::slice::from_raw_parts(text.cast::<u8>(), libc::strnlen(text, TEXT_BYTES_MAX))
        };
        let level = match level {
            abi::LOG_ERROR => LogLevel::Error,
            abi::LOG_WARN => LogLevel::Warn,
            abi::LOG_DEBUG => LogLevel::Debug,
            _ => LogLevel::Info,
        };
        side.outbox.log(level, String::from_utf8_lossy(bytes).trim_end());
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
            (raw, bounded_text(raw.label, framegate_wire::limits::LABEL_BYTES_MAX), keypoints)
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
            return report.refuse_struct();
        }
        // SAFETY: the text ends with 0, as the header demands; no more than the limit is read.
        let bytes = unsafe {
            std::slice::from_raw_parts(text.cast::<u8>(), libc::strnlen(text, TEXT_BYTES_MAX))
        };
        report.refusal = Some(("processor", String::from_utf8_lossy(bytes).trim_end().to_owned()));
        abi::OK
    }

    /// `fg_out.get_extension`. # Safety: as the header says.
    fn out_extension(_out: *const abi::Out, _id: *const c_char) -> *const c_void, after a panic std::ptr::null(), {
        std::ptr::null()
    }
}

fn parse_want(want: &abi::Want) -> Result<Wanted, i32> {
    let format = match want.format {
        0 | 1 => PixelFormat::Bgr24,
        2 => PixelFormat::Rgb24,
        3 => PixelFormat::Bgra,
        4 => PixelFormat::Gray8,
        5 => PixelFormat::I420,
        6 => PixelFormat::Nv12,
        _ => return Err(abi::ERROR_UNSUPPORTED),
    };
    if want.width > SIDE_MAX || want.height > SIDE_MAX {
        return Err(abi::ERROR_LIMIT);
    }
    let (width, height, rate_millihertz) = (want.width, want.height, want.rate_millihertz);
    let writable = want.flags & abi::WANT_WRITABLE != 0;
    Ok(Wanted { want: Want { width, height, format, rate_millihertz }, writable })
}
