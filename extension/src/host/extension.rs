//! Calls to extensions: the other direction of the protocol.

use std::path::Path;
use std::time::Duration;

use thrift::protocol::{
    TFieldIdentifier, TInputProtocol, TMapIdentifier, TMessageIdentifier, TMessageType,
    TOutputProtocol, TType,
};
use thrift::{ProtocolErrorKind, new_protocol_error};

use crate::thrift::{
    ExtensionPluginRequest, ExtensionPluginResponse, ExtensionSyncClient, TExtensionSyncClient,
};
use crate::wire::{Deadline, Input, Output, Stream, check_peer, connect, output};

/// osqueryd's `thrift_timeout`.
const TIMEOUT: Duration = Duration::from_secs(300);
/// The largest answer. A table of a million rows with long command lines fits.
const ANSWER_BYTES: usize = 2 << 30;

/// A row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// Its number, where the extension gives one (`DynamicTableRow::get_rowid`).
    pub(super) rowid: Option<Box<str>>,
    /// Values by index of their column; unknown ones are left out.
    pub(super) values: Box<[(u16, Box<str>)]>,
}

fn open(socket: &Path) -> thrift::Result<(Input<Stream>, Output)> {
    let stream = connect(socket, TIMEOUT)?;
    check_peer(&stream).map_err(std::io::Error::other)?;
    let reading = Stream::new(stream, Deadline::new(TIMEOUT, TIMEOUT));
    let writing = reading.try_clone()?;
    Ok((Input::new(reading, ANSWER_BYTES), output(writing)))
}

fn client(socket: &Path) -> thrift::Result<ExtensionSyncClient<Input<Stream>, Output>> {
    let (input, output) = open(socket)?;
    Ok(ExtensionSyncClient::new(input, output))
}

/// Asks an extension for a sign of life.
pub(super) fn ping(socket: &Path) -> thrift::Result<()> {
    client(socket)?.ping().map(|_| ())
}

/// Asks an extension to stop.
pub(super) fn shutdown(socket: &Path) -> thrift::Result<()> {
    client(socket)?.shutdown()
}

/// Calls a table plugin.
pub(super) fn call(
    socket: &Path,
    table: &str,
    request: &ExtensionPluginRequest,
) -> thrift::Result<ExtensionPluginResponse> {
    let answer = client(socket)?.call("table".to_owned(), table.to_owned(), request.clone())?;
    let status = answer.status.unwrap_or_default();
    if status.code == Some(0) {
        Ok(answer.response.unwrap_or_default())
    } else {
        Err(thrift::Error::User(status.message.unwrap_or_default().into()))
    }
}

fn invalid(what: &str) -> thrift::Error {
    new_protocol_error(ProtocolErrorKind::InvalidData, what)
}

/// Generates a table's rows. `columns` are the table's, for their indexes. Values are read straight
/// into rows by index: an answer of 100,000 rows as maps would be many times larger.
pub(super) fn generate(
    socket: &Path,
    table: &str,
    context: &str,
    columns: &[String],
) -> thrift::Result<Vec<Row>> {
    let (mut input, mut output) = open(socket)?;
    ask(&mut output, table, context)?;
    let message = input.read_message_begin()?;
    match message.message_type {
        TMessageType::Reply => {}
        TMessageType::Exception => {
            let error = thrift::Error::read_application_error_from_in_protocol(&mut input)?;
            return Err(thrift::Error::Application(error));
        }
        _ => return Err(invalid("neither an answer nor an exception")),
    }
    let mut rows = None;
    loop {
        let field = input.read_field_begin()?;
        match (field.id, field.field_type) {
            (_, TType::Stop) => break,
            (Some(0), TType::Struct) => rows = Some(read_response(&mut input, columns)?),
            (_, other) => input.skip(other)?,
        }
    }
    rows.ok_or_else(|| invalid("an answer without a result"))
}

fn ask(output: &mut Output, table: &str, context: &str) -> thrift::Result<()> {
    let text = |id| TFieldIdentifier::new("", TType::String, id);
    output.write_message_begin(&TMessageIdentifier::new("call", TMessageType::Call, 1))?;
    output.write_field_begin(&text(1))?;
    output.write_string("table")?;
    output.write_field_begin(&text(2))?;
    output.write_string(table)?;
    output.write_field_begin(&TFieldIdentifier::new("", TType::Map, 3))?;
    output.write_map_begin(&TMapIdentifier::new(TType::String, TType::String, 2))?;
    for (name, value) in [("action", "generate"), ("context", context)] {
        output.write_string(name)?;
        output.write_string(value)?;
    }
    output.write_field_stop()?;
    output.write_message_end()?;
    output.flush()
}

fn read_response(input: &mut Input<Stream>, columns: &[String]) -> thrift::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let (mut code, mut message) = (None, String::new());
    loop {
        let field = input.read_field_begin()?;
        match (field.id, field.field_type) {
            (_, TType::Stop) => break,
            (Some(1), TType::Struct) => (code, message) = read_status(input)?,
            (Some(2), TType::List) => {
                let list = input.read_list_begin()?;
                for _ in 0..list.size {
                    rows.push(read_row(input, columns)?);
                }
            }
            (_, other) => input.skip(other)?,
        }
    }
    if code == Some(0) { Ok(rows) } else { Err(thrift::Error::User(message.into())) }
}

fn read_status(input: &mut Input<Stream>) -> thrift::Result<(Option<i32>, String)> {
    let (mut code, mut message) = (None, String::new());
    loop {
        let field = input.read_field_begin()?;
        match (field.id, field.field_type) {
            (_, TType::Stop) => return Ok((code, message)),
            (Some(1), TType::I32) => code = Some(input.read_i32()?),
            (Some(2), TType::String) => message = input.read_string()?,
            (_, other) => input.skip(other)?,
        }
    }
}

fn read_row(input: &mut Input<Stream>, columns: &[String]) -> thrift::Result<Row> {
    let map = input.read_map_begin()?;
    let mut row = Vec::new();
    let mut rowid = None;
    for _ in 0..map.size {
        let name = input.read_string()?;
        let value = input.read_string()?;
        if name == "rowid" {
            rowid = Some(value.into_boxed_str());
            continue;
        }
        // Extensions write columns in their order, so look from where the last one was.
        let from = row.last().map_or(0, |(index, _): &(u16, _)| usize::from(*index) + 1);
        let index = columns
            .iter()
            .skip(from)
            .position(|column| *column == name)
            .map(|index| index + from)
            .or_else(|| columns.iter().position(|column| *column == name));
        if let Some(index) = index.and_then(|index| u16::try_from(index).ok()) {
            row.push((index, value.into_boxed_str()));
        }
    }
    Ok(Row { rowid, values: row.into_boxed_slice() })
}
