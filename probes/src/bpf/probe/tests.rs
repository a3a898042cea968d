//! The rules, on kernels that are made up.

use super::*;
use crate::event::EventKind;

struct Kernel {
    tracepoints: &'static [(&'static str, usize)],
    functions: &'static [&'static str],
}

impl KernelFacts for Kernel {
    fn tracepoint_args(&self, name: &str) -> Option<usize> {
        self.tracepoints.iter().find(|one| one.0 == name).map(|one| one.1)
    }

    fn has_function(&self, name: &str) -> bool {
        self.functions.contains(&name)
    }
}

static SPEC: ObjectSpec = ObjectSpec {
    name: "made-up",
    concern: Concern::Process,
    bytes: &[],
    per_cpu_maps: &[],
    map_entries: &[],
    switches: |_| None,
    duties: &[
        Duty {
            name: "exit",
            kinds: &[EventKind::Exit],
            wanted: |_| true,
            candidates: &[
                Candidate { program: "told", hook: Hook::BtfTracepoint { name: "exit", args: 2 } },
                Candidate { program: "asked", hook: Hook::BtfTracepoint { name: "exit", args: 1 } },
            ],
        },
        Duty {
            name: "setid",
            kinds: &[EventKind::Setid],
            wanted: |config| config.kinds.contains(&EventKind::Setid),
            candidates: &[
                Candidate { program: "jump", hook: Hook::Function { name: "commit_creds" } },
                Candidate {
                    program: "call",
                    hook: Hook::Tracepoint { category: "syscalls", name: "sys_exit_setuid" },
                },
            ],
        },
    ],
};

fn config(kinds: &[EventKind]) -> SourceConfig {
    SourceConfig {
        kinds: kinds.to_vec(),
        paths: std::sync::Arc::new(crate::source::WatchNothing),
        file_access: false,
        unix_sockets: false,
        datagram_peers: false,
        ring_bytes: crate::source::RingBytes::default(),
        own_pid: 1,
    }
}

fn programs(planned: &Planned) -> Vec<&'static str> {
    planned.candidates.iter().map(|candidate| candidate.program).collect()
}

#[test]
fn every_candidate_whose_hook_exists_is_kept_in_order() {
    let kernel = Kernel { tracepoints: &[("exit", 2)], functions: &["commit_creds"] };
    let planned = plan(&SPEC, &config(&[EventKind::Exit, EventKind::Setid]), &kernel);
    assert_eq!(programs(&planned[0]), ["told", "asked"]);
    assert_eq!(programs(&planned[1]), ["jump", "call"]);
    assert!(planned.iter().all(|planned| planned.passed_over.is_empty()));
}

#[test]
fn a_tracepoint_with_fewer_arguments_is_passed_over_with_the_reason() {
    let kernel = Kernel { tracepoints: &[("exit", 1)], functions: &[] };
    let planned = plan(&SPEC, &config(&[EventKind::Exit, EventKind::Setid]), &kernel);
    assert_eq!(programs(&planned[0]), ["asked"]);
    assert_eq!(planned[0].passed_over[0].program, "told");
    assert_eq!(planned[0].passed_over[0].why, "tracepoint exit has 1 arguments here, not 2");
    assert_eq!(programs(&planned[1]), ["call"]);
    assert_eq!(planned[1].passed_over[0].why, "this kernel has no function commit_creds");
}

#[test]
fn what_is_not_wanted_is_not_planned() {
    let kernel = Kernel { tracepoints: &[("exit", 2)], functions: &["commit_creds"] };
    let planned = plan(&SPEC, &config(&[EventKind::Exit]), &kernel);
    assert_eq!(planned.len(), 1);
    assert_eq!(planned[0].duty.name, "exit");
}

#[test]
fn a_duty_without_any_hook_has_no_candidate() {
    let kernel = Kernel { tracepoints: &[], functions: &[] };
    assert!(!has_candidate(&SPEC.duties[0], &kernel));
    // Only tracefs knows of classic tracepoints.
    assert!(has_candidate(&SPEC.duties[1], &kernel));
}
