//! What changed between two executions of a scheduled query (osquery/core/query.cpp).

use std::collections::BTreeMap;

/// A row as osquery logs it.
pub(super) type LogRow = BTreeMap<String, String>;

/// The last result of each scheduled query, by its name.
#[derive(Debug, Default)]
pub(super) struct Memory(BTreeMap<String, BTreeMap<LogRow, usize>>);

/// Rows that came and rows that went.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) added: Vec<LogRow>,
    pub(super) removed: Vec<LogRow>,
    /// The query had no earlier result.
    pub(super) first: bool,
}

impl Memory {
    /// Compares with the last result and keeps this one. Equal rows count.
    pub(super) fn update(&mut self, name: &str, rows: Vec<LogRow>) -> Difference {
        let first = !self.0.contains_key(name);
        let mut previous = self.0.remove(name).unwrap_or_default();
        let mut current = BTreeMap::new();
        let mut added = Vec::new();
        for row in rows {
            match previous.get_mut(&row) {
                Some(count) if *count > 0 => *count -= 1,
                _ => added.push(row.clone()),
            }
            *current.entry(row).or_insert(0) += 1;
        }
        let removed =
            previous.into_iter().flat_map(|(row, count)| std::iter::repeat_n(row, count)).collect();
        self.0.insert(name.to_owned(), current);
        Difference { added, removed, first }
    }
}
