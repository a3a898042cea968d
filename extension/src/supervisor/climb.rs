//! Up the ladder again, once what stood in the way has gone.
//!
//! The better source is started first, and takes over from a moment that is a little ahead, so that
//! nothing that happens meanwhile is lost or told twice ([`super::gate`]).

use std::time::Duration;

use osquery_ebpf_probes::clock::boot_now_ns;

use super::{Arc, EventKind, Gate, Instant, Plan, Sink, Sources, Started, State, words};

/// Between two attempts: doubled after each that was in vain, up to the second.
pub const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// How far ahead the moment of taking over is: longer than telling both gates of it takes.
const AHEAD: Duration = Duration::from_millis(20);

/// What the source that goes may take to give what it still has.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl Sources {
    /// Tries again what stands higher in the ladder than what serves now. `plan` is made anew, since
    /// what it refuses may have changed. True: something has changed for the better.
    pub fn climb(&self, plan: Plan) -> bool {
        self.state.lock().climb(plan, &self.sink)
    }
}

impl State {
    fn climb(&mut self, plan: Plan, sink: &Arc<dyn Sink>) -> bool {
        let rungs = |plan: &Plan| -> Vec<_> {
            plan.candidates.iter().map(|candidate| candidate.kind).collect()
        };
        // Sources know their rung by its number.
        if rungs(&plan) != rungs(&self.plan) {
            return false;
        }
        self.plan = plan;
        let mut climbed = false;
        let mut refused: Vec<(EventKind, String)> = Vec::new();
        for rung in 0..self.plan.candidates.len() {
            let Some(candidate) = self.plan.candidates.get(rung) else { break };
            let lower = |kind: &EventKind| {
                let is_lower = |serving: &Started| serving.rung > rung;
                candidate.serves.contains(kind) && self.serving(*kind).is_none_or(is_lower)
            };
            let wanted: Vec<EventKind> = self.config.kinds.iter().copied().filter(lower).collect();
            // One that runs has refused them itself.
            if wanted.is_empty() || self.started.iter().any(|started| started.rung == rung) {
                continue;
            }
            let gate = Gate::shut(Arc::clone(sink));
            let tried = (candidate.make)().and_then(|source| {
                let gives = |kind: &EventKind| source.gives(*kind);
                let taken: Vec<EventKind> = wanted.iter().copied().filter(gives).collect();
                if taken.is_empty() {
                    return Ok(None);
                }
                Ok(Some((self.start(source, &taken, &gate)?, taken)))
            });
            match tried {
                Ok(None) => {}
                Ok(Some((running, kinds))) => {
                    let name = running.kind().as_str();
                    self.take_over(&gate, &kinds);
                    for kind in &kinds {
                        self.reasons.get_mut(kind.index()).into_iter().for_each(Vec::clear);
                        for (_, why) in refused.iter().filter(|(of, _)| of == kind) {
                            self.blame(*kind, why.clone());
                        }
                    }
                    log::warn!("{} events come from {name} again", words(&kinds));
                    self.started.push(Started {
                        running,
                        gate,
                        rung,
                        kinds,
                        since: Instant::now(),
                    });
                    climbed = true;
                }
                Err(error) => {
                    log::debug!("still: {error}");
                    refused.extend(wanted.into_iter().map(|kind| (kind, error.to_string())));
                }
            }
        }
        climbed
    }

    /// Lets a source that has just started serve these kinds instead of those that did.
    fn take_over(&mut self, gate: &Gate, kinds: &[EventKind]) {
        let ahead_ns = u64::try_from(AHEAD.as_nanos()).unwrap_or(u64::MAX);
        let at_ns = boot_now_ns().saturating_add(ahead_ns);
        gate.begin(at_ns);
        for started in &self.started {
            for kind in kinds.iter().filter(|kind| started.kinds.contains(kind)) {
                started.gate.end(*kind, at_ns);
            }
        }
        while boot_now_ns() <= at_ns {
            std::thread::sleep(AHEAD);
        }
        for index in (0..self.started.len()).rev() {
            let Some(started) = self.started.get_mut(index) else { continue };
            if !started.kinds.iter().any(|kind| kinds.contains(kind)) {
                continue;
            }
            if !started.running.flush(LAST_WORDS) {
                log::warn!(
                    "{} was not done within {LAST_WORDS:?}",
                    started.running.kind().as_str()
                );
            }
            if started.kinds.iter().all(|kind| kinds.contains(kind)) {
                let started = self.started.remove(index);
                self.retire(started);
                continue;
            }
            let (gone, kept): (Vec<EventKind>, _) =
                started.kinds.iter().partition(|kind| kinds.contains(kind));
            self.retired.keep(started, &gone);
            started.kinds = kept;
            if started.running.changes_kinds() {
                let config =
                    super::SourceConfig { kinds: started.kinds.clone(), ..self.config.clone() };
                // What it goes on to tell of the others is kept back.
                if let Err(error) = started.running.reconfigure(&config) {
                    log::warn!("{error}");
                }
            }
        }
    }
}
