//! Memory shared with the kernel: rings, and maps that are read and written without system calls.

use std::ffi::c_void;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Some pages of a ring or map; unmapped when dropped.
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: plain memory, which no thread owns.
unsafe impl Send for Mapping {}
// SAFETY: through a shared reference it is only read, or written by atomic operations.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `length` bytes from `offset` on, which is a multiple of the page size.
    ///
    /// # Errors
    /// What mmap(2) says.
    pub fn new(
        fd: BorrowedFd<'_>,
        offset: u64,
        length: usize,
        prot: ProtFlags,
    ) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing of ours.
        let start = unsafe { mmap(ptr::null_mut(), length, prot, MapFlags::SHARED, fd, offset)? };
        let start = NonNull::new(start.cast())
            .ok_or_else(|| io::Error::other("mmap gave a null address"))?;
        Ok(Self { start, length })
    }

    /// Where it begins: at the start of a page.
    pub const fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The `index`th number of it. `None`: it ends before that.
    pub fn number(&self, index: usize) -> Option<&AtomicU64> {
        let offset = index.checked_mul(size_of::<u64>())?;
        let end = offset.checked_add(size_of::<u64>())?;
        // SAFETY: within the mapping, aligned since that begins with a page, and whoever else
        // accesses it does so atomically: the kernel, programs, and this.
        (end <= self.length)
            .then(|| unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) })
    }

    /// The number at its start.
    pub fn first(&self) -> &AtomicU64 {
        // SAFETY: page-aligned, at least a page long, and accessed atomically by the kernel too.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().cast()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; no reference into it outlives `self`.
        let _ = unsafe { munmap(self.start.as_ptr().cast::<c_void>(), self.length) };
    }
}
