//! The reader on memory laid out as the map's.

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::*;

#[test]
fn every_cpus_counts_are_in_the_sum_and_nothing_else_is() {
    const ENTRIES: u32 = 32;
    let file = memfd_create("counters", MemfdFlags::CLOEXEC).expect("memfd");
    let length = ENTRIES as usize * size_of::<wire::Counters>();
    let pages = length.next_multiple_of(rustix::param::page_size());
    ftruncate(&file, pages as u64).expect("ftruncate");
    let counters = Counters::map(&file, ENTRIES).expect("mmap");
    assert_eq!(counters.read(), Counts::default());

    // Every entry the same, what pads it and what follows the last included.
    let mut entry = wire::Counters { count: Counts::default(), padding: [u64::MAX; _] };
    for (number, count) in entry.count.iter_mut().flatten().enumerate() {
        *count = 1000 + number as u64;
    }
    for index in 0..ENTRIES as usize {
        let at = (index * size_of::<wire::Counters>()) as u64;
        rustix::io::pwrite(&file, wire::bytes_of(&entry), at).expect("pwrite");
    }
    for (number, sum) in counters.read().iter().flatten().enumerate() {
        assert_eq!(*sum, u64::from(ENTRIES) * (1000 + number as u64));
    }
}

#[test]
fn there_are_as_many_entries_as_cpus_and_a_power_of_two() {
    let of = |cpus| (cpus, entries(cpus));
    let expected = [(1, 1), (2, 2), (3, 4), (8, 8), (65, 128), (256, 256), (257, 256), (8192, 256)];
    assert_eq!(expected.map(|(cpus, _)| of(cpus)), expected);
    assert_eq!(entries(u32::MAX), 256);
    assert_eq!(entries(0), 1);
}
