//! What is paired, and that nothing is paired in doubt.

use super::*;

const FILE: (u32, bool) = (1, false);

#[test]
fn a_second_half_finds_the_first_of_its_process() {
    let mut halves = Halves::default();
    assert!(halves.first(FILE, "a").is_empty());
    assert!(halves.first((2, false), "b").is_empty());
    assert!(halves.first((1, true), "directory").is_empty());
    assert_eq!(halves.second((2, false)), Some("b"));
    assert_eq!(halves.second(FILE), Some("a"));
    assert_eq!(halves.second((1, true)), Some("directory"));
    assert!(halves.is_empty());
    assert_eq!(halves.second(FILE), None);
}

#[test]
fn while_two_threads_rename_each_half_is_told_alone() {
    let mut halves = Halves::default();
    assert!(halves.first(FILE, "one").is_empty());
    assert_eq!(halves.first(FILE, "other"), ["one", "other"]);
    assert_eq!(halves.second(FILE), None);
    // One of the first two is still out: the next may not be taken for its partner.
    assert_eq!(halves.first(FILE, "third"), ["third"]);
    assert_eq!(halves.second(FILE), None);
    assert_eq!(halves.second(FILE), None);
    assert!(halves.is_empty());
    halves.first(FILE, "fourth");
    assert_eq!(halves.second(FILE), Some("fourth"));
}

#[test]
fn a_half_that_waits_in_vain_is_given_up_at_the_second_look() {
    let mut halves = Halves::default();
    halves.first(FILE, "a");
    assert!(halves.give_up(false).is_empty());
    assert_eq!(halves.give_up(false), ["a"]);
    halves.first(FILE, "b");
    assert_eq!(halves.give_up(true), ["b"]);
    assert!(halves.is_empty());
}

#[test]
fn of_too_many_the_oldest_is_told_alone() {
    let mut halves = Halves::default();
    for pid in 0..OPEN_MAX as u32 {
        assert!(halves.first((pid, false), pid).is_empty());
    }
    assert_eq!(halves.first((1000, false), 1000), [0]);
    assert_eq!(halves.second((0, false)), None);
    assert_eq!(halves.second((1, false)), Some(1));
}
