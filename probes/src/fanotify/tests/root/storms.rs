//! More than there is room for, and that all of it is accounted for.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use super::*;

/// The kernel's bound on a group's queue.
fn kernel_queue() -> usize {
    let text = fs::read_to_string("/proc/sys/fs/fanotify/max_queued_events").unwrap();
    text.trim().parse().unwrap()
}

/// A file system of our own, so that nobody else's events are counted.
fn alone() -> Scene {
    let scene = Scene::new("/tmp");
    unshare_mounts();
    mount(&["-t", "tmpfs", "none", scene.watched().to_str().unwrap()]);
    scene
}

fn bait(watched: &Path) {
    fs::create_dir(watched.join("bait")).unwrap();
}

#[test]
fn an_overflow_of_the_kernels_queue_is_a_counted_loss() {
    let scene = alone();
    let watched = scene.watched();
    let watching = Watching::on(&watched);
    let count = kernel_queue() + 1000;
    watching.while_it_hangs(
        || bait(&watched),
        || {
            for number in 0..count {
                fs::create_dir(watched.join(number.to_string())).unwrap();
            }
        },
    );
    let taken = watching.take().len();
    let health = watching.health();
    assert!(taken < count, "{taken} of {count}");
    assert_eq!(health.lost_ring, 1, "{health:?}");
    assert!(health.last_error.contains("overflowed"), "{health:?}");
    assert_eq!(health.produced, None);
    // And it goes on, with paths that are right.
    fs::create_dir(watched.join("7/inner")).unwrap();
    assert_eq!(watching.done(&watched), [did(FileAction::Mkdir, "7/inner")]);
}

#[test]
fn what_our_own_queue_has_no_room_for_is_counted_one_by_one() {
    const COUNT: usize = 3000;
    let scene = alone();
    let watched = scene.watched();
    let rings = RingBytes { file: 16 << 10, ..RingBytes::default() };
    let config = SourceConfig { ring_bytes: rings, ..below(&[&watched]) };
    let watching = Watching::start(Fanotify::new(), &config);
    watching.while_it_hangs(
        || bait(&watched),
        || {
            for number in 0..COUNT {
                fs::create_dir(watched.join(number.to_string())).unwrap();
            }
        },
    );
    let taken = watching.take().len();
    let health = watching.health();
    assert!(health.lost_ring > 0, "{health:?}");
    assert_eq!(taken as u64 + health.lost_ring, COUNT as u64, "{health:?}");
    assert_eq!(health.ring_bytes, Some(16 << 10));
}

#[test]
fn every_file_of_a_storm_is_told() {
    const COUNT: usize = 5000;
    let scene = alone();
    let watched = scene.watched();
    let watching = Watching::on(&watched);
    let script = format!(
        "import os, sys\n\
         for name in range({COUNT}):\n \
            path = f'{{sys.argv[1]}}/{{name}}'\n \
            file = os.open(path, os.O_CREAT | os.O_WRONLY)\n \
            os.write(file, b'x')\n \
            os.close(file)\n \
            os.unlink(path)"
    );
    python(&script, &watched);
    let events = watching.take();
    let count = |action| events.iter().filter(|event| file(event).action == action).count();
    assert_eq!(count(FileAction::Create), COUNT);
    assert_eq!(count(FileAction::CloseWrite), COUNT);
    assert_eq!(count(FileAction::Unlink), COUNT);
    let health = watching.health();
    assert_eq!(health.received, health.malformed + events.len() as u64, "{health:?}");
    assert_eq!((health.lost_ring, health.lost_missed, health.malformed), (0, 0, 0), "{health:?}");
}

/// Whether any group of this process ignores changes of an inode (proc(5), fdinfo).
fn is_ignored(inode: u64) -> bool {
    let mark = format!("ino:{inode:x} ");
    fs::read_dir("/proc/self/fdinfo").unwrap().flatten().any(|entry| {
        fs::read_to_string(entry.path()).is_ok_and(|text| {
            text.lines().any(|line| line.contains(&mark) && line.contains("ignored_mask:2"))
        })
    })
}

#[test]
fn an_unwatched_file_written_all_the_time_is_silenced_until_it_comes_into_the_watch() {
    for (file_system, source) in
        [("/tmp", Fanotify::new()), ("/dev/shm", Fanotify::new()), ("/tmp", Fanotify::by_names())]
    {
        let scene = Scene::new(file_system);
        let watched = scene.watched();
        let watching = Watching::start(source, &below(&[&watched]));
        let path = scene.other().join("log");
        write(&path);
        let inode = fs::metadata(&path).unwrap().ino();
        let mut log = OpenOptions::new().append(true).open(&path).unwrap();
        wait_for("the ignore mark", || {
            log.write_all(b"line\n").unwrap();
            is_ignored(inode)
        });
        assert_eq!(watching.done(&watched), []);
        run("exec mv out/log in/log", scene.base.path());
        let from = path.to_str().unwrap();
        assert_eq!(watching.done(&watched), [did_to(FileAction::Rename, from, "log")]);
        assert!(!is_ignored(inode));
        log.write_all(b"line\n").unwrap();
        assert_eq!(watching.done(&watched), [did(FileAction::Modify, "log")]);
    }
}
