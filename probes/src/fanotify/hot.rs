//! Unwatched files that are written to all the time, and made silent in the kernel.
//!
//! `MODIFY` comes with every `write(2)` to any file of a marked file system. Measured on 6.18, a
//! write of a page costs 0.45 µs more for it; with an ignore mark on the file, 0.13 µs (against 0.05
//! for the mark without `MODIFY`). So a file outside the watch that keeps sending it is ignored from
//! then on, for this bit alone: that it was closed after writing is still reported, should it move
//! into the watch before its ignore mark is taken off again.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::decode::Handle;
use super::filesystems::Filesystems;
use super::recent::{Key, Recent};
use super::sys::{self, Group};

/// Records of one file after which it is ignored. The kernel merges all writes between two reads of
/// ours into one record.
const HOT_AFTER: u32 = 64;

/// Files counted at most.
const COUNTED_MAX: usize = 4096;

/// Files ignored at most; at one more, all are let go and the hottest will be back first. On a btrfs
/// subvolume none is: the kernel refuses the mark, as its id is not that of the whole.
const IGNORED_MAX: usize = 1024;

/// The files.
#[derive(Debug)]
pub struct Hot {
    counts: Recent<u32>,
    ignored: HashSet<Key>,
    /// Ignore marks that do not keep the inode in memory (`FAN_MARK_EVICTABLE`, 5.19).
    evictable: bool,
}

impl Default for Hot {
    fn default() -> Self {
        Self { counts: Recent::new(COUNTED_MAX), ignored: HashSet::new(), evictable: true }
    }
}

impl Hot {
    /// Counts a record of an unwatched file. True: it should be ignored.
    pub fn count(&mut self, file: Handle<'_>) -> bool {
        match self.counts.get(file.bytes()) {
            Some(count) => {
                *count += 1;
                *count % HOT_AFTER == 0
            }
            None => {
                self.counts.insert(file.bytes().into(), 1);
                false
            }
        }
    }

    /// Has the kernel ignore changes of a file. One with several names is left alone, as another of
    /// them may be watched.
    pub fn ignore(&mut self, group: &Group, filesystems: &mut Filesystems, file: Handle<'_>) {
        if self.ignored.len() >= IGNORED_MAX {
            self.release_all(group, filesystems);
        }
        let Some(filesystem) = filesystems.of(file) else { return };
        let Ok(fd) = filesystem.open(file, OFlags::NOFOLLOW) else { return };
        if !sys::stat_fd(fd.as_fd()).is_ok_and(|stat| stat.stx_nlink == 1) {
            return;
        }
        let flags =
            libc::FAN_MARK_ADD | libc::FAN_MARK_IGNORED_MASK | libc::FAN_MARK_IGNORED_SURV_MODIFY;
        let mark = |evictable: bool| {
            let evictable = if evictable { libc::FAN_MARK_EVICTABLE } else { 0 };
            group.mark_fd(flags | evictable, libc::FAN_MODIFY, fd.as_fd())
        };
        let mut done = mark(self.evictable);
        if done == Err(Errno::INVAL) && self.evictable {
            self.evictable = false;
            done = mark(false);
        }
        match done {
            Ok(()) => drop(self.ignored.insert(file.bytes().into())),
            Err(error) => log::debug!("fanotify: ignore mark: {error}"),
        }
    }

    /// Lets a file be heard again, as it has come into the watch.
    pub fn release(&mut self, group: &Group, filesystems: &mut Filesystems, file: Handle<'_>) {
        if self.ignored.remove(file.bytes()) {
            release(group, filesystems, file);
        }
    }

    /// Lets all be heard again, as the watch changed or a directory moved.
    pub fn release_all(&mut self, group: &Group, filesystems: &mut Filesystems) {
        for file in std::mem::take(&mut self.ignored) {
            release(group, filesystems, Handle::new(&Arc::clone(&file)));
        }
        self.counts.clear();
    }
}

/// A file that cannot be opened any more has no mark either.
fn release(group: &Group, filesystems: &mut Filesystems, file: Handle<'_>) {
    let Some(filesystem) = filesystems.of(file) else { return };
    let Ok(fd) = filesystem.open(file, OFlags::NOFOLLOW) else { return };
    let flags = libc::FAN_MARK_REMOVE | libc::FAN_MARK_IGNORED_MASK;
    match group.mark_fd(flags, libc::FAN_MODIFY, fd.as_fd()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => log::debug!("fanotify: ignore mark: {error}"),
    }
}
