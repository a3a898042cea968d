//! The calls themselves, and what of them is allowed.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::Place;

/// The classes of groups whose events wait for an answer (include/uapi/linux/fanotify.h).
const WAITING_CLASSES: u32 = libc::FAN_CLASS_CONTENT | libc::FAN_CLASS_PRE_CONTENT;
/// Adding to and taking off the mark of a whole file system, and nothing else.
const MARKS: [u32; 2] = [
    libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM,
    libc::FAN_MARK_REMOVE | libc::FAN_MARK_FILESYSTEM,
];
/// The events that may be asked for: none of those that wait for an answer.
pub const EVENTS: u64 = libc::FAN_ACCESS
    | libc::FAN_MODIFY
    | libc::FAN_ATTRIB
    | libc::FAN_CLOSE_WRITE
    | libc::FAN_CLOSE_NOWRITE
    | libc::FAN_OPEN
    | libc::FAN_MOVED_FROM
    | libc::FAN_MOVED_TO
    | libc::FAN_CREATE
    | libc::FAN_DELETE
    | libc::FAN_DELETE_SELF
    | libc::FAN_MOVE_SELF
    | libc::FAN_RENAME
    | libc::FAN_ONDIR;

/// `fanotify_init(2)`.
pub fn group(flags: u32) -> Result<OwnedFd> {
    if flags & WAITING_CLASSES != 0 {
        return Err(Errno::PERM);
    }
    let event_flags = libc::O_RDONLY | libc::O_LARGEFILE | libc::O_CLOEXEC;
    // SAFETY: the call takes two integers and returns a descriptor that nobody else owns.
    let fd = unsafe { libc::fanotify_init(flags, event_flags.cast_unsigned()) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel just returned this descriptor; nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `fanotify_mark(2)` on a whole file system.
pub fn mark(group: BorrowedFd<'_>, flags: u32, mask: u64, place: Place<'_>) -> Result<()> {
    if !MARKS.contains(&flags) || mask & !EVENTS != 0 {
        return Err(Errno::PERM);
    }
    let link;
    let path = match place {
        Place::Path(path) => path,
        // Also where the descriptor is an O_PATH one, which the call does not take itself.
        Place::Fd(fd) => {
            link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            link.as_bytes()
        }
    };
    rustix::path::Arg::into_with_c_str(path, |path| {
        // SAFETY: `path` is a NUL-terminated string that outlives the call.
        let result = unsafe {
            libc::fanotify_mark(group.as_raw_fd(), flags, mask, libc::AT_FDCWD, path.as_ptr())
        };
        if result == 0 { Ok(()) } else { Err(last_errno()) }
    })
}

/// The top of a mounted btrfs.
pub fn btrfs_top(source: &[u8]) -> Result<OwnedFd> {
    let mount = |read_only: bool| {
        let context = fsopen("btrfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", source)?;
        // BTRFS_FS_TREE_OBJECTID
        fsconfig_set_string(&context, "subvolid", "5")?;
        if read_only {
            fsconfig_set_flag(&context, "ro")?;
        }
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    // It has to agree with how the file system is mounted.
    mount(false).or_else(|_| mount(true))
}

/// A tracefs of our own.
pub fn tracefs() -> Result<OwnedFd> {
    let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
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

/// A perf event on a tracepoint, on the first CPU and any process.
pub fn tracepoint(id: u64) -> Result<OwnedFd> {
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
        return Err(last_errno());
    }
    let fd = i32::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: the call just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
