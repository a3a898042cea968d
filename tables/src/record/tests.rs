use super::*;

#[test]
fn ids_and_namespaces_survive_packing() {
    let creds = Creds { uid: 1, gid: 2, euid: 3, egid: 4, suid: 5, sgid: 6, fsuid: 7, fsgid: NONE };
    let namespaces = Namespaces { mnt: 1, pid: 2, net: 3, user: 4_026_531_837 };
    for (creds, namespaces) in [(Some(creds), Some(namespaces)), (None, None)] {
        for (auid, cgroup_id) in [(None, None), (Some(1000), Some(u64::MAX))] {
            let ids = Who { creds, auid };
            assert_eq!(who(Packed::who(&ids).as_slice()), Some(ids));
            let at = Place { namespaces, cgroup_id };
            assert_eq!(place(Packed::place(&at).as_slice()), Some(at));
        }
    }
}

#[test]
fn every_subset_of_file_attributes_survives_packing() {
    for mask in 0..1_u32 << 11 {
        let has = |bit: u32| mask & (1 << bit) != 0;
        let wide = |bit: u32| has(bit).then_some(u64::MAX - u64::from(bit));
        let narrow = |bit: u32| has(bit).then_some(bit + 1);
        let time = |bit: u32| has(bit).then_some(-i64::from(bit));
        let object = FileObject {
            device: wide(0),
            inode: wide(1),
            size: wide(2),
            mode: narrow(3),
            uid: narrow(4),
            gid: narrow(5),
            nlink: narrow(6),
            atime: time(7),
            mtime: time(8),
            ctime: time(9),
            btime: time(10),
        };
        assert_eq!(file(Packed::file(&object).as_slice()), Some(object));
    }
}

#[test]
fn totals_survive_packing() {
    for parts in [[None, None, None], [Some(0), None, Some(9)], [Some(1), Some(2), Some(u64::MAX)]]
    {
        let [sent, received, duration] = parts;
        assert_eq!(end(Packed::end(sent, received, duration).as_slice()), Some(parts));
    }
}

#[test]
fn cut_bytes_are_unknown_and_never_a_panic() {
    assert_eq!(who(&[1; 32]), None);
    assert_eq!(place(&[2; 8]), None);
    assert_eq!(file(&[]), None);
    assert_eq!(end(&[]), None);
    assert_eq!(file(&[0xff, 0x07, 1]).unwrap(), FileObject::default());
}
