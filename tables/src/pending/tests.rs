use osquery_ebpf_probes::event::{Body, Connection, Exit, SourceKind, Task};

use super::*;

const MS: u64 = 1_000_000;

/// An event that knows its number.
fn event(number: u64) -> RawEvent {
    let task = Task { pid: number as u32, ..Task::default() };
    let (source, body) = (SourceKind::Bpf, Body::Exit(Exit::default()));
    RawEvent { time_ns: number, source, task, body }
}

fn answer(id: u64, error: i32) -> Connection {
    Connection { id: SocketId(id), local: None, error }
}

fn numbers(events: &[RawEvent]) -> Vec<u64> {
    events.iter().map(|event| event.time_ns).collect()
}

#[test]
fn a_second_connect_of_a_socket_ends_the_wait_of_the_first() {
    let mut connects = Connects::default();
    let mut displaced = Vec::new();
    assert!(connects.connect(SocketId(1), event(1), 0, &mut displaced).is_none());
    assert!(connects.connect(SocketId(1), event(2), 0, &mut displaced).is_none());
    assert_eq!(numbers(&displaced), [1]);
    assert_eq!(connects.answer(answer(1, 0), 0).unwrap().time_ns, 2);
    assert_eq!((connects.len(), connects.losses()), (0, (1, 0)));
}

#[test]
fn connects_time_out_in_order_and_answered_ones_not_at_all() {
    let mut connects = Connects::default();
    let mut none = Vec::new();
    for id in 0..5 {
        connects.connect(SocketId(id), event(id), id * 100 * MS, &mut none);
    }
    assert!(connects.answer(answer(1, 0), 0).is_some());
    let mut over = Vec::new();
    connects.expire(ANSWER_WAIT_NS + 200 * MS, &mut over);
    assert_eq!(numbers(&over), [0, 2]);
    connects.expire(u64::MAX, &mut over);
    assert_eq!(numbers(&over), [0, 2, 3, 4]);
    assert_eq!(connects.losses(), (4, 0));
}

#[test]
fn an_early_answer_serves_one_connect_and_no_other() {
    let mut connects = Connects::default();
    let mut none = Vec::new();
    assert!(connects.answer(answer(1, 111), 0).is_none());
    let (given, found) = connects.connect(SocketId(1), event(1), 0, &mut none).unwrap();
    assert_eq!((given.time_ns, found.error), (1, 111));
    assert!(connects.connect(SocketId(1), event(2), 0, &mut none).is_none());
}

#[test]
fn a_closed_socket_waits_for_nothing() {
    let mut connects = Connects::default();
    let mut none = Vec::new();
    connects.connect(SocketId(1), event(1), 0, &mut none);
    assert_eq!(connects.close(SocketId(1)).unwrap().time_ns, 1);
    connects.stored_open(SocketId(2), 7);
    assert!(connects.close(SocketId(2)).is_none());
    connects.answer(answer(2, 0), 0);
    assert!(connects.late().is_empty());
}

#[test]
fn notes_on_rows_are_bounded_and_go_with_the_rows() {
    let mut connects = Connects::default();
    let many = MAX_CONNECTS as u64 + 5;
    for id in 0..many {
        connects.stored_open(SocketId(id), id + 1);
        connects.answer(answer(id, 110), 0);
    }
    assert_eq!(connects.late().len(), MAX_CONNECTS);
    assert!(!connects.late().contains_key(&5));
    assert_eq!(connects.late()[&6].error, 110);
    // A reader's copy stays as it was.
    let copy = connects.late();
    connects.forget_before(many);
    assert_eq!(connects.late().len(), 1);
    assert_eq!(copy.len(), MAX_CONNECTS);
}

#[test]
fn rows_that_may_be_answered_are_bounded() {
    let mut connects = Connects::default();
    for id in 0..MAX_CONNECTS as u64 + 5 {
        connects.stored_open(SocketId(id), id);
    }
    assert_eq!(connects.open.len(), MAX_CONNECTS);
    // The oldest has no row to be noted at any more: it is kept like any early answer.
    connects.answer(answer(0, 0), 0);
    assert!(connects.late().is_empty());
}

#[test]
fn places_that_were_given_back_do_not_pile_up() {
    let mut connects = Connects::default();
    let mut none = Vec::new();
    for id in 0..10 * MAX_CONNECTS as u64 {
        connects.connect(SocketId(id), event(id), 0, &mut none);
        connects.answer(answer(id, 0), 0);
    }
    assert!(connects.waiting.order.len() <= 2 * MAX_CONNECTS);
    assert_eq!((connects.len(), none.len()), (0, 0));
}

#[test]
fn file_events_leave_in_order_when_their_time_is_up() {
    let mut files = Files::default();
    for number in 0..4 {
        assert!(files.push(event(number), number * 10 * MS).is_none());
    }
    let now = PROCESS_WAIT_NS + 15 * MS;
    assert_eq!(files.due(now).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(files.pop(now).unwrap().time_ns, 0);
    assert_eq!(files.pop(now).unwrap().time_ns, 1);
    assert!(files.pop(now).is_none());
    assert_eq!(files.len(), 2);
}

#[test]
fn room_that_a_storm_of_files_took_is_given_back() {
    let mut files = Files::default();
    for number in 0..MAX_FILES as u64 {
        assert!(files.push(event(number), 0).is_none());
    }
    assert_eq!(files.push(event(MAX_FILES as u64), 0).unwrap().time_ns, 0);
    assert_eq!((files.len(), files.hurried()), (MAX_FILES, 1));
    let events: Vec<_> = std::iter::from_fn(|| files.pop(u64::MAX)).collect();
    assert_eq!(numbers(&events), (1..=MAX_FILES as u64).collect::<Vec<_>>());
    assert!(files.waiting.capacity() <= 2 * FILES_RESERVED);
}
