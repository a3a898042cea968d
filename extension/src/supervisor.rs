//! Which source serves which kind of event, and what became of it.
//!
//! Owns the ladder: candidates in order of preference, each kind of event served by the first that
//! can give it and starts ([`serve`]). What refused is kept as the reason that `ebpf_events_health`
//! shows. A source that stops by itself is replaced by what stands below it, and what stands higher
//! is tried again from time to time. A source that another replaces while both work goes on until
//! the other one has begun ([`handover`]). How a source works is its own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use osquery_ebpf_probes::event::{Concern, EventKind, SourceKind};
use osquery_ebpf_probes::source::{KindHealth, Running, Sink, Source, SourceConfig, StartError};
use osquery_ebpf_tables::status::{KindStatus, StatusProvider};
use parking_lot::Mutex;

mod gate;
mod handover;
mod retired;
mod serve;

use gate::Gate;
use retired::Totals;

/// Between two looks whether a source has stopped by itself.
pub const LOOK: Duration = Duration::from_secs(2);

/// Between two attempts to climb: doubled after each that was in vain, up to the second.
pub const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// The rung of a source that is to be replaced by any other: below the ladder.
const BELOW: usize = usize::MAX;

/// Why a kind is not served when nothing was refused.
const NOTHING: &str = "no source in use gives them";

/// Makes a source, or says why it does not work on this host.
pub type Make = Arc<dyn Fn() -> Result<Box<dyn Source>, StartError> + Send + Sync>;

/// A source that may be started: made anew for each attempt, since starting one uses it up.
pub struct Candidate {
    /// Which facility it is.
    pub kind: SourceKind,
    /// The kinds it is wanted for at this place in the ladder.
    pub serves: &'static [EventKind],
    /// Why it is not to be tried, where it is not.
    pub refused: Option<StartError>,
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

impl Plan {
    /// The rung of a facility. `None`: it is not to be tried.
    fn place_of(&self, kind: SourceKind) -> Option<usize> {
        let is = |candidate: &Candidate| candidate.kind == kind && candidate.refused.is_none();
        self.candidates.iter().position(is)
    }
}

/// The sources at work.
pub struct Sources {
    state: Mutex<State>,
}

struct State {
    sink: Arc<dyn Sink>,
    config: SourceConfig,
    plan: Plan,
    started: Vec<Started>,
    /// By [`EventKind::index`]: what stood higher and was refused, by its rung.
    reasons: [BTreeMap<usize, String>; EventKind::ALL.len()],
    retired: Totals,
}

struct Started {
    running: Box<dyn Running>,
    gate: Arc<Gate>,
    /// Its place in the ladder.
    rung: usize,
    kinds: Vec<EventKind>,
    /// What it had counted of a kind before it served it.
    before: Totals,
    /// What it was started with.
    config: SourceConfig,
    since: Instant,
}

impl Started {
    /// What it counted while it served what it serves.
    fn health(&self) -> Vec<KindHealth> {
        let mut healths = self.running.health();
        for health in &mut healths {
            self.gate.correct(health);
            self.before.take_from(health);
        }
        healths
    }

    /// Forgets what it has counted of a kind up to now.
    fn count_anew(&mut self, kind: EventKind) {
        self.gate.count_anew(kind);
        let healths = self.running.health();
        let health = healths.into_iter().find(|health| health.kind == kind);
        self.before.note(&health.unwrap_or_else(|| KindHealth::new(kind, "")));
    }
}

impl Sources {
    /// Starts what `plan` offers for the kinds that `config` wants. It never fails: what could
    /// not be started is told by [`StatusProvider::status`] and in the log.
    pub fn start(plan: Plan, config: SourceConfig, sink: Arc<dyn Sink>) -> Self {
        let (reasons, retired) = Default::default();
        let mut state = State { sink, config, plan, started: Vec::new(), reasons, retired };
        state.serve(&state.config.kinds.clone(), 0);
        Self { state: Mutex::new(state) }
    }

    /// Changes over to another plan, and a configuration that sources may have to be started over
    /// for. What serves now goes on until what is to serve instead has begun.
    pub fn restart(&self, plan: Plan, config: SourceConfig) {
        self.state.lock().restart(plan, config);
    }

    /// Tries again what stands higher in the ladder than what serves now. `plan` is made anew, since
    /// what it refuses may have changed. True: something has changed.
    pub fn climb(&self, plan: Plan) -> bool {
        self.state.lock().climb(plan)
    }

    /// Hands a new configuration to the sources. One that will not have it goes on with the old
    /// one; the errors say so. Kinds that are wanted now are looked for from the top of the ladder,
    /// those that are not any more are given up; a source that neither concerns is not disturbed.
    pub fn reconfigure(&self, config: SourceConfig) -> Vec<StartError> {
        self.state.lock().reconfigure(config)
    }

    /// Replaces sources that have stopped by themselves. To be called every [`LOOK`].
    pub fn look_after(&self) {
        let mut state = self.state.lock();
        // Looked for anew each time: what replaces one may move the others.
        while let Some(index) =
            state.started.iter().position(|started| started.running.failure().is_some())
        {
            let started = state.started.remove(index);
            let why = started.running.failure().unwrap_or_default();
            let source = started.running.kind().as_str();
            log::warn!("{source} has stopped delivering: {why}");
            let (kinds, rung) = (started.kinds.clone(), started.rung);
            state.retire(started);
            for kind in &kinds {
                state.blame(*kind, rung, format!("{source} stopped: {why}"));
            }
            state.serve(&kinds, rung + 1);
            for kind in &kinds {
                let now = state.source_of(*kind);
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
    fn reconfigure(&mut self, config: SourceConfig) -> Vec<StartError> {
        let other_kinds = self.config.kinds != config.kinds;
        let errors = self.take_over_config(config);
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
            self.serve(&unserved, 0);
        }
        errors
    }

    /// Tells the sources that run of a configuration, and gives up the kinds that it does not want.
    fn take_over_config(&mut self, config: SourceConfig) -> Vec<StartError> {
        self.config = config;
        let mut errors = Vec::new();
        // From the last, since some may go.
        for index in (0..self.started.len()).rev() {
            let Some(started) = self.started.get(index) else { continue };
            let (kinds, gone): (Vec<EventKind>, Vec<EventKind>) =
                started.kinds.iter().partition(|kind| self.config.kinds.contains(kind));
            if kinds.is_empty() {
                let started = self.started.remove(index);
                self.retire(started);
            } else if started.rung == BELOW {
                // It goes on as it is, for a moment.
                self.leave(index, &gone);
            } else if let Err(error) = self.change(index, kinds) {
                errors.push(error);
            }
        }
        errors
    }

    fn restart(&mut self, plan: Plan, config: SourceConfig) {
        self.plan = plan;
        for started in &mut self.started {
            let kind = started.running.kind();
            let goes_on = started.config.may_become(&config, kind);
            started.rung = self.plan.place_of(kind).filter(|_| goes_on).unwrap_or(BELOW);
        }
        self.reasons = Default::default();
        for error in self.take_over_config(config) {
            log::warn!("{error}");
        }
        self.serve(&self.config.kinds.clone(), 0);
        for index in (0..self.started.len()).rev() {
            let Some(started) = self.started.get_mut(index) else { continue };
            if started.rung != BELOW {
                continue;
            }
            let kind = started.running.kind();
            match self.plan.place_of(kind) {
                // Rather than nothing.
                Some(rung) => {
                    let kinds = started.kinds.clone();
                    log::warn!("{} goes on for {} as it was", kind.as_str(), words(&kinds));
                    started.rung = rung;
                    if let Err(error) = self.change(index, kinds) {
                        log::warn!("{error}");
                    }
                }
                None => {
                    let started = self.started.remove(index);
                    self.retire(started);
                }
            }
        }
    }

    fn climb(&mut self, plan: Plan) -> bool {
        let rungs = |plan: &Plan| -> Vec<_> {
            plan.candidates.iter().map(|candidate| candidate.kind).collect()
        };
        // Sources know their rung by its number.
        if rungs(&plan) != rungs(&self.plan) {
            return false;
        }
        self.plan = plan;
        let kinds = self.config.kinds.clone();
        let before: Vec<_> = kinds.iter().map(|kind| self.source_of(*kind)).collect();
        let changed = self.serve(&kinds, 0);
        for (kind, before) in kinds.into_iter().zip(before) {
            let now = self.source_of(kind);
            if now != before {
                log::warn!("{} events come from {now} again", kind.as_str());
            }
        }
        changed
    }

    /// Lets a source that runs serve these kinds, by the present configuration. One that cannot
    /// change them while it runs is started over; if that fails, it serves what it did before, or,
    /// if not even that can be had any more, is gone.
    fn change(&mut self, index: usize, kinds: Vec<EventKind>) -> Result<(), StartError> {
        let config = self.config_for(&kinds);
        let Some(started) = self.started.get(index) else { return Ok(()) };
        if started.kinds == kinds || started.running.changes_kinds() {
            let before = started.kinds.clone();
            let more: Vec<EventKind> =
                kinds.iter().copied().filter(|kind| !before.contains(kind)).collect();
            let gone: Vec<EventKind> =
                before.into_iter().filter(|kind| !kinds.contains(kind)).collect();
            // First, since counts may go with what it stops to look at.
            self.leave(index, &gone);
            let Some(started) = self.started.get_mut(index) else { return Ok(()) };
            more.iter().for_each(|kind| started.count_anew(*kind));
            let gate = Arc::clone(&started.gate);
            return self.take_over(&gate, &more, |state| {
                let started = state.started.get(index);
                started.map_or(Ok(()), |started| started.running.reconfigure(&config))
            });
        }
        let Some(candidate) = self.plan.candidates.get(started.rung) else { return Ok(()) };
        let make = Arc::clone(&candidate.make);
        let old = self.started.remove(index);
        let (rung, before) = (old.rung, old.kinds.clone());
        self.retire(old);
        let mut again = |kinds: Vec<EventKind>| {
            let source = make()?;
            self.start_beside(source, rung, kinds)
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

    /// Where a kind comes from now, in words.
    fn source_of(&self, kind: EventKind) -> &'static str {
        self.serving(kind).map_or("nowhere", |started| started.running.kind().as_str())
    }

    /// The present configuration, for a source that serves these kinds.
    fn config_for(&self, kinds: &[EventKind]) -> SourceConfig {
        SourceConfig { kinds: kinds.to_vec(), ..self.config.clone() }
    }

    fn reason(&self, kind: EventKind) -> String {
        let reasons = self.reasons.get(kind.index()).into_iter().flat_map(BTreeMap::values);
        reasons.map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}

fn words(kinds: &[EventKind]) -> String {
    let words: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    words.join(", ")
}

impl StatusProvider for Sources {
    fn status(&self) -> Vec<KindStatus> {
        let state = self.state.lock();
        let healths: Vec<(&Started, Vec<KindHealth>)> =
            state.started.iter().map(|started| (started, started.health())).collect();
        EventKind::ALL
            .into_iter()
            .map(|kind| {
                let serving = healths.iter().find(|(started, _)| started.kinds.contains(&kind));
                let mut health = serving
                    .and_then(|(_, healths)| healths.iter().find(|health| health.kind == kind))
                    .cloned()
                    .unwrap_or_else(|| KindHealth::new(kind, ""));
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
