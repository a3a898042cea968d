use super::*;

const SECOND: u64 = 1_000_000_000;

#[test]
fn every_scan_of_an_execution_sees_the_same_window() {
    let mut cursors = Cursors::default();
    let first = cursors.window((0, "q", "1"), (5, 10), 0);
    assert_eq!(first, Window { from: 5, to: 10 });
    assert_eq!(cursors.window((0, "q", "1"), (7, 20), SECOND), first);
    assert_eq!(cursors.window((0, "q", "2"), (7, 20), SECOND), Window { from: 10, to: 20 });
}

#[test]
fn two_tables_on_one_store_are_read_apart() {
    let mut cursors = Cursors::default();
    cursors.window((0, "q", "1"), (0, 10), 0);
    assert_eq!(cursors.window((1, "q", "1"), (0, 12), 0), Window { from: 0, to: 12 });
    assert_eq!(cursors.len(), 2);
}

#[test]
fn the_cursor_unused_for_longest_makes_room_and_is_counted() {
    let mut cursors = Cursors::default();
    for n in 0..MAX_CURSORS {
        cursors.window((0, &format!("q{n}"), "1"), (0, 1), 0);
    }
    cursors.window((0, "q0", "1"), (0, 1), 0);
    cursors.window((0, "new", "1"), (0, 9), 0);
    assert_eq!(cursors.len(), MAX_CURSORS);
    assert_eq!(cursors.forgotten(), 1);
    // q1 was the one: it starts over. q0 goes on.
    assert_eq!(cursors.window((0, "q0", "2"), (0, 9), 0), Window { from: 1, to: 9 });
    assert_eq!(cursors.window((0, "q1", "2"), (3, 9), 0), Window { from: 3, to: 9 });
}

#[test]
fn a_query_that_left_the_schedule_is_no_longer_waited_for() {
    let mut cursors = Cursors::default();
    cursors.window((0, "often", "1"), (0, 10), 0);
    cursors.window((0, "often", "2"), (0, 20), 10 * SECOND);
    assert_eq!(cursors.unread_from(10 * SECOND), Some(20));
    assert_eq!(cursors.unread_from(630 * SECOND), Some(20));
    assert_eq!(cursors.unread_from(631 * SECOND), None);
    cursors.window((0, "once", "1"), (0, 15), 631 * SECOND);
    assert_eq!(cursors.unread_from(86_400 * SECOND), Some(15));
    assert_eq!(cursors.unread_from(87_100 * SECOND), None);
}
