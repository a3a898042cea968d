use osquery_ebpf_probes::clock::BootId;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn cache(processes: usize, bytes: usize) -> ProcessCache {
    ProcessCache::with_limits(Identity::new(BootId(1)), processes, bytes)
}

fn task(pid: u32, start_s: u64) -> Task {
    Task { pid, tid: pid, start_ns: Some(start_s * SECOND), ..Task::default() }
}

fn child(pid: u32, start_s: u64) -> Child {
    Child { pid, start_ns: Some(start_s * SECOND), ns_pid: None }
}

fn image(path: &str) -> Image {
    Image::new(Some(path.as_bytes()), None)
}

fn path(cache: &ProcessCache, slot: Slot, time_ns: u64) -> Option<&[u8]> {
    cache.get(slot)?.image_at(time_ns).path.as_deref()
}

#[test]
fn starts_that_differ_within_a_tick_are_one_process() {
    let mut cache = cache(10, 1 << 20);
    let first = cache.observe(&task(5, 1), SECOND).unwrap();
    let precise = Task { start_ns: Some(SECOND + 9_999_999), ..task(5, 1) };
    assert_eq!(cache.observe(&precise, SECOND), Some(first));
    let later = Task { start_ns: Some(SECOND + 10_000_000), ..task(5, 1) };
    assert_ne!(cache.observe(&later, 2 * SECOND), Some(first));
}

#[test]
fn a_pid_alone_leads_to_who_had_it_then() {
    let mut cache = cache(10, 1 << 20);
    let first = cache.observe(&task(5, 1), SECOND).unwrap();
    cache.exit(first, 3 * SECOND);
    let second = cache.observe(&task(5, 10), 10 * SECOND).unwrap();
    assert_eq!(cache.by_pid(5, 2 * SECOND), Some(first));
    // Shortly after its end, as events by pid come late.
    assert_eq!(cache.by_pid(5, 4 * SECOND), Some(first));
    assert_eq!(cache.by_pid(5, 11 * SECOND), Some(second));
    cache.exit(second, 12 * SECOND);
    assert_eq!(cache.by_pid(5, 13 * SECOND), Some(second));
    // Long after, it may be someone whose fork was lost.
    assert_eq!(cache.by_pid(5, 30 * SECOND), None);
    assert_eq!(cache.by_pid(6, SECOND), None);
}

#[test]
fn a_process_known_by_pid_alone_gets_its_start_when_someone_tells_it() {
    let mut cache = cache(10, 1 << 20);
    let unknown = Task { pid: 5, ..Task::default() };
    let slot = cache.observe(&unknown, SECOND).unwrap();
    assert_eq!(cache.get(slot).unwrap().id, None);
    assert_eq!(cache.observe(&task(5, 1), 2 * SECOND), Some(slot));
    assert!(cache.get(slot).unwrap().id.is_some());
    assert_eq!(cache.by_key(ProcessKey { pid: 5, start_ns: SECOND }), Some(slot));
}

#[test]
fn the_program_of_before_an_exec_is_still_known() {
    let mut cache = cache(10, 1 << 20);
    let slot = cache.observe(&task(5, 1), SECOND).unwrap();
    cache.exec(slot, image("/first"), SECOND);
    cache.exec(slot, image("/second"), 5 * SECOND);
    assert_eq!(path(&cache, slot, 4 * SECOND), Some(b"/first".as_slice()));
    assert_eq!(path(&cache, slot, 5 * SECOND), Some(b"/second".as_slice()));
}

#[test]
fn events_are_not_overruled_by_proc() {
    let mut cache = cache(10, 1 << 20);
    let who = Task { cwd: Some(b"/then".as_slice().into()), ..task(5, 1) };
    let slot = cache.observe(&who, SECOND).unwrap();
    cache.exec(slot, image("/then"), SECOND);
    let found = ProcProcess {
        pid: 5,
        start_ns: SECOND,
        exe: Some(b"/now".as_slice().into()),
        cwd: Some(b"/now".as_slice().into()),
        tty: Some(b"pts1".as_slice().into()),
        ..ProcProcess::default()
    };
    assert_eq!(cache.learn(&found), Some(slot));
    let process = cache.get(slot).unwrap();
    assert_eq!(process.image.path.as_deref(), Some(b"/then".as_slice()));
    assert_eq!(process.inherited.cwd.as_deref(), Some(b"/then".as_slice()));
    assert_eq!(process.inherited.tty.as_deref(), Some(b"pts1".as_slice()));
}

#[test]
fn those_that_ended_make_room_first_and_the_least_recently_used_of_them() {
    let mut cache = cache(4, 1 << 20);
    let slots: Vec<Slot> =
        (1..=4).map(|pid| cache.observe(&task(pid, 1), SECOND).unwrap()).collect();
    cache.exit(slots[2], 2 * SECOND);
    cache.exit(slots[3], 2 * SECOND);
    cache.touch_ancestor(slots[2]);
    cache.observe(&task(5, 3), 3 * SECOND).unwrap();
    let there = |cache: &ProcessCache| -> Vec<bool> {
        slots.iter().map(|&slot| cache.get(slot).is_some()).collect()
    };
    assert_eq!(there(&cache), [true, true, true, false]);
    cache.observe(&task(6, 3), 3 * SECOND).unwrap();
    assert_eq!(there(&cache), [true, true, false, false]);
    // None that ended is left: the living one that nothing was heard of for longest.
    cache.observe(&task(1, 1), 4 * SECOND).unwrap();
    cache.observe(&task(7, 3), 4 * SECOND).unwrap();
    assert_eq!(there(&cache), [true, false, false, false]);
    let expected = CacheCounts { inserted: 7, evicted_exited: 2, evicted_live: 1 };
    assert_eq!(cache.counts(), expected);
    assert_eq!(cache.len(), (4, 0));
}

#[test]
fn bytes_are_bounded_and_come_back_to_nothing() {
    let limit = 256 << 10;
    let mut cache = cache(usize::MAX, limit);
    let long = vec![b'x'; 20_000];
    for pid in 1..2000_u32 {
        let who = Task {
            cwd: Some(format!("/work/{pid}").into_bytes().into()),
            cgroup: Some(format!("/slice/{pid}").into_bytes().into()),
            ..task(pid, 1)
        };
        let slot = cache.observe(&who, SECOND).unwrap();
        cache.exec(slot, Image::new(Some(b"/bin/x"), Some(&long)), SECOND);
        let forked = cache.fork(slot, child(pid + 10_000, 2), 2 * SECOND).unwrap();
        cache.exec(slot, image("/bin/y"), 3 * SECOND);
        cache.exit(forked, 3 * SECOND);
        let (live, exited) = cache.len();
        assert!(cache.shared_bytes + (live + exited) * PER_PROCESS <= limit);
    }
    assert!(cache.counts().evicted_live > 0);
    // Whatever was counted in is counted out.
    cache.limits = (0, 0);
    cache.make_room(0);
    assert_eq!((cache.len(), cache.shared_bytes), ((0, 0), 0));
    assert!(cache.by_key.is_empty() && cache.by_pid.is_empty());
}

#[test]
fn a_lineage_told_earlier_is_told_anew_after_an_ancestor_changed() {
    let mut cache = cache(10, 1 << 20);
    let parent = cache.observe(&task(1, 1), SECOND).unwrap();
    let before = cache.epoch();
    cache.exec(parent, image("/alone"), SECOND);
    assert_eq!(cache.epoch(), before);
    cache.fork(parent, child(2, 2), 2 * SECOND);
    cache.exec(parent, image("/with-a-child"), 3 * SECOND);
    assert_ne!(cache.epoch(), before);
}

#[test]
fn a_fork_seen_after_its_child_still_makes_the_creator_known() {
    let mut cache = cache(10, 1 << 20);
    let young = cache.observe(&task(2, 2), 2 * SECOND).unwrap();
    assert!(cache.get(young).unwrap().partial);
    let parent = cache.observe(&task(1, 1), 2 * SECOND).unwrap();
    assert_eq!(cache.fork(parent, child(2, 2), 2 * SECOND), Some(young));
    let process = cache.get(young).unwrap();
    assert_eq!((process.creator, process.partial), (Some(parent), false));
}
