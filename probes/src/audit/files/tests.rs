use super::super::corpus::{self, Told, decoded};
use super::super::decode::Decoded;
use crate::event::{Body, File, FileAction, RawEvent};

fn file(event: RawEvent) -> File {
    match event.body {
        Body::File(file) => *file,
        other => panic!("{other:?}"),
    }
}

/// The corpus works in `watched` (now by relative names, now by absolute ones, now relative to
/// descriptor 3) and beside it.
fn told() -> (Vec<File>, Vec<File>) {
    let mut world = Told::default();
    world.directories.insert(3, "/tmp/corpus/watched");
    let (mut events, mut writes) = (Vec::new(), Vec::new());
    for decoded in decoded(corpus::FILE, &mut world) {
        match decoded {
            Decoded::Event(event) => events.push(file(*event)),
            Decoded::Open(event, write) => {
                events.extend(event.map(|event| file(*event)));
                assert!(write.fd > 2);
                writes.push(file(write.event));
            }
            Decoded::Nothing => {}
            other => panic!("{other:?}"),
        }
    }
    (events, writes)
}

fn short(path: &Option<crate::event::Bytes>) -> String {
    let path = String::from_utf8_lossy(path.as_deref().unwrap_or(b"-")).into_owned();
    path.replace("/tmp/corpus/watched/", "").replace("/tmp/corpus/", "../")
}

#[test]
fn every_operation_of_the_workload_is_one_event() {
    let (events, _) = told();
    let told: Vec<_> = events
        .iter()
        .map(|file| {
            let names = (short(&file.path), short(&file.dest_path));
            format!("{:?} {} {}", file.action, names.0, names.1)
        })
        .collect();
    let expected = [
        "Create new -",
        "Truncate new -",
        "Rename new renamed",
        "Create other -",
        "Rename renamed other",
        "Link hard other",
        "Symlink sym target text",
        "Mkdir dir -",
        "Rmdir dir -",
        "Chmod other -",
        "Chown other -",
        "Truncate other -",
        "Chmod ../watched -",
        "Chown ../watched -",
        "Create viafd -",
        "Mkdir sub dir -",
        "Rename viafd sub dir/moved",
        "Attributes other -",
        "Rename other ../outside",
        "Rename ../outside inside",
        "Unlink inside -",
        "Unlink hard -",
        "Unlink sym -",
        "Unlink sub dir/moved -",
        "Rmdir sub dir -",
        "Create fifo -",
        "Unlink fifo -",
        "Create openat2 -",
        "Unlink openat2 -",
        "Link fromtmp /proc/self/fd/5",
        "Unlink fromtmp -",
        "Create name\nwith \"odd\" chars -",
        "Unlink name\nwith \"odd\" chars -",
    ];
    for (told, expected) in told.iter().zip(expected) {
        assert_eq!(told, expected);
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
}

#[test]
fn the_object_is_as_it_is_afterwards_and_what_the_records_do_not_say_is_unknown() {
    let (events, _) = told();
    let of = |action| events.iter().find(|file| file.action == action).unwrap();
    let object = |action| of(action).object.unwrap();
    assert_eq!(object(FileAction::Chmod).mode, Some(0o100_600));
    let chowned = object(FileAction::Chown);
    assert_eq!((chowned.uid, chowned.gid, chowned.mode), (None, None, Some(0o100_600)));
    let truncated: Vec<_> = events
        .iter()
        .filter(|file| file.action == FileAction::Truncate)
        .map(|file| (file.syscall, file.object.unwrap().size))
        .collect();
    assert_eq!(truncated, [(Some("openat"), Some(0)), (Some("truncate"), Some(3))]);
    assert_eq!(of(FileAction::Mkdir).is_dir, Some(true));
    assert_eq!(of(FileAction::Symlink).is_dir, Some(false));
    assert_eq!(object(FileAction::Unlink).size, None);
}

#[test]
fn a_rename_over_a_file_is_told_of_the_file_that_moved() {
    let (events, _) = told();
    let renames = events.iter().filter(|file| file.action == FileAction::Rename);
    let inodes: Vec<_> = renames.map(|file| file.object.unwrap().inode).collect();
    let made = events.iter().find(|file| file.action == FileAction::Create).unwrap();
    assert_eq!(inodes[0], made.object.unwrap().inode);
    assert_eq!(inodes[1], inodes[0]);
}

#[test]
fn every_open_for_writing_of_a_regular_file_awaits_its_writes() {
    let (_, writes) = told();
    let paths: Vec<_> = writes.iter().map(|file| short(&file.path)).collect();
    let odd = "name\nwith \"odd\" chars";
    assert_eq!(paths, ["new", "new", "new", "other", "other", "viafd", "openat2", odd]);
    assert!(writes.iter().all(|file| file.action == FileAction::CloseWrite));
}

#[test]
fn the_directory_of_a_name_is_sought_by_its_own_inode() {
    let mut world = Told::default();
    world.directories.insert(3, "/tmp/corpus/watched");
    decoded(corpus::FILE, &mut world);
    let directories: std::collections::BTreeSet<_> =
        world.sought.iter().filter_map(|(_, parent)| *parent).collect();
    // The watched directory, the one beside it, and the one made in it.
    assert_eq!(directories.len(), 3);
    let unnamed =
        world.sought.iter().filter(|(object, parent)| object.is_none() && parent.is_none());
    assert_eq!(unnamed.count(), 0);
}
