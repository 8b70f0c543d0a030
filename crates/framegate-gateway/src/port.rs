//! Ports: who holds one, and which is free.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use crate::limits::FREE_PORT_TRIES;

/// The two transports framegate listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP.
    Tcp,
    /// Media.
    Udp,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// The process that listens on a port, such as `python3 (pid 4711)`, where the system lets us see it.
///
/// Reads the whole of `/proc`: for messages about a failure only.
#[must_use]
pub fn holder(transport: Transport, port: u16) -> Option<String> {
    let tables = match transport {
        Transport::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Transport::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let inodes: Vec<String> = tables
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().skip(1).filter_map(|line| inode_on(line, transport, port)).collect::<Vec<_>>())
        .collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let owns = fs::read_dir(entry.path().join("fd")).ok()?.flatten().any(|descriptor| {
            fs::read_link(descriptor.path()).is_ok_and(|target| {
                target
                    .to_str()
                    .and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'))
                    .is_some_and(|inode| inodes.iter().any(|wanted| wanted == inode))
            })
        });
        let name = owns.then(|| fs::read_to_string(entry.path().join("comm")))?.ok()?;
        Some(format!("{} (pid {pid})", name.trim()))
    })
}

/// The socket's inode if a line of `/proc/net/{tcp,udp}` is a socket bound to that port, and, for TCP, listening.
fn inode_on(line: &str, transport: Transport, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let listens = transport == Transport::Udp || *fields.get(3)? == "0A";
    (listens && u16::from_str_radix(local_port, 16).ok()? == port).then(|| fields.get(9).map(ToString::to_string))?
}

/// The next port after `address`' whose TCP and UDP sides are both free, if one is near.
#[must_use]
pub fn next_free(address: SocketAddr) -> Option<u16> {
    let first = address.port().checked_add(1)?;
    (first..=u16::MAX).take(FREE_PORT_TRIES).find(|port| {
        let address = SocketAddr::new(address.ip(), *port);
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_sockets_are_found() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = format!("(pid {})", std::process::id());
        let check = |transport, port| {
            let holder = holder(transport, port).unwrap_or_default();
            assert!(holder.ends_with(&own), "{holder}");
        };
        check(Transport::Tcp, tcp.local_addr().unwrap().port());
        check(Transport::Udp, udp.local_addr().unwrap().port());
    }

    #[test]
    fn free_port_is_another_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        if let Some(free) = next_free(address) {
            assert!(free > address.port());
            assert!(TcpListener::bind((address.ip(), free)).is_ok());
        }
    }
}
