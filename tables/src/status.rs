//! What the tables are told about the sources, to be shown in `ebpf_events_health`.

use std::time::Instant;

use osquery_ebpf_probes::event::SourceKind;
use osquery_ebpf_probes::source::KindHealth;

/// One event kind: where it comes from now, and why from there.
#[derive(Debug, Clone)]
pub struct KindStatus {
    /// The source in use. `None`: off, or nothing works.
    pub source: Option<SourceKind>,
    /// Why this source and not one higher on the ladder; empty when it is the best.
    pub reason: String,
    /// What the source counts.
    pub health: KindHealth,
    /// Since when it is attached.
    pub since: Option<Instant>,
}

/// Asked at each query of `ebpf_events_health`; implemented by what runs the sources.
pub trait StatusProvider: Send + Sync {
    /// One entry per event kind, in the order of `EventKind::ALL`.
    fn status(&self) -> Vec<KindStatus>;
}
