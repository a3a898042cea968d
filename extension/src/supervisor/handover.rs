//! From one source to another while both run.
//!
//! The one that comes takes over from a moment that is a little ahead, so that nothing that happens
//! meanwhile is lost or told twice ([`super::gate`]).

use std::time::Duration;

use osquery_ebpf_probes::clock::boot_now_ns;
use osquery_ebpf_probes::event::EventKind;
use osquery_ebpf_probes::source::{Running, SourceConfig};

use super::gate::{DIFFER_NS, Gate, Given};
use super::{Arc, State};

/// How long telling all gates of the moment may take.
const AHEAD: Duration = Duration::from_millis(20);

/// What a source may take to give what it still has.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl State {
    /// Lets the source behind this gate, which runs already, serve these kinds instead of those that
    /// do, if any.
    pub fn take_over(&mut self, gate: &Arc<Gate>, kinds: &[EventKind]) {
        let served = |kind: &&EventKind| self.serving(**kind).is_some();
        let taken: Vec<EventKind> = kinds.iter().filter(served).copied().collect();
        if !taken.is_empty() {
            self.hand_over(gate, &taken);
        }
        if let Some(started) = self.started.iter_mut().find(|of| Arc::ptr_eq(&of.gate, gate)) {
            started.kinds.extend(kinds);
        }
    }

    fn hand_over(&mut self, gate: &Arc<Gate>, kinds: &[EventKind]) {
        let ahead_ns = u64::try_from(AHEAD.as_nanos()).unwrap_or(u64::MAX);
        // What happens just before it matters too, for which all have to know of it by then.
        let at_ns = boot_now_ns().saturating_add(3 * DIFFER_NS).saturating_add(ahead_ns);
        gate.wait();
        for kind in kinds {
            gate.begin(*kind, at_ns);
        }
        for started in &self.started {
            for kind in kinds.iter().filter(|kind| started.kinds.contains(kind)) {
                started.gate.end(*kind, at_ns);
            }
        }
        while boot_now_ns() <= at_ns.saturating_add(DIFFER_NS) {
            std::thread::sleep(AHEAD);
        }
        let mut given = Given::default();
        for index in (0..self.started.len()).rev() {
            let Some(started) = self.started.get(index) else { continue };
            if started.kinds.iter().any(|kind| kinds.contains(kind)) {
                last_words(started.running.as_ref());
                given.add(started.gate.given());
                self.give_up(index, kinds);
            }
        }
        if let Some(started) = self.started.iter().find(|of| Arc::ptr_eq(&of.gate, gate)) {
            last_words(started.running.as_ref());
        }
        gate.decide(given);
    }

    /// Has a source no longer serve these kinds; without any it is stopped.
    fn give_up(&mut self, index: usize, kinds: &[EventKind]) {
        let Some(started) = self.started.get_mut(index) else { return };
        if started.kinds.iter().all(|kind| kinds.contains(kind)) {
            let started = self.started.remove(index);
            self.retire(started);
            return;
        }
        let (gone, kept): (Vec<EventKind>, _) =
            started.kinds.iter().partition(|kind| kinds.contains(kind));
        self.retired.keep(started, &gone);
        started.kinds = kept;
        if started.running.changes_kinds() {
            let config = SourceConfig { kinds: started.kinds.clone(), ..self.config.clone() };
            // What it goes on to tell of the others is kept back.
            if let Err(error) = started.running.reconfigure(&config) {
                log::warn!("{error}");
            }
        }
    }
}

/// Waits until a source has given all that happened up to now.
fn last_words(running: &dyn Running) {
    if !running.flush(LAST_WORDS) {
        log::warn!("{} was not done within {LAST_WORDS:?}", running.kind().as_str());
    }
}
