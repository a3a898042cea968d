//! The extension's own end of the protocol: what osqueryd may ask us, and our answers.
//!
//! `ping` and `columns` are answered at once on their connection's thread. `generate` passes a
//! [`Gate`] that lets few through at a time, so that a storm of queries costs bounded memory and
//! never an unanswered ping (one of those deregisters us).

mod context;
mod gate;
mod reply;
mod routes;

pub use context::{ContextError, parse as parse_context};
pub use gate::Gate;
pub use routes::{registry, route};

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use osquery_ebpf_tables::scan::{Request, Tables};
use osquery_ebpf_tables::schema::Table;
use thrift::protocol::{TInputProtocol, TMessageIdentifier, TMessageType, TType};

use crate::caller::CallerSource;
use crate::once::Once;
use crate::server::Handler;
use crate::thrift::ExtensionPluginRequest;
use crate::wire::{Input, Output, Stream};
use reply::{Status, write_response, write_rows, write_scan, write_status, write_void};

/// Tables scanned at a time. osqueryd runs its schedule one query after the other; others come
/// from distributed queries and prompts.
pub const GENERATES: usize = 4;
/// Scans that may wait for their turn.
pub const WAITING: usize = 16;
/// How long one waits at most.
const TURN: Duration = Duration::from_secs(30);

/// What the endpoint has answered.
#[derive(Debug, Default)]
pub struct Counts {
    /// Scans answered with rows.
    pub scans: AtomicU64,
    /// Rows given.
    pub rows: AtomicU64,
    /// Scans refused because too many were under way.
    pub busy: AtomicU64,
    /// Requests refused because they made no sense.
    pub refused: AtomicU64,
}

/// Answers osqueryd.
pub struct Endpoint {
    tables: Arc<dyn Tables>,
    caller: Arc<dyn CallerSource>,
    uuid: AtomicI64,
    gate: Gate,
    counts: Counts,
    said: Once,
    on_shutdown: Box<dyn Fn() + Send + Sync>,
}

/// Arguments of `call`.
#[derive(Debug, Default)]
struct Call {
    registry: String,
    item: String,
    request: ExtensionPluginRequest,
}

/// What to answer a `call` with.
enum Answer {
    Rows(Vec<std::collections::BTreeMap<String, String>>),
    Scan(Box<dyn osquery_ebpf_tables::scan::Scan>, gate::Pass),
    Failure(String),
}

impl Endpoint {
    /// Serves `tables`; `caller` says who asks; `on_shutdown` is what a shutdown request does.
    pub fn new(
        tables: Arc<dyn Tables>,
        caller: Arc<dyn CallerSource>,
        on_shutdown: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            tables,
            caller,
            uuid: AtomicI64::new(0),
            gate: Gate::new(GENERATES, WAITING, TURN),
            counts: Counts::default(),
            said: Once::default(),
            on_shutdown: Box::new(on_shutdown),
        }
    }

    /// The number osqueryd gave us, which every answer carries.
    pub fn set_uuid(&self, uuid: i64) {
        self.uuid.store(uuid, Ordering::Relaxed);
    }

    /// What has been answered.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    fn status(&self, code: i32, message: impl Into<String>) -> Status {
        Status { code, message: message.into(), uuid: self.uuid.load(Ordering::Relaxed) }
    }

    fn table(&self, name: &str) -> Option<&'static Table> {
        self.tables.tables().iter().find(|table| table.name == name).copied()
    }

    fn answer(&self, call: &Call) -> Answer {
        if call.registry != "table" {
            return Answer::Failure(format!("osquery-ebpf has no {} plugins", call.registry));
        }
        let Some(table) = self.table(&call.item) else {
            return Answer::Failure(format!("osquery-ebpf has no table {}", call.item));
        };
        match call.request.get("action").map(String::as_str) {
            Some("columns") => Answer::Rows(route(table)),
            Some("generate") => self.generate(table, &call.request),
            Some("insert" | "update" | "delete") => {
                Answer::Rows(vec![[("status".to_owned(), "readonly".to_owned())].into()])
            }
            Some(other) => Answer::Failure(format!("unknown table plugin action: {other}")),
            None => Answer::Failure("table plugins must be asked for an action".to_owned()),
        }
    }

    fn generate(&self, table: &'static Table, request: &ExtensionPluginRequest) -> Answer {
        let context = request.get("context").map_or("", String::as_str);
        let (constraints, columns) = match parse_context(table, context) {
            Ok(parsed) => parsed,
            Err(error) => return Answer::Failure(format!("{}: {error}", table.name)),
        };
        let Some(pass) = self.gate.enter() else {
            self.counts.busy.fetch_add(1, Ordering::Relaxed);
            if self.said.first("busy") {
                log::warn!(
                    "{}: refused, {GENERATES} scans under way and {WAITING} waiting (said once)",
                    table.name
                );
            }
            return Answer::Failure(format!("{}: too many scans under way", table.name));
        };
        // Only event tables have cursors; the others need not know who asks.
        let caller = if table.event_based {
            self.caller.caller()
        } else {
            osquery_ebpf_tables::scan::Caller::AdHoc
        };
        match self.tables.scan(table.name, &Request { constraints, columns, caller }) {
            Ok(scan) => Answer::Scan(scan, pass),
            Err(error) => Answer::Failure(error.to_string()),
        }
    }

    fn call(
        &self,
        input: &mut Input<Stream>,
        output: &mut Output,
        sequence: i32,
    ) -> thrift::Result<()> {
        let call = read_call(input)?;
        match self.answer(&call) {
            Answer::Rows(rows) => {
                write_response(output, sequence, &self.status(0, "OK"), |output| {
                    write_rows(output, &rows)
                })
            }
            Answer::Scan(scan, _pass) => {
                self.counts.scans.fetch_add(1, Ordering::Relaxed);
                self.counts.rows.fetch_add(scan.len() as u64, Ordering::Relaxed);
                write_response(output, sequence, &self.status(0, "OK"), |output| {
                    write_scan(output, scan.as_ref())
                })
            }
            Answer::Failure(message) => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                write_response(output, sequence, &self.status(1, message), |output| {
                    write_rows(output, &[])
                })
            }
        }
    }
}

impl Handler for Endpoint {
    fn message(&self, input: &mut Input<Stream>, output: &mut Output) -> thrift::Result<()> {
        let message = input.read_message_begin()?;
        let sequence = message.sequence_number;
        match message.name.as_str() {
            "call" => self.call(input, output, sequence),
            "ping" => {
                input.skip(TType::Struct)?;
                write_status(output, "ping", sequence, &self.status(0, "pong"))
            }
            "shutdown" => {
                input.skip(TType::Struct)?;
                write_void(output, "shutdown", sequence)?;
                (self.on_shutdown)();
                Ok(())
            }
            _ => {
                input.skip(TType::Struct)?;
                unknown_method(output, &message)
            }
        }
    }
}

fn unknown_method(output: &mut Output, message: &TMessageIdentifier) -> thrift::Result<()> {
    use thrift::protocol::TOutputProtocol as _;
    let identifier = TMessageIdentifier::new(
        message.name.as_str(),
        TMessageType::Exception,
        message.sequence_number,
    );
    let error = thrift::ApplicationError::new(
        thrift::ApplicationErrorKind::UnknownMethod,
        format!("osquery-ebpf has no method {}", message.name),
    );
    output.write_message_begin(&identifier)?;
    thrift::Error::write_application_error_to_out_protocol(&error, output)?;
    output.write_message_end()?;
    output.flush()
}

fn read_call(input: &mut Input<Stream>) -> thrift::Result<Call> {
    let mut call = Call::default();
    loop {
        let field = input.read_field_begin()?;
        match (field.id, field.field_type) {
            (_, TType::Stop) => return Ok(call),
            (Some(1), TType::String) => call.registry = input.read_string()?,
            (Some(2), TType::String) => call.item = input.read_string()?,
            (Some(3), TType::Map) => {
                let map = input.read_map_begin()?;
                let texts = matches!(
                    (map.key_type, map.value_type),
                    (None, None) | (Some(TType::String), Some(TType::String))
                );
                if !texts {
                    return Err(thrift::new_protocol_error(
                        thrift::ProtocolErrorKind::InvalidData,
                        "a plugin request is a map of text to text",
                    ));
                }
                for _ in 0..map.size {
                    let key = input.read_string()?;
                    call.request.insert(key, input.read_string()?);
                }
            }
            (_, other) => input.skip(other)?,
        }
    }
}

#[cfg(test)]
mod tests;
