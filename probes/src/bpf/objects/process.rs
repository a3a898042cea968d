//! Processes: exec, fork and exit by the scheduler's tracepoints, changes of ids and namespaces by
//! those of the calls.
//!
//! The former are always wanted, since the process cache lives on them; the latter only when asked
//! for. A call's enter and exit are two programs, each a duty of its own: without its enter an exit
//! has nothing to report.

use super::super::libbpf::Aligned;
use super::super::probe::{Candidate, Duty, Hook, ObjectSpec};
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
    ($kind:expr, $program:literal, $name:literal) => {
        Duty {
            name: $name,
            kinds: &[$kind],
            wanted: |config| config.kinds.contains(&$kind),
            candidates: &[Candidate {
                program: $program,
                hook: Hook::Tracepoint { category: "syscalls", name: $name },
            }],
        }
    };
}

/// The exits come first: a call whose enter alone is seen would be remembered until the thread makes
/// another.
static DUTIES: [Duty; 23] = [
    Duty {
        name: "exec",
        kinds: &[EventKind::Exec],
        wanted: |_| true,
        candidates: &[Candidate {
            program: "process_exec",
            hook: Hook::BtfTracepoint { name: "sched_process_exec", args: 3 },
        }],
    },
    Duty {
        name: "fork",
        kinds: &[EventKind::Fork],
        wanted: |_| true,
        candidates: &[Candidate {
            program: "process_fork",
            hook: Hook::BtfTracepoint { name: "sched_process_fork", args: 2 },
        }],
    },
    Duty {
        name: "exit",
        kinds: &[EventKind::Exit],
        wanted: |_| true,
        candidates: &[
            Candidate {
                program: "process_exit",
                hook: Hook::BtfTracepoint { name: "sched_process_exit", args: 2 },
            },
            Candidate {
                program: "process_exit_live",
                hook: Hook::BtfTracepoint { name: "sched_process_exit", args: 1 },
            },
        ],
    },
    change!(EventKind::Setid, "exit_setuid", "sys_exit_setuid"),
    change!(EventKind::Setid, "exit_setgid", "sys_exit_setgid"),
    change!(EventKind::Setid, "exit_setreuid", "sys_exit_setreuid"),
    change!(EventKind::Setid, "exit_setregid", "sys_exit_setregid"),
    change!(EventKind::Setid, "exit_setresuid", "sys_exit_setresuid"),
    change!(EventKind::Setid, "exit_setresgid", "sys_exit_setresgid"),
    change!(EventKind::Setid, "exit_setfsuid", "sys_exit_setfsuid"),
    change!(EventKind::Setid, "exit_setfsgid", "sys_exit_setfsgid"),
    change!(EventKind::Namespace, "exit_unshare", "sys_exit_unshare"),
    change!(EventKind::Namespace, "exit_setns", "sys_exit_setns"),
    change!(EventKind::Setid, "enter_setuid", "sys_enter_setuid"),
    change!(EventKind::Setid, "enter_setgid", "sys_enter_setgid"),
    change!(EventKind::Setid, "enter_setreuid", "sys_enter_setreuid"),
    change!(EventKind::Setid, "enter_setregid", "sys_enter_setregid"),
    change!(EventKind::Setid, "enter_setresuid", "sys_enter_setresuid"),
    change!(EventKind::Setid, "enter_setresgid", "sys_enter_setresgid"),
    change!(EventKind::Setid, "enter_setfsuid", "sys_enter_setfsuid"),
    change!(EventKind::Setid, "enter_setfsgid", "sys_enter_setfsgid"),
    change!(EventKind::Namespace, "enter_unshare", "sys_enter_unshare"),
    change!(EventKind::Namespace, "enter_setns", "sys_enter_setns"),
];
