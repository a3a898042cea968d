//! When a change that is held back comes out, and that it always does.

use super::*;
use crate::event::{File, FileAction, SourceKind, Task};

fn change(pid: u32, time_ns: u64, name: &str) -> RawEvent {
    let file = File {
        action: FileAction::Modify,
        path: Some(name.as_bytes().into()),
        dest_path: None,
        object: None,
        is_dir: Some(false),
        syscall: None,
        result: None,
        truncated: false,
    };
    RawEvent {
        time_ns,
        source: SourceKind::Fanotify,
        task: Task { pid, ..Task::default() },
        body: Body::File(Box::new(file)),
    }
}

fn seen(out: &[RawEvent]) -> Vec<(u32, u64)> {
    out.iter().map(|event| (event.task.pid, event.time_ns)).collect()
}

#[test]
fn many_changes_by_one_process_are_one_with_the_time_of_the_first() {
    let (mut held, mut out, now) = (HeldBack::default(), Vec::new(), Instant::now());
    for time in 10..20 {
        held.hold(b"inode", change(1, time, "a"), now, &mut out);
    }
    held.take_due(now + HOLD / 2, &mut out);
    assert_eq!(seen(&out), []);
    held.take_due(now + HOLD, &mut out);
    assert_eq!(seen(&out), [(1, 10)]);
    assert_eq!(held.next(), None);
}

#[test]
fn a_close_by_the_same_process_takes_the_change_with_it() {
    let (mut held, mut out, now) = (HeldBack::default(), Vec::new(), Instant::now());
    held.hold(b"inode", change(1, 10, "a"), now, &mut out);
    held.closed(b"inode", &change(1, 11, "a"), &mut out);
    held.take_all(&mut out);
    assert_eq!(seen(&out), []);
}

#[test]
fn a_close_by_another_process_leaves_the_writer_known() {
    let (mut held, mut out, now) = (HeldBack::default(), Vec::new(), Instant::now());
    out.push(change(9, 1, "before"));
    held.hold(b"inode", change(1, 10, "a"), now, &mut out);
    held.hold(b"inode", change(2, 11, "a"), now, &mut out);
    held.hold(b"inode", change(2, 12, "other name"), now, &mut out);
    held.closed(b"inode", &change(2, 13, "a"), &mut out);
    assert_eq!(seen(&out), [(9, 1), (1, 10), (2, 12)]);
}

#[test]
fn where_there_is_no_room_all_come_out_and_none_is_lost() {
    let (mut held, mut out, now) = (HeldBack::default(), Vec::new(), Instant::now());
    for number in 0..=HELD_MAX as u64 {
        held.hold(&number.to_ne_bytes(), change(1, number, "a"), now, &mut out);
    }
    assert_eq!(out.len(), HELD_MAX);
    assert!(out.is_sorted_by_key(|event| event.time_ns));
    held.take_all(&mut out);
    assert_eq!(out.len(), HELD_MAX + 1);
}

#[test]
fn the_next_one_due_is_known_after_some_came_out() {
    let (mut held, mut out, now) = (HeldBack::default(), Vec::new(), Instant::now());
    let later = now + HOLD / 2;
    held.hold(b"one", change(1, 1, "a"), now, &mut out);
    held.hold(b"two", change(1, 2, "b"), later, &mut out);
    assert_eq!(held.next(), Some(now + HOLD));
    held.take_due(now + HOLD, &mut out);
    assert_eq!(seen(&out), [(1, 1)]);
    assert_eq!(held.next(), Some(later + HOLD));
    held.take(b"two", &mut out);
    assert_eq!(seen(&out), [(1, 1), (1, 2)]);
    // It looks once more and finds nothing.
    held.take_due(later + HOLD, &mut out);
    assert_eq!((out.len(), held.next()), (2, None));
}
