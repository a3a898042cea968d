//! What is remembered of an inode from its last event, to tell what the next one changed.

use std::sync::Arc;

use rustix::fs::{Statx, StatxFlags, StatxTimestamp, makedev};

use crate::event::FileObject;

/// Inodes remembered at most. What falls out costs precision only: a change of mode is then an
/// [`Attributes`](crate::event::FileAction::Attributes).
pub const INODES_KEPT: usize = 8192;

/// A file system's time stamp, in nanoseconds since 1970.
pub type Stamp = i128;

/// Of an inode, what changes are told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attrs {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Names.
    pub nlink: u32,
    /// Last change of content.
    pub mtime: Stamp,
    /// Creation, where the file system keeps it.
    pub btime: Option<Stamp>,
}

impl Attrs {
    /// From `statx(2)`.
    pub fn new(stat: &Statx) -> Self {
        Self {
            mode: u32::from(stat.stx_mode),
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            size: stat.stx_size,
            nlink: stat.stx_nlink,
            mtime: stamp(&stat.stx_mtime),
            btime: has_btime(stat).then(|| stamp(&stat.stx_btime)),
        }
    }

    /// The file type bits say this (`S_IFREG`, …).
    pub fn is(&self, kind: u32) -> bool {
        self.mode & libc::S_IFMT == kind
    }
}

fn stamp(time: &StatxTimestamp) -> Stamp {
    Stamp::from(time.tv_sec) * 1_000_000_000 + Stamp::from(time.tv_nsec)
}

fn has_btime(stat: &Statx) -> bool {
    StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME)
}

/// What goes into the event.
pub fn file_object(stat: &Statx) -> FileObject {
    FileObject {
        device: Some(makedev(stat.stx_dev_major, stat.stx_dev_minor)),
        inode: Some(stat.stx_ino),
        mode: Some(u32::from(stat.stx_mode)),
        uid: Some(stat.stx_uid),
        gid: Some(stat.stx_gid),
        size: Some(stat.stx_size),
        nlink: Some(stat.stx_nlink),
        atime: Some(stat.stx_atime.tv_sec),
        mtime: Some(stat.stx_mtime.tv_sec),
        ctime: Some(stat.stx_ctime.tv_sec),
        btime: has_btime(stat).then_some(stat.stx_btime.tv_sec),
    }
}

/// An inode's last event.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What it was like then, if it could still be asked.
    pub attrs: Option<Attrs>,
    /// The same, as events tell it.
    pub object: Option<FileObject>,
    /// The name it had.
    pub path: Arc<[u8]>,
    /// Its content changed, and no close after writing was seen since.
    pub written: bool,
    /// That name was removed.
    pub unlinked: bool,
}
