//! What the machine gives: ports, addresses, limits, a compiler.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use framegate_gateway::config::Config;
use framegate_gateway::port::{self, Transport};

use super::Check;

/// Receive buffer that holds the keyframes of some 40 sessions arriving at once, in bytes.
const RECEIVE_BUFFER_BYTES: u64 = 2 << 20;

/// Descriptors a session may need: its engine's sockets and pipe, and its client's HTTP connections.
const DESCRIPTORS_PER_SESSION: u64 = 8;

pub(super) fn processors(config: &Config, installed: Option<&Path>) -> Check {
    let names: Vec<_> = config.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    if names.is_empty() {
        return Check::warn("processors", "none", "give one: framegate serve -p yours.cpp");
    }
    let from = installed.map(|folder| format!(" (from {})", folder.display())).unwrap_or_default();
    Check::ok("processors", format!("{}{from}", names.join(", ")))
}

/// Whether both ports can be bound.
pub(super) fn ports(config: &Config) -> [Check; 2] {
    let http = config.server.listen;
    let media = SocketAddr::new(http.ip(), config.media_port());
    [
        port_check("HTTP port", Transport::Tcp, http, TcpListener::bind(http).err()),
        port_check("media port", Transport::Udp, media, UdpSocket::bind(media).err()),
    ]
}

fn port_check(name: &'static str, transport: Transport, address: SocketAddr, error: Option<std::io::Error>) -> Check {
    let Some(error) = error else { return Check::ok(name, format!("{transport} {address} is free")) };
    if error.kind() != ErrorKind::AddrInUse {
        return Check::fail(name, format!("{transport} {address}: {error}"), "choose another address with --listen");
    }
    let other = port::next_free(address).map_or(String::new(), |free| format!(" --listen {free}"));
    match port::holder(transport, address.port()) {
        Some(holder) if holder.starts_with("framegate ") => Check::warn(
            name,
            format!("{transport} {address} is held by {holder}"),
            format!("framegate is running already; for a second one: framegate serve{other}"),
        ),
        holder => {
            let holder = holder.map_or("another process".to_owned(), |holder| holder);
            let remedy = format!("end it, or use another port: framegate serve{other}");
            Check::fail(name, format!("{transport} {address} is held by {holder}"), remedy)
        }
    }
}

/// Whether there is an address besides loopback.
pub(super) fn addresses() -> Check {
    // Choosing a route sends nothing; the address is one for documents (RFC 5737).
    let routed = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    match routed {
        Ok(address) if !address.ip().is_loopback() => Check::ok("addresses", format!("loopback and {}", address.ip())),
        _ => Check::warn(
            "addresses",
            "loopback only",
            "Chromium connects so; Firefox needs the address of an interface: connect a network",
        ),
    }
}

pub(super) fn receive_buffer() -> Check {
    let name = "UDP buffer";
    let found = fs::read_to_string("/proc/sys/net/core/rmem_max").ok().and_then(|text| text.trim().parse::<u64>().ok());
    match found {
        None => Check::ok(name, "the system does not say"),
        Some(bytes) if bytes >= RECEIVE_BUFFER_BYTES => Check::ok(name, format!("up to {} KiB", bytes >> 10)),
        Some(bytes) => Check::warn(
            name,
            format!("up to {} KiB: enough for a few sessions; many may lose packets in bursts", bytes >> 10),
            format!("sudo sysctl -w net.core.rmem_max={}", RECEIVE_BUFFER_BYTES * 2),
        ),
    }
}

/// Whether the hard limit is enough for all sessions; the soft one is raised at start.
pub(super) fn open_files(config: &Config) -> Check {
    let name = "open files";
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let hard = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().nth(1).map(str::to_owned));
    let needed = u64::from(config.limits.sessions_max) * DESCRIPTORS_PER_SESSION;
    match hard.as_deref().map(str::parse::<u64>) {
        Some(Ok(hard)) if hard < needed => Check::warn(
            name,
            format!("at most {hard}, and {} sessions may need {needed}", config.limits.sessions_max),
            format!("raise it (ulimit -Hn {needed}, or LimitNOFILE= of the service), or lower limits.sessions_max"),
        ),
        Some(Ok(hard)) => Check::ok(name, format!("up to {hard}")),
        Some(Err(_)) => Check::ok(name, "unlimited"),
        None => Check::ok(name, "the system does not say"),
    }
}

/// Whether processors can be compiled here.
pub(super) fn compiler() -> Check {
    let found: Vec<_> = ["cc", "c++", "cargo"].into_iter().filter(|program| in_path(program).is_some()).collect();
    if found.contains(&"cc") {
        return Check::ok("compiler", found.join(", "));
    }
    let remedy = "only needed to build processors here: sudo apt install gcc g++";
    Check::warn("compiler", "no `cc`", remedy)
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn taken_port_is_a_failure_with_a_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let check = port_check("HTTP port", Transport::Tcp, address, TcpListener::bind(address).err());
        assert!(check.text.contains(&format!("(pid {})", std::process::id())), "{}", check.text);
        assert!(check.remedy.unwrap_or_default().contains("framegate serve"));
        drop(taken);
        let check = port_check("HTTP port", Transport::Tcp, address, None);
        assert_eq!(check.level, Level::Ok);
    }
}
