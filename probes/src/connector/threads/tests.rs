use super::*;

const NOT_ASKED: fn() -> bool = || panic!("asked");

#[test]
fn a_process_ends_with_its_last_thread_though_the_leader_went_first() {
    let mut threads = Threads::default();
    threads.process_began(10);
    threads.thread_began(10);
    threads.thread_began(10);
    assert!(!threads.ended(10, NOT_ASKED));
    assert!(!threads.ended(10, NOT_ASKED));
    assert!(threads.ended(10, NOT_ASKED));
}

#[test]
fn an_exec_leaves_one_thread() {
    let mut threads = Threads::default();
    threads.alone(10);
    assert!(threads.ended(10, NOT_ASKED));
}

#[test]
fn of_a_process_that_ran_before_the_question_is_asked_and_it_ends_once() {
    let mut threads = Threads::default();
    assert!(!threads.ended(10, || true));
    assert!(threads.ended(10, || false));
    // Its other last thread, which ended at the same moment.
    assert!(!threads.ended(10, || false));
    // Its pid is used again.
    threads.process_began(10);
    assert!(threads.ended(10, NOT_ASKED));
}

#[test]
fn after_a_loss_no_count_is_trusted() {
    let mut threads = Threads::default();
    threads.process_began(10);
    threads.lost();
    assert!(!threads.ended(10, || true));
}

#[test]
fn more_processes_than_are_counted_are_asked_for() {
    let mut threads = Threads::default();
    let bound = MAX_COUNTED as u32;
    (0..=bound).for_each(|tgid| threads.process_began(tgid));
    assert_eq!(threads.counted.len(), MAX_COUNTED);
    assert!(threads.ended(0, NOT_ASKED));
    let mut asked = false;
    assert!(threads.ended(bound, || {
        asked = true;
        false
    }));
    assert!(asked);
}

#[test]
fn those_that_ended_are_not_remembered_for_ever() {
    let mut threads = Threads::default();
    let bound = MAX_ENDED as u32;
    (0..=bound).for_each(|tgid| assert!(threads.ended(tgid, || false)));
    assert_eq!((threads.ended.len(), threads.forget.len()), (MAX_ENDED, MAX_ENDED));
    assert!(threads.ended(0, || false));
}
