use std::sync::atomic::{AtomicUsize, Ordering};

use osquery_rust_ng::plugin::{ColumnDef, ColumnOptions, ColumnType, Plugin, ReadOnlyTable};
use osquery_rust_ng::{
    ExtensionPluginRequest, ExtensionResponse, ExtensionStatus, Server as OtherServer,
};

use super::*;
use crate::host::{self, Host};
use crate::testing::{EVENTS, FakeTables, directory, event, eventually};

#[derive(Default)]
struct Count {
    registered: AtomicUsize,
    lost: AtomicUsize,
    refused: AtomicUsize,
}

impl Observer for Count {
    fn registered(&self, _socket: &Path) {
        self.registered.fetch_add(1, Ordering::Relaxed);
    }

    fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn refused(&self, _why: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

struct Rig {
    socket: PathBuf,
    count: Arc<Count>,
    stop: Arc<Stop>,
    thread: Option<std::thread::JoinHandle<Ended>>,
    directory: tempfile::TempDir,
}

fn rig(mode: Mode, grace: Option<Duration>) -> Rig {
    let directory = directory();
    let socket = directory.path().join("osquery.em");
    let stop = Arc::new(Stop::new().unwrap());
    Rig { socket, count: Arc::default(), stop, thread: None, directory }.with(mode, grace)
}

impl Rig {
    fn with(mut self, mode: Mode, grace: Option<Duration>) -> Self {
        let session = Session::new(
            Options {
                socket: self.socket.clone(),
                mode,
                grace,
                interval: Duration::from_millis(50),
                once: false,
            },
            FakeTables::new(vec![event(1, "/bin/true")]),
            Arc::clone(&self.count) as Arc<dyn Observer>,
            Arc::clone(&self.stop),
        );
        self.thread = Some(std::thread::spawn(move || session.run()));
        self
    }

    fn host(&self) -> Host {
        Host::start(host::Options::new(&self.socket)).unwrap()
    }

    fn registered(&self) -> usize {
        self.count.registered.load(Ordering::Relaxed)
    }

    fn lost(&self) -> usize {
        self.count.lost.load(Ordering::Relaxed)
    }

    fn ended(&mut self) -> Ended {
        self.thread.take().unwrap().join().unwrap()
    }
}

/// Another extension, by another library: it registers a table of this name.
struct Other {
    stop: osquery_rust_ng::ServerStopHandle,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Clone)]
struct OneRow(String);

impl ReadOnlyTable for OneRow {
    fn name(&self) -> String {
        self.0.clone()
    }

    fn columns(&self) -> Vec<ColumnDef> {
        vec![ColumnDef::new("word", ColumnType::Text, ColumnOptions::DEFAULT)]
    }

    fn generate(&self, _request: ExtensionPluginRequest) -> ExtensionResponse {
        let row = [("word".to_owned(), "theirs".to_owned())].into();
        ExtensionResponse::new(ExtensionStatus { code: Some(0), ..Default::default() }, vec![row])
    }

    fn shutdown(&self) {}
}

impl Other {
    fn start(socket: &Path, table: &str) -> Self {
        let mut server = OtherServer::new(Some("other"), socket.to_str().unwrap()).unwrap();
        server.register_plugin(Plugin::readonly_table(OneRow(table.to_owned())));
        let stop = server.get_stop_handle();
        let thread = std::thread::spawn(move || server.run().unwrap());
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn rows(host: &Host, sql: &str) -> Result<Vec<String>, String> {
    let mut rows = Vec::new();
    host.query(sql, &mut |answer| {
        rows.extend(answer.rows.iter().flatten().filter_map(host::Cell::text));
    })
    .map(|()| rows)
    .map_err(|error| error.to_string())
}

#[test]
fn the_host_serves_an_extension_of_another_library() {
    let directory = directory();
    let host = Host::start(host::Options::new(directory.path().join("osquery.em"))).unwrap();
    let _other = Other::start(host.socket(), "their_table");
    eventually("their row", || {
        rows(&host, "SELECT word FROM their_table").as_deref() == Ok(&["theirs".to_owned()])
    });
}

#[test]
fn a_session_waits_for_a_socket_and_registers_as_soon_as_it_is_there() {
    let rig = rig(Mode::Autoload, None);
    // How long the rest takes is the machine's affair; the look itself must come well within 1 s.
    const { assert!(LOOK.as_millis() <= 100) };
    let host = rig.host();
    eventually("the registration", || rig.registered() == 1);
    assert_eq!(
        rows(&host, "SELECT path FROM ebpf_process_events"),
        Ok(vec!["/bin/true".to_owned()])
    );
}

#[test]
fn a_taken_name_is_refused_with_its_owner_and_no_second_attempt_by_hand() {
    let mut rig = rig(Mode::ByHand, None);
    rig.stop.request();
    rig.ended();
    rig.stop = Arc::new(Stop::new().unwrap());
    let host = rig.host();
    let _other = Other::start(&rig.socket, EVENTS.name);
    eventually("the other", || host.extensions().values().any(|name| name == "other"));
    let mut rig = rig.with(Mode::ByHand, None);
    let Ended::Refused(why) = rig.ended() else { panic!("not refused") };
    assert!(why.contains("ebpf_process_events"), "{why}");
    assert!(why.contains("the extension other "), "{why}");
    assert_eq!(rig.registered(), 0);
}

#[test]
fn under_autoload_a_refusal_does_not_end_it_but_shows_in_how_it_ends() {
    let mut rig = rig(Mode::ByHand, None);
    rig.stop.request();
    rig.ended();
    rig.stop = Arc::new(Stop::new().unwrap());
    let host = rig.host();
    let other = Other::start(&rig.socket, EVENTS.name);
    eventually("the other", || host.extensions().values().any(|name| name == "other"));
    let mut rig = rig.with(Mode::Autoload, None);
    eventually("the refusal", || rig.count.refused.load(Ordering::Relaxed) == 1);
    assert!(!rig.thread.as_ref().unwrap().is_finished());
    assert_eq!(rig.registered(), 0);
    rig.stop.request();
    assert!(matches!(rig.ended(), Ended::Refused(_)));
    drop(other);
}

#[test]
fn core_names_are_refused_too() {
    static CLASH: osquery_ebpf_tables::schema::Table =
        osquery_ebpf_tables::schema::Table { name: "osquery_info", ..EVENTS };
    let directory = directory();
    let host = Host::start(host::Options::new(directory.path().join("osquery.em"))).unwrap();
    let mut manager = Manager::connect(host.socket(), PING).unwrap();
    let clash = clash::find(&mut manager, &[&CLASH]).unwrap().unwrap();
    assert_eq!(clash.to_string(), "osquery itself has a table named osquery_info already");
    // And a core table that the host does not even have is refused by the registration itself.
    let names = ["processes", "osquery_info"].map(|name| {
        let registry = [(name.to_owned(), crate::plugin::route(&EVENTS))].into();
        let info = InternalExtensionInfo {
            name: Some("x".to_owned()),
            sdk_version: Some(SDK.to_owned()),
            ..Default::default()
        };
        manager.register(info, [("table".to_owned(), registry)].into()).unwrap_err().to_string()
    });
    assert!(names[0].contains("Registry item processes conflicts with another item"), "{names:?}");
    assert!(names[1].contains("Registry item osquery_info conflicts"), "{names:?}");
}

#[test]
fn a_second_of_us_is_refused_while_the_first_answers() {
    let rig = rig(Mode::Service, None);
    let host = rig.host();
    eventually("the first", || rig.registered() == 1);
    let mut second = Rig {
        socket: rig.socket.clone(),
        count: Arc::default(),
        stop: Arc::new(Stop::new().unwrap()),
        thread: None,
        directory: directory(),
    }
    .with(Mode::ByHand, None);
    let Ended::Refused(why) = second.ended() else { panic!("not refused") };
    assert!(why.contains("another osquery_ebpf"), "{why}");
    drop(host);
}

#[test]
fn the_place_of_a_predecessor_that_died_is_taken_at_once() {
    let mut rig = rig(Mode::Service, None);
    rig.stop.request();
    rig.ended();
    rig.stop = Arc::new(Stop::new().unwrap());
    let mut options = host::Options::new(&rig.socket);
    // So that only we can find out that it is dead.
    options.interval = Duration::from_secs(3_600);
    let host = Host::start(options).unwrap();
    let mut manager = Manager::connect(host.socket(), PING).unwrap();
    let info = InternalExtensionInfo {
        name: Some(NAME.to_owned()),
        sdk_version: Some(SDK.to_owned()),
        ..Default::default()
    };
    let dead = manager.register(info, registry(&[&EVENTS])).unwrap();
    let rig = rig.with(Mode::Service, None);
    eventually("the registration", || rig.registered() == 1);
    assert!(!host.extensions().contains_key(&dead));
}

#[test]
fn without_osqueryd_the_grace_period_ends_it_in_good_order() {
    let mut rig = rig(Mode::Autoload, Some(Duration::from_millis(200)));
    let began = Instant::now();
    assert_eq!(rig.ended(), Ended::OsqueryGone);
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[test]
fn the_grace_period_begins_when_osqueryd_is_lost() {
    let mut rig = rig(Mode::Autoload, Some(Duration::from_millis(300)));
    let host = rig.host();
    eventually("the registration", || rig.registered() == 1);
    let lost = Instant::now();
    host.abandon();
    assert_eq!(rig.ended(), Ended::OsqueryGone);
    assert!(lost.elapsed() >= Duration::from_millis(300));
    assert_eq!(rig.lost(), 1);
}

#[test]
fn osqueryds_last_call_begins_the_grace_period_too() {
    let mut rig = rig(Mode::Autoload, Some(Duration::from_millis(300)));
    let mut host = rig.host();
    eventually("the registration", || rig.registered() == 1);
    host.stop();
    assert_eq!(rig.ended(), Ended::OsqueryGone);
}

#[test]
fn a_stop_deregisters() {
    let mut rig = rig(Mode::Service, None);
    let host = rig.host();
    eventually("the registration", || rig.registered() == 1);
    rig.stop.request();
    assert_eq!(rig.ended(), Ended::Stopped);
    assert!(host.extensions().is_empty());
    let left: Vec<_> = std::fs::read_dir(rig.directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the host's own socket: {left:?}");
}

#[test]
fn autoload_is_told_by_the_variable_with_our_process_id() {
    assert_eq!(Mode::detect(false), Mode::ByHand);
    assert_eq!(Mode::detect(true), Mode::Service);
}
