//! Which extension has registered what (osquery/registry/registry_factory.cpp).

use std::collections::BTreeMap;

use super::core_tables;
use crate::thrift::{ExtensionPluginResponse, ExtensionRegistry, InternalExtensionInfo};

/// The registries of osquery 5.23 that an extension may name.
const REGISTRIES: [&str; 13] = [
    "config",
    "config_parser",
    "database",
    "distributed",
    "enroll",
    "event_publisher",
    "event_subscriber",
    "killswitch",
    "logger",
    "numeric_monitoring",
    "osquery_hash",
    "sql",
    "table",
];

/// Extensions, and the plugins they brought.
#[derive(Debug, Default)]
pub(super) struct Registry {
    extensions: BTreeMap<i64, InternalExtensionInfo>,
    plugins: BTreeMap<(String, String), Plugin>,
}

#[derive(Debug)]
struct Plugin {
    owner: i64,
    route: ExtensionPluginResponse,
}

impl Registry {
    pub(super) fn extensions(&self) -> BTreeMap<i64, InternalExtensionInfo> {
        self.extensions.clone()
    }

    pub(super) fn forget_extensions(&mut self) {
        self.extensions.clear();
    }

    pub(super) fn has_extension(&self, name: &str) -> bool {
        self.extensions.values().any(|info| info.name.as_deref() == Some(name))
    }

    pub(super) fn knows(&self, uuid: i64) -> bool {
        self.extensions.contains_key(&uuid)
    }

    fn exists(&self, registry: &str, item: &str) -> bool {
        // Disabling a core table does not free its name.
        (registry == "table" && core_tables::NAMES.contains(&item))
            || self.plugins.contains_key(&(registry.to_owned(), item.to_owned()))
    }

    /// Adds what an extension brings and returns the names of its tables.
    pub(super) fn add(
        &mut self,
        uuid: i64,
        registry: &ExtensionRegistry,
    ) -> Result<Vec<String>, String> {
        for (registry, items) in registry {
            for item in items.keys() {
                if self.exists(registry, item) {
                    return Err(format!(
                        "Registry item {item} conflicts with another item of the same name."
                    ));
                }
            }
        }
        if let Some(unknown) = registry.keys().find(|name| !REGISTRIES.contains(&name.as_str())) {
            return Err(format!("Unknown registry: {unknown}"));
        }
        let routeless =
            registry.get("table").into_iter().flatten().find(|(_, route)| route.is_empty());
        if routeless.is_some() {
            return Err("Invalid route info".to_owned());
        }
        for (registry, items) in registry {
            for (item, route) in items {
                self.plugins.insert(
                    (registry.clone(), item.clone()),
                    Plugin { owner: uuid, route: route.clone() },
                );
            }
        }
        Ok(registry.get("table").map(|items| items.keys().cloned().collect()).unwrap_or_default())
    }

    /// Lists the extension, once its tables are attached.
    pub(super) fn confirm(&mut self, uuid: i64, info: InternalExtensionInfo) {
        self.extensions.insert(uuid, info);
    }

    /// Forgets an extension and returns the names of its tables.
    pub(super) fn remove(&mut self, uuid: i64) -> Vec<String> {
        self.extensions.remove(&uuid);
        let tables = self
            .plugins
            .iter()
            .filter(|((registry, _), plugin)| registry == "table" && plugin.owner == uuid)
            .map(|((_, item), _)| item.clone())
            .collect();
        self.plugins.retain(|_, plugin| plugin.owner != uuid);
        tables
    }

    pub(super) fn route(&self, registry: &str, item: &str) -> Option<ExtensionPluginResponse> {
        self.plugins.get(&(registry.to_owned(), item.to_owned())).map(|plugin| plugin.route.clone())
    }

    pub(super) fn owner(&self, registry: &str, item: &str) -> Option<i64> {
        self.plugins.get(&(registry.to_owned(), item.to_owned())).map(|plugin| plugin.owner)
    }

    /// Registry, name and owner of every plugin that extensions brought.
    pub(super) fn plugins(&self) -> Vec<(String, String, i64)> {
        self.plugins
            .iter()
            .map(|((registry, item), plugin)| (registry.clone(), item.clone(), plugin.owner))
            .collect()
    }
}

/// Whether version `sdk` is `required` or later, as osquery/utils/info/version.cpp compares them:
/// part by part, numbers as numbers, anything else as text, and "0.0.0" always passes.
pub(super) fn version_at_least(required: &str, sdk: &str) -> bool {
    if required == "0.0.0" || sdk == "0.0.0" {
        return true;
    }
    let required: Vec<&str> = required.split('.').collect();
    for (part, needed) in sdk.split('.').zip(required) {
        match (part.parse::<i64>(), needed.parse::<i64>()) {
            (Ok(part), Ok(needed)) if part < needed => return false,
            (Ok(part), Ok(needed)) if part > needed => return true,
            (Ok(_), Ok(_)) => {}
            _ if part < needed => return false,
            _ => {}
        }
    }
    true
}
