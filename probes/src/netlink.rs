//! Netlink sockets as the audit and connector sources need them.
//!
//! Owns opening, sizing and reading; the socket itself is `netlink-sys`'s. Framing is left to the
//! sources, because audit's is peculiar: a record's `nlmsg_len` leaves out the header when it is
//! sent to one reader and counts it when it is multicast (`kauditd_send_multicast_skb` in
//! `kernel/audit.c`), so only the datagram's own length can be trusted.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Longest datagram taken: `MAX_AUDIT_MESSAGE_LENGTH` is 8970, a rule with its strings 1064 and up
/// to a path and a key.
pub const MAX_DATAGRAM: usize = 16 << 10;

/// `struct nlmsghdr`.
pub const HEADER: usize = 16;

/// `NLMSG_ERROR`.
pub const ERROR: u16 = 2;
/// `NLMSG_DONE`.
pub const DONE: u16 = 3;
/// `NLM_F_REQUEST`.
pub const F_REQUEST: u16 = 1;
/// `NLM_F_ACK`.
pub const F_ACK: u16 = 4;

/// `SO_MEMINFO`, which the libc crate does not name.
const SO_MEMINFO: libc::c_int = 55;
/// `SK_MEMINFO_DROPS`: its place in the answer.
const MEMINFO_DROPS: usize = 8;
/// `SK_MEMINFO_VARS`.
const MEMINFO_WORDS: usize = 9;

/// A netlink socket that is never waited on but by [`Netlink::wait`].
pub struct Netlink {
    socket: Socket,
    port: u32,
    buffer: Vec<u8>,
}

/// A datagram's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Message type.
    pub kind: u16,
    /// The sender's number; of an answer, that of the request.
    pub sequence: u32,
}

/// What reading a socket gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A message from the kernel.
    Message(Header, &'a [u8]),
    /// A datagram too short for a header, or not from the kernel.
    Malformed,
    /// Nothing is there now.
    Empty,
    /// The socket had no room, and datagrams were lost (`ENOBUFS`).
    Overrun,
}

impl Netlink {
    /// Opens a socket of a netlink protocol and joins `groups` (a bit mask).
    ///
    /// # Errors
    /// What `socket` or `bind` answered.
    pub fn open(protocol: i32, groups: u32) -> io::Result<Self> {
        let mut socket = Socket::new(isize::try_from(protocol).unwrap_or_default())?;
        socket.set_non_blocking(true)?;
        socket.bind(&SocketAddr::new(0, groups))?;
        let mut address = SocketAddr::new(0, 0);
        socket.get_address(&mut address)?;
        Ok(Self { socket, port: address.port_number(), buffer: Vec::with_capacity(MAX_DATAGRAM) })
    }

    /// Makes room for `bytes` of unread datagrams, as the kernel counts them (its bookkeeping
    /// included). Returns what there is now, which is less where we may not exceed the limit.
    pub fn set_receive_buffer(&self, bytes: usize) -> io::Result<usize> {
        use rustix::net::sockopt;
        let fd = self.as_fd();
        // The kernel doubles what it is asked for, and reports it doubled.
        if sockopt::set_socket_recv_buffer_size_force(fd, bytes / 2).is_err() {
            sockopt::set_socket_recv_buffer_size(fd, bytes / 2)?;
        }
        Ok(sockopt::socket_recv_buffer_size(fd)?)
    }

    /// Datagrams the kernel had for this socket and no room for, since it was opened (`sk_drops`,
    /// which `netlink_overrun` in `net/netlink/af_netlink.c` counts one by one). It wraps. `None`: a
    /// kernel before 4.12.
    pub fn dropped(&self) -> Option<u32> {
        let mut values = [0_u32; MEMINFO_WORDS];
        let mut length = libc::socklen_t::try_from(size_of_val(&values)).ok()?;
        // SAFETY: the buffer is ours, lives through the call, and `length` is its size in bytes.
        let failed = unsafe {
            libc::getsockopt(
                self.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                SO_MEMINFO,
                values.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let given = usize::try_from(length).ok()? / size_of::<u32>();
        values.get(..given).filter(|_| failed == 0)?.get(MEMINFO_DROPS).copied()
    }

    /// Our address, by which the kernel knows the socket.
    pub const fn port(&self) -> u32 {
        self.port
    }

    /// Takes the next datagram, if there is one.
    ///
    /// # Errors
    /// What `recvfrom` answered, other than what [`Received`] tells.
    pub fn receive(&mut self) -> io::Result<Received<'_>> {
        self.buffer.clear();
        let (length, sender) = loop {
            match self.socket.recv_from(&mut self.buffer, libc::MSG_DONTWAIT) {
                Ok(received) => break received,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(Received::Empty),
                    Some(libc::ENOBUFS) => return Ok(Received::Overrun),
                    Some(libc::EINTR) => {}
                    _ => return Err(error),
                },
            }
        };
        let datagram = self.buffer.get(..length).unwrap_or_default();
        match parse_header(datagram) {
            Some((header, payload)) if sender.port_number() == 0 => {
                Ok(Received::Message(header, payload))
            }
            _ => Ok(Received::Malformed),
        }
    }

    /// Sends one message to the kernel.
    ///
    /// # Errors
    /// What `sendto` answered.
    pub fn send(&self, kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> io::Result<()> {
        let length = HEADER.saturating_add(payload.len());
        let mut message = Vec::with_capacity(length.next_multiple_of(4));
        message.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&flags.to_ne_bytes());
        message.extend_from_slice(&sequence.to_ne_bytes());
        message.extend_from_slice(&0_u32.to_ne_bytes());
        message.extend_from_slice(payload);
        message.resize(length.next_multiple_of(4), 0);
        self.socket.send_to(&message, &SocketAddr::new(0, 0), 0)?;
        Ok(())
    }

    /// Waits until there is something to receive, or until `deadline`. Whether there is.
    ///
    /// # Errors
    /// What `poll` answered.
    pub fn wait(&self, deadline: Instant) -> io::Result<bool> {
        loop {
            let mut fds = [PollFd::new(self, PollFlags::IN)];
            let left = deadline.saturating_duration_since(Instant::now());
            match poll(&mut fds, Some(&timeout(left))) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A duration as `poll` takes it.
pub fn timeout(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// The errno of an [`ERROR`] message; 0 is an acknowledgement.
pub fn errno(payload: &[u8]) -> Option<i32> {
    payload.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes).saturating_neg())
}

fn parse_header(datagram: &[u8]) -> Option<(Header, &[u8])> {
    let (header, payload) = datagram.split_at_checked(HEADER)?;
    let kind = u16::from_ne_bytes(*header.get(4..)?.first_chunk()?);
    let sequence = u32::from_ne_bytes(*header.get(8..)?.first_chunk()?);
    Some((Header { kind, sequence }, payload))
}
