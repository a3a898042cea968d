//! Giving up what is not needed, before anything is read or started.
//!
//! Owns the order of it: a helper is forked that keeps `CAP_SYS_ADMIN` and little else
//! ([`osquery_ebpf_probes::admin`] says what for); then this process drops every capability but
//! [`KEPT`], empties the sets from which more could be had, forbids itself new privileges and core
//! dumps, and lets the kernel refuse what it never does ([`filter`]). All of it before the first
//! thread, since each of these holds for one thread and for those it makes. So whatever works at the
//! start works later too: sources are started over, by configuration or for want of a better one,
//! with the same privileges that they were first started with.
//!
//! What is kept, and why it cannot go once the sources run:
//!
//! | capability | needed while running for |
//! |---|---|
//! | `CAP_BPF`, `CAP_PERFMON` | loading and attaching programs when the configuration changes; reading their counters |
//! | `CAP_AUDIT_CONTROL` | audit rules that follow the watched paths, and putting back what was there |
//! | `CAP_AUDIT_READ` | joining audit's multicast group when the ladder comes to it |
//! | `CAP_NET_ADMIN` | the same for the process connector; receive buffers above the limit |
//! | `CAP_DAC_READ_SEARCH` | `open_by_handle_at`, and files to be hashed in directories of other users |
//! | `CAP_SYS_PTRACE` | `/proc/PID/exe`, `cwd`, `environ` and `ns` of others |
//! | `CAP_SYS_NICE` | the priority of the threads that read events |
//!
//! A process that may ptrace could become any other by writing to `/proc/PID/mem`: that is why the
//! filter lets no file be opened for writing. What stays possible for someone who takes this process
//! over: reading what root can read, watching what we watch, and talking as root to daemons that
//! trust root on their sockets.

use std::io;
use std::os::fd::OwnedFd;

use osquery_ebpf_probes::admin;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities, set_name,
    set_no_new_privs,
};

pub mod filter;
#[cfg(test)]
mod tests;

pub use filter::Files;

/// What is kept of what we were started with.
pub const KEPT: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::AUDIT_CONTROL)
    .union(CapabilitySet::AUDIT_READ)
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_NICE);
/// What the helper keeps: to mark a file system one must be able to read its root, too.
pub const HELPERS: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::DAC_READ_SEARCH);
/// The helper's name in `ps`.
pub const HELPER_NAME: &std::ffi::CStr = c"osq-ebpf-admin";

/// Whether privileges are given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Privileges {
    /// All that is not needed is given up before anything is started.
    #[default]
    Drop,
    /// They stay as they are: for tracing and debugging of this program.
    Keep,
}

/// Why privileges could not be given up.
#[derive(Debug, thiserror::Error)]
#[error("privileges cannot be given up: {what}: {why}; --privileges=keep goes on with all of them")]
pub struct PrivilegeError {
    what: &'static str,
    why: io::Error,
}

fn failed(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> PrivilegeError {
    move |errno| PrivilegeError { what, why: errno.into() }
}

/// What a process of ours keeps of the capabilities it `has`.
///
/// Where `CAP_BPF` and `CAP_PERFMON` were not given but `CAP_SYS_ADMIN`, which stands for both, was
/// (older container runtimes know no others), that has to stay, or there would be no BPF.
pub fn kept_of(has: CapabilitySet) -> CapabilitySet {
    let both = CapabilitySet::BPF.union(CapabilitySet::PERFMON);
    let kept = if has.contains(both) { KEPT } else { KEPT.union(CapabilitySet::SYS_ADMIN) };
    kept.intersection(has)
}

/// Gives up all that is not needed. To be called before any other thread is there.
///
/// # Errors
/// [`PrivilegeError`]: what the kernel refused. Some of it may be gone by then.
pub fn give_up(files: Files) -> Result<(), PrivilegeError> {
    // For kernels before 5.11, where maps count as locked memory. Where it may not be raised, libbpf
    // says so when it matters.
    let unlimited = Rlimit { current: None, maximum: None };
    if let Err(errno) = setrlimit(Resource::Memlock, unlimited) {
        log::debug!("the limit of locked memory stays as it is: {errno}");
    }
    no_core_dumps()?;
    let has = capabilities(None).map_err(failed("capget"))?.permitted;
    if has.contains(CapabilitySet::SYS_ADMIN) {
        admin::delegate(start_helper()?);
    }
    let kept = kept_of(has);
    if kept.contains(CapabilitySet::SYS_ADMIN) {
        log::warn!(
            "CAP_SYS_ADMIN is kept, as it stands for CAP_BPF and CAP_PERFMON, which were not given"
        );
    }
    keep_only(kept)?;
    filter::install(files).map_err(|why| PrivilegeError { what: "seccomp", why })
}

fn no_core_dumps() -> Result<(), PrivilegeError> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(failed("RLIMIT_CORE"))
}

/// Leaves this thread these capabilities, and no way to others.
fn keep_only(kept: CapabilitySet) -> Result<(), PrivilegeError> {
    // The bounding set is what a program that is executed could gain: nothing is. Beyond the last
    // capability the kernel knows, it says EINVAL.
    let may = capabilities(None).map_err(failed("capget"))?.effective;
    if may.contains(CapabilitySet::SETPCAP) {
        for number in 0..u64::BITS {
            let one = CapabilitySet::from_bits_retain(1 << number);
            if capability_is_in_bounding_set(one).unwrap_or(false) {
                remove_capability_from_bounding_set(one).map_err(failed("the bounding set"))?;
            }
        }
    } else {
        // No program will be executed, nor would one gain anything (no_new_privs).
        log::debug!("the bounding set stays, for want of CAP_SETPCAP");
    }
    clear_ambient_capability_set().map_err(failed("the ambient set"))?;
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(failed("capset"))?;
    set_no_new_privs(true).map_err(failed("PR_SET_NO_NEW_PRIVS"))
}

/// Forks the helper. What comes back is the way to it; it ends when that is closed.
fn start_helper() -> Result<OwnedFd, PrivilegeError> {
    let (ours, helpers) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(failed("socketpair"))?;
    // SAFETY: no other thread is there, so the child finds no lock held; it never returns from here.
    match unsafe { libc::fork() } {
        -1 => Err(PrivilegeError { what: "fork", why: io::Error::last_os_error() }),
        0 => {
            drop(ours);
            let code = match be_helper(&helpers) {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("osquery-ebpf: the helper for file events: {error}");
                    1
                }
            };
            // SAFETY: ends this process at once; what the parent registered for its own end is not
            // to run here.
            unsafe { libc::_exit(code) }
        }
        _ => {
            drop(helpers);
            let (said, _) = recv(&ours, &mut [0], RecvFlags::empty()).map_err(failed("recv"))?;
            if said == 0 {
                let why = io::Error::other("it ended before it was ready");
                return Err(PrivilegeError { what: "a helper for file events", why });
            }
            Ok(ours)
        }
    }
}

fn be_helper(requests: &OwnedFd) -> Result<(), PrivilegeError> {
    // Ctrl-C and a service manager's SIGTERM reach every process of ours: the parent ends in order,
    // which needs the helper, and then closes the socket.
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: SIG_IGN is a valid disposition, and nothing of ours handles signals here.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    set_name(HELPER_NAME).map_err(failed("PR_SET_NAME"))?;
    keep_only(HELPERS)?;
    filter::install_helpers().map_err(|why| PrivilegeError { what: "seccomp", why })?;
    send(requests, b"r", SendFlags::NOSIGNAL).map_err(failed("send"))?;
    admin::serve(requests);
    Ok(())
}
