//! Changes of content that are held back for a moment, as a close usually follows.
//!
//! A program that writes a file in a thousand pieces and closes it has updated it once. One that
//! keeps it open, as a log is kept, is reported at most once in [`HOLD`]. Nothing held is lost: it
//! comes out by a close, by time, by lack of room, or because someone asked for all there is.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::recent::Key;
use crate::event::{Body, RawEvent};

#[cfg(test)]
mod tests;

/// How long a change waits for a close.
pub const HOLD: Duration = Duration::from_secs(1);

/// Inodes with a change held back at most; at one more, all come out.
pub const HELD_MAX: usize = 4096;

#[derive(Debug)]
struct Held {
    since: Instant,
    event: RawEvent,
}

/// The changes held back: of each inode one for each process and name.
#[derive(Debug, Default)]
pub struct HeldBack {
    inodes: HashMap<Key, Vec<Held>>,
    count: usize,
    next: Option<Instant>,
}

impl HeldBack {
    /// Holds a change back. A later one by the same process takes its place, with the time of the
    /// first.
    pub fn hold(&mut self, inode: &[u8], event: RawEvent, now: Instant, out: &mut Vec<RawEvent>) {
        if let Some(held) = self.inodes.get_mut(inode)
            && let Some(first) = held.iter_mut().find(|held| is_same(&held.event, &event))
        {
            first.event = RawEvent { time_ns: first.event.time_ns, ..event };
            return;
        }
        if self.count >= HELD_MAX {
            self.take_all(out);
        }
        self.count += 1;
        self.next.get_or_insert(now + HOLD);
        let held = Held { since: now, event };
        match self.inodes.get_mut(inode) {
            Some(list) => list.push(held),
            None => drop(self.inodes.insert(inode.into(), vec![held])),
        }
    }

    /// The inode was closed after writing, by this process and under this name: what it had changed
    /// is part of that. What others changed comes out.
    pub fn closed(&mut self, inode: &[u8], event: &RawEvent, out: &mut Vec<RawEvent>) {
        let before = out.len();
        self.take(inode, out);
        let mut index = 0;
        out.retain(|held| {
            index += 1;
            index <= before || !is_same(held, event)
        });
    }

    /// Something else happens to the inode, before which the change has to come out.
    pub fn take(&mut self, inode: &[u8], out: &mut Vec<RawEvent>) {
        let held = self.inodes.remove(inode).unwrap_or_default();
        self.count -= held.len();
        out.extend(held.into_iter().map(|held| held.event));
    }

    /// When [`HeldBack::take_due`] has something to do next.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Lets out what was held long enough.
    pub fn take_due(&mut self, now: Instant, out: &mut Vec<RawEvent>) {
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        let mut due = Vec::new();
        self.inodes.retain(|_, list| {
            due.extend(list.extract_if(.., |held| held.since + HOLD <= now));
            !list.is_empty()
        });
        self.count -= due.len();
        sorted(due, out);
        self.next = self.inodes.values().flatten().map(|held| held.since + HOLD).min();
    }

    /// Lets out everything.
    pub fn take_all(&mut self, out: &mut Vec<RawEvent>) {
        sorted(self.inodes.drain().flat_map(|(_, list)| list).collect(), out);
        self.count = 0;
        self.next = None;
    }
}

fn sorted(mut held: Vec<Held>, out: &mut Vec<RawEvent>) {
    held.sort_by_key(|held| held.event.time_ns);
    out.extend(held.into_iter().map(|held| held.event));
}

/// By the same process and under the same name.
fn is_same(one: &RawEvent, other: &RawEvent) -> bool {
    match (&one.body, &other.body) {
        (Body::File(a), Body::File(b)) => one.task.pid == other.task.pid && a.path == b.path,
        _ => false,
    }
}
