//! Which paths are wanted: the filter of the tables, and its roots as the kernel will name them.
//!
//! Owns the difference between a root as it was written and as it resolves: the kernel reports
//! paths without symbolic links, the operator may watch `/var/run`. A link at or above a root is
//! followed when the watch is made; one below a root is not, since what it leads to has a path of
//! its own.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::path;
use crate::source::PathFilter;

#[cfg(test)]
mod tests;

/// What a directory has to do with the watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Neither it nor anything directly in it can be wanted.
    Never,
    /// The filter has to be asked for each path.
    Maybe,
}

/// A root, as written and as it resolves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRoot {
    /// As the filter names it.
    pub asked: Vec<u8>,
    /// Without symbolic links, as far as it exists.
    pub real: Vec<u8>,
    /// Levels below it that can match; `None`: all.
    pub depth: Option<u32>,
}

impl WatchRoot {
    /// Whether `real` or something directly in it can match.
    fn reaches(&self, dir: &[u8]) -> bool {
        match path::below(dir, &self.real) {
            Some(rest) => {
                self.depth.is_none_or(|depth| path::parts(rest).count() <= depth as usize)
            }
            None => path::parent(&self.real) == dir,
        }
    }
}

/// The watch in force.
pub struct Watch {
    filter: Arc<dyn PathFilter>,
    roots: Vec<WatchRoot>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Watch").field("roots", &self.roots).finish_non_exhaustive()
    }
}

impl Watch {
    /// Resolves the roots of a filter with `resolve`.
    pub fn new(filter: Arc<dyn PathFilter>, resolve: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        let roots = filter.roots();
        let roots = roots
            .into_iter()
            .map(|root| {
                let asked = root.path.as_os_str().as_bytes().to_vec();
                WatchRoot { real: resolve(&asked), asked, depth: root.depth }
            })
            .collect();
        Self { filter, roots }
    }

    /// The roots.
    pub fn roots(&self) -> &[WatchRoot] {
        &self.roots
    }

    /// What a directory has to do with the watch.
    pub fn verdict(&self, dir: &[u8]) -> Verdict {
        if self.roots.iter().any(|root| root.reaches(dir)) {
            Verdict::Maybe
        } else {
            Verdict::Never
        }
    }

    /// Whether a directory must be seen for a wanted path to be found: it can hold one, or the way
    /// to a root leads through it.
    pub fn leads_to(&self, dir: &[u8]) -> bool {
        self.roots.iter().any(|root| root.reaches(dir) || path::below(&root.real, dir).is_some())
    }

    /// The path under which a file is wanted: its own, or as a root spells it that was given by
    /// way of a symbolic link. `None`: it is not wanted.
    pub fn wanted(&self, file: &[u8]) -> Option<Vec<u8>> {
        if self.filter.matches(file) {
            return Some(file.to_vec());
        }
        let aliases = self.roots.iter().filter(|root| root.asked != root.real);
        aliases
            .filter_map(|root| {
                let rest = path::below(file, &root.real)?;
                Some(path::join_rest(&root.asked, rest))
            })
            .find(|alias| self.filter.matches(alias))
    }
}

/// Resolves the part of a path that exists; the rest is kept as it is.
pub fn resolve_existing(asked: &[u8]) -> Vec<u8> {
    let mut there = Path::new(std::ffi::OsStr::from_bytes(asked));
    let whole = there;
    loop {
        if let Ok(real) = std::fs::canonicalize(there) {
            let rest = path::below(asked, there.as_os_str().as_bytes()).unwrap_or_default();
            let real = real.as_os_str().as_bytes();
            return path::join_rest(real, rest);
        }
        match there.parent() {
            Some(parent) => there = parent,
            None => return whole.as_os_str().as_bytes().to_vec(),
        }
    }
}
