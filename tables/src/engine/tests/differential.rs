//! The same rows and the same conditions in SQLite: what it finds, a scan must find.

use proptest::prelude::*;
use rusqlite::{Connection, params_from_iter};

use super::*;
use crate::schema::ColumnType;

const TABLE: &str = "ebpf_process_events";

#[derive(Debug, Clone)]
struct Seed {
    pid: u32,
    parent: u32,
    path: Option<usize>,
    time_s: u64,
    uid: Option<u32>,
}

const PATHS: [&str; 6] = ["/bin/a", "/bin/A", "/bin/ab", "/usr/bin/a ", "/tmp/\u{e9}", "/x\ny"];

fn seed() -> impl Strategy<Value = Seed> {
    let uid = proptest::option::of(0_u32..3);
    let path = proptest::option::of(0..PATHS.len());
    (1_u32..6, 1_u32..4, path, 100_u64..140, uid)
        .prop_map(|(pid, parent, path, time_s, uid)| Seed { pid, parent, path, time_s, uid })
}

fn exec_of(seed: &Seed) -> RawEvent {
    let path = seed.path.and_then(|path| bytes(PATHS[path]));
    // Without a path the source is one that leaves it to /proc, where there is nothing.
    let exec = Exec { args: strings(&["x", &seed.pid.to_string()]), path, ..Exec::default() };
    let creds = seed.uid.map(|uid| Creds { uid, ..Creds::default() });
    let task = Task { creds, ..task((seed.pid, u64::from(seed.pid)), (seed.parent, 0)) };
    event(seed.time_s, task, Body::Exec(Box::new(exec)))
}

fn condition() -> impl Strategy<Value = (&'static str, Op, String)> {
    let column = prop_oneof![
        3 => Just("pid"),
        2 => Just("parent"),
        3 => Just("path"),
        3 => Just("time"),
        3 => Just("eid"),
        2 => Just("process_id"),
        1 => Just("uid"),
        1 => Just("cmdline"),
        1 => Just("tty"),
        1 => Just("exit_code"),
    ];
    let op = prop_oneof![
        4 => Just(Op::Eq),
        1 => Just(Op::Ne),
        1 => Just(Op::Lt),
        1 => Just(Op::Le),
        1 => Just(Op::Gt),
        1 => Just(Op::Ge),
        1 => Just(Op::Like),
        1 => Just(Op::Glob),
        1 => Just(Op::IsNull),
        1 => Just(Op::IsNotNull),
    ];
    let value = prop_oneof![
        (0_u32..7).prop_map(|n| n.to_string()),
        (0_u32..40).prop_map(|n| format!("{n:010}")),
        (1_700_000_095_u64..1_700_000_145).prop_map(|n| n.to_string()),
        (0..PATHS.len()).prop_map(|path| PATHS[path].to_owned()),
        (1_u32..6).prop_map(|pid| id_of((pid, u64::from(pid)))),
        Just("x 3".to_owned()),
        Just("/%a%".to_owned()),
        Just("/*a*".to_owned()),
        Just("2.5".to_owned()),
        Just("3.0".to_owned()),
        Just(" 3".to_owned()),
        Just("nonsense".to_owned()),
        Just(String::new()),
    ];
    (column, op, value)
}

const fn sql(op: Op) -> &'static str {
    match op {
        Op::Eq => "= ?",
        Op::Ne => "<> ?",
        Op::Lt => "< ?",
        Op::Le => "<= ?",
        Op::Gt => "> ?",
        Op::Ge => ">= ?",
        Op::Like => "LIKE ?",
        Op::Glob => "GLOB ?",
        Op::Regexp => "REGEXP ?",
        Op::IsNull => "IS NULL",
        Op::IsNotNull => "IS NOT NULL",
    }
}

/// All rows in a table of SQLite's. A missing text is '' as osqueryd has it, or NULL.
fn copy(rows: &[Row], missing_is_empty: bool) -> Connection {
    let table = TABLES.iter().find(|table| table.name == TABLE).unwrap();
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| match column.ty {
            ColumnType::Text => format!("\"{}\" TEXT", column.name),
            _ => format!("\"{}\" BIGINT", column.name),
        })
        .collect();
    let connection = Connection::open_in_memory().unwrap();
    connection.execute(&format!("CREATE TABLE t ({})", columns.join(",")), []).unwrap();
    let places = vec!["?"; columns.len()].join(",");
    for row in rows {
        let values = table.columns.iter().map(|column| match row.get(column.name) {
            None if missing_is_empty && column.ty == ColumnType::Text => Some(String::new()),
            value => value.map(str::to_owned),
        });
        let insert = format!("INSERT INTO t VALUES ({places})");
        connection.execute(&insert, params_from_iter(values)).unwrap();
    }
    connection
}

fn found(connection: &Connection, conditions: &[(&str, Op, String)]) -> Vec<String> {
    let each: Vec<String> =
        conditions.iter().map(|(column, op, _)| format!("\"{column}\" {}", sql(*op))).collect();
    let values = conditions
        .iter()
        .filter(|(_, op, _)| !matches!(op, Op::IsNull | Op::IsNotNull))
        .map(|(_, _, value)| value);
    let query = format!("SELECT eid FROM t WHERE {} ORDER BY rowid", each.join(" AND "));
    let mut statement = connection.prepare(&query).unwrap();
    let rows = statement.query_map(params_from_iter(values), |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 250,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_scan_finds_what_sqlite_finds(
        seeds in proptest::collection::vec(seed(), 0..60),
        events in 5_usize..50,
        queries in proptest::collection::vec(
            proptest::collection::vec(condition(), 1..4), 1..30),
    ) {
        let mut options = Options::default();
        options.process.events = events;
        // Several segments.
        options.process.bytes = 64 << 10;
        let host = Host::new(options);
        host.clock.set(200 * SECOND);
        host.give(seeds.iter().map(exec_of));
        let all = host.rows(TABLE, &[]);
        let copies = [copy(&all, false), copy(&all, true)];
        for conditions in &queries {
            let asked: Vec<(&str, Op, &str)> =
                conditions.iter().map(|(column, op, value)| (*column, *op, &**value)).collect();
            let rows = host.rows(TABLE, &asked);
            let ours = column(&rows, "eid");
            for copy in &copies {
                for eid in found(copy, conditions) {
                    prop_assert!(ours.contains(&&*eid), "{eid} is missing: {conditions:?}");
                }
            }
            // Nothing is added, nothing comes twice, and the order is that of events.
            prop_assert!(ours.is_sorted() && ours.windows(2).all(|pair| pair[0] != pair[1]));
            // Equality with a key is answered exactly.
            let [(key, Op::Eq, _)] = &conditions[..] else { continue };
            if matches!(*key, "pid" | "parent" | "eid" | "time" | "process_id") {
                prop_assert_eq!(&ours, &found(&copies[1], conditions));
            }
        }
    }
}
