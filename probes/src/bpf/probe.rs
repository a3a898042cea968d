//! What is to be hooked, and by which programs: declared, not done.
//!
//! Each object of `bpf/` is described by an [`ObjectSpec`]: its duties (exec, connect, …), and for each
//! the sets of programs that can fulfil it, best first. [`plan`] says which of them this kernel can
//! have at all, from what its types say; it asks no version and does nothing, so it is tested without
//! a kernel.

use crate::event::{Concern, EventKind};
use crate::source::{SourceConfig, TierWish};

#[cfg(test)]
mod tests;

/// One compiled object.
pub struct ObjectSpec {
    /// Its name, as in `bpf/NAME.bpf.c`.
    pub name: &'static str,
    /// Which ring it fills.
    pub concern: Concern,
    /// The object file.
    pub bytes: &'static [u8],
    /// What its programs are for.
    pub duties: &'static [Duty],
    /// Maps with one entry for each CPU.
    pub per_cpu_maps: &'static [&'static str],
    /// Entries of maps whose size is a bound of ours.
    pub map_entries: &'static [(&'static str, u32)],
    /// What the only entry of the map `switches` is to hold; it may change while programs run.
    /// `None`: the object has no such map.
    pub switches: fn(&SourceConfig) -> Option<Vec<u8>>,
}

/// Something to be reported, for which one candidate is needed.
pub struct Duty {
    /// A word for logs and health.
    pub name: &'static str,
    /// The kinds of events that depend on it.
    pub kinds: &'static [EventKind],
    /// Whether it is asked for.
    pub wanted: fn(&SourceConfig) -> bool,
    /// The ways to do it, best first.
    pub candidates: &'static [Candidate],
}

/// One way to fulfil a duty.
pub struct Candidate {
    /// What it takes, in the order in which it is attached: the exits of calls before their enters,
    /// since a call whose enter alone is seen would be remembered.
    pub programs: &'static [Program],
}

/// A program, and where it goes.
pub struct Program {
    /// Its name in the object.
    pub name: &'static str,
    /// What it is attached to.
    pub hook: Hook,
    /// Whether the candidate does without it where the kernel lacks the hook: then it lacks what
    /// there would be to see, too.
    pub optional: bool,
    /// Whether another program sees what the kernel skips this one at, so that nothing is missed.
    pub covered: bool,
}

impl Program {
    /// One that its candidate cannot do without.
    pub const fn new(name: &'static str, hook: Hook) -> Self {
        Self { name, hook, optional: false, covered: false }
    }
}

/// By which kind of hook a duty is done, where there is a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Functions of the kernel.
    Functions,
    /// Tracepoints of the system calls.
    Calls,
    /// The kernel's own tracepoints, which have no better and no worse in their place.
    Own,
}

impl Candidate {
    /// Which tier it belongs to.
    pub fn tier(&self) -> Tier {
        let any = |is: fn(&Hook) -> bool| self.programs.iter().any(|program| is(&program.hook));
        if any(|hook| matches!(hook, Hook::Tracepoint { .. })) {
            Tier::Calls
        } else if any(|hook| matches!(hook, Hook::Function { .. })) {
            Tier::Functions
        } else {
            Tier::Own
        }
    }
}

/// What a program is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// A tracepoint with BTF, of at least so many arguments.
    BtfTracepoint {
        /// Its name.
        name: &'static str,
        /// How many arguments the program reads.
        args: usize,
    },
    /// A kernel function, by trampoline, of exactly so many arguments.
    Function {
        /// Its name.
        name: &'static str,
        /// How many arguments there are; what it returns comes after them.
        args: usize,
    },
    /// A classic tracepoint, such as `syscalls:sys_enter_connect`.
    Tracepoint {
        /// Its category.
        category: &'static str,
        /// Its name.
        name: &'static str,
    },
}

impl Tier {
    /// The word for the `tier` column.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "tp_btf",
            Self::Functions => "fentry",
            Self::Calls => "tracepoint",
        }
    }

    /// What it cannot see, where that is less than the best would.
    pub const fn caveat(self) -> Option<&'static str> {
        match self {
            Self::Own | Self::Functions => None,
            // ARCH_TRACE_IGNORE_COMPAT_SYSCALLS in arch/*/include/asm/ftrace.h.
            Self::Calls => {
                Some("tracepoints of system calls do not see 32-bit programs and io_uring")
            }
        }
    }
}

/// What the kernel has.
pub trait KernelFacts {
    /// How many arguments a BTF tracepoint has. `None`: there is none of that name.
    fn tracepoint_args(&self, name: &str) -> Option<usize>;
    /// How many arguments a function has. `None`: there is none of that name.
    fn function_args(&self, name: &str) -> Option<usize>;
    /// Why programs cannot be attached to functions at all, if they cannot.
    fn trampolines(&self) -> Result<(), String>;
}

/// Why a candidate was passed over: what the kernel lacks or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// The program that could not be had. `None`: it was not for one of them.
    pub program: Option<&'static str>,
    /// What the kernel lacks or refused.
    pub why: String,
}

/// A candidate with what of its programs this kernel has hooks for.
#[derive(Clone)]
pub struct Chosen {
    /// The candidate's tier.
    pub tier: Tier,
    /// All of it, or all but what is optional.
    pub programs: Vec<&'static Program>,
}

/// A duty, and what may fulfil it here.
pub struct Planned {
    /// The duty.
    pub duty: &'static Duty,
    /// What the kernel can have, best first.
    pub candidates: Vec<Chosen>,
    /// Why it cannot have what would be better.
    pub passed_over: Vec<PassedOver>,
}

/// The wanted duties, each with what of its candidates this kernel has hooks for.
pub fn plan(
    spec: &'static ObjectSpec,
    config: &SourceConfig,
    facts: &dyn KernelFacts,
) -> Vec<Planned> {
    let wanted = spec.duties.iter().filter(|duty| (duty.wanted)(config));
    wanted
        .map(|duty| {
            let mut planned = Planned { duty, candidates: Vec::new(), passed_over: Vec::new() };
            let wished = wished(duty, config.tier);
            let mut unwished = None;
            for candidate in duty.candidates {
                if wished.is_some_and(|tier| tier != candidate.tier()) {
                    // What is worse than what there is was not passed over.
                    unwished = unwished.or(wished.filter(|_| planned.candidates.is_empty()));
                    continue;
                }
                match choose(candidate, facts) {
                    Ok(chosen) => planned.candidates.push(chosen),
                    Err(passed) => planned.passed_over.push(passed),
                }
            }
            // First, since what comes last is what goes for the last error.
            if let Some(tier) = unwished {
                let why = format!("{} probes were asked for, and no others", tier.as_str());
                planned.passed_over.insert(0, PassedOver { program: None, why });
            }
            planned
        })
        .collect()
}

/// The only tier that a duty may be done in. A wish is for duties that can be done in both ways; of
/// the others it leaves what there is.
fn wished(duty: &'static Duty, wish: TierWish) -> Option<Tier> {
    let tier = match wish {
        TierWish::Auto => None,
        TierWish::Functions => Some(Tier::Functions),
        TierWish::Calls => Some(Tier::Calls),
    };
    tier.filter(|tier| duty.candidates.iter().any(|one| one.tier() == *tier))
}

/// What of a candidate this kernel has hooks for.
///
/// # Errors
/// [`PassedOver`]: it lacks one that is needed.
pub fn choose(
    candidate: &'static Candidate,
    facts: &dyn KernelFacts,
) -> Result<Chosen, PassedOver> {
    let tier = candidate.tier();
    if tier == Tier::Functions {
        facts.trampolines().map_err(|why| PassedOver { program: None, why })?;
    }
    let mut programs = Vec::new();
    for program in candidate.programs {
        match missing(program.hook, facts) {
            None => programs.push(program),
            Some(_) if program.optional => {}
            Some(why) => return Err(PassedOver { program: Some(program.name), why }),
        }
    }
    Ok(Chosen { tier, programs })
}

/// What the kernel lacks for a hook.
fn missing(hook: Hook, facts: &dyn KernelFacts) -> Option<String> {
    match hook {
        Hook::BtfTracepoint { name, args } => match facts.tracepoint_args(name) {
            None => Some(format!("this kernel has no tracepoint {name}")),
            Some(has) if has < args => {
                Some(format!("tracepoint {name} has {has} arguments here, not {args}"))
            }
            Some(_) => None,
        },
        Hook::Function { name, args } => match facts.function_args(name) {
            None => Some(format!("this kernel has no function {name}")),
            Some(has) if has != args => {
                Some(format!("function {name} has {has} arguments here, not {args}"))
            }
            Some(_) => None,
        },
        // Only tracefs knows; asked when it is attached.
        Hook::Tracepoint { .. } => None,
    }
}

/// Whether the kernel has the hooks of some candidate.
pub fn has_candidate(duty: &'static Duty, facts: &dyn KernelFacts) -> bool {
    duty.candidates.iter().any(|candidate| choose(candidate, facts).is_ok())
}
