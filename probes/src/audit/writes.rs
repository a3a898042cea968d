//! Files that were opened for writing: what became of them.
//!
//! Audit sees the opening and not the writing. So each such file is looked at again now and then:
//! while its writer holds it open nothing is said; once it is closed, the inode says whether it was
//! written: a file that was empty at the opening by its size, another by its time of modification.
//! That time is as coarse as the clock tick, so what was written within the same tick, right before
//! the opening, counts too: a write is rather told twice than not at all. Where the time was set by
//! somebody meanwhile, the time of the inode's last change decides, which nobody can set; the record
//! of who set it may come after the file was looked at, so a file that was changed and seems not to
//! have been written is looked at once more. Files are not kept open for this, since that would keep
//! their file system from being unmounted.
//!
//! A descriptor is often moved after the opening (a shell's `> file` is opened as one number and
//! becomes another), so every descriptor of the process that opened it is looked at. One that only a
//! child still holds is not found: such a file is judged when its opener has closed it.

use std::collections::VecDeque;

use rustix::fs::{CWD, Mode, OFlags, Stat, fstat, openat, stat};

use crate::event::{Body, Bytes, FileAction, FileObject, RawEvent};

use super::decode::{InodeId, PendingWrite};

/// How often a file is looked at.
pub const LOOK_NS: u64 = 250_000_000;

/// Files looked at. Of more, the oldest are given up and counted.
pub const MAX_PENDING: usize = 8192;

/// Descriptors of its opener that are looked at for a file. With more, it may be taken for closed.
pub const MAX_DESCRIPTORS: usize = 1024;

/// What a look at a file found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Look {
    /// Its writer still has it open.
    Open,
    /// It is closed, and is like this now; last modified and last changed then (Unix nanoseconds).
    Closed(FileObject, i64, i64),
    /// It cannot be found any more.
    Gone,
}

/// The files.
#[derive(Debug, Default)]
pub struct Writes {
    pending: VecDeque<(u64, Pending)>,
    unknown: u64,
}

#[derive(Debug)]
struct Pending {
    write: PendingWrite,
    /// Somebody set its times.
    times_set: bool,
    /// It was seen changed and not written, and is looked at once more.
    doubted: bool,
}

impl Writes {
    /// A file was opened for writing.
    pub fn add(&mut self, write: PendingWrite, now_ns: u64) {
        let pending = Pending { write, times_set: false, doubted: false };
        self.pending.push_back((now_ns.saturating_add(LOOK_NS), pending));
        if self.pending.len() > MAX_PENDING {
            self.pending.pop_front();
            self.unknown = self.unknown.saturating_add(1);
        }
    }

    /// Something happened to a file: one that is moved is looked for where it went, and one whose
    /// times are set is judged otherwise.
    pub fn follow(&mut self, event: &RawEvent) {
        let Body::File(file) = &event.body else { return };
        let object = file.object.and_then(|object| object.device.zip(object.inode));
        let moved = file.dest_path.as_ref().filter(|_| file.action == FileAction::Rename);
        let times_set = file.action == FileAction::Attributes
            && file.syscall.is_some_and(|call| call.contains("utime"));
        if object.is_none() || (moved.is_none() && !times_set) {
            return;
        }
        for (_, pending) in &mut self.pending {
            if Some(pending.write.object) == object {
                pending.times_set |= times_set;
                if let (Some(to), Body::File(file)) = (moved, &mut pending.write.event.body) {
                    file.path = Some(to.clone());
                }
            }
        }
    }

    /// Looks at the files whose turn it is. Those that were written are given out, with the time at
    /// which they were found closed. `all_told`: every record of what happened so far has come.
    pub fn look(
        &mut self,
        now_ns: u64,
        all_told: bool,
        mut at: impl FnMut(&PendingWrite) -> Look,
        out: &mut Vec<RawEvent>,
    ) {
        for _ in 0..self.pending.len() {
            if self.pending.front().is_none_or(|(due_ns, _)| *due_ns > now_ns) {
                break;
            }
            let Some((_, mut pending)) = self.pending.pop_front() else { break };
            match at(&pending.write) {
                Look::Open => self.pending.push_back((now_ns.saturating_add(LOOK_NS), pending)),
                Look::Gone => self.unknown = self.unknown.saturating_add(1),
                Look::Closed(object, modified_ns, changed_ns) => {
                    let Pending { write, times_set, doubted } = &mut pending;
                    let opened_ns = write.opened_ms.saturating_mul(1_000_000);
                    let since = |last_ns| u64::try_from(last_ns).unwrap_or(0) >= opened_ns;
                    let written = match (write.empty, *times_set) {
                        (true, _) => object.size != Some(0),
                        (false, true) => since(changed_ns),
                        (false, false) => since(modified_ns),
                    };
                    let doubtful = !written && !write.empty && since(changed_ns);
                    if doubtful && !all_told && !*doubted {
                        *doubted = true;
                        self.pending.push_back((now_ns.saturating_add(LOOK_NS), pending));
                        continue;
                    }
                    if let Body::File(file) = &mut write.event.body {
                        file.object = Some(object);
                    }
                    write.event.time_ns = now_ns;
                    if written {
                        out.push(pending.write.event);
                    }
                }
            }
        }
    }

    /// When a file is to be looked at next.
    pub fn wait_ns(&self, now_ns: u64) -> Option<u64> {
        self.pending.front().map(|(due_ns, _)| due_ns.saturating_sub(now_ns))
    }

    /// Makes it every file's turn, for somebody who waits.
    pub fn hasten(&mut self, now_ns: u64) {
        for (due_ns, _) in &mut self.pending {
            *due_ns = (*due_ns).min(now_ns);
        }
    }

    /// Files of which it could not be told whether they were written.
    pub const fn unknown(&self) -> u64 {
        self.unknown
    }
}

/// Looks at a file on this host.
pub fn look(write: &PendingWrite) -> Look {
    if is_held(write) {
        return Look::Open;
    }
    let path = match &write.event.body {
        Body::File(file) => file.path.as_ref(),
        _ => None,
    };
    match path.and_then(|path| found(path, write.object)) {
        Some(found) => Look::Closed(
            object(&found),
            unix_ns(found.st_mtime, found.st_mtime_nsec),
            unix_ns(found.st_ctime, found.st_ctime_nsec),
        ),
        None => Look::Gone,
    }
}

/// Whether the process that opened the file has it open still. Through its links a descriptor's own
/// file is found, whatever its name is by now.
fn is_held(write: &PendingWrite) -> bool {
    let pid = write.event.task.pid;
    let holds = |fd: &str| {
        let held = stat(format!("/proc/{pid}/fd/{fd}"));
        held.is_ok_and(|held| is(&held, write.object))
    };
    if holds(&write.fd.to_string()) {
        return true;
    }
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let descriptors = descriptors.take(MAX_DESCRIPTORS).flatten();
    descriptors.filter_map(|fd| fd.file_name().into_string().ok()).any(|fd| holds(&fd))
}

fn found(path: &Bytes, object: InodeId) -> Option<Stat> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(CWD, path.as_ref(), flags, Mode::empty()).ok()?;
    fstat(file).ok().filter(|found| is(found, object))
}

/// On some file systems the device differs from the recorded one (`places.rs`), and the path was
/// told to be this inode's; then the number decides.
const fn is(found: &Stat, (_, inode): InodeId) -> bool {
    found.st_ino == inode
}

fn unix_ns(seconds: i64, nanos: impl TryInto<i64>) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos.try_into().unwrap_or(0))
}

fn object(found: &Stat) -> FileObject {
    FileObject {
        device: Some(found.st_dev),
        inode: Some(found.st_ino),
        mode: Some(found.st_mode),
        uid: Some(found.st_uid),
        gid: Some(found.st_gid),
        size: u64::try_from(found.st_size).ok(),
        nlink: u32::try_from(found.st_nlink).ok(),
        atime: Some(found.st_atime),
        mtime: Some(found.st_mtime),
        ctime: Some(found.st_ctime),
        btime: None,
    }
}

#[cfg(test)]
mod tests;
