//! Whose names ours clash with.
//!
//! osqueryd refuses a whole extension over one table name that exists, disabled or not, and says
//! little more. So its registry is asked first.

use std::collections::BTreeMap;
use std::fmt;

use osquery_ebpf_tables::schema::Table;

use crate::manager::{Manager, ManagerError};

/// A table name of ours that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clash {
    table: &'static str,
    owner: Owner,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    Core,
    Extension { uuid: i64, name: String },
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table;
        match &self.owner {
            Owner::Core => write!(f, "osquery itself has a table named {table} already"),
            Owner::Extension { uuid, name } => write!(
                f,
                "the extension {name} (number {uuid}) has registered a table named {table} \
                 already; osqueryd takes a name only once"
            ),
        }
    }
}

/// The first of `tables` whose name is taken.
pub(super) fn find(
    manager: &mut Manager,
    tables: &[&'static Table],
) -> Result<Option<Clash>, ManagerError> {
    const SQL: &str = "SELECT name, owner_uuid FROM osquery_registry WHERE registry = 'table'";
    let taken: BTreeMap<String, i64> = manager
        .query(SQL)?
        .into_iter()
        .filter_map(|mut row| {
            let owner = row.remove("owner_uuid").and_then(|uuid| uuid.parse().ok());
            Some((row.remove("name")?, owner.unwrap_or(0)))
        })
        .collect();
    let found =
        tables.iter().find_map(|table| taken.get(table.name).map(|uuid| (table.name, *uuid)));
    let Some((table, uuid)) = found else { return Ok(None) };
    let owner = if uuid == 0 {
        Owner::Core
    } else {
        let name = manager.extensions()?.remove(&uuid).and_then(|info| info.name);
        Owner::Extension { uuid, name: name.unwrap_or_else(|| "(unknown)".to_owned()) }
    };
    Ok(Some(Clash { table, owner }))
}

/// Says once per registration which of the core's names are answered by us: those of tables that
/// osqueryd was told to disable, and those that it does not have.
pub(super) fn explain_aliases(manager: &mut Manager, tables: &[&'static Table]) {
    /// Core tables that our aliases share a name with.
    const CORE: [&str; 4] =
        ["file_events", "process_events", "process_file_events", "socket_events"];
    let disabled = match manager.options() {
        Ok(mut options) => {
            options.remove("disable_tables").and_then(|option| option.value).unwrap_or_default()
        }
        Err(error) => {
            log::debug!("{error}");
            return;
        }
    };
    let disabled: Vec<&str> = disabled.split(',').collect();
    let kept: Vec<&str> = tables
        .iter()
        .flat_map(|table| table.aliases)
        .filter(|alias| CORE.contains(alias) && !disabled.contains(alias))
        .copied()
        .collect();
    if !kept.is_empty() {
        log::info!(
            "osquery's own tables keep the names {0}; start osqueryd with --disable_tables={0} \
             to have ours answer to them",
            kept.join(",")
        );
    }
}
