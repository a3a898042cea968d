//! Where directories are: a handle's parent and name, and so its path, at the time of an event.
//!
//! A handle opened now gives the path of now, but an event speaks of then: in between the directory
//! may have been renamed or removed, as `rm -r` does with every one. So directories are kept as the
//! kernel keeps them, each by its parent and its own name, and what the events not yet handled will
//! change is known ahead of them: a directory that is going to be renamed or removed by event 9 was
//! still where that event found it when event 8 happened.
//!
//! Owns no file system: what is not known here is loaded by [`super::locate`].

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::path;
use super::recent::{Key, Recent};
use super::view::View;
use super::watch::Verdict;

#[cfg(test)]
mod tests;

/// Directories kept at most, apart from those that carry marks of their own.
pub const DIRECTORIES_KEPT: usize = 32_768;

/// Deeper nesting than any path can have (`PATH_MAX` / 2): a bound against cycles.
const MAX_DEPTH: usize = 2048;

/// Where a directory is within its file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At this path, as mountinfo gives the root of a mount.
    Top(Arc<[u8]>),
    /// In another one.
    Child {
        /// The other one.
        parent: Key,
        /// Its name there.
        name: Arc<[u8]>,
    },
    /// In no part that this mount namespace shows.
    Hidden,
}

#[derive(Debug)]
struct Node {
    place: Place,
    judged: Option<Judged>,
}

#[derive(Debug, Clone)]
struct Judged {
    epoch: u64,
    view: Arc<View>,
}

/// A rename or removal that is yet to be handled.
#[derive(Debug)]
struct Detachment {
    sequence: u64,
    place: Place,
}

/// The answer to where a directory was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There, as this host sees it.
    At(Arc<View>),
    /// Nowhere that is visible.
    Hidden,
    /// This one, itself or above it, must be loaded first.
    Unknown(Key),
}

/// The directories.
#[derive(Debug)]
pub struct Tree {
    nodes: Recent<Node>,
    marked: HashMap<Key, Node>,
    pending: HashMap<Key, VecDeque<Detachment>>,
    epoch: u64,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new(DIRECTORIES_KEPT)
    }
}

impl Tree {
    /// Keeps at most `bound` directories.
    pub fn new(bound: usize) -> Self {
        Self {
            nodes: Recent::new(bound),
            marked: HashMap::new(),
            pending: HashMap::new(),
            epoch: 0,
        }
    }

    /// Forgets the paths and verdicts, as the watch or the mounts changed.
    pub fn forget_paths(&mut self) {
        self.epoch += 1;
    }

    /// Forgets every directory that can be loaded again.
    pub fn clear(&mut self) {
        self.nodes.clear();
        self.epoch += 1;
    }

    /// Whether it is known where a directory is.
    pub fn knows(&self, dir: &[u8]) -> bool {
        self.marked.contains_key(dir) || self.nodes.peek(dir).is_some()
    }

    /// Says where a directory is.
    pub fn set(&mut self, dir: Key, place: Place) {
        match self.marked.get_mut(&dir) {
            Some(node) => *node = Node { place, judged: None },
            None => self.nodes.insert(dir, Node { place, judged: None }),
        }
    }

    /// Says where a directory is that carries a mark of its own, and is kept while it does.
    pub fn set_marked(&mut self, dir: Key, place: Place) {
        self.nodes.remove(&dir);
        self.marked.insert(dir, Node { place, judged: None });
    }

    /// Directories with marks of their own.
    pub fn marked(&self) -> impl Iterator<Item = &Key> {
        self.marked.keys()
    }

    /// Whether a directory carries a mark of its own.
    pub fn is_marked(&self, dir: &[u8]) -> bool {
        self.marked.contains_key(dir)
    }

    /// How many carry marks of their own.
    pub fn marked_len(&self) -> usize {
        self.marked.len()
    }

    /// A directory's own mark is gone.
    pub fn unmark(&mut self, dir: &[u8]) {
        if let Some((key, node)) = self.marked.remove_entry(dir) {
            self.nodes.insert(key, node);
        }
    }

    /// An event was read that says of a directory where it was until then.
    pub fn announce(&mut self, sequence: u64, dir: &[u8], place: Place) {
        let detachment = Detachment { sequence, place };
        match self.pending.get_mut(dir) {
            Some(list) => list.push_back(detachment),
            None => drop(self.pending.insert(dir.into(), VecDeque::from([detachment]))),
        }
    }

    /// The event was handled that had been announced.
    pub fn settle(&mut self, sequence: u64, dir: &[u8]) {
        let Some(list) = self.pending.get_mut(dir) else { return };
        while list.front().is_some_and(|next| next.sequence <= sequence) {
            list.pop_front();
        }
        if list.is_empty() {
            self.pending.remove(dir);
        }
    }

    /// A directory came to be there.
    pub fn created(&mut self, dir: &[u8], parent: &[u8], name: &[u8]) {
        let place = self.child(parent, name);
        self.set(dir.into(), place);
    }

    /// A directory was renamed. Where it is now is not taken from the event, since the kernel merges
    /// equal renames, so that the last one read need not be the last one done.
    pub fn renamed(&mut self, dir: &[u8], parent: &[u8], name: &[u8]) {
        if self.marked.contains_key(dir) {
            let place = self.child(parent, name);
            self.set(dir.into(), place);
        } else {
            self.nodes.remove(dir);
        }
        self.epoch += 1;
    }

    /// A directory was removed. It is kept: events in it may follow, where the kernel merged its
    /// removal with its creation. Handles are never used twice, so it is in nobody's way.
    pub fn removed(&mut self, dir: &[u8], parent: &[u8], name: &[u8]) {
        let place = self.child(parent, name);
        if self.marked.remove(dir).is_some() || !self.knows(dir) {
            self.set(dir.into(), place);
        }
    }

    /// The place of a name in a directory, sharing the directory's key where it has one.
    pub fn child(&self, parent: &[u8], name: &[u8]) -> Place {
        let shared = self.marked.get_key_value(parent).map(|(key, _)| Arc::clone(key));
        let parent = shared.unwrap_or_else(|| parent.into());
        Place::Child { parent, name: name.into() }
    }

    /// The verdict on a directory, where it can be had without any work. `None` while renames or
    /// removals are announced, since it might be another by the time they are handled.
    pub fn quick_verdict(&mut self, dir: &[u8]) -> Option<Verdict> {
        if !self.pending.is_empty() {
            return None;
        }
        let epoch = self.epoch;
        let node = match self.marked.get(dir) {
            Some(node) => node,
            None => self.nodes.get(dir)?,
        };
        match &node.judged {
            Some(judged) if judged.epoch == epoch => Some(judged.view.verdict),
            _ if node.place == Place::Hidden => Some(Verdict::Never),
            _ => None,
        }
    }

    /// Where a directory was when event `sequence` happened. `view` says how its path within the
    /// file system is seen.
    pub fn at(&mut self, dir: &[u8], sequence: u64, view: impl FnOnce(&[u8]) -> View) -> Found {
        let quiet = self.pending.is_empty();
        let epoch = self.epoch;
        if quiet
            && let Some(judged) = self.node(dir).and_then(|node| node.judged.as_ref())
            && judged.epoch == epoch
        {
            return Found::At(Arc::clone(&judged.view));
        }
        let mut names: Vec<Arc<[u8]>> = Vec::new();
        let mut current: Key = dir.into();
        let top = loop {
            let announced = self.pending.get(&current).and_then(|list| {
                list.iter().find(|next| next.sequence >= sequence).map(|next| &next.place)
            });
            let place = match announced {
                Some(place) => Some(place.clone()),
                None => self.node(&current).map(|node| node.place.clone()),
            };
            match place {
                Some(Place::Top(path)) => break path,
                Some(Place::Child { parent, name }) if names.len() < MAX_DEPTH => {
                    names.push(name);
                    current = parent;
                }
                Some(Place::Child { .. } | Place::Hidden) => return Found::Hidden,
                None => return Found::Unknown(current),
            }
        };
        let path = names.iter().rev().fold(top.to_vec(), |path, name| path::join(&path, name));
        let view = Arc::new(view(&path));
        if quiet {
            let judged = Judged { epoch, view: Arc::clone(&view) };
            let node = match self.marked.get_mut(dir) {
                Some(node) => Some(node),
                None => self.nodes.get(dir),
            };
            if let Some(node) = node {
                node.judged = Some(judged);
            }
        }
        Found::At(view)
    }

    fn node(&self, dir: &[u8]) -> Option<&Node> {
        self.marked.get(dir).or_else(|| self.nodes.peek(dir))
    }
}
