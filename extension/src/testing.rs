//! In-memory tables and a private directory, for this crate's tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use osquery_ebpf_tables::scan::{Caller, Constraint, Op, Request, Scan, ScanError, Tables};
use osquery_ebpf_tables::schema::{Column, ColumnType, Table};
use parking_lot::Mutex;

const fn column(name: &'static str, ty: ColumnType) -> Column {
    Column { name, ty, doc: "", options: 0 }
}

/// Columns of every type.
pub static EVENTS: Table = Table {
    name: "ebpf_process_events",
    aliases: &["process_events", "bpf_process_events"],
    columns: &[
        column("pid", ColumnType::BigInt),
        column("path", ColumnType::Text),
        column("uid", ColumnType::Integer),
        column("process_id", ColumnType::UnsignedBigInt),
        column("cpu", ColumnType::Double),
        column("time", ColumnType::BigInt),
        column("eid", ColumnType::Text),
    ],
    event_based: true,
    doc: "",
};

/// A table that is not of events.
pub static HEALTH: Table = Table {
    name: "ebpf_events_health",
    aliases: &[],
    columns: &[column("kind", ColumnType::Text), column("received", ColumnType::BigInt)],
    event_based: false,
    doc: "",
};

static ALL: [&Table; 2] = [&EVENTS, &HEALTH];

/// A row by column index.
pub type FakeRow = BTreeMap<usize, String>;

/// Tables whose rows are given; it remembers what it was asked.
#[derive(Default)]
pub struct FakeTables {
    rows: Mutex<Arc<Vec<FakeRow>>>,
    /// What it was asked.
    pub requests: Mutex<Vec<(String, Request)>>,
    cursors: Mutex<BTreeMap<String, (String, usize, usize)>>,
    /// How long the reading of a hundred rows takes.
    pub slowness: Mutex<Duration>,
}

impl FakeTables {
    /// With these events.
    pub fn new(rows: Vec<FakeRow>) -> Arc<Self> {
        Arc::new(Self { rows: Mutex::new(Arc::new(rows)), ..Self::default() })
    }

    /// Other events instead.
    pub fn replace(&self, rows: Vec<FakeRow>) {
        *self.rows.lock() = Arc::new(rows);
    }

    /// One more event.
    pub fn push(&self, row: FakeRow) {
        let mut rows = self.rows.lock();
        let mut all = Vec::clone(&rows);
        all.push(row);
        *rows = Arc::new(all);
    }
}

/// An event with a pid and a path, as the tests need them.
pub fn event(pid: u32, path: &str) -> FakeRow {
    let time = 1_000 + u64::from(pid);
    BTreeMap::from([
        (0, pid.to_string()),
        (1, path.to_owned()),
        (2, "0".to_owned()),
        (3, format!("{}", 1_u64 << 40 | u64::from(pid))),
        (5, time.to_string()),
        (6, format!("{pid:010}")),
    ])
}

struct FakeScan {
    table: &'static Table,
    rows: Arc<Vec<FakeRow>>,
    found: Vec<usize>,
    columns: Vec<usize>,
    slowness: Duration,
}

impl Scan for FakeScan {
    fn len(&self) -> usize {
        self.found.len()
    }

    fn rowid(&self, index: usize) -> Option<i64> {
        i64::try_from(*self.found.get(index)?).ok()
    }

    fn row(&self, index: usize, value: &mut dyn FnMut(&'static str, &str)) {
        if index.is_multiple_of(100) && !self.slowness.is_zero() {
            std::thread::sleep(self.slowness);
        }
        let Some(row) = self.found.get(index).and_then(|at| self.rows.get(*at)) else { return };
        for column in &self.columns {
            if let (Some(text), Some(column)) = (row.get(column), self.table.columns.get(*column)) {
                value(column.name, text);
            }
        }
    }
}

/// Whether a value meets a constraint. Only what SQL certainly agrees with is turned down; SQLite
/// checks the rest.
fn meets(table: &Table, row: &FakeRow, constraint: &Constraint) -> bool {
    let Some(value) = row.get(&constraint.column) else {
        return constraint.op == Op::IsNull;
    };
    let number = table.columns[constraint.column].ty != ColumnType::Text;
    let order = if number {
        match (value.parse::<i128>(), constraint.value.parse::<i128>()) {
            (Ok(left), Ok(right)) => left.cmp(&right),
            _ => return true,
        }
    } else {
        value.as_str().cmp(&constraint.value)
    };
    match constraint.op {
        Op::Eq => order.is_eq(),
        Op::Ne => order.is_ne(),
        Op::Gt => order.is_gt(),
        Op::Ge => order.is_ge(),
        Op::Lt => order.is_lt(),
        Op::Le => order.is_le(),
        Op::IsNull => false,
        _ => true,
    }
}

impl Tables for FakeTables {
    fn tables(&self) -> &[&'static Table] {
        &ALL
    }

    fn scan(&self, name: &str, request: &Request) -> Result<Box<dyn Scan>, ScanError> {
        self.requests.lock().push((name.to_owned(), request.clone()));
        let table = self.tables().iter().find(|table| table.name == name).copied();
        let table = table.ok_or_else(|| ScanError::NoSuchTable(name.to_owned()))?;
        let rows = if name == EVENTS.name { Arc::clone(&self.rows.lock()) } else { Arc::default() };
        let (from, to) = match &request.caller {
            Caller::AdHoc => (0, rows.len()),
            Caller::Scheduled { name, execution } => {
                let mut cursors = self.cursors.lock();
                let cursor = cursors.entry(name.clone()).or_insert_with(|| (String::new(), 0, 0));
                if cursor.0 != *execution {
                    *cursor = (execution.clone(), cursor.2, rows.len());
                }
                (cursor.1, cursor.2)
            }
        };
        let found = (from..to)
            .filter(|at| {
                let row = &rows[*at];
                request.constraints.iter().all(|constraint| meets(table, row, constraint))
            })
            .collect();
        let columns = request.columns.clone().unwrap_or_else(|| (0..table.columns.len()).collect());
        Ok(Box::new(FakeScan { table, rows, found, columns, slowness: *self.slowness.lock() }))
    }
}

/// A directory that only we can read.
pub fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("osquery-ebpf-").tempdir().unwrap()
}

/// Waits until `done`, for ten seconds at most.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < until, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
