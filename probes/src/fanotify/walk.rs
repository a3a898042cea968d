//! Marks on single directories, for file systems that refuse one for all of them.
//!
//! Weaker than a mark on the whole: what happens in a new directory before it is marked is missed,
//! as is what is done through another mount of the file system that has its own inodes, and if a
//! directory above a root is renamed, paths go on with its old name.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::mounts::{Mounts, Point};
use super::path;
use super::recent::Key;
use super::sys::{self, Group};
use super::tree::{Found, Place, Tree};
use super::view::View;
use super::watch::Watch;

/// Directories marked at most. Each keeps its inode in memory, about one KiB.
pub const MARKED_MAX: usize = 65_536;

/// What is needed to mark.
#[derive(Debug)]
pub struct Walk<'a> {
    /// Where marks belong.
    pub group: &'a Group,
    /// What is wanted.
    pub watch: &'a Watch,
    /// Which events.
    pub mask: u64,
    /// The id of the file system in events.
    pub fsid: [u8; 8],
    /// What is mounted: other mounts are not entered.
    pub mounts: &'a Mounts,
    /// Where this file system is mounted.
    pub points: &'a [Point],
}

/// What came of a walk.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Directories that could not be marked.
    pub failed: u32,
    /// The last of them, and why.
    pub last_error: Option<String>,
    /// Names that were there already when their directory was marked.
    pub found: u64,
}

impl Walk<'_> {
    /// Marks a directory and all below it that lead to something wanted.
    pub fn mark(&self, tree: &mut Tree, top: &[u8]) -> Walked {
        let mut walked = Walked::default();
        let Some(mount) = self.mounts.at(top).filter(|mount| self.is_ours(mount.id)) else {
            return walked;
        };
        let within = path::below(top, &mount.point).unwrap_or_default();
        let place = Place::Top(path::join_rest(&mount.root, within).into());
        let mut todo = vec![(top.to_vec(), place)];
        while let Some((dir, place)) = todo.pop() {
            let key = match self.mark_one(tree, &dir, place) {
                Ok(key) => key,
                // It went away in between, or never was one.
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(error) => {
                    walked.failed += 1;
                    walked.last_error = Some(describe(&dir, error));
                    continue;
                }
            };
            let Ok(entries) = std::fs::read_dir(Path::new(std::ffi::OsStr::from_bytes(&dir)))
            else {
                continue;
            };
            for entry in entries.flatten() {
                walked.found += 1;
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let name = entry.file_name();
                let child = path::join(&dir, name.as_bytes());
                if self.watch.leads_to(&child) && !self.is_mounted_on(&child) {
                    let parent = Arc::clone(&key);
                    todo.push((child, Place::Child { parent, name: name.as_bytes().into() }));
                }
            }
        }
        walked
    }

    fn is_ours(&self, mount: u32) -> bool {
        self.points.iter().any(|point| point.id == mount)
    }

    fn is_mounted_on(&self, dir: &[u8]) -> bool {
        self.mounts.at(dir).is_some_and(|mount| mount.point == dir)
    }

    fn mark_one(&self, tree: &mut Tree, dir: &[u8], place: Place) -> Result<Key, Errno> {
        let fd = sys::open_path(dir)?;
        let mut key = self.fsid.to_vec();
        sys::handle_of(fd.as_fd(), b"", &mut key)?;
        let key: Key = key.into();
        if !tree.is_marked(&key) && tree.marked_len() >= MARKED_MAX {
            return Err(Errno::NOSPC);
        }
        let flags = libc::FAN_MARK_ADD | libc::FAN_MARK_ONLYDIR;
        self.group.mark_fd(flags, self.mask | libc::FAN_EVENT_ON_CHILD, fd.as_fd())?;
        tree.set_marked(Arc::clone(&key), place);
        Ok(key)
    }

    /// Takes the marks off directories that lead nowhere any more, and bits that are no longer
    /// asked for off the others.
    pub fn prune(&self, tree: &mut Tree, gone: u64) {
        let marked: Vec<Key> = tree.marked().cloned().collect();
        for key in marked.iter().filter(|key| key.starts_with(&self.fsid)) {
            let view = |path: &[u8]| View::new(self.mounts, self.points, self.watch, path);
            let Found::At(view) = tree.at(key, u64::MAX, view) else { continue };
            let leads = view.dirs.iter().any(|dir| self.watch.leads_to(dir));
            let bits = if leads { gone } else { self.mask | gone | libc::FAN_EVENT_ON_CHILD };
            if let (Some(dir), true) = (view.dirs.first(), bits != 0)
                && let Err(error) = self.group.mark(libc::FAN_MARK_REMOVE, bits, dir)
            {
                log::debug!("fanotify: {}", describe(dir, error));
            }
            if !leads {
                tree.unmark(key);
            }
        }
    }
}

fn describe(dir: &[u8], error: Errno) -> String {
    format!("fanotify_mark {}: {error}", String::from_utf8_lossy(dir))
}
