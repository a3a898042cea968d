//! Calls that are not the native system calls: of 32-bit programs, and of io_uring.
//!
//! What a tier cannot see, its health says so.

use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use rustix::net::{AddressFamily, SocketType};

use super::V4;
use super::watch::{by_functions, here, inet, shared};
use crate::clock::boot_now_ns;
use crate::event::{Body, RawEvent, Socket, SocketAction};
use crate::testkit::uring::{self, Uring};

/// What this process did since a moment with a socket that has this at its other end, or for want of
/// one at its own. Ports that other tests had come again.
fn seen(since: u64, action: SocketAction, end: SocketAddr) -> Vec<Socket> {
    let of = |event: &RawEvent| match &event.body {
        Body::Socket(socket) => {
            let it = if socket.remote.is_some() { &socket.remote } else { &socket.local };
            let ours = event.task.pid == std::process::id() && event.time_ns >= since;
            ours && socket.action == action && *it == inet(end)
        }
        _ => false,
    };
    let sockets = shared().events(of).into_iter().filter_map(|event| match event.body {
        Body::Socket(socket) => Some(*socket),
        _ => None,
    });
    sockets.collect()
}

/// The one call that only functions see; behind tracepoints there is none, and health says why.
fn seen_by_functions(since: u64, action: SocketAction, end: SocketAddr) -> Option<Socket> {
    let mut found = seen(since, action, end);
    if by_functions() {
        assert_eq!(found.len(), 1, "{found:#?}");
        return found.pop();
    }
    assert_eq!(found, []);
    let reason = shared().health().reason;
    assert!(reason.contains("do not see 32-bit programs and io_uring"), "{reason}");
    None
}

fn v4(address: SocketAddr) -> SocketAddrV4 {
    let SocketAddr::V4(address) = address else { panic!("{address}") };
    address
}

pub fn raw(address: SocketAddr) -> libc::sockaddr_in {
    let address = v4(address);
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

pub const RAW_BYTES: u32 = size_of::<libc::sockaddr_in>() as u32;

pub fn socket(kind: SocketType) -> OwnedFd {
    rustix::net::socket(AddressFamily::INET, kind, None).unwrap()
}

pub fn local_of(socket: &OwnedFd) -> SocketAddr {
    rustix::net::getsockname(socket).unwrap().try_into().unwrap()
}

/// Has io_uring do something to a socket that takes an address. What comes of it.
pub fn by_io_uring(operation: u8, socket: &OwnedFd, address: SocketAddr) -> i32 {
    let address = raw(address);
    let at = (&raw const address) as u64;
    Uring::new().unwrap().call(operation, socket.as_raw_fd(), at, RAW_BYTES.into(), 0)
}

#[test]
fn a_tcp_connect_by_io_uring_is_seen_in_every_tier() {
    shared();
    let since = boot_now_ns();
    let listener = TcpListener::bind(V4).unwrap();
    let address = listener.local_addr().unwrap();
    let client = socket(SocketType::STREAM);
    assert_eq!(by_io_uring(uring::CONNECT, &client, address), 0);
    let found = seen(since, SocketAction::Connect, address);
    let [connect] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!((connect.syscall, connect.fd), (None, None));
    // It is asked first without waiting.
    let result = connect.result.unwrap();
    assert!([0, -libc::EINPROGRESS].contains(&result), "{connect:?}");
    let answers = shared().connections(connect.id.unwrap(), since);
    let answers: Vec<_> =
        answers.iter().filter(|one| one.local == Some(local_of(&client))).collect();
    // A worker of the ring asks again, which gives the same answer once more if it has come by then.
    assert_eq!(answers.is_empty(), result == 0, "{answers:?}");
    assert!(answers.iter().all(|one| one.error == 0), "{answers:?}");
}

#[test]
fn a_udp_connect_by_io_uring_is_seen_by_functions() {
    shared();
    let since = boot_now_ns();
    let peer = UdpSocket::bind(V4).unwrap().local_addr().unwrap();
    let client = socket(SocketType::DGRAM);
    assert_eq!(by_io_uring(uring::CONNECT, &client, peer), 0);
    if let Some(connect) = seen_by_functions(since, SocketAction::Connect, peer) {
        assert_eq!((connect.syscall, connect.fd, connect.result), (None, None, Some(0)));
        assert_eq!(connect.local, inet(local_of(&client)));
    }
}

#[test]
fn an_accept_by_io_uring_is_seen_by_functions_without_its_descriptor() {
    shared();
    let since = boot_now_ns();
    let listener = TcpListener::bind(V4).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let ring = Uring::new().unwrap();
    let fd = ring.call(uring::ACCEPT, listener.as_raw_fd(), 0, 0, 0);
    assert!(fd >= 0, "{}", std::io::Error::from_raw_os_error(-fd));
    // SAFETY: the call gave us this descriptor.
    let server = unsafe { OwnedFd::from_raw_fd(fd) };
    if let Some(accept) =
        seen_by_functions(since, SocketAction::Accept, client.local_addr().unwrap())
    {
        assert_eq!((accept.syscall, accept.fd, accept.result), (None, None, Some(0)));
        assert_eq!(accept.local, inet(local_of(&server)));
    }
}

#[test]
fn bind_and_listen_by_io_uring_are_seen_by_functions_where_the_kernel_has_them() {
    shared();
    let since = boot_now_ns();
    let socket = socket(SocketType::STREAM);
    // A port that was free a moment ago: the event is looked for by it.
    let free = TcpListener::bind(V4).unwrap().local_addr().unwrap();
    let bound = by_io_uring(uring::BIND, &socket, free);
    let before = seen(since, SocketAction::Bind, free).len();
    if bound == -libc::EINVAL {
        // Before 6.11: nothing was done, so there is nothing to be seen but the listener above.
        assert_eq!(before, 1);
        return;
    }
    assert_eq!(bound, 0);
    assert_eq!(before, 1 + usize::from(by_functions()));
    let ring = Uring::new().unwrap();
    assert_eq!(ring.call(uring::LISTEN, socket.as_raw_fd(), 0, 0, 5), 0);
    // The state of a TCP socket tells of a listen in either tier.
    let listens = seen(since, SocketAction::Listen, free);
    let ours: Vec<_> = listens.iter().filter(|one| one.syscall.is_none()).collect();
    let [listen] = ours.as_slice() else { panic!("{listens:#?}") };
    assert_eq!((listen.fd, listen.result), (None, Some(0)));
}

#[cfg(target_arch = "x86_64")]
mod compat {
    use super::*;

    use crate::testkit::compat::{BIND, CONNECT, Low, SOCKETCALL, SYS_BIND, call};

    #[test]
    fn a_tcp_connect_of_a_32_bit_caller_is_seen_in_every_tier() {
        shared();
        let since = boot_now_ns();
        let listener = TcpListener::bind(V4).unwrap();
        let address = listener.local_addr().unwrap();
        let client = socket(SocketType::STREAM);
        let page = Low::new();
        let to = page.put(0, raw(address));
        let fd = client.as_raw_fd();
        assert_eq!(call(CONNECT, [fd.cast_unsigned(), to, RAW_BYTES]), 0);
        let found = seen(since, SocketAction::Connect, address);
        let [connect] = found.as_slice() else { panic!("{found:#?}") };
        if by_functions() {
            let expected = (Some("connect"), Some(fd), Some(0));
            assert_eq!((connect.syscall, connect.fd, connect.result), expected);
            assert_eq!(connect.local, inet(local_of(&client)));
        } else {
            // Seen as a state of the connection, and answered as one.
            let expected = (None, None, Some(-libc::EINPROGRESS));
            assert_eq!((connect.syscall, connect.fd, connect.result), expected);
            assert_eq!(shared().answer(here(), connect).error, 0);
        }
    }

    #[test]
    fn a_bind_of_a_32_bit_caller_is_seen_by_functions() {
        shared();
        let since = boot_now_ns();
        let free = UdpSocket::bind(V4).unwrap().local_addr().unwrap();
        let before = seen(since, SocketAction::Bind, free).len();
        let socket = socket(SocketType::DGRAM);
        let page = Low::new();
        let to = page.put(0, raw(free));
        let fd = socket.as_raw_fd();
        assert_eq!(call(BIND, [fd.cast_unsigned(), to, RAW_BYTES]), 0);
        assert_eq!(local_of(&socket), free);
        let binds = seen(since, SocketAction::Bind, free);
        assert_eq!(binds.len(), before + usize::from(by_functions()));
        if by_functions() {
            let last = binds.last().unwrap();
            assert_eq!((last.syscall, last.fd, last.result), (Some("bind"), Some(fd), Some(0)));
        } else {
            let reason = shared().health().reason;
            assert!(reason.contains("do not see 32-bit programs"), "{reason}");
        }
    }

    #[test]
    fn a_bind_by_socketcall_is_seen_by_functions_without_a_name() {
        shared();
        let since = boot_now_ns();
        let free = UdpSocket::bind(V4).unwrap().local_addr().unwrap();
        let before = seen(since, SocketAction::Bind, free).len();
        let socket = socket(SocketType::DGRAM);
        let page = Low::new();
        let to = page.put(0, raw(free));
        let arguments = page.put(64, [socket.as_raw_fd().cast_unsigned(), to, RAW_BYTES]);
        assert_eq!(call(SOCKETCALL, [SYS_BIND, arguments, 0]), 0);
        let binds = seen(since, SocketAction::Bind, free);
        assert_eq!(binds.len(), before + usize::from(by_functions()));
        if by_functions() {
            let last = binds.last().unwrap();
            assert_eq!((last.syscall, last.fd, last.result), (None, None, Some(0)));
        }
    }
}
