use super::*;

fn lost(serials: &[u32]) -> u64 {
    let mut gaps = Gaps::default();
    for &serial in serials {
        gaps.see(serial, 0);
    }
    gaps.expire(PATIENCE_NS);
    gaps.lost()
}

#[test]
fn numbers_in_a_row_are_no_loss_also_when_they_wrap() {
    assert_eq!(lost(&[7, 7, 8, 8, 9]), 0);
    assert_eq!(lost(&[u32::MAX - 1, u32::MAX, 0, 1]), 0);
}

#[test]
fn a_number_that_comes_late_is_no_loss() {
    assert_eq!(lost(&[1, 3, 4, 2]), 0);
    assert_eq!(lost(&[u32::MAX - 1, 0, u32::MAX]), 0);
}

#[test]
fn numbers_that_never_come_are_counted_once_their_time_is_up() {
    let mut gaps = Gaps::default();
    gaps.see(1, 0);
    gaps.see(5, 10);
    gaps.expire(PATIENCE_NS);
    assert_eq!(gaps.lost(), 0);
    gaps.see(3, PATIENCE_NS);
    gaps.expire(PATIENCE_NS + 10);
    assert_eq!(gaps.lost(), 2);
    gaps.see(2, PATIENCE_NS + 11);
    assert_eq!(gaps.lost(), 2);
}

#[test]
fn a_hole_wider_than_is_remembered_is_counted_to_the_last_number() {
    let width = MAX_SKIPPED as u32 + 1000;
    let mut gaps = Gaps::default();
    gaps.see(0, 0);
    gaps.see(width + 1, 0);
    assert_eq!(gaps.deadlines.len(), MAX_SKIPPED);
    gaps.expire(PATIENCE_NS);
    assert_eq!(gaps.lost(), u64::from(width));
    assert!(gaps.skipped.is_empty() && gaps.deadlines.is_empty());
}

#[test]
fn a_known_break_in_the_stream_is_not_a_hole() {
    let mut gaps = Gaps::default();
    gaps.see(1, 0);
    gaps.restart();
    gaps.see(100, 0);
    gaps.expire(PATIENCE_NS);
    assert_eq!(gaps.lost(), 0);
}
