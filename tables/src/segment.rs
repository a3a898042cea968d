//! A run of consecutive events of one table, with everything they refer to.
//!
//! Owns the columns that queries look events up by (kept apart from the records, so that a search
//! reads little memory) and the lineage of processes. It is written while open; once sealed it is
//! shared and never changes, so that a query reads it without a lock.

use crate::pool::{Pool, Text};
use crate::record::{NONE, Record};

#[cfg(test)]
mod tests;

/// Events after which a segment is sealed.
pub const SEGMENT_EVENTS: usize = 512;

/// The most ancestors an event names.
pub const MAX_ANCESTRY: usize = 16;

/// What queries look an event up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// Process; [`NONE`] if unknown.
    pub pid: u32,
    /// Its parent; [`NONE`] if unknown.
    pub parent: u32,
    /// Its executable.
    pub path: Text,
    /// Unix seconds.
    pub time: i64,
    /// Stable id; 0 if unknown.
    pub process_id: u64,
}

/// A process in the ancestry of an event.
#[derive(Debug, Clone, Copy)]
pub struct Ancestor {
    /// Its pid.
    pub pid: u32,
    /// Its parent's position, plus one; 0: the oldest that is known.
    pub older: u16,
    /// Stable id; 0 if unknown.
    pub process_id: u64,
    /// Executable.
    pub path: Text,
    /// Arguments.
    pub args: Text,
}

/// The segment. `first_seq` is the sequence number of its first event.
#[derive(Debug)]
pub struct Segment<R> {
    first_seq: u64,
    seqs: Vec<u32>,
    pids: Vec<u32>,
    parents: Vec<u32>,
    paths: Vec<Text>,
    /// Unix seconds, which fit until 2106.
    times: Vec<u32>,
    process_ids: Vec<u64>,
    records: Vec<R>,
    ancestors: Vec<Ancestor>,
    min_time: i64,
    max_time: i64,
    /// The strings.
    pub pool: Pool,
}

impl<R: Record> Segment<R> {
    /// An empty segment whose first event will have this sequence number.
    pub fn new(first_seq: u64) -> Self {
        Self {
            first_seq,
            seqs: Vec::new(),
            pids: Vec::new(),
            parents: Vec::new(),
            paths: Vec::new(),
            times: Vec::new(),
            process_ids: Vec::new(),
            records: Vec::new(),
            ancestors: Vec::new(),
            min_time: i64::MAX,
            max_time: i64::MIN,
            pool: Pool::default(),
        }
    }

    /// Adds an event. False: its number is too far from the first, so it needs another segment.
    #[must_use]
    pub fn push(&mut self, seq: u64, keys: Keys, record: R) -> bool {
        let Some(offset) = seq.checked_sub(self.first_seq).and_then(|n| u32::try_from(n).ok())
        else {
            return false;
        };
        self.seqs.push(offset);
        self.pids.push(keys.pid);
        self.parents.push(keys.parent);
        self.paths.push(keys.path);
        self.times.push(u32::try_from(keys.time.max(0)).unwrap_or(u32::MAX));
        self.process_ids.push(keys.process_id);
        self.records.push(record);
        self.min_time = self.min_time.min(keys.time);
        self.max_time = self.max_time.max(keys.time);
        true
    }

    /// Adds a process to the lineages, whose parent is already there. Gives its position plus one.
    pub fn push_ancestor(&mut self, ancestor: Ancestor) -> u16 {
        self.ancestors.push(ancestor);
        u16::try_from(self.ancestors.len()).unwrap_or(0)
    }

    /// The process at a position plus one.
    pub fn ancestor(&self, position: u16) -> Option<&Ancestor> {
        self.ancestors.get(usize::from(position.checked_sub(1)?))
    }

    /// The lineage that starts at a position, nearest first.
    pub fn ancestry(&self, start: u16) -> impl Iterator<Item = &Ancestor> {
        let older = |nearer: &&Ancestor| self.ancestor(nearer.older);
        std::iter::successors(self.ancestor(start), older).take(MAX_ANCESTRY)
    }

    /// Sequence number of the first event, which no other segment of its store has.
    pub const fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Sequence number of an event.
    pub fn seq(&self, index: usize) -> Option<u64> {
        Some(self.first_seq.saturating_add(u64::from(*self.seqs.get(index)?)))
    }

    /// The events from the first whose sequence number is at least `seq`.
    pub fn lower_bound(&self, seq: u64) -> usize {
        let offset = seq.saturating_sub(self.first_seq);
        self.seqs.partition_point(|&held| u64::from(held) < offset)
    }

    /// One event's record.
    pub fn record(&self, index: usize) -> Option<&R> {
        self.records.get(index)
    }

    /// What one event is looked up by.
    pub fn keys(&self, index: usize) -> Option<Keys> {
        Some(Keys {
            pid: *self.pids.get(index)?,
            parent: *self.parents.get(index)?,
            path: *self.paths.get(index)?,
            time: i64::from(*self.times.get(index)?),
            process_id: *self.process_ids.get(index)?,
        })
    }

    /// Pids of all events.
    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// Parents of all events.
    pub fn parents(&self) -> &[u32] {
        &self.parents
    }

    /// Executables of all events.
    pub fn paths(&self) -> &[Text] {
        &self.paths
    }

    /// Process ids of all events.
    pub fn process_ids(&self) -> &[u64] {
        &self.process_ids
    }

    /// The earliest and the latest Unix second; the first is the greater when empty.
    pub const fn time_range(&self) -> (i64, i64) {
        (self.min_time, self.max_time)
    }

    /// Bytes this segment takes, itself included.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + (self.seqs.capacity()
                + self.pids.capacity()
                + self.parents.capacity()
                + self.times.capacity())
                * size_of::<u32>()
            + self.paths.capacity() * size_of::<Text>()
            + self.process_ids.capacity() * size_of::<u64>()
            + self.records.capacity() * size_of::<R>()
            + self.ancestors.capacity() * size_of::<Ancestor>()
            + self.pool.heap_bytes()
    }

    /// Gives up what only adding needs.
    pub fn seal(&mut self) {
        self.seqs.shrink_to_fit();
        self.pids.shrink_to_fit();
        self.parents.shrink_to_fit();
        self.paths.shrink_to_fit();
        self.times.shrink_to_fit();
        self.process_ids.shrink_to_fit();
        self.records.shrink_to_fit();
        self.ancestors.shrink_to_fit();
        self.pool.seal();
    }

    /// A copy to read while this one is added to.
    pub fn read_only(&self) -> Self {
        Self {
            first_seq: self.first_seq,
            seqs: self.seqs.clone(),
            pids: self.pids.clone(),
            parents: self.parents.clone(),
            paths: self.paths.clone(),
            times: self.times.clone(),
            process_ids: self.process_ids.clone(),
            records: self.records.clone(),
            ancestors: self.ancestors.clone(),
            min_time: self.min_time,
            max_time: self.max_time,
            pool: self.pool.read_only(),
        }
    }
}

impl Keys {
    /// Nothing known but the time.
    pub const fn unknown(time: i64) -> Self {
        Self { pid: NONE, parent: NONE, path: Text::NONE, time, process_id: 0 }
    }
}
