use osquery_ebpf_probes::host::Host;

use super::*;

#[test]
fn the_facts_say_of_every_source_whether_it_can_be_used() {
    let facts = host(&Host::read());
    for source in ["bpf", "audit", "connector", "fanotify"] {
        let judged = facts["sources"][source].as_str().unwrap();
        assert!(!judged.is_empty(), "{source}");
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(facts["kernel"], release.trim_end());
}

#[test]
fn of_the_boot_line_only_words_that_bear_on_us_are_taken() {
    let facts = host(&Host::read());
    for word in facts["boot"].as_array().unwrap() {
        let word = word.as_str().unwrap();
        assert!(BOOT_WORDS.iter().any(|known| word.starts_with(known)), "{word}");
    }
}

#[test]
fn what_cannot_be_read_says_why() {
    let missing = read("/proc/there-is-no-such-file");
    assert!(missing.as_str().unwrap().contains("No such file"), "{missing}");
}
