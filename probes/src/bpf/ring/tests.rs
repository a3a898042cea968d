//! The reader on memory laid out as the kernel does.

use std::os::fd::AsFd as _;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::*;

const SIZE: u32 = 4096;

/// A ring without a kernel: this writes where producers would, and goes on at the start where the
/// data ends.
struct Producer {
    pages: Mapping,
    page: usize,
    at: usize,
}

fn ring() -> (Ring, Producer) {
    let page = rustix::param::page_size();
    let length = 2 * page + SIZE as usize;
    let file = memfd_create("ring", MemfdFlags::CLOEXEC).expect("memfd");
    ftruncate(&file, length as u64).expect("ftruncate");
    let both = ProtFlags::READ | ProtFlags::WRITE;
    let pages = Mapping::new(file.as_fd(), page as u64, page + SIZE as usize, both).expect("mmap");
    let word = memfd_create("bell", MemfdFlags::CLOEXEC).expect("memfd");
    ftruncate(&word, page as u64).expect("ftruncate");
    let bell = Bell::map(&word).expect("mmap");
    (Ring::map(file, SIZE, bell).expect("mmap"), Producer { pages, page, at: 0 })
}

impl Producer {
    fn put(&mut self, bytes: &[u8], flags: u32) {
        self.header(u32::try_from(bytes.len()).expect("short") | flags);
        for (index, byte) in bytes.iter().enumerate() {
            let offset = self.page + (self.at + 8 + index) % SIZE as usize;
            // SAFETY: within the data, and nobody reads yet.
            unsafe { self.pages.start().as_ptr().add(offset).write(*byte) };
        }
        self.at += (bytes.len() + 8).next_multiple_of(8);
        self.pages.first().store(self.at as u64, Ordering::Release);
    }

    fn header(&self, header: u32) {
        // SAFETY: within the data, and aligned since `at` is a multiple of 8.
        unsafe {
            let to = self.pages.start().as_ptr().add(self.page + self.at % SIZE as usize);
            AtomicU32::from_ptr(to.cast()).store(header, Ordering::Release);
        }
    }
}

fn read(ring: &mut Ring, limit: usize) -> (Vec<Vec<u8>>, Stop) {
    let mut records = Vec::new();
    let to = ring.produced();
    let stop = ring.read(to, limit, |record| records.push(record.to_vec()));
    (records, stop)
}

#[test]
fn records_come_whole_and_in_order() {
    let (mut ring, mut producer) = ring();
    assert_eq!(read(&mut ring, 9), (vec![], Stop::Reached));
    producer.put(b"one", 0);
    producer.put(b"", 0);
    producer.put(b"the third", 0);
    let expected = vec![b"one".to_vec(), vec![], b"the third".to_vec()];
    assert_eq!(read(&mut ring, 9), (expected, Stop::Reached));
    assert_eq!(ring.consumed(), ring.produced());
    assert_eq!(read(&mut ring, 9), (vec![], Stop::Reached));
}

#[test]
fn a_discarded_record_is_skipped_and_its_room_freed() {
    let (mut ring, mut producer) = ring();
    producer.put(b"given up", DISCARD);
    producer.put(b"kept", 0);
    assert_eq!(read(&mut ring, 9), (vec![b"kept".to_vec()], Stop::Reached));
    assert!(ring.is_empty());
}

#[test]
fn an_unfinished_record_holds_back_those_behind_it() {
    let (mut ring, mut producer) = ring();
    producer.put(b"first", 0);
    let unfinished = producer.at;
    producer.put(b"second", BUSY);
    producer.put(b"third", 0);
    assert_eq!(read(&mut ring, 9), (vec![b"first".to_vec()], Stop::Busy));
    assert!(!ring.is_empty(), "its reader must not sleep over it");
    producer.at = unfinished;
    producer.header(6);
    let expected = vec![b"second".to_vec(), b"third".to_vec()];
    assert_eq!(read(&mut ring, 9), (expected, Stop::Reached));
}

#[test]
fn no_more_are_read_than_allowed() {
    let (mut ring, mut producer) = ring();
    for byte in 0..5 {
        producer.put(&[byte], 0);
    }
    assert_eq!(read(&mut ring, 3), (vec![vec![0], vec![1], vec![2]], Stop::Limit));
    assert_eq!(read(&mut ring, 3), (vec![vec![3], vec![4]], Stop::Reached));
}

#[test]
fn what_comes_after_the_position_asked_for_is_left() {
    let (mut ring, mut producer) = ring();
    producer.put(b"before", 0);
    let to = ring.produced();
    producer.put(b"after", 0);
    let mut records = Vec::new();
    assert_eq!(ring.read(to, 9, |record| records.push(record.to_vec())), Stop::Reached);
    assert_eq!(records, [b"before"]);
    assert_eq!(read(&mut ring, 9).0, [b"after"]);
}

#[test]
fn a_record_that_crosses_the_end_of_the_ring_is_put_together() {
    let (mut ring, mut producer) = ring();
    let bytes: Vec<u8> = (0..=255).cycle().take(1000).map(|byte: u8| byte).collect();
    // 1008 bytes each with its header: the fifth begins at 4032 and ends at 944.
    for round in 0..40_usize {
        let record = &bytes[round..];
        producer.put(record, 0);
        let (records, stop) = read(&mut ring, 10);
        assert_eq!(stop, Stop::Reached);
        assert_eq!(records, [record], "round {round}");
    }
}

#[test]
fn a_record_may_begin_right_at_the_end_of_the_ring() {
    let (mut ring, mut producer) = ring();
    producer.put(&[1; SIZE as usize - 16], 0);
    read(&mut ring, 10);
    // Its header takes the last eight bytes, and all of it stands at the start.
    producer.put(b"at the start", 0);
    assert_eq!(read(&mut ring, 10).0, [b"at the start"]);
}
