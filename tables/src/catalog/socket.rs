//! `ebpf_socket_events`: the columns of osquery's `socket_events` (specs/posix/
//! socket_events.table) and of its former `bpf_socket_events`, then ours.
//!
//! `fd` is decimal, as in `bpf_socket_events`; the core's audit table has the hexadecimal digits of
//! the audit record there. Ports and the protocol are empty where the core has 0 for "unknown".

use std::net::IpAddr;

use osquery_ebpf_probes::event::SocketAction;

use crate::column::{
    Cell, Definition, Key, Late, Part, Spec, View, boolean, cgroup_id, columns, number, short,
    signed, wide, word,
};
use crate::record::{self, Address, Outcome, SocketRecord, flag};
use crate::schema::ColumnType::{BigInt, Integer, Text};
use crate::schema::{Column, Table};
use crate::text;

type Row<'a> = View<'a, SocketRecord>;

const SPECS: &[Spec<SocketRecord>] = &[
    Spec::new("action", Text, "connect, accept, bind, listen or close.", |row, out| {
        word(row.record.action.as_str(), out)
    }),
    Spec::new("pid", BigInt, "Process id, in the initial pid namespace.", |row, _| row.pid())
        .key(Key::Pid),
    Spec::new("path", Text, "Executable of the process.", |row, out| row.path(out)).key(Key::Path),
    Spec::new("fd", Text, "File descriptor, decimal; for accept that of the new connection.", fd),
    Spec::new("auid", BigInt, "Audit login uid; empty where none was set.", |row, _| {
        signed(row.who(row.record.who).auid)
    }),
    Spec::new("family", Integer, "Address family: 2 IPv4, 10 IPv6, 1 unix.", |row, _| {
        short(row.record.family)
    }),
    Spec::new("protocol", Integer, "Protocol: 6 TCP, 17 UDP.", |row, _| short(row.record.protocol)),
    Spec::new("local_address", Text, "Our address.", |row, out| {
        match late(row).and_then(|late| late.local).filter(|_| !row.record.local.ip.is_known()) {
            Some(local) => written(row, local.ip(), out),
            None => address(row, row.record.local, out),
        }
    }),
    Spec::new("remote_address", Text, "The other end's address.", |row, out| {
        address(row, row.record.remote, out)
    }),
    Spec::new("local_port", Integer, "Our port.", |row, _| {
        match late(row).and_then(|late| late.local).filter(|_| !row.record.local.ip.is_known()) {
            Some(local) => Cell::Int(i64::from(local.port())),
            None => signed(row.record.local.port()),
        }
    }),
    Spec::new("remote_port", Integer, "The other end's port.", |row, _| {
        signed(row.record.remote.port())
    }),
    Spec::new(
        "socket",
        Text,
        "Name of a unix socket: a path, or @ and an abstract name.",
        |row, out| {
            let Some(name) = row.bytes(row.record.unix) else { return Cell::Unknown };
            text::push_unix(out, name);
            Cell::Text
        },
    ),
    Spec::new("time", BigInt, "When the call returned, Unix seconds.", |row, _| row.time())
        .key(Key::Time),
    Spec::new("uptime", BigInt, "When the call returned, seconds since boot.", |row, _| {
        row.uptime()
    }),
    Spec::new("eid", Text, "Event id, ascending.", |row, out| row.eid(out)).key(Key::Eid),
    Spec::new("success", Integer, "0 if the call failed, else 1; use status.", |row, _| {
        status(row.record).map_or(Cell::Unknown, |status| boolean(status != "failed"))
    }),
    Spec::new(
        "status",
        Text,
        "succeeded, failed, in_progress (connect on a non-blocking socket) or no_client \
         (accept on a non-blocking socket): what the call returned. See outcome.",
        |row, out| status(row.record).map_or(Cell::Unknown, |status| word(status, out)),
    ),
    Spec::new("tid", BigInt, "Thread id, in the initial pid namespace.", |row, _| {
        number(row.record.tid)
    }),
    Spec::new("parent", BigInt, "Parent's process id.", |row, _| row.parent()).key(Key::Parent),
    Spec::new("uid", BigInt, "Real user id.", |row, _| {
        signed(row.who(row.record.who).creds.map(|creds| creds.uid))
    }),
    Spec::new("gid", BigInt, "Real group id.", |row, _| {
        signed(row.who(row.record.who).creds.map(|creds| creds.gid))
    }),
    Spec::new(
        "cid",
        Integer,
        "Cgroup id in the v2 hierarchy; empty where it does not fit 31 bits.",
        |row, _| cgroup_id(row.place(row.record.place)),
    ),
    Spec::new(
        "exit_code",
        Text,
        "What the call returned: 0, a descriptor, or a negated errno.",
        |row, out| {
            result(row.record)
                .map_or(Cell::Unknown, |code| word(itoa::Buffer::new().format(code), out))
        },
    ),
    Spec::new("probe_error", Integer, "1 if a part could not be read; else 0.", |row, _| {
        boolean(row.record.flags & flag::PATH_CUT != 0)
    }),
    Spec::new("syscall", Text, "The call, such as accept4.", |row, out| {
        row.text(row.record.syscall, out)
    }),
    Spec::new("type", Integer, "Socket type: 1 stream, 2 datagram.", |row, _| {
        short(row.record.socket_type)
    }),
    Spec::new(
        "duration",
        Integer,
        "Nanoseconds in the call; empty where it was not seen to begin, and beyond 2.1 s, which \
         do not fit 31 bits.",
        |row, _| number(row.record.call_ns),
    ),
    Spec::new(
        "ntime",
        Text,
        "When the call returned, nanoseconds since boot (CLOCK_BOOTTIME).",
        |row, out| row.ntime(out),
    ),
    Spec::new(
        "cmdline",
        Text,
        "Arguments of the process joined by one space, at most 4096 bytes.",
        |row, out| row.joined(row.record.args, out),
    ),
    Spec::new(
        "process_id",
        Text,
        "Id no other process has, see ebpf_process_events.",
        |row, out| row.process_id(out),
    )
    .key(Key::ProcessId),
    Spec::new("container_id", Text, "Container, from the cgroup's path.", |row, out| {
        row.text(row.record.container, out)
    }),
    Spec::new("net_ns", BigInt, "Inode of the network namespace.", |row, _| {
        signed(row.place(row.record.place).namespaces.map(|spaces| spaces.net))
    }),
    Spec::new(
        "outcome",
        Text,
        "What became of the connection: established, refused, timed_out, reset, unreachable, \
         failed, in_progress (no answer yet), aborted (closed before an answer); for close: \
         closed, reset, timed_out, failed.",
        |row, out| outcome(row).map_or(Cell::Unknown, |outcome| word(outcome, out)),
    ),
    Spec::new(
        "error",
        Text,
        "Name of the errno that the call, or the connection later, failed with.",
        error,
    ),
    Spec::new(
        "bytes_sent",
        BigInt,
        "For close: payload bytes that the peer acknowledged.",
        |row, _| wide(end(row, 0)),
    ),
    Spec::new("bytes_received", BigInt, "For close: payload bytes received.", |row, _| {
        wide(end(row, 1))
    }),
    Spec::new(
        "duration_ms",
        BigInt,
        "For close: from the call that opened the connection to its end, milliseconds.",
        |row, _| wide(end(row, 2).map(|ns| ns / 1_000_000)),
    ),
    Spec::new("source", Text, "Who reported it: bpf or audit.", |row, out| row.source(out)),
];

static COLUMNS: [Column; SPECS.len()] = columns(SPECS);

static TABLE: Table = Table {
    name: "ebpf_socket_events",
    aliases: &["socket_events", "bpf_socket_events"],
    columns: &COLUMNS,
    event_based: true,
    doc: "Connections made and taken, and sockets bound, listening and closed.",
};

/// `ebpf_socket_events`.
pub static SOCKETS: Definition<SocketRecord> =
    Definition { table: &TABLE, specs: SPECS, parts: |_| &[Part::Only] };

fn late(row: &Row<'_>) -> Option<Late> {
    if row.record.outcome != Outcome::InProgress {
        return None;
    }
    row.context.late.get(&row.seq()).copied()
}

const fn result(record: &SocketRecord) -> Option<i32> {
    if record.flags & flag::RESULT_KNOWN != 0 { Some(record.result) } else { None }
}

fn fd(row: &Row<'_>, out: &mut String) -> Cell {
    if row.record.flags & flag::FD_KNOWN == 0 {
        return Cell::Unknown;
    }
    word(itoa::Buffer::new().format(row.record.fd), out)
}

fn status(record: &SocketRecord) -> Option<&'static str> {
    let result = result(record)?;
    Some(match (record.action, result.checked_neg().unwrap_or(i32::MAX)) {
        _ if result >= 0 => "succeeded",
        (SocketAction::Connect, libc::EINPROGRESS) => "in_progress",
        (SocketAction::Accept, libc::EAGAIN) => "no_client",
        _ => "failed",
    })
}

const fn failure(errno: i32) -> &'static str {
    match errno {
        libc::ECONNREFUSED => "refused",
        libc::ETIMEDOUT => "timed_out",
        libc::ECONNRESET | libc::EPIPE => "reset",
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EHOSTDOWN => "unreachable",
        _ => "failed",
    }
}

fn outcome(row: &Row<'_>) -> Option<&'static str> {
    let answered = |error| if error == 0 { "established" } else { failure(error) };
    Some(match row.record.outcome {
        Outcome::Unknown => return None,
        Outcome::InProgress => late(row).map_or("in_progress", |late| answered(late.error)),
        Outcome::Answered(error) => answered(error),
        Outcome::Aborted => "aborted",
        Outcome::Ended(0) => "closed",
        Outcome::Ended(error) => failure(error),
    })
}

fn error(row: &Row<'_>, out: &mut String) -> Cell {
    let failed = result(row.record).and_then(i32::checked_neg).filter(|&errno| errno > 0);
    let errno = match row.record.outcome {
        Outcome::Answered(error) | Outcome::Ended(error) => Some(error),
        Outcome::InProgress => late(row).map(|late| late.error),
        Outcome::Unknown | Outcome::Aborted => failed,
    };
    let Some(errno) = errno.filter(|&errno| errno > 0) else { return Cell::Unknown };
    match text::errno_name(errno) {
        Some(name) => word(name, out),
        None => word(itoa::Buffer::new().format(errno), out),
    }
}

fn end(row: &Row<'_>, part: usize) -> Option<u64> {
    let parts = row.bytes(row.record.end).and_then(record::end)?;
    parts.get(part).copied().flatten()
}

fn address(row: &Row<'_>, address: Address, out: &mut String) -> Cell {
    let Some(bytes) = row.bytes(address.ip) else { return Cell::Unknown };
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let ip = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    ip.map_or(Cell::Unknown, |ip| written(row, ip, out))
}

fn written(row: &Row<'_>, ip: IpAddr, out: &mut String) -> Cell {
    text::push_address(out, ip, row.context.ipv6);
    Cell::Text
}
