//! What goes between a process and its helper: one request, one answer, over a socket that keeps
//! messages whole (`SOCK_SEQPACKET`) and carries descriptors.
//!
//! A request is a letter, flags, mask and a text, in the machine's own byte order since both ends
//! are the same program; an answer is an errno, 0 for none.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Bytes before the text.
const HEAD: usize = 1 + 4 + 8;
/// The longest text: a path.
const TEXT_MAX: usize = libc::PATH_MAX as usize;
/// The longest request.
pub const REQUEST_MAX: usize = HEAD + TEXT_MAX;
/// Descriptors that come with a message at most.
const FDS_MAX: usize = 2;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// A fanotify group.
    Group { flags: u32 },
    /// A mark on the file system of a path; with the group.
    Mark { flags: u32, mask: u64, path: &'a [u8] },
    /// A mark on the file system of a descriptor; with the group and it.
    MarkFd { flags: u32, mask: u64 },
    /// The top of a btrfs.
    BtrfsTop { source: &'a [u8] },
    /// A tracefs.
    TraceFs,
    /// A perf event on a tracepoint.
    Tracepoint { id: u64 },
}

impl<'a> Request<'a> {
    /// As bytes.
    pub fn write(&self) -> Result<Vec<u8>> {
        let (letter, flags, mask, text): (u8, u32, u64, &[u8]) = match *self {
            Self::Group { flags } => (b'g', flags, 0, b""),
            Self::Mark { flags, mask, path } => (b'm', flags, mask, path),
            Self::MarkFd { flags, mask } => (b'f', flags, mask, b""),
            Self::BtrfsTop { source } => (b'b', 0, 0, source),
            Self::TraceFs => (b't', 0, 0, b""),
            Self::Tracepoint { id } => (b'p', 0, id, b""),
        };
        if text.len() > TEXT_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let mut bytes = Vec::with_capacity(HEAD + text.len());
        bytes.push(letter);
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&mask.to_ne_bytes());
        bytes.extend_from_slice(text);
        Ok(bytes)
    }

    /// Out of bytes. `None`: they are no request.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&letter, rest) = bytes.split_first()?;
        let (&flags, rest) = rest.split_first_chunk::<4>()?;
        let (&mask, text) = rest.split_first_chunk::<8>()?;
        let (flags, mask) = (u32::from_ne_bytes(flags), u64::from_ne_bytes(mask));
        Some(match letter {
            b'g' => Self::Group { flags },
            b'm' => Self::Mark { flags, mask, path: text },
            b'f' => Self::MarkFd { flags, mask },
            b'b' => Self::BtrfsTop { source: text },
            b't' => Self::TraceFs,
            b'p' => Self::Tracepoint { id: mask },
            _ => return None,
        })
    }
}

fn send(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::INVAL);
    }
    rustix::io::retry_on_intr(|| {
        sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).map(drop)
    })
}

/// One message. `None`: the other end is closed.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Option<(usize, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::io::retry_on_intr(|| {
        let mut into = [IoSliceMut::new(&mut *buffer)];
        recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut fds = Vec::with_capacity(FDS_MAX);
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE);
    }
    Ok((got.bytes > 0).then_some((got.bytes, fds)))
}

/// Sends a request and waits for what came of it.
///
/// # Errors
/// What the helper met; `EPIPE`: there is none any more.
pub fn ask(
    socket: &OwnedFd,
    request: &Request<'_>,
    fds: &[BorrowedFd<'_>],
) -> Result<Option<OwnedFd>> {
    send(socket, &request.write()?, fds)?;
    let mut buffer = [0; 4];
    let Some((length, mut fds)) = receive(socket, &mut buffer)? else { return Err(Errno::PIPE) };
    if length != buffer.len() {
        return Err(Errno::PROTO);
    }
    match i32::from_ne_bytes(buffer) {
        0 => Ok(fds.pop()),
        errno => Err(Errno::from_raw_os_error(errno)),
    }
}

/// Waits for the next request. `None`: there will be none; a request of `None`: it made no sense.
pub fn next<'a>(
    socket: &OwnedFd,
    buffer: &'a mut [u8; REQUEST_MAX],
) -> Option<(Option<Request<'a>>, Vec<OwnedFd>)> {
    match receive(socket, buffer) {
        Ok(Some((length, fds))) => Some((buffer.get(..length).and_then(Request::read), fds)),
        Err(Errno::MSGSIZE) => Some((None, Vec::new())),
        Ok(None) | Err(_) => None,
    }
}

/// Answers a request.
pub fn reply(socket: &OwnedFd, done: Result<Option<OwnedFd>>) -> Result<()> {
    match done {
        Ok(fd) => {
            let fds: Vec<BorrowedFd<'_>> = fd.iter().map(AsFd::as_fd).collect();
            send(socket, &0_i32.to_ne_bytes(), &fds)
        }
        Err(errno) => send(socket, &errno.raw_os_error().to_ne_bytes(), &[]),
    }
}
