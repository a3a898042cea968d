//! What sources that are gone have counted.
//!
//! A source counts from zero, and the stores go on with the events of the one before it: without
//! this, health would hold events that nobody received.

use osquery_ebpf_probes::event::EventKind;
use osquery_ebpf_probes::source::KindHealth;

use super::Started;

/// Totals of the sources that are gone, by [`EventKind::index`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Retired([Counts; EventKind::ALL.len()]);

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    produced: u64,
    received: u64,
    lost_ring: u64,
    lost_missed: u64,
    malformed: u64,
    filtered_kernel: u64,
}

impl Retired {
    /// Keeps what a source has counted of these kinds, which it serves no longer. To be called once
    /// it has given its last event to the sink.
    pub fn keep(&mut self, started: &Started, kinds: &[EventKind]) {
        for mut health in started.running.health() {
            if !kinds.contains(&health.kind) {
                continue;
            }
            started.gate.correct(&mut health);
            let Some(counts) = self.0.get_mut(health.kind.index()) else { continue };
            // Where the kernel does not count what it hands over, it is what came of it.
            let handed = health.received.saturating_add(health.lost_ring);
            let more = |count: &mut u64, by: u64| *count = count.saturating_add(by);
            more(&mut counts.produced, health.produced.unwrap_or(handed));
            more(&mut counts.received, health.received);
            more(&mut counts.lost_ring, health.lost_ring);
            more(&mut counts.lost_missed, health.lost_missed);
            more(&mut counts.malformed, health.malformed);
            more(&mut counts.filtered_kernel, health.filtered_kernel);
        }
    }

    /// Adds it to what the source that serves now says.
    pub fn add_to(&self, health: &mut KindHealth) {
        let counts = self.0.get(health.kind.index()).copied().unwrap_or_default();
        health.produced = health.produced.map(|now| now.saturating_add(counts.produced));
        health.received = health.received.saturating_add(counts.received);
        health.lost_ring = health.lost_ring.saturating_add(counts.lost_ring);
        health.lost_missed = health.lost_missed.saturating_add(counts.lost_missed);
        health.malformed = health.malformed.saturating_add(counts.malformed);
        health.filtered_kernel = health.filtered_kernel.saturating_add(counts.filtered_kernel);
    }
}
