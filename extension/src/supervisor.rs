//! Which source serves which kind of event, and what became of it.
//!
//! Owns the ladder: candidates in order of preference, each kind of event served by the first that
//! can give it and starts. What refused is kept as the reason that `ebpf_events_health` shows. A
//! source that stops by itself is replaced by what stands below it, and what stands higher is tried
//! again from time to time ([`climb`]). How a source works is its own.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use osquery_ebpf_probes::event::{Concern, EventKind, SourceKind};
use osquery_ebpf_probes::source::{KindHealth, Running, Sink, Source, SourceConfig, StartError};
use osquery_ebpf_tables::status::{KindStatus, StatusProvider};
use parking_lot::Mutex;

pub mod climb;
mod gate;
mod retired;

use gate::Gate;
use retired::Retired;

/// Between two looks whether a source has stopped by itself.
pub const LOOK: Duration = Duration::from_secs(2);

/// Why a kind is not served when nothing was refused.
const NOTHING: &str = "no source in use gives them";

/// Makes a source, or says why it is not to be tried on this host.
pub type Make = Arc<dyn Fn() -> Result<Box<dyn Source>, StartError> + Send + Sync>;

/// A source that may be started: made anew for each attempt, since starting one uses it up.
pub struct Candidate {
    /// Which facility it is.
    pub kind: SourceKind,
    /// The kinds it is wanted for at this place in the ladder.
    pub serves: &'static [EventKind],
    /// Makes it.
    pub make: Make,
}

/// Kinds of events that are not served by the best there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortcoming {
    /// What serves them instead. `None`: nothing.
    pub source: Option<SourceKind>,
    /// Which kinds.
    pub kinds: Vec<EventKind>,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Shortcoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = words(&self.kinds);
        let reason = if self.reason.is_empty() { NOTHING } else { &self.reason };
        match self.source {
            Some(source) => {
                write!(f, "{kinds} events come from {} since {reason}", source.as_str())
            }
            None => write!(f, "there are no {kinds} events: {reason}"),
        }
    }
}

/// What to try.
#[derive(Default)]
pub struct Plan {
    /// In order of preference.
    pub candidates: Vec<Candidate>,
    /// What the operator has left out of it, for the reason that health shows.
    pub chosen: String,
}

/// The sources at work.
pub struct Sources {
    sink: Arc<dyn Sink>,
    state: Mutex<State>,
}

struct State {
    config: SourceConfig,
    plan: Plan,
    started: Vec<Started>,
    /// By [`EventKind::index`]: what stood higher and was refused.
    reasons: [Vec<String>; EventKind::ALL.len()],
    retired: Retired,
}

struct Started {
    running: Box<dyn Running>,
    gate: Arc<Gate>,
    /// Its place in the ladder.
    rung: usize,
    kinds: Vec<EventKind>,
    since: Instant,
}

impl Sources {
    /// Starts what `plan` offers for the kinds that `config` wants. It never fails: what could
    /// not be started is told by [`StatusProvider::status`] and in the log.
    pub fn start(plan: Plan, config: SourceConfig, sink: Arc<dyn Sink>) -> Self {
        let (reasons, retired) = Default::default();
        let mut state = State { config, plan, started: Vec::new(), reasons, retired };
        let kinds = state.config.kinds.clone();
        state.serve(&kinds, 0, &sink);
        Self { sink, state: Mutex::new(state) }
    }

    /// Stops everything and starts over, with another plan.
    pub fn restart(&self, plan: Plan, config: SourceConfig) {
        let mut state = self.state.lock();
        for started in std::mem::take(&mut state.started) {
            state.retire(started);
        }
        let (reasons, retired) = (Default::default(), state.retired);
        *state = State { config, plan, started: Vec::new(), reasons, retired };
        let kinds = state.config.kinds.clone();
        state.serve(&kinds, 0, &self.sink);
    }

    /// Hands a new configuration to the sources. One that will not have it goes on with the old
    /// one; the errors say so. Kinds that are wanted now are looked for from the top of the ladder,
    /// those that are not any more are given up; a source that neither concerns is not disturbed.
    pub fn reconfigure(&self, config: SourceConfig) -> Vec<StartError> {
        self.state.lock().reconfigure(config, &self.sink)
    }

    /// Replaces sources that have stopped by themselves. To be called every [`LOOK`].
    pub fn look_after(&self) {
        let mut state = self.state.lock();
        let failed: Vec<usize> = state
            .started
            .iter()
            .enumerate()
            .filter(|(_, started)| started.running.failure().is_some())
            .map(|(index, _)| index)
            .collect();
        for index in failed.into_iter().rev() {
            let started = state.started.remove(index);
            let why = started.running.failure().unwrap_or_default();
            let source = started.running.kind().as_str();
            log::warn!("{source} has stopped delivering: {why}");
            let (kinds, rung) = (started.kinds.clone(), started.rung);
            state.retire(started);
            for kind in &kinds {
                state.blame(*kind, format!("{source} stopped: {why}"));
            }
            state.serve(&kinds, rung + 1, &self.sink);
            for kind in &kinds {
                let now = state
                    .serving(*kind)
                    .map_or("nowhere", |started| started.running.kind().as_str());
                log::warn!("{} events come from {now} now", kind.as_str());
            }
        }
    }

    /// Returns when every event that happened before the call is with the sink, or after
    /// `deadline`. True: all are.
    pub fn flush(&self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        let state = self.state.lock();
        let mut all = true;
        for started in &state.started {
            all &= started.running.flush(until.saturating_duration_since(Instant::now()));
        }
        all
    }

    /// What is not served by the best there is, one sentence for each reason.
    pub fn shortcomings(&self) -> Vec<Shortcoming> {
        let state = self.state.lock();
        let mut found: Vec<Shortcoming> = Vec::new();
        for kind in &state.config.kinds {
            let source = state.serving(*kind).map(|started| started.running.kind());
            let reason = state.reason(*kind);
            if source.is_some() && reason.is_empty() {
                continue;
            }
            match found.iter_mut().find(|other| other.source == source && other.reason == reason) {
                Some(other) => other.kinds.push(*kind),
                None => found.push(Shortcoming { source, kinds: vec![*kind], reason }),
            }
        }
        found
    }

    /// Whether anything at all is served.
    pub fn serve_anything(&self) -> bool {
        !self.state.lock().started.is_empty()
    }

    /// Stops every source, which puts back what it changed in the kernel.
    pub fn stop(&self) {
        for mut started in self.state.lock().started.drain(..) {
            started.running.stop();
        }
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.stop();
    }
}

impl State {
    fn reconfigure(&mut self, config: SourceConfig, sink: &Arc<dyn Sink>) -> Vec<StartError> {
        let other_kinds = self.config.kinds != config.kinds;
        self.config = config;
        let mut errors = Vec::new();
        // From the last, since some may go.
        for index in (0..self.started.len()).rev() {
            let Some(started) = self.started.get_mut(index) else { continue };
            let wanted = |kind: &EventKind| self.config.kinds.contains(kind);
            let kinds: Vec<EventKind> = started.kinds.iter().copied().filter(wanted).collect();
            if kinds.is_empty() {
                let started = self.started.remove(index);
                self.retire(started);
            } else if let Err(error) = self.change(index, kinds, sink) {
                errors.push(error);
            }
        }
        if other_kinds {
            let unserved: Vec<EventKind> = self
                .config
                .kinds
                .iter()
                .copied()
                .filter(|kind| self.serving(*kind).is_none())
                .collect();
            for kind in EventKind::ALL {
                let forget = unserved.contains(&kind) || !self.config.kinds.contains(&kind);
                if let Some(reasons) = self.reasons.get_mut(kind.index()).filter(|_| forget) {
                    reasons.clear();
                }
            }
            self.serve(&unserved, 0, sink);
        }
        errors
    }

    /// Lets a source that runs serve these kinds, by the present configuration. One that cannot
    /// change them while it runs is started over; if that fails, it serves what it did before, or,
    /// if not even that can be had any more, is gone.
    fn change(
        &mut self,
        index: usize,
        kinds: Vec<EventKind>,
        sink: &Arc<dyn Sink>,
    ) -> Result<(), StartError> {
        let config = self.config_for(&kinds);
        let Some(started) = self.started.get_mut(index) else { return Ok(()) };
        if started.kinds == kinds || started.running.changes_kinds() {
            started.running.reconfigure(&config)?;
            started.kinds = kinds;
            return Ok(());
        }
        let Some(candidate) = self.plan.candidates.get(started.rung) else { return Ok(()) };
        let make = Arc::clone(&candidate.make);
        let old = self.started.remove(index);
        let (rung, before) = (old.rung, old.kinds.clone());
        self.retire(old);
        let mut again = |kinds: Vec<EventKind>| {
            let gate = Gate::open(Arc::clone(sink));
            let running = make().and_then(|source| self.start(source, &kinds, &gate))?;
            let since = Instant::now();
            self.started.insert(index, Started { running, gate, rung, kinds, since });
            Ok(())
        };
        again(kinds).inspect_err(|_| {
            if let Err(error) = again(before) {
                log::warn!("{error}");
            }
        })
    }

    /// Stops a source for good, and keeps what it counted.
    fn retire(&mut self, mut started: Started) {
        started.running.stop();
        self.retired.keep(&started, &started.kinds);
    }

    /// What serves a kind now.
    fn serving(&self, kind: EventKind) -> Option<&Started> {
        self.started.iter().find(|started| started.kinds.contains(&kind))
    }

    /// The present configuration, for a source that serves these kinds.
    fn config_for(&self, kinds: &[EventKind]) -> SourceConfig {
        SourceConfig { kinds: kinds.to_vec(), ..self.config.clone() }
    }

    /// Adds kinds to what a source that runs serves, if it will have them. What it loses thereby is
    /// left to be served.
    fn extend(
        &mut self,
        index: usize,
        more: &[EventKind],
        left: &mut Vec<EventKind>,
        sink: &Arc<dyn Sink>,
    ) {
        let Some(started) = self.started.get(index) else { return };
        let before = started.kinds.clone();
        let name = started.running.kind().as_str();
        match self.change(index, [before.as_slice(), more].concat(), sink) {
            Ok(()) => {
                log::info!("{name} serves {} too", words(more));
                left.retain(|kind| !more.contains(kind));
            }
            Err(error) => {
                let orphans: Vec<EventKind> =
                    before.into_iter().filter(|kind| self.serving(*kind).is_none()).collect();
                self.refused(more, &error);
                self.refused(&orphans, &error);
                left.extend(orphans);
            }
        }
    }

    /// Finds a source for each of `kinds`, from rung `from` on.
    fn serve(&mut self, kinds: &[EventKind], from: usize, sink: &Arc<dyn Sink>) {
        let mut left: Vec<EventKind> = kinds.to_vec();
        for rung in from..self.plan.candidates.len() {
            let Some(candidate) = self.plan.candidates.get(rung) else { break };
            let offered: Vec<EventKind> =
                left.iter().copied().filter(|kind| candidate.serves.contains(kind)).collect();
            if offered.is_empty() {
                continue;
            }
            let name = candidate.kind.as_str();
            let make = Arc::clone(&candidate.make);
            let source = match make() {
                Ok(source) => source,
                Err(error) => {
                    self.refused(&offered, &error);
                    continue;
                }
            };
            let taken: Vec<EventKind> =
                offered.iter().copied().filter(|kind| source.gives(*kind)).collect();
            for kind in offered.iter().filter(|kind| !taken.contains(kind)) {
                self.blame(*kind, format!("{name} cannot give them"));
            }
            if taken.is_empty() {
                continue;
            }
            if let Some(index) = self.started.iter().position(|started| started.rung == rung) {
                self.extend(index, &taken, &mut left, sink);
                continue;
            }
            let gate = Gate::open(Arc::clone(sink));
            match self.start(source, &taken, &gate) {
                Ok(running) => self.started((running, gate), rung, taken, &mut left),
                Err(error) => {
                    // One concern may work where two together do not.
                    for concern in concerns(&taken) {
                        let kinds: Vec<EventKind> = taken
                            .iter()
                            .copied()
                            .filter(|kind| kind.concern() == concern)
                            .collect();
                        if kinds.len() == taken.len() {
                            self.refused(&kinds, &error);
                            continue;
                        }
                        let gate = Gate::open(Arc::clone(sink));
                        let alone = make().and_then(|source| self.start(source, &kinds, &gate));
                        match alone {
                            Ok(running) => self.started((running, gate), rung, kinds, &mut left),
                            Err(error) => self.refused(&kinds, &error),
                        }
                    }
                }
            }
        }
    }

    fn start(
        &self,
        source: Box<dyn Source>,
        kinds: &[EventKind],
        gate: &Arc<Gate>,
    ) -> Result<Box<dyn Running>, StartError> {
        let gate: Arc<dyn Sink> = Arc::<Gate>::clone(gate);
        source.start(&self.config_for(kinds), gate)
    }

    fn started(
        &mut self,
        (running, gate): (Box<dyn Running>, Arc<Gate>),
        rung: usize,
        kinds: Vec<EventKind>,
        left: &mut Vec<EventKind>,
    ) {
        log::info!("{} serves {}", running.kind().as_str(), words(&kinds));
        left.retain(|kind| !kinds.contains(kind));
        self.started.push(Started { running, gate, rung, kinds, since: Instant::now() });
    }

    fn refused(&mut self, kinds: &[EventKind], error: &StartError) {
        log::info!("{error} (wanted for {})", words(kinds));
        for kind in kinds {
            self.blame(*kind, error.to_string());
        }
    }

    fn blame(&mut self, kind: EventKind, why: String) {
        if let Some(reasons) = self.reasons.get_mut(kind.index())
            && !reasons.contains(&why)
        {
            reasons.push(why);
        }
    }

    fn reason(&self, kind: EventKind) -> String {
        self.reasons.get(kind.index()).map(|reasons| reasons.join("; ")).unwrap_or_default()
    }
}

fn concerns(kinds: &[EventKind]) -> Vec<Concern> {
    let has = |concern: &Concern| kinds.iter().any(|kind| kind.concern() == *concern);
    Concern::ALL.into_iter().filter(has).collect()
}

fn words(kinds: &[EventKind]) -> String {
    let words: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    words.join(", ")
}

impl StatusProvider for Sources {
    fn status(&self) -> Vec<KindStatus> {
        let state = self.state.lock();
        let healths: Vec<(&Started, Vec<KindHealth>)> =
            state.started.iter().map(|started| (started, started.running.health())).collect();
        EventKind::ALL
            .into_iter()
            .map(|kind| {
                let serving = healths.iter().find(|(started, _)| started.kinds.contains(&kind));
                let mut health = serving
                    .and_then(|(_, healths)| healths.iter().find(|health| health.kind == kind))
                    .cloned()
                    .unwrap_or_else(|| KindHealth::new(kind, ""));
                if let Some((started, _)) = serving {
                    started.gate.correct(&mut health);
                }
                state.retired.add_to(&mut health);
                let reason = match (serving, state.reason(kind)) {
                    (None, _) if !state.config.kinds.contains(&kind) => "not asked for".to_owned(),
                    (None, reason) if reason.is_empty() => NOTHING.to_owned(),
                    (_, reason) => reason,
                };
                // Files have a source of their own whatever is chosen.
                let chosen = if kind.concern() == Concern::File { "" } else { &state.plan.chosen };
                let both = [chosen, &reason];
                let reason = both.map(str::to_owned).into_iter().filter(|text| !text.is_empty());
                let reason = reason.collect::<Vec<_>>().join("; ");
                KindStatus {
                    source: serving.map(|(started, _)| started.running.kind()),
                    reason,
                    health,
                    since: serving.map(|(started, _)| started.since),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
