//! The file systems that are watched: the mark on each, and ways to reach an inode on it.
//!
//! A mark on a whole file system sees every change whatever the path or mount namespace it was made
//! through. Some refuse it (overlayfs, btrfs subvolumes): there each directory is marked, by
//! [`super::walk`].
//!
//! A descriptor on a mount keeps `umount` from working, so they are opened when a handle has to be
//! resolved and closed when the batch is done.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::decode::Handle;
use super::mounts::{Plan, Point, Target};
use super::sys::{self, Group};
use crate::admin;

/// Mounts of one file system tried to open a directory by, where none shows all of it.
const POINTS_TRIED: usize = 16;

/// How a file system is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// One mark for all of it.
    Whole,
    /// One for each directory, as the kernel refused that with this error.
    Directories(Errno),
}

/// A file system that is watched.
#[derive(Debug)]
pub struct Filesystem {
    /// Its device in mountinfo.
    pub device: (u32, u32),
    /// Its type.
    pub kind: String,
    /// Its id in events.
    pub fsid: [u8; 8],
    /// The mount it was marked through.
    pub watched: Vec<u8>,
    /// How it is marked.
    pub how: How,
    /// For btrfs, what it was mounted from: the whole is marked by its top, which need not be mounted.
    top: Option<Vec<u8>>,
    /// Its directories are marked, where that is how.
    pub walked: bool,
    points: Vec<Point>,
    open: Vec<Option<OwnedFd>>,
}

impl Filesystem {
    /// The device as `stat(2)` shows it, where all of the file system has the same: on btrfs each
    /// subvolume has one of its own.
    pub fn st_dev(&self) -> Option<u64> {
        let (major, minor) = self.device;
        (self.kind != "btrfs").then(|| rustix::fs::makedev(major, minor))
    }

    /// Takes bits off the mark on the whole. That it is gone already is as good, but what is in its
    /// place now must keep its own.
    fn unmark(&self, group: &Group, mask: u64) {
        let flags = libc::FAN_MARK_REMOVE | libc::FAN_MARK_FILESYSTEM;
        let done = match &self.top {
            Some(source) => {
                admin::btrfs_top(source).and_then(|top| match sys::fsid_of(top.as_fd()) {
                    Ok(fsid) if fsid == self.fsid => group.mark_fd(flags, mask, top.as_fd()),
                    other => other.map(drop),
                })
            }
            None => match sys::fsid(&self.watched) {
                Ok(fsid) if fsid == self.fsid => group.mark(flags, mask, &self.watched),
                other => other.map(drop),
            },
        };
        if let Err(error) = done {
            log::debug!("fanotify: mark on {}: {error}", String::from_utf8_lossy(&self.watched));
        }
    }

    /// Where it is mounted.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Mounts that can be opened.
    pub fn mounts(&self) -> usize {
        self.open.len()
    }

    /// A descriptor on mount number `index`.
    pub fn mount(&mut self, index: usize) -> Result<BorrowedFd<'_>, Errno> {
        let point = self.points.get(index).ok_or(Errno::NOENT)?;
        let fd = self.open.get_mut(index).ok_or(Errno::NOENT)?;
        if fd.is_none() {
            *fd = Some(sys::open_mount(&point.path)?);
        }
        fd.as_ref().map(OwnedFd::as_fd).ok_or(Errno::BADF)
    }

    /// Opens an object by its handle, as `O_PATH`.
    pub fn open(&mut self, handle: Handle<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mount = self.mount(0)?;
        sys::open_by_handle(mount, handle.file_handle(), flags | OFlags::PATH)
    }
}

/// All that are watched.
#[derive(Debug, Default)]
pub struct Filesystems {
    list: Vec<Filesystem>,
    /// What could not be marked, and why.
    pub refused: Vec<String>,
    /// Mounts below a root that are left out on purpose.
    pub left_out: Vec<(Vec<u8>, String)>,
}

impl Filesystems {
    /// Those watched.
    pub fn list(&self) -> &[Filesystem] {
        &self.list
    }

    /// Those whose directories are marked one by one.
    pub fn by_directory(&mut self) -> impl Iterator<Item = &mut Filesystem> {
        self.list.iter_mut().filter(|filesystem| matches!(filesystem.how, How::Directories(_)))
    }

    /// Where the file system of a handle is mounted.
    pub fn points_of(&self, handle: Handle<'_>) -> &[Point] {
        let mut list = self.list.iter();
        list.find(|one| one.fsid == handle.fsid()).map(Filesystem::points).unwrap_or_default()
    }

    /// The one a handle belongs to.
    pub fn of(&mut self, handle: Handle<'_>) -> Option<&mut Filesystem> {
        self.list.iter_mut().find(|filesystem| filesystem.fsid == handle.fsid())
    }

    /// Closes what a batch has opened.
    pub fn release(&mut self) {
        for fd in self.list.iter_mut().flat_map(|filesystem| &mut filesystem.open) {
            *fd = None;
        }
    }

    /// Marks what a plan names and no longer what it does not. Marks that stay are set again, which
    /// changes nothing: the file system behind a device number may be another by now.
    ///
    /// Bits of `before` that are not in `mask` are taken off the marks that stay.
    ///
    /// # Errors
    /// Nothing at all could be marked, and why; then all stays as it was.
    pub fn apply(
        &mut self,
        group: &Group,
        plan: Plan,
        mask: u64,
        before: u64,
    ) -> Result<(), Vec<String>> {
        let mut list = Vec::new();
        let mut refused = Vec::new();
        for target in plan.targets {
            match mark(group, target, mask) {
                Ok(filesystem) => list.push(filesystem),
                Err(why) => refused.push(why),
            }
        }
        if list.is_empty() && !refused.is_empty() {
            return Err(refused);
        }
        let old = std::mem::replace(&mut self.list, list);
        for was in old {
            let stays = self.list.iter_mut().find(|now| now.fsid == was.fsid);
            let gone = if stays.is_some() { before & !mask } else { before };
            if gone != 0 && was.how == How::Whole {
                was.unmark(group, gone);
            }
            if let Some(now) = stays {
                now.walked = was.walked && now.how == was.how;
            }
        }
        self.refused = refused;
        self.left_out = plan.left_out;
        Ok(())
    }
}

fn mark(group: &Group, target: Target, mask: u64) -> Result<Filesystem, String> {
    let shown = String::from_utf8_lossy(&target.watched).into_owned();
    let Target { device, kind, points, watched, source } = target;
    let explain = |call: &str, error: Errno| {
        let why = match error {
            Errno::NODEV => "ENODEV: it has no id to be told by (tmpfs has from 5.13)".to_owned(),
            Errno::OPNOTSUPP => {
                "EOPNOTSUPP: it gives no handles (overlayfs does from 6.6)".to_owned()
            }
            _ => error.to_string(),
        };
        format!("{call} {shown} ({kind}): {why}")
    };
    if kind == "autofs" {
        return Err(format!("{shown} ({kind}): nothing is mounted yet"));
    }
    let fsid = sys::fsid(&watched).map_err(|error| explain("statfs", error))?;
    let flags = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
    let mut top = None;
    let mut fsid = fsid;
    let how = match group.mark(flags, mask, &watched) {
        Ok(()) => How::Whole,
        // A subvolume has an id of its own; the kernel wants the one that the whole has.
        Err(Errno::XDEV) if kind == "btrfs" => {
            let root = admin::btrfs_top(&source).map_err(|error| explain("fsmount", error))?;
            fsid = sys::fsid_of(root.as_fd()).map_err(|error| explain("fstatfs", error))?;
            group
                .mark_fd(flags, mask, root.as_fd())
                .map_err(|error| explain("fanotify_mark, top of", error))?;
            top = Some(source);
            How::Whole
        }
        // overlayfs cannot open by handle; some have no id.
        Err(error @ (Errno::OPNOTSUPP | Errno::XDEV | Errno::NODEV)) => {
            try_directory(group, &watched).map_err(|error| explain("fanotify_mark", error))?;
            How::Directories(error)
        }
        Err(error) => return Err(explain("fanotify_mark", error)),
    };
    let open = points.iter().take(POINTS_TRIED).map(|_| None).collect();
    Ok(Filesystem { device, kind, fsid, watched, how, top, walked: false, points, open })
}

/// Whether a directory can be marked at all. Asks with a bit that no other mark of ours has, so that
/// taking it back leaves those alone.
fn try_directory(group: &Group, dir: &[u8]) -> Result<(), Errno> {
    group.mark(libc::FAN_MARK_ADD, libc::FAN_DELETE_SELF, dir)?;
    group.mark(libc::FAN_MARK_REMOVE, libc::FAN_DELETE_SELF, dir)
}
