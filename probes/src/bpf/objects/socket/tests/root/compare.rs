//! Every kind of socket event once, against the workload's own account of itself.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::net::SocketType;

use super::callers::{RAW_BYTES, by_io_uring, local_of, raw, socket};
use super::outcomes::{answer_of, open_to};
use super::watch::{by_functions, here, inet, shared};
use super::{V4, V6, nobody};
use crate::event::{Body, Endpoint, Socket};
use crate::testkit::table::{Happening, Table, happening};
use crate::testkit::uring;

/// How long the end of a connection may take to be seen.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the one who does it is called, on the side of what was seen.
fn told(socket: &Socket) -> Happening {
    let end = socket.end.unwrap_or_default();
    happening!(
        socket.action.as_str(),
        local = socket.local,
        remote = socket.remote,
        fd = socket.fd,
        result = socket.result,
        syscall = socket.syscall,
        protocol = socket.protocol,
        sent = end.bytes_sent,
        received = end.bytes_received,
    )
}

fn seen(tid: u32) -> Vec<Happening> {
    let events = shared().events(|event| event.task.tid == tid).into_iter();
    let sockets = events.filter_map(|event| match event.body {
        Body::Socket(socket) => Some(told(&socket)),
        _ => None,
    });
    sockets.collect()
}

/// Has a thread do something, and compares what it says of it with what was seen of the thread.
fn step(table: &mut Table, name: &str, work: fn() -> Vec<Happening>) {
    let done = std::thread::spawn(move || (here(), work())).join();
    let (tid, expected) = done.expect("the workload does its work");
    let since = Instant::now();
    while seen(tid).len() < expected.len() && since.elapsed() < PATIENCE {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    table.row(name, &expected, seen(tid));
}

const TCP: Option<u16> = Some(6);
const NONE: Option<Endpoint> = None;

fn tcp_over(address: SocketAddr) -> Vec<Happening> {
    let listener = TcpListener::bind(address).unwrap();
    let local = inet(listener.local_addr().unwrap());
    let fd = Some(listener.as_raw_fd());
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, peer) = listener.accept().unwrap();
    let peer = inet(peer);
    client.write_all(b"question").unwrap();
    server.read_exact(&mut [0; 8]).unwrap();
    server.write_all(b"answer").unwrap();
    client.read_exact(&mut [0; 6]).unwrap();
    let (near, far) = (Some(client.as_raw_fd()), server.as_raw_fd());
    drop(client);
    // The one who closes first waits for the other.
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    drop(server);
    let (sent, received) = (Some(8u64), Some(6u64));
    vec![
        happening!(
            "bind",
            local = local,
            remote = NONE,
            fd = fd,
            result = Some(0),
            syscall = Some("bind"),
            protocol = TCP
        ),
        happening!(
            "listen",
            local = local,
            remote = NONE,
            fd = fd,
            result = Some(0),
            syscall = Some("listen")
        ),
        happening!(
            "connect",
            local = peer,
            remote = local,
            fd = near,
            result = Some(0),
            syscall = Some("connect")
        ),
        happening!(
            "accept",
            local = local,
            remote = peer,
            fd = Some(far),
            result = Some(far),
            syscall = Some("accept4")
        ),
        happening!("close", local = peer, remote = local, sent = sent, received = received),
        happening!("close", local = local, remote = peer, sent = received, received = sent),
    ]
}

fn refused() -> Vec<Happening> {
    let nobody = nobody();
    let error = TcpStream::connect(nobody).unwrap_err().raw_os_error().unwrap();
    vec![
        // Of finding a port that is free.
        happening!("bind", local = inet(nobody)),
        happening!("listen", local = inet(nobody)),
        happening!(
            "connect",
            remote = inet(nobody),
            result = Some(-error),
            syscall = Some("connect")
        ),
    ]
}

fn nonblocking() -> Vec<Happening> {
    let listener = TcpListener::bind(V4).unwrap();
    let local = inet(listener.local_addr().unwrap());
    let client = open_to(listener.local_addr().unwrap());
    assert_eq!(answer_of(&client), 0);
    let (result, fd) = (Some(-libc::EINPROGRESS), Some(client.as_raw_fd()));
    vec![
        happening!("bind", local = local),
        happening!("listen", local = local),
        happening!("connect", remote = local, fd = fd, result = result),
        happening!("close", local = inet(local_of(&client)), remote = local, sent = Some(0u64)),
    ]
}

fn udp() -> Vec<Happening> {
    let peer = UdpSocket::bind(V4).unwrap();
    let (fd, to) = (Some(peer.as_raw_fd()), inet(peer.local_addr().unwrap()));
    let client = UdpSocket::bind(V4).unwrap();
    let own = inet(client.local_addr().unwrap());
    let client_fd = Some(client.as_raw_fd());
    client.send_to(b"x", peer.local_addr().unwrap()).unwrap();
    client.connect(peer.local_addr().unwrap()).unwrap();
    let udp = Some(17u16);
    // A socket bound to one address says it, whichever of them its end has.
    vec![
        happening!("bind", local = to, fd = fd, result = Some(0), protocol = udp),
        happening!("bind", local = own, fd = client_fd, result = Some(0)),
        happening!(
            "connect",
            local = own,
            remote = to,
            fd = client_fd,
            syscall = Some("sendto"),
            result = Some(0)
        ),
        happening!(
            "connect",
            local = own,
            remote = to,
            fd = client_fd,
            syscall = Some("connect"),
            result = Some(0)
        ),
    ]
}

fn bind_refused() -> Vec<Happening> {
    let taken = UdpSocket::bind(V4).unwrap();
    let address = taken.local_addr().unwrap();
    let error = UdpSocket::bind(address).unwrap_err().raw_os_error().unwrap();
    vec![
        happening!("bind", local = inet(address), result = Some(0)),
        happening!("bind", local = inet(address), result = Some(-error), syscall = Some("bind")),
    ]
}

fn unix() -> Vec<Happening> {
    let path = std::env::temp_dir().join(format!("compare-{}", here()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    let (server, _) = listener.accept().unwrap();
    std::fs::remove_file(&path).unwrap();
    let name = Some(Endpoint::Unix(path.as_os_str().as_bytes().into()));
    let (fd, near) = (Some(listener.as_raw_fd()), Some(client.as_raw_fd()));
    let far = Some(server.as_raw_fd());
    vec![
        happening!("bind", local = name, fd = fd, result = Some(0)),
        happening!("listen", local = name, fd = fd, result = Some(0)),
        happening!("connect", local = NONE, remote = name, fd = near, result = Some(0)),
        happening!("accept", local = name, remote = NONE, fd = far, result = far),
    ]
}

/// What only functions see is expected of them only.
fn by_functions_only(happening: Happening) -> Vec<Happening> {
    if by_functions() { vec![happening] } else { Vec::new() }
}

fn udp_by_io_uring() -> Vec<Happening> {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let client = socket(SocketType::DGRAM);
    assert_eq!(by_io_uring(uring::CONNECT, &client, to), 0);
    let local = inet(local_of(&client));
    let (fd, call) = (None::<i32>, None::<&str>);
    by_functions_only(happening!(
        "connect",
        local = local,
        remote = inet(to),
        result = Some(0),
        fd = fd,
        syscall = call
    ))
}

#[cfg(target_arch = "x86_64")]
fn bind_by_a_32_bit_caller() -> Vec<Happening> {
    use crate::testkit::compat::{BIND, Low, call};

    let socket = socket(SocketType::DGRAM);
    let page = Low::new();
    let to = page.put(0, raw(SocketAddr::from(V4)));
    let fd = socket.as_raw_fd();
    assert_eq!(call(BIND, [fd.cast_unsigned(), to, RAW_BYTES]), 0);
    let local = inet(local_of(&socket));
    by_functions_only(happening!(
        "bind",
        local = local,
        fd = Some(fd),
        result = Some(0),
        syscall = Some("bind")
    ))
}

#[test]
fn a_workload_is_seen_as_it_was_field_by_field() {
    shared();
    let mut table = Table::new("sockets");
    step(&mut table, "TCP over IPv4, from bind to close", || tcp_over(V4.into()));
    step(&mut table, "TCP over IPv6, from bind to close", || tcp_over(V6.into()));
    step(&mut table, "a connect that is refused", refused);
    step(&mut table, "a connect that does not wait", nonblocking);
    step(&mut table, "UDP: bind, first datagram, connect", udp);
    step(&mut table, "a bind that is refused", bind_refused);
    step(&mut table, "unix stream: bind, listen, connect, accept", unix);
    step(&mut table, "a UDP connect by io_uring", udp_by_io_uring);
    #[cfg(target_arch = "x86_64")]
    step(&mut table, "a bind of a 32-bit caller", bind_by_a_32_bit_caller);
    table.finish();
}
