//! Asking threads to stop, and waiting in a way that hears it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// A request to stop, made once and seen by any number of threads.
#[derive(Debug)]
pub struct Stop {
    requested: Mutex<bool>,
    changed: Condvar,
    event: OwnedFd,
}

impl Stop {
    /// Not requested yet.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { requested: Mutex::new(false), changed: Condvar::new(), event })
    }

    /// Makes the request.
    pub fn request(&self) {
        *self.requested.lock() = true;
        self.changed.notify_all();
        if let Err(errno) = rustix::io::write(&self.event, &1_u64.to_ne_bytes()) {
            log::trace!("eventfd: {errno}");
        }
    }

    /// Whether it has been made.
    pub fn requested(&self) -> bool {
        *self.requested.lock()
    }

    /// Sleeps for `time`, or until the request is made. True: it was.
    pub fn wait(&self, time: Duration) -> bool {
        let mut requested = self.requested.lock();
        if !*requested {
            self.changed.wait_while_for(&mut requested, |requested| !*requested, time);
        }
        *requested
    }

    /// Sleeps for `time`, until the request is made, or until one of `fds` is readable or hung up.
    /// True: something is up with one of them.
    pub fn wait_for<const N: usize>(&self, fds: [BorrowedFd<'_>; N], time: Duration) -> bool {
        let mut ready: Vec<PollFd<'_>> =
            fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        ready.push(PollFd::new(&self.event, PollFlags::IN));
        let time = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        match poll(&mut ready, Some(&time)) {
            Ok(_) => ready.iter().take(N).any(|fd| !fd.revents().is_empty()),
            // Interrupted: nothing is known, the caller looks again.
            Err(_) => false,
        }
    }

    /// Readable once the request is made.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
