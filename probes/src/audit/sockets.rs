//! What a socket is, beyond what a call's records say of it: its own end, its type, its protocol.
//!
//! Owns the lookup in `/proc/PID/fd` and `/proc/PID/net`, made for all calls that were read together.
//! A descriptor may be another's by the time it is looked up, so what is found counts only if it
//! agrees with what the records say. The tables in `/proc/PID/net` grow with the host's sockets, and
//! reading them takes time accordingly: at most one part in [`SHARE`] of ours is spent on it, and
//! calls that come meanwhile are given out without.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::event::{Endpoint, Socket, SocketAction};

use super::record::number;
use super::sockaddr::{AF_INET, AF_INET6, AF_UNIX};

/// After a lookup, this many times as long passes before the next.
const SHARE: u64 = 50;

/// Bytes read of a table. A line has 150, so sockets beyond some 100,000 are not found.
const MAX_TABLE: u64 = 16 << 20;

const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
/// `TCP_LISTEN`, as the table has it.
const LISTEN: u8 = 0x0a;

/// A socket as a table shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    family: u16,
    protocol: u16,
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
}

/// The tables of the network namespaces that were looked into, for one batch of calls.
#[derive(Debug, Default)]
pub struct Sockets {
    /// By network namespace, then by the socket's inode; a unix socket has no entry.
    tables: HashMap<String, HashMap<u64, Option<Entry>>>,
    not_before_ns: u64,
}

impl Sockets {
    /// Begins a batch. Whether there is time for it.
    pub fn begin(&mut self, now_ns: u64) -> bool {
        self.tables.clear();
        now_ns >= self.not_before_ns
    }

    /// Ends a batch, which began at `since_ns`.
    pub fn end(&mut self, since_ns: u64, now_ns: u64) {
        let spent_ns = now_ns.saturating_sub(since_ns);
        self.not_before_ns = now_ns.saturating_add(spent_ns.saturating_mul(SHARE));
        self.tables.clear();
    }

    /// Adds what can be found. False: it is a unix socket, though the records do not say so.
    pub fn complete(&mut self, pid: u32, socket: &mut Socket) -> bool {
        let Some(fd) = socket.fd else { return true };
        if socket.family == Some(AF_UNIX) {
            return true;
        }
        let found = self.find(pid, fd);
        match found {
            Some(Some(entry)) => {
                entry.complete(socket);
                true
            }
            Some(None) => socket.family.is_some(),
            None => true,
        }
    }

    /// `None`: not found. `Some(None)`: a unix socket.
    fn find(&mut self, pid: u32, fd: i32) -> Option<Option<Entry>> {
        let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
        let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        let namespace = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
        let namespace = namespace.to_str()?.to_owned();
        let table = self.tables.entry(namespace).or_insert_with(|| read(pid));
        table.get(&inode).copied()
    }
}

fn read(pid: u32) -> HashMap<u64, Option<Entry>> {
    let mut sockets = HashMap::new();
    let tables = [
        ("tcp", AF_INET, IPPROTO_TCP),
        ("tcp6", AF_INET6, IPPROTO_TCP),
        ("udp", AF_INET, IPPROTO_UDP),
        ("udp6", AF_INET6, IPPROTO_UDP),
    ];
    for (name, family, protocol) in tables {
        let lines = table(pid, name);
        let entries = lines.split(|&byte| byte == b'\n').skip(1);
        for (inode, entry) in entries.filter_map(|line| entry(line, family, protocol)) {
            sockets.insert(inode, Some(entry));
        }
    }
    let lines = table(pid, "unix");
    for line in lines.split(|&byte| byte == b'\n').skip(1) {
        let inode = words(line).nth(6).and_then(|word| number(word, 10));
        sockets.extend(inode.map(|inode| (inode, None)));
    }
    sockets
}

fn table(pid: u32, name: &str) -> Vec<u8> {
    use std::io::Read;
    let mut text = Vec::new();
    if let Ok(file) = fs::File::open(format!("/proc/{pid}/net/{name}"))
        && file.take(MAX_TABLE).read_to_end(&mut text).is_err()
    {
        text.clear();
    }
    text
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b' ').filter(|word| !word.is_empty())
}

/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …`
fn entry(line: &[u8], family: u16, protocol: u16) -> Option<(u64, Entry)> {
    let mut words = words(line).skip(1);
    let local = address(words.next()?)?;
    let remote = address(words.next()?)?;
    let state = u8::try_from(number(words.next()?, 16)?).ok()?;
    let inode = number(words.nth(5)?, 10)?;
    Some((inode, Entry { family, protocol, local, remote, state }))
}

/// An address as `/proc/net/tcp` has it: words of the host's byte order in hexadecimal, then the
/// port.
fn address(text: &[u8]) -> Option<SocketAddr> {
    let colon = text.iter().position(|&byte| byte == b':')?;
    let (address, port) = text.split_at_checked(colon)?;
    if !address.len().is_multiple_of(8) {
        return None;
    }
    let port = u16::try_from(number(port.get(1..)?, 16)?).ok()?;
    let words: Option<Vec<u32>> = address
        .chunks(8)
        .map(|word| number(word, 16).and_then(|word| u32::try_from(word).ok()))
        .collect();
    let bytes: Vec<u8> = words?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

impl Entry {
    /// Adds what this says to what the records say, unless it is another socket.
    fn complete(&self, socket: &mut Socket) {
        let same = socket.family.is_none_or(|family| family == self.family)
            && match (socket.action, &socket.remote, &socket.local) {
                (SocketAction::Bind, _, Some(Endpoint::Inet(asked))) => {
                    let port = asked.port() == 0 || asked.port() == self.local.port();
                    port && asked.ip() == self.local.ip()
                }
                (SocketAction::Listen, ..) => self.state == LISTEN,
                (_, Some(Endpoint::Inet(remote)), _) => {
                    (remote.ip(), remote.port()) == (self.remote.ip(), self.remote.port())
                }
                (SocketAction::Accept, None, _) => self.state != LISTEN,
                _ => false,
            };
        if !same {
            return;
        }
        socket.family = Some(self.family);
        socket.protocol = Some(self.protocol);
        let stream = self.protocol == IPPROTO_TCP;
        socket.socket_type = Some(if stream { SOCK_STREAM } else { SOCK_DGRAM });
        socket.local = Some(Endpoint::Inet(self.local));
        let connected = matches!(socket.action, SocketAction::Accept | SocketAction::Connect);
        if socket.remote.is_none() && connected {
            socket.remote = Some(Endpoint::Inet(self.remote));
        }
    }
}

/// Forgets what a call asked for and the kernel chose otherwise: binding to port 0 is binding to a
/// port that the records do not say.
pub fn forget_wishes(socket: &mut Socket) {
    if let (SocketAction::Bind, Some(Endpoint::Inet(asked))) = (socket.action, &socket.local)
        && asked.port() == 0
    {
        socket.local = None;
    }
}

#[cfg(test)]
mod tests;
