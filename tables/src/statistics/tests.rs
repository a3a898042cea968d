use super::*;

const SECOND: u64 = 1_000_000_000;

fn names(counted: &[Counted]) -> Vec<(String, u64, u64)> {
    let text = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
    counted.iter().map(|each| (text(&each.name), each.count, each.error)).collect()
}

#[test]
fn counts_are_exact_while_there_is_room() {
    let mut statistics = Statistics::default();
    for n in 0..100 {
        statistics.add(What::Path, if n % 4 == 0 { b"/a" } else { b"/b" }, n * SECOND / 4);
    }
    let top = statistics.top(What::Path, 25 * SECOND);
    assert_eq!(names(&top), [("/b".into(), 75, 0), ("/a".into(), 25, 0)]);
    assert!(statistics.top(What::Peer, 25 * SECOND).is_empty());
}

#[test]
fn what_is_older_than_the_window_is_forgotten() {
    let mut statistics = Statistics::default();
    statistics.add(What::Syscall, b"open", 5 * SECOND);
    statistics.add(What::Syscall, b"open", 55 * SECOND);
    assert_eq!(names(&statistics.top(What::Syscall, 59 * SECOND)), [("open".into(), 2, 0)]);
    assert_eq!(names(&statistics.top(What::Syscall, 60 * SECOND)), [("open".into(), 1, 0)]);
    assert!(statistics.top(What::Syscall, 120 * SECOND).is_empty());
}

#[test]
fn the_frequent_are_found_among_many_and_counts_are_never_too_low() {
    let mut statistics = Statistics::default();
    let mut true_count = 0;
    for n in 0..100_000_u32 {
        statistics.add(What::Path, format!("/rare/{n}").as_bytes(), SECOND);
        if n % 50 == 0 {
            statistics.add(What::Path, b"/frequent", SECOND);
            true_count += 1;
        }
    }
    let top = statistics.top(What::Path, SECOND);
    assert_eq!(top.len(), COUNTERS);
    let frequent = top.iter().find(|each| *each.name == *b"/frequent").unwrap();
    assert!(frequent.count >= true_count);
    assert!(frequent.count - frequent.error <= true_count);
    // The sketch neither grows nor loses a count: all of them are on some name.
    let sum: u64 = top.iter().map(|each| each.count).sum();
    assert_eq!(sum, 100_000 + true_count);
}

#[test]
fn long_names_are_cut() {
    let mut statistics = Statistics::default();
    statistics.add(What::Path, &[b'x'; 5000], SECOND);
    assert_eq!(statistics.top(What::Path, SECOND)[0].name.len(), MAX_NAME);
}
