//! The events of one table, bounded in number, bytes and age.
//!
//! Owns what is kept and what goes: the oldest first, each event counted under the reason it went
//! for, so that for every kind `stored = held + evicted + expired` at any moment. Events are
//! appended to an open [`Segment`]; full ones are sealed and shared with readers. A reader takes a
//! [`Snapshot`] and needs the store no more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use osquery_ebpf_probes::event::EventKind;

use crate::cursor::{Cursors, View, Window};
use crate::record::Record;
use crate::segment::{Keys, SEGMENT_EVENTS, Segment};

#[cfg(test)]
mod tests;

/// How long after its last scan an execution's events are kept for further scans of a join, should
/// they be evicted meanwhile. At most one execution per store is so favoured, so this costs at most
/// the store's own limit once more.
pub const PIN: Duration = Duration::from_secs(10);

/// A segment is sealed when it takes this part of the store's bytes, so that eviction by bytes goes
/// in small steps.
const SEGMENT_SHARE: usize = 32;

/// Bounds of one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Events held.
    pub events: usize,
    /// Bytes held, all told. A hard limit: events go before it is passed.
    pub bytes: usize,
    /// Age at which an event goes.
    pub age: Duration,
}

/// What happened to the events of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Put into the store.
    pub stored: u64,
    /// Gone to make room.
    pub evicted: u64,
    /// Gone for their age.
    pub expired: u64,
    /// Of those gone: a scheduled query still had to read them.
    pub unread: u64,
}

impl Counts {
    /// Still there.
    pub const fn held(&self) -> u64 {
        self.stored.saturating_sub(self.evicted).saturating_sub(self.expired)
    }
}

/// The store.
#[derive(Debug)]
pub struct Store<R> {
    sealed: VecDeque<Arc<Segment<R>>>,
    sealed_bytes: usize,
    open: Segment<R>,
    /// Counts the open segments there have been.
    generation: u64,
    /// Of the open segment, for readers; dropped when it is added to.
    copy: Option<Arc<Segment<R>>>,
    /// Events of the oldest segment that are gone.
    gone: usize,
    next_seq: u64,
    held: usize,
    counts: [Counts; EventKind::ALL.len()],
    limits: Limits,
    cursors: Cursors,
    unread_from: Option<u64>,
    pin: Option<Pin<R>>,
}

#[derive(Debug)]
struct Pin<R> {
    view: View,
    name: String,
    execution: String,
    snapshot: Snapshot<R>,
    used_ns: u64,
}

/// Events as they were at one moment. Holding it keeps their memory.
#[derive(Debug)]
pub struct Snapshot<R> {
    /// Segments, oldest first.
    pub segments: Arc<[Arc<Segment<R>>]>,
    /// Of those, only these sequence numbers count.
    pub window: Window,
}

impl<R> Clone for Snapshot<R> {
    fn clone(&self) -> Self {
        Self { segments: Arc::clone(&self.segments), window: self.window }
    }
}

#[derive(Clone, Copy)]
enum Reason {
    Room,
    Age,
}

impl<R: Record> Store<R> {
    /// An empty store. The first event gets number 1, as in osquery.
    pub fn new(limits: Limits) -> Self {
        Self {
            sealed: VecDeque::new(),
            sealed_bytes: 0,
            open: Segment::new(1),
            generation: 0,
            copy: None,
            gone: 0,
            next_seq: 1,
            held: 0,
            counts: Default::default(),
            limits,
            cursors: Cursors::default(),
            unread_from: None,
            pin: None,
        }
    }

    /// The segment to put the next event's strings into, followed by [`push`](Self::push), and a
    /// number that changes with the segment.
    pub fn open(&mut self) -> (&mut Segment<R>, u64) {
        let full = self.open.len() >= SEGMENT_EVENTS
            || self.open.pool.is_full()
            || self.open.bytes() > self.limits.bytes / SEGMENT_SHARE;
        if full && !self.open.is_empty() {
            self.seal();
        }
        self.copy = None;
        (&mut self.open, self.generation)
    }

    fn seal(&mut self) {
        let mut full = std::mem::replace(&mut self.open, Segment::new(self.next_seq));
        self.generation = self.generation.wrapping_add(1);
        self.copy = None;
        full.seal();
        self.sealed_bytes = self.sealed_bytes.saturating_add(full.bytes());
        self.sealed.push_back(Arc::new(full));
    }

    /// Adds an event whose strings are in the open segment, and makes room for it. Gives its
    /// sequence number.
    pub fn push(&mut self, keys: Keys, record: R) -> u64 {
        let seq = self.next_seq;
        if !self.open.push(seq, keys, record) {
            // Cannot be: a segment has far fewer than 2^32 numbers.
            return seq;
        }
        self.next_seq = seq.saturating_add(u64::from(record.ids()));
        self.held = self.held.saturating_add(1);
        let counts = self.counts_mut(record.kind());
        counts.stored = counts.stored.saturating_add(1);
        self.enforce();
        seq
    }

    fn enforce(&mut self) {
        while self.held > self.limits.events {
            self.remove_oldest(Reason::Room);
        }
        // The open segment counts twice, for the copy that a reader may ask for.
        let used = |store: &Self| store.sealed_bytes.saturating_add(store.open.bytes() * 2);
        while used(self) > self.limits.bytes && self.held > 0 {
            let segments = self.sealed.len();
            while self.held > 0 && self.sealed.len() == segments {
                self.remove_oldest(Reason::Room);
            }
        }
    }

    fn counts_mut(&mut self, kind: EventKind) -> &mut Counts {
        let [exec, fork, exit, setid, namespace, socket, file] = &mut self.counts;
        match kind {
            EventKind::Exec => exec,
            EventKind::Fork => fork,
            EventKind::Exit => exit,
            EventKind::Setid => setid,
            EventKind::Namespace => namespace,
            EventKind::Socket => socket,
            EventKind::File => file,
        }
    }

    fn oldest(&self) -> &Segment<R> {
        self.sealed.front().map_or(&self.open, |segment| segment)
    }

    fn remove_oldest(&mut self, reason: Reason) {
        let segment = self.oldest();
        let Some((seq, record)) = segment.seq(self.gone).zip(segment.record(self.gone).copied())
        else {
            return;
        };
        let last = self.gone.saturating_add(1) >= segment.len();
        let unread = self.unread_from.is_some_and(|from| seq >= from);
        let counts = self.counts_mut(record.kind());
        match reason {
            Reason::Room => counts.evicted = counts.evicted.saturating_add(1),
            Reason::Age => counts.expired = counts.expired.saturating_add(1),
        }
        counts.unread = counts.unread.saturating_add(u64::from(unread));
        self.held = self.held.saturating_sub(1);
        if !last {
            self.gone = self.gone.saturating_add(1);
            return;
        }
        self.gone = 0;
        if let Some(segment) = self.sealed.pop_front() {
            self.sealed_bytes = self.sealed_bytes.saturating_sub(segment.bytes());
        } else {
            self.open = Segment::new(self.next_seq);
            self.generation = self.generation.wrapping_add(1);
            self.copy = None;
        }
    }

    /// Lets events go that are too old now, and executions that were kept for further scans.
    pub fn tick(&mut self, now_ns: u64) {
        self.unread_from = self.cursors.unread_from(now_ns);
        let age = u64::try_from(self.limits.age.as_nanos()).unwrap_or(u64::MAX);
        while self.held > 0 {
            let oldest = self.oldest().record(self.gone).map(Record::time_ns);
            if oldest.is_some_and(|time| time.saturating_add(age) >= now_ns) {
                break;
            }
            self.remove_oldest(Reason::Age);
        }
        let pin = u64::try_from(PIN.as_nanos()).unwrap_or(u64::MAX);
        if self.pin.as_ref().is_some_and(|held| held.used_ns.saturating_add(pin) < now_ns) {
            self.pin = None;
        }
    }

    /// Takes over new bounds at once.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.enforce();
    }

    fn first_seq(&self) -> u64 {
        self.oldest().seq(self.gone).unwrap_or(self.next_seq)
    }

    /// Everything that is held.
    pub fn all(&mut self) -> Snapshot<R> {
        self.snapshot(Window { from: self.first_seq(), to: self.next_seq })
    }

    /// What this execution of a scheduled query is to see.
    pub fn scheduled(&mut self, view: View, name: &str, execution: &str, now: u64) -> Snapshot<R> {
        let pinned = self
            .pin
            .as_mut()
            .filter(|pin| pin.view == view && pin.name == name && pin.execution == execution);
        if let Some(pin) = pinned {
            pin.used_ns = now;
            return pin.snapshot.clone();
        }
        let held = (self.first_seq(), self.next_seq);
        let window = self.cursors.window((view, name, execution), held, now);
        self.unread_from = self.cursors.unread_from(now);
        let snapshot = self.snapshot(window);
        self.pin = Some(Pin {
            view,
            name: name.to_owned(),
            execution: execution.to_owned(),
            snapshot: snapshot.clone(),
            used_ns: now,
        });
        snapshot
    }

    fn snapshot(&mut self, window: Window) -> Snapshot<R> {
        let window = Window { from: window.from.max(self.first_seq()), to: window.to };
        if window.from >= window.to {
            return Snapshot { segments: Arc::new([]), window };
        }
        let within = |segment: &Segment<R>| {
            let first = segment.seq(0);
            let last = segment.seq(segment.len().saturating_sub(1));
            first.is_some_and(|first| first < window.to)
                && last.is_some_and(|last| last >= window.from)
        };
        let mut segments: Vec<Arc<Segment<R>>> =
            self.sealed.iter().filter(|segment| within(segment)).cloned().collect();
        if within(&self.open) {
            let copy = self.copy.get_or_insert_with(|| Arc::new(self.open.read_only()));
            segments.push(Arc::clone(copy));
        }
        Snapshot { segments: segments.into(), window }
    }

    /// What happened to the events of one kind.
    pub fn counts(&self, kind: EventKind) -> Counts {
        self.counts.get(kind.index()).copied().unwrap_or_default()
    }

    /// Bytes held for the table's own sake.
    pub fn held_bytes(&self) -> usize {
        self.sealed_bytes
            + self.open.bytes()
            + self.copy.as_ref().map_or(0, |copy| copy.bytes())
            + self.sealed.capacity() * size_of::<Arc<Segment<R>>>()
    }

    /// Bytes held only because a scheduled query's execution is reading them.
    pub fn pinned_bytes(&self) -> usize {
        let Some(pin) = &self.pin else { return 0 };
        let ours = |segment: &Arc<Segment<R>>| {
            let copy = self.copy.as_ref();
            self.sealed.iter().chain(copy).any(|held| Arc::ptr_eq(held, segment))
        };
        pin.snapshot.segments.iter().filter(|held| !ours(held)).map(|held| held.bytes()).sum()
    }

    /// Cursors of scheduled queries.
    pub const fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    /// Unix seconds of the first and the last event held.
    pub fn time_range(&self) -> Option<(i64, i64)> {
        let first = self.oldest().keys(self.gone)?.time;
        let newest = if self.open.is_empty() { self.sealed.back()? } else { &self.open };
        Some((first, newest.keys(newest.len().checked_sub(1)?)?.time))
    }

    /// First sequence number still held, and the next free one.
    pub fn seqs(&self) -> (u64, u64) {
        (self.first_seq(), self.next_seq)
    }
}
