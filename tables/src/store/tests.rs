use std::collections::BTreeMap;

use osquery_ebpf_probes::event::SourceKind;
use proptest::prelude::*;

use super::*;
use crate::pool::Text;

const SECOND: u64 = 1_000_000_000;

/// An event that knows its number and takes one or two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Numbered {
    number: u32,
    time_ns: u64,
    kind: EventKind,
    ids: u32,
}

impl Record for Numbered {
    fn kind(&self) -> EventKind {
        self.kind
    }
    fn time_ns(&self) -> u64 {
        self.time_ns
    }
    fn source(&self) -> SourceKind {
        SourceKind::Bpf
    }
    fn ids(&self) -> u32 {
        self.ids
    }
}

fn limits(events: usize, bytes: usize, age: u64) -> Limits {
    Limits { events, bytes, age: Duration::from_secs(age) }
}

fn push(store: &mut Store<Numbered>, number: u32, time_s: u64, text: &[u8]) -> u64 {
    push_kind(store, number, time_s, text, EventKind::Exec, 1)
}

fn push_kind(
    store: &mut Store<Numbered>,
    number: u32,
    time_s: u64,
    text: &[u8],
    kind: EventKind,
    ids: u32,
) -> u64 {
    let (segment, _) = store.open();
    let path = segment.pool.intern(Some(text));
    let keys = Keys { path, ..Keys::unknown(time_s as i64) };
    store.push(keys, Numbered { number, time_ns: time_s * SECOND, kind, ids })
}

/// The numbers of the events in a snapshot, in order.
fn read(snapshot: &Snapshot<Numbered>) -> Vec<u32> {
    let window = snapshot.window;
    let mut numbers = Vec::new();
    for segment in snapshot.segments.iter() {
        for index in segment.lower_bound(window.from)..segment.lower_bound(window.to) {
            assert!(segment.pool.get(segment.keys(index).unwrap().path).is_some());
            numbers.push(segment.record(index).unwrap().number);
        }
    }
    numbers
}

fn counts(store: &Store<Numbered>) -> Counts {
    store.counts(EventKind::Exec)
}

#[test]
fn the_oldest_events_make_room_one_by_one() {
    let mut store = Store::new(limits(1000, 1 << 30, 3600));
    for number in 0..2500 {
        push(&mut store, number, 1, b"x");
    }
    assert_eq!(read(&store.all()), (1500..2500).collect::<Vec<_>>());
    let expected = Counts { stored: 2500, evicted: 1500, expired: 0, unread: 0 };
    assert_eq!(counts(&store), expected);
    assert_eq!(counts(&store).held(), 1000);
}

#[test]
fn bytes_held_never_pass_their_limit_whatever_the_events_weigh() {
    let limit = 1 << 20;
    let mut store = Store::new(limits(usize::MAX, limit, 3600));
    for number in 0..3000_u32 {
        let text = vec![number as u8; (number as usize * 37) % 4000];
        let text = [number.to_le_bytes().as_slice(), &text].concat();
        push(&mut store, number, 1, &text);
        if number % 64 == 0 {
            // A reader's copy of the open segment counts too.
            drop(store.all());
        }
        assert!(store.held_bytes() <= limit, "{} at {number}", store.held_bytes());
    }
    let held = counts(&store).held();
    assert!(held > 200, "{held}");
    assert_eq!(counts(&store).evicted, 3000 - held);
    assert_eq!(read(&store.all()), (3000 - held as u32..3000).collect::<Vec<_>>());
}

#[test]
fn an_event_larger_than_the_store_is_evicted_at_once_and_counted() {
    let mut store = Store::new(limits(100, 64 << 10, 3600));
    push(&mut store, 0, 1, b"small");
    push(&mut store, 1, 1, &vec![7; 100 << 10]);
    assert_eq!(counts(&store), Counts { stored: 2, evicted: 2, expired: 0, unread: 0 });
    assert!(read(&store.all()).is_empty());
    push(&mut store, 2, 1, b"small");
    assert_eq!(read(&store.all()), [2]);
    assert!(store.held_bytes() <= 64 << 10);
}

#[test]
fn events_go_when_they_are_older_than_the_limit() {
    let mut store = Store::new(limits(10_000, 1 << 30, 60));
    for number in 0..1200 {
        push(&mut store, number, 10 + u64::from(number) / 100, b"x");
    }
    store.tick(70 * SECOND);
    assert_eq!(counts(&store).expired, 0);
    store.tick(75 * SECOND);
    // Those of seconds 10 to 14 are more than 60 seconds old.
    assert_eq!(counts(&store), Counts { stored: 1200, evicted: 0, expired: 500, unread: 0 });
    assert_eq!(read(&store.all()), (500..1200).collect::<Vec<_>>());
    assert_eq!(store.time_range(), Some((15, 21)));
    store.tick(1000 * SECOND);
    assert_eq!(counts(&store).held(), 0);
    assert_eq!(store.time_range(), None);
    // Numbers go on.
    assert_eq!(push(&mut store, 9, 1000, b"x"), 1201);
}

#[test]
fn kinds_that_share_a_store_are_counted_apart() {
    let mut store = Store::new(limits(10, 1 << 30, 3600));
    for number in 0..30 {
        let kind = if number % 3 == 0 { EventKind::Fork } else { EventKind::Exec };
        push_kind(&mut store, number, 1, b"x", kind, 1);
    }
    let (exec, fork) = (counts(&store), store.counts(EventKind::Fork));
    assert_eq!((exec.stored, exec.evicted, exec.held()), (20, 13, 7));
    assert_eq!((fork.stored, fork.evicted, fork.held()), (10, 7, 3));
}

#[test]
fn new_limits_hold_at_once() {
    let mut store = Store::new(limits(1000, 1 << 30, 3600));
    for number in 0..1000 {
        push(&mut store, number, 1, b"x");
    }
    store.set_limits(limits(10, 1 << 30, 3600));
    assert_eq!(read(&store.all()), (990..1000).collect::<Vec<_>>());
    store.set_limits(limits(0, 1 << 30, 3600));
    assert_eq!(counts(&store), Counts { stored: 1000, evicted: 1000, expired: 0, unread: 0 });
    push(&mut store, 1, 1, b"x");
    assert!(read(&store.all()).is_empty());
}

#[test]
fn a_snapshot_does_not_change_and_repeated_ones_cost_nothing() {
    let mut store = Store::new(limits(100, 1 << 30, 3600));
    for number in 0..10 {
        push(&mut store, number, 1, b"x");
    }
    let (first, second) = (store.all(), store.all());
    assert!(Arc::ptr_eq(&first.segments[0], &second.segments[0]));
    for number in 10..1000 {
        push(&mut store, number, 1, b"x");
    }
    assert_eq!(read(&first), (0..10).collect::<Vec<_>>());
}

#[test]
fn an_execution_keeps_its_events_through_eviction_and_lets_them_go_later() {
    let mut store = Store::new(limits(100, 1 << 30, 3600));
    for number in 0..100 {
        push(&mut store, number, 1, b"x");
    }
    let first = read(&store.scheduled(0, "q", "1", SECOND));
    for number in 100..1000 {
        push(&mut store, number, 1, b"x");
    }
    assert_eq!(read(&store.scheduled(0, "q", "1", 2 * SECOND)), first);
    assert_eq!(first.len(), 100);
    assert!(store.pinned_bytes() > 0);
    store.tick(13 * SECOND);
    assert_eq!(store.pinned_bytes(), 0);
    // 900 came, 800 of them went before the query asked again.
    assert_eq!(counts(&store).unread, 800);
    assert_eq!(read(&store.scheduled(0, "q", "2", 14 * SECOND)), (900..1000).collect::<Vec<_>>());
}

#[test]
fn another_query_takes_over_the_place_for_kept_events() {
    let mut store = Store::new(limits(100, 1 << 30, 3600));
    push(&mut store, 0, 1, b"x");
    store.scheduled(0, "a", "1", SECOND);
    store.scheduled(0, "b", "1", SECOND);
    for number in 1..2000 {
        push(&mut store, number, 1, b"x");
    }
    assert_eq!(read(&store.scheduled(0, "b", "1", SECOND)), [0]);
    // Not kept for this one; its window stays what it was.
    assert!(read(&store.scheduled(0, "a", "1", SECOND)).is_empty());
    assert_eq!(read(&store.scheduled(0, "a", "2", SECOND)), (1900..2000).collect::<Vec<_>>());
}

#[test]
fn strings_of_one_segment_do_not_leak_into_the_next() {
    let mut store = Store::new(limits(10_000, 1 << 30, 3600));
    for number in 0..2000 {
        let (segment, generation) = store.open();
        assert_eq!(segment.pool.intern(Some(b"same")), segment.pool.intern(Some(b"same")));
        assert_eq!(generation, u64::from(number) / SEGMENT_EVENTS as u64);
        let keys = Keys { path: Text::NONE, ..Keys::unknown(1) };
        let kind = EventKind::Exec;
        store.push(keys, Numbered { number, time_ns: SECOND, kind, ids: 1 });
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append {
        ids: u32,
        bytes: usize,
    },
    Advance {
        seconds: u64,
    },
    /// A query's next execution, if `next`; else one more scan of the present one.
    Scan {
        query: usize,
        next: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (1_u32..=2, 0_usize..2000).prop_map(|(ids, bytes)| Step::Append { ids, bytes }),
        1 => (0_u64..30).prop_map(|seconds| Step::Advance { seconds }),
        2 => (0_usize..3, any::<bool>()).prop_map(|(query, next)| Step::Scan { query, next }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// However appends, evictions, expiry and the scans of several queries interleave: each event
    /// reaches each query once, or was gone before, and is then counted as unread.
    #[test]
    fn every_event_reaches_every_query_once_or_is_counted(
        events in 1_usize..40,
        bytes in prop_oneof![Just(1 << 30), Just(256_usize << 10)],
        steps in proptest::collection::vec(step(), 1..300),
    ) {
        let names = ["a", "b", "c"];
        let mut store = Store::new(limits(events, bytes, 20));
        let mut now_s = 100;
        let mut appended: u32 = 0;
        let mut execution = [0_u32; 3];
        let mut begun: [Option<Vec<u32>>; 3] = [None, None, None];
        let mut had: [BTreeMap<u32, u32>; 3] = Default::default();
        // What each event's disappearance must count as, by the queries that had begun by then.
        let mut first_had_at: [Option<u32>; 3] = [None; 3];
        for step in steps {
            match step {
                Step::Append { ids, bytes } => {
                    let text = [appended.to_le_bytes().as_slice(), &vec![1; bytes]].concat();
                    push_kind(&mut store, appended, now_s, &text, EventKind::Exec, ids);
                    appended += 1;
                }
                Step::Advance { seconds } => {
                    // Not so long that a query is taken to have left the schedule.
                    now_s = (now_s + seconds).min(600);
                    store.tick(now_s * SECOND);
                }
                Step::Scan { query, next } => {
                    let fresh = next || begun[query].is_none();
                    execution[query] += u32::from(fresh);
                    let id = execution[query].to_string();
                    let seen = read(&store.scheduled(0, names[query], &id, now_s * SECOND));
                    if fresh {
                        for &number in &seen {
                            *had[query].entry(number).or_default() += 1;
                        }
                        first_had_at[query].get_or_insert(appended);
                        begun[query] = Some(seen);
                    } else {
                        // The same window: nothing new, and nothing twice. What it had and what
                        // went meanwhile may be missing if another query ran in between.
                        let first = begun[query].as_ref().unwrap();
                        prop_assert!(seen.iter().all(|number| first.contains(number)));
                    }
                }
            }
            let counts = counts(&store);
            prop_assert_eq!(counts.stored, u64::from(appended));
            prop_assert_eq!(counts.stored, counts.held() + counts.evicted + counts.expired);
            prop_assert_eq!(read(&store.all()).len() as u64, counts.held());
            prop_assert!(counts.held() <= events as u64);
        }
        // Each query once more: it gets the rest.
        for query in 0..3 {
            if begun[query].is_some() {
                let seen = read(&store.scheduled(0, names[query], "last", now_s * SECOND));
                for number in seen {
                    *had[query].entry(number).or_default() += 1;
                }
            }
        }
        let held = read(&store.all());
        let mut missed = std::collections::BTreeSet::new();
        for query in 0..3 {
            let Some(from) = first_had_at[query] else { continue };
            prop_assert!(had[query].values().all(|&times| times == 1), "{:?}", had[query]);
            // All events that came after its first execution began, and those held then.
            for number in from..appended {
                if !had[query].contains_key(&number) {
                    prop_assert!(!held.contains(&number));
                    missed.insert(number);
                }
            }
        }
        prop_assert_eq!(counts(&store).unread, missed.len() as u64);
    }
}

#[test]
fn a_segment_that_has_no_room_for_another_events_strings_is_sealed() {
    let mut store = Store::<Numbered>::new(limits(100, 64 << 20, 1000));
    push(&mut store, 1, 10, b"first");
    let (segment, before) = store.open();
    let mut interned = 0_u32;
    while !segment.pool.is_full() {
        interned += 1;
        assert!(segment.pool.intern(Some(&interned.to_le_bytes())).is_known());
    }
    assert!(interned > 60_000, "{interned}");
    push(&mut store, 2, 11, b"second");
    let (segment, after) = store.open();
    assert_ne!(before, after);
    assert_eq!(segment.pool.iter().map(|(_, text)| text).collect::<Vec<_>>(), [b"second"]);
}
