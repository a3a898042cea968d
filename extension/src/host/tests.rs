//! The host with the real session and endpoint at the other end of the socket.

use osquery_ebpf_tables::scan::{Caller, Op};

use super::*;
use crate::session::{Ended, Mode, Observer, Session};
use crate::testing::{FakeTables, directory, event, eventually};

#[derive(Default)]
struct Count(std::sync::atomic::AtomicUsize);

impl Observer for Count {
    fn registered(&self, _socket: &Path) {
        self.0.fetch_add(1, Ordering::Release);
    }

    fn lost(&self) {}
    fn refused(&self, _why: &str) {}
}

/// A host, and an extension that is registered with it.
pub(super) struct Pair {
    host: Option<Host>,
    pub(super) tables: Arc<FakeTables>,
    registered: Arc<Count>,
    stop: Arc<Stop>,
    session: Option<std::thread::JoinHandle<Ended>>,
    _directory: tempfile::TempDir,
}

impl Pair {
    pub(super) fn start(tables: Arc<FakeTables>) -> Self {
        let directory = directory();
        Self::start_with(tables, Options::new(directory.path().join("osquery.em")), directory)
    }

    fn start_with(tables: Arc<FakeTables>, options: Options, directory: tempfile::TempDir) -> Self {
        let host = Host::start(options.clone()).unwrap();
        let stop = Arc::new(Stop::new().unwrap());
        let registered = Arc::new(Count::default());
        let session = Session::new(
            crate::session::Options {
                socket: options.socket,
                mode: Mode::Service,
                grace: None,
                interval: Duration::from_millis(50),
                once: false,
            },
            Arc::clone(&tables) as Arc<dyn osquery_ebpf_tables::scan::Tables>,
            Arc::clone(&registered) as Arc<dyn Observer>,
            Arc::clone(&stop),
        );
        let session = std::thread::spawn(move || session.run());
        let pair = Self {
            host: Some(host),
            tables,
            registered,
            stop,
            session: Some(session),
            _directory: directory,
        };
        pair.registered(1);
        pair
    }

    /// Waits until it has registered so many times.
    fn registered(&self, times: usize) {
        eventually("a registration", || self.registered.0.load(Ordering::Acquire) >= times);
    }

    fn host(&self) -> &Host {
        self.host.as_ref().unwrap()
    }

    pub(super) fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        self.host()
            .query(sql, &mut |answer| {
                let text = |cell: &Cell| cell.text().unwrap_or_else(|| "NULL".to_owned());
                rows.extend(answer.rows.iter().map(|row| row.iter().map(text).collect()));
            })
            .unwrap();
        rows
    }

    fn last_request(&self) -> osquery_ebpf_tables::scan::Request {
        self.tables.requests.lock().last().unwrap().1.clone()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.stop.request();
        if let Some(session) = self.session.take() {
            session.join().unwrap();
        }
    }
}

fn three() -> Arc<FakeTables> {
    FakeTables::new(vec![event(1, "/bin/true"), event(2, "/bin/false"), event(3, "/bin/true")])
}

#[test]
fn a_query_reaches_the_tables_over_the_socket() {
    let pair = Pair::start(three());
    assert_eq!(
        pair.rows("SELECT pid, path FROM ebpf_process_events ORDER BY pid"),
        [["1", "/bin/true"], ["2", "/bin/false"], ["3", "/bin/true"]]
    );
}

#[test]
fn aliases_answer_under_the_names_of_core_and_old_tables() {
    let pair = Pair::start(three());
    assert_eq!(pair.rows("SELECT count(*) FROM process_events"), [["3"]]);
    assert_eq!(pair.rows("SELECT count(*) FROM bpf_process_events"), [["3"]]);
}

#[test]
fn the_core_keeps_a_name_that_is_not_disabled() {
    let directory = directory();
    let mut options = Options::new(directory.path().join("osquery.em"));
    options.disabled.clear();
    let pair = Pair::start_with(three(), options, directory);
    assert_eq!(pair.rows("SELECT count(*) FROM process_events"), [["0"]]);
    assert_eq!(pair.rows("SELECT count(*) FROM ebpf_process_events"), [["3"]]);
    assert_eq!(pair.rows("SELECT count(*) FROM bpf_process_events"), [["3"]]);
}

#[test]
fn constraints_and_columns_are_pushed_down() {
    let pair = Pair::start(three());
    let sql = "SELECT path FROM process_events WHERE pid = 2 AND path LIKE '/bin/%' AND uid >= 0";
    assert_eq!(pair.rows(sql), [["/bin/false"]]);
    let request = pair.last_request();
    assert_eq!(request.columns, Some(vec![0, 1, 2]));
    let mut pushed: Vec<_> = request
        .constraints
        .iter()
        .map(|constraint| (constraint.column, constraint.op, constraint.value.as_str()))
        .collect();
    pushed.sort_by_key(|(column, ..)| *column);
    assert_eq!(pushed, [(0, Op::Eq, "2"), (1, Op::Like, "/bin/%"), (2, Op::Ge, "0")]);
}

#[test]
fn comparisons_of_text_are_not_pushed_down() {
    let pair = Pair::start(three());
    assert_eq!(pair.rows("SELECT pid FROM process_events WHERE path < '/bin/g'"), [["2"]]);
    assert_eq!(pair.last_request().constraints, []);
}

#[test]
fn a_join_scans_once_for_each_outer_row() {
    let pair = Pair::start(three());
    pair.tables.requests.lock().clear();
    let sql = "SELECT a.pid FROM process_events a JOIN process_events b ON a.pid = b.pid";
    assert_eq!(pair.rows(sql).len(), 3);
    assert_eq!(pair.tables.requests.lock().len(), 4);
}

/// SQLite scans once for each side and drops rows whose number it has seen. With positions as
/// numbers, the first row of one side passed for the first row of the other.
#[test]
fn an_or_over_two_columns_keeps_the_rows_of_both_sides() {
    let pair = Pair::start(three());
    pair.tables.requests.lock().clear();
    let sql = "SELECT pid FROM process_events WHERE path = '/bin/false' OR eid = '0000000003' \
               ORDER BY pid";
    assert_eq!(pair.rows(sql), [["2"], ["3"]]);
    assert_eq!(pair.tables.requests.lock().len(), 2);
}

#[test]
fn values_are_converted_as_osqueryd_does() {
    let mut row = event(7, "/x");
    row.insert(0, "0x10".to_owned());
    row.insert(2, "4294967295".to_owned());
    row.insert(3, "18446744073709551615".to_owned());
    row.insert(4, "1.5".to_owned());
    let pair = Pair::start(FakeTables::new(vec![row]));
    assert_eq!(
        pair.rows("SELECT pid, uid, process_id, cpu FROM ebpf_process_events"),
        [["16", "-1", "NULL", "1.5"]]
    );
}

#[test]
fn an_unknown_value_is_null() {
    let mut row = event(7, "/x");
    row.remove(&1);
    let pair = Pair::start(FakeTables::new(vec![row]));
    assert_eq!(pair.rows("SELECT path IS NULL FROM process_events"), [["1"]]);
}

#[test]
fn the_error_of_a_statement_is_sqlites() {
    let pair = Pair::start(three());
    let error = pair.host().query("SELECT nowhere FROM process_events", &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "no such column: nowhere");
    let error = pair.host().query("ATTACH '/tmp/x' AS x", &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "not authorized");
}

#[test]
fn osquerys_own_tables_know_the_extension() {
    let pair = Pair::start(three());
    assert_eq!(
        pair.rows("SELECT name, type FROM osquery_extensions WHERE type = 'extension'"),
        [["osquery_ebpf", "extension"]]
    );
    assert_eq!(pair.rows("SELECT count(*) FROM osquery_registry WHERE owner_uuid != 0"), [["2"]]);
}

#[test]
fn a_prompt_is_ad_hoc_and_a_scheduled_query_has_its_name() {
    let pair = Pair::start(three());
    pair.rows("SELECT pid FROM process_events");
    assert_eq!(pair.last_request().caller, Caller::AdHoc);
    let query = Scheduled::new("watch", "SELECT pid FROM process_events", 1);
    let lines = pair.host().run_scheduled(&query).unwrap();
    assert_eq!(lines.len(), 3);
    assert!(
        matches!(pair.last_request().caller, Caller::Scheduled { name, .. } if name == "watch")
    );
}

#[test]
fn executions_within_one_second_are_told_apart_once_rows_were_logged() {
    let pair = Pair::start(three());
    let query = Scheduled::new("watch", "SELECT pid FROM process_events", 1);
    assert_eq!(pair.host().run_scheduled(&query).unwrap().len(), 3);
    assert_eq!(pair.host().run_scheduled(&query).unwrap().len(), 0);
    pair.tables.push(event(4, "/bin/ls"));
    eventually("the new row, once", || pair.host().run_scheduled(&query).unwrap().len() == 1);
    assert_eq!(pair.host().run_scheduled(&query).unwrap().len(), 0);
}

#[test]
fn all_scans_of_one_execution_see_the_same_window() {
    let pair = Pair::start(three());
    let sql = "SELECT a.pid FROM process_events a JOIN process_events b ON a.pid = b.pid";
    let query = Scheduled::new("join", sql, 1);
    pair.tables.requests.lock().clear();
    assert_eq!(pair.host().run_scheduled(&query).unwrap().len(), 3);
    let callers: std::collections::BTreeSet<String> = pair
        .tables
        .requests
        .lock()
        .iter()
        .map(|(_, request)| format!("{:?}", request.caller))
        .collect();
    assert_eq!(callers.len(), 1, "{callers:?}");
}

#[test]
fn result_lines_look_like_osqueryds() {
    let pair = Pair::start(FakeTables::new(vec![event(1, "/bin/\"x\"")]));
    let query = Scheduled::new("watch", "SELECT pid, path FROM process_events", 1);
    let lines = pair.host().run_scheduled(&query).unwrap();
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["name"], "watch");
    assert_eq!(line["action"], "added");
    assert_eq!(line["columns"], serde_json::json!({"pid": "1", "path": "/bin/\"x\""}));
    assert_eq!(line["counter"], 1);
}

#[test]
fn calendar_time_is_written_as_asctime_does() {
    // date -u -d @N '+%a %b %e %T %Y UTC'
    assert_eq!(results::calendar_time(0), "Thu Jan  1 00:00:00 1970 UTC");
    assert_eq!(results::calendar_time(951_826_154), "Tue Feb 29 12:09:14 2000 UTC");
    assert_eq!(results::calendar_time(1_786_060_007), "Thu Aug  6 23:46:47 2026 UTC");
    assert_eq!(results::calendar_time(4_107_542_399), "Sun Feb 28 23:59:59 2100 UTC");
}

#[test]
fn a_session_comes_back_to_a_host_that_was_killed() {
    let mut pair = Pair::start(three());
    let options = pair.host().shared.options.clone();
    pair.host.take().unwrap().abandon();
    pair.tables.push(event(4, "/while/away"));
    pair.host = Some(Host::start(options).unwrap());
    pair.registered(2);
    assert_eq!(pair.rows("SELECT count(*) FROM process_events"), [["4"]]);
}

#[test]
fn a_session_that_was_dropped_registers_again() {
    let pair = Pair::start(three());
    let first = *pair.host().extensions().first_key_value().unwrap().0;
    assert!(pair.host().shared.deregister(first));
    pair.registered(2);
    assert!(!pair.host().extensions().contains_key(&first));
    assert_eq!(pair.rows("SELECT count(*) FROM process_events"), [["3"]]);
}
