use super::*;
use crate::event::TICK_NS;

const OWNER: ProcessKey = ProcessKey { pid: 77, start_ns: 123 * TICK_NS };

fn found_off() -> (Status, Found) {
    let status = Status {
        enabled: OFF,
        failure: 1,
        backlog_limit: 64,
        rate_limit: 50,
        backlog_wait_time: Some(15_000),
        ..Status::default()
    };
    (status, Found::new(&status, OWNER))
}

fn apply(now: &Status, (wanted, mask): (Status, u32)) -> Status {
    let mut after = *now;
    let mut take = |bit: u32, value: fn(&mut Status) -> &mut u32, from: u32| {
        if mask & bit != 0 {
            *value(&mut after) = from;
        }
    };
    take(mask::ENABLED, |status| &mut status.enabled, wanted.enabled);
    take(mask::BACKLOG_LIMIT, |status| &mut status.backlog_limit, wanted.backlog_limit);
    take(mask::RATE_LIMIT, |status| &mut status.rate_limit, wanted.rate_limit);
    if mask & mask::BACKLOG_WAIT_TIME != 0 {
        after.backlog_wait_time = wanted.backlog_wait_time;
    }
    after
}

#[test]
fn what_was_found_survives_in_the_key_of_a_rule_that_matches_no_call() {
    let (_, found) = found_off();
    let marker = found.marker();
    assert_eq!(marker.key(), Some(&b"osquery-ebpf/found/0/64/50/15000/77/123"[..]));
    assert!(marker.is_ours());
    assert!((0..2048).all(|number| !marker.covers(super::super::calls::Arch::X86_64, number)));
    let listed = Rule::parse(&marker.encode()).unwrap();
    assert_eq!(Found::parse(&listed), Some(found));
    let old = Found { backlog_wait_time: None, ..found };
    assert_eq!(Found::parse(&old.marker()), Some(old));
}

#[test]
fn other_keys_are_no_marker() {
    for key in ["osquery-ebpf", "osquery-ebpf/found/", "osquery-ebpf/found/0/1/2/x/4/5", "identity"]
    {
        let rule = Rule::record().with_text(Field::FilterKey, key.as_bytes());
        assert_eq!(Found::parse(&rule), None, "{key}");
    }
}

#[test]
fn nobody_waits_for_us_and_everything_is_put_back() {
    let (before, found) = found_off();
    let mut now = apply(&before, found.ours(&before));
    assert_eq!((now.backlog_limit, now.rate_limit), (BACKLOG_LIMIT, 0));
    assert_eq!(now.backlog_wait_time, Some(0));
    now.enabled = ON;
    assert_eq!(apply(&now, found.all_back(&now, false)), before);
}

#[test]
fn a_larger_backlog_than_ours_is_left() {
    let (before, _) = found_off();
    let before = Status { backlog_limit: 100_000, ..before };
    let (wanted, _) = Found::new(&before, OWNER).ours(&before);
    assert_eq!(wanted.backlog_limit, 100_000);
}

#[test]
fn what_somebody_else_has_set_since_is_theirs() {
    let (before, found) = found_off();
    let mut now = apply(&before, found.ours(&before));
    now.enabled = ON;
    now.backlog_limit = 8192;
    now.backlog_wait_time = Some(60_000);
    let after = apply(&now, found.all_back(&now, false));
    assert_eq!((after.backlog_limit, after.backlog_wait_time), (8192, Some(60_000)));
    assert_eq!((after.rate_limit, after.enabled), (50, OFF));
    now.enabled = super::super::status::IMMUTABLE;
    assert_eq!(apply(&now, found.all_back(&now, false)).enabled, super::super::status::IMMUTABLE);
}

#[test]
fn recording_stays_on_for_a_daemon_that_came_since() {
    let (before, found) = found_off();
    let now = Status { enabled: ON, pid: 99, ..before };
    assert_eq!(apply(&now, found.all_back(&now, true)).enabled, ON);
}

#[test]
fn recording_that_was_on_stays_on() {
    let (before, _) = found_off();
    let before = Status { enabled: ON, ..before };
    let found = Found::new(&before, OWNER);
    assert_eq!(apply(&before, found.all_back(&before, false)).enabled, ON);
}

#[test]
fn an_old_kernel_without_a_wait_time_is_not_asked_to_set_one() {
    let (before, _) = found_off();
    let before = Status { backlog_wait_time: None, ..before };
    let found = Found::new(&before, OWNER);
    let (wanted, mask) = found.ours(&before);
    assert_eq!((wanted.backlog_wait_time, mask & mask::BACKLOG_WAIT_TIME), (None, 0));
    assert_eq!(wanted.request(mask).len(), 40);
}
