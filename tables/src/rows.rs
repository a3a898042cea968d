//! Rows of the tables that are no events: made whole at each scan, few in number.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::column::Cell;
use crate::constraint::Test;
use crate::query::requested;
use crate::scan::{Request, Scan, ScanError};
use crate::schema::Table;

/// A value of such a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Not known.
    Unknown,
    /// A number.
    Int(i64),
    /// Text.
    Text(String),
}

impl Value {
    /// A count; above what SQLite can hold it is unknown.
    pub fn count(count: impl TryInto<i64>) -> Self {
        count.try_into().map_or(Self::Unknown, Self::Int)
    }

    /// A count that may be unknown.
    pub fn maybe(count: Option<impl TryInto<i64>>) -> Self {
        count.map_or(Self::Unknown, Self::count)
    }

    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

/// The answer to a request.
pub struct MadeRows {
    table: &'static Table,
    rows: Vec<Vec<Value>>,
    columns: Vec<usize>,
}

impl MadeRows {
    /// Takes those rows that satisfy the request. Each has a value per column, in order.
    ///
    /// # Errors
    /// [`ScanError::NoSuchColumn`].
    pub fn select(
        table: &'static Table,
        mut rows: Vec<Vec<Value>>,
        request: &Request,
    ) -> Result<Self, ScanError> {
        let columns = requested(table.name, table.columns.len(), request)?;
        for constraint in &request.constraints {
            let column = table.columns.get(constraint.column);
            let test = column.and_then(|column| Test::new(constraint, column.ty));
            let Some(test) = test else { continue };
            rows.retain(|row| match row.get(test.column) {
                Some(Value::Int(number)) => test.keeps(Cell::Int(*number), ""),
                Some(Value::Text(text)) => test.keeps(Cell::Text, text),
                Some(Value::Unknown) | None => test.keeps(Cell::Unknown, ""),
            });
        }
        Ok(Self { table, rows, columns })
    }
}

impl Scan for MadeRows {
    fn len(&self) -> usize {
        self.rows.len()
    }

    /// The texts of a row (kind, source; what, name) tell it from all others, whatever its numbers
    /// have become since the last scan.
    fn rowid(&self, index: usize) -> Option<i64> {
        let mut hasher = DefaultHasher::new();
        for value in self.rows.get(index)? {
            if let Value::Text(text) = value {
                text.hash(&mut hasher);
            }
        }
        i64::try_from(hasher.finish() >> 1).ok()
    }

    fn row(&self, index: usize, value: &mut dyn FnMut(&'static str, &str)) {
        let Some(row) = self.rows.get(index) else { return };
        for &column in &self.columns {
            let Some(name) = self.table.columns.get(column).map(|column| column.name) else {
                continue;
            };
            match row.get(column) {
                Some(Value::Int(number)) => value(name, itoa::Buffer::new().format(*number)),
                Some(Value::Text(text)) => value(name, text),
                Some(Value::Unknown) | None => {}
            }
        }
    }
}
