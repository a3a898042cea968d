//! Socket calls by per-call tracepoints, and TCP states by the kernel's own.
//!
//! Owns which programs make up the whole, and the bounds of what they remember. A call's enter and
//! exit are two programs, each a duty of its own: without its enter an exit has nothing to report.

use super::super::libbpf::Aligned;
use super::super::probe::{Candidate, Duty, Hook, ObjectSpec};
use crate::event::{Concern, EventKind};
use crate::wire;

#[cfg(test)]
mod tests;

static BYTES: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/socket.bpf.o")));

/// Threads that may be within a socket call at once (208 bytes each): most of them wait in accept.
pub const CALLS: u32 = 8192;
/// TCP connections followed to their end at once (264 bytes each). The end of one beyond is not
/// reported, and counted as missed.
pub const CONNECTIONS: u32 = 16384;
/// Peers of unconnected datagram sockets that are remembered as reported, while that is asked for.
pub const PEERS: u32 = 4096;

/// Sockets.
pub static SOCKET: ObjectSpec = ObjectSpec {
    name: "socket",
    concern: Concern::Socket,
    bytes: &BYTES.0,
    per_cpu_maps: &[],
    map_entries: &[("calls", CALLS), ("connections", CONNECTIONS), ("peers", PEERS)],
    switches: |config| {
        let switches = wire::SocketSwitches {
            unix_sockets: config.unix_sockets.into(),
            datagram_peers: config.datagram_peers.into(),
        };
        Some(wire::bytes_of(&switches).to_vec())
    },
    duties: &DUTIES,
};

macro_rules! call {
    ($program:literal, $name:literal, $wanted:expr) => {
        Duty {
            name: $name,
            kinds: &[EventKind::Socket],
            wanted: $wanted,
            candidates: &[Candidate {
                program: $program,
                hook: Hook::Tracepoint { category: "syscalls", name: $name },
            }],
        }
    };
}

/// The exits come first: a call whose enter alone is seen would be remembered for ever.
static DUTIES: [Duty; 17] = [
    Duty {
        name: "inet_sock_set_state",
        kinds: &[EventKind::Socket],
        wanted: |_| true,
        candidates: &[Candidate {
            program: "set_state",
            hook: Hook::BtfTracepoint { name: "inet_sock_set_state", args: 3 },
        }],
    },
    call!("exit_connect", "sys_exit_connect", |_| true),
    call!("exit_bind", "sys_exit_bind", |_| true),
    call!("exit_listen", "sys_exit_listen", |_| true),
    call!("exit_accept", "sys_exit_accept", |_| true),
    call!("exit_accept4", "sys_exit_accept4", |_| true),
    call!("exit_sendto", "sys_exit_sendto", |config| config.datagram_peers),
    call!("exit_sendmsg", "sys_exit_sendmsg", |config| config.datagram_peers),
    call!("exit_sendmmsg", "sys_exit_sendmmsg", |config| config.datagram_peers),
    call!("enter_connect", "sys_enter_connect", |_| true),
    call!("enter_bind", "sys_enter_bind", |_| true),
    call!("enter_listen", "sys_enter_listen", |_| true),
    call!("enter_accept", "sys_enter_accept", |_| true),
    call!("enter_accept4", "sys_enter_accept4", |_| true),
    call!("enter_sendto", "sys_enter_sendto", |config| config.datagram_peers),
    call!("enter_sendmsg", "sys_enter_sendmsg", |config| config.datagram_peers),
    call!("enter_sendmmsg", "sys_enter_sendmmsg", |config| config.datagram_peers),
];
