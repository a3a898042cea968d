//! What the kernel is asked to refuse us: a seccomp filter for this process, another for its helper.
//!
//! The process's names what it never does, and all calls newer than this list, so that a library
//! that does something harmless in a new way is not in trouble. The helper's names what it does.
//! Refusals are errors, not the end: whoever asks is told by errno, and counts it.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};

/// Whether files may be opened for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// Not one, once the filter is in place.
    ReadOnly,
    /// As permissions allow: for a prompt, which keeps a history.
    Writable,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Other programs, other identities, other namespaces, other processes' memory, the kernel's own
/// configuration: what nothing of ours does once it runs.
const NEVER: &[c_long] = &[
    // Programs and processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_personality,
    // Who we are.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_unshare,
    libc::SYS_setns,
    // What is mounted.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    // What the helper does for us.
    libc::SYS_fanotify_init,
    libc::SYS_perf_event_open,
    // The kernel and the clock.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    // Keys, and ways to do things past this filter.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_memfd_secret,
    libc::SYS_vhangup,
];
/// The same, where the architecture has more.
#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_uselib,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_kexec_file_load,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[c_long] = &[libc::SYS_kexec_file_load];

/// Changes to what is in directories and inodes, but for those to our own sockets.
const CHANGES: &[c_long] = &[
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mknodat,
    libc::SYS_mkdirat,
    libc::SYS_fchownat,
    libc::SYS_fchown,
    libc::SYS_truncate,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_utimensat,
];
#[cfg(target_arch = "x86_64")]
const CHANGES_HERE: &[c_long] = &[
    libc::SYS_creat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_mknod,
    libc::SYS_mkdir,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const CHANGES_HERE: &[c_long] = &[libc::SYS_renameat];

/// Calls whose arguments a filter cannot see. Libraries take `ENOSYS` for an older kernel and use
/// the ones before, whose arguments it can.
const UNSEEN: &[c_long] = &[libc::SYS_clone3, libc::SYS_openat2];

/// All that the helper does: `admin::serve` and saying that it is ready, memory, its end.
const HELPERS: &[c_long] = &[
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_perf_event_open,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The last call that these lists know of (Linux 6.10). Later ones may do any of the above.
const LAST_KNOWN: u32 = 462;
const _: () = assert!(libc::SYS_mseal == LAST_KNOWN as c_long);

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;
#[cfg(target_arch = "riscv64")]
const ARCH: TargetArch = TargetArch::riscv64;

/// Installs the process's filter on this thread and on those it makes from now on.
///
/// # Errors
/// The kernel has no seccomp filters, or the filter cannot be made, which tests rule out.
pub fn install(files: Files) -> io::Result<()> {
    let mut never = whole(NEVER.iter().chain(NEVER_HERE));
    never.insert(libc::SYS_clone, vec![new_process()?]);
    let whole_marks = [libc::FAN_MARK_FILESYSTEM, libc::FAN_MARK_MOUNT];
    let whole_marks: io::Result<_> =
        whole_marks.map(|flag| bits(1, flag, flag)).into_iter().collect();
    // Those are the helper's to make.
    never.insert(libc::SYS_fanotify_mark, whole_marks?);
    if files == Files::ReadOnly {
        never.extend(whole(CHANGES.iter().chain(CHANGES_HERE)));
        never.insert(libc::SYS_openat, writes(2)?);
        never.insert(libc::SYS_open_by_handle_at, writes(2)?);
        #[cfg(target_arch = "x86_64")]
        never.insert(libc::SYS_open, writes(1)?);
    }
    let unseen = whole(UNSEEN);
    let refuse = |errno: i32| SeccompAction::Errno(errno.cast_unsigned());
    for program in [
        compile(never, SeccompAction::Allow, refuse(libc::EPERM))?,
        compile(unseen, SeccompAction::Allow, refuse(libc::ENOSYS))?,
        no_later_calls(),
    ] {
        apply_filter(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Installs the helper's.
///
/// # Errors
/// As for [`install`].
pub fn install_helpers() -> io::Result<()> {
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let program = compile(whole(HELPERS), refuse, SeccompAction::Allow)?;
    apply_filter(&program).map_err(io::Error::other)
}

fn whole<'a>(calls: impl IntoIterator<Item = &'a c_long>) -> Rules {
    calls.into_iter().map(|&call| (call, Vec::new())).collect()
}

fn compile(rules: Rules, other: SeccompAction, named: SeccompAction) -> io::Result<BpfProgram> {
    SeccompFilter::new(rules, other, named, ARCH)
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)
}

/// An argument that has, of the bits in `mask`, exactly those of `value`.
fn bits(argument: u8, mask: u32, value: u32) -> io::Result<SeccompRule> {
    let operator = SeccompCmpOp::MaskedEq(mask.into());
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value.into())
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(io::Error::other)
}

/// clone(2) for anything but a thread of ours: so no process, and no user namespace either.
fn new_process() -> io::Result<SeccompRule> {
    bits(0, libc::CLONE_THREAD.cast_unsigned(), 0)
}

/// The flags in `argument` with which a file could be changed or made.
fn writes(argument: u8) -> io::Result<Vec<SeccompRule>> {
    let accesses = libc::O_ACCMODE.cast_unsigned();
    let tmpfile = libc::O_TMPFILE.cast_unsigned() & !libc::O_DIRECTORY.cast_unsigned();
    // 3, the fourth of the access modes, is for ioctls only, but asks for write permission.
    [(accesses, libc::O_WRONLY), (accesses, libc::O_RDWR), (accesses, libc::O_ACCMODE)]
        .into_iter()
        .map(|(mask, value)| (mask, value.cast_unsigned()))
        .chain(
            [libc::O_CREAT, libc::O_TRUNC].map(|flag| (flag.cast_unsigned(), flag.cast_unsigned())),
        )
        .chain([(tmpfile, tmpfile)])
        .map(|(mask, value)| bits(argument, mask, value))
        .collect()
}

/// Refuses every call after [`LAST_KNOWN`]; on x86-64 that includes those of the x32 ABI, which are
/// the same calls by numbers with bit 30.
fn no_later_calls() -> BpfProgram {
    // include/uapi/linux/bpf_common.h and filter.h.
    const LOAD_WORD: u16 = 0x20;
    const JUMP_GREATER: u16 = 0x25;
    const RETURN: u16 = 0x06;
    let errno = libc::ENOSYS.cast_unsigned();
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        // seccomp_data.nr; the other filters have refused every other architecture.
        step(LOAD_WORD, 0, 0, 0),
        step(JUMP_GREATER, 0, 1, LAST_KNOWN),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}
