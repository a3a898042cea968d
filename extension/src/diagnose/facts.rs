//! What can be read of this host and of our own processes on it without asking anybody.
//!
//! Nothing of other programs' command lines, environments or files is read: a bundle is sent away.

use std::fs;
use std::path::Path;

use osquery_ebpf_probes::audit::control::Control;
use osquery_ebpf_probes::host::{Host, rules};
use serde_json::{Value, json};

/// Words of the kernel's command line that bear on us. The others may hold secrets.
const BOOT_WORDS: [&str; 7] =
    ["audit", "lsm", "lockdown", "systemd.unified_cgroup", "cgroup", "mitigations", "security"];

/// Settings of the kernel's that bear on us, below /proc/sys.
const SYSCTLS: [&str; 9] = [
    "fs/fanotify/max_queued_events",
    "fs/fanotify/max_user_groups",
    "fs/fanotify/max_user_marks",
    "kernel/bpf_stats_enabled",
    "kernel/perf_event_paranoid",
    "kernel/unprivileged_bpf_disabled",
    "kernel/pid_max",
    "net/core/bpf_jit_enable",
    "net/core/rmem_max",
];

/// Lines of /proc/PID/status that say how a process of ours does.
const STATUS: [&str; 13] = [
    "State",
    "Uid",
    "Threads",
    "VmRSS",
    "VmHWM",
    "VmLck",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
];

fn read(path: impl AsRef<Path>) -> Value {
    match fs::read_to_string(path.as_ref()) {
        Ok(text) => Value::String(text.trim_end().to_owned()),
        Err(error) => Value::String(format!("cannot be read: {error}")),
    }
}

fn file_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// The host, and which sources its facts allow.
pub fn host(host: &Host) -> Value {
    let judged = |obstacle: Option<rules::Obstacle>| match obstacle {
        None => "usable, as far as can be told without trying".to_owned(),
        Some(obstacle) => format!("{}: {}", obstacle.why(), obstacle.remedy()),
    };
    let boot = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let boot: Vec<&str> = boot
        .split_whitespace()
        .filter(|word| BOOT_WORDS.iter().any(|known| word.starts_with(known)))
        .collect();
    let sysctls: serde_json::Map<String, Value> = SYSCTLS
        .iter()
        .map(|name| ((*name).to_owned(), read(Path::new("/proc/sys").join(name))))
        .collect();
    json!({
        "kernel": host.kernel_release,
        "machine": host.machine,
        "version": read("/proc/version"),
        "distribution": read("/etc/os-release"),
        "boot": boot,
        "cpus": { "online": host.online_cpus, "possible": host.possible_cpus },
        "btf": host.kernel_btf,
        "lockdown": host.lockdown.map(|lockdown| format!("{lockdown:?}")),
        "security_modules": read("/sys/kernel/security/lsm"),
        "cgroups": host.cgroups.map(|layout| layout.as_str()),
        "tracefs_mounted": host.tracefs_mounted,
        "initial_pid_namespace": host.initial_pid_namespace,
        "initial_user_namespace": host.initial_user_namespace,
        "capabilities_of_diagnose": format!("{:016x}", host.capabilities.0),
        "sysctls": sysctls,
        "memory": read("/proc/meminfo"),
        "pressure": { "cpu": read("/proc/pressure/cpu"), "memory": read("/proc/pressure/memory") },
        "sources": {
            "bpf": judged(rules::bpf(host)),
            "audit": judged(rules::audit(host, true)),
            "connector": judged(rules::connector(host)),
            "fanotify": judged(rules::fanotify(host)),
        },
    })
}

/// The audit subsystem, as `auditctl -s` and `-l` would show it. Of others' rules only the number:
/// they may name what their owners watch.
pub fn audit() -> Value {
    let seen = || -> std::io::Result<Value> {
        let mut control = Control::open()?;
        let status = control.status()?;
        let rules = control.rules()?;
        let ours: Vec<String> =
            rules.iter().filter(|rule| rule.is_ours()).map(|rule| rule.describe()).collect();
        Ok(json!({
            "enabled": status.enabled,
            "failure": status.failure,
            "pid": status.pid,
            "daemon": file_name(&fs::read_link(format!("/proc/{}/exe", status.pid))
                .unwrap_or_default()),
            "rate_limit": status.rate_limit,
            "backlog_limit": status.backlog_limit,
            "backlog": status.backlog,
            "backlog_wait_time": status.backlog_wait_time,
            "lost": status.lost,
            "rules": rules.len(),
            "rules_of_ours": ours,
        }))
    };
    seen().unwrap_or_else(|error| json!({ "error": format!("cannot be asked: {error}") }))
}

/// Every process that runs this program, but for the one that asks.
pub fn instances() -> Value {
    let myself = std::process::id().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let found: Vec<Value> = processes
        .filter(|entry| entry.file_name().to_string_lossy() != myself)
        .filter_map(|entry| {
            let process = entry.path();
            let program = fs::read_link(process.join("exe")).ok()?;
            // An update leaves the running program deleted.
            file_name(&program)?.starts_with("osquery-ebpf").then(|| instance(&process, &program))
        })
        .collect();
    Value::Array(found)
}

fn instance(process: &Path, program: &Path) -> Value {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    let status: serde_json::Map<String, Value> = status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| STATUS.contains(name))
        .map(|(name, value)| (name.to_owned(), Value::String(value.trim().to_owned())))
        .collect();
    let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
    let arguments: Vec<String> = arguments
        .split(|byte| *byte == 0)
        .filter(|argument| !argument.is_empty())
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    json!({
        "pid": file_name(process),
        "program": program,
        "arguments": arguments,
        "status": status,
        "stat": read(process.join("stat")),
        "limits": read(process.join("limits")),
        "cgroup": read(process.join("cgroup")),
        "io": read(process.join("io")),
        "descriptors": fs::read_dir(process.join("fd")).map(Iterator::count).ok(),
    })
}

#[cfg(test)]
mod tests;
