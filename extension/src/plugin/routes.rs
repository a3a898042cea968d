//! How tables are announced: osquery's route rows.
//!
//! The same rows go into the registration and into every answer to `columns`; osqueryd declares
//! the virtual table from the former and transient connections from the latter.

use std::collections::BTreeMap;

use osquery_ebpf_tables::schema::Table;

use crate::thrift::{ExtensionPluginResponse, ExtensionRegistry};

/// `TableAttributes::EVENT_BASED` in osquery/core/tables.h: rows are logged as they come, without
/// a differential.
const EVENT_BASED: u8 = 4;

fn row<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The route of one table: its columns, its aliases, its attributes.
pub fn route(table: &Table) -> ExtensionPluginResponse {
    let columns = table.columns.iter().map(|column| {
        row([
            ("id", "column".to_owned()),
            ("name", column.name.to_owned()),
            ("type", column.ty.as_str().to_owned()),
            ("op", column.options.to_string()),
        ])
    });
    let aliases = table
        .aliases
        .iter()
        .map(|alias| row([("id", "alias".to_owned()), ("alias", (*alias).to_owned())]));
    let attributes = if table.event_based { EVENT_BASED } else { 0 };
    let attributes = row([("id", "attributes".to_owned()), ("attributes", attributes.to_string())]);
    columns.chain(aliases).chain([attributes]).collect()
}

/// What is registered: every table under the registry `table`, and nothing else.
pub fn registry(tables: &[&'static Table]) -> ExtensionRegistry {
    let routes = tables.iter().map(|table| (table.name.to_owned(), route(table))).collect();
    BTreeMap::from([("table".to_owned(), routes)])
}
