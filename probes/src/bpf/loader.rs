//! Brings one object into the kernel, as much of it as the kernel takes.
//!
//! libbpf loads an object whole or not at all. So when it is refused, each program is tried by
//! itself, and those that fail are left out of the second attempt. What was left out, and why, stays
//! with the [`Lane`] and is shown in health.

use std::cell::OnceCell;
use std::hash::{BuildHasher as _, RandomState};
use std::io;

use super::libbpf::{Attached, CounterMap, KernelTypes, Loaded, Opened, Refused};
use super::probe::{Candidate, Duty, Hook, KernelFacts, ObjectSpec, PassedOver, Planned, plan};
use super::ring::Ring;
use super::tracepoint::TraceFs;
use crate::admin;
use crate::event::Concern;
use crate::source::SourceConfig;
use crate::wire;

/// Rings are at most this large, whatever is asked for.
const RING_MAX: u32 = 1 << 29;
/// While single programs are tried, nothing is ever written to their rings.
const TRIAL_RING: u32 = 1 << 16;
/// Scratch is 64 KiB for each CPU; CPUs beyond this many build in the ring.
const SCRATCH_CPUS_MAX: u32 = 256;
/// The reader is woken when the ring is filled to one part in this many.
const WAKEUP_PART: u64 = 4;

/// One concern's object in the kernel: its ring, its counters and what is attached.
pub struct Lane {
    /// Which object.
    pub spec: &'static ObjectSpec,
    /// Where its records are read.
    pub ring: Ring,
    /// What its programs count.
    pub counters: CounterMap,
    /// Its maps, and the programs that were wanted at first.
    pub part: Part,
}

/// Programs that were loaded at once.
pub struct Part {
    /// Them, and their maps.
    pub loaded: Loaded,
    /// What was attached for each duty, and what was not.
    pub decisions: Vec<Decision>,
}

/// How a duty is fulfilled.
pub struct Decision {
    /// The duty.
    pub duty: &'static Duty,
    /// The program that does it, as long as this lives. `None`: nobody does.
    pub attached: Option<(&'static Candidate, Attached)>,
    /// The better or only programs that the kernel would not have.
    pub passed_over: Vec<PassedOver>,
    /// What did it before it was no longer wanted; nothing is attached then.
    pub resting: Option<&'static Candidate>,
}

impl Part {
    /// Detaches what a configuration does not want. The enters of calls come last among the duties
    /// and go first: a call whose enter alone is seen would be remembered.
    pub fn rest(&mut self, config: &SourceConfig) {
        for decision in self.decisions.iter_mut().rev() {
            if !(decision.duty.wanted)(config)
                && let Some((candidate, _)) = decision.attached.take()
            {
                decision.resting = Some(candidate);
            }
        }
    }

    /// Attaches again what had been detached and is wanted.
    pub fn resume(&mut self, config: &SourceConfig, host: &HostFacts) {
        for decision in &mut self.decisions {
            if (decision.duty.wanted)(config)
                && let Some(candidate) = decision.resting.take()
            {
                match attach_one(&self.loaded, candidate, host) {
                    Ok(attached) => decision.attached = Some((candidate, attached)),
                    Err(why) => {
                        let program = candidate.program;
                        decision.passed_over.push(PassedOver { program, why });
                    }
                }
            }
        }
    }

    /// Whether [`Part::resume`] would attach something.
    pub fn wants_to_resume(&self, config: &SourceConfig) -> bool {
        self.decisions
            .iter()
            .any(|decision| decision.resting.is_some() && (decision.duty.wanted)(config))
    }
}

impl KernelFacts for KernelTypes {
    fn tracepoint_args(&self, name: &str) -> Option<usize> {
        Self::tracepoint_args(self, name)
    }

    fn has_function(&self, name: &str) -> bool {
        Self::has_function(self, name)
    }
}

/// What loading needs to know of the host; read once, used for every object.
pub struct HostFacts {
    types: KernelTypes,
    cpus: u32,
    tracefs: OnceCell<Result<TraceFs, String>>,
}

impl HostFacts {
    /// Reads the kernel's types and the number of CPUs.
    ///
    /// # Errors
    /// [`Refused`]: there is no BTF.
    pub fn read() -> Result<Self, Refused> {
        Ok(Self { types: KernelTypes::read()?, cpus: online_cpus(), tracefs: OnceCell::new() })
    }

    /// Whether some candidate for `duty` has its hook in this kernel.
    pub fn types(&self) -> &KernelTypes {
        &self.types
    }

    fn tracefs(&self) -> Result<&TraceFs, String> {
        let opened = self.tracefs.get_or_init(|| {
            TraceFs::open().map_err(|error| format!("no tracefs to be had: {error}"))
        });
        opened.as_ref().map_err(Clone::clone)
    }
}

/// One more than the highest number of a CPU that is online.
fn online_cpus() -> u32 {
    // The list ends with the highest: `0-3,8-11`.
    let list = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let last = list.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<u32>().ok());
    last.map_or(1, |last| last.saturating_add(1))
}

/// The ring size in force for a wanted one: a power of two, and whole pages.
fn ring_size(wanted: u32) -> u32 {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(1 << 16);
    wanted.clamp(page, RING_MAX).next_power_of_two()
}

/// Loads what is wanted of an object and attaches it.
///
/// # Errors
/// [`Refused`]: not one of its programs can be had. One that is refused while others work is no
/// error; the decisions tell.
pub fn load(
    spec: &'static ObjectSpec,
    config: &SourceConfig,
    host: &HostFacts,
) -> Result<Lane, Refused> {
    let ring = ring_size(match spec.concern {
        Concern::Process => config.ring_bytes.process,
        Concern::Socket => config.ring_bytes.socket,
        Concern::File => config.ring_bytes.file,
    });
    let mut planned = plan(spec, config, host.types());
    let open = |programs: &[&str]| open(spec, config, host, ring, programs);
    let loaded = load_programs(open, spec, config, host, &mut planned)?;
    let fd = loaded.map_fd("ring")?;
    let what = || format!("{}: mmap of the ring", spec.name);
    let ring =
        Ring::map(fd, ring).map_err(|error| Refused { what: what(), why: error.to_string() })?;
    let counters = loaded.counters()?;
    if let Some(switches) = (spec.switches)(config) {
        loaded.set_switches(&switches)?;
    }
    let part = attach_all(spec, loaded, planned, host)?;
    Ok(Lane { spec, ring, counters, part })
}

/// Loads and attaches what is wanted of an object and not among the duties `known`, to work on the
/// maps of `with`. `None`: nothing is.
///
/// # Errors
/// As for [`load`].
pub fn load_more(
    spec: &'static ObjectSpec,
    config: &SourceConfig,
    host: &HostFacts,
    with: &Loaded,
    known: impl Fn(&Duty) -> bool,
) -> Result<Option<Part>, Refused> {
    let mut planned = plan(spec, config, host.types());
    planned.retain(|planned| !known(planned.duty));
    if planned.is_empty() {
        return Ok(None);
    }
    let open = |programs: &[&str]| {
        let mut opened = Opened::new(spec.name, spec.bytes)?;
        opened.choose(programs);
        opened.share(with)?;
        Ok(opened)
    };
    let loaded = load_programs(open, spec, config, host, &mut planned)?;
    attach_all(spec, loaded, planned, host).map(Some)
}

/// Loads all that was planned, or else all that the kernel takes of it.
fn load_programs(
    open: impl Fn(&[&str]) -> Result<Opened, Refused>,
    spec: &'static ObjectSpec,
    config: &SourceConfig,
    host: &HostFacts,
    planned: &mut [Planned],
) -> Result<Loaded, Refused> {
    let refused = match open(&programs(planned))?.load() {
        Ok(loaded) => return Ok(loaded),
        Err(refused) => refused,
    };
    log::debug!("{refused}; trying its programs one by one");
    leave_out_refused(spec, config, host, planned);
    let programs = programs(planned);
    if programs.is_empty() {
        return Err(refused);
    }
    open(&programs)?.load()
}

fn attach_all(
    spec: &ObjectSpec,
    loaded: Loaded,
    planned: Vec<Planned>,
    host: &HostFacts,
) -> Result<Part, Refused> {
    let decisions: Vec<_> =
        planned.into_iter().map(|planned| attach(&loaded, planned, host)).collect();
    if decisions.iter().all(|decision| decision.attached.is_none()) {
        let reasons = decisions.iter().flat_map(|decision| &decision.passed_over);
        let why = reasons.map(|passed| format!("{}: {}", passed.program, passed.why));
        let why = why.collect::<Vec<_>>().join("; ");
        return Err(Refused { what: format!("attach {}", spec.name), why });
    }
    Ok(Part { loaded, decisions })
}

fn programs(planned: &[Planned]) -> Vec<&'static str> {
    planned
        .iter()
        .flat_map(|planned| planned.candidates.iter().map(|candidate| candidate.program))
        .collect()
}

fn open(
    spec: &'static ObjectSpec,
    config: &SourceConfig,
    host: &HostFacts,
    ring: u32,
    programs: &[&str],
) -> Result<Opened, Refused> {
    let mut opened = Opened::new(spec.name, spec.bytes)?;
    opened.choose(programs);
    opened.resize("ring", ring)?;
    for map in spec.per_cpu_maps {
        opened.resize(map, host.cpus.min(SCRATCH_CPUS_MAX))?;
    }
    for (map, entries) in spec.map_entries {
        opened.resize(map, *entries)?;
    }
    opened.configure(&wire::Config {
        wakeup_bytes: u64::from(ring) / WAKEUP_PART,
        own_tgid: config.own_pid,
        reserved: 0,
        secret: RandomState::new().hash_one(spec.name),
    })?;
    Ok(opened)
}

/// Tries each program by itself, and passes over those that are refused.
fn leave_out_refused(
    spec: &'static ObjectSpec,
    config: &SourceConfig,
    host: &HostFacts,
    planned: &mut [Planned],
) {
    for planned in planned {
        let Planned { candidates, passed_over, .. } = planned;
        candidates.retain(|candidate| {
            let trial = open(spec, config, host, TRIAL_RING, &[candidate.program]);
            let Err(refused) = trial.and_then(Opened::load) else { return true };
            passed_over.push(PassedOver { program: candidate.program, why: refused.why });
            false
        });
    }
}

/// Attaches the best candidate that the kernel takes.
fn attach(loaded: &Loaded, planned: Planned, host: &HostFacts) -> Decision {
    let Planned { duty, candidates, mut passed_over } = planned;
    for candidate in candidates {
        match attach_one(loaded, candidate, host) {
            Ok(attached) => {
                log::debug!("{}: {} is attached", duty.name, candidate.program);
                return Decision {
                    duty,
                    attached: Some((candidate, attached)),
                    passed_over,
                    resting: None,
                };
            }
            Err(why) => passed_over.push(PassedOver { program: candidate.program, why }),
        }
    }
    Decision { duty, attached: None, passed_over, resting: None }
}

fn attach_one(
    loaded: &Loaded,
    candidate: &Candidate,
    host: &HostFacts,
) -> Result<Attached, String> {
    let why = |error: Refused| error.why;
    match candidate.hook {
        Hook::BtfTracepoint { .. } | Hook::Function { .. } => {
            loaded.attach(candidate.program).map_err(why)
        }
        Hook::Tracepoint { category, name } => {
            let tell = |error: io::Error| format!("tracepoint {category}:{name}: {error}");
            let id = host.tracefs()?.id(category, name).map_err(tell)?;
            let event = admin::tracepoint(id).map_err(|errno| tell(errno.into()))?;
            loaded.attach_perf_event(candidate.program, event).map_err(why)
        }
    }
}
