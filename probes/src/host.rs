//! What this host is and what we may do on it, read once at start.
//!
//! Owns the facts only. What follows from them, and how to say so to an operator, is in [`rules`],
//! which reads nothing and is tested without a kernel. A fact that cannot be read is `None`.

use std::path::Path;

use rustix::fs::stat;

pub mod rules;
#[cfg(test)]
mod tests;

/// Type information of the running kernel, without which no probe can be fitted to it.
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Inode of the initial user namespace (`PROC_USER_INIT_INO`, include/linux/proc_ns.h, 3.8).
const USER_INIT_INO: u64 = 0xEFFF_FFFD;

/// Inode of the initial pid namespace (`PROC_PID_INIT_INO`, as above).
const PID_INIT_INO: u64 = 0xEFFF_FFFC;

/// The facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// `uname -r`.
    pub kernel_release: String,
    /// `uname -m`.
    pub machine: String,
    /// CPUs that run now. Sizes of our own go by this.
    pub online_cpus: Option<u32>,
    /// CPUs that may ever be plugged in: what per-CPU maps have a value for.
    pub possible_cpus: Option<u32>,
    /// [`BTF_PATH`] is there and readable.
    pub kernel_btf: bool,
    /// Effective capabilities of this process.
    pub capabilities: Capabilities,
    /// A helper makes the calls that need `CAP_SYS_ADMIN`, whether this process has it or not.
    pub admin_helper: bool,
    /// What kernel lockdown forbids. `None`: no lockdown, or securityfs is not mounted.
    pub lockdown: Option<Lockdown>,
    /// tracefs is mounted, itself or within debugfs.
    pub tracefs_mounted: bool,
    /// Which cgroup hierarchies are mounted.
    pub cgroups: Option<CgroupLayout>,
    /// `kernel.unprivileged_bpf_disabled`: 0, 1 or 2.
    pub unprivileged_bpf_disabled: Option<u8>,
    /// We see pids as the kernel does, not as a container does.
    pub initial_pid_namespace: Option<bool>,
    /// Our capabilities hold for the host, not for a user namespace.
    pub initial_user_namespace: Option<bool>,
}

impl Host {
    /// Reads every fact.
    pub fn read() -> Self {
        let uname = rustix::system::uname();
        let text = |path: &str| std::fs::read_to_string(path).ok();
        let mounts = text("/proc/self/mounts").unwrap_or_default();
        Self {
            kernel_release: uname.release().to_string_lossy().into_owned(),
            machine: uname.machine().to_string_lossy().into_owned(),
            online_cpus: online_cpus(),
            possible_cpus: text("/sys/devices/system/cpu/possible")
                .and_then(|list| cpu_count(&list)),
            kernel_btf: std::fs::File::open(BTF_PATH).is_ok(),
            capabilities: text("/proc/self/status")
                .and_then(|status| Capabilities::parse(&status))
                .unwrap_or_default(),
            admin_helper: crate::admin::is_delegated(),
            lockdown: text("/sys/kernel/security/lockdown").and_then(|text| Lockdown::parse(&text)),
            tracefs_mounted: has_tracefs(&mounts),
            cgroups: CgroupLayout::parse(&mounts),
            unprivileged_bpf_disabled: text("/proc/sys/kernel/unprivileged_bpf_disabled")
                .and_then(|text| text.trim_ascii().parse().ok()),
            initial_pid_namespace: is_inode("/proc/self/ns/pid", PID_INIT_INO),
            initial_user_namespace: is_inode("/proc/self/ns/user", USER_INIT_INO),
        }
    }
}

/// How many CPUs run now.
pub fn online_cpus() -> Option<u32> {
    cpu_count(&std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?)
}

fn is_inode(path: impl AsRef<Path>, inode: u64) -> Option<bool> {
    stat(path.as_ref()).ok().map(|found| found.st_ino == inode)
}

/// CPUs in a list such as `0-3,8`.
fn cpu_count(list: &str) -> Option<u32> {
    let mut count: u32 = 0;
    for part in list.trim_ascii().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

/// The file system types of `/proc/self/mounts`.
fn types(mounts: &str) -> impl Iterator<Item = &str> {
    mounts.lines().filter_map(|line| line.split(' ').nth(2))
}

/// debugfs mounts tracefs by itself on first use of its `tracing` directory.
fn has_tracefs(mounts: &str) -> bool {
    types(mounts).any(|kind| matches!(kind, "tracefs" | "debugfs"))
}

/// A set of capabilities, as a mask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

/// Capabilities some source needs; the values are those of include/uapi/linux/capability.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the kernel's names")]
pub enum Capability {
    DacReadSearch = 2,
    NetAdmin = 12,
    SysPtrace = 19,
    SysAdmin = 21,
    SysResource = 24,
    AuditControl = 30,
    AuditRead = 37,
    Perfmon = 38,
    Bpf = 39,
}

impl Capability {
    /// The kernel's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::AuditControl => "CAP_AUDIT_CONTROL",
            Self::AuditRead => "CAP_AUDIT_READ",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }
}

impl Capabilities {
    /// Whether it is in the set.
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u8) != 0
    }

    /// The set with one more in it.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | (1 << capability as u8))
    }

    /// Reads the `CapEff` line of `/proc/PID/status`.
    fn parse(status: &str) -> Option<Self> {
        let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(mask.trim_ascii(), 16).ok().map(Self)
    }
}

/// Kernel lockdown (kernel_lockdown(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lockdown {
    /// Nothing is forbidden.
    None,
    /// What could change the running kernel is forbidden.
    Integrity,
    /// So is what could read its memory, as probes do.
    Confidentiality,
}

impl Lockdown {
    /// The word in brackets is in force: `none [integrity] confidentiality`.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once('[')?;
        match rest.split_once(']')?.0 {
            "none" => Some(Self::None),
            "integrity" => Some(Self::Integrity),
            "confidentiality" => Some(Self::Confidentiality),
            _ => None,
        }
    }
}

/// Which cgroup hierarchies are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupLayout {
    /// Only controllers of their own hierarchy.
    V1,
    /// Only the unified one.
    V2,
    /// Both.
    Hybrid,
}

impl CgroupLayout {
    fn parse(mounts: &str) -> Option<Self> {
        let has = |wanted: &str| types(mounts).any(|kind| kind == wanted);
        match (has("cgroup"), has("cgroup2")) {
            (true, true) => Some(Self::Hybrid),
            (true, false) => Some(Self::V1),
            (false, true) => Some(Self::V2),
            (false, false) => None,
        }
    }

    /// As shown in diagnostics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Hybrid => "hybrid",
        }
    }
}
