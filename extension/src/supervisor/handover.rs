//! From one source to another while both run ([`super::gate`]), and to one from none.

use std::time::Duration;

use osquery_ebpf_probes::event::EventKind;
use osquery_ebpf_probes::source::{Running, StartError};

use super::gate::{DIFFER, Gate, Given};
use super::{Arc, Started, State};

/// What a source may take to give what it still has.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl State {
    /// Lets the source behind a gate serve kinds, instead of those that do, if any. `begin` has it see
    /// them, and when that is done it is among the sources that are started.
    pub fn take_over(
        &mut self,
        gate: &Arc<Gate>,
        kinds: &[EventKind],
        begin: impl FnOnce(&mut Self) -> Result<(), StartError>,
    ) -> Result<(), StartError> {
        let is_other = |started: &&Started| {
            !Arc::ptr_eq(&started.gate, gate)
                && started.kinds.iter().any(|kind| kinds.contains(kind))
        };
        let others: Vec<Arc<Gate>> =
            self.started.iter().filter(is_other).map(|other| Arc::clone(&other.gate)).collect();
        others.iter().for_each(|other| other.remember());
        if !others.is_empty() {
            gate.wait();
        }
        kinds.iter().for_each(|kind| gate.open(*kind));
        let begun = begin(self);
        let mut given = Given::default();
        if begun.is_ok() {
            if !others.is_empty() {
                // What only they saw is then far from what only the new one sees.
                std::thread::sleep(2 * DIFFER);
            }
            for other in self.started.iter().filter(is_other) {
                last_words(other.running.as_ref());
                kinds.iter().for_each(|kind| other.gate.shut(*kind));
            }
        } else {
            kinds.iter().for_each(|kind| gate.shut(*kind));
        }
        others.iter().for_each(|other| given.add(other.given()));
        if !others.is_empty() {
            // What those have given which have gone, this one may see a moment later.
            std::thread::sleep(DIFFER);
            let ours = self.started.iter().find(|started| Arc::ptr_eq(&started.gate, gate));
            ours.into_iter().for_each(|started| last_words(started.running.as_ref()));
            gate.decide(given);
        }
        begun?;
        for index in (0..self.started.len()).rev() {
            if self.started.get(index).as_ref().is_some_and(is_other) {
                self.give_up(index, kinds);
            }
        }
        let ours = self.started.iter_mut().find(|started| Arc::ptr_eq(&started.gate, gate));
        ours.into_iter().for_each(|started| started.kinds.extend(kinds));
        Ok(())
    }

    /// Has a source no longer serve these kinds; without any it is stopped.
    fn give_up(&mut self, index: usize, kinds: &[EventKind]) {
        let Some(started) = self.started.get(index) else { return };
        let (gone, kept): (Vec<EventKind>, Vec<EventKind>) =
            started.kinds.iter().partition(|kind| kinds.contains(kind));
        if kept.is_empty() {
            let started = self.started.remove(index);
            self.retire(started);
        } else if !started.running.changes_kinds() {
            self.leave(index, &gone);
        } else if let Err(error) = self.change(index, kept) {
            log::warn!("{error}");
        }
    }

    /// From now on these kinds are not a source's any more, whatever it goes on to tell of them.
    pub fn leave(&mut self, index: usize, kinds: &[EventKind]) {
        let Some(started) = self.started.get_mut(index).filter(|_| !kinds.is_empty()) else {
            return;
        };
        last_words(started.running.as_ref());
        kinds.iter().for_each(|kind| started.gate.shut(*kind));
        // What was on its way meanwhile.
        last_words(started.running.as_ref());
        started.kinds.retain(|kind| !kinds.contains(kind));
        self.retired.keep(started, kinds);
    }
}

/// Waits until a source has given all that happened up to now.
fn last_words(running: &dyn Running) {
    if !running.flush(LAST_WORDS) {
        log::warn!("{} was not done within {LAST_WORDS:?}", running.kind().as_str());
    }
}
