//! A Thrift server on a unix socket: accepting, bounding and ending connections.
//!
//! What a message means is the [`Handler`]'s. Each connection has a thread of its own, so a slow
//! answer on one never delays a ping on another. When there are too many, the one that has been
//! idle longest makes room: idle connections can never keep osqueryd out.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::once::Once;
use crate::wire::{Deadline, Input, Output, Stream, check_peer, output};

/// Stack of a connection's thread. It is only reserved; what is not touched costs nothing.
const STACK: usize = 1 << 20;
/// How long [`Server::stop`] waits for the answers under way.
const STOP_WAIT: Duration = Duration::from_secs(2);
/// How long a connection waits for another to become idle, when all are busy. A connection is busy
/// for a moment after its answer has been read, too.
const ROOM_WAIT: Duration = Duration::from_millis(500);
/// Between two attempts to accept when the kernel has no descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What is done with messages.
pub trait Handler: Send + Sync + 'static {
    /// Reads one message and answers it. An error ends the connection.
    ///
    /// # Errors
    /// Malformed input, or a peer that is gone.
    fn message(&self, input: &mut Input<Stream>, output: &mut Output) -> thrift::Result<()>;
}

/// Bounds of a server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Bytes of a request.
    pub message_bytes: usize,
    /// How long a connection may be silent between messages.
    pub idle: Duration,
    /// From a message's first byte to its last.
    pub message: Duration,
    /// How long a peer may leave an answer unread without taking a byte of it. Meanwhile it has one
    /// of the few places for scans, so it must be less than others wait for one.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            message_bytes: 16 << 20,
            idle: Duration::from_secs(300),
            message: Duration::from_secs(10),
            stall: Duration::from_secs(10),
        }
    }
}

/// What a server has seen.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections taken.
    pub accepted: AtomicU64,
    /// Connections of other users, closed unread.
    pub strangers: AtomicU64,
    /// Idle connections closed to make room.
    pub evicted: AtomicU64,
    /// Connections closed because every other was busy, or no thread could be had.
    pub refused: AtomicU64,
    /// Connections closed for bytes that made no sense.
    pub malformed: AtomicU64,
    /// Connections closed because the peer was too slow.
    pub timed_out: AtomicU64,
    /// Connections that broke in the middle of a message.
    pub broken: AtomicU64,
}

struct Entry {
    /// A handle for shutting the connection down from outside.
    stream: UnixStream,
    /// Since when it waits for a message; `None` while it answers one.
    idle_since: Option<Instant>,
}

struct Shared {
    handler: Arc<dyn Handler>,
    limits: Limits,
    counts: Counts,
    connections: Mutex<BTreeMap<u64, Entry>>,
    /// A connection became idle or ended.
    room: Condvar,
    said: Once,
}

/// A server at work. Dropping it stops it and removes its socket.
pub struct Server {
    path: PathBuf,
    /// Device and inode of the socket at `path`, as long as nobody has put something else there.
    inode: (u64, u64),
    shared: Arc<Shared>,
    wake: Arc<OwnedFd>,
    acceptor: Option<JoinHandle<()>>,
}

/// Why a socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Others could put a socket of theirs in place of ours.
    #[error(
        "{0}, on the way to the socket, is neither root's nor ours, or others can write to it \
         without a sticky bit"
    )]
    UnsafeDirectory(PathBuf),
    /// Something else than a socket of root or ours has the name.
    #[error("{0} exists and is not a socket of root's or ours")]
    InTheWay(PathBuf),
    /// The kernel refused.
    #[error("{path}: {what}: {error}")]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// What was attempted.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

impl Server {
    /// Listens on `path`, replacing a socket left behind there.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(path: &Path, limits: Limits, handler: Arc<dyn Handler>) -> Result<Self, BindError> {
        let path = safe_place(path)?;
        let path = path.as_path();
        let fail =
            |what| move |error: io::Error| BindError::Io { path: path.to_owned(), what, error };
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() && is_ours(&found) => {
                fs::remove_file(path).map_err(fail("unlink"))?;
            }
            Ok(_) => return Err(BindError::InTheWay(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail("stat")(error)),
        }
        let listener = UnixListener::bind(path).map_err(fail("bind"))?;
        // The process's umask has kept others out since bind; this takes the execute bit away too.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(fail("chmod"))?;
        let bound = fs::symlink_metadata(path).map_err(fail("stat"))?;
        listener.set_nonblocking(true).map_err(fail("fcntl"))?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| fail("eventfd")(errno.into()))?;
        let wake = Arc::new(wake);
        let shared = Arc::new(Shared {
            handler,
            limits,
            counts: Counts::default(),
            connections: Mutex::default(),
            room: Condvar::new(),
            said: Once::default(),
        });
        let acceptor = std::thread::Builder::new()
            .name("accept".to_owned())
            .spawn({
                let (shared, wake) = (Arc::clone(&shared), Arc::clone(&wake));
                move || accept(&listener, &wake, &shared)
            })
            .map_err(fail("spawn a thread"))?;
        let inode = (bound.dev(), bound.ino());
        Ok(Self { path: path.to_owned(), inode, shared, wake, acceptor: Some(acceptor) })
    }

    /// What it has seen so far.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends every connection, lets answers under way finish for two seconds, removes the socket.
    pub fn stop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        if let Err(errno) = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes()) {
            log::warn!("{}: cannot stop the server: {errno}", self.path.display());
            return;
        }
        if acceptor.join().is_err() {
            log::warn!("{}: the server's thread has panicked", self.path.display());
        }
        let found = fs::symlink_metadata(&self.path);
        let is_it = |found: &fs::Metadata| (found.dev(), found.ino()) == self.inode;
        if found.as_ref().is_ok_and(|found| !is_it(found)) {
            log::warn!("{}: something else is there by now, and stays", self.path.display());
        } else if let Err(error) = found.and_then(|_| fs::remove_file(&self.path))
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("{}: unlink: {error}", self.path.display());
        }
        let until = Instant::now() + STOP_WAIT;
        self.hang_up(|entry| entry.idle_since.is_some());
        while !self.shared.connections.lock().is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
            self.hang_up(|entry| entry.idle_since.is_some());
        }
        self.hang_up(|_| true);
    }

    fn hang_up(&self, which: impl Fn(&Entry) -> bool) {
        for entry in self.shared.connections.lock().values().filter(|entry| which(entry)) {
            hang_up(&entry.stream);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where a socket of this path really is, if nobody but root and us can put another in its place.
///
/// A socket is only as safe as every directory on the way to it: who can write to one of them can
/// rename what is in it. Links on the way are followed once, here, and not again.
fn safe_place(path: &Path) -> Result<PathBuf, BindError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let fail = |at: &Path, what| {
        let path = at.to_owned();
        move |error| BindError::Io { path, what, error }
    };
    let name = path.file_name().ok_or_else(|| {
        fail(path, "a socket")(io::Error::new(io::ErrorKind::InvalidInput, "it has no name"))
    })?;
    let directory = fs::canonicalize(directory).map_err(fail(directory, "realpath"))?;
    for above in directory.ancestors() {
        let found = fs::symlink_metadata(above).map_err(fail(above, "stat"))?;
        let (writable, sticky) = (found.mode() & 0o022 != 0, found.mode() & 0o1000 != 0);
        if !found.is_dir() || !is_ours(&found) || (writable && !sticky) {
            return Err(BindError::UnsafeDirectory(above.to_owned()));
        }
    }
    Ok(directory.join(name))
}

/// Root's, or ours.
fn is_ours(found: &fs::Metadata) -> bool {
    found.uid() == 0 || found.uid() == rustix::process::geteuid().as_raw()
}

/// Its thread reads end of file, and goes. That the peer has closed already is as good.
fn hang_up(stream: &UnixStream) {
    if let Err(error) = stream.shutdown(std::net::Shutdown::Both) {
        log::trace!("shutdown: {error}");
    }
}

fn accept(listener: &UnixListener, wake: &OwnedFd, shared: &Arc<Shared>) {
    let mut next = 0_u64;
    loop {
        let mut ready = [PollFd::new(listener, PollFlags::IN), PollFd::new(wake, PollFlags::IN)];
        match poll(&mut ready, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => {
                log::error!("poll on a listening socket: {errno}");
                return;
            }
            Ok(_) => {}
        }
        let [_, stop] = ready;
        if !stop.revents().is_empty() {
            return;
        }
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::Interrupted
                        | io::ErrorKind::ConnectionAborted
                ) =>
            {
                continue;
            }
            Err(error) => {
                shared.counts.refused.fetch_add(1, Ordering::Relaxed);
                if shared.said.first("accept") {
                    log::warn!("accept: {error} (said once)");
                }
                std::thread::sleep(ACCEPT_RETRY);
                continue;
            }
        };
        next = next.wrapping_add(1);
        if let Err(error) = admit(next, stream, shared) {
            shared.counts.refused.fetch_add(1, Ordering::Relaxed);
            if shared.said.first("admit") {
                log::warn!("a connection could not be taken: {error} (said once)");
            }
        }
    }
}

fn admit(number: u64, stream: UnixStream, shared: &Arc<Shared>) -> io::Result<()> {
    if let Err(error) = check_peer(&stream) {
        shared.counts.strangers.fetch_add(1, Ordering::Relaxed);
        if shared.said.first("stranger") {
            log::warn!("a connection was closed unread: {error} (said once)");
        }
        return Ok(());
    }
    stream.set_nonblocking(false)?;
    {
        let mut connections = shared.connections.lock();
        let full = |connections: &mut BTreeMap<u64, Entry>| {
            connections.len() >= shared.limits.connections && idlest(connections).is_none()
        };
        shared.room.wait_while_for(&mut connections, full, ROOM_WAIT);
        if connections.len() >= shared.limits.connections {
            let Some(idlest) = idlest(&connections) else {
                return Err(io::Error::other("every connection is busy"));
            };
            if let Some(entry) = connections.remove(&idlest) {
                hang_up(&entry.stream);
            }
            shared.counts.evicted.fetch_add(1, Ordering::Relaxed);
        }
        let entry = Entry { stream: stream.try_clone()?, idle_since: Some(Instant::now()) };
        connections.insert(number, entry);
    }
    let listed = Listed { number, shared: Arc::clone(shared) };
    std::thread::Builder::new()
        .name("connection".to_owned())
        .stack_size(STACK)
        .spawn(move || serve(stream, &listed))?;
    shared.counts.accepted.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// The connection that has been waiting for a message longest.
fn idlest(connections: &BTreeMap<u64, Entry>) -> Option<u64> {
    connections
        .iter()
        .filter_map(|(number, entry)| Some((entry.idle_since?, *number)))
        .min()
        .map(|(_, number)| number)
}

/// Takes the connection off the list whichever way its thread ends.
struct Listed {
    number: u64,
    shared: Arc<Shared>,
}

impl Listed {
    fn idle(&self, idle: bool) {
        if let Some(entry) = self.shared.connections.lock().get_mut(&self.number) {
            entry.idle_since = idle.then(Instant::now);
        }
        if idle {
            self.shared.room.notify_one();
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.shared.connections.lock().remove(&self.number);
        self.shared.room.notify_one();
    }
}

fn serve(stream: UnixStream, listed: &Listed) {
    let shared = &listed.shared;
    let limits = shared.limits;
    let deadline = Deadline::new(limits.idle, limits.stall);
    let reading = Stream::new(stream, deadline.clone());
    let writing = match reading.try_clone() {
        Ok(writing) => writing,
        Err(error) => {
            shared.counts.refused.fetch_add(1, Ordering::Relaxed);
            log::warn!("a connection could not be taken: {error}");
            return;
        }
    };
    let (mut input, mut output) = (Input::new(reading, limits.message_bytes), output(writing));
    loop {
        deadline.restart(limits.idle);
        listed.idle(true);
        match input.wait() {
            Ok(true) => {}
            // Closed between messages, or silent for too long: an orderly end.
            Ok(false) | Err(_) => return,
        }
        listed.idle(false);
        deadline.restart(limits.message);
        if let Err(error) = shared.handler.message(&mut input, &mut output) {
            blame(shared, &error);
            return;
        }
    }
}

/// Counts why a connection ended, and says so the first time.
fn blame(shared: &Shared, error: &thrift::Error) {
    let (count, kind) = match error {
        thrift::Error::Transport(transport)
            if transport.kind == thrift::TransportErrorKind::TimedOut =>
        {
            (&shared.counts.timed_out, "timed out")
        }
        thrift::Error::Transport(_) => (&shared.counts.broken, "broken"),
        _ => (&shared.counts.malformed, "malformed"),
    };
    count.fetch_add(1, Ordering::Relaxed);
    if shared.said.first(kind) {
        log::warn!("a connection was closed, {kind}: {error} (said once)");
    }
}

#[cfg(test)]
mod tests;
