//! Hot path: a UDP socket whose datagrams carry the kernel's receive stamp.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use framegate_core::Now;
use mio::net::UdpSocket;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, Protocol, Socket, Type};

/// Bytes of the kernel's buffers each way: a burst of keyframes from all sessions at once.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// Largest datagram read, in bytes; browsers keep to 1 200 and Ethernet to 1 500.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 2048;

/// A media socket, bound to one address.
#[derive(Debug)]
pub(crate) struct MediaSocket {
    pub(crate) socket: UdpSocket,
    pub(crate) address: SocketAddr,
    control: Vec<u8>,
}

/// A datagram in the caller's buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Datagram {
    pub(crate) length: usize,
    pub(crate) source: SocketAddr,
    /// Monotonic nanoseconds.
    pub(crate) received_ns: u64,
}

impl MediaSocket {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // The kernel caps these at rmem_max and wmem_max, which is not an error.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from_std(socket.into());
        let address = socket.local_addr()?;
        Ok(Self { socket, address, control: nix::cmsg_space!(nix::sys::time::TimeSpec) })
    }

    /// Receives one datagram; `None` when there is none.
    pub(crate) fn receive(&mut self, buffer: &mut [u8], clock: Clock) -> io::Result<Option<Datagram>> {
        let mut parts = [IoSliceMut::new(buffer)];
        let received = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut self.control),
            MsgFlags::MSG_DONTWAIT,
        );
        let message = match received {
            Ok(message) => message,
            Err(nix::errno::Errno::EAGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
            _ => None,
        });
        let received_ns = stamp.map_or(clock.now.ns, |stamp| clock.monotonic(stamp.tv_sec(), stamp.tv_nsec()));
        let source = message.address.as_ref().and_then(socket_address);
        let length = if message.flags.contains(MsgFlags::MSG_TRUNC) { 0 } else { message.bytes };
        // A datagram without a source or cut short is nobody's.
        let source = source.unwrap_or(self.address);
        Ok(Some(Datagram { length, source, received_ns }))
    }
}

fn socket_address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(SocketAddr::new(v4.ip().into(), v4.port()));
    }
    storage.as_sockaddr_in6().map(|v6| SocketAddr::new(v6.ip().into(), v6.port()))
}

/// The present on both clocks: the kernel stamps by the wall clock, everything else is monotonic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) now: Now,
    wall_ns: i128,
}

impl Clock {
    pub(crate) fn read() -> Self {
        let wall = clock_gettime(ClockId::Realtime);
        Self { now: now(), wall_ns: nanoseconds(wall.tv_sec, wall.tv_nsec) }
    }

    fn monotonic(self, seconds: i64, rest: i64) -> u64 {
        let age = (self.wall_ns - nanoseconds(seconds, rest)).max(0);
        self.now.ns.saturating_sub(u64::try_from(age).unwrap_or(0))
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(rest)
}

/// The present.
pub(crate) fn now() -> Now {
    let monotonic = clock_gettime(ClockId::Monotonic);
    let ns = u64::try_from(nanoseconds(monotonic.tv_sec, monotonic.tv_nsec)).unwrap_or(0);
    Now { instant: std::time::Instant::now(), ns }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_carry_the_kernels_stamp() {
        let mut receiver = MediaSocket::bind(([127, 0, 0, 1], 0).into()).expect("bound");
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        let before = now();
        sender.send_to(b"hello", receiver.address).expect("sent");
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        let datagram = loop {
            if let Some(datagram) = receiver.receive(&mut buffer, Clock::read()).expect("readable") {
                break datagram;
            }
        };
        assert_eq!(&buffer[..datagram.length], b"hello");
        assert_eq!(Some(datagram.source), sender.local_addr().ok());
        // The two clocks are read a moment apart.
        assert!(datagram.received_ns + 1_000_000 >= before.ns && datagram.received_ns <= now().ns);
    }
}
