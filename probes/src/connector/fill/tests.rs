use super::*;

impl Image {
    pub(crate) fn of_test(number: u64) -> Self {
        Self(number)
    }
}

const STAT: &str = "77 (a) b) ( c) S 5 77 77 34816 77 4194560 100 200 0 0 1 2 3 4 20 0 3 0 \
    1234567 8192 100 18446744073709551615 94000 94100 140736 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 94200 \
    94300 95000 140800 140810 140820 140900 0";

#[test]
fn a_name_that_looks_like_fields_does_not_shift_them() {
    let stat = Stat::parse(STAT.as_bytes()).unwrap();
    assert_eq!((stat.parent_pid, stat.start_ns, stat.zombie), (5, 12_345_670_000_000, false));
    assert_eq!(stat.image, Some(Image(140_800)));
}

#[test]
fn addresses_that_are_hidden_from_us_are_no_mark() {
    let hidden = STAT.replace(" 140800 ", " 0 ");
    assert_eq!(Stat::parse(hidden.as_bytes()).unwrap().image, None);
}

#[test]
fn what_is_not_a_stat_line_is_none() {
    for bad in ["", "1 (x", "1 (x) ", "1 (x) S", "1 (x) S a b c"] {
        assert_eq!(Stat::parse(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn this_process_is_found_and_a_later_owner_of_its_pid_is_not() {
    let pid = std::process::id();
    let found = Stat::read(pid, u64::MAX).unwrap();
    assert_eq!(Stat::read(pid, found.start_ns).unwrap().start_ns, found.start_ns);
    assert_eq!(Stat::read(pid, found.start_ns - 1), None);
    assert!(!found.zombie);
}

#[test]
fn living_threads_are_told_from_none() {
    let pid = std::process::id();
    let me = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
    // The test harness's main thread waits for us.
    assert!(others_live(pid, me));
    assert!(!others_live(u32::MAX, 1));
}
