//! What a source may deliver while another takes its place.
//!
//! Both run for a moment, and see the same. The one that goes gives what it sees, which is remembered,
//! until it is shut; what the one that comes sees waits meanwhile. Then each of the one's events stands
//! for one of the other's, which is not told again, and the rest passes: what only the new one saw.
//! Events are alike by what every source knows of them and by about when they happened, since clocks
//! differ (audit's goes in steps of 4 ms and more). In doubt an event is told twice rather than not at
//! all, but for things that nothing tells apart, such as a process's connects to one peer in the same
//! moment: there may be one more or less for each that the clocks differ by.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use osquery_ebpf_probes::event::{Body, EventKind, RawEvent};
use osquery_ebpf_probes::source::{KindHealth, Sink};
use parking_lot::Mutex;

/// What the clocks of two sources may differ by, and by how much the one may see things later than the
/// other.
pub const DIFFER: Duration = Duration::from_millis(50);

/// Events that wait at most, and that are remembered at most. Of more, some are told twice.
const MOST: usize = 65_536;

/// The sink of one source.
pub struct Gate {
    sink: Arc<dyn Sink>,
    /// By [`EventKind::index`].
    kinds: [Passage; EventKind::ALL.len()],
    /// Whether `around` is to be looked at.
    hands_over: AtomicBool,
    around: Mutex<Around>,
}

#[derive(Default)]
struct Passage {
    open: AtomicBool,
    kept_back: AtomicU64,
}

/// What happens while one source takes another's place.
#[derive(Default)]
struct Around {
    /// What was given, of a source that goes.
    given: Option<Given>,
    /// What waits, of one that comes.
    waiting: Option<Vec<RawEvent>>,
    /// What could not wait.
    beyond: u64,
}

/// When things happened that two sources may have seen, by what they both know of them.
#[derive(Default)]
pub struct Given {
    times_ns: HashMap<u64, Vec<u64>>,
    count: usize,
}

impl Gate {
    /// Nothing passes yet.
    pub fn new(sink: Arc<dyn Sink>) -> Arc<Self> {
        let (kinds, hands_over, around) = Default::default();
        Arc::new(Self { sink, kinds, hands_over, around })
    }

    /// This kind passes from now on.
    pub fn open(&self, kind: EventKind) {
        self.set(kind, true);
    }

    /// This kind passes no longer. What is kept back is another source's, and counts as never received.
    pub fn shut(&self, kind: EventKind) {
        // Whatever passed before is remembered, if anything is.
        let _around = self.around.lock();
        self.set(kind, false);
    }

    fn set(&self, kind: EventKind, open: bool) {
        if let Some(passage) = self.kinds.get(kind.index()) {
            passage.open.store(open, Ordering::Release);
        }
    }

    /// Remembers from now on what passes.
    pub fn remember(&self) {
        self.around.lock().given.get_or_insert_default();
        self.hands_over.store(true, Ordering::Release);
    }

    /// What has passed since.
    pub fn given(&self) -> Given {
        let mut around = self.around.lock();
        self.hands_over.store(false, Ordering::Release);
        around.given.take().unwrap_or_default()
    }

    /// Lets what would pass wait from now on.
    pub fn wait(&self) {
        self.around.lock().waiting.get_or_insert_default();
        self.hands_over.store(true, Ordering::Release);
    }

    /// Lets pass what has waited and was not given by another, and whatever comes from now on.
    pub fn decide(&self, mut given: Given) {
        let mut around = self.around.lock();
        let beyond = std::mem::take(&mut around.beyond);
        if beyond > 0 {
            log::warn!(
                "{beyond} events too many came during a change of sources: some are told twice"
            );
        }
        let mut waiting = around.waiting.take().unwrap_or_default();
        waiting.retain(|event| {
            let told = given.take(event);
            if told {
                self.keep_back(event.kind());
            }
            !told
        });
        if !waiting.is_empty() {
            self.sink.accept(&mut waiting);
        }
        // After that: what comes now is not to overtake it.
        self.hands_over.store(false, Ordering::Release);
    }

    fn passes(&self, event: &RawEvent) -> bool {
        let kind = event.kind();
        let passage = self.kinds.get(kind.index());
        let open = passage.is_none_or(|passage| passage.open.load(Ordering::Acquire));
        if !open {
            self.keep_back(kind);
        }
        open
    }

    fn keep_back(&self, kind: EventKind) {
        if let Some(passage) = self.kinds.get(kind.index()) {
            passage.kept_back.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What the source says of itself, without what it told in vain.
    pub fn correct(&self, health: &mut KindHealth) {
        let passage = self.kinds.get(health.kind.index());
        let kept_back = passage.map_or(0, |passage| passage.kept_back.load(Ordering::Relaxed));
        health.received = health.received.saturating_sub(kept_back);
        health.produced = health.produced.map(|produced| produced.saturating_sub(kept_back));
    }

    /// Forgets how much of a kind it has kept back.
    pub fn count_anew(&self, kind: EventKind) {
        if let Some(passage) = self.kinds.get(kind.index()) {
            passage.kept_back.store(0, Ordering::Relaxed);
        }
    }
}

impl Sink for Gate {
    fn accept(&self, batch: &mut Vec<RawEvent>) {
        let hands_over = self.hands_over.load(Ordering::Acquire);
        let mut around = hands_over.then(|| self.around.lock());
        batch.retain(|event| self.passes(event));
        if let Some(around) = around.as_deref_mut() {
            around.look_at(batch);
        }
        if !batch.is_empty() {
            self.sink.accept(batch);
        }
    }
}

impl Around {
    /// Takes what waits out of what would pass.
    fn look_at(&mut self, batch: &mut Vec<RawEvent>) {
        if let Some(given) = &mut self.given {
            batch.iter().for_each(|event| given.put(event));
        }
        if let Some(waiting) = &mut self.waiting {
            let room = MOST.saturating_sub(waiting.len()).min(batch.len());
            waiting.extend(batch.drain(..room));
            self.beyond = self.beyond.saturating_add(batch.len() as u64);
        }
    }
}

impl Given {
    fn put(&mut self, event: &RawEvent) {
        if self.count < MOST {
            self.count += 1;
            self.times_ns.entry(mark(event)).or_default().push(begin_ns(event));
        }
    }

    /// Adds what another has given.
    pub fn add(&mut self, other: Self) {
        self.count += other.count;
        for (mark, mut times) in other.times_ns {
            self.times_ns.entry(mark).or_default().append(&mut times);
        }
    }

    /// Whether this was given. It is not known any more then: each stands for one of the other's.
    fn take(&mut self, event: &RawEvent) -> bool {
        let Some(times) = self.times_ns.get_mut(&mark(event)) else { return false };
        let away = |time_ns: &u64| time_ns.abs_diff(begin_ns(event));
        let nearest = times.iter().enumerate().min_by_key(|(_, time_ns)| away(time_ns));
        let near = nearest.filter(|(_, time_ns)| u128::from(away(time_ns)) <= DIFFER.as_nanos());
        near.map(|(index, _)| index).map(|index| times.swap_remove(index)).is_some()
    }
}

/// When it began: audit says of a call that waits when it was made, BPF when it was done.
fn begin_ns(event: &RawEvent) -> u64 {
    let call_ns = match &event.body {
        Body::Socket(socket) => socket.call_ns.unwrap_or(0),
        _ => 0,
    };
    event.time_ns.saturating_sub(call_ns)
}

/// What every source knows of an event that it sees. Of executions and ends there is no more than whose
/// they are.
fn mark(event: &RawEvent) -> u64 {
    let mut hasher = DefaultHasher::new();
    (event.kind(), event.task.pid).hash(&mut hasher);
    match &event.body {
        Body::Exec(_) | Body::Exit(_) | Body::Setid(_) | Body::Namespace(_) => {}
        Body::Fork(fork) => fork.child_pid.hash(&mut hasher),
        Body::Socket(socket) => (socket.action, &socket.remote).hash(&mut hasher),
        Body::Connection(connection) => connection.error.hash(&mut hasher),
        Body::File(file) => (file.action, &file.path).hash(&mut hasher),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
