//! Connections, on loopback only.

use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect as connect_to, getsockopt, socket,
    sockopt,
};
use serde_json::{Value, json};

use crate::Peer;

fn loopback(v6: bool) -> SocketAddr {
    if v6 { (Ipv6Addr::LOCALHOST, 0).into() } else { (Ipv4Addr::LOCALHOST, 0).into() }
}

fn ends(local: SocketAddr, remote: SocketAddr) -> Value {
    json!({
        "local_address": local.ip(), "local_port": local.port(),
        "remote_address": remote.ip(), "remote_port": remote.port(),
    })
}

pub fn connect(v6: bool, to: Peer, nonblocking: bool) -> Result<Value> {
    let listener = TcpListener::bind(loopback(v6))?;
    let address = listener.local_addr()?;
    // A port that was ours a moment ago: nobody else will have taken it.
    let listener = (to == Peer::Listener).then_some(listener);
    if !nonblocking {
        return match TcpStream::connect(address) {
            Ok(stream) => Ok(ends(stream.local_addr()?, address)),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                Ok(json!({ "remote_address": address.ip(), "remote_port": address.port(),
                           "error": Errno::ECONNREFUSED as i32 }))
            }
            Err(error) => Err(error),
        };
    }
    let family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let client: OwnedFd = socket(family, SockType::Stream, flags, None)?;
    match connect_to(client.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        // Loopback answers within the call, so a refusal may come back at once.
        Err(Errno::ECONNREFUSED) if listener.is_none() => {}
        Err(error) => return Err(error.into()),
    }
    let mut ready = [PollFd::new(std::os::fd::AsFd::as_fd(&client), PollFlags::POLLOUT)];
    poll(&mut ready, PollTimeout::from(5000_u16))?;
    let error = getsockopt(&client, sockopt::SocketError)?;
    let stream = TcpStream::from(client);
    Ok(json!({
        "local_port": stream.local_addr().ok().map(|local| local.port()),
        "remote_address": address.ip(), "remote_port": address.port(), "outcome": error,
    }))
}

pub fn accept(v6: bool) -> Result<Value> {
    let listener = TcpListener::bind(loopback(v6))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, remote) = listener.accept()?;
    drop(client);
    Ok(ends(server.local_addr()?, remote))
}

pub fn accept_nobody() -> Result<Value> {
    let listener = TcpListener::bind(loopback(false))?;
    listener.set_nonblocking(true)?;
    match listener.accept() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Ok(json!({ "local_port": listener.local_addr()?.port() }))
        }
        Err(error) => Err(error),
        Ok((_, peer)) => Err(Error::other(format!("{peer} connected to a port nobody knows"))),
    }
}

pub fn connect_udp() -> Result<Value> {
    let peer = UdpSocket::bind(loopback(false))?;
    let socket = UdpSocket::bind(loopback(false))?;
    socket.connect(peer.local_addr()?)?;
    Ok(ends(socket.local_addr()?, peer.local_addr()?))
}

pub fn connections(count: u32) -> Result<Value> {
    let listener = TcpListener::bind(loopback(false))?;
    let address = listener.local_addr()?;
    for _ in 0..count {
        let client = TcpStream::connect(address)?;
        // Reset instead of TIME_WAIT, so that ports do not run out.
        nix::sys::socket::setsockopt(
            &client,
            sockopt::Linger,
            &nix::libc::linger { l_onoff: 1, l_linger: 0 },
        )?;
        drop(listener.accept()?);
        drop(client);
    }
    Ok(json!({ "connections": count }))
}
