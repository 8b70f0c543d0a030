//! What ties an engine to a process that runs processors for it: a socket and two memories.

use std::os::fd::OwnedFd;

use framegate_wire::limits::SIDE_MAX;
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
};

use super::packet::PICTURE_OFFSET;
use crate::pool::Slot;

/// Bytes of the largest picture: none is ever mapped anew, and pages that no picture has touched cost nothing.
pub(crate) const PICTURE_BYTES_MAX: usize = SIDE_MAX as usize * SIDE_MAX as usize * 4;

/// The engine's end.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) socket: OwnedFd,
    /// Where the engine writes pictures.
    pub(crate) frames: Slot,
    /// Where the other end writes what is too large for a packet.
    pub(crate) area: OwnedFd,
}

/// The other end.
#[derive(Debug)]
pub(crate) struct FarEnd {
    pub(crate) socket: OwnedFd,
    pub(crate) frames: OwnedFd,
    pub(crate) area: OwnedFd,
}

/// What the other end may do with frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Makes both ends. Call outside the engine's sandbox, which allows none of this.
pub(crate) fn pair(access: Access) -> Result<(Link, FarEnd), Errno> {
    let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let frames = memory("framegate-frames", PICTURE_BYTES_MAX)?;
    // Mapped before it is sealed: afterwards nobody can map it for writing.
    let slot = Slot::shared(&frames, PICTURE_BYTES_MAX)?;
    let sizes = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    let seals = if access == Access::Write { sizes } else { sizes | SealFlags::FUTURE_WRITE };
    fcntl_add_seals(&frames, seals)?;
    let area = memory("framegate-area", PICTURE_OFFSET + PICTURE_BYTES_MAX)?;
    // Without these the other end could cut it short under a reader.
    fcntl_add_seals(&area, sizes)?;
    let link = Link { socket: near, frames: slot, area: area.try_clone().map_err(errno)? };
    Ok((link, FarEnd { socket: far, frames, area }))
}

fn memory(name: &str, bytes: usize) -> Result<OwnedFd, Errno> {
    let memory = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&memory, bytes as u64)?;
    Ok(memory)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{fcntl_get_seals, fstat};

    use super::*;

    #[test]
    fn a_reading_end_can_neither_write_nor_resize() {
        let (mut link, far) = pair(Access::Read).unwrap();
        link.frames.fit(64);
        link.frames.bytes().fill(7);
        assert!(fcntl_get_seals(&far.frames).unwrap().contains(SealFlags::FUTURE_WRITE | SealFlags::SHRINK));
        assert_eq!(rustix::io::pwrite(&far.frames, b"x", 0), Err(Errno::PERM));
        assert_eq!(ftruncate(&far.frames, 0), Err(Errno::PERM));
        assert_eq!(ftruncate(&far.area, 0), Err(Errno::PERM));
        assert_eq!(rustix::io::pwrite(&far.area, b"x", 0), Ok(1));
        let mut seen = [0; 64];
        let size = u64::try_from(fstat(&far.frames).unwrap().st_size).unwrap();
        assert_eq!(rustix::io::pread(&far.frames, &mut seen, size - 64), Ok(64));
        assert_eq!(seen, [7; 64]);
    }
}
