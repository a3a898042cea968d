//! Directories that have been located, for what was done in them before they went.
//!
//! A record names a directory by its inode, which is looked for only after the fact: of what happens
//! in a directory that is removed at once, nothing would be known. So where each one was is
//! remembered, and follows what records tell of directories made, moved and removed. Pure.
//!
//! It helps only where nothing is found: what stands there now is asked first.

use std::collections::HashMap;

use crate::event::Bytes;

use super::decode::InodeId;

/// Directories remembered. When there are more, all are forgotten; what cannot be placed for that is
/// counted with all that cannot.
pub const MAX_KNOWN: usize = 4096;

/// Where directories are, or were when they were removed.
#[derive(Debug, Default)]
pub struct Directories {
    paths: HashMap<InodeId, Bytes>,
}

impl Directories {
    /// It is there.
    pub fn see(&mut self, directory: InodeId, path: &Bytes) {
        if self.paths.get(&directory) == Some(path) {
            return;
        }
        if self.paths.len() >= MAX_KNOWN {
            self.paths.clear();
        }
        self.paths.insert(directory, path.clone());
    }

    /// Where it was last.
    pub fn path(&self, directory: InodeId) -> Option<&Bytes> {
        self.paths.get(&directory)
    }

    /// It was made (`from` nowhere), moved, or removed (`to` nowhere), as far as that is known, and
    /// everything below it with it.
    pub fn moved(&mut self, directory: InodeId, from: Option<&Bytes>, to: Option<&Bytes>) {
        let from = from.or_else(|| self.paths.get(&directory)).cloned();
        if let Some(to) = to {
            // What stood there was replaced, or changed places with it.
            self.paths.retain(|_, path| below(path, to).is_none());
        }
        if let Some(from) = from {
            self.paths.retain(|_, path| {
                let Some(rest) = below(path, &from) else { return true };
                let Some(to) = to else { return false };
                *path = [to, rest].concat().into();
                true
            });
        }
        match to {
            Some(to) => self.see(directory, to),
            None => _ = self.paths.remove(&directory),
        }
    }
}

/// What is left of a path behind a directory; empty if it is the directory itself.
fn below<'path>(path: &'path [u8], directory: &[u8]) -> Option<&'path [u8]> {
    let rest = path.strip_prefix(directory)?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

#[cfg(test)]
mod tests;
