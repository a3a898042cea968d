//! A unix stream that gives up in time.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

/// Until when reads and writes of a [`Stream`] may last; shared with whoever sets it.
///
/// Reading and writing have different clocks: a message must be complete by a point in time, or a
/// peer that sends a byte a minute would hold a thread for ever; a long answer may take as long as
/// the reader makes progress.
#[derive(Debug, Clone)]
pub struct Deadline(Arc<Mutex<Limits>>);

#[derive(Debug)]
struct Limits {
    read_until: Instant,
    write_stall: Duration,
}

impl Deadline {
    /// Reads end `read` from now; each write may wait for the peer for `write_stall`.
    pub fn new(read: Duration, write_stall: Duration) -> Self {
        Self(Arc::new(Mutex::new(Limits { read_until: after(read), write_stall })))
    }

    /// Reads end `read` from now.
    pub fn restart(&self, read: Duration) {
        self.0.lock().read_until = after(read);
    }

    fn read_left(&self) -> io::Result<Duration> {
        let left = self.0.lock().read_until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    fn write_stall(&self) -> Duration {
        self.0.lock().write_stall
    }
}

/// `Instant::now() + wait`, or as far off as the clock goes.
fn after(wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(100 * 365 * 86_400);
    let now = Instant::now();
    now.checked_add(wait.min(FAR)).unwrap_or(now)
}

/// Connects to the socket at `path`. A listener whose queue is full is waited for until `timeout`;
/// the standard library would wait for ever.
///
/// # Errors
/// The kernel's; [`io::ErrorKind::TimedOut`] if the queue stays full.
pub fn connect(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
        .map_err(|errno| timed_out(errno.into()))?;
    Ok(socket.into())
}

/// A unix stream whose reads and writes obey a [`Deadline`].
#[derive(Debug)]
pub struct Stream {
    inner: UnixStream,
    deadline: Deadline,
}

impl Stream {
    /// Wraps a connected socket.
    pub fn new(inner: UnixStream, deadline: Deadline) -> Self {
        Self { inner, deadline }
    }

    /// A second handle on the same socket, under the same deadline.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { inner: self.inner.try_clone()?, deadline: self.deadline.clone() })
    }
}

/// The kernel reports a time-out of a socket option as `EAGAIN`; say what it was.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.set_read_timeout(Some(self.deadline.read_left()?))?;
        self.inner.read(buffer).map_err(timed_out)
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.inner.set_write_timeout(Some(self.deadline.write_stall()))?;
        self.inner.write(buffer).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
