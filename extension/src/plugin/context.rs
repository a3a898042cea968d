//! The `context` of a `generate` request: osquery's JSON of a query's constraints and columns.
//!
//! osquery writes (osquery/core/tables.cpp, `TablePlugin::setRequestFromContext`)
//! `{"constraints":[{"name":C,"list":[{"op":2,"expr":"x"}],"affinity":"TEXT"}],"colsUsed":[C],
//! "colsUsedBitset":N}`. Older versions write numbers as text and leave the column lists out.
//!
//! A constraint we do not understand is left to SQLite, which checks every row again. A context
//! that is not of this shape is an error: guessing could return too few rows.

use osquery_ebpf_tables::scan::{Constraint, Op};
use osquery_ebpf_tables::schema::Table;
use serde_json::Value;

/// Bits of `colsUsedBitset` that name one column each; the last bit stands for all further ones.
const SINGLE_BITS: usize = 63;

/// Why a context is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// Not JSON at all.
    #[error("the query context is not JSON: {0}")]
    NotJson(String),
    /// JSON of another shape.
    #[error("the query context has {what} where {expected} is expected")]
    Shape {
        /// What was found, by the name of its place.
        what: String,
        /// What belongs there.
        expected: &'static str,
    },
}

fn shape(what: impl Into<String>, expected: &'static str) -> ContextError {
    ContextError::Shape { what: what.into(), expected }
}

type Parsed = (Vec<Constraint>, Option<Vec<usize>>);

/// Constraints and columns of a query on `table`. No context (an empty text) means all rows and
/// all columns.
///
/// # Errors
/// [`ContextError`].
pub fn parse(table: &Table, context: &str) -> Result<Parsed, ContextError> {
    if context.is_empty() {
        return Ok((Vec::new(), None));
    }
    let context: Value =
        serde_json::from_str(context).map_err(|error| ContextError::NotJson(error.to_string()))?;
    let Value::Object(context) = context else {
        return Err(shape("no object", "an object"));
    };
    let mut constraints = Vec::new();
    match context.get("constraints") {
        None | Some(Value::Null) => {}
        Some(Value::Array(columns)) => {
            for column in columns {
                column_constraints(table, column, &mut constraints)?;
            }
        }
        Some(_) => return Err(shape("constraints", "an array")),
    }
    let columns = match (context.get("colsUsed"), context.get("colsUsedBitset")) {
        (Some(Value::Array(names)), _) => Some(named(table, names)?),
        (None | Some(Value::Null), None | Some(Value::Null)) => None,
        (None | Some(Value::Null), Some(bits)) => {
            let bits = number(bits).ok_or_else(|| shape("colsUsedBitset", "a number"))?;
            Some(counted(table, bits))
        }
        (Some(_), _) => return Err(shape("colsUsed", "an array")),
    };
    Ok((constraints, columns))
}

fn column_constraints(
    table: &Table,
    column: &Value,
    into: &mut Vec<Constraint>,
) -> Result<(), ContextError> {
    let name = column
        .get("name")
        .and_then(Value::as_str)
        .ok_or_else(|| shape("a constraint", "one with a name"))?;
    let list = match column.get("list") {
        None | Some(Value::Null) => return Ok(()),
        // Older serializers write an empty list as an empty text.
        Some(Value::String(text)) if text.is_empty() => return Ok(()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(shape(format!("the list of {name}"), "an array")),
    };
    for condition in list {
        let op = condition
            .get("op")
            .and_then(number)
            .ok_or_else(|| shape(format!("a condition on {name}"), "one with an op"))?;
        let value = match condition.get("expr") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => return Err(shape(format!("a condition on {name}"), "one with an expr")),
        };
        // Columns and operators we do not know are SQLite's to check.
        let op = u8::try_from(op).ok().and_then(Op::from_number);
        if let (Some(column), Some(op)) = (table.column(name), op) {
            into.push(Constraint { column, op, value });
        }
    }
    Ok(())
}

/// A number, or the text of one.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn named(table: &Table, names: &[Value]) -> Result<Vec<usize>, ContextError> {
    let mut columns = Vec::with_capacity(names.len().min(table.columns.len()));
    for name in names {
        let name = name.as_str().ok_or_else(|| shape("a name in colsUsed", "text"))?;
        if let Some(column) = table.column(name) {
            columns.push(column);
        }
    }
    columns.sort_unstable();
    columns.dedup();
    Ok(columns)
}

fn counted(table: &Table, bits: u64) -> Vec<usize> {
    (0..table.columns.len()).filter(|column| bits >> column.min(&SINGLE_BITS) & 1 == 1).collect()
}
