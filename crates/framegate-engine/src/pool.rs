//! The memory pictures are converted into: one slot per engine, walled off by inaccessible pages. One that Python
//! processors see is shared with their process.

mod canvas;

use std::{os::fd::OwnedFd, ptr::NonNull};

use rustix::{
    io::Errno,
    mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, munmap},
};
use serde::{Deserialize, Serialize};

pub(crate) use canvas::{Canvas, MappedCanvas};

/// Alignment of every slot, in bytes: a cache line, and the widest vector registers.
const ALIGNMENT: usize = 64;

/// Memory for one picture, aligned to 64 bytes, with an inaccessible page before it and one close behind it: an
/// algorithm that runs past the end by 64 bytes or more faults on the spot instead of spoiling something else.
#[derive(Debug)]
pub(crate) struct Slot {
    base: NonNull<u8>,
    mapped_bytes: usize,
    start: usize,
    len: usize,
}

impl Slot {
    /// Maps memory for `len` bytes, at least one.
    pub(crate) fn new(len: usize) -> Result<Self, Errno> {
        Self::walled(len, page_size())
    }

    /// As [`new`](Self::new), with walls of `wall` bytes, a multiple of the page size: an algorithm that runs far past an
    /// end faults there, too. What is close behind the end is part of the wall when `len` is a multiple of 64.
    pub(crate) fn walled(len: usize, wall: usize) -> Result<Self, Errno> {
        let page = page_size();
        let len = len.max(1);
        let inner = len.checked_next_multiple_of(page).ok_or(Errno::NOMEM)?;
        let mapped_bytes = wall.checked_mul(2).and_then(|walls| inner.checked_add(walls)).ok_or(Errno::NOMEM)?;
        // SAFETY: a new private mapping at an address of the kernel's choice touches no existing memory.
        let base =
            unsafe { mmap_anonymous(std::ptr::null_mut(), mapped_bytes, ProtFlags::empty(), MapFlags::PRIVATE)? };
        let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
        let slot = Self { base, mapped_bytes, start: wall + (inner - len) / ALIGNMENT * ALIGNMENT, len };
        // SAFETY: the pages between the two walls belong to the mapping just made; nothing points into them yet.
        unsafe { mprotect(base.as_ptr().add(wall).cast(), inner, MprotectFlags::READ | MprotectFlags::WRITE)? };
        Ok(slot)
    }

    /// Maps `capacity` bytes of `memory`, a multiple of the page size, which another process maps as well. It holds no
    /// picture before [`Self::fit`].
    pub(crate) fn shared(memory: &OwnedFd, capacity: usize) -> Result<Self, Errno> {
        let page = page_size();
        if capacity == 0 || !capacity.is_multiple_of(page) {
            return Err(Errno::INVAL);
        }
        let mapped_bytes = capacity.checked_add(2 * page).ok_or(Errno::NOMEM)?;
        // SAFETY: a new private mapping at an address of the kernel's choice touches no existing memory.
        let base =
            unsafe { mmap_anonymous(std::ptr::null_mut(), mapped_bytes, ProtFlags::empty(), MapFlags::PRIVATE)? };
        let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
        let slot = Self { base, mapped_bytes, start: page, len: 0 };
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::FIXED);
        // SAFETY: it replaces the pages between the two walls of the mapping just made; nothing points into them yet.
        unsafe { mmap(base.as_ptr().add(page).cast(), capacity, access, flags, memory, 0)? };
        Ok(slot)
    }

    /// Makes a shared slot one of `len` bytes that end close to its wall; `false` when it has not that many.
    pub(crate) fn fit(&mut self, len: usize) -> bool {
        let page = page_size();
        let capacity = self.mapped_bytes - 2 * page;
        if len > capacity {
            return false;
        }
        self.start = page + (capacity - len) / ALIGNMENT * ALIGNMENT;
        self.len = len;
        true
    }

    /// Address of the first byte of a shared slot's memory, whatever lies there.
    pub(crate) fn memory_address(&self) -> usize {
        self.base.as_ptr() as usize + page_size()
    }

    /// The slot's bytes. Of a shared slot another process may read them, or, while its processor is called, write.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `start..start + len` lies within the accessible pages of this slot's own mapping, which lives as long
        // as the slot; the borrow of `self` keeps other slices away. Fresh pages are zero, so all bytes are initialised. What a
        // process that shares them writes at the wrong time is another picture, and nothing here depends on pixels.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(self.start), self.len) }
    }
}

/// What `check` needs to know and to do, so that a processor that breaks a rule faults where it does.
impl Slot {
    /// Addresses of everything that belongs to the slot, walls included, and of its bytes.
    pub(crate) fn addresses(&self) -> SlotAddresses {
        let base = self.base.as_ptr() as usize;
        SlotAddresses {
            mapped: (base as u64, (base + self.mapped_bytes) as u64),
            bytes: ((base + self.start) as u64, (base + self.start + self.len) as u64),
        }
    }

    /// Takes the right to write away.
    pub(crate) fn seal(&mut self) -> Result<(), Errno> {
        self.protect(MprotectFlags::READ)
    }

    /// Makes every later use of its memory a fault, for ever: its addresses are never given out again.
    pub(crate) fn retire(mut self) -> Result<(), Errno> {
        self.protect(MprotectFlags::empty())?;
        let base = self.base.as_ptr().cast();
        // SAFETY: the mapping is this slot's own, and nobody may use its contents from here on.
        unsafe { madvise(base, self.mapped_bytes, Advice::LinuxDontNeed)? };
        #[expect(clippy::mem_forget, reason = "unmapping would let the addresses be used again")]
        std::mem::forget(self);
        Ok(())
    }

    fn protect(&mut self, flags: MprotectFlags) -> Result<(), Errno> {
        let page = page_size();
        let first = self.start / page * page;
        let length = (self.start + self.len - first).next_multiple_of(page);
        // SAFETY: the pages between the walls are this slot's own; `&mut self` rules out a slice of them.
        unsafe { mprotect(self.base.as_ptr().add(first).cast(), length, flags) }
    }
}

/// Where a slot lies: first address, and the one behind the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotAddresses {
    pub(crate) mapped: (u64, u64),
    pub(crate) bytes: (u64, u64),
}

impl Drop for Slot {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` or `shared` with this length and no borrow of it outlives the slot.
        // An error would leave the mapping behind, which harms nobody.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.mapped_bytes) };
    }
}

fn page_size() -> usize {
    // SAFETY: always safe to call.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_slot_holds_pictures_of_any_size_at_its_end() {
        let memory = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let capacity = 64 * page_size();
        rustix::fs::ftruncate(&memory, capacity as u64).unwrap();
        let mut slot = Slot::shared(&memory, capacity).unwrap();
        for len in [1, 4096, 641 * 3, capacity] {
            assert!(slot.fit(len));
            let offset = slot.start - page_size();
            slot.bytes().fill(9);
            assert!(slot.bytes().as_ptr() as usize == slot.memory_address() + offset);
            let mut seen = vec![0; len];
            rustix::io::pread(&memory, &mut seen, offset as u64).unwrap();
            assert!(seen.iter().all(|&byte| byte == 9) && capacity - offset - len < ALIGNMENT);
        }
        assert!(!slot.fit(capacity + 1));
    }

    #[test]
    fn slots_are_aligned_zeroed_and_end_near_the_wall() {
        for len in [1, 63, 64, 4096, 640 * 480 * 3, 641 * 479 * 3] {
            let mut slot = Slot::new(len).unwrap();
            let mapped_end = slot.base.as_ptr() as usize + slot.mapped_bytes - page_size();
            let bytes = slot.bytes();
            assert_eq!(bytes.len(), len);
            assert_eq!(bytes.as_ptr() as usize % ALIGNMENT, 0);
            assert!(bytes.iter().all(|&byte| byte == 0));
            bytes.fill(0xff);
            assert!(mapped_end - (bytes.as_ptr() as usize + len) < ALIGNMENT);
        }
    }
}
