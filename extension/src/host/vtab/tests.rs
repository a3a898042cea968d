use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::host::tests::Pair;
use crate::testing::{FakeRow, FakeTables};

fn route(columns: &[(&str, &str, u32)]) -> ExtensionPluginResponse {
    let column = |(name, ty, op): &(&str, &str, u32)| {
        [("id", "column"), ("name", name), ("type", ty), ("op", &op.to_string())]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    columns.iter().map(column).collect()
}

// Expected: what `columnDefinition` in osquery/core/tables.cpp writes for these options.
#[test]
fn tables_are_declared_as_osqueryd_declares_them() {
    let plain = route(&[("a", "TEXT", 0), ("b", "BIGINT", 0)]);
    assert_eq!(declaration("t", &plain, true), "CREATE TABLE t (`a` TEXT, `b` BIGINT)");
    let hidden = route(&[("a", "TEXT", 16)]);
    assert_eq!(declaration("t", &hidden, true), "CREATE TABLE t (`a` TEXT HIDDEN)");
    let index = route(&[("a", "TEXT", 1), ("b", "BIGINT", 0)]);
    assert_eq!(
        declaration("t", &index, true),
        "CREATE TABLE t (`a` TEXT, `b` BIGINT, PRIMARY KEY (`a`))"
    );
    assert_eq!(
        declaration("t", &index, false),
        "CREATE TABLE t (`a` TEXT, `b` BIGINT, PRIMARY KEY (`a`)) WITHOUT ROWID"
    );
    let additional = route(&[("a", "TEXT", 4), ("b", "BIGINT", 0)]);
    assert_eq!(
        declaration("t", &additional, true),
        "CREATE TABLE t (`a` TEXT, `b` BIGINT, PRIMARY KEY (`a`, `b`))"
    );
}

// Expected: strtoll(3) with base 0.
#[test]
fn integers_are_read_as_strtoll_does() {
    for (text, number) in [
        ("0", Some(0)),
        ("17", Some(17)),
        (" \t-17", Some(-17)),
        ("+5", Some(5)),
        ("0x1F", Some(31)),
        ("0x", Some(0)),
        ("010", Some(8)),
        ("08", Some(0)),
        ("12abc", Some(12)),
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("340282366920938463463374607431768211456", None),
        ("", None),
        ("-", None),
        ("abc", None),
    ] {
        assert_eq!(integer(text), number, "{text:?}");
    }
}

/// A row of the fake table with every value known or not.
fn row() -> impl Strategy<Value = FakeRow> {
    let small = -3_i64..3;
    (
        proptest::option::of(small.clone()),
        proptest::option::of("[ab%_/]{0,3}"),
        proptest::option::of(small.clone()),
        proptest::option::of(0_i64..3),
        proptest::option::of((small.clone(), 0_u8..2)),
        proptest::option::of(small),
        proptest::option::of("[0-3]{1,2}"),
    )
        .prop_map(|(pid, path, uid, process_id, cpu, time, eid)| {
            let values = [
                pid.map(|value| value.to_string()),
                path,
                uid.map(|value| value.to_string()),
                process_id.map(|value| value.to_string()),
                cpu.map(|(whole, half)| format!("{whole}.{}", if half == 1 { 5 } else { 0 })),
                time.map(|value| value.to_string()),
                eid,
            ];
            values.into_iter().enumerate().filter_map(|(at, value)| Some((at, value?))).collect()
        })
}

fn condition() -> impl Strategy<Value = String> {
    let number =
        prop_oneof![Just("pid"), Just("uid"), Just("process_id"), Just("cpu"), Just("time")];
    let text = prop_oneof![Just("path"), Just("eid")];
    let any_column = prop_oneof![number.clone(), text.clone()];
    let op = prop_oneof![
        Just("="),
        Just("!="),
        Just("<"),
        Just("<="),
        Just(">"),
        Just(">="),
        Just("IS"),
        Just("IS NOT"),
    ];
    let literal = prop_oneof![
        (-3_i64..3).prop_map(|value| value.to_string()),
        (-3_i64..3).prop_map(|value| format!("{value}.5")),
        "[ab%_/0-3]{0,3}".prop_map(|value| format!("'{value}'")),
        Just("NULL".to_owned()),
    ];
    let leaf = prop_oneof![
        4 => (any_column.clone(), op, literal.clone())
            .prop_map(|(column, op, value)| format!("{column} {op} {value}")),
        1 => (any_column.clone(), proptest::collection::vec(literal.clone(), 1..4))
            .prop_map(|(column, values)| format!("{column} IN ({})", values.join(", "))),
        1 => (any_column.clone(), literal.clone(), literal)
            .prop_map(|(column, low, high)| format!("{column} BETWEEN {low} AND {high}")),
        1 => (text.clone(), "[ab%_/]{0,3}").prop_map(|(column, like)| format!("{column} LIKE '{like}'")),
        1 => (text, "[ab*?/]{0,3}").prop_map(|(column, glob)| format!("{column} GLOB '{glob}'")),
        1 => any_column.prop_map(|column| format!("{column} IS NOT NULL")),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone())
                .prop_map(|(left, right)| format!("({left} AND {right})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} OR {right})")),
            inner.prop_map(|inner| format!("NOT ({inner})")),
        ]
    })
}

fn statement() -> impl Strategy<Value = String> {
    const KEYS: &str = "pid, path, uid, process_id, cpu, time, eid";
    prop_oneof![
        4 => condition().prop_map(|at| format!("SELECT * FROM {{}} WHERE {at} ORDER BY {KEYS}")),
        1 => condition().prop_map(|at| format!("SELECT count(*), sum(pid) FROM {{}} WHERE {at}")),
        1 => condition()
            .prop_map(|at| format!("SELECT uid, count(*) FROM {{}} WHERE {at} GROUP BY uid ORDER BY uid")),
        1 => (condition(), 0_u8..4).prop_map(|(at, limit)| {
            format!("SELECT path FROM {{}} WHERE {at} ORDER BY {KEYS} LIMIT {limit} OFFSET 1")
        }),
        1 => condition().prop_map(|at| {
            format!(
                "SELECT a.pid, b.eid FROM {{}} a JOIN {{}} b ON a.uid = b.pid \
                 WHERE a.time IN (SELECT time FROM {{}} WHERE {at}) ORDER BY 1, 2"
            )
        }),
    ]
}

fn literal(row: &FakeRow, column: usize) -> String {
    row.get(&column).map_or("NULL".to_owned(), |value| format!("'{value}'"))
}

/// The same question to an ordinary SQLite table and to ours over the socket.
#[test]
fn sqlite_agrees_about_every_pushed_down_condition() {
    let tables = FakeTables::new(Vec::new());
    let pair = Pair::start(Arc::clone(&tables));
    pair.rows(
        "CREATE TABLE plain (pid BIGINT, path TEXT, uid INTEGER, process_id UNSIGNED_BIGINT, \
         cpu DOUBLE, time BIGINT, eid TEXT)",
    );
    let config = ProptestConfig { cases: 200, ..ProptestConfig::default() };
    proptest!(config, |(rows in proptest::collection::vec(row(), 0..8),
                        statements in proptest::collection::vec(statement(), 4))| {
        pair.rows("DELETE FROM plain");
        for row in &rows {
            let values: Vec<String> = (0..7).map(|column| literal(row, column)).collect();
            pair.rows(&format!("INSERT INTO plain VALUES ({})", values.join(", ")));
        }
        tables.replace(rows);
        for statement in statements {
            let ours = pair.rows(&statement.replace("{}", "ebpf_process_events"));
            let plain = pair.rows(&statement.replace("{}", "plain"));
            prop_assert_eq!(ours, plain, "{}", statement);
        }
    });
}

#[test]
fn an_in_list_is_asked_for_value_by_value() {
    let pair =
        Pair::start(FakeTables::new((1..5).map(|pid| crate::testing::event(pid, "/x")).collect()));
    pair.tables.requests.lock().clear();
    assert_eq!(
        pair.rows("SELECT pid FROM ebpf_process_events WHERE pid IN (1, 3) ORDER BY pid"),
        [["1"], ["3"]]
    );
    let requests = pair.tables.requests.lock();
    let asked: Vec<_> =
        requests.iter().map(|(_, request)| request.constraints[0].value.as_str()).collect();
    assert_eq!(asked, ["1", "3"]);
}
