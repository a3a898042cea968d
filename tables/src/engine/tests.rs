use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use osquery_ebpf_probes::clock::Base;
use osquery_ebpf_probes::event::{
    Body, Bytes, Creds, EventKind, Exec, Exit, FileObject, Fork, Namespaces, SourceKind, Strings,
    Task,
};

use super::*;
use crate::scan::{Constraint, Op};

mod differential;
mod files;
mod health;
mod loss;
mod processes;
mod scheduled;
mod sockets;

const SECOND: u64 = 1_000_000_000;

/// Unix time of boot in these tests.
const BOOT_UNIX: i64 = 1_700_000_000;

/// A clock that is set by hand.
#[derive(Clone, Default)]
struct Hands(Arc<AtomicU64>);

impl Hands {
    fn set(&self, now_ns: u64) {
        self.0.store(now_ns, Ordering::Relaxed);
    }
}

impl Time for Hands {
    fn now_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn base(&self) -> Base {
        Base::new(0, BOOT_UNIX * 1_000_000_000)
    }
}

/// Processes that are there to be read.
#[derive(Clone, Default)]
struct Processes(Arc<Mutex<BTreeMap<u32, ProcProcess>>>);

impl ProcessReader for Processes {
    fn read(&self, pid: u32) -> Option<ProcProcess> {
        self.0.lock().get(&pid).cloned()
    }

    fn scan(&self) -> Vec<ProcProcess> {
        self.0.lock().values().cloned().collect()
    }
}

struct Host {
    tables: Arc<EventTables>,
    clock: Hands,
    processes: Processes,
}

impl Host {
    fn new(options: Options) -> Self {
        let (clock, processes) = (Hands::default(), Processes::default());
        clock.set(100 * SECOND);
        let facts = HostFacts {
            boot_id: BootId(7),
            kernel: "6.18.0".into(),
            btf: "/sys/kernel/btf/vmlinux".into(),
            mnt_ns: Some(1000),
        };
        let time = Box::new(clock.clone());
        let tables = EventTables::with(options, facts, time, Box::new(processes.clone())).unwrap();
        Self { tables, clock, processes }
    }

    fn give(&self, events: impl IntoIterator<Item = RawEvent>) {
        let mut batch: Vec<RawEvent> = events.into_iter().collect();
        self.tables.sink().accept(&mut batch);
        assert!(batch.is_empty());
    }

    fn at(&self, now_ns: u64) -> &Self {
        self.clock.set(now_ns);
        self.tables.tick();
        self
    }

    fn rows(&self, table: &str, constraints: &[(&str, Op, &str)]) -> Vec<Row> {
        self.ask(table, constraints, Caller::AdHoc)
    }

    fn scheduled(&self, table: &str, name: &str, execution: u32) -> Vec<Row> {
        let execution = execution.to_string();
        self.ask(table, &[], Caller::Scheduled { name: name.into(), execution })
    }

    fn ask(&self, table: &str, constraints: &[(&str, Op, &str)], caller: Caller) -> Vec<Row> {
        let found = self.tables.tables().iter().find(|found| found.name == table).unwrap();
        let constraints = constraints.iter().map(|(column, op, value)| Constraint {
            column: found.column(column).unwrap(),
            op: *op,
            value: (*value).to_owned(),
        });
        let request = Request { constraints: constraints.collect(), columns: None, caller };
        let scan = self.tables.scan(table, &request).unwrap();
        (0..scan.len())
            .map(|index| {
                let mut row = Row::default();
                scan.row(index, &mut |name, value| {
                    assert!(row.0.insert(name, value.to_owned()).is_none(), "{name} given twice");
                });
                row
            })
            .collect()
    }

    fn kind(&self, kind: EventKind) -> KindAccounting {
        let accounting = self.tables.accounting();
        for each in &accounting.kinds {
            assert!(each.is_balanced(), "{each:?}");
        }
        accounting.kinds[kind.index()]
    }
}

/// A row: the known values.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Row(BTreeMap<&'static str, String>);

impl Row {
    fn get(&self, column: &str) -> Option<&str> {
        self.0.get(column).map(String::as_str)
    }

    #[track_caller]
    fn assert(&self, expected: &[(&str, &str)]) {
        for (column, value) in expected {
            assert_eq!(self.get(column), Some(*value), "{column}");
        }
    }
}

fn column<'a>(rows: &'a [Row], name: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row.get(name).unwrap_or("?")).collect()
}

fn bytes(text: &str) -> Option<Bytes> {
    Some(text.as_bytes().into())
}

fn strings(list: &[&str]) -> Strings {
    let joined: Vec<u8> = list.iter().flat_map(|s| [s.as_bytes(), b"\0"].concat()).collect();
    Strings {
        size: Some(joined.len() as u64),
        count: Some(list.len() as u32),
        bytes: Some(joined.into()),
    }
}

/// A process: pid, and its start in seconds.
type Pid = (u32, u64);

fn task((pid, start): Pid, parent: Pid) -> Task {
    Task {
        pid,
        tid: pid,
        start_ns: Some(start * SECOND),
        parent_pid: Some(parent.0),
        parent_start_ns: Some(parent.1 * SECOND),
        ..Task::default()
    }
}

fn event(time_s: u64, task: Task, body: Body) -> RawEvent {
    RawEvent { time_ns: time_s * SECOND, source: SourceKind::Bpf, task, body }
}

fn exec(time_s: u64, process: Pid, parent: Pid, args: &[&str]) -> RawEvent {
    let exec = Exec { path: bytes(args[0]), args: strings(args), ..Exec::default() };
    event(time_s, task(process, parent), Body::Exec(Box::new(exec)))
}

fn fork(time_s: u64, parent: Pid, grandparent: Pid, child: Pid) -> RawEvent {
    let fork = Fork {
        child_pid: child.0,
        child_start_ns: Some(child.1 * SECOND),
        child_ns_pid: None,
        syscall: Some("clone"),
    };
    event(time_s, task(parent, grandparent), Body::Fork(fork))
}

fn exit(time_s: u64, process: Pid, parent: Pid, code: i32) -> RawEvent {
    let exit = Exit { code: Some(code), signal: None, core_dumped: Some(false) };
    event(time_s, task(process, parent), Body::Exit(exit))
}

fn id_of((pid, start): Pid) -> String {
    let key = osquery_ebpf_probes::event::ProcessKey { pid, start_ns: start * SECOND };
    let mut text = String::new();
    Identity::new(BootId(7)).process(key).push(&mut text);
    text
}
