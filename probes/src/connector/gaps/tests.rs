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
