//! Processes: exec, fork and exit by the scheduler's tracepoints, changes of ids and namespaces by
//! those of the calls.
//!
//! The former are always wanted, since the process cache lives on them; the latter only when asked
//! for, and there is no other way to see them.

use super::super::libbpf::Aligned;
use super::super::probe::{Candidate, Duty, Hook, ObjectSpec, Program};
use crate::event::{Concern, EventKind};

static BYTES: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/process.bpf.o")));

/// Threads that may be within a call that changes ids or namespaces at once (88 bytes each).
pub const CHANGES: u32 = 1024;

/// Processes.
pub static PROCESS: ObjectSpec = ObjectSpec {
    name: "process",
    concern: Concern::Process,
    bytes: &BYTES.0,
    per_cpu_maps: &["scratches"],
    map_entries: &[("changing", CHANGES)],
    switches: |_| None,
    duties: &DUTIES,
};

macro_rules! change {
    ($kind:expr, $call:literal) => {
        Duty {
            name: $call,
            kinds: &[$kind],
            wanted: |config| config.kinds.contains(&$kind),
            candidates: &[Candidate {
                programs: &[
                    Program::new(
                        concat!("exit_", $call),
                        Hook::Tracepoint {
                            category: "syscalls",
                            name: concat!("sys_exit_", $call),
                        },
                    ),
                    Program::new(
                        concat!("enter_", $call),
                        Hook::Tracepoint {
                            category: "syscalls",
                            name: concat!("sys_enter_", $call),
                        },
                    ),
                ],
            }],
        }
    };
}

static DUTIES: [Duty; 13] = [
    Duty {
        name: "exec",
        kinds: &[EventKind::Exec],
        wanted: |_| true,
        candidates: &[Candidate {
            programs: &[Program::new(
                "process_exec",
                Hook::BtfTracepoint { name: "sched_process_exec", args: 3 },
            )],
        }],
    },
    Duty {
        name: "fork",
        kinds: &[EventKind::Fork],
        wanted: |_| true,
        candidates: &[Candidate {
            programs: &[Program::new(
                "process_fork",
                Hook::BtfTracepoint { name: "sched_process_fork", args: 2 },
            )],
        }],
    },
    Duty {
        name: "exit",
        kinds: &[EventKind::Exit],
        wanted: |_| true,
        candidates: &[
            Candidate {
                programs: &[Program::new(
                    "process_exit",
                    Hook::BtfTracepoint { name: "sched_process_exit", args: 2 },
                )],
            },
            Candidate {
                programs: &[Program::new(
                    "process_exit_live",
                    Hook::BtfTracepoint { name: "sched_process_exit", args: 1 },
                )],
            },
        ],
    },
    change!(EventKind::Setid, "setuid"),
    change!(EventKind::Setid, "setgid"),
    change!(EventKind::Setid, "setreuid"),
    change!(EventKind::Setid, "setregid"),
    change!(EventKind::Setid, "setresuid"),
    change!(EventKind::Setid, "setresgid"),
    change!(EventKind::Setid, "setfsuid"),
    change!(EventKind::Setid, "setfsgid"),
    change!(EventKind::Namespace, "unshare"),
    change!(EventKind::Namespace, "setns"),
];
