use std::net::SocketAddr;

use proptest::prelude::*;

use super::super::decode;
use super::*;
use crate::wire::bytes_of;

const UNKNOWN: wire::End = wire::End { address: [0; 16], port: 0, family: 0, name_length: 0 };

fn header(record_type: u32, length: usize) -> wire::Header {
    wire::Header {
        length: u32::try_from(length).unwrap(),
        r#type: u16::try_from(record_type).unwrap(),
        flags: 0,
        time: 7_000,
        cpu: 1,
        reserved: 0,
    }
}

fn task() -> wire::Task {
    let task: wire::Task = wire::read(&[0; size_of::<wire::Task>()]).unwrap();
    wire::Task { tgid: 41, tid: 42, ..task }
}

fn v4(address: [u8; 4], port: u16) -> wire::End {
    let [a, b, c, d] = address;
    let address = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    wire::End { address, port, family: AF_INET, ..UNKNOWN }
}

/// A connect that was refused.
fn refused() -> wire::Socket {
    wire::Socket {
        header: header(wire::SOCKET, size_of::<wire::Socket>()),
        task: task(),
        id: 99,
        local: v4([127, 0, 0, 1], 40_000),
        remote: v4([127, 0, 0, 1], 80),
        bytes_sent: 0,
        bytes_received: 0,
        duration: 1_500,
        error: 0,
        fd: 5,
        result: -libc::ECONNREFUSED,
        known: wire::SOCKET_FD | wire::SOCKET_RESULT | wire::SOCKET_DURATION,
        family: AF_INET,
        socket_type: 1,
        protocol: 6,
        action: u8::try_from(wire::SOCKET_CONNECT).unwrap(),
        call: u8::try_from(wire::CALL_CONNECT).unwrap(),
    }
}

fn named(local: &[u8], remote: &[u8]) -> wire::Unix {
    let fill = |name: &[u8]| {
        let mut out = [0; UNIX_NAME];
        out[..name.len()].copy_from_slice(name);
        out
    };
    let end = |name: &[u8]| wire::End {
        family: if name.is_empty() { 0 } else { AF_UNIX },
        name_length: u32::try_from(name.len()).unwrap(),
        ..UNKNOWN
    };
    let header = header(wire::SOCKET, size_of::<wire::Unix>());
    let socket = wire::Socket {
        header,
        family: AF_UNIX,
        protocol: 0,
        local: end(local),
        remote: end(remote),
        ..refused()
    };
    wire::Unix { socket, local_name: fill(local), remote_name: fill(remote) }
}

fn socket_in(bytes: &[u8]) -> Socket {
    match decode(bytes).unwrap().body {
        Body::Socket(socket) => *socket,
        other => panic!("{other:?}"),
    }
}

fn inet(text: &str) -> Option<Endpoint> {
    Some(Endpoint::Inet(text.parse().unwrap()))
}

#[test]
fn a_refused_connect_keeps_its_errno_and_both_ends() {
    let event = decode(bytes_of(&refused())).unwrap();
    assert_eq!((event.time_ns, event.task.pid, event.task.tid), (7_000, 41, 42));
    let expected = Socket {
        action: SocketAction::Connect,
        syscall: Some("connect"),
        fd: Some(5),
        id: Some(SocketId(99)),
        family: Some(AF_INET),
        socket_type: Some(1),
        protocol: Some(6),
        local: inet("127.0.0.1:40000"),
        remote: inet("127.0.0.1:80"),
        result: Some(-libc::ECONNREFUSED),
        call_ns: Some(1_500),
        end: None,
    };
    assert_eq!(event.body, Body::Socket(Box::new(expected)));
}

#[test]
fn what_was_not_known_is_none_and_not_zero() {
    let unseen = wire::Socket { known: 0, call: 0, local: UNKNOWN, ..refused() };
    let socket = socket_in(bytes_of(&unseen));
    assert_eq!((socket.fd, socket.result, socket.syscall), (None, None, None));
    assert_eq!((socket.local, socket.call_ns), (None, None));
}

#[test]
fn a_v4_mapped_address_stays_ipv6() {
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];
    let remote = wire::End { address: mapped, family: AF_INET6, ..v4([0; 4], 443) };
    let socket = socket_in(bytes_of(&wire::Socket { family: AF_INET6, remote, ..refused() }));
    assert_eq!(socket.remote, inet("[::ffff:127.0.0.1]:443"));
}

#[test]
fn an_end_may_be_of_another_family_than_its_socket() {
    let socket = socket_in(bytes_of(&wire::Socket { family: AF_INET6, ..refused() }));
    assert_eq!(socket.family, Some(AF_INET6));
    assert_eq!(socket.remote, inet("127.0.0.1:80"));
}

#[test]
fn a_close_has_totals_and_only_those_that_are_known() {
    let close = wire::Socket {
        action: u8::try_from(wire::SOCKET_CLOSE).unwrap(),
        known: wire::SOCKET_SENT,
        bytes_sent: 10,
        bytes_received: 20,
        duration: 30,
        error: libc::ECONNRESET,
        ..refused()
    };
    let expected = ConnectionEnd {
        bytes_sent: Some(10),
        bytes_received: None,
        duration_ns: Some(30),
        error: Some(libc::ECONNRESET),
    };
    assert_eq!(socket_in(bytes_of(&close)).end, Some(expected));
}

#[test]
fn a_path_ends_at_its_nul_and_an_abstract_name_does_not() {
    let socket = socket_in(bytes_of(&named(b"\0a\0b", b"/run/x\0")));
    assert_eq!(socket.local, Some(Endpoint::Unix((*b"\0a\0b").into())));
    assert_eq!(socket.remote, Some(Endpoint::Unix((*b"/run/x").into())));
}

#[test]
fn a_name_of_the_full_length_needs_no_nul() {
    let socket = socket_in(bytes_of(&named(&[b'x'; UNIX_NAME], b"")));
    assert_eq!(socket.local, Some(Endpoint::Unix([b'x'; UNIX_NAME].into())));
    assert_eq!(socket.remote, None);
}

#[test]
fn an_outcome_is_not_a_socket_call() {
    let record = wire::Connection {
        header: header(wire::CONNECTION, size_of::<wire::Connection>()),
        task: task(),
        id: 99,
        local: v4([127, 0, 0, 1], 40_000),
        error: libc::ETIMEDOUT,
        reserved: 0,
    };
    let local: Option<SocketAddr> = Some("127.0.0.1:40000".parse().unwrap());
    let expected = Connection { id: SocketId(99), local, error: libc::ETIMEDOUT };
    let event = decode(bytes_of(&record)).unwrap();
    assert_eq!(event.body, Body::Connection(Box::new(expected)));
}

#[test]
fn values_that_nothing_stands_for_are_malformed() {
    let end = |family| wire::End { family, ..UNKNOWN };
    for (record, part) in [
        (wire::Socket { action: 0, ..refused() }, "action"),
        (wire::Socket { action: 6, ..refused() }, "action"),
        (wire::Socket { call: 200, ..refused() }, "call"),
        (wire::Socket { local: end(AF_UNIX), ..refused() }, "local"),
        (wire::Socket { remote: end(17), ..refused() }, "remote"),
    ] {
        let found = decode(bytes_of(&record)).unwrap_err();
        assert!(
            matches!(found, Malformed::Value { part: at, .. } if at == part),
            "{found:?}, not {part}"
        );
    }
}

#[test]
fn a_name_longer_than_its_room_is_malformed() {
    let mut record = named(b"/run/x", b"");
    record.socket.local.name_length = 109;
    let expected = Malformed::Value { part: "local", value: 109 };
    assert_eq!(decode(bytes_of(&record)), Err(expected));
}

#[test]
fn a_unix_record_without_its_names_is_too_short() {
    let record = wire::Socket { family: AF_UNIX, ..refused() };
    let need = size_of::<wire::Unix>();
    let expected = Malformed::Short { need, have: size_of::<wire::Socket>() };
    assert_eq!(decode(bytes_of(&record)), Err(expected));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let length = u32::try_from(bytes.len()).unwrap().to_ne_bytes();
        for (to, from) in bytes.iter_mut().zip(length) {
            *to = from;
        }
        for record_type in [wire::SOCKET, wire::CONNECTION] {
            let number = u16::try_from(record_type).unwrap().to_ne_bytes();
            for (to, from) in bytes.iter_mut().skip(4).zip(number) {
                *to = from;
            }
            let _ = decode(&bytes);
        }
    }
}
