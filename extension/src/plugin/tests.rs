use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use osquery_ebpf_tables::scan::{Caller, Constraint, Op};
use serde_json::json;

use super::*;
use crate::server::{Limits, Server};
use crate::testing::{EVENTS, FakeTables, HEALTH, directory, event};
use crate::thrift::{ExtensionSyncClient, TExtensionSyncClient};
use crate::wire::{Deadline, output};

struct Fixed(Caller);

impl CallerSource for Fixed {
    fn caller(&self) -> Caller {
        self.0.clone()
    }
}

struct Rig {
    server: Server,
    tables: Arc<FakeTables>,
    stopped: Arc<AtomicBool>,
    _directory: tempfile::TempDir,
}

fn rig(rows: u32) -> Rig {
    rig_for(rows, Caller::AdHoc)
}

fn rig_for(rows: u32, caller: Caller) -> Rig {
    let directory = directory();
    let tables = FakeTables::new((0..rows).map(|pid| event(pid, "/bin/true")).collect());
    let stopped = Arc::new(AtomicBool::new(false));
    let endpoint =
        Endpoint::new(Arc::clone(&tables) as Arc<dyn Tables>, Arc::new(Fixed(caller)), {
            let stopped = Arc::clone(&stopped);
            move || stopped.store(true, Ordering::Relaxed)
        });
    endpoint.set_uuid(42);
    let path = directory.path().join("e.42");
    let server = Server::bind(&path, Limits::default(), Arc::new(endpoint)).unwrap();
    Rig { server, tables, stopped, _directory: directory }
}

type Client = ExtensionSyncClient<Input<Stream>, crate::wire::Output>;

fn client(path: &Path) -> Client {
    let stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    let limit = Duration::from_secs(60);
    let reading = Stream::new(stream, Deadline::new(limit, limit));
    let writing = reading.try_clone().unwrap();
    ExtensionSyncClient::new(Input::new(reading, 1 << 30), output(writing))
}

fn request(pairs: &[(&str, &str)]) -> ExtensionPluginRequest {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn call(
    client: &mut Client,
    registry: &str,
    item: &str,
    pairs: &[(&str, &str)],
) -> (i32, String, Vec<BTreeMap<String, String>>) {
    let answer = client.call(registry.to_owned(), item.to_owned(), request(pairs)).unwrap();
    let status = answer.status.unwrap();
    assert_eq!(status.uuid, Some(42));
    (status.code.unwrap(), status.message.unwrap(), answer.response.unwrap())
}

#[test]
fn a_generated_answer_is_read_by_thrifts_own_reader() {
    let rig = rig(3);
    let mut client = client(rig.server.path());
    let (code, message, rows) =
        call(&mut client, "table", EVENTS.name, &[("action", "generate"), ("context", "")]);
    assert_eq!((code, message.as_str(), rows.len()), (0, "OK", 3));
    assert_eq!(rows[2]["pid"], "2");
    assert_eq!(rows[2]["path"], "/bin/true");
    assert!(!rows[2].contains_key("cpu"), "what is unknown is left out");
}

#[test]
fn only_the_columns_asked_for_are_given() {
    let rig = rig(2);
    let mut client = client(rig.server.path());
    let context = json!({"constraints": [], "colsUsed": ["pid"], "colsUsedBitset": 1}).to_string();
    let pairs = [("action", "generate"), ("context", context.as_str())];
    let (_, _, rows) = call(&mut client, "table", EVENTS.name, &pairs);
    let row = |pid| request(&[("pid", pid), ("rowid", pid)]);
    assert_eq!(rows, [row("0"), row("1")]);
    let context = json!({"constraints": [], "colsUsed": [], "colsUsedBitset": 0}).to_string();
    let pairs = [("action", "generate"), ("context", context.as_str())];
    let (_, _, rows) = call(&mut client, "table", EVENTS.name, &pairs);
    let row = |rowid| request(&[("rowid", rowid)]);
    assert_eq!(rows, [row("0"), row("1")]);
}

#[test]
fn columns_answers_what_was_registered() {
    let rig = rig(0);
    let mut client = client(rig.server.path());
    let (code, _, rows) = call(&mut client, "table", EVENTS.name, &[("action", "columns")]);
    assert_eq!(code, 0);
    assert_eq!(rows, registry(&[&EVENTS, &HEALTH])["table"][EVENTS.name]);
    assert_eq!(
        rows[0],
        request(&[("id", "column"), ("name", "pid"), ("type", "BIGINT"), ("op", "0")])
    );
    assert!(rows.contains(&request(&[("id", "alias"), ("alias", "process_events")])));
    assert_eq!(rows.last().unwrap(), &request(&[("id", "attributes"), ("attributes", "4")]));
    let health = route(&HEALTH);
    assert_eq!(health.last().unwrap(), &request(&[("id", "attributes"), ("attributes", "0")]));
}

#[test]
fn what_cannot_be_answered_has_a_status_that_says_why() {
    let rig = rig(1);
    let mut client = client(rig.server.path());
    for (registry, item, pairs, says) in [
        ("logger", "x", &[][..], "no logger plugins"),
        ("table", "nowhere", &[("action", "generate")][..], "no table nowhere"),
        ("table", EVENTS.name, &[], "action"),
        ("table", EVENTS.name, &[("action", "frobnicate")], "frobnicate"),
        ("table", EVENTS.name, &[("action", "generate"), ("context", "{")], "not JSON"),
    ] {
        let (code, message, rows) = call(&mut client, registry, item, pairs);
        assert_eq!(code, 1, "{message}");
        assert!(message.contains(says), "{message}");
        assert_eq!(rows, []);
    }
    // The connection survives all of them.
    assert_eq!(client.ping().unwrap().code, Some(0));
}

#[test]
fn tables_are_read_only() {
    let rig = rig(1);
    let mut client = client(rig.server.path());
    for action in ["insert", "update", "delete"] {
        let (code, _, rows) = call(&mut client, "table", EVENTS.name, &[("action", action)]);
        assert_eq!((code, rows), (0, vec![request(&[("status", "readonly")])]));
    }
}

#[test]
fn an_unknown_method_is_an_exception_and_not_the_end() {
    use thrift::protocol::{TMessageIdentifier, TMessageType, TOutputProtocol};
    let rig = rig(0);
    let stream = std::os::unix::net::UnixStream::connect(rig.server.path()).unwrap();
    let limit = Duration::from_secs(10);
    let reading = Stream::new(stream, Deadline::new(limit, limit));
    let mut output = output(reading.try_clone().unwrap());
    let mut input = Input::new(reading, 1 << 20);
    for _ in 0..2 {
        output
            .write_message_begin(&TMessageIdentifier::new("extensions", TMessageType::Call, 9))
            .unwrap();
        output.write_field_stop().unwrap();
        output.flush().unwrap();
        let answer = input.read_message_begin().unwrap();
        assert_eq!(answer.message_type, TMessageType::Exception);
        let error = thrift::Error::read_application_error_from_in_protocol(&mut input).unwrap();
        assert_eq!(error.kind, thrift::ApplicationErrorKind::UnknownMethod);
    }
}

#[test]
fn shutdown_is_answered_and_passed_on() {
    let rig = rig(0);
    client(rig.server.path()).shutdown().unwrap();
    crate::testing::eventually("the request", || rig.stopped.load(Ordering::Relaxed));
}

#[test]
fn pings_are_answered_while_fifty_thousand_rows_are_read_slowly() {
    let rig = rig(50_000);
    *rig.tables.slowness.lock() = Duration::from_millis(2);
    let path = rig.server.path().to_owned();
    let reader = std::thread::spawn({
        let path = path.clone();
        move || {
            let mut client = client(&path);
            call(&mut client, "table", EVENTS.name, &[("action", "generate"), ("context", "")])
                .2
                .len()
        }
    });
    crate::testing::eventually("the scan", || !rig.tables.requests.lock().is_empty());
    let mut pings = 0;
    let mut slowest = Duration::ZERO;
    while !reader.is_finished() {
        let began = Instant::now();
        assert_eq!(client(&path).ping().unwrap().message.as_deref(), Some("pong"));
        slowest = slowest.max(began.elapsed());
        pings += 1;
    }
    assert_eq!(reader.join().unwrap(), 50_000);
    assert!(pings > 10, "{pings}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[test]
fn the_caller_is_told_to_event_tables_only() {
    let scheduled = Caller::Scheduled { name: "q".to_owned(), execution: "1.".to_owned() };
    let rig = rig_for(1, scheduled.clone());
    let mut client = client(rig.server.path());
    for (table, caller) in [(EVENTS.name, scheduled), (HEALTH.name, Caller::AdHoc)] {
        call(&mut client, "table", table, &[("action", "generate"), ("context", "")]);
        assert_eq!(rig.tables.requests.lock().last().unwrap().1.caller, caller);
    }
}

#[test]
fn a_gate_lets_few_in_and_few_wait() {
    let gate = Gate::new(2, 1, Duration::from_millis(100));
    let first = gate.enter().unwrap();
    let _second = gate.enter().unwrap();
    let began = Instant::now();
    assert!(gate.enter().is_none(), "nobody left in time");
    assert!(began.elapsed() >= Duration::from_millis(100));
    let waiting = std::thread::spawn({
        let gate = Gate::clone(&gate);
        move || gate.enter().is_some()
    });
    crate::testing::eventually("somebody to wait", || gate.waiting() == 1);
    let began = Instant::now();
    assert!(gate.enter().is_none(), "the queue is full");
    assert!(began.elapsed() < Duration::from_millis(50));
    drop(first);
    assert!(waiting.join().unwrap());
}

fn constraint(column: &str, op: Op, value: &str) -> Constraint {
    Constraint { column: EVENTS.column(column).unwrap(), op, value: value.to_owned() }
}

#[test]
fn a_context_of_osqueryd_is_understood() {
    let context = json!({
        "constraints": [
            {"name": "pid", "list": [{"op": 2, "expr": "5"}, {"op": 32, "expr": "1"}],
             "affinity": "BIGINT"},
            {"name": "path", "list": [{"op": 65, "expr": "%x"}], "affinity": "TEXT"},
            {"name": "time", "list": [], "affinity": "BIGINT"},
        ],
        "colsUsed": ["path", "pid"],
        "colsUsedBitset": 3,
    });
    let (constraints, columns) = parse_context(&EVENTS, &context.to_string()).unwrap();
    assert_eq!(
        constraints,
        [
            constraint("pid", Op::Eq, "5"),
            constraint("pid", Op::Ge, "1"),
            constraint("path", Op::Like, "%x"),
        ]
    );
    assert_eq!(columns, Some(vec![0, 1]));
}

#[test]
fn older_contexts_have_numbers_as_text_and_no_columns() {
    let context = r#"{"constraints":[{"name":"pid","list":[{"op":"2","expr":"5"}],"affinity":"BIGINT"},
        {"name":"path","list":"","affinity":"TEXT"}]}"#;
    let (constraints, columns) = parse_context(&EVENTS, context).unwrap();
    assert_eq!(constraints, [constraint("pid", Op::Eq, "5")]);
    assert_eq!(columns, None);
}

#[test]
fn columns_are_read_from_the_bits_when_the_names_are_missing() {
    let bits =
        |bits: u64| parse_context(&EVENTS, &json!({"colsUsedBitset": bits}).to_string()).unwrap().1;
    assert_eq!(bits(0), Some(vec![]));
    assert_eq!(bits(0b100_0001), Some(vec![0, 6]));
    assert_eq!(bits(u64::MAX), Some(vec![0, 1, 2, 3, 4, 5, 6]));
}

#[test]
fn the_last_bit_stands_for_every_further_column() {
    use osquery_ebpf_tables::schema::{Column, ColumnType};
    const COLUMN: Column = Column { name: "x", ty: ColumnType::Text, doc: "", options: 0 };
    static COLUMNS: [Column; 70] = [COLUMN; 70];
    let table = Table { columns: &COLUMNS, ..EVENTS };
    let columns =
        parse_context(&table, &json!({"colsUsedBitset": 1_u64 << 63 | 1}).to_string()).unwrap().1;
    assert_eq!(columns, Some(vec![0, 63, 64, 65, 66, 67, 68, 69]));
}

#[test]
fn what_we_do_not_know_is_left_to_sqlite() {
    let context = json!({"constraints": [
        {"name": "pid", "list": [{"op": 73, "expr": "10"}, {"op": 300, "expr": "1"}]},
        {"name": "nowhere", "list": [{"op": 2, "expr": "1"}]},
        {"name": "uid"},
    ], "colsUsed": ["nowhere", "uid"]});
    let (constraints, columns) = parse_context(&EVENTS, &context.to_string()).unwrap();
    assert_eq!(constraints, []);
    assert_eq!(columns, Some(vec![2]));
}

#[test]
fn a_context_of_another_shape_is_an_error_and_not_a_guess() {
    for context in [
        "{",
        "[]",
        "5",
        r#"{"constraints": {}}"#,
        r#"{"constraints": [5]}"#,
        r#"{"constraints": [{"list": []}]}"#,
        r#"{"constraints": [{"name": "pid", "list": {}}]}"#,
        r#"{"constraints": [{"name": "pid", "list": [{"expr": "1"}]}]}"#,
        r#"{"constraints": [{"name": "pid", "list": [{"op": 2}]}]}"#,
        r#"{"constraints": [{"name": "pid", "list": [{"op": -2, "expr": "1"}]}]}"#,
        r#"{"colsUsed": "pid"}"#,
        r#"{"colsUsed": [1]}"#,
        r#"{"colsUsedBitset": "many"}"#,
    ] {
        assert!(parse_context(&EVENTS, context).is_err(), "{context}");
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(parse_context(&EVENTS, &deep), Err(ContextError::NotJson(_))));
}

#[test]
fn no_context_panics() {
    use proptest::prelude::*;
    proptest!(|(context in ".{0,200}")| {
        let _ = parse_context(&EVENTS, &context);
    });
    let word = prop_oneof![
        Just("constraints"),
        Just("colsUsed"),
        Just("name"),
        Just("list"),
        Just("op"),
        Just("expr"),
        Just("pid"),
    ];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<i64>().prop_map(|number| json!(number)),
        word.clone().prop_map(|word| json!(word)),
    ];
    let value = leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|values| json!(values)),
            proptest::collection::btree_map(word.clone(), inner, 0..4)
                .prop_map(|object| json!(object)),
        ]
    });
    proptest!(|(context in value)| {
        let _ = parse_context(&EVENTS, &context.to_string());
    });
}
