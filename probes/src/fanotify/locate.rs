//! From handles to paths and inodes, by asking the file system.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{OFlags, Statx};
use rustix::io::Errno;

use super::decode::Handle;
use super::filesystems::{Filesystem, Filesystems, How};
use super::path;
use super::recent::Key;
use super::sys;
use super::tree::{Place, Tree};

/// Times a directory is looked at again that was renamed while its path was being read.
const ATTEMPTS: usize = 3;

/// What d_path (fs/d_path.c) adds to the path of what has been removed.
const DELETED: &[u8] = b" (deleted)";

/// What came of loading a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded {
    /// Its place is in the tree.
    Known,
    /// It is on a file system that is not watched any more.
    Unwatched,
    /// It does not exist any more.
    Gone,
    /// The call said this.
    Refused(Errno),
}

/// Puts the place of a directory into the tree, and of those above it.
pub fn load(tree: &mut Tree, filesystems: &mut Filesystems, dir: &Key) -> Loaded {
    let handle = Handle::new(dir);
    let Some(filesystem) = filesystems.of(handle) else { return Loaded::Unwatched };
    for index in 0..filesystem.mounts() {
        match load_by(tree, filesystem, index, dir) {
            Ok(true) => return Loaded::Known,
            Ok(false) | Err(Errno::NOENT) => {}
            Err(Errno::STALE) => return Loaded::Gone,
            Err(error) => return Loaded::Refused(error),
        }
    }
    tree.set(Arc::clone(dir), Place::Hidden);
    Loaded::Known
}

/// Tries one mount. False: it does not show the directory.
fn load_by(
    tree: &mut Tree,
    filesystem: &mut Filesystem,
    index: usize,
    dir: &Key,
) -> Result<bool, Errno> {
    let handle = Handle::new(dir);
    let point = filesystem.points().get(index).ok_or(Errno::NOENT)?.clone();
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let fd = sys::open_by_handle(filesystem.mount(index)?, handle.file_handle(), flags)?;
    for _ in 0..ATTEMPTS {
        let shown = sys::path_of(fd.as_fd())?;
        let Some(rest) = path::below(&shown, &point.path) else { return Ok(false) };
        // Outside the part that is mounted the kernel gives a path all the same, from the root of
        // the file system; and of what is removed it says so in the name.
        let removed = shown.ends_with(DELETED);
        if (removed || point.root != b"/") && !is_same(&fd, &shown)? {
            if removed {
                return Err(Errno::STALE);
            }
            continue;
        }
        let chain = ancestors(tree, &fd, dir, rest)?;
        if sys::path_of(fd.as_fd())? != shown {
            continue;
        }
        for (child, parent, name) in chain.links {
            tree.set(child, Place::Child { parent, name: name.into() });
        }
        if let Some(top) = chain.top {
            tree.set(top, Place::Top(point.root.into()));
        }
        return Ok(true);
    }
    Ok(false)
}

struct Chain {
    links: Vec<(Key, Key, Vec<u8>)>,
    top: Option<Key>,
}

/// The directories from `dir` up to the first that the tree knows, or to the mount.
fn ancestors(tree: &Tree, fd: &OwnedFd, dir: &Key, rest: &[u8]) -> Result<Chain, Errno> {
    let mut chain = Chain { links: Vec::new(), top: None };
    let mut child = Arc::clone(dir);
    let mut above = Vec::new();
    for name in path::parts(rest).rev() {
        above.extend_from_slice(b"../");
        let mut parent = Handle::new(dir).fsid().to_vec();
        sys::handle_of(fd.as_fd(), &above, &mut parent)?;
        let parent: Key = parent.into();
        chain.links.push((child, Arc::clone(&parent), name.to_vec()));
        if tree.knows(&parent) {
            return Ok(chain);
        }
        child = parent;
    }
    chain.top = Some(child);
    Ok(chain)
}

/// Whether a path leads to an open file, in this mount namespace.
fn is_same(fd: &OwnedFd, path: &[u8]) -> Result<bool, Errno> {
    let open = sys::stat_fd(fd.as_fd())?;
    match sys::stat_path(path) {
        Ok(named) => Ok(named.stx_ino == open.stx_ino
            && named.stx_dev_major == open.stx_dev_major
            && named.stx_dev_minor == open.stx_dev_minor),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(false),
        Err(error) => Err(error),
    }
}

/// An object that was found.
#[derive(Debug)]
pub struct Object {
    /// What it is.
    pub stat: Statx,
    /// A descriptor on it, to ask more; `O_PATH`.
    pub fd: OwnedFd,
}

/// Finds the object of an event: by its handle, or where that is not given or cannot be opened, by
/// its path, if what is there now is still the same. `None`: it does not exist any more.
pub fn object(
    filesystems: &mut Filesystems,
    handle: Option<Handle<'_>>,
    fallback: Option<&[u8]>,
) -> Option<Object> {
    if let Some(handle) = handle {
        let filesystem = filesystems.of(handle)?;
        match filesystem.open(handle, OFlags::NOFOLLOW) {
            Ok(fd) => {
                return Some(Object { stat: sys::stat_fd(fd.as_fd()).ok()?, fd });
            }
            Err(_) if filesystem.how == How::Whole => return None,
            // It may be one that opens nothing by its handle, and says that as if it were gone.
            Err(_) => {}
        }
    }
    let fd = sys::open_path(fallback?).ok()?;
    if let Some(handle) = handle {
        let mut named = handle.fsid().to_vec();
        sys::handle_of(fd.as_fd(), b"", &mut named).ok()?;
        if named != handle.bytes() {
            return None;
        }
    }
    Some(Object { stat: sys::stat_fd(fd.as_fd()).ok()?, fd })
}
