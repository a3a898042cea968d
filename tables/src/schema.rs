//! What a table looks like from outside: names, columns, types. No rows here.

/// Column types as osquery spells them in a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8 text.
    Text,
    /// 32-bit integer.
    Integer,
    /// 64-bit integer.
    BigInt,
    /// Unsigned 64-bit integer.
    UnsignedBigInt,
    /// Floating point.
    Double,
}

impl ColumnType {
    /// The word in a `column` route.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Integer => "INTEGER",
            Self::BigInt => "BIGINT",
            Self::UnsignedBigInt => "UNSIGNED_BIGINT",
            Self::Double => "DOUBLE",
        }
    }
}

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Name in SQL.
    pub name: &'static str,
    /// Type.
    pub ty: ColumnType,
    /// One sentence with unit and source.
    pub doc: &'static str,
    /// osquery's `ColumnOptions` bits (`INDEX` 1, `REQUIRED` 2, `ADDITIONAL` 4, `OPTIMIZED` 8,
    /// `HIDDEN` 16). Never `HIDDEN`: a view cannot show hidden columns.
    pub options: u8,
}

/// One table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Our own name, such as `ebpf_process_events`.
    pub name: &'static str,
    /// Names under which a view is offered too: the core's and the old `bpf_` one.
    pub aliases: &'static [&'static str],
    /// Columns in order.
    pub columns: &'static [Column],
    /// Each row is an event, to be logged once: osquery's `EVENT_BASED` attribute (4).
    pub event_based: bool,
    /// One sentence.
    pub doc: &'static str,
}

impl Table {
    /// Position of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}
