//! What the host's facts mean for each source, in words an operator can act on.

use super::{BTF_PATH, Capability, Host, Lockdown};

/// Why a source cannot work on this host. [`Obstacle::why`] and [`Obstacle::remedy`] are sentences
/// without a full stop, as in [`StartError`](crate::source::StartError).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// This capability is missing.
    Missing(Capability),
    /// The process is root of a user namespace, which the host does not take for root.
    UserNamespace,
    /// The source is only to be had in the initial pid namespace.
    PidNamespace,
    /// The kernel does not describe its types.
    NoBtf,
    /// Lockdown forbids probes to read kernel memory.
    Lockdown,
}

impl Obstacle {
    /// What is in the way.
    pub fn why(self) -> String {
        match self {
            Self::Missing(capability) => {
                format!("needs root ({} is missing)", capability.as_str())
            }
            Self::UserNamespace => {
                "root of a user namespace (rootless container) is not root of the host".to_owned()
            }
            Self::PidNamespace => {
                "only processes of the host's own pid namespace are served by the kernel".to_owned()
            }
            Self::NoBtf => format!("this kernel has no BTF ({BTF_PATH} missing or unreadable)"),
            Self::Lockdown => {
                "kernel lockdown is in confidentiality mode, so BPF may not read kernel memory"
                    .to_owned()
            }
        }
    }

    /// What can be done about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Missing(_) => "run with sudo",
            Self::UserNamespace => "run it on the host, or in a privileged container",
            Self::PidNamespace => "run it on the host, or with --pid=host",
            Self::NoBtf => {
                "mount /sys if it is not there; else a kernel built with CONFIG_DEBUG_INFO_BTF is \
                 needed (Debian 11, RHEL 8.2, Ubuntu 20.10 and later)"
            }
            Self::Lockdown => "boot with lockdown=integrity, or go on with audit",
        }
    }
}

/// What keeps BPF from working. `None`: nothing that can be known before trying.
pub fn bpf(host: &Host) -> Option<Obstacle> {
    let has = |capability| host.capabilities.has(capability);
    // CAP_BPF and CAP_PERFMON were split off CAP_SYS_ADMIN in 5.8, which still stands for both.
    if !has(Capability::SysAdmin) {
        for needed in [Capability::Bpf, Capability::Perfmon] {
            if !has(needed) {
                return Some(Obstacle::Missing(needed));
            }
        }
    }
    if host.initial_user_namespace == Some(false) {
        return Some(Obstacle::UserNamespace);
    }
    if !host.kernel_btf {
        return Some(Obstacle::NoBtf);
    }
    (host.lockdown == Some(Lockdown::Confidentiality)).then_some(Obstacle::Lockdown)
}

/// What keeps audit from working: from being registered with (`control`), which `audit_netlink_ok`
/// (kernel/audit.c) grants in the initial pid namespace only, or from being read as multicast.
pub fn audit(host: &Host, control: bool) -> Option<Obstacle> {
    if control {
        netlink(host, Capability::AuditControl).or_else(|| outside_pid_namespace(host))
    } else {
        netlink(host, Capability::AuditRead)
    }
}

/// What keeps the process connector from working; the pid namespace is asked for by
/// `cn_proc_mcast_ctl` (drivers/connector/cn_proc.c).
pub fn connector(host: &Host) -> Option<Obstacle> {
    netlink(host, Capability::NetAdmin).or_else(|| outside_pid_namespace(host))
}

fn netlink(host: &Host, needed: Capability) -> Option<Obstacle> {
    if !host.capabilities.has(needed) {
        return Some(Obstacle::Missing(needed));
    }
    (host.initial_user_namespace == Some(false)).then_some(Obstacle::UserNamespace)
}

fn outside_pid_namespace(host: &Host) -> Option<Obstacle> {
    (host.initial_pid_namespace == Some(false)).then_some(Obstacle::PidNamespace)
}

/// What keeps fanotify marks on file systems from working.
pub fn fanotify(host: &Host) -> Option<Obstacle> {
    if !host.admin_helper && !host.capabilities.has(Capability::SysAdmin) {
        return Some(Obstacle::Missing(Capability::SysAdmin));
    }
    if host.initial_user_namespace == Some(false) {
        return Some(Obstacle::UserNamespace);
    }
    // open_by_handle_at, which turns what is reported into paths.
    (!host.capabilities.has(Capability::DacReadSearch))
        .then_some(Obstacle::Missing(Capability::DacReadSearch))
}
