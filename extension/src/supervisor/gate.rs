//! What a source may deliver while another takes its place.
//!
//! Both run for a moment. Each event is the one's or the other's, by when it happened: the source
//! that goes gives what happened until a moment, the one that comes what happened after it. Their
//! clocks differ (audit's goes in steps of 4 ms and more), so around that moment the one that comes
//! is kept waiting, until it is known what the other has given: of that nothing is told twice, and
//! the rest not lost. Of things that nothing tells apart, such as a process's connects to one peer in
//! the same moment, there may be one more or less for each that the clocks differ by. What is kept back
//! is the other's, and counts as never received.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use osquery_ebpf_probes::event::{Body, EventKind, RawEvent};
use osquery_ebpf_probes::source::{KindHealth, Sink};
use parking_lot::Mutex;

/// A moment that never comes.
pub const NEVER: u64 = u64::MAX;

/// What the clocks of two sources may differ by, and how late one that stamps what it reads may read.
pub const DIFFER_NS: u64 = 20_000_000;

/// Events around a moment that are remembered at most; of more, the time alone decides.
const MOST: usize = 65_536;

const KINDS: usize = EventKind::ALL.len();

/// The sink of one source.
pub struct Gate {
    sink: Arc<dyn Sink>,
    /// What passes of each kind, by [`EventKind::index`].
    spans: [Span; KINDS],
    around: Mutex<Around>,
}

/// Moments are of `CLOCK_BOOTTIME`, in ns.
struct Span {
    /// Only what happened later passes.
    after_ns: AtomicU64,
    /// Only what happened until then passes.
    until_ns: AtomicU64,
    kept_back: AtomicU64,
}

/// What happened around the moments at which kinds begin and end.
#[derive(Default)]
struct Around {
    /// What was given of kinds that were about to end.
    given: Given,
    /// What waits until it is known what the other has given. `None`: nothing is to.
    waiting: Option<Vec<RawEvent>>,
}

/// When things happened that two sources may have seen, by what they both know of them.
#[derive(Default)]
pub struct Given {
    times_ns: HashMap<u64, Vec<u64>>,
    count: usize,
}

/// What is to become of an event.
enum Fate {
    Passes,
    KeptBack,
    /// The other may have it, or not.
    Around,
}

impl Gate {
    /// Nothing passes yet of the kinds for which `shut` is true, everything of the others.
    pub fn new(sink: Arc<dyn Sink>, shut: impl Fn(EventKind) -> bool) -> Arc<Self> {
        let spans = EventKind::ALL.map(|kind| Span {
            after_ns: AtomicU64::new(if shut(kind) { NEVER } else { 0 }),
            until_ns: AtomicU64::new(NEVER),
            kept_back: AtomicU64::new(0),
        });
        Arc::new(Self { sink, spans, around: Mutex::default() })
    }

    /// This kind passes from a moment on that has not come yet; [`NEVER`]: for now it does not.
    pub fn begin(&self, kind: EventKind, at_ns: u64) {
        if let Some(span) = self.spans.get(kind.index()) {
            span.until_ns.store(NEVER, Ordering::Release);
            span.after_ns.store(at_ns, Ordering::Release);
        }
    }

    /// After a moment nothing of this kind passes. Of what was given before the call nothing is
    /// remembered, so that moment is three times [`DIFFER_NS`] away.
    pub fn end(&self, kind: EventKind, at_ns: u64) {
        if let Some(span) = self.spans.get(kind.index()) {
            span.until_ns.store(at_ns, Ordering::Release);
        }
    }

    /// What it gave around the moment at which kinds ended.
    pub fn given(&self) -> Given {
        std::mem::take(&mut self.around.lock().given)
    }

    /// From now on, what happens around the moment at which kinds begin waits.
    pub fn wait(&self) {
        self.around.lock().waiting = Some(Vec::new());
    }

    /// Decides on what waits, by what those have given that it takes over from.
    pub fn decide(&self, mut given: Given) {
        let mut around = self.around.lock();
        let mut waiting = around.waiting.take().unwrap_or_default();
        waiting.sort_by_key(|event| event.time_ns);
        waiting.retain(|event| {
            let given = given.take(event);
            self.keeps(!given && self.is_later(event, DIFFER_NS), event.kind())
        });
        if !waiting.is_empty() {
            self.sink.accept(&mut waiting);
        }
    }

    fn fate(&self, event: &RawEvent) -> Fate {
        let Some(span) = self.spans.get(event.kind().index()) else { return Fate::Passes };
        let (after_ns, until_ns) =
            (span.after_ns.load(Ordering::Acquire), span.until_ns.load(Ordering::Acquire));
        let time_ns = event.time_ns;
        if time_ns > until_ns || time_ns.saturating_add(3 * DIFFER_NS) <= after_ns {
            Fate::KeptBack
        } else if after_ns != 0 && time_ns <= after_ns.saturating_add(DIFFER_NS)
            || time_ns.saturating_add(3 * DIFFER_NS) > until_ns
        {
            Fate::Around
        } else {
            Fate::Passes
        }
    }

    /// True if it passes; if not, that is counted.
    fn keeps(&self, passes: bool, kind: EventKind) -> bool {
        if let Some(span) = self.spans.get(kind.index()).filter(|_| !passes) {
            span.kept_back.fetch_add(1, Ordering::Relaxed);
        }
        passes
    }

    /// Whether an event passes now, of what happened around a moment.
    fn passes_now(&self, event: &RawEvent) -> bool {
        let Some(span) = self.spans.get(event.kind().index()) else { return true };
        let mut around = self.around.lock();
        if span.until_ns.load(Ordering::Acquire) != NEVER {
            around.given.put(event);
            return true;
        }
        if let Some(waiting) = around.waiting.as_mut().filter(|waiting| waiting.len() < MOST) {
            waiting.push(event.clone());
            return false;
        }
        drop(around);
        self.keeps(self.is_later(event, 0), event.kind())
    }

    /// Whether it happened after its kind begins, or so much before that it may have.
    fn is_later(&self, event: &RawEvent, margin_ns: u64) -> bool {
        let span = self.spans.get(event.kind().index());
        let after_ns = span.map_or(0, |span| span.after_ns.load(Ordering::Acquire));
        event.time_ns.saturating_add(margin_ns) > after_ns
    }

    /// What the source says of itself, without what it told in vain.
    pub fn correct(&self, health: &mut KindHealth) {
        let span = self.spans.get(health.kind.index());
        let kept_back = span.map_or(0, |span| span.kept_back.load(Ordering::Relaxed));
        health.received = health.received.saturating_sub(kept_back);
        health.produced = health.produced.map(|produced| produced.saturating_sub(kept_back));
    }
}

impl Sink for Gate {
    fn accept(&self, batch: &mut Vec<RawEvent>) {
        batch.retain(|event| match self.fate(event) {
            Fate::Passes => true,
            Fate::KeptBack => self.keeps(false, event.kind()),
            Fate::Around => self.passes_now(event),
        });
        if !batch.is_empty() {
            self.sink.accept(batch);
        }
    }
}

impl Given {
    fn put(&mut self, event: &RawEvent) {
        if self.count < MOST {
            self.count += 1;
            self.times_ns.entry(mark(event)).or_default().push(event.time_ns);
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
        let near = times.iter().position(|time_ns| time_ns.abs_diff(event.time_ns) <= DIFFER_NS);
        near.map(|index| times.remove(index)).is_some()
    }
}

/// What every source knows of an event that it sees. Of executions and ends there is no more than whose
/// they are.
fn mark(event: &RawEvent) -> u64 {
    let mut hasher = DefaultHasher::new();
    (event.kind(), event.task.pid).hash(&mut hasher);
    match &event.body {
        Body::Exec(_) | Body::Exit(_) | Body::Namespace(_) => {}
        Body::Fork(fork) => fork.child_pid.hash(&mut hasher),
        Body::Setid(setid) => setid.syscall.hash(&mut hasher),
        Body::Socket(socket) => (socket.action, &socket.remote).hash(&mut hasher),
        Body::Connection(connection) => connection.error.hash(&mut hasher),
        Body::File(file) => (file.action, &file.path).hash(&mut hasher),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
