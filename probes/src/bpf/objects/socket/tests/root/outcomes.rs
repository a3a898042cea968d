//! What becomes of TCP connections after the call that opened them.
//!
//! Some of it a timer finds out, in an interrupt, and some hosts' kernels run no program in interrupts
//! of certain processes. It is then told when the socket is closed, so these tests close it first.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::callers::{RAW_BYTES, local_of, raw};
use super::watch::{Watch, here, inet, shared};
use super::{V4, nobody};
use crate::event::{Connection, ConnectionEnd, SocketAction};

fn nonblocking() -> OwnedFd {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap()
}

/// A connect that its call left open.
pub fn open_to(address: SocketAddr) -> OwnedFd {
    left_open(nonblocking(), address)
}

fn left_open(client: OwnedFd, address: SocketAddr) -> OwnedFd {
    let error = rustix::net::connect(&client, &address).unwrap_err();
    assert_eq!(error, rustix::io::Errno::INPROGRESS);
    client
}

/// Waits until the kernel has an answer.
pub fn wait_for_answer(socket: &OwnedFd) {
    assert_eq!(poll(&mut [PollFd::new(socket, PollFlags::OUT)], None).unwrap(), 1);
}

/// The kernel's answer; 0, or an errno, which the socket no longer has after that.
pub fn answer_of(socket: &OwnedFd) -> i32 {
    wait_for_answer(socket);
    sockopt::socket_error(socket).unwrap().map_or_else(rustix::io::Errno::raw_os_error, |()| 0)
}

/// A listener whose queue is full: the kernel drops what is sent to it, and who connects waits.
pub struct Full {
    listener: TcpListener,
    _queued: [TcpStream; 2],
}

impl Full {
    pub fn new() -> Self {
        let listener = TcpListener::bind(V4).unwrap();
        // A second call changes the backlog; the queue holds one more than it says.
        rustix::net::listen(&listener, 1).unwrap();
        let address = listener.local_addr().unwrap();
        let queued = [address, address].map(|address| TcpStream::connect(address).unwrap());
        Self { listener, _queued: queued }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }
}

/// A connect that nobody answers, which the kernel gives up soon.
pub fn unanswered(full: &Full) -> OwnedFd {
    let client = nonblocking();
    sockopt::set_tcp_user_timeout(&client, 300).unwrap();
    left_open(client, full.address())
}

/// Closing it resets the connection.
pub fn reset_on_close(stream: &TcpStream) {
    sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_nonblocking_connect_is_in_progress_and_then_established() {
    let watch = shared();
    let listener = TcpListener::bind(V4).unwrap();
    let client = open_to(listener.local_addr().unwrap());
    assert_eq!(answer_of(&client), 0);
    let (_, socket) = watch.one(here(), SocketAction::Connect);
    assert_eq!(socket.result, Some(-libc::EINPROGRESS));
    assert_eq!(socket.remote, inet(listener.local_addr().unwrap()));
    let expected = Connection { id: socket.id.unwrap(), local: Some(local_of(&client)), error: 0 };
    assert_eq!(watch.answer(here(), &socket), expected);
}

#[test]
fn a_nonblocking_connect_that_is_refused_is_told_so() {
    let watch = shared();
    let nobody = nobody();
    let client = open_to(nobody);
    let local = local_of(&client);
    let error = answer_of(&client);
    assert_eq!(error, libc::ECONNREFUSED);
    let (_, socket) = watch.one(here(), SocketAction::Connect);
    assert_eq!(socket.result, Some(-libc::EINPROGRESS));
    assert_eq!(socket.remote, inet(nobody));
    let expected = Connection { id: socket.id.unwrap(), local: Some(local), error };
    assert_eq!(watch.answer(here(), &socket), expected);
    drop(client);
    assert_eq!(watch.sockets(here(), SocketAction::Close), []);
}

#[test]
fn an_answer_that_comes_later_has_the_one_who_asked() {
    // A source of its own: what an earlier test asked of a socket at the same address is not its answer.
    let watch = Watch::start(|_| ());
    let full = Full::new();
    let client = open_to(full.address());
    let asked = watch.sockets(here(), SocketAction::Connect).pop().unwrap();
    assert_eq!(asked.result, Some(-libc::EINPROGRESS));
    assert_eq!(watch.connections(asked.id.unwrap(), 0), []);
    // There is room again; the kernel asks once more after a second, from a timer, where current
    // is whoever was interrupted.
    drop(full.listener.accept().unwrap());
    assert_eq!(answer_of(&client), 0);
    let local = local_of(&client);
    drop(client);
    let answer = watch.answer(here(), &asked);
    assert_eq!((answer.error, answer.local), (0, Some(local)));
}

#[test]
fn a_connect_that_times_out_is_told_so() {
    let watch = shared();
    let full = Full::new();
    let client = unanswered(&full);
    let local = local_of(&client);
    let asked = watch.sockets(here(), SocketAction::Connect).pop().unwrap();
    wait_for_answer(&client);
    drop(client);
    let answer = watch.answer(here(), &asked);
    assert_eq!((answer.error, answer.local), (libc::ETIMEDOUT, Some(local)));
}

#[test]
fn a_connect_that_is_given_up_was_not_established() {
    let watch = shared();
    let full = Full::new();
    let client = open_to(full.address());
    let asked = watch.sockets(here(), SocketAction::Connect).pop().unwrap();
    drop(client);
    assert_eq!(watch.answer(here(), &asked).error, libc::ECONNABORTED);
}

#[test]
fn asking_again_about_an_open_connect_is_no_further_connect() {
    let watch = shared();
    let listener = TcpListener::bind(V4).unwrap();
    let address = listener.local_addr().unwrap();
    let client = open_to(address);
    assert_eq!(answer_of(&client), 0);
    // 0 the first time, EISCONN from then on.
    rustix::net::connect(&client, &address).unwrap();
    let error = rustix::net::connect(&client, &address).unwrap_err();
    assert_eq!(error, rustix::io::Errno::ISCONN);
    let (_, socket) = watch.one(here(), SocketAction::Connect);
    assert_eq!(watch.answer(here(), &socket).error, 0);
}

#[test]
fn a_connection_ends_with_the_bytes_that_went_each_way() {
    let watch = shared();
    let listener = TcpListener::bind(V4).unwrap();
    let begin = Instant::now();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let ends = (inet(client.local_addr().unwrap()), inet(client.peer_addr().unwrap()));
    let peer = std::thread::spawn(move || {
        let (mut server, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        server.read_to_end(&mut asked).unwrap();
        server.write_all(&[b'y'; 70_000]).unwrap();
        (here(), asked.len())
    });
    client.write_all(&[b'x'; 1234]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    let (server, asked) = peer.join().unwrap();
    drop(client);

    let close = watch.close(here());
    let elapsed = u64::try_from(begin.elapsed().as_nanos()).unwrap();
    let end = close.end.unwrap();
    assert_eq!((close.local, close.remote), ends.clone());
    assert_eq!((close.fd, close.syscall, close.result), (None, None, None));
    assert_eq!((end.bytes_sent, end.bytes_received), (Some(1234), Some(answer.len() as u64)));
    assert_eq!(end.error, Some(0));
    assert!(end.duration_ns.unwrap() <= elapsed, "{end:?} of {elapsed}");

    let close = watch.close(server);
    let end = close.end.unwrap();
    assert_eq!((close.remote, close.local), ends);
    assert_eq!((end.bytes_sent, end.bytes_received), (Some(70_000), Some(asked as u64)));
    assert_eq!(end.error, Some(0));
}

#[test]
fn a_connection_that_is_reset_has_the_errno_it_died_of() {
    let watch = shared();
    let listener = TcpListener::bind(V4).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.write_all(b"unread").unwrap();
    let address = client.local_addr().unwrap();
    std::thread::spawn(move || {
        let (server, peer) = listener.accept().unwrap();
        assert_eq!(peer, address);
        reset_on_close(&server);
    })
    .join()
    .unwrap();
    let error = client.read(&mut [0]).unwrap_err().raw_os_error();
    assert_eq!(error, Some(libc::ECONNRESET));
    let end = watch.close(here()).end.unwrap();
    assert_eq!(end.error, error);
    assert_eq!((end.bytes_sent, end.bytes_received), (Some(6), Some(0)));
}

#[test]
fn a_connection_that_ended_before_it_was_accepted_is_accepted_and_closed() {
    let watch = shared();
    let listener = TcpListener::bind(V4).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let peer = client.local_addr().unwrap();
    // A reset may overtake the handshake's end; then there is never anything to accept.
    assert_eq!(poll(&mut [PollFd::new(&listener, PollFlags::IN)], None).unwrap(), 1);
    reset_on_close(&client);
    drop(client);
    let (server, from) = std::thread::spawn(move || {
        let (_, from) = listener.accept().unwrap();
        (here(), from)
    })
    .join()
    .unwrap();
    assert_eq!(from, peer);
    let (_, accept) = watch.one(server, SocketAction::Accept);
    assert_eq!(accept.remote, inet(peer));
    let end = watch.close(server).end.unwrap();
    assert_eq!(end.error, Some(libc::ECONNRESET));
}

/// Starts a process that connects, says hello, reads an answer of four bytes, and ends.
fn fork_and_talk(address: SocketAddr) -> libc::pid_t {
    let to = raw(address);
    // SAFETY: between fork and _exit the child makes system calls only, on memory of its own.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            let mut answer = [0u8; 4];
            let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
            let done = libc::connect(fd, (&raw const to).cast(), RAW_BYTES) == 0
                && libc::write(fd, c"hello".as_ptr().cast(), 5) == 5
                && libc::read(fd, answer.as_mut_ptr().cast(), 4) == 4;
            libc::_exit(i32::from(!done));
        }
        assert!(pid > 0, "fork: {}", std::io::Error::last_os_error());
        pid
    }
}

#[test]
fn a_process_that_ends_without_closing_still_closes() {
    let watch = shared();
    let listener = TcpListener::bind(V4).unwrap();
    let address = listener.local_addr().unwrap();
    let child = fork_and_talk(address);
    let (mut server, peer) = listener.accept().unwrap();
    let mut hello = [0; 5];
    server.read_exact(&mut hello).unwrap();
    server.write_all(b"bye\n").unwrap();
    let mut status = 0;
    // SAFETY: `status` is an int to write to.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!(server.read(&mut hello).unwrap(), 0);
    drop(server);

    let close = watch.close(child.unsigned_abs());
    assert_eq!(close.local, inet(peer));
    let end = close.end.unwrap();
    let expected = ConnectionEnd {
        bytes_sent: Some(5),
        bytes_received: Some(4),
        duration_ns: end.duration_ns,
        error: Some(0),
    };
    assert_eq!(end, expected);
    assert!(end.duration_ns.is_some());
}

#[test]
fn a_connect_that_is_part_of_a_send_is_seen_without_a_call() {
    let watch = shared();
    let listener = TcpListener::bind(V4).unwrap();
    let address = listener.local_addr().unwrap();
    let client = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let fast_open = rustix::net::SendFlags::from_bits_retain(libc::MSG_FASTOPEN.cast_unsigned());
    assert_eq!(rustix::net::sendto(&client, b"x", fast_open, &address).unwrap(), 1);
    let (_, socket) = watch.one(here(), SocketAction::Connect);
    assert_eq!((socket.syscall, socket.fd), (None, None));
    assert_eq!(socket.result, Some(-libc::EINPROGRESS));
    assert_eq!(socket.remote, inet(address));
    let answer = watch.answer(here(), &socket);
    assert_eq!((answer.error, answer.local), (0, Some(local_of(&client))));
}

/// Runs `connect` in a thread, interrupts it with a signal whose handler has these flags, and
/// returns the thread's id and the call's errno.
fn interrupted(address: SocketAddr, flags: i32) -> (u32, i32) {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: all zeroes is a valid sigaction; the handler does nothing at all.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        action.sa_flags = flags;
        let signal = if flags == 0 { libc::SIGUSR1 } else { libc::SIGUSR2 };
        assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0);
    }
    let (send, receive) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let client = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        // Longer than the thread may have to wait for a CPU before it calls again: else that call would
        // have the answer itself.
        sockopt::set_tcp_user_timeout(&client, 3000).unwrap();
        // SAFETY: it only asks which thread this is.
        send.send((here(), unsafe { libc::pthread_self() })).unwrap();
        rustix::net::connect(&client, &address).unwrap_err().raw_os_error()
    });
    let (tid, handle) = receive.recv().unwrap();
    super::watch::until("the thread waits in connect", || {
        let call = std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).unwrap();
        call.starts_with(&format!("{} ", libc::SYS_connect)).then_some(())
    });
    let signal = if flags == 0 { libc::SIGUSR1 } else { libc::SIGUSR2 };
    // SAFETY: the thread has not been joined.
    assert_eq!(unsafe { libc::pthread_kill(handle, signal) }, 0);
    (tid, thread.join().unwrap())
}

#[test]
fn a_connect_that_a_signal_interrupts_goes_on_and_is_followed() {
    let watch = shared();
    let full = Full::new();
    let (tid, error) = interrupted(full.address(), 0);
    assert_eq!(error, libc::EINTR);
    let (_, socket) = watch.one(tid, SocketAction::Connect);
    assert_eq!(socket.result, Some(-libc::EINTR));
    // The thread's descriptor was closed when it returned.
    assert_eq!(watch.answer(tid, &socket).error, libc::ECONNABORTED);
}

#[test]
fn a_connect_that_is_restarted_after_a_signal_is_one_connect() {
    let watch = shared();
    let full = Full::new();
    for _ in 0..5 {
        let missed = watch.health().lost_missed;
        let (tid, error) = interrupted(full.address(), libc::SA_RESTART);
        assert_eq!(error, libc::ETIMEDOUT);
        let (_, socket) = watch.one(tid, SocketAction::Connect);
        assert_eq!(socket.remote, inet(full.address()));
        // The call took the error from the socket: if no program ran, nobody knows it any more.
        if watch.health().lost_missed == missed {
            assert_eq!(watch.answer(tid, &socket).error, libc::ETIMEDOUT);
            return;
        }
    }
    panic!("the answer was missed every time: {:#?}", watch.health());
}

#[test]
fn a_descriptor_that_is_passed_on_closes_for_the_one_who_opened_it() {
    let watch = shared();
    let listener = TcpListener::bind(V4).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let fd = client.as_raw_fd();
    let (_, connect) = watch.one(here(), SocketAction::Connect);
    assert_eq!(connect.fd, Some(fd));
    std::thread::spawn(move || {
        reset_on_close(&client);
        drop(client);
    })
    .join()
    .unwrap();
    let close = watch.close(here());
    assert_eq!((close.id, close.local), (connect.id, connect.local));
}
