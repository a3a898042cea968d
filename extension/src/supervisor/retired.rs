//! What sources have counted that are gone, or that serve a kind no longer.
//!
//! A source counts from zero, and the stores go on with the events of the one before it: without
//! this, health would hold events that nobody received. One that is given a kind which it had served
//! before may have gone on counting meanwhile: what it says then is noted, and taken from what it says
//! later.

use osquery_ebpf_probes::event::EventKind;
use osquery_ebpf_probes::source::KindHealth;

use super::Started;

/// Totals by [`EventKind::index`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals([Counts; EventKind::ALL.len()]);

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    produced: u64,
    received: u64,
    lost_ring: u64,
    lost_missed: u64,
    malformed: u64,
    filtered_kernel: u64,
}

impl Totals {
    /// Keeps what a source has counted of these kinds, which it serves no longer. To be called once
    /// it has given its last event to the sink.
    pub fn keep(&mut self, started: &Started, kinds: &[EventKind]) {
        for health in started.health().iter().filter(|health| kinds.contains(&health.kind)) {
            if let Some(counts) = self.0.get_mut(health.kind.index()) {
                counts.apply(&Counts::of(health), u64::saturating_add);
            }
        }
    }

    /// Notes instead of what was noted what a source says of a kind now.
    pub fn note(&mut self, health: &KindHealth) {
        if let Some(counts) = self.0.get_mut(health.kind.index()) {
            *counts = Counts::of(health);
        }
    }

    /// Adds them to what a source says.
    pub fn add_to(&self, health: &mut KindHealth) {
        self.change(health, u64::saturating_add);
    }

    /// Takes them from what a source says.
    pub fn take_from(&self, health: &mut KindHealth) {
        self.change(health, u64::saturating_sub);
    }

    fn change(&self, health: &mut KindHealth, how: fn(u64, u64) -> u64) {
        let more = self.0.get(health.kind.index()).copied().unwrap_or_default();
        let counted = health.produced.is_some();
        let mut counts = Counts::of(health);
        counts.apply(&more, how);
        health.produced = counted.then_some(counts.produced);
        health.received = counts.received;
        health.lost_ring = counts.lost_ring;
        health.lost_missed = counts.lost_missed;
        health.malformed = counts.malformed;
        health.filtered_kernel = counts.filtered_kernel;
    }
}

impl Counts {
    fn of(health: &KindHealth) -> Self {
        // Where the kernel does not count what it hands over, it is what came of it.
        let handed = health.received.saturating_add(health.lost_ring);
        Self {
            produced: health.produced.unwrap_or(handed),
            received: health.received,
            lost_ring: health.lost_ring,
            lost_missed: health.lost_missed,
            malformed: health.malformed,
            filtered_kernel: health.filtered_kernel,
        }
    }

    fn apply(&mut self, other: &Self, how: fn(u64, u64) -> u64) {
        for (count, other) in [
            (&mut self.produced, other.produced),
            (&mut self.received, other.received),
            (&mut self.lost_ring, other.lost_ring),
            (&mut self.lost_missed, other.lost_missed),
            (&mut self.malformed, other.malformed),
            (&mut self.filtered_kernel, other.filtered_kernel),
        ] {
            *count = how(*count, other);
        }
    }
}
