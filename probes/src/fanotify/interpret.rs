//! What was done, from what the kernel reports and what the inode looks like.
//!
//! Pure: bits and attributes in, actions out, in the only order in which one name can have met them.
//!
//! What this facility cannot tell, so that nobody looks for it: truncation (`MODIFY`, as any other
//! change of content), and a change of the modification time alone (`MODIFY` too). A change of mode
//! or owner is told from other attributes only where an earlier event of the inode is remembered.

use crate::event::FileAction;

use super::seen::{Attrs, Seen, Stamp};

#[cfg(test)]
mod tests;

/// Set-user-id and set-group-id, which a change of owner clears by itself.
const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;

/// What is known when an event is judged.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// `FAN_*` bits.
    pub mask: u64,
    /// The inode as it is now; `None`: gone, or not to be had.
    pub now: Option<&'a Attrs>,
    /// The inode as it was at its last event.
    pub before: Option<&'a Seen>,
    /// Inodes created before this had their creation reported already.
    pub settled_before: Stamp,
    /// Since when changes of content have been reported.
    pub watched_since: Stamp,
    /// The name still leads to the inode.
    pub named: bool,
    /// Whether opens and reads are wanted.
    pub access: bool,
}

impl Sight<'_> {
    fn has(&self, bits: u64) -> bool {
        self.mask & bits != 0
    }

    fn is_dir(&self) -> bool {
        self.has(libc::FAN_ONDIR)
    }

    /// Whether reading and writing it concerns content: of devices, pipes and the like it does not.
    fn has_content(&self) -> bool {
        !self.is_dir() && self.now.is_none_or(|now| now.is(libc::S_IFREG))
    }
}

/// The actions of one event, in order.
pub fn actions(sight: &Sight<'_>) -> Vec<FileAction> {
    let mut actions = Vec::with_capacity(4);
    let removed = sight
        .has(libc::FAN_DELETE)
        .then(|| if sight.is_dir() { FileAction::Rmdir } else { FileAction::Unlink });
    // Both merged: it came and went, unless it is there now, which means it went and came.
    let came_back = sight.named && sight.has(libc::FAN_CREATE);
    if came_back {
        actions.extend(removed);
    }
    if sight.has(libc::FAN_CREATE) {
        actions.push(creation(sight));
    }
    if sight.access {
        let bits = [(libc::FAN_OPEN, FileAction::Open), (libc::FAN_ACCESS, FileAction::Access)];
        let readable = sight.has_content() || sight.is_dir();
        let seen = bits.iter().filter(|(bit, _)| readable && sight.has(*bit));
        actions.extend(seen.map(|(_, action)| *action));
    }
    if sight.has(libc::FAN_ATTRIB) {
        attributes(sight, &mut actions);
    }
    if sight.has_content() {
        content(sight, &mut actions);
    }
    if sight.has(libc::FAN_RENAME) {
        actions.push(FileAction::Rename);
    }
    if !came_back {
        actions.extend(removed);
    }
    actions
}

/// A name came to be: for a new inode, or for one that had another name.
///
/// It had one if an event of it was seen before, or if it has several names now and was created
/// before all that is being read now. A file created and linked at once outside the watch is
/// taken for a new one.
fn creation(sight: &Sight<'_>) -> FileAction {
    if sight.is_dir() {
        return FileAction::Mkdir;
    }
    let known = sight.before.is_some_and(|before| !before.unlinked);
    let linked = sight.now.is_some_and(|now| {
        now.nlink > 1 && now.btime.is_none_or(|btime| btime < sight.settled_before)
    });
    if known || linked {
        FileAction::Link
    } else if sight.now.is_some_and(|now| now.is(libc::S_IFLNK)) {
        FileAction::Symlink
    } else {
        FileAction::Create
    }
}

fn attributes(sight: &Sight<'_>, actions: &mut Vec<FileAction>) {
    let before = sight.before.and_then(|before| before.attrs);
    let (Some(before), Some(now)) = (before, sight.now) else {
        actions.push(FileAction::Attributes);
        return;
    };
    let owner = (before.uid, before.gid) != (now.uid, now.gid);
    let changed = before.mode ^ now.mode;
    let mode = if owner { changed & !SET_ID != 0 } else { changed != 0 };
    if owner {
        actions.push(FileAction::Chown);
    }
    if mode {
        actions.push(FileAction::Chmod);
    }
    if !owner && !mode {
        actions.push(FileAction::Attributes);
    }
}

/// `CLOSE_WRITE` says that a file was closed that had been opened for writing, not that anything
/// was written; `MODIFY` says that something was, except through a mapping. So a close counts if
/// `MODIFY` came with it or before it, or if the modification time moved, as a mapping moves it.
fn content(sight: &Sight<'_>, actions: &mut Vec<FileAction>) {
    let modified = sight.has(libc::FAN_MODIFY);
    if !sight.has(libc::FAN_CLOSE_WRITE) {
        if modified {
            actions.push(FileAction::Modify);
        }
        return;
    }
    let moved = || match (sight.before.and_then(|before| before.attrs), sight.now) {
        (Some(before), Some(now)) => before.mtime != now.mtime,
        // Never seen before this. What is empty has nothing that a mapping could have changed.
        (None, Some(now)) => now.size > 0 && now.mtime >= sight.watched_since,
        (_, None) => !sight.has(libc::FAN_CREATE),
    };
    if modified || sight.before.is_some_and(|before| before.written) || moved() {
        actions.push(FileAction::CloseWrite);
    }
}
