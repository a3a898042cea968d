//! Adds up what became of the events of one object: what its programs counted in the kernel, what
//! the collector read, and which programs there are at all.

use super::collector::Tally;
use super::libbpf::{CounterMap, Loaded, Refused};
use super::loader::{Decision, Lane};
use super::probe::ObjectSpec;
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
    counters: CounterMap,
    loaded: Loaded,
    decisions: Vec<Decision>,
}

impl Kept {
    /// Takes a lane apart.
    pub fn new(lane: Lane) -> (Ring, Self) {
        let Lane { spec, ring, counters, loaded, decisions } = lane;
        let kept = Self { spec, ring_bytes: ring.size(), counters, loaded, decisions };
        (ring, kept)
    }

    /// Which concern's.
    pub const fn concern(&self) -> Concern {
        self.spec.concern
    }

    /// The duties that a configuration asks for and that were not asked for at the start. Those of
    /// another concern are not looked at.
    pub fn not_loaded(&self, config: &SourceConfig) -> impl Iterator<Item = &'static str> {
        let wanted = self.spec.duties.iter().filter(|duty| (duty.wanted)(config));
        let wanted = wanted.filter(|_| config.wants(self.spec.concern));
        wanted
            .map(|duty| duty.name)
            .filter(|name| !self.decisions.iter().any(|decision| decision.duty.name == *name))
    }

    /// Takes over what of a configuration may change while programs run.
    ///
    /// # Errors
    /// [`Refused`] by the kernel.
    pub fn reconfigure(&self, config: &SourceConfig) -> Result<(), Refused> {
        (self.spec.switches)(config).map_or(Ok(()), |value| self.loaded.set_switches(&value))
    }

    /// Detaches every program.
    pub fn detach(&mut self) {
        for decision in &mut self.decisions {
            decision.attached = None;
        }
    }

    /// One entry for each kind that some program was wanted for.
    pub fn health(&self, tally: &Tally) -> Vec<KindHealth> {
        let counters = self.counters.read();
        let kinds = EventKind::ALL.into_iter();
        kinds
            .filter(|kind| self.decisions.iter().any(|decision| decision.duty.kinds.contains(kind)))
            .map(|kind| self.kind_health(kind, counters.as_ref(), tally))
            .collect()
    }

    fn kind_health(
        &self,
        kind: EventKind,
        counters: Option<&wire::Counters>,
        tally: &Tally,
    ) -> KindHealth {
        let mut health = KindHealth::new(kind, "");
        health.ring_bytes = Some(self.ring_bytes);
        let mut reasons = Vec::new();
        for decision in self.decisions.iter().filter(|one| one.duty.kinds.contains(&kind)) {
            let name = decision.duty.name;
            for passed in &decision.passed_over {
                reasons.push(format!("{name}: {}: {}", passed.program, passed.why));
            }
            match &decision.attached {
                Some((candidate, _)) => {
                    health.probes_attached += 1;
                    health.lost_missed += self.loaded.misses(candidate.program);
                    health.tier = candidate.hook.tier();
                    if let Some(caveat) = candidate.hook.caveat()
                        && !reasons.iter().any(|reason| reason == caveat)
                    {
                        reasons.push(caveat.to_owned());
                    }
                }
                None => {
                    health.probes_failed += 1;
                    if let Some(last) = reasons.last() {
                        health.last_error.clone_from(last);
                    }
                }
            }
        }
        health.reason = reasons.join("; ");

        let types = (0..wire::TYPES).filter(|one| decode::kind_of(*one) == Some(kind));
        for record_type in types {
            let index = record_type as usize;
            let of = |counts: &[_]| counts.get(index).map_or(0, read);
            health.received += of(&tally.received);
            health.malformed += of(&tally.malformed);
            let Some(counts) = counters.and_then(|counters| counters.count.get(index)) else {
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
