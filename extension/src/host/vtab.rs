//! SQLite virtual tables over extensions, as osqueryd makes them (osquery/sql/virtual_table.cpp).
//!
//! Copied behaviour: a column without options of an extension's table counts as an index, so every
//! constraint on it is pushed down with its operator's number; `<`, `<=`, `>`, `>=` on text are
//! not; an empty text is not; each outer row of a join scans anew, and nothing is cached between
//! scans; the columns a query uses are sent by name and as bits; values are converted as
//! `DynamicTableRow::get_column` does, 32-bit wrap-around of INTEGER included. Modules are
//! eponymous, which is what lets a view in the schema `main` name a table of the schema `temp`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{CStr, CString, c_int};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::types::ValueRef;
use rusqlite::vtab::{
    Context, CreateVTab, Filters, IndexConstraintOp, IndexInfo, Module, VTab, VTabConnection,
    VTabCursor, VTabKind, sqlite3_vtab, sqlite3_vtab_cursor,
};
use serde_json::json;

use super::extension::{self, Row};
use super::{Shared, core_tables};
use crate::thrift::ExtensionPluginResponse;

/// `ColumnOptions` of osquery/core/sql/column.h.
mod option {
    pub(super) const INDEX: u32 = 1;
    pub(super) const REQUIRED: u32 = 2;
    pub(super) const ADDITIONAL: u32 = 4;
    pub(super) const OPTIMIZED: u32 = 8;
    pub(super) const HIDDEN: u32 = 16;
}

const COST_WITHOUT_INDEX: f64 = 1_000_000.0;
const EQUALS: u8 = 2;

/// The module of every table; which table it is, its name says.
pub(super) const MODULE: &Module<'static, TableTab> = &Module::read_only_module();

/// What a module is created with.
#[derive(Clone)]
pub(super) struct Aux {
    pub(super) shared: Weak<Shared>,
    pub(super) affected: Arc<Affected>,
    pub(super) extension: bool,
}

/// Tables that the running query has touched, for its attributes and for forgetting constraints.
#[derive(Default)]
pub(super) struct Affected(Mutex<BTreeMap<String, Arc<Content>>>);

impl Affected {
    fn add(&self, content: &Arc<Content>) {
        self.0.lock().entry(content.name.clone()).or_insert_with(|| Arc::clone(content));
    }

    /// Forgets the query, and says whether any of its tables is event based.
    pub(super) fn finish(&self) -> bool {
        let tables = std::mem::take(&mut *self.0.lock());
        for content in tables.values() {
            content.sets.lock().clear();
        }
        tables.values().any(|content| content.attributes & 4 != 0)
    }
}

#[derive(Debug, Clone)]
struct Column {
    name: String,
    ty: String,
    options: u32,
}

/// Everything known about a table, and the constraint sets of the running query.
pub(super) struct Content {
    name: String,
    columns: Vec<Column>,
    names: Vec<String>,
    attributes: u32,
    sets: Mutex<HashMap<c_int, Arc<ConstraintSet>>>,
}

/// What `best_index` decided, for `filter` to fill in.
struct ConstraintSet {
    constraints: Vec<Constraint>,
    used: BTreeSet<usize>,
    bits: u64,
}

struct Constraint {
    column: usize,
    op: u8,
    all_at_once: bool,
}

/// osqueryd numbers constraint sets across all tables.
static NEXT_SET: AtomicI32 = AtomicI32::new(0);

/// A virtual table.
#[repr(C)]
pub(super) struct TableTab {
    base: sqlite3_vtab,
    content: Arc<Content>,
    aux: Aux,
}

impl Content {
    fn from_route(name: &str, route: &ExtensionPluginResponse, extension: bool) -> Self {
        let number = |text: Option<&String>| text.and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut columns = Vec::new();
        let mut attributes = 0;
        for row in route {
            match (row.get("id").map(String::as_str), row.get("name"), row.get("type")) {
                (Some("column"), Some(name), Some(ty)) => {
                    let mut options = number(row.get("op"));
                    if extension && options == 0 {
                        options = option::INDEX;
                    }
                    columns.push(Column { name: name.clone(), ty: ty.clone(), options });
                }
                (Some("attributes"), ..) => attributes = number(row.get("attributes")),
                _ => {}
            }
        }
        let names = columns.iter().map(|column| column.name.clone()).collect();
        Self { name: name.to_owned(), columns, names, attributes, sets: Mutex::default() }
    }
}

/// The CREATE statement of a route (`columnDefinition` in osquery/core/tables.cpp). Only options
/// that the route itself names make primary keys here, and an extension's table keeps its rowid.
pub(super) fn declaration(name: &str, route: &ExtensionPluginResponse, extension: bool) -> String {
    let mut columns = Vec::new();
    let (mut keys, mut all, mut indexed) = (Vec::new(), Vec::new(), false);
    for row in route {
        let (Some("column"), Some(column), Some(ty)) =
            (row.get("id").map(String::as_str), row.get("name"), row.get("type"))
        else {
            continue;
        };
        let options: u32 = row.get("op").and_then(|op| op.parse().ok()).unwrap_or(0);
        let hidden = if options & option::HIDDEN != 0 { " HIDDEN" } else { "" };
        columns.push(format!("`{column}` {ty}{hidden}"));
        all.push(format!("`{column}`"));
        indexed |= options & option::INDEX != 0;
        if options & (option::INDEX | option::ADDITIONAL) != 0 {
            keys.push(format!("`{column}`"));
        }
    }
    let unique = !keys.is_empty();
    if unique && !indexed {
        keys = all;
    }
    if unique {
        columns.push(format!("PRIMARY KEY ({})", keys.join(", ")));
    }
    let rowid = if unique && !extension { " WITHOUT ROWID" } else { "" };
    format!("CREATE TABLE {name} ({}){rowid}", columns.join(", "))
}

fn module_error(message: impl std::fmt::Display) -> rusqlite::Error {
    rusqlite::Error::ModuleError(message.to_string())
}

// SAFETY: the struct is `repr(C)` and its first field is `sqlite3_vtab`.
unsafe impl VTab<'_> for TableTab {
    type Aux = Aux;
    type Cursor = TableCursor;

    fn connect(
        _db: &mut VTabConnection,
        aux: Option<&Aux>,
        module_name: &[u8],
        _database_name: &[u8],
        _table_name: &[u8],
        _args: &[&[u8]],
    ) -> rusqlite::Result<(Cow<'static, CStr>, Self)> {
        let name = std::str::from_utf8(module_name).map_err(module_error)?;
        let aux = aux.ok_or_else(|| module_error("a module without its host"))?;
        let shared = aux.shared.upgrade().ok_or_else(|| module_error("the host has stopped"))?;
        let route = shared
            .route(name)
            .ok_or_else(|| module_error(format!("Cannot call registry item: {name}")))?;
        let statement = declaration(name, &route, aux.extension);
        let statement = CString::new(statement).map_err(module_error)?;
        let content = Arc::new(Content::from_route(name, &route, aux.extension));
        Ok((
            Cow::Owned(statement),
            Self { base: sqlite3_vtab::default(), content, aux: aux.clone() },
        ))
    }

    fn best_index(&self, info: &mut IndexInfo) -> rusqlite::Result<bool> {
        self.aux.affected.add(&self.content);
        let columns = &self.content.columns;
        let mut cost = COST_WITHOUT_INDEX;
        let mut constraints = Vec::new();
        let mut has_required_constraint = false;
        let found: Vec<_> = info
            .constraints()
            .map(|constraint| (constraint.is_usable(), constraint.column(), constraint.operator()))
            .collect();
        for (index, (usable, column, operator)) in found.into_iter().enumerate() {
            let Ok(at) = usize::try_from(column) else { continue };
            let (true, Some(column)) = (usable, columns.get(at)) else { continue };
            let op = op_number(&operator);
            if column.ty == "TEXT" && matches!(op, 4 | 8 | 16 | 32) {
                cost += 10.0;
                continue;
            }
            if column.options & option::REQUIRED != 0 {
                has_required_constraint = true;
                cost = 1.0;
            } else if column.options & (option::INDEX | option::ADDITIONAL) != 0 {
                cost = 1.0;
            } else {
                continue;
            }
            let all_at_once = column.options & option::OPTIMIZED != 0
                && info.is_in_constraint(index)?
                && info.set_in_constraint(index, true)?;
            constraints.push(Constraint { column: at, op, all_at_once });
            let position = c_int::try_from(constraints.len()).map_err(module_error)?;
            info.constraint_usage(index).set_argv_index(position);
        }
        let bits = info.col_used();
        let used: BTreeSet<usize> =
            (0..columns.len()).filter(|column| bits >> column.min(&63) & 1 == 1).collect();
        let has_required_column = used
            .iter()
            .filter_map(|column| columns.get(*column))
            .any(|column| column.options & option::REQUIRED != 0);
        if has_required_column && !has_required_constraint {
            cost = COST_WITHOUT_INDEX;
        }
        let number = NEXT_SET.fetch_add(1, Ordering::Relaxed) & c_int::MAX;
        self.content
            .sets
            .lock()
            .insert(number, Arc::new(ConstraintSet { constraints, used, bits }));
        info.set_idx_num(number);
        info.set_estimated_cost(cost);
        Ok(true)
    }

    fn open(&mut self) -> rusqlite::Result<TableCursor> {
        Ok(TableCursor {
            base: sqlite3_vtab_cursor::default(),
            content: Arc::clone(&self.content),
            aux: self.aux.clone(),
            rows: Vec::new(),
            at: 0,
        })
    }
}

impl CreateVTab<'_> for TableTab {
    const KIND: VTabKind = VTabKind::Eponymous;
}

/// SQLite's number of an operator.
fn op_number(operator: &IndexConstraintOp) -> u8 {
    match operator {
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ => EQUALS,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GT => 4,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LE => 8,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LT => 16,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GE => 32,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_MATCH => 64,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LIKE => 65,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GLOB => 66,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_REGEXP => 67,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_NE => 68,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_ISNOT => 69,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_ISNOTNULL => 70,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_ISNULL => 71,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_IS => 72,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LIMIT => 73,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_OFFSET => 74,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_FUNCTION(number) => *number,
    }
}

/// A scan under way.
#[repr(C)]
pub(super) struct TableCursor {
    base: sqlite3_vtab_cursor,
    content: Arc<Content>,
    aux: Aux,
    rows: Vec<Row>,
    at: usize,
}

/// A value as `sqlite3_value_text` gives it; `None` for NULL.
fn expression(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(super::sql::real(number)),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

impl TableCursor {
    fn context(&self, set: &ConstraintSet, args: &Filters<'_>) -> rusqlite::Result<String> {
        let mut lists: BTreeMap<&str, Vec<serde_json::Value>> =
            self.content.columns.iter().map(|column| (column.name.as_str(), Vec::new())).collect();
        let values: Vec<ValueRef<'_>> = args.iter().collect();
        for (index, value) in values.into_iter().enumerate() {
            let Some(constraint) = set.constraints.get(index) else { continue };
            let Some(column) = self.content.columns.get(constraint.column) else { continue };
            let Some(list) = lists.get_mut(column.name.as_str()) else { continue };
            if constraint.all_at_once {
                let mut values = args.in_values(index)?;
                while let Some(value) = values.next()? {
                    if let Some(text) = expression(value) {
                        list.push(json!({"op": EQUALS, "expr": text}));
                    }
                }
            } else if let Some(text) = expression(value)
                && !text.is_empty()
            {
                list.push(json!({"op": constraint.op, "expr": text}));
            }
        }
        let constraints: Vec<_> = lists
            .into_iter()
            .map(|(name, list)| {
                let ty = self.content.columns.iter().find(|column| column.name == name);
                let affinity = ty.map_or("UNKNOWN", |column| column.ty.as_str());
                json!({"name": name, "list": list, "affinity": affinity})
            })
            .collect();
        let used: Vec<_> =
            set.used.iter().filter_map(|column| self.content.names.get(*column)).collect();
        Ok(json!({"constraints": constraints, "colsUsed": used, "colsUsedBitset": set.bits})
            .to_string())
    }

    fn required_is_met(&self, set: &ConstraintSet) -> bool {
        let required = |column: &Column| column.options & option::REQUIRED != 0;
        !self.content.columns.iter().any(required)
            || set
                .constraints
                .iter()
                .filter_map(|constraint| self.content.columns.get(constraint.column))
                .any(required)
    }

    fn generate(&self, shared: &Shared, context: &str) -> rusqlite::Result<Vec<Row>> {
        let name = self.content.name.as_str();
        if !self.aux.extension {
            let rows = core_tables::rows(shared, name);
            let row = |mut row: BTreeMap<String, String>| {
                let values = self.content.names.iter().enumerate().filter_map(|(index, name)| {
                    Some((u16::try_from(index).ok()?, row.remove(name)?.into_boxed_str()))
                });
                Row { rowid: None, values: values.collect() }
            };
            return Ok(rows.into_iter().map(row).collect());
        }
        let uuid = shared
            .owner(name)
            .ok_or_else(|| module_error(format!("Cannot call registry item: {name}")))?;
        let socket = shared.extension_socket(uuid);
        extension::generate(&socket, name, context, &self.content.names).map_err(|error| {
            match error {
                // The extension's own words.
                thrift::Error::User(message) => module_error(message),
                other => module_error(format!("Extension call failed: {other}")),
            }
        })
    }
}

// SAFETY: the struct is `repr(C)` and its first field is `sqlite3_vtab_cursor`.
unsafe impl VTabCursor for TableCursor {
    fn filter(
        &mut self,
        idx_num: c_int,
        _idx_str: Option<&str>,
        args: &Filters<'_>,
    ) -> rusqlite::Result<()> {
        self.aux.affected.add(&self.content);
        self.rows = Vec::new();
        self.at = 0;
        let set = self.content.sets.lock().get(&idx_num).map(Arc::clone);
        let set = set.ok_or_else(|| module_error("a scan without its constraint set"))?;
        if !self.required_is_met(&set) {
            let name = &self.content.name;
            return Err(module_error(format!(
                "Table {name} was queried without a required column in the WHERE clause"
            )));
        }
        let shared =
            self.aux.shared.upgrade().ok_or_else(|| module_error("the host has stopped"))?;
        let context = self.context(&set, args)?;
        self.rows = self.generate(&shared, &context)?;
        Ok(())
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        self.at += 1;
        Ok(())
    }

    fn eof(&self) -> bool {
        self.at >= self.rows.len()
    }

    fn column(&self, ctx: &mut Context, i: c_int) -> rusqlite::Result<()> {
        let index = usize::try_from(i).map_err(module_error)?;
        let column = self.content.columns.get(index);
        let value = self.rows.get(self.at).and_then(|row| {
            let mut values = row.values.iter();
            values.find(|(at, _)| usize::from(*at) == index).map(|(_, value)| &**value)
        });
        let (Some(column), Some(value)) = (column, value) else {
            return ctx.set_result(rusqlite::types::Null);
        };
        match column.ty.as_str() {
            "INTEGER" => ctx.set_result(integer(value).map(wrap)),
            "BIGINT" | "UNSIGNED_BIGINT" => ctx.set_result(integer(value)),
            "DOUBLE" => ctx.set_result(value.trim_start().parse::<f64>().ok()),
            _ => ctx.set_result(value),
        }
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        // The row's position in this scan, unless the extension knows better. Positions of two scans
        // of one statement coincide, and SQLite then takes different rows for the same.
        match self.rows.get(self.at).and_then(|row| row.rowid.as_deref()) {
            Some(rowid) => rowid.trim().parse().map_err(module_error),
            None => i64::try_from(self.at).map_err(module_error),
        }
    }
}

/// INTEGER values pass through a C `int`.
fn wrap(number: i64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "osqueryd truncates here too")]
    let wrapped = number as i32;
    i64::from(wrapped)
}

/// A number as `strtoll` with base 0 reads it: octal after `0`, hexadecimal after `0x`, what
/// follows the digits ignored, NULL when there are none or too many.
fn integer(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (radix, digits) = match hexadecimal {
        Some(rest) if rest.starts_with(|digit: char| digit.is_ascii_hexdigit()) => (16, rest),
        _ if digits.starts_with('0') => (8, digits),
        _ => (10, digits),
    };
    let end = digits.find(|digit: char| !digit.is_digit(radix)).unwrap_or(digits.len());
    let digits = digits.get(..end).filter(|digits| !digits.is_empty())?;
    let number = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -number } else { number }).ok()
}

#[cfg(test)]
mod tests;
