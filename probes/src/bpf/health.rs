//! Adds up what became of the events of one object: what its programs counted in the kernel, what
//! the collector read, and which programs there are at all.

use super::collector::Tally;
use super::counters::{Counters, Counts};
use super::exclude;
use super::libbpf::{Refused, Table};
use super::loader::{self, Decision, HostFacts, Lane, Part};
use super::probe::{Duty, ObjectSpec, Tier};
use super::ring::Ring;
use crate::decode;
use crate::event::{Concern, EventKind};
use crate::source::{KindHealth, SourceConfig};
use crate::wire;

use std::sync::atomic::Ordering;

/// What remains of a [`Lane`] once the collector has its ring.
pub struct Kept {
    spec: &'static ObjectSpec,
    ring_bytes: u64,
    counters: Counters,
    /// All on the same maps. There is no more than one for each change of what is wanted that had
    /// not been wanted before, and for each candidate that was loaded in vain.
    parts: Vec<Part>,
}

impl Kept {
    /// Takes a lane apart.
    pub fn new(lane: Lane) -> (Ring, Self) {
        let Lane { spec, ring, counters, parts } = lane;
        let kept = Self { spec, ring_bytes: ring.size(), counters, parts };
        (ring, kept)
    }

    /// Which concern's.
    pub const fn concern(&self) -> Concern {
        self.spec.concern
    }

    /// Whether a configuration asks for something that is not attached.
    pub fn lacks(&self, config: &SourceConfig) -> bool {
        self.parts.iter().any(|part| part.wants_to_resume(config))
            || self.spec.duties.iter().any(|duty| (duty.wanted)(config) && !self.knows(duty))
    }

    fn knows(&self, duty: &Duty) -> bool {
        self.decisions().any(|decision| decision.duty.name == duty.name)
    }

    /// How often the kernel skipped a program that is covered.
    #[cfg(test)]
    pub fn skipped(&self, program: &str) -> u64 {
        self.parts.iter().map(|part| part.loaded.misses(program)).sum()
    }

    /// Detaches the programs of one duty, as if the kernel never ran them.
    #[cfg(test)]
    pub fn detach_duty(&mut self, name: &str) {
        for decision in self.parts.iter_mut().flat_map(|part| &mut part.decisions) {
            if decision.duty.name == name {
                decision.attached = None;
            }
        }
    }

    fn decisions(&self) -> impl Iterator<Item = &Decision> {
        self.parts.iter().flat_map(|part| &part.decisions)
    }

    /// Loads and attaches what a configuration asks for and is not there yet.
    ///
    /// # Errors
    /// [`Refused`] by the kernel; then nothing has changed.
    pub fn complete(&mut self, config: &SourceConfig, host: &HostFacts) -> Result<(), Refused> {
        let with = self.parts.first().map(|part| &part.loaded);
        let more = match with {
            Some(with) => {
                loader::load_more(self.spec, config, host, with, |duty| self.knows(duty))?
            }
            None => Vec::new(),
        };
        self.parts.iter_mut().for_each(|part| part.resume(config, host));
        self.parts.extend(more);
        Ok(())
    }

    /// Takes over what of a configuration may change while programs run, and detaches those it does
    /// not ask for.
    ///
    /// # Errors
    /// [`Refused`] by the kernel.
    pub fn reconfigure(&mut self, config: &SourceConfig) -> Result<(), Refused> {
        if let (Some(value), Some(part)) = ((self.spec.switches)(config), self.parts.first()) {
            part.loaded.set_switches(&value)?;
        }
        if let Some(part) = self.parts.first() {
            exclude::hold(&part.loaded, &config.exclude)?;
        }
        self.parts.iter_mut().for_each(|part| part.rest(config));
        // The first has the maps.
        let mut first = true;
        self.parts.retain(|part| std::mem::take(&mut first) || !part.decisions.is_empty());
        Ok(())
    }

    /// Where processes are marked as running an excluded program.
    ///
    /// # Errors
    /// [`Refused`]: no descriptor is left.
    pub fn marks(&self) -> Result<Option<Table>, Refused> {
        self.parts.first().map_or(Ok(None), |part| part.loaded.table(exclude::MARKS))
    }

    /// Detaches every program.
    pub fn detach(&mut self) {
        for decision in self.parts.iter_mut().flat_map(|part| &mut part.decisions) {
            decision.attached = None;
        }
    }

    /// One entry for each kind that some program is wanted for.
    pub fn health(&self, tally: &Tally) -> Vec<KindHealth> {
        let counters = self.counters.read();
        let kinds = EventKind::ALL.into_iter();
        let wanted = |kind: &EventKind| {
            let mut decisions = self.decisions();
            decisions.any(|one| one.resting.is_none() && one.duty.kinds.contains(kind))
        };
        kinds.filter(wanted).map(|kind| self.kind_health(kind, &counters, tally)).collect()
    }

    fn kind_health(&self, kind: EventKind, counters: &Counts, tally: &Tally) -> KindHealth {
        let mut health = KindHealth::new(kind, "");
        health.ring_bytes = Some(self.ring_bytes);
        let of_kind = |decision: &&Decision| {
            decision.resting.is_none() && decision.duty.kinds.contains(&kind)
        };
        let mut tiers = Vec::new();
        for part in &self.parts {
            for decision in part.decisions.iter().filter(of_kind) {
                let Some(working) = &decision.attached else {
                    health.probes_failed += 1;
                    continue;
                };
                tiers.push(working.chosen.tier);
                for program in &working.chosen.programs {
                    health.probes_attached += 1;
                    if !program.covered {
                        health.lost_missed += part.loaded.misses(program.name);
                    }
                }
            }
        }
        // The least that some of it is done by says what may be missing.
        let tier = [Tier::Calls, Tier::Functions, Tier::Own].into_iter();
        let tier = tier.into_iter().find(|tier| tiers.contains(tier));
        health.tier = tier.map_or("", Tier::as_str);
        let mut reasons = loader::reasons(self.decisions().filter(of_kind));
        reasons.extend(tier.and_then(Tier::caveat).map(str::to_owned));
        health.reason = reasons.join("; ");
        let failed = |decision: &&Decision| of_kind(decision) && decision.attached.is_none();
        if let Some(last) = loader::reasons(self.decisions().filter(failed)).pop() {
            health.last_error = last;
        }

        let types = (0..wire::TYPES).filter(|one| decode::kind_of(*one) == Some(kind));
        for record_type in types {
            let index = record_type as usize;
            let of = |counts: &[_]| counts.get(index).map_or(0, read);
            health.received += of(&tally.received);
            health.malformed += of(&tally.malformed);
            let Some(counts) = counters.get(index) else {
                continue;
            };
            let of = |outcome: u32| counts.get(outcome as usize).copied().unwrap_or(0);
            health.produced = Some(health.produced.unwrap_or(0) + of(wire::PRODUCED));
            health.lost_ring += of(wire::LOST_RING);
            health.lost_missed += of(wire::LOST_STATE);
            health.filtered_kernel += of(wire::FILTERED);
        }
        if health.malformed > 0 {
            health.last_error.clone_from(&tally.last_malformed.lock());
        }
        health
    }
}

fn read(count: &std::sync::atomic::AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
