//! The few calls that need `CAP_SYS_ADMIN`, made here or by a helper process.
//!
//! `CAP_SYS_ADMIN` is all but root, and of everything the sources do only this needs it: making a
//! fanotify group that names files, marking a whole file system (both `capable(CAP_SYS_ADMIN)` in
//! fs/notify/fanotify/fanotify_user.c), mounting tracefs or the top of a btrfs where nobody sees it,
//! and opening tracepoints as perf events, for which `CAP_PERFMON` does on most kernels but not on
//! Debian's, whose `kernel.perf_event_paranoid=3` knows `CAP_SYS_ADMIN` only. Since watched paths,
//! mounts and what is collected change at any time, the capability cannot be given up once and for
//! all; so a process that wants to be rid of it forks a helper first, which keeps it and does these
//! few things when told ([`serve`]), and sends it requests from then on ([`delegate`]).
//!
//! Marks on single inodes need no capability once the group is there, and are not made here.
//!
//! What a request may ask for is as narrow as it can be: events that only tell, never such that
//! make others wait for our answer; two types of file system. So whoever takes over a process that
//! has delegated gets from the helper what that process could see anyway.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use parking_lot::Mutex;
use rustix::io::{Errno, Result};

mod calls;
mod message;
#[cfg(test)]
mod tests;

use message::{Request, ask, next, reply};

/// The way to the helper, if there is one.
static HELPER: OnceLock<Mutex<OwnedFd>> = OnceLock::new();

/// What a mark is put on.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// What this absolute path names.
    Path(&'a [u8]),
    /// What this descriptor is open on.
    Fd(BorrowedFd<'a>),
}

/// Has the calls made by whoever reads the other end of `helper`, from now on and for good. To be
/// called once, before any source is started; a second helper is not taken.
pub fn delegate(helper: OwnedFd) {
    // It closes, and the second helper ends.
    drop(HELPER.set(Mutex::new(helper)));
}

/// Whether the calls are made by a helper.
pub fn is_delegated() -> bool {
    HELPER.get().is_some()
}

/// Makes the calls that come through `requests`, one after another, until its other end is closed.
/// This is all that a helper process does.
pub fn serve(requests: &OwnedFd) {
    let mut buffer = [0; message::REQUEST_MAX];
    while let Some((request, fds)) = next(requests, &mut buffer) {
        let done = match request {
            // Not one of ours: whoever sent it is no longer what it was.
            None => Err(Errno::PERM),
            Some(request) => carry_out(request, &fds),
        };
        if reply(requests, done).is_err() {
            return;
        }
    }
}

fn carry_out(request: Request<'_>, fds: &[OwnedFd]) -> Result<Option<OwnedFd>> {
    match (request, fds) {
        (Request::Group { flags }, []) => calls::group(flags).map(Some),
        (Request::Mark { flags, mask, path }, [group]) => {
            calls::mark(group.as_fd(), flags, mask, Place::Path(path)).map(|()| None)
        }
        (Request::MarkFd { flags, mask }, [group, object]) => {
            calls::mark(group.as_fd(), flags, mask, Place::Fd(object.as_fd())).map(|()| None)
        }
        (Request::BtrfsTop { source }, []) => calls::btrfs_top(source).map(Some),
        (Request::TraceFs, []) => calls::tracefs().map(Some),
        (Request::Tracepoint { id }, []) => calls::tracepoint(id).map(Some),
        _ => Err(Errno::INVAL),
    }
}

/// Sends a request to the helper, if there is one.
fn delegated(request: &Request<'_>, fds: &[BorrowedFd<'_>]) -> Option<Result<Option<OwnedFd>>> {
    let helper = HELPER.get()?.lock();
    Some(ask(&helper, request, fds))
}

/// A descriptor that the helper must have sent.
fn sent(answer: Result<Option<OwnedFd>>) -> Result<OwnedFd> {
    answer?.ok_or(Errno::PROTO)
}

/// `fanotify_init(2)`.
///
/// # Errors
/// Those of the call; `EPERM` for flags that would let us hold others up; `EPIPE`: the helper has
/// ended.
pub fn group(flags: u32) -> Result<OwnedFd> {
    match delegated(&Request::Group { flags }, &[]) {
        Some(answer) => sent(answer),
        None => calls::group(flags),
    }
}

/// `fanotify_mark(2)` on the whole file system that holds `place`.
///
/// # Errors
/// As for [`group`].
pub fn mark_filesystem(
    group: BorrowedFd<'_>,
    flags: u32,
    mask: u64,
    place: Place<'_>,
) -> Result<()> {
    let answer = match place {
        Place::Path(path) => delegated(&Request::Mark { flags, mask, path }, &[group]),
        Place::Fd(fd) => delegated(&Request::MarkFd { flags, mask }, &[group, fd]),
    };
    match answer {
        Some(answer) => answer.map(drop),
        None => calls::mark(group, flags, mask, place),
    }
}

/// The top of a btrfs that is mounted somewhere, whichever of its subvolumes that shows: as a mount
/// that is attached nowhere and goes away with its descriptor.
///
/// # Errors
/// Those of fsopen(2), fsconfig(2) and fsmount(2); `EPIPE`: the helper has ended.
pub fn btrfs_top(source: &[u8]) -> Result<OwnedFd> {
    match delegated(&Request::BtrfsTop { source }, &[]) {
        Some(answer) => sent(answer),
        None => calls::btrfs_top(source),
    }
}

/// A tracefs that is mounted nowhere and goes away with its descriptor, to be read only.
///
/// # Errors
/// As for [`btrfs_top`]; `ENODEV` without CONFIG_TRACING, `ENOSYS` before 5.2.
pub fn tracefs() -> Result<OwnedFd> {
    match delegated(&Request::TraceFs, &[]) {
        Some(answer) => sent(answer),
        None => calls::tracefs(),
    }
}

/// A perf event on a tracepoint, to which a program can be attached. It counts on one CPU only,
/// but a program attached to it runs on all.
///
/// # Errors
/// What perf_event_open(2) says; `EACCES` and `EPERM` are `kernel.perf_event_paranoid`, or a
/// missing capability; `EPIPE`: the helper has ended.
pub fn tracepoint(id: u64) -> Result<OwnedFd> {
    match delegated(&Request::Tracepoint { id }, &[]) {
        Some(answer) => sent(answer),
        None => calls::tracepoint(id),
    }
}
