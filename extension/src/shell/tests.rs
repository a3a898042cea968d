use std::time::Instant;

use super::*;
use crate::testing::{EVENTS, FakeTables, HEALTH, event};
use complete::{Prompt, is_complete};

fn shell(tables: &Arc<FakeTables>) -> Shell {
    let tables = Arc::clone(tables) as Arc<dyn Tables>;
    Shell::start(&Setup { config: "{}".to_owned(), core_tables: false }, tables).unwrap()
}

fn printed(print: impl FnOnce(&mut dyn Write) -> Result<(), RunError>) -> String {
    let mut out = Vec::new();
    print(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn csv() -> Style {
    Style { mode: print::Mode::Csv, ..Style::default() }
}

#[test]
fn several_statements_print_several_results() {
    let shell = shell(&FakeTables::new(vec![event(1, "/x")]));
    let sql = "SELECT pid FROM process_events; SELECT 2 AS two;";
    assert_eq!(printed(|out| shell.print(sql, &csv(), out)), "pid\n1\ntwo\n2\n");
}

#[test]
fn what_precedes_an_error_is_printed() {
    let shell = shell(&FakeTables::new(Vec::new()));
    let mut out = Vec::new();
    let error = shell.print("SELECT 1 AS one; SELECT nowhere", &csv(), &mut out).unwrap_err();
    assert_eq!(error.to_string(), "no such column: nowhere");
    assert_eq!(out, b"one\n1\n");
}

#[test]
fn a_statement_over_events_waits_for_its_first_row_and_is_nudged_once() {
    let tables = FakeTables::new(Vec::new());
    let shell = shell(&tables);
    let nudges = std::cell::Cell::new(0);
    let stop = Stop::new().unwrap();
    let nudge = || {
        nudges.set(nudges.get() + 1);
        tables.push(event(7, "/nudged"));
    };
    let sql = "SELECT path FROM process_events";
    assert_eq!(
        printed(|out| shell.print_first(sql, &csv(), &stop, &nudge, out)),
        "path\n/nudged\n"
    );
    assert_eq!(nudges.get(), 1);
    assert_eq!(
        printed(|out| shell.print_first(sql, &csv(), &stop, &nudge, out)),
        "path\n/nudged\n"
    );
    assert_eq!(nudges.get(), 1, "there was a row at once");
}

#[test]
fn a_statement_that_reads_no_events_waits_for_nothing() {
    let shell = shell(&FakeTables::new(Vec::new()));
    let stop = Stop::new().unwrap();
    let began = Instant::now();
    let nudge = || panic!("nothing to nudge");
    let sql = "SELECT kind FROM ebpf_events_health";
    assert_eq!(printed(|out| shell.print_first(sql, &csv(), &stop, &nudge, out)), "");
    assert!(began.elapsed() < FIRST_ROW);
}

#[test]
fn a_request_to_stop_ends_the_wait() {
    let shell = shell(&FakeTables::new(Vec::new()));
    let stop = Stop::new().unwrap();
    stop.request();
    let began = Instant::now();
    let sql = "SELECT path FROM process_events";
    assert_eq!(printed(|out| shell.print_first(sql, &csv(), &stop, &|| {}, out)), "");
    assert!(began.elapsed() < FIRST_ROW);
}

#[test]
fn a_schedule_logs_each_event_once() {
    #[derive(Clone, Default)]
    struct Lines(Arc<parking_lot::Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let tables = FakeTables::new(vec![event(1, "/a")]);
    let mut shell = shell(&tables);
    let lines = Lines::default();
    let queries = vec![
        Scheduled::new("one", "SELECT path FROM process_events", 1),
        Scheduled::new("two", "SELECT path FROM process_events", 1),
    ];
    shell.schedule(queries, Box::new(lines.clone())).unwrap();
    let count =
        |path: &str| String::from_utf8(lines.0.lock().clone()).unwrap().matches(path).count();
    crate::testing::eventually("both queries to log the first event", || count("\"/a\"") == 2);
    tables.push(event(2, "/b"));
    crate::testing::eventually("both queries to log the second", || count("\"/b\"") == 2);
    assert_eq!(count("\"/a\""), 2, "the first was logged once by each");
    let executions = "SELECT min(executions) > 1 AS many FROM osquery_schedule";
    crate::testing::eventually("executions to be counted", || {
        printed(|out| shell.print(executions, &csv(), out)) == "many\n1\n"
    });
}

#[test]
fn the_sockets_directory_is_private_and_goes_with_the_shell() {
    use std::os::unix::fs::MetadataExt;
    let shell = shell(&FakeTables::new(Vec::new()));
    let socket = shell.host().socket().to_owned();
    let directory = socket.parent().unwrap().to_owned();
    assert_eq!(std::fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
    drop(shell);
    assert!(!directory.exists());
}

#[test]
fn input_is_complete_at_a_semicolon_outside_of_quotes() {
    for complete in ["", "  ", ".tables", "SELECT 1;", "SELECT ';';", "SELECT 'a''b' ;\n"] {
        assert!(is_complete(complete), "{complete:?}");
    }
    for open in ["SELECT 1", "SELECT ';", "SELECT \"a;", "SELECT 'it''s;", "SELECT 1; SELECT 2"] {
        assert!(!is_complete(open), "{open:?}");
    }
}

#[test]
fn words_are_completed_by_what_they_may_be() {
    let mut prompt = Prompt::default();
    prompt.names.extend([EVENTS.name, HEALTH.name, "path", "pid"].map(str::to_owned));
    let of = |before: &str| {
        let (start, found) = prompt.candidates(before);
        (start, found.into_iter().map(|pair| pair.replacement).collect::<Vec<_>>())
    };
    assert_eq!(of(".sche"), (0, vec![".schedule".to_owned(), ".schema".to_owned()]));
    assert_eq!(of(".schema ebpf_p"), (8, vec![EVENTS.name.to_owned()]));
    assert_eq!(of("sel"), (0, vec!["SELECT".to_owned()]));
    assert_eq!(of("SELECT pa"), (7, vec!["path".to_owned()]));
    assert_eq!(of("SELECT x.pi"), (9, vec!["pid".to_owned()]));
    assert_eq!(of("SELECT "), (7, vec![]));
    assert_eq!(of("SELECT é.pi"), ("SELECT é.".len(), vec!["pid".to_owned()]));
}
