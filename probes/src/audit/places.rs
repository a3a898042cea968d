//! Where the objects of records are on this host.
//!
//! A record has the name a process used, in that process's view, and inodes. A name counts only if
//! what is found under it here has the record's inode; the path given out is then the kernel's own
//! for that inode, free of symbolic links. Where the object is gone, its directory decides; where that
//! is gone too, what was known of it (`directories.rs`).

use std::fs;

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, FsWord, Mode, OFlags, fstat, fstatfs, openat};

use crate::clock::Base as ClockBase;
use crate::event::Bytes;

use super::decode::{Base, InodeId, Sought, World};
use super::directories::Directories;

/// `BTRFS_SUPER_MAGIC`: there `st_dev` is not the device the kernel records.
const BTRFS: FsWord = 0x9123_683e;
/// `OVERLAYFS_SUPER_MAGIC`: there neither device nor inode need be what the kernel records.
const OVERLAY: FsWord = 0x794c_7630;

/// This host.
#[derive(Debug)]
pub struct Places {
    clock: ClockBase,
    directories: Directories,
}

impl Places {
    /// With this base between the wall clock and the boot clock.
    pub fn new(clock: ClockBase) -> Self {
        Self { clock, directories: Directories::default() }
    }

    /// Goes on with a newer base.
    pub const fn set_clock(&mut self, clock: ClockBase) {
        self.clock = clock;
    }
}

impl World for Places {
    fn boot_ns(&self, unix_ms: u64) -> u64 {
        let unix_ns = i64::try_from(unix_ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        self.clock.boot_ns(unix_ns).unwrap_or(0)
    }

    fn locate(&mut self, sought: &Sought<'_>) -> Option<Bytes> {
        let name = sought.name;
        if name.is_empty() {
            let Base::Descriptor(fd) = sought.base else { return None };
            let link = format!("/proc/{}/fd/{fd}", sought.pid);
            return found(&open(link.as_bytes(), OFlags::empty())?, sought.object?);
        }
        let candidates = candidates(sought);
        if let Some(object) = sought.object {
            let both = [OFlags::empty(), OFlags::NOFOLLOW];
            for (candidate, flags) in
                candidates.iter().flat_map(|path| both.map(|flags| (path, flags)))
            {
                if let Some(path) = open(candidate, flags).and_then(|fd| found(&fd, object)) {
                    return Some(path);
                }
            }
        }
        let parent = sought.parent?;
        let there = candidates.iter().find_map(|candidate| {
            let (directory, _) = split(candidate);
            found(&open(directory, OFlags::DIRECTORY)?, parent)
        });
        if let Some(there) = &there {
            self.directories.see(parent, there);
        }
        let directory = there.as_ref().or_else(|| self.directories.path(parent))?;
        Some(below(directory, split(name).1))
    }

    fn directory_moved(&mut self, directory: InodeId, from: Option<&Bytes>, to: Option<&Bytes>) {
        self.directories.moved(directory, from, to);
    }
}

/// The paths under which the object may be found here: as the process named it, and, where it sees
/// other directories than we do, by way of its root.
fn candidates(sought: &Sought<'_>) -> Vec<Bytes> {
    let name = sought.name;
    let pid = sought.pid;
    let relative = || match sought.base {
        Base::Descriptor(fd) => {
            let directory = fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
            use std::os::unix::ffi::OsStrExt;
            Some(below(directory.as_os_str().as_bytes(), name))
        }
        Base::Cwd(cwd) => Some(below(cwd?, name)),
    };
    let path = if name.starts_with(b"/") { Some(name.into()) } else { relative() };
    path.into_iter()
        .flat_map(|path: Bytes| {
            let through = below(format!("/proc/{pid}/root").as_bytes(), &path);
            [path, through]
        })
        .collect()
}

fn below(directory: &[u8], name: &[u8]) -> Bytes {
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    let name = name.strip_prefix(b"/").unwrap_or(name);
    [directory, b"/", name].concat().into()
}

/// A path's directory, with its slash, and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    let slash = trimmed.iter().rposition(|&byte| byte == b'/');
    let name_at = slash.map_or(0, |slash| slash.saturating_add(1));
    trimmed.split_at_checked(name_at).unwrap_or((b"", trimmed))
}

/// A handle that touches nothing: no open is seen by anyone, no FIFO waits.
fn open(path: &[u8], flags: OFlags) -> Option<OwnedFd> {
    let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).ok()
}

/// The path of what is open, if it is the object sought.
fn found(fd: &OwnedFd, (device, inode): InodeId) -> Option<Bytes> {
    let stat = fstat(fd).ok()?;
    let same = (stat.st_dev, stat.st_ino) == (device, inode)
        || match fstatfs(fd).ok()?.f_type {
            BTRFS => stat.st_ino == inode,
            OVERLAY => true,
            _ => false,
        };
    if !same {
        return None;
    }
    let path = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
    use std::os::unix::ffi::OsStrExt;
    let path = path.as_os_str().as_bytes();
    // A name that was removed meanwhile, or no name at all (a pipe, a memfd).
    (path.starts_with(b"/") && !path.ends_with(b" (deleted)")).then(|| path.into())
}

#[cfg(test)]
mod tests;
