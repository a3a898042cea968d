//! What a source may deliver while another takes its place.
//!
//! Both run for a moment. Each event is the one's or the other's, by when it happened: the source
//! that goes gives what happened until a moment, the one that comes what happened after it. What is
//! kept back is the other's, so it is neither lost nor told twice, and counts as never received.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use osquery_ebpf_probes::event::{EventKind, RawEvent};
use osquery_ebpf_probes::source::{KindHealth, Sink};

const KINDS: usize = EventKind::ALL.len();

/// The sink of one source.
pub struct Gate {
    sink: Arc<dyn Sink>,
    /// Only what happened later passes, `CLOCK_BOOTTIME` ns.
    after_ns: AtomicU64,
    /// By [`EventKind::index`]: only what happened until then passes.
    until_ns: [AtomicU64; KINDS],
    kept_back: [AtomicU64; KINDS],
}

impl Gate {
    /// Everything passes.
    pub fn open(sink: Arc<dyn Sink>) -> Arc<Self> {
        Self::new(sink, 0)
    }

    /// Nothing passes yet.
    pub fn shut(sink: Arc<dyn Sink>) -> Arc<Self> {
        Self::new(sink, u64::MAX)
    }

    fn new(sink: Arc<dyn Sink>, after_ns: u64) -> Arc<Self> {
        Arc::new(Self {
            sink,
            after_ns: AtomicU64::new(after_ns),
            until_ns: std::array::from_fn(|_| AtomicU64::new(u64::MAX)),
            kept_back: std::array::from_fn(|_| AtomicU64::new(0)),
        })
    }

    /// From a moment that has not come yet on, everything passes.
    pub fn begin(&self, at_ns: u64) {
        self.after_ns.store(at_ns, Ordering::Release);
    }

    /// After a moment that has not come yet, nothing of this kind passes.
    pub fn end(&self, kind: EventKind, at_ns: u64) {
        if let Some(until_ns) = self.until_ns.get(kind.index()) {
            until_ns.store(at_ns, Ordering::Release);
        }
    }

    fn passes(&self, event: &RawEvent, after_ns: u64) -> bool {
        let index = event.kind().index();
        let until_ns = self.until_ns.get(index).map_or(u64::MAX, |at| at.load(Ordering::Acquire));
        let passes = event.time_ns > after_ns && event.time_ns <= until_ns;
        if !passes && let Some(kept_back) = self.kept_back.get(index) {
            kept_back.fetch_add(1, Ordering::Relaxed);
        }
        passes
    }

    /// What the source says of itself, without what it told in vain.
    pub fn correct(&self, health: &mut KindHealth) {
        let kept_back = self.kept_back.get(health.kind.index());
        let kept_back = kept_back.map_or(0, |count| count.load(Ordering::Relaxed));
        health.received = health.received.saturating_sub(kept_back);
        health.produced = health.produced.map(|produced| produced.saturating_sub(kept_back));
    }
}

impl Sink for Gate {
    fn accept(&self, batch: &mut Vec<RawEvent>) {
        let after_ns = self.after_ns.load(Ordering::Acquire);
        batch.retain(|event| self.passes(event, after_ns));
        if !batch.is_empty() {
            self.sink.accept(batch);
        }
    }
}
