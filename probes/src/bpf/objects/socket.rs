//! Socket calls by the kernel's functions or by per-call tracepoints, and TCP states by a tracepoint
//! of the kernel's own.
//!
//! Owns which programs make up the whole, and the bounds of what they remember.

use super::super::libbpf::Aligned;
use super::super::probe::{Candidate, Duty, Hook, ObjectSpec, Program};
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

/// A program on the way into or out of a function.
const fn function(program: &'static str, name: &'static str, args: usize) -> Program {
    Program::new(program, Hook::Function { name, args })
}

const fn syscall(program: &'static str, name: &'static str) -> Program {
    Program::new(program, Hook::Tracepoint { category: "syscalls", name })
}

/// As [`function`], where the kernel has MPTCP.
const fn mptcp(program: &'static str, name: &'static str, args: usize) -> Program {
    Program { optional: true, ..function(program, name, args) }
}

const fn state(program: &'static str) -> Program {
    let hook = Hook::BtfTracepoint { name: "inet_sock_set_state", args: 3 };
    Program { covered: true, ..Program::new(program, hook) }
}

static ENDS: [Candidate; 1] = [Candidate {
    programs: &[Program::new(
        "destroy_sock",
        Hook::BtfTracepoint { name: "tcp_destroy_sock", args: 1 },
    )],
}];

static CONNECT: [Candidate; 2] = [
    Candidate {
        programs: &[
            function("exit_inet_stream_connect", "inet_stream_connect", 4),
            function("exit_inet_dgram_connect", "inet_dgram_connect", 4),
            function("exit_unix_stream_connect", "unix_stream_connect", 4),
            function("exit_unix_dgram_connect", "unix_dgram_connect", 4),
            function("permit_connect", "security_socket_connect", 3),
        ],
    },
    Candidate {
        programs: &[
            syscall("exit_connect", "sys_exit_connect"),
            syscall("enter_connect", "sys_enter_connect"),
        ],
    },
];

static BIND: [Candidate; 2] = [
    Candidate {
        programs: &[
            function("exit_inet_bind", "inet_bind", 3),
            function("exit_inet6_bind", "inet6_bind", 3),
            function("exit_unix_bind", "unix_bind", 3),
            mptcp("exit_mptcp_bind", "mptcp_bind", 3),
            function("permit_bind", "security_socket_bind", 3),
        ],
    },
    Candidate {
        programs: &[syscall("exit_bind", "sys_exit_bind"), syscall("enter_bind", "sys_enter_bind")],
    },
];

static LISTEN: [Candidate; 2] = [
    Candidate {
        programs: &[
            function("exit_inet_listen", "inet_listen", 2),
            function("exit_unix_listen", "unix_listen", 2),
            mptcp("exit_mptcp_listen", "mptcp_listen", 2),
            function("permit_listen", "security_socket_listen", 2),
        ],
    },
    Candidate {
        programs: &[
            syscall("exit_listen", "sys_exit_listen"),
            syscall("enter_listen", "sys_enter_listen"),
        ],
    },
];

static ACCEPT: [Candidate; 2] = [
    Candidate {
        programs: &[
            function("graft", "security_sock_graft", 2),
            function("exit_sys_accept4", "__sys_accept4", 4),
            function("enter_sys_accept4", "__sys_accept4", 4),
        ],
    },
    Candidate {
        programs: &[
            syscall("exit_accept", "sys_exit_accept"),
            syscall("exit_accept4", "sys_exit_accept4"),
            syscall("enter_accept", "sys_enter_accept"),
            syscall("enter_accept4", "sys_enter_accept4"),
        ],
    },
];

static SEND: [Candidate; 2] = [
    Candidate {
        programs: &[
            function("exit_udp_sendmsg", "udp_sendmsg", 3),
            function("exit_udpv6_sendmsg", "udpv6_sendmsg", 3),
            function("exit_raw_sendmsg", "raw_sendmsg", 3),
            function("exit_rawv6_sendmsg", "rawv6_sendmsg", 3),
            function("exit_ping_v4_sendmsg", "ping_v4_sendmsg", 3),
            function("exit_ping_v6_sendmsg", "ping_v6_sendmsg", 3),
            function("enter_udp_sendmsg", "udp_sendmsg", 3),
            function("enter_udpv6_sendmsg", "udpv6_sendmsg", 3),
            function("enter_raw_sendmsg", "raw_sendmsg", 3),
            function("enter_rawv6_sendmsg", "rawv6_sendmsg", 3),
            function("enter_ping_v4_sendmsg", "ping_v4_sendmsg", 3),
            function("enter_ping_v6_sendmsg", "ping_v6_sendmsg", 3),
        ],
    },
    Candidate {
        programs: &[
            syscall("exit_sendto", "sys_exit_sendto"),
            syscall("exit_sendmsg", "sys_exit_sendmsg"),
            syscall("exit_sendmmsg", "sys_exit_sendmmsg"),
            syscall("enter_sendto", "sys_enter_sendto"),
            syscall("enter_sendmsg", "sys_enter_sendmsg"),
            syscall("enter_sendmmsg", "sys_enter_sendmmsg"),
        ],
    },
];

const fn call(name: &'static str, candidates: &'static [Candidate]) -> Duty {
    Duty { name, kinds: &[EventKind::Socket], wanted: |_| true, candidates }
}

static DUTIES: [Duty; 7] = [
    call(
        "states",
        &[Candidate {
            // In this order: the second looks after what the first was skipped at.
            programs: &[state("set_state"), state("set_state_again")],
        }],
    ),
    call("ends", &ENDS),
    call("connect", &CONNECT),
    call("bind", &BIND),
    call("listen", &LISTEN),
    call("accept", &ACCEPT),
    Duty { wanted: |config| config.datagram_peers, ..call("send", &SEND) },
];
