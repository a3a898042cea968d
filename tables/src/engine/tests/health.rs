use osquery_ebpf_probes::source::KindHealth;

use super::*;
use crate::status::KindStatus;

struct Fixed;

impl StatusProvider for Fixed {
    fn status(&self) -> Vec<KindStatus> {
        let mut health = KindHealth::new(EventKind::Exec, "tp_btf");
        health.received = 12;
        health.lost_ring = 3;
        health.produced = Some(15);
        health.reason = "no trampolines".into();
        let reason = "asked for".into();
        let since = Some(Instant::now());
        vec![KindStatus { source: Some(SourceKind::Bpf), reason, health, since }]
    }
}

const TABLE: &str = "ebpf_events_health";

#[test]
fn there_is_one_row_per_kind_even_before_any_source_runs() {
    let host = Host::new(Options::default());
    let rows = host.rows(TABLE, &[]);
    let kinds = ["exec", "fork", "exit", "setid", "namespace", "socket", "file"];
    assert_eq!(column(&rows, "kind"), kinds);
    assert_eq!(column(&rows, "source"), ["?"; 7]);
    assert_eq!(column(&rows, "stored"), ["0"; 7]);
}

#[test]
fn what_sources_and_stores_count_stands_in_one_row() {
    let host = Host::new(Options::default());
    host.tables.set_status(Arc::new(Fixed));
    host.give([exec(99, (5, 1), (1, 0), &["/bin/ls"])]);
    let rows = host.rows(TABLE, &[("kind", Op::Eq, "exec")]);
    rows[0].assert(&[
        ("source", "bpf"),
        ("tier", "tp_btf"),
        ("reason", "asked for; no trampolines"),
        ("kernel", "6.18.0"),
        ("btf", "/sys/kernel/btf/vmlinux"),
        ("produced", "15"),
        ("received", "12"),
        ("lost_ring", "3"),
        ("delivered", "1"),
        ("stored", "1"),
        ("held", "1"),
        ("evicted", "0"),
        ("expired", "0"),
        ("oldest", "1700000099"),
        ("newest", "1700000099"),
        ("lag_ms", "1000"),
        ("attached_seconds", "0"),
        ("processes", "1"),
    ]);
    assert_eq!(rows[0].get("ring_bytes"), None);
    assert!(rows[0].get("held_bytes").unwrap().parse::<u64>().unwrap() > 0);
}

#[test]
fn every_health_row_has_a_value_for_every_column() {
    let host = Host::new(Options::default());
    for row in host.tables.health_rows() {
        assert_eq!(row.len(), HEALTH.columns.len());
    }
}

#[test]
fn the_busiest_are_told_for_the_last_minute() {
    let host = Host::new(Options::default());
    host.clock.set(100 * SECOND);
    host.give([exec(99, (5, 1), (1, 0), &["/bin/sh"])]);
    host.give((0..5).map(|_| exit(100, (5, 1), (1, 0), 0)));
    let busiest = [("what", Op::Eq, "initiator")];
    let rows = host.rows("ebpf_events_statistics", &busiest);
    rows[0].assert(&[("name", "/bin/sh"), ("count", "5"), ("error", "0"), ("seconds", "60")]);
    host.at(161 * SECOND);
    assert!(host.rows("ebpf_events_statistics", &busiest).is_empty());
}

#[test]
fn unknown_tables_and_columns_are_refused() {
    let host = Host::new(Options::default());
    let caller = Caller::AdHoc;
    let request = Request { constraints: Vec::new(), columns: Some(vec![999]), caller };
    let refused = |table: &str| host.tables.scan(table, &request).err();
    assert_eq!(refused("nothing"), Some(ScanError::NoSuchTable("nothing".into())));
    for table in TABLES {
        let expected = ScanError::NoSuchColumn { table: table.name, column: 999 };
        assert_eq!(refused(table.name), Some(expected));
    }
}

#[test]
fn only_the_columns_asked_for_are_built_in_the_order_of_the_schema() {
    let host = Host::new(Options::default());
    host.give([exec(99, (5, 1), (1, 0), &["/bin/ls"])]);
    for (table, columns, expected) in [
        ("ebpf_process_events", vec![24, 0, 1, 1], vec!["pid", "path", "eid"]),
        ("ebpf_events_health", vec![17, 0], vec!["kind", "stored"]),
    ] {
        let caller = Caller::AdHoc;
        let request = Request { constraints: Vec::new(), columns: Some(columns), caller };
        let scan = host.tables.scan(table, &request).unwrap();
        let mut names = Vec::new();
        scan.row(0, &mut |name, _| names.push(name));
        assert_eq!(names, expected);
        scan.row(scan.len(), &mut |_, _| panic!("a row beyond the end"));
    }
}
