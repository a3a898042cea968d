//! The source that runs BPF programs.
//!
//! Owns the way from the programs to the sink, in steps that each have a file: [`probe`] declares
//! what can be hooked, [`loader`] brings it into the kernel, [`ring`] and [`collector`] read what it
//! reports and sleep until it does ([`bell`]), [`health`] adds up what became of it all, by what the
//! programs count ([`counters`]).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::event::{EventKind, SourceKind};
use crate::source::{KindHealth, Running, Sink, Source, SourceConfig, StartError};

mod bell;
mod collector;
mod counters;
mod exclude;
mod health;
mod libbpf;
mod loader;
mod mapping;
mod objects;
mod probe;
mod ring;
#[cfg(test)]
mod tests;
pub mod tracepoint;

use collector::Collector;
use exclude::{Marker, Marking};
use health::Kept;
use loader::HostFacts;
use probe::ObjectSpec;

/// BPF programs, not yet loaded.
pub struct BpfSource {
    host: HostFacts,
}

impl BpfSource {
    /// Reads what the kernel offers.
    ///
    /// # Errors
    /// [`StartError`]: the kernel carries no BTF, without which no program fits it.
    pub fn new() -> Result<Self, StartError> {
        libbpf::route_messages();
        let host = HostFacts::read().map_err(|refused| StartError {
            source_kind: SourceKind::Bpf,
            what: refused.what,
            why: refused.why,
            remedy: "run a kernel built with CONFIG_DEBUG_INFO_BTF (5.8 or later), or use audit"
                .to_owned(),
        })?;
        Ok(Self { host })
    }
}

impl Source for BpfSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Bpf
    }

    fn gives(&self, kind: EventKind) -> bool {
        let duties = objects::ALL.iter().flat_map(|spec| spec.duties);
        duties
            .filter(|duty| duty.kinds.contains(&kind))
            .any(|duty| probe::has_candidate(duty, &self.host))
    }

    fn start(
        self: Box<Self>,
        config: &SourceConfig,
        sink: Arc<dyn Sink>,
    ) -> Result<Box<dyn Running>, StartError> {
        let mut kept = Vec::new();
        let mut rings = Vec::new();
        let wanted = |concern| config.wants(concern);
        for spec in objects::ALL.into_iter().filter(|spec| wanted(spec.concern)) {
            let lane = loader::load(spec, config, &self.host).map_err(start_error)?;
            let (ring, lane) = Kept::new(lane);
            rings.push((spec.concern, ring));
            kept.push(lane);
        }
        let marker = Arc::new(Marker::default());
        mark(&marker, &kept, config)?;
        let sink = Arc::new(Marking { marker: Arc::clone(&marker), sink });
        let collector = Collector::start(rings, sink).map_err(|error| StartError {
            source_kind: SourceKind::Bpf,
            what: "start the thread that reads the rings".to_owned(),
            why: error.to_string(),
            remedy: "raise the limits on threads and open files".to_owned(),
        })?;
        Ok(Box::new(BpfRunning { lanes: Mutex::new(kept), collector, marker }))
    }
}

fn start_error(refused: libbpf::Refused) -> StartError {
    StartError {
        source_kind: SourceKind::Bpf,
        what: refused.what,
        why: refused.why,
        remedy: "run as root (CAP_BPF, CAP_PERFMON, CAP_SYS_RESOURCE) on a kernel that is not \
                 locked down, or use audit"
            .to_owned(),
    }
}

/// BPF programs at work.
struct BpfRunning {
    /// Dropped first, so that nothing is produced that nobody reads.
    lanes: Mutex<Vec<Kept>>,
    collector: Collector,
    marker: Arc<Marker>,
}

/// Has the processes marked whose programs are left out, if there is someone to see the marks.
fn mark(marker: &Marker, lanes: &[Kept], config: &SourceConfig) -> Result<(), StartError> {
    let mut marks = None;
    for lane in lanes.iter().filter(|lane| config.wants(lane.concern())) {
        marks = lane.marks().map_err(start_error)?.or(marks);
    }
    marker.set(marks, config.exclude.programs.clone());
    Ok(())
}

impl Running for BpfRunning {
    fn kind(&self) -> SourceKind {
        SourceKind::Bpf
    }

    fn health(&self) -> Vec<KindHealth> {
        let lanes = self.lanes.lock();
        lanes.iter().flat_map(|lane| lane.health(self.collector.tally())).collect()
    }

    /// Whatever can fail comes first, and what is no longer wanted goes last.
    fn reconfigure(&self, config: &SourceConfig) -> Result<(), StartError> {
        let mut lanes = self.lanes.lock();
        let wanted = |spec: &&ObjectSpec| config.wants(spec.concern);
        let has = |concern| lanes.iter().any(|lane| lane.concern() == concern);
        let new: Vec<_> =
            objects::ALL.into_iter().filter(wanted).filter(|spec| !has(spec.concern)).collect();
        if !new.is_empty() || lanes.iter().any(|lane| lane.lacks(config)) {
            let host = HostFacts::read().map_err(start_error)?;
            for spec in new {
                let lane = loader::load(spec, config, &host).map_err(start_error)?;
                let (ring, lane) = Kept::new(lane);
                self.collector.add(spec.concern, ring);
                lanes.push(lane);
            }
            for lane in lanes.iter_mut().filter(|lane| config.wants(lane.concern())) {
                lane.complete(config, &host).map_err(start_error)?;
            }
        }
        for lane in lanes.iter_mut().filter(|lane| config.wants(lane.concern())) {
            lane.reconfigure(config).map_err(start_error)?;
        }
        mark(&self.marker, &lanes, config)?;
        for lane in lanes.extract_if(.., |lane| !config.wants(lane.concern())) {
            let concern = lane.concern();
            // Detaches its programs, so that the ring gets no more.
            drop(lane);
            self.collector.remove(concern);
        }
        Ok(())
    }

    fn changes_kinds(&self) -> bool {
        true
    }

    fn flush(&self, deadline: Duration) -> bool {
        self.collector.flush(deadline)
    }

    fn failure(&self) -> Option<String> {
        self.collector.died().then(|| "the thread that reads the rings has ended".to_owned())
    }

    fn stop(&mut self) {
        self.lanes.get_mut().iter_mut().for_each(Kept::detach);
        self.collector.stop();
    }
}

impl Drop for BpfRunning {
    fn drop(&mut self) {
        self.stop();
    }
}
