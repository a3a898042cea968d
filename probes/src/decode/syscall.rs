//! Names of the system calls that records give by number.

use crate::wire;

/// A call by its native number here and the name it has in the table.
macro_rules! names {
    ($number:expr, $($name:literal = $value:expr),+ $(,)?) => {{
        let number = i64::from($number);
        $(if number == i64::from($value) { return Some($name); })+
        None
    }};
}

/// The calls that make a process.
pub(super) fn fork(number: u32, abi: u32) -> Option<&'static str> {
    match abi {
        wire::ABI_NATIVE => native_fork(number),
        // The same in arch/x86/entry/syscalls/syscall_32.tbl and arch/arm/tools/syscall.tbl.
        wire::ABI_COMPAT => {
            names!(number, "fork" = 2, "vfork" = 190, "clone" = 120, "clone3" = 435)
        }
        _ => None,
    }
}

fn native_fork(number: u32) -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    if let Some(name) = x86_64_fork(number) {
        return Some(name);
    }
    names!(number, "clone" = libc::SYS_clone, "clone3" = libc::SYS_clone3)
}

#[cfg(target_arch = "x86_64")]
fn x86_64_fork(number: u32) -> Option<&'static str> {
    names!(number, "fork" = libc::SYS_fork, "vfork" = libc::SYS_vfork)
}

/// The calls that change ids and namespaces, by the numbers of `wire.h`.
pub(super) const fn change(call: u32) -> Option<&'static str> {
    Some(match call {
        wire::SETUID => "setuid",
        wire::SETGID => "setgid",
        wire::SETREUID => "setreuid",
        wire::SETREGID => "setregid",
        wire::SETRESUID => "setresuid",
        wire::SETRESGID => "setresgid",
        wire::SETFSUID => "setfsuid",
        wire::SETFSGID => "setfsgid",
        wire::UNSHARE => "unshare",
        wire::SETNS => "setns",
        _ => return None,
    })
}
