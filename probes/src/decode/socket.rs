//! Socket calls, and the outcomes and ends of TCP connections.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Malformed, event, fixed};
use crate::event::{
    Body, Connection, ConnectionEnd, Endpoint, RawEvent, Socket, SocketAction, SocketId,
};
use crate::wire;

#[cfg(test)]
mod tests;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Bytes of a unix socket's name at most.
const UNIX_NAME: usize = 108;

pub(super) fn socket(bytes: &[u8]) -> Result<RawEvent, Malformed> {
    let socket: wire::Socket = fixed(bytes)?;
    let known = |bit| socket.known & bit != 0;
    let action = action(socket.action)?;
    let (local, remote) = if socket.family == AF_UNIX {
        let unix: wire::Unix = fixed(bytes)?;
        (
            unix_end("local", &socket.local, &unix.local_name)?,
            unix_end("remote", &socket.remote, &unix.remote_name)?,
        )
    } else {
        (inet_end("local", &socket.local)?, inet_end("remote", &socket.remote)?)
    };
    let end = (action == SocketAction::Close).then(|| ConnectionEnd {
        bytes_sent: known(wire::SOCKET_SENT).then_some(socket.bytes_sent),
        bytes_received: known(wire::SOCKET_RECEIVED).then_some(socket.bytes_received),
        duration_ns: Some(socket.duration),
        error: Some(socket.error),
    });
    let body = Socket {
        action,
        syscall: call(socket.call)?,
        fd: known(wire::SOCKET_FD).then_some(socket.fd),
        id: Some(SocketId(socket.id)),
        family: Some(socket.family),
        socket_type: Some(socket.socket_type),
        protocol: Some(socket.protocol),
        local,
        remote,
        result: known(wire::SOCKET_RESULT).then_some(socket.result),
        call_ns: known(wire::SOCKET_DURATION).then_some(socket.duration),
        end,
    };
    Ok(event(&socket.header, &socket.task, Body::Socket(Box::new(body))))
}

pub(super) fn connection(bytes: &[u8]) -> Result<RawEvent, Malformed> {
    let connection: wire::Connection = fixed(bytes)?;
    let body = Connection {
        id: SocketId(connection.id),
        local: inet_end("local", &connection.local)?.and_then(|end| match end {
            Endpoint::Inet(address) => Some(address),
            Endpoint::Unix(_) => None,
        }),
        error: connection.error,
    };
    Ok(event(&connection.header, &connection.task, Body::Connection(Box::new(body))))
}

fn action(value: u8) -> Result<SocketAction, Malformed> {
    Ok(match u32::from(value) {
        wire::SOCKET_CONNECT => SocketAction::Connect,
        wire::SOCKET_ACCEPT => SocketAction::Accept,
        wire::SOCKET_BIND => SocketAction::Bind,
        wire::SOCKET_LISTEN => SocketAction::Listen,
        wire::SOCKET_CLOSE => SocketAction::Close,
        _ => return Err(Malformed::Value { part: "action", value: value.into() }),
    })
}

fn call(value: u8) -> Result<Option<&'static str>, Malformed> {
    Ok(Some(match u32::from(value) {
        wire::CALL_NONE => return Ok(None),
        wire::CALL_CONNECT => "connect",
        wire::CALL_ACCEPT => "accept",
        wire::CALL_ACCEPT4 => "accept4",
        wire::CALL_BIND => "bind",
        wire::CALL_LISTEN => "listen",
        wire::CALL_SENDTO => "sendto",
        wire::CALL_SENDMSG => "sendmsg",
        wire::CALL_SENDMMSG => "sendmmsg",
        _ => return Err(Malformed::Value { part: "call", value: value.into() }),
    }))
}

fn inet_end(part: &'static str, end: &wire::End) -> Result<Option<Endpoint>, Malformed> {
    let address = match end.family {
        0 => return Ok(None),
        AF_INET => {
            let [a, b, c, d, ..] = end.address;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        AF_INET6 => IpAddr::V6(Ipv6Addr::from(end.address)),
        family => return Err(Malformed::Value { part, value: family.into() }),
    };
    Ok(Some(Endpoint::Inet(SocketAddr::new(address, end.port))))
}

/// The name of a path ends at its NUL; that of an abstract socket begins with one, and may hold
/// more.
fn unix_end(
    part: &'static str,
    end: &wire::End,
    name: &[u8; UNIX_NAME],
) -> Result<Option<Endpoint>, Malformed> {
    match end.family {
        0 => return Ok(None),
        AF_UNIX => {}
        family => return Err(Malformed::Value { part, value: family.into() }),
    }
    let length = end.name_length;
    let name =
        name.get(..length as usize).ok_or(Malformed::Value { part, value: length.into() })?;
    let name = match name {
        [0, ..] => name,
        path => path.split(|byte| *byte == 0).next().unwrap_or_default(),
    };
    Ok((!name.is_empty()).then(|| Endpoint::Unix(name.into())))
}
