//! What this source counted, and the words of its health.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::event::EventKind;
use crate::source::KindHealth;

/// Shared by the thread that reads and those that ask.
///
/// A record that is read is lost for want of room, makes no sense, is left out, cannot be resolved,
/// or becomes events: one for each thing done that the kernel merged into it. Events given to the
/// sink are fewer by the changes of content that a close takes along.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events given to the sink.
    pub delivered: AtomicU64,
    /// Records that made no sense.
    pub malformed: AtomicU64,
    /// Records about unwatched paths, by our own process, or about no change at all.
    pub left_out: AtomicU64,
    /// Records whose path could not be had.
    pub unresolved: AtomicU64,
    /// Records there was no room for in our own queue, and one for each overflow of the kernel's.
    pub lost: AtomicU64,
    /// Marks in place.
    pub marks: AtomicU32,
    /// Marks refused.
    pub refused: AtomicU32,
    /// Bytes of our own queue.
    pub queue_bytes: AtomicU64,
    words: Mutex<Words>,
}

#[derive(Debug, Default, Clone)]
struct Words {
    reason: String,
    last_error: String,
    failure: Option<String>,
}

impl Counters {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Remembers the last thing that went wrong; the first time it is logged too.
    pub fn error(&self, error: String) {
        let mut words = self.words.lock();
        if words.last_error != error {
            log::warn!("fanotify: {error}");
            words.last_error = error;
        }
    }

    /// Says why it is done as it is.
    pub fn set_reason(&self, reason: String) {
        self.words.lock().reason = reason;
    }

    /// It stopped by itself.
    pub fn set_failure(&self, failure: String) {
        log::error!("fanotify: {failure}");
        self.words.lock().failure = Some(failure);
    }

    /// Why it stopped by itself.
    pub fn failure(&self) -> Option<String> {
        self.words.lock().failure.clone()
    }

    /// As one entry of health.
    pub fn health(&self) -> KindHealth {
        let words = self.words.lock().clone();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let malformed = read(&self.malformed);
        KindHealth {
            reason: words.reason,
            last_error: words.failure.unwrap_or(words.last_error),
            probes_attached: self.marks.load(Ordering::Relaxed),
            probes_failed: self.refused.load(Ordering::Relaxed),
            ring_bytes: Some(read(&self.queue_bytes)),
            received: read(&self.delivered) + malformed,
            lost_ring: read(&self.lost),
            lost_missed: read(&self.unresolved),
            malformed,
            filtered_kernel: read(&self.left_out),
            ..KindHealth::new(EventKind::File, "fanotify")
        }
    }
}
