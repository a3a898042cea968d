//! Turns as they might follow one another.

use super::*;

const TURN: Duration = Duration::from_millis(50);

#[test]
fn it_sleeps_from_the_start_if_nothing_comes() {
    assert_eq!(Rhythm::new(TURN).next(true, false, Instant::now()), Next::Sleep);
}

#[test]
fn what_was_not_read_out_is_read_on_at_once() {
    let mut rhythm = Rhythm::new(TURN);
    let start = Instant::now();
    assert_eq!(rhythm.next(false, false, start), Next::Again);
    assert_eq!(rhythm.next(false, true, start), Next::Again);
    assert_eq!(rhythm.next(false, false, start + 9 * TURN), Next::Again);
}

#[test]
fn it_keeps_time_while_records_come_and_sleeps_after_a_turn_without() {
    let mut rhythm = Rhythm::new(TURN);
    let start = Instant::now();
    for turn in 0..5 {
        assert_eq!(rhythm.next(true, true, start + turn * TURN), Next::After(TURN));
    }
    assert_eq!(rhythm.next(true, false, start + 5 * TURN), Next::Sleep);
}

#[test]
fn what_follows_the_first_record_at_once_does_not_wait_for_a_whole_turn() {
    let mut rhythm = Rhythm::new(TURN);
    let start = Instant::now();
    assert_eq!(rhythm.next(true, false, start), Next::Sleep);
    assert_eq!(rhythm.next(false, true, start), Next::Again);
    assert_eq!(rhythm.next(true, true, start), Next::After(TURN / SOONER));
    let soon = start + TURN / SOONER;
    assert_eq!(rhythm.next(true, true, soon), Next::After(TURN));
    assert_eq!(rhythm.next(true, true, soon + TURN), Next::After(TURN));
    assert_eq!(rhythm.next(true, false, soon + 2 * TURN), Next::Sleep);
}

#[test]
fn a_flush_between_turns_does_not_send_it_to_sleep() {
    let mut rhythm = Rhythm::new(TURN);
    let start = Instant::now();
    assert_eq!(rhythm.next(true, true, start), Next::After(TURN));
    for tenth in 1..10 {
        assert_eq!(rhythm.next(true, false, start + tenth * TURN / 10), Next::After(TURN));
    }
    assert_eq!(rhythm.next(true, false, start + TURN), Next::Sleep);
}
