//! Brings one object into the kernel, as much of it as the kernel takes.
//!
//! libbpf loads an object whole or not at all. So when the best candidate of each duty are refused,
//! they are tried one by one, and what fails gives way to the next. A kernel may also take a program
//! and then not attach it: what comes next for that duty is loaded as a further [`Part`], on the maps
//! of the first. What was passed over, and why, stays with the [`Lane`] and is shown in health.

use std::cell::OnceCell;
use std::hash::{BuildHasher as _, RandomState};
use std::io;

use super::bell::Bell;
use super::counters::{self, Counters};
use super::exclude;
use super::libbpf::{Attached, KernelTypes, Loaded, Opened, Refused};
use super::objects::TRAMPOLINE;
use super::probe::{
    Chosen, Duty, Hook, KernelFacts, ObjectSpec, PassedOver, Planned, Program, Tier, plan,
};
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
/// The reader is woken before its turn when the ring is filled to one part in this many.
const WAKEUP_PART: u64 = 4;
/// The type of which a kernel has trampolines that wait for whoever is in them.
const SAFE_TRAMPOLINES: &str = "bpf_tramp_image";

/// One concern's object in the kernel: its ring, its counters and what is attached.
pub struct Lane {
    /// Which object.
    pub spec: &'static ObjectSpec,
    /// Where its records are read.
    pub ring: Ring,
    /// What its programs count.
    pub counters: Counters,
    /// The first has the maps that all use.
    pub parts: Vec<Part>,
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
    /// The programs that do it, as long as this lives. `None`: nobody does.
    pub attached: Option<Working>,
    /// Why it is not done better, or not at all.
    pub passed_over: Vec<PassedOver>,
    /// What did it before it was no longer wanted; nothing is attached then.
    pub resting: Option<Chosen>,
}

/// A candidate at work.
pub struct Working {
    /// Which.
    pub chosen: Chosen,
    /// In the order of its programs.
    links: Vec<Attached>,
}

impl Drop for Working {
    /// The enters of calls come last among the programs and go first: a call whose enter alone is
    /// seen would be remembered.
    fn drop(&mut self) {
        while self.links.pop().is_some() {}
    }
}

impl Part {
    /// Detaches what a configuration does not want. What was attached to functions is forgotten: before
    /// f3a95075549e (5.13) a program attaches to a function but once, so it is loaded again when it is
    /// wanted again.
    pub fn rest(&mut self, config: &SourceConfig) {
        self.decisions.retain_mut(|decision| {
            if !(decision.duty.wanted)(config)
                && let Some(working) = decision.attached.take()
            {
                let chosen = working.chosen.clone();
                if chosen.tier == Tier::Functions {
                    return false;
                }
                decision.resting = Some(chosen);
            }
            true
        });
    }

    /// Attaches again what had been detached and is wanted.
    pub fn resume(&mut self, config: &SourceConfig, host: &HostFacts) {
        for decision in &mut self.decisions {
            if (decision.duty.wanted)(config)
                && let Some(chosen) = decision.resting.take()
            {
                match attach(&self.loaded, chosen, host) {
                    Ok(working) => decision.attached = Some(working),
                    Err(passed) => decision.passed_over.push(passed),
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

/// What loading needs to know of the host; read once, used for every object.
pub struct HostFacts {
    types: KernelTypes,
    cpus: u32,
    tracefs: OnceCell<Result<TraceFs, String>>,
    trampolines: OnceCell<Result<(), String>>,
}

impl HostFacts {
    /// Reads the kernel's types and the number of CPUs.
    ///
    /// # Errors
    /// [`Refused`]: there is no BTF.
    pub fn read() -> Result<Self, Refused> {
        Ok(Self {
            types: KernelTypes::read()?,
            cpus: online_cpus(),
            tracefs: OnceCell::new(),
            trampolines: OnceCell::new(),
        })
    }

    fn tracefs(&self) -> Result<&TraceFs, String> {
        let opened = self.tracefs.get_or_init(|| {
            TraceFs::open().map_err(|error| format!("no tracefs to be had: {error}"))
        });
        opened.as_ref().map_err(Clone::clone)
    }

    /// Attaches a program to a function that is there for it.
    fn try_trampoline(&self) -> Result<(), String> {
        // e21aa341785c (5.12, and stable kernels) brought it: before, a function that sleeps returns
        // into a trampoline that may have been freed meanwhile.
        if !self.types.has_struct(SAFE_TRAMPOLINES) {
            return Err(format!(
                "functions of this kernel are left alone: without struct {SAFE_TRAMPOLINES} it may \
                 crash when programs are detached"
            ));
        }
        let refused = |why: String| format!("this kernel attaches no programs to functions: {why}");
        let opened = Opened::new("trampoline", TRAMPOLINE).map_err(|error| refused(error.why))?;
        let loaded = opened.load().map_err(|error| refused(error.why))?;
        loaded.attach("trial").map(drop).map_err(|error| refused(error.why))
    }
}

impl KernelFacts for HostFacts {
    fn tracepoint_args(&self, name: &str) -> Option<usize> {
        self.types.tracepoint_args(name)
    }

    fn function_args(&self, name: &str) -> Option<usize> {
        self.types.function_args(name)
    }

    fn trampolines(&self) -> Result<(), String> {
        self.trampolines.get_or_init(|| self.try_trampoline()).clone()
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
    let mut planned = plan(spec, config, host);
    let open = |programs: &[&str]| open(spec, config, host, ring, programs);
    let loaded = load_programs(open, spec, config, host, &mut planned)?;
    let unmapped = |map: &str, error: &io::Error| Refused {
        what: format!("{}: mmap of map {map}", spec.name),
        why: error.to_string(),
    };
    let bell = Bell::map(&loaded.map_fd("asleep")?).map_err(|error| unmapped("asleep", &error))?;
    let ring =
        Ring::map(loaded.map_fd("ring")?, ring, bell).map_err(|error| unmapped("ring", &error))?;
    let counters = Counters::map(&loaded.map_fd("counters")?, counters::entries(host.cpus))
        .map_err(|error| unmapped("counters", &error))?;
    if let Some(switches) = (spec.switches)(config) {
        loaded.set_switches(&switches)?;
    }
    exclude::hold(&loaded, &config.exclude)?;
    let parts = attach_in_turn(spec, config, host, loaded, planned)?;
    Ok(Lane { spec, ring, counters, parts })
}

/// Loads and attaches what is wanted of an object and not among the duties `known`, to work on the
/// maps of `with`. Empty: nothing is.
///
/// # Errors
/// As for [`load`].
pub fn load_more(
    spec: &'static ObjectSpec,
    config: &SourceConfig,
    host: &HostFacts,
    with: &Loaded,
    known: impl Fn(&Duty) -> bool,
) -> Result<Vec<Part>, Refused> {
    let mut planned = plan(spec, config, host);
    planned.retain(|planned| !known(planned.duty));
    if planned.is_empty() {
        return Ok(Vec::new());
    }
    let loaded = load_sharing(spec, config, host, with, &mut planned)?;
    attach_in_turn(spec, config, host, loaded, planned)
}

fn load_sharing(
    spec: &'static ObjectSpec,
    config: &SourceConfig,
    host: &HostFacts,
    with: &Loaded,
    planned: &mut [Planned],
) -> Result<Loaded, Refused> {
    let open = |programs: &[&str]| {
        let mut opened = Opened::new(spec.name, spec.bytes)?;
        opened.choose(programs);
        opened.share(with)?;
        Ok(opened)
    };
    load_programs(open, spec, config, host, planned)
}

/// Attaches what was loaded, and in place of what the kernel would not attach what comes next for it,
/// on the same maps.
fn attach_in_turn(
    spec: &'static ObjectSpec,
    config: &SourceConfig,
    host: &HostFacts,
    loaded: Loaded,
    planned: Vec<Planned>,
) -> Result<Vec<Part>, Refused> {
    let (part, again) = attach_all(loaded, planned, host);
    let mut parts = load_rest(spec, config, host, &part.loaded, again);
    parts.insert(0, part);
    settled(spec, &parts)?;
    Ok(parts)
}

/// Loads and attaches what is next for duties whose best candidate the kernel took and then would not
/// attach. Each turn uses up a candidate of each.
fn load_rest(
    spec: &'static ObjectSpec,
    config: &SourceConfig,
    host: &HostFacts,
    with: &Loaded,
    mut again: Vec<Planned>,
) -> Vec<Part> {
    let mut parts = Vec::new();
    while !again.is_empty() {
        match load_sharing(spec, config, host, with, &mut again) {
            Ok(loaded) => {
                let (part, rest) = attach_all(loaded, again, host);
                parts.push(part);
                again = rest;
            }
            Err(refused) => {
                log::warn!("{refused}");
                break;
            }
        }
    }
    parts
}

/// Loads the best candidates, or else the best that the kernel takes. What it refused is gone from
/// `planned`.
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

/// Attaches the first candidate of each; also returns what that failed for and has another.
fn attach_all(loaded: Loaded, planned: Vec<Planned>, host: &HostFacts) -> (Part, Vec<Planned>) {
    let mut decisions = Vec::new();
    let mut again = Vec::new();
    for Planned { duty, candidates, mut passed_over } in planned {
        let mut candidates = candidates.into_iter();
        let mut attached = None;
        if let Some(chosen) = candidates.next() {
            match attach(&loaded, chosen, host) {
                Ok(working) => attached = Some(working),
                Err(passed) => {
                    passed_over.push(passed);
                    let candidates: Vec<_> = candidates.collect();
                    if !candidates.is_empty() {
                        again.push(Planned { duty, candidates, passed_over });
                        continue;
                    }
                }
            }
        }
        decisions.push(Decision { duty, attached, passed_over, resting: None });
    }
    (Part { loaded, decisions }, again)
}

/// Says once what is not as it could be.
///
/// # Errors
/// [`Refused`]: nothing at all was attached.
fn settled(spec: &ObjectSpec, parts: &[Part]) -> Result<(), Refused> {
    let decisions = || parts.iter().flat_map(|part| &part.decisions);
    if decisions().all(|decision| decision.attached.is_none()) {
        let why = reasons(decisions()).join("; ");
        return Err(Refused { what: format!("attach {}", spec.name), why });
    }
    for reason in reasons(decisions().filter(|decision| decision.attached.is_some())) {
        log::info!("not by the best probes: {reason}");
    }
    for reason in reasons(decisions().filter(|decision| decision.attached.is_none())) {
        log::warn!("not reported: {reason}");
    }
    Ok(())
}

/// Why duties are not done, or not as well as could be; one text for those that share a reason.
pub fn reasons<'a>(decisions: impl Iterator<Item = &'a Decision>) -> Vec<String> {
    let mut told: Vec<(String, Vec<&str>)> = Vec::new();
    for decision in decisions {
        for PassedOver { program, why } in &decision.passed_over {
            let why = match program {
                Some(program) => format!("{program}: {why}"),
                None => why.clone(),
            };
            match told.iter_mut().find(|(known, _)| *known == why) {
                Some((_, duties)) => duties.push(decision.duty.name),
                None => told.push((why, vec![decision.duty.name])),
            }
        }
    }
    told.into_iter().map(|(why, duties)| format!("{}: {why}", duties.join(", "))).collect()
}

/// Of each duty, those of the best candidate.
fn programs(planned: &[Planned]) -> Vec<&'static str> {
    let best = planned.iter().filter_map(|planned| planned.candidates.first());
    best.flat_map(|chosen| chosen.programs.iter().map(|program| program.name)).collect()
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
    let counting = counters::entries(host.cpus);
    opened.resize("counters", counting)?;
    for map in spec.per_cpu_maps {
        opened.resize(map, host.cpus.min(SCRATCH_CPUS_MAX))?;
    }
    for (map, entries) in spec.map_entries {
        opened.resize(map, *entries)?;
    }
    opened.configure(&wire::Config {
        wakeup_bytes: u64::from(ring) / WAKEUP_PART,
        own_tgid: config.own_pid,
        cpu_mask: counting - 1,
        secret: RandomState::new().hash_one(spec.name),
    })?;
    Ok(opened)
}

/// An object with some of its programs, which will never write anything.
pub fn trial(
    spec: &'static ObjectSpec,
    config: &SourceConfig,
    host: &HostFacts,
    programs: &[&str],
) -> Result<Opened, Refused> {
    open(spec, config, host, TRIAL_RING, programs)
}

/// Tries each duty's candidates by themselves until one is taken, and passes over those refused.
fn leave_out_refused(
    spec: &'static ObjectSpec,
    config: &SourceConfig,
    host: &HostFacts,
    planned: &mut [Planned],
) {
    for Planned { candidates, passed_over, .. } in planned {
        while let Some(chosen) = candidates.first() {
            let programs: Vec<_> = chosen.programs.iter().map(|program| program.name).collect();
            let trial = trial(spec, config, host, &programs).and_then(Opened::load);
            let Err(refused) = trial else { break };
            passed_over.push(PassedOver { program: programs.first().copied(), why: refused.why });
            candidates.remove(0);
        }
    }
}

/// Attaches all programs of a candidate, or none.
fn attach(loaded: &Loaded, chosen: Chosen, host: &HostFacts) -> Result<Working, PassedOver> {
    let mut working = Working { chosen, links: Vec::new() };
    for program in working.chosen.programs.clone() {
        match attach_one(loaded, program, host) {
            Ok(link) => working.links.push(link),
            Err(why) => return Err(PassedOver { program: Some(program.name), why }),
        }
    }
    Ok(working)
}

fn attach_one(loaded: &Loaded, program: &Program, host: &HostFacts) -> Result<Attached, String> {
    let why = |error: Refused| error.why;
    match program.hook {
        Hook::BtfTracepoint { .. } | Hook::Function { .. } => {
            loaded.attach(program.name).map_err(why)
        }
        Hook::Tracepoint { category, name } => {
            let tell = |error: io::Error| format!("tracepoint {category}:{name}: {error}");
            let id = host.tracefs()?.id(category, name).map_err(tell)?;
            let event = admin::tracepoint(id).map_err(|errno| tell(errno.into()))?;
            loaded.attach_perf_event(program.name, event).map_err(why)
        }
    }
}
