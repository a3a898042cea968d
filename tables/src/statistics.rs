//! What was busiest in the last minute: files, programs, calls, peers.
//!
//! Owns the counting, which is bounded: for each of them and each ten seconds the space-saving
//! algorithm (Metwally, Agrawal, El Abbadi 2005) keeps [`COUNTERS`] names. A name that is more
//! frequent than one in [`COUNTERS`] is surely among them; a count may be too high by `error`, and
//! never too low.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

#[cfg(test)]
mod tests;

/// Names counted at a time, of each kind.
pub const COUNTERS: usize = 256;

/// Longest name that is kept; the rest is cut.
pub const MAX_NAME: usize = 256;

/// Length of a part of the window, and how many there are.
const PART_NS: u64 = 10_000_000_000;
const PARTS: u64 = 6;

/// Length of the window, in seconds.
pub const WINDOW_SECONDS: u64 = PART_NS * PARTS / 1_000_000_000;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Files that were changed.
    Path,
    /// Executables whose processes did something.
    Initiator,
    /// System calls.
    Syscall,
    /// Addresses of peers.
    Peer,
}

impl What {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Path, Self::Initiator, Self::Syscall, Self::Peer];

    /// The word in the `what` column.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Initiator => "initiator",
            Self::Syscall => "syscall",
            Self::Peer => "peer",
        }
    }
}

/// A name and how often it occurred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The name.
    pub name: Box<[u8]>,
    /// How often, at most.
    pub count: u64,
    /// By how much that may be too high.
    pub error: u64,
}

/// Names counted over one part of the window.
#[derive(Debug, Default)]
struct Sketch {
    counters: Vec<Counted>,
    /// Positions in `counters`, by name.
    index: HashTable<u16>,
}

impl Sketch {
    fn add(&mut self, hasher: &RandomState, name: &[u8]) {
        let name = name.get(..MAX_NAME.min(name.len())).unwrap_or_default();
        let hash = hasher.hash_one(name);
        let Self { counters, index } = self;
        let same = |&at: &u16| counters.get(usize::from(at)).is_some_and(|c| *c.name == *name);
        if let Some(&at) = index.find(hash, same) {
            if let Some(counter) = counters.get_mut(usize::from(at)) {
                counter.count = counter.count.saturating_add(1);
            }
            return;
        }
        let fresh = |count: u64| Counted { name: name.into(), count: count + 1, error: count };
        let at = if counters.len() < COUNTERS {
            counters.push(fresh(0));
            counters.len().saturating_sub(1)
        } else {
            let least = counters.iter().enumerate().min_by_key(|(_, counter)| counter.count);
            let Some((at, least)) = least.map(|(at, counter)| (at, counter.count)) else { return };
            let Some(counter) = counters.get_mut(at) else { return };
            let old = hasher.hash_one(&*counter.name);
            *counter = fresh(least);
            if let Ok(entry) = index.find_entry(old, |&held| usize::from(held) == at) {
                entry.remove();
            }
            at
        };
        let Ok(at) = u16::try_from(at) else { return };
        index.insert_unique(hash, at, |&held| {
            hasher.hash_one(counters.get(usize::from(held)).map_or(&[][..], |c| &*c.name))
        });
    }
}

#[derive(Debug, Default)]
struct Part {
    number: u64,
    sketches: [Sketch; What::ALL.len()],
}

/// The window.
#[derive(Debug, Default)]
pub struct Statistics {
    hasher: RandomState,
    parts: [Part; PARTS as usize],
}

impl Statistics {
    /// Counts one occurrence at a time.
    pub fn add(&mut self, what: What, name: &[u8], now_ns: u64) {
        let number = now_ns / PART_NS;
        let Some(part) = self.parts.get_mut((number % PARTS) as usize) else { return };
        if part.number != number {
            *part = Part { number, ..Part::default() };
        }
        if let Some(sketch) = part.sketches.get_mut(what as usize) {
            sketch.add(&self.hasher, name);
        }
    }

    /// The names of the window that ends now, the most frequent first.
    pub fn top(&self, what: What, now_ns: u64) -> Vec<Counted> {
        let number = now_ns / PART_NS;
        let oldest = number.saturating_sub(PARTS - 1);
        let mut all: Vec<Counted> = Vec::new();
        let current = self.parts.iter().filter(|part| (oldest..=number).contains(&part.number));
        for sketch in current.filter_map(|part| part.sketches.get(what as usize)) {
            all.extend(sketch.counters.iter().cloned());
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.dedup_by(|next, kept| {
            let same = next.name == kept.name;
            if same {
                kept.count = kept.count.saturating_add(next.count);
                kept.error = kept.error.saturating_add(next.error);
            }
            same
        });
        all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        all.truncate(COUNTERS);
        all
    }
}
