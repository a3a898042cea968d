//! System calls by architecture and number: audit gives nothing else.
//!
//! Owns the numbers of the calls we ask for, on the two architectures we build for and the 32-bit
//! ones their kernels also run, and which kind of event each call makes. The numbers are those of
//! the kernel's `syscall_32.tbl`, `syscall_64.tbl`, `arch/arm/tools/syscall.tbl` and
//! `asm-generic/unistd.h`. The x32 calls of x86 are left out: their numbers lie beyond the bitmask
//! of an audit rule, so the kernel cannot report them.
//!
//! Forks and exits are left out too, since audit cannot tell them right: a fork's `exit=` is the
//! child's pid in the caller's pid namespace and the flags of `clone3` are in memory, so threads
//! cannot be told from processes; `exit_group` is not what most processes killed by a signal end
//! with. The process connector tells both exactly.

use crate::event::EventKind;

/// An instruction set, as in `arch=` (`AUDIT_ARCH_*` in `include/uapi/linux/audit.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arch {
    /// x86, 64 bit.
    X86_64,
    /// x86, 32 bit.
    I386,
    /// ARM, 64 bit.
    Aarch64,
    /// ARM, 32 bit, little endian.
    Arm,
}

impl Arch {
    /// From the number in a record.
    pub const fn from_token(token: u32) -> Option<Self> {
        Some(match token {
            0xc000_003e => Self::X86_64,
            0x4000_0003 => Self::I386,
            0xc000_00b7 => Self::Aarch64,
            0x4000_0028 => Self::Arm,
            _ => return None,
        })
    }

    /// The number the kernel uses in records and rules.
    pub const fn token(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::I386 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// The instruction sets of programs on this host: its own, and the 32-bit one beside it.
    pub const fn of_host() -> &'static [Self] {
        if cfg!(target_arch = "x86_64") {
            &[Self::X86_64, Self::I386]
        } else if cfg!(target_arch = "aarch64") {
            &[Self::Aarch64, Self::Arm]
        } else {
            &[]
        }
    }

    const fn column(self) -> usize {
        match self {
            Self::X86_64 => 0,
            Self::I386 => 1,
            Self::Aarch64 => 2,
            Self::Arm => 3,
        }
    }
}

macro_rules! calls {
    ($($call:ident $name:literal,)*) => {
        /// A system call we know, whatever its number and width.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each is the call it names")]
        pub enum Call { $($call,)* }

        impl Call {
            /// Its name, without the `32` and `64` some architectures put behind it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$call => $name,)* }
            }
        }
    };
}

calls! {
    Execve "execve",
    Execveat "execveat",
    Connect "connect",
    Bind "bind",
    Accept "accept",
    Accept4 "accept4",
    Listen "listen",
    Socketcall "socketcall",
    Setuid "setuid",
    Setgid "setgid",
    Setreuid "setreuid",
    Setregid "setregid",
    Setresuid "setresuid",
    Setresgid "setresgid",
    Setfsuid "setfsuid",
    Setfsgid "setfsgid",
    Unshare "unshare",
    Setns "setns",
    Open "open",
    Openat "openat",
    Openat2 "openat2",
    Creat "creat",
    Truncate "truncate",
    Ftruncate "ftruncate",
    Rename "rename",
    Renameat "renameat",
    Renameat2 "renameat2",
    Link "link",
    Linkat "linkat",
    Symlink "symlink",
    Symlinkat "symlinkat",
    Unlink "unlink",
    Unlinkat "unlinkat",
    Mkdir "mkdir",
    Mkdirat "mkdirat",
    Mknod "mknod",
    Mknodat "mknodat",
    Rmdir "rmdir",
    Chmod "chmod",
    Fchmod "fchmod",
    Fchmodat "fchmodat",
    Fchmodat2 "fchmodat2",
    Chown "chown",
    Lchown "lchown",
    Fchown "fchown",
    Fchownat "fchownat",
    Setxattr "setxattr",
    Lsetxattr "lsetxattr",
    Fsetxattr "fsetxattr",
    Removexattr "removexattr",
    Lremovexattr "lremovexattr",
    Fremovexattr "fremovexattr",
    Utime "utime",
    Utimes "utimes",
    Futimesat "futimesat",
    Utimensat "utimensat",
}

/// No such call on that architecture.
const NONE: u16 = u16::MAX;

/// Numbers on x86_64, i386, aarch64 and arm. Calls with an older, narrower form have two lines.
const NUMBERS: &[(Call, [u16; 4])] = {
    use Call::*;
    &[
        (Execve, [59, 11, 221, 11]),
        (Execveat, [322, 358, 281, 387]),
        (Connect, [42, 362, 203, 283]),
        (Bind, [49, 361, 200, 282]),
        (Accept, [43, NONE, 202, 285]),
        (Accept4, [288, 364, 242, 366]),
        (Listen, [50, 363, 201, 284]),
        (Socketcall, [NONE, 102, NONE, 102]),
        (Setuid, [105, 23, 146, 23]),
        (Setuid, [NONE, 213, NONE, 213]),
        (Setgid, [106, 46, 144, 46]),
        (Setgid, [NONE, 214, NONE, 214]),
        (Setreuid, [113, 70, 145, 70]),
        (Setreuid, [NONE, 203, NONE, 203]),
        (Setregid, [114, 71, 143, 71]),
        (Setregid, [NONE, 204, NONE, 204]),
        (Setresuid, [117, 164, 147, 164]),
        (Setresuid, [NONE, 208, NONE, 208]),
        (Setresgid, [119, 170, 149, 170]),
        (Setresgid, [NONE, 210, NONE, 210]),
        (Setfsuid, [122, 138, 151, 138]),
        (Setfsuid, [NONE, 215, NONE, 215]),
        (Setfsgid, [123, 139, 152, 139]),
        (Setfsgid, [NONE, 216, NONE, 216]),
        (Unshare, [272, 310, 97, 337]),
        (Setns, [308, 346, 268, 375]),
        (Open, [2, 5, NONE, 5]),
        (Openat, [257, 295, 56, 322]),
        (Openat2, [437, 437, 437, 437]),
        (Creat, [85, 8, NONE, 8]),
        (Truncate, [76, 92, 45, 92]),
        (Truncate, [NONE, 193, NONE, 193]),
        (Ftruncate, [77, 93, 46, 93]),
        (Ftruncate, [NONE, 194, NONE, 194]),
        (Rename, [82, 38, NONE, 38]),
        (Renameat, [264, 302, 38, 329]),
        (Renameat2, [316, 353, 276, 382]),
        (Link, [86, 9, NONE, 9]),
        (Linkat, [265, 303, 37, 330]),
        (Symlink, [88, 83, NONE, 83]),
        (Symlinkat, [266, 304, 36, 331]),
        (Unlink, [87, 10, NONE, 10]),
        (Unlinkat, [263, 301, 35, 328]),
        (Mkdir, [83, 39, NONE, 39]),
        (Mkdirat, [258, 296, 34, 323]),
        (Mknod, [133, 14, NONE, 14]),
        (Mknodat, [259, 297, 33, 324]),
        (Rmdir, [84, 40, NONE, 40]),
        (Chmod, [90, 15, NONE, 15]),
        (Fchmod, [91, 94, 52, 94]),
        (Fchmodat, [268, 306, 53, 333]),
        (Fchmodat2, [452, 452, 452, 452]),
        (Chown, [92, 182, NONE, 182]),
        (Chown, [NONE, 212, NONE, 212]),
        (Lchown, [94, 16, NONE, 16]),
        (Lchown, [NONE, 198, NONE, 198]),
        (Fchown, [93, 95, 55, 95]),
        (Fchown, [NONE, 207, NONE, 207]),
        (Fchownat, [260, 298, 54, 325]),
        (Setxattr, [188, 226, 5, 226]),
        (Lsetxattr, [189, 227, 6, 227]),
        (Fsetxattr, [190, 228, 7, 228]),
        (Removexattr, [197, 235, 14, 235]),
        (Lremovexattr, [198, 236, 15, 236]),
        (Fremovexattr, [199, 237, 16, 237]),
        (Utime, [132, 30, NONE, 30]),
        (Utimes, [235, 271, NONE, 269]),
        (Futimesat, [261, 299, NONE, 326]),
        (Utimensat, [280, 320, 88, 348]),
        (Utimensat, [NONE, 412, NONE, 412]),
    ]
};

impl Call {
    /// From the numbers in a record.
    pub fn find(arch: Arch, number: u32) -> Option<Self> {
        let number = u16::try_from(number).ok().filter(|&number| number != NONE)?;
        let row = NUMBERS.iter().find(|(_, row)| row.get(arch.column()) == Some(&number));
        row.map(|&(call, _)| call)
    }

    /// Every number of this call on `arch`.
    pub fn numbers(self, arch: Arch) -> impl Iterator<Item = u16> {
        let rows = NUMBERS.iter().filter(move |(call, _)| *call == self);
        let numbers = rows.filter_map(move |(_, row)| row.get(arch.column()).copied());
        numbers.filter(|&number| number != NONE)
    }

    /// The kind of event it makes. `None` for `socketcall`, whose first argument decides.
    pub const fn kind(self) -> Option<EventKind> {
        Some(match self {
            Self::Execve | Self::Execveat => EventKind::Exec,
            Self::Connect | Self::Bind | Self::Accept | Self::Accept4 | Self::Listen => {
                EventKind::Socket
            }
            Self::Socketcall => return None,
            Self::Setuid
            | Self::Setgid
            | Self::Setreuid
            | Self::Setregid
            | Self::Setresuid
            | Self::Setresgid
            | Self::Setfsuid
            | Self::Setfsgid => EventKind::Setid,
            Self::Unshare | Self::Setns => EventKind::Namespace,
            _ => EventKind::File,
        })
    }

    /// What `socketcall` does when its first argument is `number` (`SYS_*` in
    /// `include/uapi/linux/net.h`).
    pub const fn of_socketcall(number: u64) -> Option<Self> {
        Some(match number {
            2 => Self::Bind,
            3 => Self::Connect,
            4 => Self::Listen,
            5 => Self::Accept,
            18 => Self::Accept4,
            _ => return None,
        })
    }
}
