//! SQL over the host's tables (osquery/sql/sqlite_util.cpp).

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::ValueRef;

use super::Shared;
use super::core_tables::ATTACHED;
use super::vtab::{Affected, Aux, MODULE};

/// What SQLite said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SqlError(pub String);

impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> Self {
        Self(match error {
            // As osquery shows it: SQLite's own message, nothing before it.
            rusqlite::Error::SqliteFailure(_, Some(message))
            | rusqlite::Error::SqlInputError { msg: message, .. } => message,
            other => other.to_string(),
        })
    }
}

/// One value of a result.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text, or a blob read as text.
    Text(String),
}

impl Cell {
    /// The value as text; `None` for NULL.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Integer(number) => Some(number.to_string()),
            Self::Real(number) => Some(real(*number)),
            Self::Text(text) => Some(text.clone()),
        }
    }
}

/// A floating-point number as SQLite writes it: it never looks like an integer.
pub(super) fn real(number: f64) -> String {
    let text = format!("{number}");
    if number.is_finite() && !text.contains(['.', 'e']) { format!("{text}.0") } else { text }
}

/// The rows of one statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Names of the columns, in order.
    pub columns: Vec<String>,
    /// One value per column.
    pub rows: Vec<Vec<Cell>>,
    /// Whether a table that it read is event based.
    pub event_based: bool,
}

impl Answer {
    /// Rows as osquery passes them on: text by name, NULL as an empty text, of columns with the
    /// same name the last.
    pub fn into_maps(self) -> Vec<BTreeMap<String, String>> {
        let columns = self.columns;
        self.rows
            .into_iter()
            .map(|row| {
                let values = row.into_iter().map(|cell| cell.text().unwrap_or_default());
                columns.iter().cloned().zip(values).collect()
            })
            .collect()
    }
}

/// The SQL engine.
pub(super) struct Sql {
    connection: Connection,
    affected: Arc<Affected>,
    shared: std::sync::Weak<Shared>,
}

impl Sql {
    /// An engine with the core's tables attached.
    pub(super) fn open(shared: &Arc<Shared>) -> Result<Self, SqlError> {
        let mut connection = Connection::open_in_memory()?;
        connection.authorizer(Some(authorize))?;
        let sql = Self { connection, affected: Arc::default(), shared: shared.weak() };
        for table in ATTACHED {
            if !shared.options.disabled.contains(table) {
                sql.create(table, false)?;
            }
        }
        Ok(sql)
    }

    fn create(&self, table: &str, extension: bool) -> Result<(), SqlError> {
        let aux =
            Aux { shared: self.shared.clone(), affected: Arc::clone(&self.affected), extension };
        self.connection.create_module(table, MODULE, Some(aux))?;
        let statement = format!("CREATE VIRTUAL TABLE temp.{table} USING {table}");
        self.connection.execute_batch(&statement)?;
        self.affected.finish();
        Ok(())
    }

    /// Attaches an extension's table, with a view for each of its aliases. A view whose name is
    /// taken is left out without a word; so does osqueryd.
    pub(super) fn attach(&self, table: &str) -> Result<(), SqlError> {
        if !is_name(table) {
            return Err(SqlError(format!("{table:?} is not a table name")));
        }
        self.create(table, true)?;
        let route = self.shared.upgrade().and_then(|shared| shared.route(table));
        for row in route.unwrap_or_default() {
            let (Some("alias"), Some(alias)) =
                (row.get("id").map(String::as_str), row.get("alias"))
            else {
                continue;
            };
            let view = format!("CREATE VIEW {alias} AS SELECT * FROM {table}");
            if let Err(error) = self.connection.execute_batch(&view) {
                log::debug!("{view}: {error}");
            }
        }
        self.affected.finish();
        Ok(())
    }

    /// Detaches an extension's table. Its views stay, and fail until it is attached again.
    pub(super) fn detach(&self, table: &str) -> Result<(), SqlError> {
        if !is_name(table) {
            return Ok(());
        }
        self.connection.execute_batch(&format!("DROP TABLE IF EXISTS temp.{table}"))?;
        Ok(())
    }

    /// Runs statements.
    pub(super) fn query(&self, sql: &str, each: &mut dyn FnMut(Answer)) -> Result<(), SqlError> {
        let result = self.run(sql, each);
        self.affected.finish();
        result
    }

    fn run(&self, sql: &str, each: &mut dyn FnMut(Answer)) -> Result<(), SqlError> {
        let mut batch = rusqlite::Batch::new(&self.connection, sql);
        while let Some(mut statement) = batch.next()? {
            let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
            let mut rows = Vec::new();
            let mut found = statement.query([])?;
            while let Some(row) = found.next()? {
                let cells = (0..columns.len()).map(|index| row.get_ref(index).map(cell));
                rows.push(cells.collect::<Result<Vec<_>, _>>()?);
            }
            drop(found);
            drop(statement);
            let event_based = self.affected.finish();
            each(Answer { columns, rows, event_based });
        }
        Ok(())
    }

    /// Names and types of a query's columns. Expressions have the type UNKNOWN.
    pub(super) fn columns(&self, sql: &str) -> Result<Vec<(String, String)>, SqlError> {
        let statement = self.connection.prepare(sql)?;
        let columns =
            statement.column_names().map(|name| (name.to_owned(), "UNKNOWN".to_owned())).collect();
        drop(statement);
        self.affected.finish();
        Ok(columns)
    }

    /// Tables and views with their columns' names and types.
    pub(super) fn tables(&self) -> Result<BTreeMap<String, Vec<(String, String)>>, SqlError> {
        let mut names = Vec::new();
        self.run(
            "SELECT name FROM temp.sqlite_master UNION SELECT name FROM main.sqlite_master",
            &mut |answer| {
                names.extend(answer.rows.iter().flatten().filter_map(Cell::text));
            },
        )?;
        let mut tables = BTreeMap::new();
        for name in names {
            let mut columns = Vec::new();
            let pragma = format!("PRAGMA table_info(`{}`)", name.replace('`', "``"));
            self.run(&pragma, &mut |answer| {
                for row in answer.rows {
                    let mut cells = row.iter().skip(1).filter_map(Cell::text);
                    if let (Some(name), Some(ty)) = (cells.next(), cells.next()) {
                        columns.push((name, ty));
                    }
                }
            })?;
            tables.insert(name, columns);
        }
        self.affected.finish();
        Ok(tables)
    }
}

/// Table names go into statements as they are, so they must be plain.
fn is_name(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(plain)
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Cell::Text(String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

/// What statements may do (`kAllowedSQLiteActionCodes` in osquery/sql/sqlite_util.h). ATTACH above
/// all is denied, since it could write files.
fn authorize(context: AuthContext<'_>) -> Authorization {
    const PRAGMAS: [&str; 6] = [
        "table_info",
        "table_xinfo",
        "function_list",
        "journal_mode",
        "case_sensitive_like",
        "collation_list",
    ];
    let allowed = match context.action {
        AuthAction::Read { .. }
        | AuthAction::Select
        | AuthAction::Insert { .. }
        | AuthAction::Update { .. }
        | AuthAction::Delete { .. }
        | AuthAction::CreateVtable { .. }
        | AuthAction::DropVtable { .. }
        | AuthAction::CreateView { .. }
        | AuthAction::DropView { .. }
        | AuthAction::CreateTable { .. }
        | AuthAction::DropTable { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::DropTempTable { .. }
        | AuthAction::CreateTempView { .. }
        | AuthAction::DropTempView { .. }
        | AuthAction::Function { .. }
        | AuthAction::Recursive
        | AuthAction::Transaction { .. } => true,
        AuthAction::Pragma { pragma_name, .. } => {
            PRAGMAS.contains(&pragma_name.to_ascii_lowercase().as_str())
        }
        _ => false,
    };
    if allowed { Authorization::Allow } else { Authorization::Deny }
}
