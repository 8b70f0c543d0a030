//! Memory for one picture that goes from an offline engine to its supervisor.

use std::{
    os::fd::{AsFd, OwnedFd},
    ptr::NonNull,
};

use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    io::{Errno, fcntl_dupfd_cloexec, pread},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};

/// The memory itself, made by the supervisor before it forks. The supervisor only reads copies of it: what another
/// process may write at any time is never a slice here.
#[derive(Debug)]
pub(crate) struct Canvas {
    file: OwnedFd,
    len: usize,
}

impl Canvas {
    /// Makes memory of `len` bytes, which costs nothing until it is written.
    pub(crate) fn new(len: usize) -> Result<Self, Errno> {
        let file = memfd_create("framegate-picture", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, len as u64)?;
        Ok(Self { file, len })
    }

    /// The same memory again, for the process that reads it.
    pub(crate) fn share(&self) -> Result<Self, Errno> {
        Ok(Self { file: fcntl_dupfd_cloexec(&self.file, 3)?, len: self.len })
    }

    /// Fills `bytes` with a copy of the beginning.
    pub(crate) fn read(&self, mut bytes: &mut [u8]) -> Result<(), Errno> {
        let mut offset = 0;
        while !bytes.is_empty() {
            match pread(self.file.as_fd(), &mut *bytes, offset) {
                Ok(0) => return Err(Errno::NODATA),
                Ok(count) => {
                    offset += count as u64;
                    bytes = &mut bytes[count..];
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Maps it for writing: in the engine.
    pub(crate) fn map(&self) -> Result<MappedCanvas, Errno> {
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe { mmap(std::ptr::null_mut(), self.len, flags, MapFlags::SHARED, self.file.as_fd(), 0)? };
        Ok(MappedCanvas { base: NonNull::new(base.cast()).ok_or(Errno::NOMEM)?, len: self.len })
    }
}

/// The memory, mapped in the one process that writes it.
#[derive(Debug)]
pub(crate) struct MappedCanvas {
    base: NonNull<u8>,
    len: usize,
}

impl MappedCanvas {
    /// Its bytes.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is of this length and lives as long as `self`, whose borrow keeps other slices away; the
        // supervisor only reads, and by copying. The file is never cut.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }
}

impl Drop for MappedCanvas {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, and no borrow of it outlives `self`.
        // An error would leave the mapping behind, which harms nobody.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}
