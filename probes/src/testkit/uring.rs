//! Just enough of io_uring to make one call at a time.

use std::ffi::CStr;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// Operations, of `enum io_uring_op`.
pub const ACCEPT: u8 = 13;
pub const CONNECT: u8 = 16;
const OPENAT: u8 = 18;
/// These two are there from 6.11; before, they fail with `EINVAL`.
pub const BIND: u8 = 56;
pub const LISTEN: u8 = 57;

const OFFSET_SQ: i64 = 0;
const OFFSET_CQ: i64 = 0x800_0000;
const OFFSET_ENTRIES: i64 = 0x1000_0000;
const ENTER_GETEVENTS: u32 = 1;
const ENTRY_BYTES: usize = 64;

/// `struct io_sqring_offsets` and `struct io_cqring_offsets`: both are ten words.
#[repr(C)]
#[derive(Default)]
struct Offsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    /// `flags` of the one, `overflow` of the other.
    fifth: u32,
    /// `dropped` of the one, `cqes` of the other.
    sixth: u32,
    /// `array` of the one, `flags` of the other.
    seventh: u32,
    rest: [u32; 3],
}

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    rest: [u32; 8],
    sq_off: Offsets,
    cq_off: Offsets,
}

/// A ring with room for one call.
pub struct Uring {
    fd: OwnedFd,
    submissions: Mapped,
    completions: Mapped,
    entries: Mapped,
    params: Params,
}

struct Mapped(*mut u8, usize);

impl Mapped {
    fn new(fd: &OwnedFd, length: usize, offset: i64) -> Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a new mapping, which nobody else knows of.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), length, protection, flags, fd.as_raw_fd(), offset)
        };
        if at == libc::MAP_FAILED {
            Err(Error::last_os_error())
        } else {
            Ok(Self(at.cast(), length))
        }
    }

    /// A word that the kernel changes, too.
    fn word(&self, offset: u32) -> &AtomicU32 {
        let offset = offset as usize;
        assert!(offset + 4 <= self.1);
        // SAFETY: within the mapping, and aligned, as the kernel laid it out.
        unsafe { AtomicU32::from_ptr(self.0.add(offset).cast()) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it is ours, and no reference into it is left.
        unsafe { libc::munmap(self.0.cast(), self.1) };
    }
}

impl Uring {
    pub fn new() -> Result<Self> {
        let mut params = Params::default();
        // SAFETY: `params` is as the kernel lays it out, and outlives the call.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, &raw mut params) };
        if fd < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: the call gave us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) };
        let submissions = params.sq_off.seventh as usize + 4 * params.sq_entries as usize;
        let completions = params.cq_off.sixth as usize + 16 * params.cq_entries as usize;
        Ok(Self {
            submissions: Mapped::new(&fd, submissions, OFFSET_SQ)?,
            completions: Mapped::new(&fd, completions, OFFSET_CQ)?,
            entries: Mapped::new(&fd, ENTRY_BYTES, OFFSET_ENTRIES)?,
            fd,
            params,
        })
    }

    /// Opens a file by its absolute path.
    pub fn open(&self, path: &CStr, flags: u32, mode: u32) -> i32 {
        self.make(OPENAT, libc::AT_FDCWD, path.as_ptr() as u64, 0, mode, flags)
    }

    /// Has the kernel do `operation` on a descriptor, and waits for what comes of it. What `address`
    /// and `offset` mean is the operation's.
    pub fn call(&self, operation: u8, on: i32, address: u64, offset: u64, length: u32) -> i32 {
        self.make(operation, on, address, offset, length, 0)
    }

    fn make(
        &self,
        operation: u8,
        on: i32,
        address: u64,
        offset: u64,
        length: u32,
        flags: u32,
    ) -> i32 {
        let mut entry = [0u8; ENTRY_BYTES];
        entry[0] = operation;
        entry[4..8].copy_from_slice(&on.to_ne_bytes());
        entry[8..16].copy_from_slice(&offset.to_ne_bytes());
        entry[16..24].copy_from_slice(&address.to_ne_bytes());
        entry[24..28].copy_from_slice(&length.to_ne_bytes());
        entry[28..32].copy_from_slice(&flags.to_ne_bytes());
        // SAFETY: the kernel reads the entry when it is told to, below.
        unsafe { std::ptr::copy_nonoverlapping(entry.as_ptr(), self.entries.0, ENTRY_BYTES) };
        let (sq, cq) = (&self.params.sq_off, &self.params.cq_off);
        let tail = self.submissions.word(sq.tail);
        self.submissions.word(sq.seventh).store(0, Ordering::Relaxed);
        tail.store(tail.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        let head = self.completions.word(cq.head);
        let at = head.load(Ordering::Relaxed);
        let mut submit = 1;
        while self.completions.word(cq.tail).load(Ordering::Acquire) == at {
            // SAFETY: no memory is handed over beyond what is mapped.
            let done = unsafe {
                let null = std::ptr::null::<u8>();
                let fd = self.fd.as_raw_fd();
                libc::syscall(libc::SYS_io_uring_enter, fd, submit, 1, ENTER_GETEVENTS, null, 0)
            };
            let error = Error::last_os_error();
            assert!(done >= 0 || error.raw_os_error() == Some(libc::EINTR), "{error}");
            submit = 0;
        }
        let index = at & self.completions.word(cq.ring_mask).load(Ordering::Relaxed);
        // `struct io_uring_cqe`: user data, then the result.
        let result = self.completions.word(cq.sixth + 16 * index + 8).load(Ordering::Relaxed);
        head.store(at.wrapping_add(1), Ordering::Release);
        result.cast_signed()
    }
}
