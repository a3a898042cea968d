use osquery_ebpf_probes::event::{File, FileAction};

use super::*;

const TABLE: &str = "ebpf_process_events";

fn ls(time_s: u64, pid: u32) -> RawEvent {
    exec(time_s, (pid, time_s), (1, 0), &["/bin/ls"])
}

#[test]
fn a_scheduled_query_gets_each_event_once_and_an_ad_hoc_query_all() {
    let host = Host::new(Options::default());
    host.give([ls(1, 1), ls(2, 2)]);
    assert_eq!(column(&host.scheduled(TABLE, "q", 1), "pid"), ["1", "2"]);
    host.give([ls(3, 3)]);
    // The same execution: a join scans again and sees what it saw.
    assert_eq!(column(&host.scheduled(TABLE, "q", 1), "pid"), ["1", "2"]);
    assert_eq!(column(&host.scheduled(TABLE, "q", 2), "pid"), ["3"]);
    assert!(host.scheduled(TABLE, "q", 3).is_empty());
    assert_eq!(column(&host.scheduled(TABLE, "other", 1), "pid"), ["1", "2", "3"]);
    assert_eq!(column(&host.rows(TABLE, &[]), "pid"), ["1", "2", "3"]);
}

#[test]
fn a_condition_on_time_reads_the_whole_buffer_and_moves_nothing() {
    let host = Host::new(Options::default());
    host.give([ls(1, 1), ls(2, 2)]);
    let caller =
        |execution: u32| Caller::Scheduled { name: "q".into(), execution: execution.to_string() };
    let since = [("time", Op::Ge, "1700000002")];
    assert_eq!(column(&host.ask(TABLE, &since, caller(1)), "pid"), ["2"]);
    assert_eq!(column(&host.ask(TABLE, &since, caller(2)), "pid"), ["2"]);
    assert_eq!(column(&host.scheduled(TABLE, "q", 3), "pid"), ["1", "2"]);
}

#[test]
fn conditions_narrow_a_window_and_do_not_move_it() {
    let host = Host::new(Options::default());
    host.give([ls(1, 1), ls(2, 2)]);
    let caller = Caller::Scheduled { name: "q".into(), execution: "1".into() };
    for pid in ["1", "2", "1"] {
        let rows = host.ask(TABLE, &[("pid", Op::Eq, pid)], caller.clone());
        assert_eq!(column(&rows, "pid"), [pid]);
    }
}

#[test]
fn events_that_expire_between_the_scans_of_a_join_stay_in_it() {
    let host = Host::new(Options::default());
    host.give([ls(100, 1)]);
    assert_eq!(host.scheduled(TABLE, "q", 1).len(), 1);
    host.at(100 * SECOND + 3_601 * SECOND);
    // The clock has moved by more than the execution is kept for: only the tick lets it go.
    assert!(host.scheduled(TABLE, "q", 1).is_empty());
    let kind = host.kind(EventKind::Exec);
    assert_eq!((kind.counts.expired, kind.counts.unread), (1, 0));
}

#[test]
fn two_tables_of_one_query_and_two_views_of_one_store_move_apart() {
    let host = Host::new(Options::default());
    host.tables.set_watch(&WatchConfig {
        file_paths: vec![("c".into(), vec!["/w/%%".into()])],
        ..WatchConfig::default()
    });
    let change = |path: &str| {
        let file = File {
            action: FileAction::Create,
            path: bytes(path),
            dest_path: None,
            object: None,
            is_dir: None,
            syscall: None,
            result: None,
            truncated: false,
        };
        event(5, task((1, 1), (0, 0)), Body::File(Box::new(file)))
    };
    host.give([ls(1, 1), change("/w/a")]);
    assert_eq!(host.scheduled(TABLE, "q", 1).len(), 1);
    host.give([ls(2, 2), change("/w/b")]);
    // The first scan of this table in the execution: its window begins now.
    assert_eq!(host.scheduled("ebpf_file_events", "q", 1).len(), 2);
    assert_eq!(host.scheduled("ebpf_process_file_events", "q", 1).len(), 2);
    host.give([change("/w/c")]);
    assert_eq!(column(&host.scheduled(TABLE, "q", 2), "pid"), ["2"]);
    let rows = host.scheduled("ebpf_process_file_events", "q", 2);
    assert_eq!(column(&rows, "path"), ["/w/c"]);
    let rows = host.scheduled("ebpf_file_events", "q", 2);
    assert_eq!(column(&rows, "target_path"), ["/w/c"]);
}

#[test]
fn events_evicted_before_a_scheduled_query_came_are_counted() {
    let mut options = Options::default();
    options.process.events = 10;
    let host = Host::new(options);
    host.give((1..=5).map(|pid| ls(1, pid)));
    assert_eq!(host.scheduled(TABLE, "q", 1).len(), 5);
    host.give((6..=40).map(|pid| ls(1, pid)));
    assert_eq!(host.scheduled(TABLE, "q", 2).len(), 10);
    let counts = host.kind(EventKind::Exec).counts;
    assert_eq!((counts.stored, counts.evicted, counts.unread), (40, 30, 25));
}
