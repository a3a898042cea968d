use super::*;

const HOUR_NS: i64 = 3600 * NS_PER_S;

#[test]
fn a_boot_time_becomes_unix_time_and_back() {
    let base = Base::new(5_000_000_000, 1_700_000_000 * NS_PER_S);
    assert_eq!(base.unix_ns(6_500_000_000), 1_700_000_001 * NS_PER_S + 500_000_000);
    assert_eq!(base.unix_s(6_500_000_000), 1_700_000_001);
    assert_eq!(base.boot_ns(1_700_000_001 * NS_PER_S), Some(6_000_000_000));
}

#[test]
fn a_unix_time_before_boot_has_no_boot_time() {
    let base = Base::new(1_000, 1_700_000_000 * NS_PER_S);
    assert_eq!(base.boot_ns(1_699_999_999 * NS_PER_S), None);
}

#[test]
fn times_before_1970_round_down() {
    assert_eq!(Base::new(0, -1).unix_s(0), -1);
}

#[test]
fn slewing_does_not_move_a_moment_but_a_step_does() {
    let base = Base::new(0, HOUR_NS);
    assert_eq!(base.follow(Base::new(0, HOUR_NS + STEP_NS - 1)), base);
    assert_eq!(base.follow(Base::new(0, HOUR_NS - STEP_NS + 1)), base);
    for stepped in [Base::new(0, HOUR_NS + STEP_NS), Base::new(0, -HOUR_NS)] {
        assert_eq!(base.follow(stepped), stepped);
    }
}

#[test]
fn a_step_of_the_wall_clock_is_noticed_once_the_reading_is_old() {
    let clock = Clock { offset_ns: AtomicI64::new(HOUR_NS), read_at_ns: AtomicU64::new(1_000) };
    let stepped = Base { offset_ns: 2 * HOUR_NS };
    let young = clock.base_at(1_000 + REREAD_NS - 1, || panic!("read again too early"));
    assert_eq!(young, Base { offset_ns: HOUR_NS });
    assert_eq!(clock.base_at(1_000 + REREAD_NS, || stepped), stepped);
    assert_eq!(clock.base_at(1_001 + REREAD_NS, || panic!("read twice")), stepped);
}

#[test]
fn the_kernel_agrees_with_the_base() {
    let btime: i64 = std::fs::read_to_string("/proc/stat")
        .unwrap()
        .lines()
        .find_map(|line| line.strip_prefix("btime ")?.parse().ok())
        .unwrap();
    let ours = Clock::new().base().unix_s(0);
    assert!((ours - btime).abs() <= 1, "boot at {ours}, /proc/stat says {btime}");
    let drift = Clock::new().unix_ns(boot_now_ns()) - unix_now_ns();
    assert!(drift.abs() < NS_PER_S, "off by {drift} ns");
}

#[test]
fn the_boot_id_is_the_uuid_the_kernel_shows() {
    let text = std::fs::read_to_string(BOOT_ID_PATH).unwrap();
    let shown = format!("{:032x}", BootId::read().unwrap().0);
    assert_eq!(shown, text.trim().replace('-', ""));
}

#[test]
fn what_is_not_a_uuid_is_no_boot_id() {
    for text in [
        "",
        "35a53632-379e-49a2-81b7",
        "35a53632-379e-49a2-81b7-ebf24b4c932d-",
        "35a53632-379e-49a2-81b7-ebf24b4c932",
        "+5a53632-379e-49a2-81b7-ebf24b4c932d",
        "35a53632379e49a281b7ebf24b4c932d",
    ] {
        assert_eq!(BootId::parse(text), None, "{text:?}");
    }
}
