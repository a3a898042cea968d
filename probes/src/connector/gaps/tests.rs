use super::*;

#[test]
fn a_hole_in_one_processors_numbers_is_counted_to_the_last() {
    let mut gaps = Gaps::default();
    let skipped: Vec<u64> = [(0, 5), (1, 900), (0, 6), (0, 10), (1, 901), (1, 903)]
        .map(|(cpu, sequence)| gaps.see(cpu, sequence))
        .to_vec();
    assert_eq!(skipped, [0, 0, 0, 3, 0, 1]);
    assert_eq!(gaps.lost(), 4);
}

#[test]
fn numbers_that_wrap_are_no_hole() {
    let mut gaps = Gaps::default();
    gaps.see(0, u32::MAX - 1);
    gaps.see(0, u32::MAX);
    gaps.see(0, 0);
    assert_eq!(gaps.lost(), 0);
    gaps.see(0, 2);
    assert_eq!(gaps.lost(), 1);
}

#[test]
fn what_is_lost_before_the_first_message_and_after_the_last_is_counted_by_the_socket() {
    let mut gaps = Gaps::default();
    assert_eq!(gaps.count(7), 0);
    assert_eq!(gaps.count(10), 3);
    gaps.see(0, 3);
    assert_eq!(gaps.lost(), 3);
    gaps.see(0, 6);
    assert_eq!(gaps.lost(), 3);
    assert_eq!(gaps.count(15), 5);
    assert_eq!(gaps.lost(), 8);
}

#[test]
fn a_loss_that_shows_as_a_hole_and_in_the_sockets_count_is_one_loss() {
    let mut gaps = Gaps::default();
    gaps.count(0);
    gaps.see(0, 0);
    gaps.count(4);
    gaps.see(0, 5);
    assert_eq!(gaps.lost(), 4);
}

#[test]
fn what_the_kernel_could_not_make_a_message_of_shows_as_a_hole() {
    let mut gaps = Gaps::default();
    gaps.count(0);
    gaps.see(0, 0);
    gaps.see(0, 3);
    assert_eq!(gaps.lost(), 2);
}

#[test]
fn a_count_that_wraps_is_no_loss_of_four_thousand_million() {
    let mut gaps = Gaps::default();
    gaps.count(u32::MAX);
    assert_eq!(gaps.count(1), 2);
    assert_eq!(gaps.lost(), 2);
}
