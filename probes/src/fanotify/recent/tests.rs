//! The bound, and what survives it.

use super::*;

fn key(number: u32) -> Key {
    number.to_ne_bytes().as_slice().into()
}

#[test]
fn it_never_holds_more_than_its_bound() {
    let mut recent = Recent::new(10);
    for number in 0..1000 {
        recent.insert(key(number), number);
        assert!(recent.len() <= 10, "{}", recent.len());
    }
}

#[test]
fn the_newest_half_of_the_bound_is_always_there() {
    let mut recent = Recent::new(10);
    for number in 0..1000 {
        recent.insert(key(number), number);
        for kept in number.saturating_sub(4)..=number {
            assert_eq!(recent.peek(&key(kept)), Some(&kept));
        }
    }
}

#[test]
fn what_is_used_stays() {
    let mut recent = Recent::new(10);
    recent.insert(key(7000), 7000);
    for number in 0..1000 {
        recent.insert(key(number), number);
        assert_eq!(recent.get(&key(7000)), Some(&mut 7000));
    }
}

#[test]
fn a_value_has_one_place() {
    let mut recent = Recent::new(4);
    for number in 0..3 {
        recent.insert(key(number), number);
    }
    // Number 0 is in the old generation by now; its new value must not leave the old one behind.
    recent.insert(key(0), 100);
    assert_eq!(recent.remove(&key(0)), Some(100));
    assert_eq!(recent.peek(&key(0)), None);
    recent.clear();
    assert_eq!(recent.len(), 0);
}
