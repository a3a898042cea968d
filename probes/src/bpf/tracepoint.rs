//! Per-call tracepoints (`syscalls:sys_enter_X`), without a mounted tracefs.
//!
//! A classic tracepoint is named to `perf_event_open(2)` by a number that only tracefs tells. Many
//! hosts and containers have none mounted, and mounting one is not ours to do: so a private instance
//! is made with fsopen(2), which is in no mount namespace and is gone when its descriptor closes.

use std::fs;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// Where tracefs is mounted where it is.
const MOUNTED: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Where the numbers of tracepoints are read.
pub enum TraceFs {
    /// The host has it mounted here.
    Mounted(PathBuf),
    /// Our own, which nobody else sees.
    Detached(OwnedFd),
}

impl TraceFs {
    /// Finds the mounted one, or makes a detached one.
    ///
    /// # Errors
    /// Why neither can be had: `ENODEV` without CONFIG_TRACING, `EPERM` without CAP_SYS_ADMIN,
    /// `ENOSYS` before 5.2.
    pub fn open() -> io::Result<Self> {
        for path in MOUNTED {
            let path = PathBuf::from(path);
            if path.join("events").is_dir() {
                return Ok(Self::Mounted(path));
            }
        }
        let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(context.as_fd())?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        Ok(Self::Detached(fsmount(context.as_fd(), flags, attributes)?))
    }

    /// The number of `category:name`.
    ///
    /// # Errors
    /// `ENOENT`: the kernel has no such tracepoint (the call does not exist, or
    /// CONFIG_FTRACE_SYSCALLS is off).
    pub fn id(&self, category: &str, name: &str) -> io::Result<u64> {
        let path = format!("events/{category}/{name}/id");
        let text = match self {
            Self::Mounted(root) => fs::read_to_string(root.join(&path))?,
            Self::Detached(root) => {
                let file = openat(root, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
                io::read_to_string(fs::File::from(file))?
            }
        };
        text.trim().parse().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{path} holds {text:?}"))
        })
    }
}

/// `PERF_TYPE_TRACEPOINT`.
const PERF_TYPE_TRACEPOINT: u32 = 2;
/// `PERF_FLAG_FD_CLOEXEC`.
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;

/// `struct perf_event_attr` as of its second published size; the kernel takes the rest as 0.
#[repr(C)]
#[derive(Default)]
struct PerfEventAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    rest: [u64; 6],
}

/// A perf event on a tracepoint, to which a program can be attached. It counts on one CPU only,
/// but a program attached to it runs on all.
///
/// # Errors
/// What perf_event_open(2) says; `EACCES` and `EPERM` are `kernel.perf_event_paranoid`, or a
/// missing CAP_PERFMON.
pub fn perf_event(id: u64) -> io::Result<OwnedFd> {
    let attr = PerfEventAttr {
        kind: PERF_TYPE_TRACEPOINT,
        size: u32::try_from(size_of::<PerfEventAttr>()).unwrap_or(0),
        config: id,
        ..PerfEventAttr::default()
    };
    // SAFETY: `attr` outlives the call and is as long as it says.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the call just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
