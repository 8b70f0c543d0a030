//! framegate's side.

use core::ffi::{CStr, c_char, c_void};
use core::ptr;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Refused, Want, out::check};
use crate::raw;

/// How much a line of the log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Level {
    /// A person must act.
    Error = raw::LOG_ERROR,
    /// Something is wrong and was mended.
    Warn = raw::LOG_WARN,
    /// Something happened.
    Info = raw::LOG_INFO,
    /// For finding faults.
    Debug = raw::LOG_DEBUG,
}

/// framegate's side. May be cloned and used from any thread; does nothing more once its processor is gone.
#[derive(Debug, Clone)]
pub struct Host {
    door: Arc<RwLock<Door>>,
    folder: PathBuf,
    stream: String,
}

/// The pointer of framegate's; null once it is no longer valid.
#[derive(Debug)]
struct Door(*const raw::Host);

// SAFETY: the header allows every function of `fg_host` that is used here on any thread.
unsafe impl Send for Door {}
// SAFETY: as above, also at once.
unsafe impl Sync for Door {}

impl Host {
    /// # Safety
    /// `raw` is valid until [`Self::close`] is called.
    pub(super) unsafe fn of(raw: *const raw::Host) -> Self {
        // SAFETY: the caller promises a valid host, whose texts end with 0 or are null.
        let (folder, stream) = unsafe { (text((*raw).folder), text((*raw).stream)) };
        Self { door: Arc::new(RwLock::new(Door(raw))), folder: PathBuf::from(folder), stream }
    }

    /// Ends the use of framegate's pointer, by every clone; waits for calls under way.
    pub(super) fn close(&self) {
        self.door.write().unwrap_or_else(PoisonError::into_inner).0 = ptr::null();
    }

    /// Folder of the processor's file: readable, for its models.
    #[must_use]
    pub fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// A file beside the processor's, such as a model.
    ///
    /// # Errors
    /// A text with its whole path, when it is not there.
    pub fn file(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        if path.exists() { Ok(path) } else { Err(format!("{} is missing; put it there", path.display())) }
    }

    /// Name of the stream.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// One line to the log and the page, cut at 1 KiB.
    pub fn log(&self, level: Level, line: &str) {
        let line = c_text(line);
        self.call(|host| {
            // SAFETY: `call` gives a valid host; the text ends with 0 and is copied before the call returns.
            unsafe { ((*host).log)(host, level as i32, line.as_ptr()) }
        });
    }

    /// [`Self::log`] at level info.
    pub fn info(&self, line: &str) {
        self.log(Level::Info, line);
    }

    /// [`Self::log`] at level warn.
    pub fn warn(&self, line: &str) {
        self.log(Level::Warn, line);
    }

    /// Nanoseconds that never go back; in `framegate run` the time in the clip.
    #[must_use]
    pub fn now_ns(&self) -> Option<i64> {
        // SAFETY: the host's interface of this id is of this type, valid as long as the host.
        self.ask(raw::EXT_CLOCK, |host, clock: *const raw::HostClock| unsafe { ((*clock).now_ns)(host) })
    }

    /// Fills with bytes that a repeated run repeats; not for secrets. False when framegate offers none.
    pub fn random(&self, bytes: &mut [u8]) -> bool {
        let (first, length) = (bytes.as_mut_ptr().cast::<c_void>(), bytes.len() as u64);
        // SAFETY: as above; the bytes are borrowed exclusively for the call.
        let done = self.ask(raw::EXT_RANDOM, |host, random: *const raw::HostRandom| unsafe {
            ((*random).fill)(host, first, length)
        });
        done.is_some_and(|code| code >= 0)
    }

    /// Sends JSON to the page, at most 16 KiB and 20 a second.
    ///
    /// # Errors
    /// [`Refused`] when it was too large, too fast or no JSON.
    pub fn send(&self, json: &str) -> Result<(), Refused> {
        let (first, length) = (json.as_ptr().cast::<c_char>(), json.len() as u64);
        // SAFETY: as above; the text is borrowed for the call.
        let code = self.ask(raw::EXT_MESSAGE, |host, message: *const raw::HostMessage| unsafe {
            ((*message).send)(host, first, length)
        });
        check(code.unwrap_or(raw::ERROR_UNSUPPORTED), "message")
    }

    /// Replaces what frames are wanted; in force from the next configure.
    pub(super) fn want(&self, want: Want) -> Result<(), Refused> {
        let want = want.raw();
        // SAFETY: as above; called by the glue on the process thread only.
        let code = self.ask(raw::EXT_WANT, |host, wanting: *const raw::HostWant| unsafe {
            ((*wanting).set)(host, &raw const want)
        });
        check(code.unwrap_or(raw::ERROR_UNSUPPORTED), "want")
    }

    fn ask<E, R>(&self, id: &CStr, use_it: impl FnOnce(*const raw::Host, *const E) -> R) -> Option<R> {
        self.call(|host| {
            // SAFETY: `call` gives a valid host; `id` ends with 0.
            let extension = unsafe { ((*host).get_extension)(host, id.as_ptr()) }.cast::<E>();
            (!extension.is_null()).then(|| use_it(host, extension))
        })?
    }

    fn call<R>(&self, use_it: impl FnOnce(*const raw::Host) -> R) -> Option<R> {
        let door = self.door.read().unwrap_or_else(PoisonError::into_inner);
        (!door.0.is_null()).then(|| use_it(door.0))
    }
}

/// # Safety
/// `pointer` is null or a text that ends with 0.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: the caller promises it.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// A text as C reads it, without the zeros it could not hold.
pub(super) fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "")).unwrap_or_default()
}
