//! The objects that are built into the program, one for each concern.

use super::libbpf::Aligned;
use super::probe::{Candidate, Duty, Hook, ObjectSpec};
use crate::event::{Concern, EventKind};

mod socket;

/// Every object, in the order in which they are loaded.
pub static ALL: [&ObjectSpec; 2] = [&PROCESS, &socket::SOCKET];

static PROCESS_BYTES: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/process.bpf.o")));

/// Processes.
pub static PROCESS: ObjectSpec = ObjectSpec {
    name: "process",
    concern: Concern::Process,
    bytes: &PROCESS_BYTES.0,
    per_cpu_maps: &["scratches"],
    map_entries: &[],
    switches: |_| None,
    duties: &[
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
    ],
};
