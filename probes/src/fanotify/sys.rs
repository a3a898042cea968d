//! The calls of fanotify and of file handles, made safe, and the few file calls needed beside them.
//!
//! Owns every unsafe block of this source. What the bytes mean is [`super::decode`]'s; what needs
//! `CAP_SYS_ADMIN` is [`crate::admin`]'s.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, Statx, StatxFlags};
use rustix::io::{Errno, Result};

use super::decode::Handle;
use crate::admin::{self, Place};

/// Longest file handle any file system makes (`MAX_HANDLE_SZ`, include/linux/exportfs.h).
pub const MAX_HANDLE: usize = 128;

/// `fsid` and the header of `struct file_handle`, before the handle's own bytes.
pub const HANDLE_HEADER: usize = 16;

/// Bytes of a path of `/proc/self/fd`.
const FD_LINK: usize = 32;

/// A fanotify group: what marks belong to and events are read from.
#[derive(Debug)]
pub struct Group(OwnedFd);

impl Group {
    /// `fanotify_init(2)`.
    pub fn new(flags: u32) -> Result<Self> {
        admin::group(flags).map(Self)
    }

    /// `fanotify_mark(2)` on what `path` names.
    pub fn mark(&self, flags: u32, mask: u64, path: &[u8]) -> Result<()> {
        if flags & libc::FAN_MARK_FILESYSTEM != 0 {
            return admin::mark_filesystem(self.as_fd(), flags, mask, Place::Path(path));
        }
        with_cstr(path, |path| {
            // SAFETY: `path` is a NUL-terminated string that outlives the call.
            let result = unsafe {
                libc::fanotify_mark(self.0.as_raw_fd(), flags, mask, libc::AT_FDCWD, path.as_ptr())
            };
            if result == 0 { Ok(()) } else { Err(last_errno()) }
        })
    }

    /// `fanotify_mark(2)` on what is behind an open descriptor, `O_PATH` ones included.
    pub fn mark_fd(&self, flags: u32, mask: u64, fd: BorrowedFd<'_>) -> Result<()> {
        if flags & libc::FAN_MARK_FILESYSTEM != 0 {
            return admin::mark_filesystem(self.as_fd(), flags, mask, Place::Fd(fd));
        }
        self.mark(flags, mask, &fd_link(fd))
    }

    /// Reads as many whole events as fit.
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        rustix::io::read(&self.0, buffer)
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `struct file_handle` with room for the longest.
#[repr(C)]
struct FileHandle {
    bytes: u32,
    kind: i32,
    data: [u8; MAX_HANDLE],
}

/// `open_by_handle_at(2)`. `handle` is a `struct file_handle` as the kernel wrote it; `mount` any
/// descriptor on the same file system that is not `O_PATH` (those are refused with EBADF).
pub fn open_by_handle(mount: BorrowedFd<'_>, handle: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let (&bytes, rest) = handle.split_first_chunk::<4>().ok_or(Errno::INVAL)?;
    let (&kind, data) = rest.split_first_chunk::<4>().ok_or(Errno::INVAL)?;
    let mut raw = FileHandle {
        bytes: u32::from_ne_bytes(bytes),
        kind: i32::from_ne_bytes(kind),
        data: [0; MAX_HANDLE],
    };
    if usize::try_from(raw.bytes) != Ok(data.len()) {
        return Err(Errno::INVAL);
    }
    raw.data.get_mut(..data.len()).ok_or(Errno::INVAL)?.copy_from_slice(data);
    let flags = (flags | OFlags::CLOEXEC).bits().cast_signed();
    // SAFETY: `raw` begins as `struct file_handle` does and has the `bytes` bytes it announces,
    // checked above; the kernel only reads it.
    let fd = unsafe {
        libc::open_by_handle_at(
            mount.as_raw_fd(),
            (&raw mut raw).cast::<libc::file_handle>(),
            flags,
        )
    };
    owned(fd)
}

/// `name_to_handle_at(2)`: appends the `struct file_handle` of `path` below `dir` to `out`. The
/// empty path is `dir` itself.
///
/// Asks for a handle that need only identify (`AT_HANDLE_FID`, 6.5), which is what fanotify
/// reports, and where the kernel does not know that, for one that can be opened: their bytes are
/// the same wherever both exist.
pub fn handle_of(dir: BorrowedFd<'_>, path: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let empty = if path.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    let mut raw = FileHandle { bytes: MAX_HANDLE as u32, kind: 0, data: [0; MAX_HANDLE] };
    with_cstr(path, |path| match to_handle(dir, path, &mut raw, empty | libc::AT_HANDLE_FID) {
        Err(Errno::INVAL) => {
            raw.bytes = MAX_HANDLE as u32;
            to_handle(dir, path, &mut raw, empty)
        }
        done => done,
    })?;
    let data = usize::try_from(raw.bytes).ok().and_then(|length| raw.data.get(..length));
    let data = data.ok_or(Errno::OVERFLOW)?;
    out.extend_from_slice(&raw.bytes.to_ne_bytes());
    out.extend_from_slice(&raw.kind.to_ne_bytes());
    out.extend_from_slice(data);
    Ok(())
}

fn to_handle(dir: BorrowedFd<'_>, path: &CStr, raw: &mut FileHandle, flags: i32) -> Result<()> {
    let mut mount_id = 0;
    // SAFETY: `raw` begins as `struct file_handle` does and has room for the `bytes` bytes it
    // announces; `path` is NUL-terminated; `mount_id` is a valid place for an int.
    let result = unsafe {
        libc::name_to_handle_at(
            dir.as_raw_fd(),
            path.as_ptr(),
            std::ptr::from_mut(raw).cast::<libc::file_handle>(),
            &raw mut mount_id,
            flags,
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// The file system's id as fanotify reports it: `f_fsid` of `statfs(2)`.
pub fn fsid(path: &[u8]) -> Result<[u8; 8]> {
    Ok(plain(rustix::fs::statfs(path)?.f_fsid))
}

/// The same, of the file system behind a descriptor.
pub fn fsid_of(fd: BorrowedFd<'_>) -> Result<[u8; 8]> {
    Ok(plain(rustix::fs::fstatfs(fd)?.f_fsid))
}

fn plain(fsid: rustix::fs::Fsid) -> [u8; 8] {
    const { assert!(size_of::<rustix::fs::Fsid>() == 8) };
    // SAFETY: it is two plain integers of 4 bytes, which its type only keeps from being named.
    unsafe { std::ptr::from_ref(&fsid).cast::<[u8; 8]>().read_unaligned() }
}

/// Opens something a handle can be resolved against.
pub fn open_mount(path: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Opens a path without following its last part, to ask about it only.
pub fn open_path(path: &[u8]) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// The path of an open file as this thread's mount namespace shows it.
pub fn path_of(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    Ok(rustix::fs::readlink(fd_link(fd).as_slice(), Vec::new())?.into_bytes())
}

/// What an inode is, asked through a descriptor on it.
pub fn stat_fd(fd: BorrowedFd<'_>) -> Result<Statx> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
}

/// What an inode is, asked by name, without following a link.
pub fn stat_path(path: &[u8]) -> Result<Statx> {
    rustix::fs::statx(
        rustix::fs::CWD,
        path,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        StatxFlags::BASIC_STATS | StatxFlags::BTIME,
    )
}

/// Whether a path leads to the inode of a handle.
pub fn is_at(path: &[u8], handle: Handle<'_>) -> bool {
    let found = open_path(path).and_then(|fd| {
        let mut found = handle.fsid().to_vec();
        handle_of(fd.as_fd(), b"", &mut found)?;
        Ok(found)
    });
    found.is_ok_and(|found| found == handle.bytes())
}

/// The text of a symbolic link, through an `O_PATH` descriptor on it.
pub fn link_text(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    rustix::fs::readlinkat(fd, c"", Vec::new()).ok().map(std::ffi::CString::into_bytes)
}

fn fd_link(fd: BorrowedFd<'_>) -> Vec<u8> {
    let mut link = Vec::with_capacity(FD_LINK);
    link.extend_from_slice(b"/proc/self/fd/");
    link.extend_from_slice(fd.as_raw_fd().to_string().as_bytes());
    link
}

fn with_cstr<T>(path: &[u8], call: impl FnOnce(&CStr) -> Result<T>) -> Result<T> {
    rustix::path::Arg::into_with_c_str(path, call)
}

fn owned(fd: i32) -> Result<OwnedFd> {
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel just returned this descriptor; nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
