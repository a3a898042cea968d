//! osqueryd's manager service (osquery/extensions/interface.cpp and impl_thrift.cpp).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{OSQUERY_VERSION, Shared};
use crate::server::Handler;
use crate::thrift::{
    ExtensionManagerSyncHandler, ExtensionManagerSyncProcessor, ExtensionPluginRequest,
    ExtensionPluginResponse, ExtensionRegistry, ExtensionResponse, ExtensionStatus,
    ExtensionSyncHandler, InternalExtensionInfo, InternalExtensionList, InternalOptionInfo,
    InternalOptionList,
};
use crate::wire::{Input, Output, Stream};
use ::thrift::server::TProcessor;

/// Serves the manager socket.
pub(super) struct Service(ExtensionManagerSyncProcessor<Answers>);

impl Service {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(ExtensionManagerSyncProcessor::new(Answers(shared)))
    }
}

impl Handler for Service {
    fn message(&self, input: &mut Input<Stream>, output: &mut Output) -> ::thrift::Result<()> {
        self.0.process(input, output)
    }
}

struct Answers(Arc<Shared>);

fn status(code: i32, message: impl Into<String>, uuid: i64) -> ExtensionStatus {
    ExtensionStatus { code: Some(code), message: Some(message.into()), uuid: Some(uuid) }
}

fn response(result: Result<ExtensionPluginResponse, String>) -> ExtensionResponse {
    match result {
        Ok(rows) => ExtensionResponse { status: Some(status(0, "OK", 0)), response: Some(rows) },
        Err(message) => {
            ExtensionResponse { status: Some(status(1, message, 0)), response: Some(Vec::new()) }
        }
    }
}

impl ExtensionSyncHandler for Answers {
    fn handle_ping(&self) -> ::thrift::Result<ExtensionStatus> {
        Ok(status(0, "pong", 0))
    }

    fn handle_call(
        &self,
        registry: String,
        item: String,
        request: ExtensionPluginRequest,
    ) -> ::thrift::Result<ExtensionResponse> {
        let action = request.get("action").map(String::as_str);
        let result = match registry.as_str() {
            "database" => self.0.database.call(&request),
            "config" => match action {
                Some("genConfig") => {
                    let config = self.0.config.lock().clone();
                    Ok(vec![BTreeMap::from([("osquery.conf".to_owned(), config)])])
                }
                Some("option") => Err("Missing option name".to_owned()),
                Some(action) => Err(format!("Config plugin action unknown: {action}")),
                None => Err("Config plugins require an action".to_owned()),
            },
            "table" => self.0.call_table(&item, &request),
            _ => Err(format!("Cannot call registry item: {item}")),
        };
        Ok(response(result))
    }

    fn handle_shutdown(&self) -> ::thrift::Result<()> {
        // osqueryd does not let extensions stop it either.
        Ok(())
    }
}

impl ExtensionManagerSyncHandler for Answers {
    fn handle_extensions(&self) -> ::thrift::Result<InternalExtensionList> {
        Ok(self.0.extensions())
    }

    fn handle_options(&self) -> ::thrift::Result<InternalOptionList> {
        let disabled: Vec<&str> = self.0.options.disabled.iter().map(String::as_str).collect();
        let option = |value: String, default: &str, ty: &str| InternalOptionInfo {
            value: Some(value),
            default_value: Some(default.to_owned()),
            type_: Some(ty.to_owned()),
        };
        let socket = self.0.options.socket.display().to_string();
        Ok(BTreeMap::from([
            ("config_plugin".to_owned(), option("filesystem".to_owned(), "filesystem", "string")),
            ("disable_tables".to_owned(), option(disabled.join(","), "", "string")),
            ("extensions_socket".to_owned(), option(socket, "", "string")),
            ("logger_plugin".to_owned(), option("filesystem".to_owned(), "filesystem", "string")),
        ]))
    }

    fn handle_register_extension(
        &self,
        info: InternalExtensionInfo,
        registry: ExtensionRegistry,
    ) -> ::thrift::Result<ExtensionStatus> {
        Ok(match self.0.register(info, &registry) {
            Ok(uuid) => status(0, "OK", uuid),
            Err(message) => status(1, message, 0),
        })
    }

    fn handle_deregister_extension(&self, uuid: i64) -> ::thrift::Result<ExtensionStatus> {
        Ok(if self.0.deregister(uuid) {
            status(0, "OK", 0)
        } else {
            status(1, "No extension UUID found", 0)
        })
    }

    fn handle_query(&self, sql: String) -> ::thrift::Result<ExtensionResponse> {
        let mut rows = Vec::new();
        let result = self.0.query(&sql, &mut |answer| rows.extend(answer.into_maps()));
        Ok(response(result.map(|()| rows).map_err(|error| error.to_string())))
    }

    fn handle_get_query_columns(&self, sql: String) -> ::thrift::Result<ExtensionResponse> {
        let columns = self.0.with_sql(|engine| engine.columns(&sql));
        Ok(response(columns.map_err(|error| error.to_string()).map(|columns| {
            columns.into_iter().map(|(name, ty)| BTreeMap::from([(name, ty)])).collect()
        })))
    }
}

impl Shared {
    /// A call of a `table` plugin that an extension or the shell makes through the manager.
    fn call_table(
        &self,
        table: &str,
        request: &ExtensionPluginRequest,
    ) -> Result<ExtensionPluginResponse, String> {
        if request.get("action").map(String::as_str) == Some("columns")
            && let Some(route) = self.route(table)
        {
            return Ok(route);
        }
        match self.owner(table) {
            Some(uuid) => super::extension::call(&self.extension_socket(uuid), table, request)
                .map_err(|error| error.to_string()),
            None => Err(format!("Cannot call registry item: {table}")),
        }
    }
}

/// What the `version` column of `osquery_info` says: which osquery this behaves like, and that it
/// is not one.
pub(super) fn version() -> String {
    format!("{OSQUERY_VERSION}-osquery-ebpf")
}
