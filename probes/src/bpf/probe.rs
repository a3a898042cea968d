//! What is to be hooked, and by which programs: declared, not done.
//!
//! Each object of `bpf/` is described by an [`ObjectSpec`]: its duties (exec, fork, …), and for each
//! the programs that can fulfil it, best first. [`plan`] says which of them this kernel can have at
//! all, from what its types say; it asks no version and does nothing, so it is tested without a
//! kernel.

use crate::event::{Concern, EventKind};
use crate::source::SourceConfig;

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

/// Something to be reported, for which one program is needed.
pub struct Duty {
    /// A word for logs and health.
    pub name: &'static str,
    /// The kinds of events that depend on it.
    pub kinds: &'static [EventKind],
    /// Whether it is asked for.
    pub wanted: fn(&SourceConfig) -> bool,
    /// The programs that can do it, best first.
    pub candidates: &'static [Candidate],
}

/// One way to fulfil a duty.
pub struct Candidate {
    /// The program's name in the object.
    pub program: &'static str,
    /// What it is attached to.
    pub hook: Hook,
}

/// What a program is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "process.bpf.c needs neither trampolines nor per-call tracepoints")
)]
pub enum Hook {
    /// A tracepoint with BTF, of at least so many arguments.
    BtfTracepoint {
        /// Its name.
        name: &'static str,
        /// How many arguments the program reads.
        args: usize,
    },
    /// A kernel function, by trampoline.
    Function {
        /// Its name.
        name: &'static str,
    },
    /// A classic tracepoint, such as `syscalls:sys_enter_connect`.
    Tracepoint {
        /// Its category.
        category: &'static str,
        /// Its name.
        name: &'static str,
    },
}

impl Hook {
    /// The word for the `tier` column.
    pub const fn tier(self) -> &'static str {
        match self {
            Self::BtfTracepoint { .. } => "tp_btf",
            Self::Function { .. } => "fentry",
            Self::Tracepoint { .. } => "tracepoint",
        }
    }

    /// What it cannot see, where that is less than the best hook would.
    pub const fn caveat(self) -> Option<&'static str> {
        match self {
            Self::BtfTracepoint { .. } | Self::Function { .. } => None,
            // ARCH_TRACE_IGNORE_COMPAT_SYSCALLS in arch/*/include/asm/ftrace.h.
            Self::Tracepoint { .. } => {
                Some("tracepoints of system calls do not see 32-bit programs and io_uring")
            }
        }
    }
}

/// What the kernel's types tell.
pub trait KernelFacts {
    /// How many arguments a BTF tracepoint has. `None`: there is none of that name.
    fn tracepoint_args(&self, name: &str) -> Option<usize>;
    /// Whether there is a function of that name.
    fn has_function(&self, name: &str) -> bool;
}

/// A program that was passed over, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Its name.
    pub program: &'static str,
    /// What the kernel lacks or refused.
    pub why: String,
}

/// A duty, and the programs that may fulfil it here.
pub struct Planned {
    /// The duty.
    pub duty: &'static Duty,
    /// What the kernel can have, best first.
    pub candidates: Vec<&'static Candidate>,
    /// What it cannot.
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
            for candidate in duty.candidates {
                match missing(candidate.hook, facts) {
                    None => planned.candidates.push(candidate),
                    Some(why) => {
                        planned.passed_over.push(PassedOver { program: candidate.program, why })
                    }
                }
            }
            planned
        })
        .collect()
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
        Hook::Function { name } => {
            (!facts.has_function(name)).then(|| format!("this kernel has no function {name}"))
        }
        // Only tracefs knows; asked when it is attached.
        Hook::Tracepoint { .. } => None,
    }
}

/// Whether the kernel has the hook of some candidate.
pub fn has_candidate(duty: &Duty, facts: &dyn KernelFacts) -> bool {
    duty.candidates.iter().any(|candidate| missing(candidate.hook, facts).is_none())
}
