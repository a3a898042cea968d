//! What the programs of one object count, read where they count it.
//!
//! Not by looking it up: while somebody is within a call that looks into a map, the kernel skips
//! programs on tracepoints of calls on that CPU (`bpf_disable_instrumentation` in
//! kernel/bpf/syscall.c), so that asking how many events were missed would make it more. The map is
//! an array that is mapped once (`BPF_F_MMAPABLE`, fc9702273e2e, 5.5), with an entry for each CPU;
//! entries are whole cache lines, since that is what CPUs would quarrel over.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::mm::ProtFlags;

use super::mapping::Mapping;
use crate::wire;

#[cfg(test)]
mod tests;

/// CPUs with an entry of their own at most, a power of two. Those beyond share entries, which costs
/// time and no count: counting is atomic.
const ENTRIES_MAX: u32 = 256;
/// Bytes that CPUs do not share: a cache line, or the two that some fetch at once.
const LINE: usize = 128;
const NUMBERS: usize = size_of::<wire::Counters>() / size_of::<u64>();
const _: () = assert!(size_of::<wire::Counters>().is_multiple_of(LINE));

/// By type and by outcome.
pub type Counts = [[u64; wire::OUTCOMES as usize]; wire::TYPES as usize];

/// How many entries the map is to have. A power of two: programs take the lowest bits of the CPU's
/// number.
pub const fn entries(cpus: u32) -> u32 {
    if cpus < ENTRIES_MAX { cpus.next_power_of_two() } else { ENTRIES_MAX }
}

/// The counters of an object, mapped.
pub struct Counters {
    mapping: Mapping,
    entries: usize,
}

impl Counters {
    /// Maps all of the map behind a descriptor.
    ///
    /// # Errors
    /// What mmap(2) says.
    pub fn map(fd: &OwnedFd, entries: u32) -> io::Result<Self> {
        let entries = entries as usize;
        let length =
            (entries * size_of::<wire::Counters>()).next_multiple_of(rustix::param::page_size());
        let mapping = Mapping::new(fd.as_fd(), 0, length, ProtFlags::READ)?;
        Ok(Self { mapping, entries })
    }

    /// The sums over all CPUs.
    pub fn read(&self) -> Counts {
        let mut sums = Counts::default();
        for entry in 0..self.entries {
            // The counts are the first numbers of an entry.
            let numbers = (entry * NUMBERS..).map_while(|index| self.mapping.number(index));
            for (sum, number) in sums.iter_mut().flatten().zip(numbers) {
                *sum = sum.saturating_add(number.load(Ordering::Relaxed));
            }
        }
        sums
    }
}
