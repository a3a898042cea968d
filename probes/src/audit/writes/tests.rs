use super::*;
use crate::event::{SourceKind, Task};

const OBJECT: InodeId = (1, 2);
const OPENED_MS: u64 = 1000;

fn file(action: FileAction, path: &str, dest: Option<&str>, syscall: &'static str) -> RawEvent {
    let object = FileObject { device: Some(1), inode: Some(2), ..FileObject::default() };
    let file = crate::event::File {
        action,
        path: Some(path.as_bytes().into()),
        dest_path: dest.map(|dest| dest.as_bytes().into()),
        object: Some(object),
        is_dir: Some(false),
        syscall: Some(syscall),
        result: None,
        truncated: false,
    };
    RawEvent {
        time_ns: 0,
        source: SourceKind::Audit,
        task: Task { pid: 9, ..Task::default() },
        body: Body::File(Box::new(file)),
    }
}

fn opened(empty: bool) -> PendingWrite {
    let event = file(FileAction::CloseWrite, "/f", None, "openat");
    PendingWrite { event, fd: 3, object: OBJECT, empty, opened_ms: OPENED_MS }
}

fn closed(size: u64, modified_ms: u64, changed_ms: u64) -> Look {
    let object = FileObject { size: Some(size), ..FileObject::default() };
    let ns = |ms: u64| i64::try_from(ms * 1_000_000).unwrap();
    Look::Closed(object, ns(modified_ms), ns(changed_ms))
}

fn looked(writes: &mut Writes, now_ns: u64, look: Look) -> Vec<RawEvent> {
    let mut out = Vec::new();
    writes.look(now_ns, false, |_| look, &mut out);
    out
}

#[test]
fn a_file_is_told_once_it_is_closed_and_was_written() {
    let mut writes = Writes::default();
    writes.add(opened(false), 0);
    assert_eq!(looked(&mut writes, LOOK_NS - 1, closed(5, 2000, 2000)), []);
    assert_eq!(looked(&mut writes, LOOK_NS, Look::Open), []);
    assert_eq!(writes.wait_ns(LOOK_NS), Some(LOOK_NS));
    let told = looked(&mut writes, 2 * LOOK_NS, closed(5, 2000, 2000));
    assert_eq!((told.len(), told[0].time_ns), (1, 2 * LOOK_NS));
    let Body::File(file) = &told[0].body else { panic!() };
    assert_eq!(file.object.unwrap().size, Some(5));
    assert_eq!(writes.wait_ns(0), None);
}

#[test]
fn a_file_that_was_only_opened_is_not_told() {
    let mut writes = Writes::default();
    writes.add(opened(false), 0);
    assert_eq!(looked(&mut writes, LOOK_NS, closed(5, OPENED_MS - 1, 2000)), []);
    writes.add(opened(true), 0);
    assert_eq!(looked(&mut writes, LOOK_NS, closed(0, 2000, 2000)), []);
    assert_eq!(writes.unknown(), 0);
}

#[test]
fn a_new_file_with_anything_in_it_was_written() {
    let mut writes = Writes::default();
    writes.add(opened(true), 0);
    assert_eq!(looked(&mut writes, LOOK_NS, closed(1, 0, 0)).len(), 1);
}

#[test]
fn setting_the_time_of_modification_back_hides_no_write() {
    let mut writes = Writes::default();
    writes.add(opened(false), 0);
    writes.follow(&file(FileAction::Attributes, "/f", None, "utimensat"));
    assert_eq!(looked(&mut writes, LOOK_NS, closed(5, 1, 2000)).len(), 1);
}

#[test]
fn a_file_that_is_moved_is_followed() {
    let mut writes = Writes::default();
    writes.add(opened(true), 0);
    writes.follow(&file(FileAction::Rename, "/f", Some("/g"), "rename"));
    let told = looked(&mut writes, LOOK_NS, closed(1, 0, 0));
    let Body::File(file) = &told[0].body else { panic!() };
    assert_eq!(file.path.as_deref(), Some(&b"/g"[..]));
}

#[test]
fn what_cannot_be_told_is_counted() {
    let mut writes = Writes::default();
    writes.add(opened(true), 0);
    assert_eq!(looked(&mut writes, LOOK_NS, Look::Gone), []);
    assert_eq!(writes.unknown(), 1);
    for _ in 0..MAX_PENDING + 3 {
        writes.add(opened(true), 0);
    }
    assert_eq!(writes.unknown(), 4);
    assert_eq!(looked(&mut writes, LOOK_NS, closed(1, 0, 0)).len(), MAX_PENDING);
}

#[test]
fn somebody_who_waits_does_not_wait_for_the_next_look() {
    let mut writes = Writes::default();
    writes.add(opened(true), 0);
    writes.hasten(1);
    assert_eq!(looked(&mut writes, 1, closed(1, 0, 0)).len(), 1);
}

#[test]
fn a_file_whose_times_were_set_is_told_though_the_record_of_that_comes_after_the_look() {
    let mut writes = Writes::default();
    writes.add(opened(false), 0);
    let set_back = closed(5, 1, 2000);
    assert_eq!(looked(&mut writes, LOOK_NS, set_back), []);
    writes.follow(&file(FileAction::Attributes, "/f", None, "utimensat"));
    assert_eq!(looked(&mut writes, 2 * LOOK_NS, set_back).len(), 1);
}

#[test]
fn a_file_that_was_changed_and_not_written_is_not_told_however_often_it_is_looked_at() {
    let mut writes = Writes::default();
    let changed = closed(5, 1, 2000);
    writes.add(opened(false), 0);
    assert_eq!(looked(&mut writes, LOOK_NS, changed), []);
    assert_eq!(looked(&mut writes, 2 * LOOK_NS, changed), []);
    assert_eq!(writes.wait_ns(0), None);
    writes.add(opened(false), 0);
    let mut out = Vec::new();
    writes.look(LOOK_NS, true, |_| changed, &mut out);
    assert_eq!((out.len(), writes.wait_ns(0)), (0, None));
}

#[test]
fn a_file_whose_descriptor_was_moved_is_still_open() {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;
    let held = tempfile::tempfile().unwrap();
    let meta = held.metadata().unwrap();
    let mut write = opened(true);
    write.event.task.pid = std::process::id();
    write.object = (meta.dev(), meta.ino());
    write.fd = held.as_raw_fd() + 500;
    assert_eq!(look(&write), Look::Open);
    drop(held);
    assert_eq!(look(&write), Look::Gone);
}
