//! Which namespaces a process had when it executed a program.
//!
//! `/proc` shows those it has when we look, and a program may change them as soon as it runs, as
//! `unshare` does. What is seen counts only if it was so before as well: if it was seen before the
//! exec, or if the parent has the same, since who leaves its namespaces gets new ones.

use std::collections::HashMap;

use crate::event::Namespaces;

/// Processes whose namespaces are remembered. Of more, the parent alone decides.
pub const MAX_REMEMBERED: usize = 32_768;

/// Namespaces by process, as last seen.
#[derive(Debug, Default)]
pub struct Spaces {
    seen: HashMap<u32, (Namespaces, u64)>,
}

impl Spaces {
    /// A process was seen to have these at `at_ns`.
    pub fn see(&mut self, pid: u32, namespaces: Namespaces, at_ns: u64) {
        if self.seen.len() < MAX_REMEMBERED || self.seen.contains_key(&pid) {
            self.seen.insert(pid, (namespaces, at_ns));
        }
    }

    /// Those a process had when it executed something at `exec_ns`, if it is seen to have `now`
    /// after it. `parents` tells what the parent has.
    pub fn at_exec(
        &self,
        pid: u32,
        now: Namespaces,
        exec_ns: u64,
        parents: impl FnOnce() -> Option<Namespaces>,
    ) -> Option<Namespaces> {
        let before = self.seen.get(&pid).filter(|(_, at_ns)| *at_ns < exec_ns);
        let same = before.is_some_and(|(before, _)| *before == now) || parents() == Some(now);
        same.then_some(now)
    }

    /// What was last seen of a process.
    pub fn last(&self, pid: u32) -> Option<Namespaces> {
        self.seen.get(&pid).map(|(namespaces, _)| *namespaces)
    }

    /// A process ended.
    pub fn forget(&mut self, pid: u32) {
        self.seen.remove(&pid);
    }
}

#[cfg(test)]
mod tests;
