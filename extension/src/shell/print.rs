//! Results as osqueryi prints them (osquery/devtools/printer.cpp and shell.cpp).

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::host::{Answer, Cell};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// A table drawn with dashes.
    #[default]
    Pretty,
    /// A list of objects, their keys in alphabetical order and every value a text.
    Json,
    /// Values with a separator between them, quoted where needed.
    Csv,
    /// One value a line.
    Line,
    /// Values with a separator between them, as they are.
    List,
}

impl Mode {
    /// The modes, by name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("pretty", Self::Pretty),
        ("json", Self::Json),
        ("csv", Self::Csv),
        ("line", Self::Line),
        ("list", Self::List),
    ];

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, mode)| mode)
    }
}

/// What is printed besides the rows.
#[derive(Debug, Clone)]
pub struct Style {
    /// How.
    pub mode: Mode,
    /// Between values of csv and list. osqueryi's default is `|` for both.
    pub separator: String,
    /// Whether csv and list begin with the names of the columns.
    pub header: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { mode: Mode::Pretty, separator: "|".to_owned(), header: true }
    }
}

/// Prints the rows of one statement.
///
/// # Errors
/// Those of `out`.
pub fn print(answer: &Answer, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    match style.mode {
        Mode::Pretty => pretty(answer, out),
        Mode::Json => json(answer, out),
        Mode::Csv => separated(answer, style, out, &|text| quoted(text, &style.separator)),
        Mode::List => separated(answer, style, out, &str::to_owned),
        Mode::Line => line(answer, out),
    }
}

fn text(cell: &Cell) -> String {
    cell.text().unwrap_or_default()
}

/// Characters, as osquery counts them: code points, however wide they are drawn.
fn width(text: &str) -> usize {
    text.chars().count()
}

fn pretty(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    if answer.rows.is_empty() {
        return Ok(());
    }
    let rows: Vec<Vec<String>> =
        answer.rows.iter().map(|row| row.iter().map(text).collect()).collect();
    // As in osqueryi, columns of one name share their width.
    let mut widths: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, column) in answer.columns.iter().enumerate() {
        let values = rows.iter().filter_map(|row| row.get(index)).map(|value| width(value));
        let widest = values.max().unwrap_or(0).max(width(column));
        let known = widths.entry(column).or_insert(0);
        *known = widest.max(*known);
    }
    let widths: Vec<usize> = answer
        .columns
        .iter()
        .map(|column| widths.get(column.as_str()).copied().unwrap_or(0))
        .collect();
    let rule: String =
        widths.iter().fold("+".to_owned(), |rule, width| rule + &"-".repeat(width + 2) + "+");
    let row = |values: &[String]| {
        values.iter().zip(&widths).fold("|".to_owned(), |row, (value, room)| {
            let padding = room.saturating_sub(width(value));
            format!("{row} {value}{} |", " ".repeat(padding))
        })
    };
    writeln!(out, "{rule}\n{}\n{rule}", row(&answer.columns))?;
    for values in &rows {
        writeln!(out, "{}", row(values))?;
    }
    writeln!(out, "{rule}")
}

fn json(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "[")?;
    for (index, row) in answer.rows.iter().enumerate() {
        let object: BTreeMap<&str, String> =
            answer.columns.iter().map(String::as_str).zip(row.iter().map(text)).collect();
        let comma = if index + 1 < answer.rows.len() { ",\n" } else { "" };
        write!(out, "  {}{comma}", serde_json::to_string(&object)?)?;
    }
    writeln!(out, "\n]")
}

fn separated(
    answer: &Answer,
    style: &Style,
    out: &mut dyn Write,
    value: &dyn Fn(&str) -> String,
) -> io::Result<()> {
    if answer.rows.is_empty() {
        return Ok(());
    }
    if style.header {
        let names: Vec<String> = answer.columns.iter().map(|name| value(name)).collect();
        writeln!(out, "{}", names.join(&style.separator))?;
    }
    for row in &answer.rows {
        // NULL is nothing at all, an empty text a quoted one.
        let values: Vec<String> = row
            .iter()
            .map(|cell| cell.text().map(|text| value(&text)).unwrap_or_default())
            .collect();
        writeln!(out, "{}", values.join(&style.separator))?;
    }
    Ok(())
}

/// A value of csv: quoted if it is empty, or holds a control character, a space, a quote, anything
/// that is not ASCII, or the separator.
fn quoted(text: &str, separator: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\'';
    let quote = text.is_empty()
        || !text.bytes().all(plain)
        || (!separator.is_empty() && text.contains(separator));
    if quote { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn line(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    const NARROWEST: usize = 5;
    let room = answer.columns.iter().map(|column| width(column)).max().unwrap_or(0).max(NARROWEST);
    for (index, row) in answer.rows.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        for (column, cell) in answer.columns.iter().zip(row) {
            writeln!(out, "{column:>room$} = {}", text(cell))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
