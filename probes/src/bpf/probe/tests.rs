//! The rules, on kernels that are made up.

use super::*;
use crate::event::EventKind;

struct Kernel {
    tracepoints: &'static [(&'static str, usize)],
    functions: &'static [(&'static str, usize)],
    refuses: Option<&'static str>,
}

const EMPTY: Kernel = Kernel { tracepoints: &[], functions: &[], refuses: None };
const FULL: Kernel = Kernel {
    tracepoints: &[("exit", 2)],
    functions: &[("commit_creds", 1), ("new_thing", 1)],
    refuses: None,
};

impl KernelFacts for Kernel {
    fn tracepoint_args(&self, name: &str) -> Option<usize> {
        self.tracepoints.iter().find(|one| one.0 == name).map(|one| one.1)
    }

    fn function_args(&self, name: &str) -> Option<usize> {
        self.functions.iter().find(|one| one.0 == name).map(|one| one.1)
    }

    fn trampolines(&self) -> Result<(), String> {
        self.refuses.map_or(Ok(()), |why| Err(why.to_owned()))
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
                Candidate {
                    programs: &[Program::new(
                        "told",
                        Hook::BtfTracepoint { name: "exit", args: 2 },
                    )],
                },
                Candidate {
                    programs: &[Program::new(
                        "asked",
                        Hook::BtfTracepoint { name: "exit", args: 1 },
                    )],
                },
            ],
        },
        Duty {
            name: "setid",
            kinds: &[EventKind::Setid],
            wanted: |config| config.kinds.contains(&EventKind::Setid),
            candidates: &[
                Candidate {
                    programs: &[
                        Program::new("jump", Hook::Function { name: "commit_creds", args: 1 }),
                        Program {
                            optional: true,
                            ..Program::new("new", Hook::Function { name: "new_thing", args: 1 })
                        },
                    ],
                },
                Candidate {
                    programs: &[Program::new(
                        "call",
                        Hook::Tracepoint { category: "syscalls", name: "sys_exit_setuid" },
                    )],
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
        tier: TierWish::Auto,
        ring_bytes: crate::source::RingBytes::default(),
        own_pid: 1,
        exclude: Default::default(),
    }
}

const BOTH: [EventKind; 2] = [EventKind::Exit, EventKind::Setid];

/// The candidates, each as its programs.
fn programs(planned: &Planned) -> Vec<Vec<&'static str>> {
    let names = |chosen: &Chosen| chosen.programs.iter().map(|program| program.name).collect();
    planned.candidates.iter().map(names).collect()
}

#[test]
fn every_candidate_whose_hooks_exist_is_kept_in_order() {
    let planned = plan(&SPEC, &config(&BOTH), &FULL);
    assert_eq!(programs(&planned[0]), [["told"], ["asked"]]);
    assert_eq!(programs(&planned[1]), [vec!["jump", "new"], vec!["call"]]);
    let tiers =
        |planned: &Planned| planned.candidates.iter().map(|one| one.tier).collect::<Vec<_>>();
    assert_eq!(tiers(&planned[0]), [Tier::Own, Tier::Own]);
    assert_eq!(tiers(&planned[1]), [Tier::Functions, Tier::Calls]);
    assert!(planned.iter().all(|planned| planned.passed_over.is_empty()));
}

#[test]
fn a_tracepoint_with_fewer_arguments_is_passed_over_with_the_reason() {
    let kernel = Kernel { tracepoints: &[("exit", 1)], ..EMPTY };
    let planned = plan(&SPEC, &config(&BOTH), &kernel);
    assert_eq!(programs(&planned[0]), [["asked"]]);
    assert_eq!(planned[0].passed_over[0].program, Some("told"));
    assert_eq!(planned[0].passed_over[0].why, "tracepoint exit has 1 arguments here, not 2");
    assert_eq!(programs(&planned[1]), [["call"]]);
    assert_eq!(planned[1].passed_over[0].why, "this kernel has no function commit_creds");
}

#[test]
fn a_function_of_another_shape_is_not_hooked() {
    let kernel = Kernel { functions: &[("commit_creds", 2)], ..EMPTY };
    let planned = plan(&SPEC, &config(&[EventKind::Setid]), &kernel);
    assert_eq!(programs(&planned[1]), [["call"]]);
    let passed = &planned[1].passed_over[0];
    assert_eq!(passed.program, Some("jump"));
    assert_eq!(passed.why, "function commit_creds has 2 arguments here, not 1");
}

#[test]
fn a_candidate_does_without_what_is_optional() {
    let kernel = Kernel { functions: &[("commit_creds", 1)], ..EMPTY };
    let planned = plan(&SPEC, &config(&[EventKind::Setid]), &kernel);
    assert_eq!(programs(&planned[1]), [["jump"], ["call"]]);
    assert_eq!(planned[1].passed_over, []);
}

#[test]
fn a_kernel_without_trampolines_says_so_once_for_each_duty_and_calls_are_left() {
    let kernel = Kernel { refuses: Some("no trampolines"), ..FULL };
    let planned = plan(&SPEC, &config(&BOTH), &kernel);
    assert_eq!(programs(&planned[0]), [["told"], ["asked"]]);
    assert_eq!(programs(&planned[1]), [["call"]]);
    let passed = PassedOver { program: None, why: "no trampolines".to_owned() };
    assert_eq!(planned[1].passed_over, [passed]);
}

#[test]
fn a_wish_is_for_what_can_be_done_in_both_ways_and_nothing_takes_its_place() {
    let mut config = config(&BOTH);
    config.tier = TierWish::Functions;
    let planned = plan(&SPEC, &config, &FULL);
    assert_eq!(programs(&planned[0]), [["told"], ["asked"]]);
    assert_eq!(programs(&planned[1]), [["jump", "new"]]);
    assert_eq!(planned[1].passed_over, []);
    let planned = plan(&SPEC, &config, &Kernel { refuses: Some("no trampolines"), ..FULL });
    assert!(planned[1].candidates.is_empty());
    let why = |planned: &Planned| {
        planned.passed_over.iter().map(|passed| passed.why.clone()).collect::<Vec<_>>()
    };
    assert_eq!(why(&planned[0]), [""; 0]);
    assert_eq!(why(&planned[1]), ["fentry probes were asked for, and no others", "no trampolines"]);
    config.tier = TierWish::Calls;
    let planned = plan(&SPEC, &config, &FULL);
    assert_eq!(programs(&planned[1]), [["call"]]);
    assert_eq!(why(&planned[1]), ["tracepoint probes were asked for, and no others"]);
}

#[test]
fn what_is_not_wanted_is_not_planned() {
    let planned = plan(&SPEC, &config(&[EventKind::Exit]), &FULL);
    assert_eq!(planned.len(), 1);
    assert_eq!(planned[0].duty.name, "exit");
}

#[test]
fn a_duty_without_any_hook_has_no_candidate() {
    assert!(!has_candidate(&SPEC.duties[0], &EMPTY));
    // Only tracefs knows of classic tracepoints.
    assert!(has_candidate(&SPEC.duties[1], &EMPTY));
}
