//! The walk down the ladder, which finds a source for each kind of event.
//!
//! It is the same whether nothing serves a kind yet, something has stopped, another plan is in force,
//! or what stands higher is tried again: a rung is asked for the kinds that nothing serves, or
//! something further down.

use osquery_ebpf_probes::event::{Concern, EventKind, SourceKind};
use osquery_ebpf_probes::source::{Source, StartError};

use super::{Arc, BELOW, Gate, Instant, Started, State, Totals, words};

impl State {
    /// Finds the best source for each of `kinds`, from rung `from` on. True: something has changed.
    pub fn serve(&mut self, kinds: &[EventKind], from: usize) -> bool {
        let mut changed = false;
        for rung in from..self.plan.candidates.len() {
            let Some(candidate) = self.plan.candidates.get(rung) else { break };
            let lower = |kind: &EventKind| {
                let is_lower = |serving: &Started| serving.rung > rung;
                candidate.serves.contains(kind) && self.serving(*kind).is_none_or(is_lower)
            };
            let offered: Vec<EventKind> = kinds.iter().copied().filter(lower).collect();
            if !offered.is_empty() {
                changed |= self.ask(rung, &offered);
            }
        }
        changed
    }

    /// Asks the candidate on a rung for these kinds. True: something has changed.
    fn ask(&mut self, rung: usize, offered: &[EventKind]) -> bool {
        let runs = self.started.iter().position(|started| started.rung == rung);
        // What it has refused before: to ask again may be to start it over.
        let refused = |kind: &EventKind| {
            let reasons = self.reasons.get(kind.index());
            runs.is_some() && reasons.is_some_and(|reasons| reasons.contains_key(&rung))
        };
        let offered: Vec<EventKind> =
            offered.iter().copied().filter(|kind| !refused(kind)).collect();
        let Some(candidate) = self.plan.candidates.get(rung).filter(|_| !offered.is_empty()) else {
            return false;
        };
        let (kind, name) = (candidate.kind, candidate.kind.as_str());
        let make = Arc::clone(&candidate.make);
        let mut source = match candidate.refused.clone().map_or_else(|| make(), Err) {
            Ok(source) => source,
            Err(error) => {
                self.refused(&offered, rung, &error);
                return false;
            }
        };
        let (taken, others): (Vec<EventKind>, Vec<EventKind>) =
            offered.iter().partition(|kind| source.gives(**kind));
        for kind in others {
            self.blame(kind, rung, format!("{name} cannot give them"));
        }
        if taken.is_empty() {
            return false;
        }
        if let Some(index) = runs {
            return self.extend(index, rung, &taken);
        }
        if kind.is_exclusive() && self.make_room_for(kind) {
            // As things are without the other.
            source = match make() {
                Ok(source) => source,
                Err(error) => {
                    self.refused(&taken, rung, &error);
                    return true;
                }
            };
        }
        let Err(error) = self.start_beside(source, rung, taken.clone()) else { return true };
        // One concern may work where two together do not.
        let concerns = concerns(&taken);
        if concerns.len() == 1 || kind.is_exclusive() {
            self.refused(&taken, rung, &error);
            return false;
        }
        let mut any = false;
        for concern in concerns {
            let kinds = taken.iter().copied().filter(|kind| kind.concern() == concern);
            let kinds: Vec<EventKind> = kinds.collect();
            match make().and_then(|source| self.start_beside(source, rung, kinds.clone())) {
                Ok(()) => any = true,
                Err(error) => self.refused(&kinds, rung, &error),
            }
        }
        any
    }

    /// Starts a source, and lets it serve kinds that nothing serves, or something that it replaces.
    pub fn start_beside(
        &mut self,
        source: Box<dyn Source>,
        rung: usize,
        kinds: Vec<EventKind>,
    ) -> Result<(), StartError> {
        let gate = Gate::new(Arc::clone(&self.sink));
        let config = self.config_for(&kinds);
        self.take_over(&gate, &kinds, |state| {
            let running = source.start(&config, Arc::<Gate>::clone(&gate))?;
            log::info!("{} serves {}", running.kind().as_str(), words(&kinds));
            state.started.push(Started {
                running,
                gate: Arc::clone(&gate),
                rung,
                // None until it has taken over.
                kinds: Vec::new(),
                before: Totals::default(),
                config,
                since: Instant::now(),
            });
            Ok(())
        })?;
        self.forget_below(&kinds, rung);
        Ok(())
    }

    /// Adds kinds to what a source that runs serves, if it will have them. True: it has.
    fn extend(&mut self, index: usize, rung: usize, more: &[EventKind]) -> bool {
        let Some(started) = self.started.get(index) else { return false };
        let before = started.kinds.clone();
        let name = started.running.kind().as_str();
        match self.change(index, [before.as_slice(), more].concat()) {
            Ok(()) => {
                log::info!("{name} serves {} too", words(more));
                self.forget_below(more, rung);
                true
            }
            Err(error) => {
                let orphans: Vec<EventKind> =
                    before.into_iter().filter(|kind| self.serving(*kind).is_none()).collect();
                self.refused(more, rung, &error);
                self.refused(&orphans, rung, &error);
                let lost = !orphans.is_empty();
                self.serve(&orphans, rung.saturating_add(1)) || lost
            }
        }
    }

    /// Ends the source that another of its kind is to replace. True: there was one.
    fn make_room_for(&mut self, kind: SourceKind) -> bool {
        let replaced = |started: &Started| started.rung == BELOW && started.running.kind() == kind;
        let index = self.started.iter().position(replaced);
        if let Some(index) = index {
            let started = self.started.remove(index);
            self.retire(started);
        }
        index.is_some()
    }

    fn refused(&mut self, kinds: &[EventKind], rung: usize, error: &StartError) {
        let why = error.to_string();
        let known = |kind: &EventKind| {
            let reasons = self.reasons.get(kind.index());
            reasons.and_then(|reasons| reasons.get(&rung)) == Some(&why)
        };
        if kinds.iter().all(known) {
            log::debug!("still: {error}");
        } else {
            log::info!("{error} (wanted for {})", words(kinds));
        }
        for kind in kinds {
            self.blame(*kind, rung, why.clone());
        }
    }

    /// Keeps why a rung does not serve a kind.
    pub fn blame(&mut self, kind: EventKind, rung: usize, why: String) {
        if let Some(reasons) = self.reasons.get_mut(kind.index()) {
            reasons.insert(rung, why);
        }
    }

    /// What stands no higher than what serves them is not to blame for these kinds.
    fn forget_below(&mut self, kinds: &[EventKind], rung: usize) {
        for kind in kinds {
            if let Some(reasons) = self.reasons.get_mut(kind.index()) {
                reasons.retain(|of, _| *of < rung);
            }
        }
    }
}

fn concerns(kinds: &[EventKind]) -> Vec<Concern> {
    let has = |concern: &Concern| kinds.iter().any(|kind| kind.concern() == *concern);
    Concern::ALL.into_iter().filter(has).collect()
}
