use super::*;
use crate::event::{Creds, Exec, Exit, FileObject, Setid, SourceKind, Task};

fn arrived(pid: u32, body: Body, image: Option<u64>) -> Arrived {
    let task = Task { pid, tid: pid, creds: Some(Creds::default()), ..Task::default() };
    let event = RawEvent { time_ns: 0, source: SourceKind::Connector, task, body };
    Arrived { event, image: image.map(Image::of_test) }
}

fn exec(pid: u32, path: &str, mode: u32, image: u64) -> Arrived {
    let file = Some(FileObject { mode: Some(mode), ..FileObject::default() });
    let exec = Exec { path: Some(path.as_bytes().into()), file, ..Exec::default() };
    arrived(pid, Body::Exec(Box::new(exec)), Some(image))
}

fn ids(pid: u32) -> Arrived {
    arrived(pid, Body::Setid(Setid::default()), None)
}

fn exit(pid: u32) -> Arrived {
    arrived(pid, Body::Exit(Exit::default()), None)
}

fn path(event: &RawEvent) -> Option<&[u8]> {
    match &event.body {
        Body::Exec(exec) => exec.path.as_deref(),
        other => panic!("{other:?}"),
    }
}

fn released(settle: &mut Settle, now_ns: u64) -> Vec<RawEvent> {
    let mut out = Vec::new();
    settle.release(now_ns, |_| false, &mut out);
    out
}

#[test]
fn an_exec_waits_and_what_is_behind_it_waits_with_it() {
    let mut settle = Settle::default();
    settle.add(exit(1), 0);
    settle.add(exec(2, "/a", 0o755, 1), 10);
    settle.add(exit(3), 11);
    assert_eq!(released(&mut settle, 11).len(), 1);
    assert_eq!(settle.wait_ns(11), Some(SETTLE_NS - 1));
    assert_eq!(released(&mut settle, SETTLE_NS + 9).len(), 0);
    assert_eq!(released(&mut settle, SETTLE_NS + 10).len(), 2);
    assert_eq!(settle.wait_ns(0), None);
}

#[test]
fn an_exec_that_was_read_too_late_does_not_wear_what_belongs_to_the_next() {
    let mut settle = Settle::default();
    settle.add(exec(1, "/second", 0o755, 7), 0);
    settle.add(exec(1, "/second", 0o755, 7), 1);
    let out = released(&mut settle, 2 * SETTLE_NS);
    assert_eq!((path(&out[0]), path(&out[1])), (None, Some(&b"/second"[..])));
    assert_eq!((out[0].task.creds, out[1].task.creds), (None, Some(Creds::default())));
}

#[test]
fn of_what_audit_told_only_the_environment_is_in_doubt() {
    let mut first = exec(1, "/first", 0o755, 7);
    first.event.source = SourceKind::Audit;
    if let Body::Exec(exec) = &mut first.event.body {
        exec.env.bytes = Some(b"A=2\0".as_slice().into());
    }
    let mut settle = Settle::default();
    settle.add(first, 0);
    settle.add(exec(1, "/second", 0o755, 7), 1);
    let first = released(&mut settle, 2 * SETTLE_NS).remove(0);
    assert_eq!(path(&first), Some(&b"/first"[..]));
    assert_eq!(first.task.creds, Some(Creds::default()));
    let Body::Exec(exec) = first.body else { panic!() };
    assert_eq!((exec.env.bytes, exec.truncated.env), (None, true));
}

#[test]
fn an_exec_before_one_that_was_gone_too_soon_is_in_doubt_unless_it_was_long_before() {
    let gone = || arrived(1, Body::Exec(Box::default()), None);
    let mut settle = Settle::default();
    settle.add(exec(1, "/doubtful", 0o755, 7), 0);
    settle.add(gone(), 1);
    assert!(released(&mut settle, 2 * SETTLE_NS).iter().all(|event| path(event).is_none()));
    settle.add(exec(1, "/certain", 0o755, 7), 0);
    let mut later = gone();
    later.event.time_ns = PATIENCE_NS + 1;
    settle.add(later, PATIENCE_NS + 2);
    assert_eq!(path(&released(&mut settle, 2 * PATIENCE_NS).remove(0)), Some(&b"/certain"[..]));
}

#[test]
fn two_execs_that_were_both_read_in_time_keep_what_they_have() {
    let mut settle = Settle::default();
    settle.add(exec(1, "/first", 0o755, 6), 0);
    settle.add(exec(1, "/second", 0o755, 7), 1);
    settle.add(exec(2, "/other", 0o755, 7), 1);
    let out = released(&mut settle, 2 * SETTLE_NS);
    assert!(out.iter().all(|event| path(event).is_some()));
}

#[test]
fn a_set_user_id_exec_is_no_change_of_ids() {
    let mut settle = Settle::default();
    settle.add(ids(1), 0);
    settle.add(exec(1, "/bin/su", 0o104_755, 1), 1);
    settle.add(ids(2), 2);
    settle.add(exec(2, "/bin/true", 0o100_755, 1), 3);
    let out = released(&mut settle, 2 * SETTLE_NS);
    let pids: Vec<_> = out.iter().map(|event| (event.task.pid, event.kind().as_str())).collect();
    assert_eq!(pids, [(1, "exec"), (2, "setid"), (2, "exec")]);
}

#[test]
fn a_change_of_ids_right_before_an_exec_does_not_wear_its_name() {
    let mut settle = Settle::default();
    for pid in [1, 1, 2] {
        let mut change = ids(pid);
        change.event.task.comm = Some(b"sleep"[..].into());
        settle.add(change, 0);
    }
    settle.add(exec(1, "/bin/sleep", 0o755, 1), 1);
    let out = released(&mut settle, 2 * SETTLE_NS);
    let names = out
        .iter()
        .filter(|event| event.kind().as_str() == "setid")
        .map(|event| event.task.comm.is_some());
    assert_eq!(names.collect::<Vec<_>>(), [false, false, true]);
    assert!(out[0].task.creds.is_some());
}

#[test]
fn what_a_record_of_audit_says_is_in_no_doubt() {
    let mut settle = Settle::default();
    let mut change = ids(1);
    change.event.source = SourceKind::Audit;
    change.event.task.comm = Some(b"setpriv"[..].into());
    settle.add(change.clone(), 0);
    settle.add(exec(1, "/bin/su", 0o104_755, 1), 1);
    let mut told = exec(2, "/bin/true", 0o755, 1);
    told.event.source = SourceKind::Audit;
    settle.add(told, 2);
    change.event.task.pid = 2;
    settle.add(change, 3);
    let out = released(&mut settle, 2 * SETTLE_NS);
    let kinds: Vec<_> = out.iter().map(|event| event.kind().as_str()).collect();
    assert_eq!(kinds, ["setid", "exec", "exec", "setid"]);
    assert!(out[0].task.comm.is_some() && out[2].task.creds.is_some());
}

#[test]
fn ids_changed_right_after_an_exec_leave_those_of_the_exec_unknown() {
    let mut settle = Settle::default();
    settle.add(exec(1, "/a", 0o755, 1), 0);
    settle.add(ids(1), 1);
    let out = released(&mut settle, 2 * SETTLE_NS);
    assert_eq!(out[0].task.creds, None);
    assert!(path(&out[0]).is_some());
}

#[test]
fn an_exec_waits_longer_while_the_process_could_be_executing_something() {
    let mut settle = Settle::default();
    settle.add(exec(1, "/a", 0o755, 1), 0);
    let mut out = Vec::new();
    for now in (SETTLE_NS..PATIENCE_NS).step_by(SETTLE_NS as usize) {
        settle.release(now, |pid| pid == 1, &mut out);
        assert!(out.is_empty());
    }
    settle.release(PATIENCE_NS, |_| panic!("asked"), &mut out);
    assert_eq!(out.len(), 1);
}

#[test]
fn an_end_makes_an_exec_certain_at_once() {
    let mut settle = Settle::default();
    settle.add(exec(1, "/a", 0o755, 1), 0);
    settle.add(exit(1), 1);
    assert_eq!(released(&mut settle, 1).len(), 2);
}

#[test]
fn a_fork_makes_an_exec_certain_only_if_it_came_after_we_looked() {
    let fork = |time_ns| {
        let mut fork = arrived(1, Body::Fork(crate::event::Fork::default()), None);
        fork.event.time_ns = time_ns;
        fork
    };
    let mut settle = Settle::default();
    settle.add(exec(1, "/a", 0o755, 1), 100);
    settle.add(fork(99), 101);
    assert_eq!(released(&mut settle, 101).len(), 0);
    settle.add(fork(102), 103);
    assert_eq!(released(&mut settle, 103).len(), 3);
}

#[test]
fn more_than_can_be_held_goes_out_unsettled_and_none_is_lost() {
    let mut settle = Settle::default();
    for pid in 0..MAX_HELD as u32 + 5 {
        settle.add(exec(pid, "/a", 0o755, 1), 0);
    }
    assert_eq!(released(&mut settle, 0).len(), 5);
    assert_eq!(released(&mut settle, SETTLE_NS).len(), MAX_HELD);
    assert!(settle.execs.is_empty() && settle.ids.is_empty());
}
