//! The fault handler of engines, and how the nursery reads what it wrote.
//!
//! The handler runs in a process that is about to die: it writes numbers to a pipe, and nothing else. The nursery, whose
//! libraries lie at the same addresses because the engine was forked from it, turns them into names. The file they name is
//! the one with the code, also of a source that was compiled, so that `addr2line -e FILE OFFSET` finds the line.

use std::{
    ffi::{CStr, c_int, c_void},
    os::fd::RawFd,
    sync::atomic::{AtomicI32, AtomicU32, Ordering},
};

use framegate_wire::{FaultReport, FaultStage};
use rustix::io::Errno;

use super::child::last_errno;
use crate::{
    demangle::demangle,
    limits::{FAULT_FRAMES_MAX, FAULT_STACK_BYTES},
    pool::Slot,
    resolve::Loaded,
};

/// Numbers of a record before its return addresses: signal, stage, instruction pointer, fault address.
const HEAD: usize = 4;
const NUMBER_BYTES: usize = size_of::<usize>();

/// Bytes of a whole record.
pub(super) const RECORD_BYTES_MAX: usize = (HEAD + FAULT_FRAMES_MAX) * NUMBER_BYTES;

/// Signals of a crash.
const SIGNALS: [c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];

static PIPE: AtomicI32 = AtomicI32::new(-1);
static STAGE: AtomicU32 = AtomicU32::new(0);

const STAGES: [FaultStage; 5] =
    [FaultStage::Idle, FaultStage::Create, FaultStage::Decode, FaultStage::Convert, FaultStage::Process];

/// Notes what the engine is doing, for the case that it dies of it.
pub(crate) fn enter(stage: FaultStage) {
    STAGE.store(stage as u32, Ordering::Relaxed);
}

/// Loads what `backtrace` loads at its first use, so that the handler finds it loaded.
pub(super) fn warm_up() {
    let mut frames = [std::ptr::null_mut(); 2];
    // SAFETY: the array is as long as said.
    unsafe { libc::backtrace(frames.as_mut_ptr(), 2) };
}

/// Makes this process tell `pipe` before it dies of a signal.
pub(super) fn install(pipe: Option<RawFd>) -> Result<(), Errno> {
    PIPE.store(pipe.unwrap_or(-1), Ordering::Relaxed);
    enter(FaultStage::Idle);
    // A stack of its own: the usual fault is that the other one is full. It lives as long as the process.
    let stack = Box::leak(Box::new(Slot::new(FAULT_STACK_BYTES)?)).bytes();
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
    // SAFETY: the memory was leaked and is used by nothing else.
    if unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) } != 0 {
        return Err(last_errno());
    }
    for signal in SIGNALS {
        // SAFETY: zero is a valid `sigaction`: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_fault as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
        // Once only: a fault inside the handler, and the one raised at its end, kill.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND;
        // SAFETY: the handler calls only what is safe in a signal handler, and `backtrace`, which is once loaded.
        if unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } != 0 {
            return Err(last_errno());
        }
    }
    Ok(())
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let pipe = PIPE.load(Ordering::Relaxed);
    if pipe >= 0 {
        // SAFETY: the kernel passes valid pointers to a handler with SA_SIGINFO.
        let (place, address) = unsafe { (instruction_pointer(context.cast()), (*info).si_addr() as usize) };
        let stage = STAGE.load(Ordering::Relaxed) as usize;
        tell(pipe, &[signal.cast_unsigned() as usize, stage, place, address]);
        let mut frames = [std::ptr::null_mut::<c_void>(); FAULT_FRAMES_MAX];
        let length = c_int::try_from(FAULT_FRAMES_MAX).unwrap_or(0);
        // SAFETY: the array is as long as said. Should unwinding a broken stack fault, the record's head is told already.
        let count = usize::try_from(unsafe { libc::backtrace(frames.as_mut_ptr(), length) }).unwrap_or(0);
        tell(pipe, &frames.map(|frame| frame as usize)[..count.min(FAULT_FRAMES_MAX)]);
    }
    // SAFETY: safe in a signal handler. The handler was reset, so the signal kills as soon as this returns.
    unsafe { libc::raise(signal) };
}

fn tell(pipe: RawFd, numbers: &[usize]) {
    // SAFETY: the slice's bytes are readable; the pipe never blocks, and whatever it answers, there is nothing left to do.
    unsafe { libc::write(pipe, numbers.as_ptr().cast(), size_of_val(numbers)) };
}

/// # Safety
/// `context` is what the kernel passed to a signal handler.
unsafe fn instruction_pointer(context: *const libc::ucontext_t) -> usize {
    // SAFETY: the caller vouches for it.
    let machine = unsafe { &(*context).uc_mcontext };
    #[cfg(target_arch = "x86_64")]
    let place = machine.gregs[libc::REG_RIP as usize].cast_unsigned();
    #[cfg(target_arch = "aarch64")]
    let place = machine.pc;
    usize::try_from(place).unwrap_or(0)
}

/// The address whose use was a fault.
pub(super) fn address(record: &[u8]) -> Option<u64> {
    let bytes = record.chunks_exact(NUMBER_BYTES).nth(HEAD - 1)?;
    Some(usize::from_le_bytes(bytes.try_into().ok()?) as u64)
}

/// Names what a record tells. Blames the processor's own code nearest to the fault, so that a fault inside `memcpy` or
/// `abort` names who called it; without such code, the place of the fault itself.
pub(super) fn explain(record: &[u8], loaded: &Loaded) -> Option<FaultReport> {
    let numbers: Vec<usize> = record
        .chunks_exact(NUMBER_BYTES)
        .filter_map(|bytes| Some(usize::from_le_bytes(bytes.try_into().ok()?)))
        .collect();
    let (&[signal, stage, place, _], frames) = numbers.split_first_chunk::<HEAD>()?;
    // The handler's own frames come before the fault's.
    let from = frames.iter().position(|&frame| frame == place).map_or(frames.len(), |at| at + 1);
    // A return address follows its call: the byte before it is inside the caller.
    let callers = frames[from..].iter().map(|frame| frame.wrapping_sub(1));
    let places: Vec<Place> = std::iter::once(place).chain(callers).filter_map(|at| Place::of(at, loaded)).collect();
    let blamed = places.iter().find(|place| place.is_processor).or(places.first());
    Some(FaultReport {
        signal: i32::try_from(signal).ok()?,
        stage: *STAGES.get(stage)?,
        function: blamed.and_then(|place| place.function.as_deref()).map(demangle),
        location: blamed.map(|place| format!("{}+{:#x}", place.file, place.offset)),
    })
}

/// The place of a crash as the end of a sentence, or nothing.
pub(super) fn place_of(report: &FaultReport) -> String {
    match (&report.function, &report.location) {
        (Some(function), Some(location)) => format!(" in `{function}` ({location})"),
        (None, Some(location)) => format!(" at {location}"),
        _ => String::new(),
    }
}

/// A place in code.
#[derive(Debug)]
struct Place {
    is_processor: bool,
    file: String,
    offset: usize,
    function: Option<String>,
}

impl Place {
    /// Looks up an address of an engine, whose libraries lie where this process has them.
    fn of(address: usize, loaded: &Loaded) -> Option<Self> {
        // SAFETY: zero is a valid `Dl_info`: null pointers.
        let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
        // SAFETY: `dladdr` only compares the address with those of loaded libraries.
        if unsafe { libc::dladdr(address as *const c_void, &raw mut info) } == 0 || info.dli_fname.is_null() {
            return None;
        }
        // SAFETY: `dladdr` succeeded: the texts are NULL or belong to loaded libraries, which are never unloaded.
        let (file, symbol) = unsafe {
            let symbol =
                (!info.dli_sname.is_null()).then(|| CStr::from_ptr(info.dli_sname).to_string_lossy().into_owned());
            (CStr::from_ptr(info.dli_fname).to_string_lossy().into_owned(), symbol)
        };
        let offset = address.wrapping_sub(info.dli_fbase as usize);
        let Some(library) = loaded.libraries().find(|library| library.image().loaded_as() == file) else {
            return Some(Self { is_processor: false, file, offset, function: symbol });
        };
        // `dladdr` knows exported functions only; the file's own table has the static ones too.
        let function = library.image().function_at(offset as u64).or(symbol);
        Some(Self { is_processor: true, file: library.image().file().display().to_string(), offset, function })
    }
}
