use std::process::Command;

use super::rules::{Obstacle, audit, bpf, connector, fanotify};
use super::*;

fn capable() -> Host {
    Host {
        kernel_release: "6.1.0".to_owned(),
        machine: "x86_64".to_owned(),
        online_cpus: Some(2),
        possible_cpus: Some(2),
        kernel_btf: true,
        capabilities: Capabilities(u64::MAX),
        admin_helper: false,
        lockdown: None,
        tracefs_mounted: true,
        cgroups: Some(CgroupLayout::V2),
        unprivileged_bpf_disabled: Some(2),
        initial_pid_namespace: Some(true),
        initial_user_namespace: Some(true),
    }
}

fn said_by(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn the_facts_are_what_the_system_tools_say() {
    let host = Host::read();
    assert_eq!(host.kernel_release, said_by("uname", "-r"));
    assert_eq!(host.machine, said_by("uname", "-m"));
    let online: u32 = said_by("getconf", "_NPROCESSORS_ONLN").parse().unwrap();
    assert_eq!(host.online_cpus, Some(online));
    let possible: u32 = said_by("getconf", "_NPROCESSORS_CONF").parse().unwrap();
    assert!(host.possible_cpus >= Some(possible));
    assert_eq!(host.kernel_btf, Path::new(BTF_PATH).exists());
}

#[test]
fn nothing_stands_in_the_way_of_root_on_a_capable_host() {
    let host = capable();
    let found = [bpf(&host), audit(&host, true), audit(&host, false), connector(&host)];
    assert_eq!(found, [None; 4]);
    assert_eq!(fanotify(&host), None);
}

#[test]
fn a_plain_user_is_told_to_use_sudo() {
    let host = Host { capabilities: Capabilities::default(), ..capable() };
    for obstacle in [bpf(&host), audit(&host, true), connector(&host), fanotify(&host)] {
        let obstacle = obstacle.unwrap();
        assert!(obstacle.why().starts_with("needs root"), "{}", obstacle.why());
        assert_eq!(obstacle.remedy(), "run with sudo");
    }
}

#[test]
fn bpf_and_perfmon_stand_in_for_sys_admin_only_together() {
    let with = |capabilities| bpf(&Host { capabilities, ..capable() });
    let bpf_only = Capabilities::default().with(Capability::Bpf);
    assert_eq!(with(bpf_only), Some(Obstacle::Missing(Capability::Perfmon)));
    assert_eq!(with(bpf_only.with(Capability::Perfmon)), None);
    assert_eq!(with(Capabilities::default().with(Capability::SysAdmin)), None);
}

#[test]
fn a_kernel_without_btf_is_told_by_the_missing_file() {
    let obstacle = bpf(&Host { kernel_btf: false, ..capable() }).unwrap();
    assert_eq!(obstacle, Obstacle::NoBtf);
    assert!(obstacle.why().contains("/sys/kernel/btf/vmlinux"));
}

#[test]
fn only_confidentiality_locks_probes_out() {
    let with = |lockdown| bpf(&Host { lockdown: Some(lockdown), ..capable() });
    assert_eq!(with(Lockdown::Confidentiality), Some(Obstacle::Lockdown));
    assert_eq!(with(Lockdown::Integrity), None);
    assert_eq!(with(Lockdown::None), None);
}

#[test]
fn a_container_has_bpf_but_may_not_command_audit_or_the_connector() {
    let host = Host { initial_pid_namespace: Some(false), ..capable() };
    assert_eq!(bpf(&host), None);
    assert_eq!(audit(&host, true), Some(Obstacle::PidNamespace));
    assert_eq!(audit(&host, false), None);
    assert_eq!(connector(&host), Some(Obstacle::PidNamespace));
    let host = Host { initial_user_namespace: Some(false), ..capable() };
    assert_eq!(bpf(&host), Some(Obstacle::UserNamespace));
    assert_eq!(fanotify(&host), Some(Obstacle::UserNamespace));
}

#[test]
fn cpu_lists_have_ranges_and_single_cpus() {
    assert_eq!(cpu_count("0-3,8\n"), Some(5));
    assert_eq!(cpu_count("0\n"), Some(1));
    for odd in ["", "\n", "3-1", "a"] {
        assert_eq!(cpu_count(odd), None, "{odd:?}");
    }
}

#[test]
fn effective_capabilities_are_read_as_a_mask() {
    let found = Capabilities::parse("CapPrm:\tffff\nCapEff:\t000000c000200004\n").unwrap();
    for capability in
        [Capability::DacReadSearch, Capability::SysAdmin, Capability::Perfmon, Capability::Bpf]
    {
        assert!(found.has(capability), "{}", capability.as_str());
    }
    assert!(!found.has(Capability::NetAdmin));
}

#[test]
fn the_lockdown_in_force_is_in_brackets() {
    assert_eq!(Lockdown::parse("none [integrity] confidentiality\n"), Some(Lockdown::Integrity));
    assert_eq!(Lockdown::parse("none integrity"), None);
}

#[test]
fn mounts_tell_cgroup_layouts_and_tracefs_apart() {
    let v1 = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n";
    let v2 = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
    assert_eq!(CgroupLayout::parse(v1), Some(CgroupLayout::V1));
    assert_eq!(CgroupLayout::parse(v2), Some(CgroupLayout::V2));
    assert_eq!(CgroupLayout::parse(&[v1, v2].concat()), Some(CgroupLayout::Hybrid));
    assert_eq!(CgroupLayout::parse("/dev/vda / ext4 rw 0 0\n"), None);
    assert!(has_tracefs("tracefs /sys/kernel/tracing tracefs rw 0 0\n"));
    assert!(!has_tracefs("/dev/vda /tracefs ext4 rw 0 0\n"));
}
