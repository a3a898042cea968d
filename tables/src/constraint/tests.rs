//! Expected values come from SQLite: whatever it keeps, a test must keep.

use proptest::prelude::*;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, params};

use super::*;

thread_local! {
    static SQLITE: Connection = {
        let connection = Connection::open_in_memory().unwrap();
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
        connection
            .create_scalar_function("regexp", 2, flags, |context| {
                let (pattern, text): (String, Option<String>) = (context.get(0)?, context.get(1)?);
                let regex = Regex::new(&pattern).ok();
                Ok(regex.zip(text).map(|(regex, text)| regex.is_match(&text)))
            })
            .unwrap();
        connection
    };
}

const COLLATIONS: [&str; 3] = ["BINARY", "NOCASE", "RTRIM"];

/// `value op right` as SQLite sees it, where `value` is a column of this type.
fn sqlite(value: &Sql, ty: &str, collation: &str, op: &str, right: &Sql) -> bool {
    let right_side = if op.starts_with("IS") { "" } else { "?2" };
    let query = match op {
        "REGEXP" => "SELECT CAST(?1 AS TEXT) REGEXP CAST(?2 AS TEXT)".to_owned(),
        op => format!("SELECT CAST(?1 AS {ty}) COLLATE {collation} {op} {right_side}"),
    };
    SQLITE.with(|connection| {
        let mut statement = connection.prepare_cached(&query).unwrap();
        let answer = if right_side.is_empty() {
            statement.query_row(params![value], |row| row.get::<_, Option<bool>>(0))
        } else {
            statement.query_row(params![value, right], |row| row.get::<_, Option<bool>>(0))
        };
        answer.unwrap().unwrap_or(false)
    })
}

/// What osquery sends for a value.
fn as_text(value: &Sql) -> String {
    SQLITE.with(|connection| {
        let query = "SELECT CAST(?1 AS TEXT)";
        connection.query_row(query, params![value], |row| row.get(0)).unwrap()
    })
}

fn keeps(ty: ColumnType, cell: Cell, text: &str, op: Op, right: &str) -> bool {
    let constraint = Constraint { column: 0, op, value: right.to_owned() };
    Test::new(&constraint, ty).is_none_or(|test| test.keeps(cell, text))
}

const OPS: [(Op, &str); 11] = [
    (Op::Eq, "="),
    (Op::Ne, "<>"),
    (Op::Lt, "<"),
    (Op::Le, "<="),
    (Op::Gt, ">"),
    (Op::Ge, ">="),
    (Op::Like, "LIKE"),
    (Op::Glob, "GLOB"),
    (Op::Regexp, "REGEXP"),
    (Op::IsNull, "IS NULL"),
    (Op::IsNotNull, "IS NOT NULL"),
];

/// Text with much in common, so that comparisons come out either way.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[aAbB%_*?. \\[\\]^-]{0,5}",
        "[0-9+. -]{0,4}",
        "/(usr|USR)/(bin|lib)(/[a-cA-C%_]{0,2})?[ ]{0,2}",
        "[aäÄéε\\n]{0,3}",
        Just("1e2".to_owned()),
        Just("0x10".to_owned()),
        Just(" 7 ".to_owned()),
        Just("inf".to_owned()),
        Just("9223372036854775808".to_owned()),
    ]
}

fn right() -> impl Strategy<Value = Sql> {
    prop_oneof![
        word().prop_map(Sql::Text),
        (-20_i64..20).prop_map(Sql::Integer),
        any::<i64>().prop_map(Sql::Integer),
        (-40_i32..40).prop_map(|halves| Sql::Real(f64::from(halves) / 2.0)),
        any::<f64>().prop_filter("NULL", |real| real.is_finite()).prop_map(Sql::Real),
    ]
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![-20_i64..20, any::<i64>(), Just(i64::MAX), Just(i64::MIN)]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_number_that_sqlite_keeps_is_kept(value in number(), right in right()) {
        for (op, sql) in OPS {
            // GLOB and LIKE compare text, as does REGEXP.
            let kept = sqlite(&Sql::Integer(value), "INTEGER", "BINARY", sql, &right);
            let ours = keeps(ColumnType::BigInt, Cell::Int(value), "", op, &as_text(&right));
            prop_assert!(ours || !kept, "{value} {sql} {right:?}");
        }
    }

    #[test]
    fn a_text_that_sqlite_keeps_under_any_collation_is_kept(value in word(), right in right()) {
        for (op, sql) in OPS {
            for collation in COLLATIONS {
                let kept = sqlite(&Sql::Text(value.clone()), "TEXT", collation, sql, &right);
                let ours = keeps(ColumnType::Text, Cell::Text, &value, op, &as_text(&right));
                prop_assert!(ours || !kept, "{value:?} {sql} {right:?} {collation}");
            }
        }
    }

    #[test]
    fn an_unknown_value_is_kept_if_sqlite_keeps_it_as_null_or_as_empty_text(right in right()) {
        for (op, sql) in OPS {
            let text = as_text(&right);
            let null = sqlite(&Sql::Null, "TEXT", "BINARY", sql, &right);
            let empty = sqlite(&Sql::Text(String::new()), "TEXT", "BINARY", sql, &right);
            let ours = keeps(ColumnType::Text, Cell::Unknown, "", op, &text);
            prop_assert!(ours || !(null || empty), "{sql} {right:?}");
            let null = sqlite(&Sql::Null, "INTEGER", "BINARY", sql, &right);
            let ours = keeps(ColumnType::Integer, Cell::Unknown, "", op, &text);
            prop_assert!(ours || !null, "{sql} {right:?}");
            // No comparison is true of an unknown number, so none keeps it.
            let untried = op == Op::Regexp && regex(&text).is_none();
            prop_assert_eq!(ours, op == Op::IsNull || untried);
        }
    }

    #[test]
    fn what_sqlite_drops_is_dropped_where_there_is_no_doubt(
        value in word(),
        right in word(),
        number in -20_i64..20,
        other in -20_i64..20,
    ) {
        let as_sql = Sql::Text(right.clone());
        for (op, sql) in [(Op::Ne, "<>"), (Op::Like, "LIKE"), (Op::Glob, "GLOB")] {
            let kept = sqlite(&Sql::Text(value.clone()), "TEXT", "BINARY", sql, &as_sql);
            let ours = keeps(ColumnType::Text, Cell::Text, &value, op, &right);
            prop_assert_eq!(ours, kept, "{:?} {} {:?}", value, sql, right);
        }
        for (op, sql) in OPS.into_iter().take(6) {
            let (left, right) = (Sql::Integer(number), Sql::Integer(other));
            let kept = sqlite(&left, "INTEGER", "BINARY", sql, &right);
            let ours = keeps(ColumnType::BigInt, Cell::Int(number), "", op, &other.to_string());
            prop_assert_eq!(ours, kept, "{} {} {}", number, sql, other);
            // And against text, which is greater than every number unless it is one; beyond what
            // a float tells apart it is left to SQLite.
            if matches!(Number::parse(&as_text(&as_sql)), Number::Real(r) if r.abs() > EXACT_FLOAT) {
                continue;
            }
            let kept = sqlite(&left, "INTEGER", "BINARY", sql, &as_sql);
            let ours = keeps(ColumnType::BigInt, Cell::Int(number), "", op, &as_text(&as_sql));
            prop_assert_eq!(ours, kept, "{} {} {:?}", number, sql, as_sql);
        }
    }
}

#[test]
fn equality_drops_what_no_collation_makes_equal() {
    let keeps =
        |value: &str, right: &str| keeps(ColumnType::Text, Cell::Text, value, Op::Eq, right);
    assert!(keeps("/bin/sh", "/bin/sh"));
    assert!(keeps("/bin/sh", "/BIN/sh "));
    assert!(!keeps("/bin/sh", "/bin/bash"));
    assert!(!keeps("\u{e4}", "\u{c4}"));
}

#[test]
fn only_regular_expressions_of_one_meaning_are_tried() {
    let compiled = |pattern: &str| regex(pattern).is_some();
    for pattern in ["^/usr/bin", "ssh.*root$", "a|b", r"\.conf$", "x+"] {
        assert!(compiled(pattern), "{pattern}");
    }
    for pattern in ["", r"\d", "[[:alpha:]]", "(a)\\1", "a{2}", "(?i)a", "a*+", "a\\", "\u{e9}"] {
        assert!(!compiled(pattern), "{pattern}");
    }
    assert!(!compiled(&"a".repeat(MAX_REGEX + 1)));
}
