//! The bound of the queue, and its order.

use super::*;

#[test]
fn what_goes_in_comes_out_in_order_with_its_time() {
    let mut queue = Queue::new(100);
    queue.begin(1);
    assert_eq!(queue.push(b"a"), Some(1));
    queue.begin(2);
    assert_eq!(queue.push(b"bb"), Some(2));
    assert_eq!(queue.push(b"c"), Some(3));
    assert_eq!(queue.chunks(), 2);
    let first = queue.pop().unwrap();
    assert_eq!((first.time_ns, &first.sequences[..], &first.bytes[..]), (1, &[1][..], &b"a"[..]));
    let second = queue.pop().unwrap();
    assert_eq!((second.time_ns, &second.bytes[..]), (2, &b"bbc"[..]));
    assert!(queue.is_empty());
}

#[test]
fn beyond_the_bound_nothing_goes_in_until_something_comes_out() {
    let mut queue = Queue::new(3);
    queue.begin(1);
    assert_eq!(queue.push(b"aa"), Some(1));
    assert_eq!(queue.push(b"bb"), None);
    assert_eq!(queue.push(b"c"), Some(2));
    assert_eq!(queue.push(b"d"), None);
    queue.pop().unwrap();
    queue.begin(2);
    assert_eq!(queue.push(b"ddd"), Some(3));
}

#[test]
fn a_chunk_in_which_nothing_was_kept_is_used_again() {
    let mut queue = Queue::new(3);
    for time in 0..1000 {
        queue.begin(time);
    }
    assert_eq!(queue.chunks(), 1);
    assert!(queue.is_empty());
    assert_eq!(queue.push(b"x"), Some(1));
    assert_eq!(queue.pop().unwrap().time_ns, 999);
}
