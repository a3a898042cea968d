//! How a column's value is got from a record.
//!
//! Owns the link between a [`Column`] and the function that fills it, so that a table is one list
//! and a scan builds only what it was asked for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::hash::Hasher;
use crate::pool::Text;
use crate::record::{self, NONE, NONE_SHORT, Place, Record, Who};
use crate::remember::Remembered;
use crate::schema::{Column, ColumnType, Table};
use crate::segment::{Keys, Segment};
use crate::text::{self, Ipv6Format};

/// osquery's `ColumnOptions::INDEX`: equality is answered without reading all rows.
pub const INDEX: u8 = 1;

/// osquery's `ColumnOptions::ADDITIONAL`, which `time` has in the core's event tables.
pub const ADDITIONAL: u8 = 4;

/// A value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// Not known: left out of the row.
    Unknown,
    /// A number.
    Int(i64),
    /// The text that was appended to the buffer.
    Text,
}

/// Fills the buffer, or gives a number.
pub type Getter<R> = for<'a> fn(&View<'a, R>, &mut String) -> Cell;

/// What a column is looked up by in a [`Segment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    None,
    Pid,
    Parent,
    Path,
    ProcessId,
    Time,
    Eid,
}

/// A column and where its value comes from.
pub struct Spec<R: 'static> {
    /// What osquery is told.
    pub column: Column,
    /// The value.
    pub cell: Getter<R>,
    /// What it is looked up by.
    pub key: Key,
    /// Reads a file: never computed to decide whether a row is wanted.
    pub costly: bool,
}

impl<R> Spec<R> {
    /// A column.
    pub const fn new(
        name: &'static str,
        ty: ColumnType,
        doc: &'static str,
        cell: Getter<R>,
    ) -> Self {
        Self { column: Column { name, ty, doc, options: 0 }, cell, key: Key::None, costly: false }
    }

    /// It is looked up by this key.
    #[must_use]
    pub const fn key(mut self, key: Key) -> Self {
        self.key = key;
        self.column.options = if matches!(key, Key::Time) { ADDITIONAL } else { INDEX };
        self
    }

    /// It reads a file.
    #[must_use]
    pub const fn costly(mut self) -> Self {
        self.costly = true;
        self
    }
}

/// The columns of a list of specifications.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
pub const fn columns<R, const N: usize>(specs: &[Spec<R>]) -> [Column; N] {
    let mut columns = [specs[0].column; N];
    let mut index = 0;
    while index < N {
        columns[index] = specs[index].column;
        index += 1;
    }
    columns
}

/// A table of events.
pub struct Definition<R: 'static> {
    /// What osquery is told.
    pub table: &'static Table,
    /// Its columns, in the same order.
    pub specs: &'static [Spec<R>],
    /// The rows that one record is.
    pub parts: fn(&R) -> &'static [Part],
}

/// Which row of its record a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The only one.
    Only,
    /// The name that went, of a rename.
    From,
    /// The name that came, of a rename.
    To,
}

/// What a value may need beside its record.
#[derive(Debug, Clone)]
pub struct Context {
    /// How IPv6 addresses are written.
    pub ipv6: Ipv6Format,
    /// Answers to connects that came after the row was stored, by sequence number.
    pub late: Arc<HashMap<u64, Late>>,
    /// Computes hashes. `None`: they are turned off.
    pub hasher: Option<Arc<Hasher>>,
    /// Texts of the scan that rows share.
    pub remembered: Remembered,
}

/// An answer to a connect that came after its row was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late {
    /// 0: established. Else the errno.
    pub error: i32,
    /// Our end.
    pub local: Option<SocketAddr>,
}

/// One row.
pub struct View<'a, R> {
    /// Where its strings are.
    pub segment: &'a Segment<R>,
    /// Its position there.
    pub index: usize,
    /// Its record.
    pub record: &'a R,
    /// Its keys.
    pub keys: Keys,
    /// Which row of its record it is.
    pub part: Part,
    /// What else is needed.
    pub context: &'a Context,
}

impl<R: Record> View<'_, R> {
    /// A string of the pool as it is.
    pub fn bytes(&self, text: Text) -> Option<&[u8]> {
        self.segment.pool.get(text)
    }

    /// A string of the pool as text.
    pub fn text(&self, text: Text, out: &mut String) -> Cell {
        match self.bytes(text) {
            Some(bytes) => {
                text::push_bytes(out, bytes);
                Cell::Text
            }
            None => Cell::Unknown,
        }
    }

    /// A NUL-separated list of the pool, joined by spaces.
    pub fn joined(&self, text: Text, out: &mut String) -> Cell {
        match self.bytes(text) {
            Some(bytes) => {
                text::push_joined(out, bytes);
                Cell::Text
            }
            None => Cell::Unknown,
        }
    }

    /// Who the process was.
    pub fn who(&self, text: Text) -> Who {
        self.bytes(text).and_then(record::who).unwrap_or_default()
    }

    /// Where the process was.
    pub fn place(&self, text: Text) -> Place {
        self.bytes(text).and_then(record::place).unwrap_or_default()
    }

    /// Sequence number of the record.
    pub fn seq(&self) -> u64 {
        self.segment.seq(self.index).unwrap_or(0)
    }

    /// `pid`.
    pub fn pid(&self) -> Cell {
        number(self.keys.pid)
    }

    /// `parent`.
    pub fn parent(&self) -> Cell {
        number(self.keys.parent)
    }

    /// `path`, that of the process.
    pub fn path(&self, out: &mut String) -> Cell {
        self.text(self.keys.path, out)
    }

    /// `process_id`.
    pub fn process_id(&self, out: &mut String) -> Cell {
        id(self.keys.process_id, out)
    }

    /// `time`, Unix seconds.
    pub const fn time(&self) -> Cell {
        Cell::Int(self.keys.time)
    }

    /// `uptime`, seconds since boot.
    pub fn uptime(&self) -> Cell {
        wide(Some(self.record.time_ns() / 1_000_000_000))
    }

    /// `ntime`, nanoseconds since boot, as text.
    pub fn ntime(&self, out: &mut String) -> Cell {
        out.push_str(itoa::Buffer::new().format(self.record.time_ns()));
        Cell::Text
    }

    /// `source`.
    pub fn source(&self, out: &mut String) -> Cell {
        word(self.record.source().as_str(), out)
    }

    /// The number of this row, no other's. The second row of a rename has the next one.
    pub fn event_id(&self) -> u64 {
        let second = u64::from(self.part == Part::To && self.record.ids() > 1);
        self.seq().saturating_add(second)
    }

    /// `eid`.
    pub fn eid(&self, out: &mut String) -> Cell {
        text::push_eid(out, self.event_id());
        Cell::Text
    }
}

/// A 32-bit number that may be unknown.
pub fn number(value: u32) -> Cell {
    if value == NONE { Cell::Unknown } else { Cell::Int(i64::from(value)) }
}

/// A 16-bit number that may be unknown.
pub fn short(value: u16) -> Cell {
    if value == NONE_SHORT { Cell::Unknown } else { Cell::Int(i64::from(value)) }
}

/// A number that SQLite can hold; above that it is unknown.
pub fn wide(value: Option<u64>) -> Cell {
    signed(value.and_then(|value| i64::try_from(value).ok()))
}

/// A number.
pub fn signed(value: Option<impl Into<i64>>) -> Cell {
    value.map_or(Cell::Unknown, |value| Cell::Int(value.into()))
}

/// A cgroup id in a 32-bit column, which osqueryd would silently cut.
pub fn cgroup_id(place: Place) -> Cell {
    signed(place.cgroup_id.and_then(|id| i32::try_from(id).ok()))
}

/// A yes or no.
pub const fn boolean(value: bool) -> Cell {
    Cell::Int(value as i64)
}

/// A word.
pub fn word(word: &str, out: &mut String) -> Cell {
    out.push_str(word);
    Cell::Text
}

/// A process id; 0 is unknown.
pub fn id(id: u64, out: &mut String) -> Cell {
    if id == 0 {
        return Cell::Unknown;
    }
    crate::identity::ProcessId(id).push(out);
    Cell::Text
}
