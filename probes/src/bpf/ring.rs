//! Reads a BPF ring buffer.
//!
//! Owns the mapped memory and the position up to which it was read. The layout is the kernel's
//! (kernel/bpf/ringbuf.c): a page with the consumer's position, a page with the producers', and the
//! data. The kernel offers the data twice in a row, so that no record is ever in two pieces; here it
//! is mapped once, since every page counts as resident each time it is mapped, and the one record in
//! a round that crosses the end is put together first. Read here rather than by
//! libbpf's `ring_buffer`, because the collector needs the positions (which events were there when a
//! flush was asked for), and because nothing foreign then stands between a record and its decoder.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::ProtFlags;

use super::bell::Bell;
use super::mapping::Mapping;

#[cfg(test)]
mod tests;

/// Set while a record is being written (`BPF_RINGBUF_BUSY_BIT`).
const BUSY: u32 = 1 << 31;
/// Set on a record that was given up (`BPF_RINGBUF_DISCARD_BIT`).
const DISCARD: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`: length and page offset stand before each record.
const HEADER: u64 = 8;

/// A ring, mapped. The only reader of it: the kernel keeps one consumer's position.
pub struct Ring {
    fd: OwnedFd,
    bell: Bell,
    consumer: Mapping,
    producer: Mapping,
    page: usize,
    size: u64,
    /// The record that crosses the end of the ring.
    crossing: Vec<u8>,
}

/// Why reading stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The position asked for was reached.
    Reached,
    /// As many records as were allowed have been read.
    Limit,
    /// The next record is still being written.
    Busy,
}

impl Ring {
    /// Maps the ring of `size` bytes behind a map's descriptor; `bell` is what its programs look at.
    ///
    /// # Errors
    /// What mmap(2) says.
    pub fn map(fd: OwnedFd, size: u32, bell: Bell) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let read_write = ProtFlags::READ | ProtFlags::WRITE;
        let consumer = Mapping::new(fd.as_fd(), 0, page, read_write)?;
        let length = page + size as usize;
        let producer = Mapping::new(fd.as_fd(), page as u64, length, ProtFlags::READ)?;
        let size = u64::from(size);
        Ok(Self { fd, bell, consumer, producer, page, size, crossing: Vec::new() })
    }

    /// Bytes of the ring.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// How far producers have come. Everything committed before this call lies below it.
    pub fn produced(&self) -> u64 {
        self.producer.first().load(Ordering::Acquire)
    }

    /// How far it was read.
    pub fn consumed(&self) -> u64 {
        self.consumer.first().load(Ordering::Relaxed)
    }

    /// Whether nothing is in it that was not read, not even an unfinished record.
    pub fn is_empty(&self) -> bool {
        self.produced() == self.consumed()
    }

    /// What says that its reader sleeps.
    pub const fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Gives records to `each`, oldest first, until position `to` is reached, the next one is not
    /// finished, or `limit` were given. Their room is free as soon as `each` returns.
    pub fn read(&mut self, to: u64, limit: usize, mut each: impl FnMut(&[u8])) -> Stop {
        let mut at = self.consumed();
        let mut given = 0;
        while at < to {
            if given == limit {
                return Stop::Limit;
            }
            let length = self.length_at(at).load(Ordering::Acquire);
            if length & BUSY != 0 {
                return Stop::Busy;
            }
            let bytes = u64::from(length & !DISCARD);
            if length & DISCARD == 0 {
                each(self.record(at, bytes));
                given += 1;
            }
            at += (bytes + HEADER).next_multiple_of(8);
            self.consumer.first().store(at, Ordering::Release);
        }
        Stop::Reached
    }

    fn offset(&self, at: u64) -> usize {
        // `size` is a power of two of at most 32 bits, so the result fits.
        self.page + (at & (self.size - 1)) as usize
    }

    fn length_at(&self, at: u64) -> &AtomicU32 {
        // SAFETY: the offset is below page + size, and positions are multiples of 8, so four
        // aligned bytes are there for as long as the mapping is. The kernel writes them with
        // atomic exchanges.
        unsafe { AtomicU32::from_ptr(self.producer.start().as_ptr().add(self.offset(at)).cast()) }
    }

    fn record(&mut self, at: u64, length: u64) -> &[u8] {
        let length = length.min(self.size - HEADER) as usize;
        let start = self.offset(at + HEADER);
        let before_end = (self.page + self.size as usize).saturating_sub(start);
        if length <= before_end {
            return self.bytes(start, length);
        }
        let mut crossing = std::mem::take(&mut self.crossing);
        crossing.clear();
        crossing.extend_from_slice(self.bytes(start, before_end));
        crossing.extend_from_slice(self.bytes(self.page, length - before_end));
        self.crossing = crossing;
        &self.crossing
    }

    /// `start + length` is at most `page + size`.
    fn bytes(&self, start: usize, length: usize) -> &[u8] {
        // SAFETY: within the mapping, see above. The kernel leaves a finished record alone until the
        // consumer's position has passed it, which takes `&mut self`.
        unsafe { std::slice::from_raw_parts(self.producer.start().as_ptr().add(start), length) }
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
