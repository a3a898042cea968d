//! The question a caller puts to a table, and the answer it reads row by row.

use crate::schema::Table;

/// Constraint operators, with the numbers osquery sends (those of SQLite's `xBestIndex`).
///
/// Numbers we do not know (LIMIT arrives as 73, OFFSET as 74, functions above) are ignored by the
/// caller: SQLite checks every row again, so ignoring a constraint is slower but never wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the SQL operator it names")]
pub enum Op {
    Eq,
    Gt,
    Le,
    Lt,
    Ge,
    Like,
    Glob,
    Regexp,
    Ne,
    IsNotNull,
    IsNull,
}

impl Op {
    /// From osquery's number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            2 => Self::Eq,
            4 => Self::Gt,
            8 => Self::Le,
            16 => Self::Lt,
            32 => Self::Ge,
            65 => Self::Like,
            66 => Self::Glob,
            67 => Self::Regexp,
            68 => Self::Ne,
            70 => Self::IsNotNull,
            71 => Self::IsNull,
            _ => return None,
        })
    }
}

/// One pushed-down condition: `column op value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// Index into [`Table::columns`].
    pub column: usize,
    /// Operator.
    pub op: Op,
    /// The right-hand side, as the text osquery sends for every type.
    pub value: String,
}

/// On whose behalf a table is scanned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Someone at a prompt, or a distributed query: sees the whole buffer, moves nothing.
    AdHoc,
    /// A scheduled query: sees what it has not had, unless it constrains `time`.
    Scheduled {
        /// Its name in the schedule: the cursor's key.
        name: String,
        /// What tells this execution from the next (osquery's `timestamp.NAME`).
        execution: String,
    },
}

/// A scan as osquery asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Conditions, all of which must hold.
    pub constraints: Vec<Constraint>,
    /// Indexes of the columns to build. `None`: all.
    pub columns: Option<Vec<usize>>,
    /// Who asks.
    pub caller: Caller,
}

/// The rows that answer a [`Request`]. It holds no lock, so reading it slowly stalls nobody.
pub trait Scan: Send {
    /// How many rows there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number by which SQLite knows row `index`: the same for the same row in every scan, and no
    /// other row's. For an `OR` over different columns SQLite scans once for each side, and drops
    /// rows whose number it has seen. `None`: the row's position in the scan stands for it, which
    /// makes such queries lose rows.
    fn rowid(&self, index: usize) -> Option<i64> {
        let _ = index;
        None
    }

    /// Gives each known value of row `index` to `value`, as column name and text, in the order of
    /// the schema. An unknown value is left out. `index` beyond the end gives nothing.
    fn row(&self, index: usize, value: &mut dyn FnMut(&'static str, &str));
}

/// Something that can answer scans: all the tables of one process.
pub trait Tables: Send + Sync {
    /// The tables there are.
    fn tables(&self) -> &[&'static Table];

    /// Answers one scan.
    ///
    /// # Errors
    /// [`ScanError`] when there is no such table or column.
    fn scan(&self, table: &str, request: &Request) -> Result<Box<dyn Scan>, ScanError>;
}

/// Why a scan was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ScanError {
    #[error("no table named {0}")]
    NoSuchTable(String),
    #[error("table {table} has no column number {column}")]
    NoSuchColumn { table: &'static str, column: usize },
}
