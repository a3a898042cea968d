use super::*;
use crate::connector::fill::Image;
use crate::event::{Bytes, Exit, FileObject, Fork, Setid, SourceKind, Strings, Truncated};

const MS: u64 = 1_000_000;

fn event(source: SourceKind, pid: u32, time_ns: u64, body: Body) -> RawEvent {
    RawEvent { time_ns, source, task: Task { pid, tid: pid, ..Task::default() }, body }
}

fn told(pid: u32, time_ns: u64, body: Body) -> Arrived {
    Arrived { event: event(SourceKind::Connector, pid, time_ns, body), image: None }
}

fn exec(pid: u32, time_ns: u64) -> Arrived {
    let mut arrived = told(pid, time_ns, Body::Exec(Box::default()));
    arrived.event.task.start_ns = Some(7);
    arrived
}

fn audit_exec(pid: u32, time_ns: u64, path: &str) -> RawEvent {
    let exec = Exec { path: Some(path.as_bytes().into()), ..Exec::default() };
    event(SourceKind::Audit, pid, time_ns, Body::Exec(Box::new(exec)))
}

fn audit_other(pid: u32, time_ns: u64) -> RawEvent {
    event(SourceKind::Audit, pid, time_ns, Body::Setid(Setid::default()))
}

fn released(merge: &mut Merge, now_ns: u64) -> Vec<(u32, &'static str, &'static str)> {
    let mut out = Vec::new();
    merge.release(now_ns, &mut out);
    out.iter()
        .map(|arrived| {
            let event = &arrived.event;
            (event.task.pid, event.kind().as_str(), event.source.as_str())
        })
        .collect()
}

#[test]
fn an_exec_is_one_event_with_what_both_say() {
    let mut merge = Merge::default();
    let mut connector = exec(1, 1_003 * MS);
    if let Body::Exec(exec) = &mut connector.event.body {
        exec.path = Some(b"/read/too/late".as_slice().into());
        exec.file = Some(FileObject { inode: Some(5), size: Some(10), ..FileObject::default() });
    }
    merge.connector(connector, true, 0);
    assert!(released(&mut merge, 1).is_empty());
    let mut audit = audit_exec(1, 1_000 * MS, "/bin/true");
    if let Body::Exec(exec) = &mut audit.body {
        exec.file = Some(FileObject { inode: Some(5), ..FileObject::default() });
    }
    merge.audit(audit, 2);
    let mut out = Vec::new();
    merge.release(2, &mut out);
    let RawEvent { time_ns, source, task, body } = out.remove(0).event;
    assert_eq!((time_ns, source, task.start_ns), (1_003 * MS, SourceKind::Audit, Some(7)));
    let Body::Exec(exec) = body else { panic!() };
    assert_eq!(exec.path.as_deref(), Some(&b"/bin/true"[..]));
    assert_eq!(exec.file.unwrap().size, Some(10));
    assert_eq!(merge.counts(), Counts { both: 1, ..Counts::default() });
    assert!(merge.execs.is_empty());
}

/// What the merge makes of an exec that audit tells with `of_audit` as its arguments, and `/proc`
/// with others and an environment; and whether some of it is still in doubt.
fn environment(of_audit: &[u8], of_proc: &[u8]) -> (Option<Bytes>, bool, bool) {
    let strings = |bytes: &[u8]| Strings { bytes: Some(bytes.into()), ..Strings::default() };
    let file = Some(FileObject { inode: Some(5), ..FileObject::default() });
    let mut connector = exec(1, 0);
    connector.image = Some(Image::of_test(3));
    connector.event.body = Body::Exec(Box::new(Exec {
        file,
        args: strings(of_proc),
        env: strings(b"A=1\0"),
        ..Exec::default()
    }));
    let truncated = Truncated { env: true, ..Truncated::default() };
    let told = Exec { file, args: strings(of_audit), truncated, ..Exec::default() };
    let mut merge = Merge::default();
    merge.connector(connector, true, 0);
    merge.audit(event(SourceKind::Audit, 1, 0, Body::Exec(Box::new(told))), 1);
    let mut out = Vec::new();
    merge.release(1, &mut out);
    let Arrived { event, image } = out.remove(0);
    let Body::Exec(exec) = event.body else { panic!() };
    (exec.env.bytes, exec.truncated.env, image.is_some())
}

#[test]
fn an_environment_is_that_of_the_program_which_has_the_same_arguments() {
    let read = Bytes::from(b"A=1\0".as_slice());
    assert_eq!(environment(b"a\0", b"a\0"), (Some(read), false, true));
    assert_eq!(environment(b"a\0", b"b\0"), (None, true, false));
}

#[test]
fn nothing_overtakes_an_exec_that_waits_for_audit() {
    let mut merge = Merge::default();
    merge.connector(told(1, 0, Body::Fork(Fork::default())), true, 0);
    merge.connector(exec(2, 1), true, 0);
    merge.connector(told(2, 2, Body::Fork(Fork::default())), true, 0);
    merge.audit(audit_other(3, 0), 0);
    assert_eq!(released(&mut merge, 0), [(1, "fork", "connector")]);
    merge.audit(audit_exec(2, 0, "/a"), 1);
    let rest = [(2, "exec", "audit"), (2, "fork", "connector"), (3, "setid", "audit")];
    assert_eq!(released(&mut merge, 1), rest);
}

#[test]
fn what_a_process_did_comes_before_its_end_though_audit_tells_it_later() {
    let mut merge = Merge::default();
    merge.connector(told(1, 5, Body::Exit(Exit::default())), true, 0);
    merge.connector(told(2, 6, Body::Exit(Exit::default())), true, 0);
    merge.audit(audit_other(1, 3), 1);
    merge.audit(audit_other(1, 4), 2);
    merge.audit(audit_other(3, 4), 2);
    merge.audit_reached(6 + SLACK_NS);
    let order: Vec<_> =
        released(&mut merge, 2).into_iter().map(|(pid, kind, _)| (pid, kind)).collect();
    assert_eq!(order, [(1, "setid"), (1, "setid"), (1, "exit")]);
    merge.audit_reached(7 + SLACK_NS);
    let order: Vec<_> =
        released(&mut merge, 2).into_iter().map(|(pid, kind, _)| (pid, kind)).collect();
    assert_eq!(order, [(2, "exit"), (3, "setid")]);
    assert!(merge.exits.is_empty());
}

#[test]
fn an_exec_audit_lost_goes_out_as_the_connector_told_it_once_audit_is_past_it() {
    let mut merge = Merge::default();
    merge.connector(exec(1, 10), true, 0);
    merge.audit_reached(10 + SLACK_NS);
    assert!(released(&mut merge, 0).is_empty());
    merge.audit_reached(11 + SLACK_NS);
    assert_eq!(released(&mut merge, 0), [(1, "exec", "connector")]);
    assert_eq!(merge.counts().connector_only, 1);
}

#[test]
fn an_exec_of_which_audit_stays_silent_does_not_wait_for_ever() {
    let mut merge = Merge::default();
    merge.connector(exec(1, 10), true, 5);
    assert_eq!(merge.wait_ns(5), Some(HOLD_NS));
    assert!(released(&mut merge, 4 + HOLD_NS).is_empty());
    assert_eq!(released(&mut merge, 5 + HOLD_NS), [(1, "exec", "connector")]);
    assert_eq!(merge.wait_ns(0), None);
}

#[test]
fn an_audit_event_that_comes_after_its_exec_went_out_makes_no_second_one() {
    let mut merge = Merge::default();
    merge.connector(exec(1, 10 * MS), true, 0);
    released(&mut merge, HOLD_NS);
    merge.audit(audit_exec(1, 8 * MS, "/a"), HOLD_NS);
    assert!(released(&mut merge, HOLD_NS).is_empty());
    assert_eq!(merge.counts().too_late, 1);
    // Its pid is used again, and the connector lost the next one.
    merge.connector(exec(1, 20 * MS), true, 2 * HOLD_NS);
    released(&mut merge, 4 * HOLD_NS);
    merge.audit(audit_exec(1, 20 * MS + SKEW_NS + 1, "/b"), 4 * HOLD_NS);
    assert_eq!(released(&mut merge, 4 * HOLD_NS), [(1, "exec", "audit")]);
    assert_eq!(merge.counts().audit_only, 1);
}

#[test]
fn of_two_execs_of_a_process_the_second_does_not_take_the_place_of_the_first_that_audit_lost() {
    let mut merge = Merge::default();
    merge.connector(exec(1, 100 * MS), true, 0);
    merge.connector(exec(1, 200 * MS), true, 0);
    merge.audit(audit_exec(1, 196 * MS, "/second"), 1);
    let mut out = Vec::new();
    merge.release(HOLD_NS, &mut out);
    let paths: Vec<_> = out
        .into_iter()
        .map(|arrived| match arrived.event.body {
            Body::Exec(exec) => exec.path.map(|path| String::from_utf8_lossy(&path).into_owned()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(paths, [None, Some("/second".to_owned())]);
}

#[test]
fn without_audits_execs_the_connectors_do_not_wait() {
    let mut merge = Merge::default();
    merge.connector(exec(1, 10), false, 0);
    assert_eq!(released(&mut merge, 0), [(1, "exec", "connector")]);
}

#[test]
fn more_than_can_be_held_goes_out_as_it_is_and_none_is_lost() {
    let mut merge = Merge::default();
    let count = MAX_HELD as u32 + 7;
    (0..count).for_each(|pid| merge.connector(exec(pid, 0), true, 0));
    assert_eq!(released(&mut merge, 0).len(), 7);
    assert_eq!(released(&mut merge, HOLD_NS).len(), MAX_HELD);
    assert_eq!(merge.counts().connector_only, u64::from(count));
    assert!(merge.execs.is_empty());
    assert_eq!(merge.forget.len(), MAX_REMEMBERED);
    assert_eq!(merge.remembered.len(), MAX_REMEMBERED);
}
