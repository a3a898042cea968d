//! When a process ends: the connector tells of threads.
//!
//! Pure but for one question, which the caller answers: whether a process still has living threads
//! besides one. It is asked of processes whose threads were not all seen to begin, because they ran
//! before we did or because messages were lost since.

use std::collections::{HashMap, HashSet, VecDeque};

/// Processes whose threads are counted. Of more, the question is asked.
pub const MAX_COUNTED: usize = 65_536;

/// Processes remembered to have ended, for which the question would be answered twice.
pub const MAX_ENDED: usize = 4096;

/// Living threads, by process.
#[derive(Debug, Default)]
pub struct Threads {
    counted: HashMap<u32, u32>,
    ended: HashSet<u32>,
    forget: VecDeque<u32>,
}

impl Threads {
    /// A process began, with one thread.
    pub fn process_began(&mut self, tgid: u32) {
        self.ended.remove(&tgid);
        self.alone(tgid);
    }

    /// A process has one thread from now on: it executed a program.
    pub fn alone(&mut self, tgid: u32) {
        if self.counted.len() < MAX_COUNTED || self.counted.contains_key(&tgid) {
            self.counted.insert(tgid, 1);
        }
    }

    /// A process has one thread more.
    pub fn thread_began(&mut self, tgid: u32) {
        if let Some(count) = self.counted.get_mut(&tgid) {
            *count = count.saturating_add(1);
        }
    }

    /// A thread ended. Whether the process did. `others_live` tells whether the process has living
    /// threads other than this one.
    pub fn ended(&mut self, tgid: u32, others_live: impl FnOnce() -> bool) -> bool {
        if let Some(count) = self.counted.get_mut(&tgid) {
            *count = count.saturating_sub(1);
            let last = *count == 0;
            if last {
                self.counted.remove(&tgid);
            }
            return last;
        }
        if self.ended.contains(&tgid) || others_live() {
            return false;
        }
        self.ended.insert(tgid);
        self.forget.push_back(tgid);
        if self.forget.len() > MAX_ENDED
            && let Some(oldest) = self.forget.pop_front()
        {
            self.ended.remove(&oldest);
        }
        true
    }

    /// Messages were lost: no count can be trusted any more.
    pub fn lost(&mut self) {
        self.counted.clear();
    }
}

#[cfg(test)]
mod tests;
