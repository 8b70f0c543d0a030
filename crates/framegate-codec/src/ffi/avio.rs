//! A Rust file as FFmpeg's input or output. Nothing in FFmpeg opens a path or a socket by itself.

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::ptr::{self, NonNull};

use ffmpeg_the_third::ffi;

use super::avcodec::Failure;

/// Bytes FFmpeg reads or writes at once: a few packets of a camera's stream.
const BUFFER_BYTES: usize = 64 << 10;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// FFmpeg reads.
    Input,
    /// FFmpeg writes.
    Output,
}

/// An I/O context with the file behind it.
#[derive(Debug)]
pub(super) struct Io {
    context: NonNull<ffi::AVIOContext>,
    file: NonNull<File>,
}

// SAFETY: the context and the file are owned and used by one thread at a time.
unsafe impl Send for Io {}

impl Io {
    /// Gives FFmpeg `file`. It can seek when the file is a regular one.
    pub(super) fn new(file: File, direction: Direction) -> Result<Self, Failure> {
        let seeks = file.metadata().is_ok_and(|metadata| metadata.is_file());
        // SAFETY: allocates; null is answered when there is no memory.
        let buffer = unsafe { ffi::av_malloc(BUFFER_BYTES) };
        if buffer.is_null() {
            return Err(Failure::Memory);
        }
        let file = Box::into_raw(Box::new(file));
        let writes = direction == Direction::Output;
        let seek: Option<unsafe extern "C" fn(*mut c_void, i64, c_int) -> i64> = if seeks { Some(seek) } else { None };
        // SAFETY: the buffer has that many bytes and goes over to the context; `file` lives until `drop`, and the
        // functions take it as what it is.
        let context = unsafe {
            ffi::avio_alloc_context(
                buffer.cast(),
                c_int::try_from(BUFFER_BYTES).unwrap_or(c_int::MAX),
                c_int::from(writes),
                file.cast(),
                if writes { None } else { Some(read) },
                if writes { Some(write::<_>) } else { None },
                seek,
            )
        };
        match (NonNull::new(context), NonNull::new(file)) {
            (Some(context), Some(file)) => Ok(Self { context, file }),
            _ => {
                // SAFETY: neither was taken over by anything.
                unsafe {
                    drop(Box::from_raw(file));
                    ffi::av_free(buffer);
                }
                Err(Failure::Memory)
            }
        }
    }

    /// The context; it belongs to this object still.
    pub(super) fn raw(&self) -> *mut ffi::AVIOContext {
        self.context.as_ptr()
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        // SAFETY: FFmpeg may have replaced the buffer, which therefore is freed through the context; both are freed
        // nowhere else, and whoever used the context has gone before.
        unsafe {
            ffi::av_freep((&raw mut (*self.context.as_ptr()).buffer).cast());
            ffi::avio_context_free(&mut self.context.as_ptr());
            drop(Box::from_raw(self.file.as_ptr()));
        }
    }
}

/// A pointer to bytes: newer versions of FFmpeg made the one its write function gets `const`.
trait Bytes {
    fn start(self) -> *const u8;
}

impl Bytes for *mut u8 {
    fn start(self) -> *const u8 {
        self.cast_const()
    }
}

impl Bytes for *const u8 {
    fn start(self) -> *const u8 {
        self
    }
}

/// FFmpeg's code for an error of the file.
fn failed(error: &std::io::Error) -> c_int {
    ffi::AVERROR(error.raw_os_error().unwrap_or(libc::EIO))
}

/// # Safety
/// FFmpeg passes the file of [`Io::new`] and a buffer of `length` bytes.
unsafe extern "C" fn read(file: *mut c_void, buffer: *mut u8, length: c_int) -> c_int {
    let length_usize = usize::try_from(length).unwrap_or(0);
    // SAFETY: as above. The buffer may be uninitialised, and `read` of a file only writes to it.
    let (mut file, buffer) = unsafe {
        ptr::write_bytes(buffer, 0, length_usize);
        (&*file.cast::<File>(), std::slice::from_raw_parts_mut(buffer, length_usize))
    };
    loop {
        return match file.read(buffer) {
            Ok(0) => ffi::AVERROR_EOF,
            Ok(count) => c_int::try_from(count).unwrap_or(length),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => failed(&error),
        };
    }
}

/// # Safety
/// FFmpeg passes the file of [`Io::new`] and `length` bytes.
unsafe extern "C" fn write<P: Bytes>(file: *mut c_void, bytes: P, length: c_int) -> c_int {
    // SAFETY: as above.
    let (mut file, bytes) = unsafe {
        (&*file.cast::<File>(), std::slice::from_raw_parts(bytes.start(), usize::try_from(length).unwrap_or(0)))
    };
    match file.write_all(bytes) {
        Ok(()) => length,
        Err(error) => failed(&error),
    }
}

/// # Safety
/// FFmpeg passes the file of [`Io::new`].
unsafe extern "C" fn seek(file: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: as above.
    let mut file = unsafe { &*file.cast::<File>() };
    let position = match whence & !ffi::AVSEEK_FORCE {
        libc::SEEK_SET => match u64::try_from(offset) {
            Ok(offset) => file.seek(SeekFrom::Start(offset)),
            Err(_) => return ffi::AVERROR(libc::EINVAL).into(),
        },
        libc::SEEK_CUR => file.seek(SeekFrom::Current(offset)),
        libc::SEEK_END => file.seek(SeekFrom::End(offset)),
        ffi::AVSEEK_SIZE => file.metadata().map(|metadata| metadata.len()),
        _ => return ffi::AVERROR(libc::EINVAL).into(),
    };
    match position {
        Ok(position) => i64::try_from(position).unwrap_or(i64::MAX),
        Err(error) => failed(&error).into(),
    }
}
