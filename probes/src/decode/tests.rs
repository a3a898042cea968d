//! Records built by hand, then damaged in every way.

use proptest::prelude::*;

use super::*;
use crate::event::{Body, Exec};
use crate::wire::{Header, Inode, Span, bytes_of};

mod process;

/// A header for a record of `length` bytes.
fn header(record_type: u32, length: usize) -> Header {
    Header {
        length: u32::try_from(length).expect("short"),
        r#type: u16::try_from(record_type).expect("a type"),
        flags: 0,
        time: 1_234_567_890,
        cpu: 3,
        reserved: 0,
    }
}

fn task() -> wire::Task {
    let mut comm = [0; 16];
    comm[..3].copy_from_slice(b"cat");
    wire::Task {
        start: 11,
        parent_start: 12,
        cgroup_id: 13,
        tgid: 14,
        tid: 15,
        ns_tgid: 16,
        parent_tgid: 17,
        creds: wire::Creds {
            uid: 20,
            gid: 21,
            suid: 22,
            sgid: 23,
            euid: 24,
            egid: 25,
            fsuid: 26,
            fsgid: 27,
        },
        namespaces: wire::Namespaces { mnt: 30, pid: 31, net: 32, user: 33 },
        auid: 40,
        known: u32::MAX,
        comm,
    }
}

#[test]
fn what_a_record_does_not_know_is_none_and_not_zero() {
    let mut unknown = task();
    unknown.known = 0;
    unknown.comm = [0; 16];
    let task = super::task(&unknown);
    assert_eq!(task, Task { pid: 14, tid: 15, ..Task::default() });
}

#[test]
fn an_unset_login_uid_is_none() {
    let mut unset = task();
    unset.auid = u32::MAX;
    assert_eq!(super::task(&unset).auid, None);
    unset.auid = 0;
    assert_eq!(super::task(&unset).auid, Some(0));
}

#[test]
fn a_device_is_encoded_as_stat_does() {
    // makedev(3) of the C library says the same of the same numbers.
    for (major, minor) in [(0, 0), (8, 1), (259, 3), (4095, 0xf_ffff), (253, 256)] {
        let expected = libc::makedev(major, minor);
        assert_eq!(device((major << 20) | minor), expected, "{major}:{minor}");
    }
}

#[test]
fn names_from_the_bottom_up_make_a_path() {
    assert_eq!(&*path(b"", false), b"/");
    assert_eq!(&*path(b"sh\0bin\0", false), b"/bin/sh");
    assert_eq!(&*path(b"c\0b\0", true), b"b/c");
}

#[test]
fn a_record_of_no_known_type_is_malformed() {
    for record_type in [0, wire::TYPES, 0xffff] {
        let header = header(record_type, size_of::<Header>());
        let malformed = Malformed::Type(header.r#type);
        assert_eq!(decode(bytes_of(&header)), Err(malformed));
    }
}

#[test]
fn a_record_shorter_than_it_says_is_malformed() {
    let mut header = header(wire::EXIT, 1 << 20);
    let bytes = bytes_of(&header).to_vec();
    let have = bytes.len();
    assert_eq!(decode(&bytes), Err(Malformed::Length { claimed: 1 << 20, have }));
    header.length = 3;
    assert!(matches!(decode(bytes_of(&header)), Err(Malformed::Short { .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn no_damage_to_a_valid_record_makes_it_panic(
        damage in proptest::collection::vec((0usize..1200, any::<u8>()), 1..16)
    ) {
        for mut record in process::valid() {
            for (at, byte) in &damage {
                let length = record.len();
                record[at % length] = *byte;
            }
            let _ = decode(&record);
        }
    }
}
