//! How much work the programs are for the kernel's verifier.

use super::config;
use crate::bpf::libbpf::{self, verified};
use crate::bpf::loader::{self, HostFacts};
use crate::bpf::{objects, probe};
use crate::source::SourceConfig;

/// The most that the verifier looks at (`BPF_COMPLEXITY_LIMIT_INSNS` in kernel/bpf/verifier.c).
const LIMIT: u32 = 1_000_000;
/// A program that comes this near to it on one kernel is refused by another.
const MOST: u32 = LIMIT / 4;

/// Prints a line for each program; `tests/vm/run.sh` compares them with those of earlier runs.
#[test]
fn each_program_that_has_a_hook_here_is_far_from_the_limit() {
    libbpf::route_messages();
    let host = HostFacts::read().expect("the kernel has BTF");
    let config = SourceConfig { kinds: crate::event::EventKind::ALL.to_vec(), ..config() };
    let mut seen = 0;
    for spec in objects::ALL {
        let candidates = spec.duties.iter().flat_map(|duty| duty.candidates);
        let programs = candidates.filter_map(|one| probe::choose(one, &host).ok());
        for program in programs.flat_map(|chosen| chosen.programs) {
            let opened = loader::trial(spec, &config, &host, &[program.name]);
            let number = opened.and_then(verified::instructions).expect("the kernel takes it");
            let number = number.expect("the verifier says how much it looked at");
            println!("::verified {} {} {number}", spec.name, program.name);
            assert!(number < MOST, "{}: {number}", program.name);
            seen += 1;
        }
    }
    // Those of tier 2 alone, and the kernel's own tracepoints.
    assert!(seen >= 40, "{seen}");
}
