use proptest::prelude::*;

use super::super::corpus::{self, assemble, records};
use super::super::decode::{Decoded, decode};
use super::*;

fn record(kind: u16, serial: u32, rest: &str) -> (u16, Vec<u8>) {
    (kind, format!("audit(1700000000.000:{serial}): {rest}").into_bytes())
}

const IDS: &str = "ppid=1 pid=2 auid=0 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0";

fn call(serial: u32, items: u32) -> (u16, Vec<u8>) {
    let rest = format!("arch=c000003e syscall=50 success=yes exit=0 a0=3 items={items} {IDS}");
    record(kind::SYSCALL, serial, &rest)
}

#[test]
fn every_event_of_the_corpus_comes_out_whole() {
    for corpus in [corpus::EXEC, corpus::SOCKET, corpus::IDS, corpus::FILE] {
        let records = records(corpus);
        let calls = records.iter().filter(|(kind, _)| *kind == kind::SYSCALL).count();
        let (groups, counts) = assemble(&records);
        assert_eq!(groups.len(), calls);
        assert_eq!(counts.complete, calls as u64);
        assert_eq!(counts.records, records.len() as u64);
        let rest = (counts.malformed, counts.incomplete, counts.headless, counts.late);
        assert_eq!(rest, (0, 0, 0, 0));
    }
}

#[test]
fn an_event_is_given_out_at_its_end_not_later() {
    let mut assembler = Assembler::default();
    let mut out = Vec::new();
    let (kind, payload) = call(1, 0);
    assembler.push(kind, &payload, 0, &mut out);
    assert!(out.is_empty());
    let (kind, payload) = record(kind::EOE, 1, "");
    assembler.push(kind, &payload, 0, &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(assembler.open(), 0);
}

#[test]
fn an_event_without_its_end_is_given_up_in_time_and_counted() {
    let mut assembler = Assembler::default();
    let mut out = Vec::new();
    let (kind, payload) = call(1, 0);
    assembler.push(kind, &payload, 5, &mut out);
    assembler.expire(5 + OPEN_NS - 1, &mut out);
    assert!(out.is_empty());
    assembler.expire(5 + OPEN_NS, &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(assembler.counts().incomplete, 1);
    assert_eq!(assembler.counts().records_missing, 1);
}

#[test]
fn an_event_that_ended_waits_only_shortly_for_overtaken_records() {
    let mut assembler = Assembler::default();
    let mut out = Vec::new();
    for (kind, payload) in [call(1, 1), record(kind::EOE, 1, "")] {
        assembler.push(kind, &payload, 0, &mut out);
    }
    assert!(out.is_empty());
    let path = record(kind::PATH, 1, "item=0 name=\"x\" nametype=NORMAL");
    for (kind, payload) in [path, record(kind::CWD, 1, "cwd=\"/\"")] {
        assembler.push(kind, &payload, ENDED_NS - 1, &mut out);
    }
    assert_eq!(out.len(), 1);

    for (kind, payload) in [call(2, 1), record(kind::EOE, 2, "")] {
        assembler.push(kind, &payload, 0, &mut out);
    }
    assembler.expire(ENDED_NS, &mut out);
    assert_eq!(out.len(), 2);
    assert_eq!(assembler.counts().incomplete, 1);
}

#[test]
fn a_record_after_its_event_was_given_out_is_late_not_a_new_event() {
    let late = record(kind::PROCTITLE, 1, "proctitle=\"x\"");
    let (groups, counts) = assemble(&[call(1, 0), record(kind::EOE, 1, ""), late]);
    assert_eq!((groups.len(), counts.late, counts.headless), (1, 1, 0));
}

#[test]
fn an_event_of_which_the_head_is_lost_is_counted() {
    let cwd = record(kind::CWD, 1, "cwd=\"/\"");
    let (groups, counts) = assemble(&[cwd, record(kind::EOE, 1, "")]);
    assert_eq!((groups.len(), counts.headless), (1, 1));
    assert_eq!(
        decode(&groups[0], corpus::ASKED, &mut corpus::Told::default()),
        Decoded::Lost(None)
    );
}

#[test]
fn an_event_of_which_nothing_came_is_counted() {
    let ended = |serial| [call(serial, 0), record(kind::EOE, serial, "")];
    let (groups, counts) = assemble(&[ended(1), ended(4)].concat());
    assert_eq!((groups.len(), counts.gaps), (2, 2));
}

#[test]
fn one_event_more_than_there_is_room_for_gives_up_the_oldest() {
    let mut assembler = Assembler::default();
    let mut out = Vec::new();
    let more = 10;
    for serial in 0..MAX_OPEN as u32 + more {
        let (kind, payload) = call(serial, 0);
        assembler.push(kind, &payload, u64::from(serial), &mut out);
    }
    assert_eq!(assembler.open(), MAX_OPEN);
    let counts = assembler.counts();
    assert_eq!((counts.evicted, counts.incomplete), (u64::from(more), u64::from(more)));
    let given_up: Vec<u32> = out.iter().map(|group| group.stamp.serial).collect();
    assert_eq!(given_up, (0..more).collect::<Vec<_>>());
    assembler.finish(&mut out);
    assert_eq!(out.len(), MAX_OPEN + more as usize);
}

#[test]
fn what_is_not_a_record_is_counted_and_nothing_else() {
    let (groups, counts) = assemble(&[(kind::SYSCALL, b"\xff\0audit(".to_vec())]);
    assert_eq!((groups.len(), counts.malformed, counts.records), (0, 1, 1));
    let (groups, counts) =
        assemble(&[record(kind::SYSCALL, 1, "arch=zz"), record(kind::EOE, 1, "")]);
    assert_eq!((groups.len(), counts.malformed, counts.headless), (1, 1, 1));
}

/// The corpus as (event, record) pairs, so that the order within an event can be kept or not.
fn all() -> Vec<(u16, Vec<u8>)> {
    [corpus::EXEC, corpus::SOCKET, corpus::IDS, corpus::FILE].map(records).concat()
}

fn sorted(mut groups: Vec<Group>) -> Vec<Group> {
    for group in &mut groups {
        group.paths.sort_by_key(|item| item.item);
    }
    groups.sort_by_key(|group| group.stamp);
    groups
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn any_order_of_records_gives_the_same_events(
        order in Just((0..all().len()).collect::<Vec<_>>()).prop_shuffle()
    ) {
        let records = all();
        let shuffled: Vec<_> = order.iter().map(|&index| records[index].clone()).collect();
        let (expected, _) = assemble(&records);
        let (groups, counts) = assemble(&shuffled);
        // Only a PROCTITLE may come after all an event needs is there.
        let untitled_late = groups.iter().filter(|group| !group.proctitle).count();
        prop_assert_eq!(counts.late, untitled_late as u64);
        let untitled = |groups: Vec<Group>| {
            let mut groups = sorted(groups);
            groups.iter_mut().for_each(|group| group.proctitle = true);
            groups
        };
        prop_assert_eq!(untitled(groups), untitled(expected));
    }

    #[test]
    fn records_that_are_lost_lose_no_other_event(
        lost in proptest::collection::btree_set(0..all().len(), 0..40)
    ) {
        let records = all();
        let (whole, _) = assemble(&records);
        let left: Vec<_> = records.iter().enumerate()
            .filter(|(index, _)| !lost.contains(index))
            .map(|(_, record)| record.clone())
            .collect();
        let (groups, counts) = assemble(&left);
        // Whatever is left of an event is given out, or all of it is missing and counted.
        let touched: std::collections::BTreeSet<_> = lost.iter()
            .filter_map(|&index| split(&records[index].1).ok().map(|(stamp, _)| stamp))
            .collect();
        let untouched = whole.iter().filter(|group| !touched.contains(&group.stamp));
        for group in untouched {
            prop_assert!(groups.contains(group));
        }
        prop_assert_eq!(
            counts.complete + counts.incomplete + counts.headless,
            groups.len() as u64
        );
        prop_assert_eq!(counts.malformed, 0);
    }

    #[test]
    fn records_cut_anywhere_are_counted_and_nothing_else(
        cuts in proptest::collection::vec((0..all().len(), 0_usize..400), 1..60)
    ) {
        let mut records = all();
        for (index, length) in cuts {
            let payload = &mut records[index].1;
            payload.truncate(length);
        }
        let (groups, counts) = assemble(&records);
        prop_assert_eq!(counts.records, records.len() as u64);
        for group in &groups {
            decode(group, corpus::ASKED, &mut corpus::Told::default());
        }
    }

    #[test]
    fn any_bytes_are_counted_and_nothing_else(
        noise in proptest::collection::vec(
            (1300_u16..1340, proptest::collection::vec(any::<u8>(), 0..200)), 0..50
        ),
        text in proptest::collection::vec(
            (1300_u16..1340, "audit\\(1700000000\\.00[0-9]:[0-9]\\): [a-z0-9=\"\\[\\]_ ]{0,120}"), 0..50
        )
    ) {
        let text = text.into_iter().map(|(kind, text)| (kind, text.into_bytes()));
        let records: Vec<_> = noise.into_iter().chain(text).collect();
        let (groups, counts) = assemble(&records);
        prop_assert_eq!(counts.records, records.len() as u64);
        for group in &groups {
            decode(group, corpus::ASKED, &mut corpus::Told::default());
        }
    }
}
