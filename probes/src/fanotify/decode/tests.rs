//! Events as the kernel writes them, cut and garbled in every way.

use proptest::prelude::*;

use super::*;

const FSID: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// `struct file_handle` after an fsid.
fn handle(kind: i32, data: &[u8]) -> Vec<u8> {
    let mut bytes = FSID.to_vec();
    bytes.extend((data.len() as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    bytes
}

fn info(kind: u8, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let mut bytes = vec![kind, 0];
    bytes.extend(((INFO_HEADER + padded) as u16).to_ne_bytes());
    bytes.extend(body);
    bytes.resize(INFO_HEADER + padded, 0);
    bytes
}

fn named(kind: u8, dir: &[u8], name: &str) -> Vec<u8> {
    let mut body = dir.to_vec();
    body.extend(name.as_bytes());
    body.push(0);
    info(kind, &body)
}

fn event(mask: u64, pid: i32, infos: &[Vec<u8>]) -> Vec<u8> {
    let infos = infos.concat();
    let mut bytes = ((METADATA + infos.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend([VERSION, 0]);
    bytes.extend((METADATA as u16).to_ne_bytes());
    bytes.extend(mask.to_ne_bytes());
    bytes.extend((-1_i32).to_ne_bytes());
    bytes.extend(pid.to_ne_bytes());
    bytes.extend(infos);
    bytes
}

fn rename() -> Vec<u8> {
    let (one, other, object) = (handle(1, &[1; 8]), handle(1, &[2; 8]), handle(1, &[3; 8]));
    event(
        libc::FAN_RENAME,
        42,
        &[
            named(libc::FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, &one, "old name"),
            named(libc::FAN_EVENT_INFO_TYPE_NEW_DFID_NAME, &other, "new"),
            info(libc::FAN_EVENT_INFO_TYPE_FID, &object),
        ],
    )
}

#[test]
fn a_create_has_directory_name_and_object() {
    // As read on 6.18, ext4: mkdir("fx") in /tmp.
    let (dir, object) =
        (handle(1, &[0xa7, 0xc4, 3, 0, 0, 0, 0, 0]), handle(1, &[0x4b, 0, 0x99, 0, 9, 9, 9, 9]));
    let bytes = event(
        libc::FAN_CREATE | libc::FAN_ONDIR,
        11_826,
        &[
            named(libc::FAN_EVENT_INFO_TYPE_DFID_NAME, &dir, "fx"),
            info(libc::FAN_EVENT_INFO_TYPE_FID, &object),
        ],
    );
    let events: Vec<_> = Events::new(&bytes).collect();
    let [Ok(event)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(event.pid, 11_826);
    assert!(event.has(libc::FAN_CREATE) && event.has(libc::FAN_ONDIR));
    assert_eq!(event.entry, Some(Entry { dir: Handle(&dir), name: b"fx" }));
    assert_eq!(event.object.map(Handle::bytes), Some(&object[..]));
    assert_eq!(event.object.and_then(Handle::inode), Some(0x99_004b));
    assert_eq!(event.raw, bytes);
    assert_eq!((event.from, event.to), (None, None));
}

#[test]
fn a_rename_has_both_ends() {
    let bytes = rename();
    let event = Events::new(&bytes).next().unwrap().unwrap();
    assert_eq!(event.from.unwrap().name, b"old name");
    assert_eq!(event.to.unwrap().name, b"new");
    assert_eq!(event.object.unwrap().file_handle()[8..], [3; 8]);
    assert_eq!(event.object.unwrap().fsid(), FSID);
}

#[test]
fn an_overflow_has_nothing_but_its_bit() {
    let bytes = event(libc::FAN_Q_OVERFLOW, 0, &[]);
    let event = Events::new(&bytes).next().unwrap().unwrap();
    assert!(event.has(libc::FAN_Q_OVERFLOW));
    assert_eq!((event.entry, event.object), (None, None));
}

#[test]
fn records_of_unknown_kind_are_passed_over() {
    let bytes = event(libc::FAN_MODIFY, 1, &[info(200, b"whatever"), info(1, &handle(1, &[0; 8]))]);
    assert!(Events::new(&bytes).next().unwrap().unwrap().object.is_some());
}

#[test]
fn inode_numbers_are_read_from_the_handles_of_each_kind_of_file_system() {
    let inode = |kind, data: &[u8]| Handle(&handle(kind, data)).inode();
    assert_eq!(inode(1, &[5, 0, 0, 0, 9, 9, 9, 9]), Some(5));
    // tmpfs: generation first, and 64 bits.
    assert_eq!(inode(1, &[9, 9, 9, 9, 5, 0, 0, 0, 1, 0, 0, 0]), Some(0x1_0000_0005));
    assert_eq!(inode(0x81, &[5, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9]), Some(0x1_0000_0005));
    assert_eq!(
        inode(0x4d, &[5, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]),
        Some(0x1_0000_0005)
    );
    assert_eq!(inode(0xf8, &[5; 30]), None);
    assert_eq!(inode(1, &[5]), None);
    assert_eq!(Handle(&[]).inode(), None);
}

#[test]
fn every_truncation_is_malformed_and_nothing_else() {
    let bytes = rename();
    for length in 1..bytes.len() {
        let events: Vec<_> = Events::new(&bytes[..length]).collect();
        assert!(matches!(events[..], [Err(_)]), "{length}: {events:?}");
    }
}

#[test]
fn an_event_with_a_bad_record_does_not_spoil_the_next() {
    let mut bad = rename();
    // The first record claims to be longer than the event.
    bad[METADATA + 2..METADATA + 4].copy_from_slice(&u16::MAX.to_ne_bytes());
    let bytes = [bad, rename()].concat();
    let events: Vec<_> = Events::new(&bytes).collect();
    let [Err(Malformed::InfoLength { length: 65_535, .. }), Ok(_)] = &events[..] else {
        panic!("{events:?}")
    };
}

#[test]
fn each_fault_has_its_name() {
    let fault = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = rename();
        change(&mut bytes);
        Events::new(&bytes).next().unwrap().unwrap_err()
    };
    assert_eq!(fault(&|bytes| bytes[4] = 2), Malformed::Version(2));
    assert!(matches!(fault(&|bytes| bytes[0] = 3), Malformed::Length { length: 3, .. }));
    assert!(matches!(fault(&|bytes| bytes[6] = 23), Malformed::Length { metadata: 23, .. }));
    let length = METADATA + 2;
    assert!(matches!(
        fault(&|bytes| bytes[length..length + 2].fill(0)),
        Malformed::InfoLength { length: 0, .. }
    ));
    let handle = METADATA + INFO_HEADER + 8;
    assert!(matches!(
        fault(&|bytes| bytes[handle..handle + 4].fill(0xff)),
        Malformed::HandleLength { length: 0xffff_ffff, .. }
    ));
    let name = METADATA + INFO_HEADER + HANDLE_DATA + 8;
    assert_eq!(fault(&|bytes| bytes[name..name + 12].fill(b'x')), Malformed::Name);
    assert_eq!(fault(&|bytes| bytes[name] = 0), Malformed::Name);
}

proptest! {
    #[test]
    fn random_bytes_end_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(Events::new(&bytes).count() <= bytes.len());
    }

    #[test]
    fn garbled_events_stay_within_their_bytes(
        at in 0..rename().len(),
        with in any::<u8>(),
        count in 1..4_usize,
    ) {
        let mut bytes = rename().repeat(count);
        bytes[at] = with;
        let mut length = 0;
        for event in Events::new(&bytes).flatten() {
            length += event.raw.len();
            for handle in [event.object, event.entry.map(|entry| entry.dir)].into_iter().flatten() {
                prop_assert!(handle.bytes().len() >= HANDLE_DATA);
                let _ = handle.inode();
            }
        }
        prop_assert!(length <= bytes.len());
    }
}
