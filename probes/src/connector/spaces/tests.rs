use super::*;

fn ns(mnt: u32) -> Namespaces {
    Namespaces { mnt, ..Namespaces::default() }
}

#[test]
fn what_the_parent_has_too_was_so_before() {
    let spaces = Spaces::default();
    assert_eq!(spaces.at_exec(1, ns(5), 100, || Some(ns(5))), Some(ns(5)));
}

#[test]
fn what_only_shows_after_the_exec_may_be_newer_than_it() {
    let mut spaces = Spaces::default();
    assert_eq!(spaces.at_exec(1, ns(5), 100, || Some(ns(4))), None);
    assert_eq!(spaces.at_exec(1, ns(5), 100, || None), None);
    spaces.see(1, ns(5), 101);
    assert_eq!(spaces.at_exec(1, ns(5), 100, || Some(ns(4))), None);
}

#[test]
fn what_was_seen_before_the_exec_and_still_is_was_so_at_it() {
    let mut spaces = Spaces::default();
    spaces.see(1, ns(5), 99);
    assert_eq!(spaces.at_exec(1, ns(5), 100, || Some(ns(4))), Some(ns(5)));
    assert_eq!(spaces.at_exec(1, ns(6), 100, || Some(ns(4))), None);
    spaces.forget(1);
    assert_eq!(spaces.at_exec(1, ns(5), 100, || Some(ns(4))), None);
}

#[test]
fn no_more_is_remembered_than_the_bound() {
    let mut spaces = Spaces::default();
    (0..MAX_REMEMBERED as u32 + 3).for_each(|pid| spaces.see(pid, ns(1), 1));
    assert_eq!(spaces.seen.len(), MAX_REMEMBERED);
    spaces.see(0, ns(2), 2);
    assert_eq!(spaces.last(0), Some(ns(2)));
}
