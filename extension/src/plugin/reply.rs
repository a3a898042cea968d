//! Answers, written straight into the connection's buffer.
//!
//! A scan is written row by row as it is read from the store: only one row is held at a time, so
//! the cost of an answer does not grow with the number of rows.

use std::collections::BTreeMap;

use osquery_ebpf_tables::scan::Scan;
use thrift::protocol::{
    TFieldIdentifier, TListIdentifier, TMapIdentifier, TMessageIdentifier, TMessageType,
    TOutputProtocol, TStructIdentifier, TType,
};
use thrift::{ProtocolErrorKind, new_protocol_error};

use crate::wire::Output;

/// An `ExtensionStatus`.
#[derive(Debug, Clone)]
pub struct Status {
    pub code: i32,
    pub message: String,
    pub uuid: i64,
}

/// The field number of every result in a reply.
const RESULT: i16 = 0;

fn field(ty: TType, id: i16) -> TFieldIdentifier {
    TFieldIdentifier::new("", ty, id)
}

fn begin(output: &mut Output, name: &str, sequence: i32) -> thrift::Result<()> {
    output.write_message_begin(&TMessageIdentifier::new(name, TMessageType::Reply, sequence))?;
    output.write_struct_begin(&TStructIdentifier::new(""))
}

fn end(output: &mut Output) -> thrift::Result<()> {
    output.write_field_stop()?;
    output.write_struct_end()?;
    output.write_message_end()?;
    output.flush()
}

fn status(output: &mut Output, status: &Status) -> thrift::Result<()> {
    output.write_field_begin(&field(TType::I32, 1))?;
    output.write_i32(status.code)?;
    output.write_field_begin(&field(TType::String, 2))?;
    output.write_string(&status.message)?;
    output.write_field_begin(&field(TType::I64, 3))?;
    output.write_i64(status.uuid)?;
    output.write_field_stop()
}

/// Answers with a status.
pub fn write_status(
    output: &mut Output,
    name: &str,
    sequence: i32,
    with: &Status,
) -> thrift::Result<()> {
    begin(output, name, sequence)?;
    output.write_field_begin(&field(TType::Struct, RESULT))?;
    status(output, with)?;
    end(output)
}

/// Answers with nothing.
pub fn write_void(output: &mut Output, name: &str, sequence: i32) -> thrift::Result<()> {
    begin(output, name, sequence)?;
    end(output)
}

/// Answers a `call` with a status and what `rows` writes.
pub fn write_response(
    output: &mut Output,
    sequence: i32,
    with: &Status,
    rows: impl FnOnce(&mut Output) -> thrift::Result<()>,
) -> thrift::Result<()> {
    begin(output, "call", sequence)?;
    output.write_field_begin(&field(TType::Struct, RESULT))?;
    output.write_field_begin(&field(TType::Struct, 1))?;
    status(output, with)?;
    output.write_field_begin(&field(TType::List, 2))?;
    rows(output)?;
    output.write_field_stop()?;
    end(output)
}

fn list(output: &mut Output, rows: usize) -> thrift::Result<()> {
    let rows = i32::try_from(rows)
        .map_err(|_| new_protocol_error(ProtocolErrorKind::SizeLimit, "too many rows"))?;
    output.write_list_begin(&TListIdentifier::new(TType::Map, rows))
}

/// Rows that are maps already.
pub fn write_rows(output: &mut Output, rows: &[BTreeMap<String, String>]) -> thrift::Result<()> {
    list(output, rows.len())?;
    for row in rows {
        let values = i32::try_from(row.len())
            .map_err(|_| new_protocol_error(ProtocolErrorKind::SizeLimit, "too many columns"))?;
        output.write_map_begin(&TMapIdentifier::new(TType::String, TType::String, values))?;
        for (name, value) in row {
            output.write_string(name)?;
            output.write_string(value)?;
        }
    }
    Ok(())
}

/// The rows of a scan. A map's size comes before its entries, and how many values of a row are
/// known shows only when it has been read: so each row is encoded aside, then its size is written.
pub fn write_scan(output: &mut Output, scan: &dyn Scan) -> thrift::Result<()> {
    let rows = scan.len();
    list(output, rows)?;
    let mut encoded = Vec::new();
    for index in 0..rows {
        encoded.clear();
        let mut values = 0_i32;
        if let Some(rowid) = scan.rowid(index) {
            // Not a column: osqueryd takes the row's number from it.
            text(&mut encoded, "rowid");
            text(&mut encoded, &rowid.to_string());
            values = values.saturating_add(1);
        }
        scan.row(index, &mut |name, value| {
            text(&mut encoded, name);
            text(&mut encoded, value);
            values = values.saturating_add(1);
        });
        output.write_map_begin(&TMapIdentifier::new(TType::String, TType::String, values))?;
        std::io::Write::write_all(&mut output.transport, &encoded)?;
    }
    Ok(())
}

/// A text as the binary protocol has it: its length, then its bytes.
fn text(encoded: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    // A column is bounded far below 2 GiB; what would not fit is cut rather than sent malformed.
    let bytes = bytes.get(..i32::MAX as usize).unwrap_or(bytes);
    encoded.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    encoded.extend_from_slice(bytes);
}
