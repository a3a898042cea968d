//! Whether a value can satisfy a condition, as SQLite would see it.
//!
//! SQLite checks every row again, so the one duty here is never to drop a row that it would keep.
//! A condition whose meaning is in doubt is therefore not evaluated at all:
//! - An unknown text reaches SQLite as '' from osqueryd (`DynamicTableRow::get_column` adds the
//!   missing column before it looks), as NULL from others: it is kept if either satisfies. An
//!   unknown number is NULL from both, and no comparison is true of that.
//! - Text may be compared under a collation that is not told to us: equality holds if it holds
//!   without regard to ASCII case and trailing spaces; `<`, `<=`, `>` and `>=` are left to SQLite.
//! - REGEXP is what the host makes it. Only patterns that mean the same to all of them are tried.

use std::cmp::Ordering;

use regex::Regex;

use crate::column::Cell;
use crate::scan::{Constraint, Op};
use crate::schema::ColumnType;

mod like;
#[cfg(test)]
mod tests;

use like::{glob, like};

/// Beyond this a float does not tell every whole number apart.
const EXACT_FLOAT: f64 = 9_007_199_254_740_992.0;

/// Longest regular expression that is tried, in bytes; and the size of its program.
const MAX_REGEX: usize = 512;
const MAX_REGEX_PROGRAM: usize = 1 << 20;

/// A condition, ready to be evaluated.
#[derive(Debug)]
pub struct Test {
    /// Index of its column.
    pub column: usize,
    check: Check,
    text: bool,
}

#[derive(Debug)]
enum Check {
    Number(Op, Number),
    TextEq(Box<str>),
    TextNe(Box<str>),
    Like(Box<[char]>),
    Glob(Box<[char]>),
    Regexp(Box<Regex>),
    Null,
    NotNull,
}

/// The right-hand side of a comparison with a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A whole number.
    Int(i64),
    /// Any other number.
    Real(f64),
    /// No number, so greater than every number.
    Text,
}

impl Number {
    /// Reads text under SQLite's numeric affinity: blanks around it do not matter, hexadecimal and
    /// infinities are not numbers.
    pub fn parse(text: &str) -> Self {
        let blank = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];
        let text = text.trim_matches(blank);
        if let Ok(whole) = text.parse() {
            return Self::Int(whole);
        }
        let digits = |byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        match text.parse::<f64>() {
            Ok(real) if text.bytes().all(digits) => Self::Real(real),
            _ => Self::Text,
        }
    }

    /// How a number compares with this. `None`: too great to tell.
    fn compare(self, value: i64) -> Option<Ordering> {
        match self {
            Self::Int(other) => Some(value.cmp(&other)),
            Self::Text => Some(Ordering::Less),
            Self::Real(real) if real.abs() <= EXACT_FLOAT && value.unsigned_abs() < 1 << 53 => {
                (value as f64).partial_cmp(&real)
            }
            Self::Real(_) => None,
        }
    }
}

impl Test {
    /// Compiles a condition on a column of this type. `None`: SQLite is to decide.
    pub fn new(constraint: &Constraint, ty: ColumnType) -> Option<Self> {
        let text = ty == ColumnType::Text;
        let value = || constraint.value.as_str().into();
        let check = match constraint.op {
            Op::Like => Check::Like(constraint.value.chars().collect()),
            Op::Glob => Check::Glob(constraint.value.chars().collect()),
            Op::Regexp => Check::Regexp(Box::new(regex(&constraint.value)?)),
            Op::IsNull => Check::Null,
            Op::IsNotNull => Check::NotNull,
            Op::Eq if text => Check::TextEq(value()),
            Op::Ne if text => Check::TextNe(value()),
            _ if text || ty == ColumnType::Double => return None,
            op => Check::Number(op, Number::parse(&constraint.value)),
        };
        Some(Self { column: constraint.column, check, text })
    }

    /// Whether a row with this value may be wanted. `text` is the value where it is text.
    pub fn keeps(&self, cell: Cell, text: &str) -> bool {
        match cell {
            Cell::Unknown if matches!(self.check, Check::Null) => true,
            Cell::Unknown => self.text && self.keeps_known(None, ""),
            Cell::Int(number) => self.keeps_known(Some(number), ""),
            Cell::Text => self.keeps_known(None, text),
        }
    }

    fn keeps_known(&self, number: Option<i64>, text: &str) -> bool {
        let mut buffer = itoa::Buffer::new();
        let written = match number {
            Some(number) if !matches!(self.check, Check::Number(..)) => buffer.format(number),
            _ => text,
        };
        match &self.check {
            Check::Null => false,
            Check::NotNull => true,
            Check::TextEq(value) => equal(written, value),
            Check::TextNe(value) => written != &**value,
            Check::Like(pattern) => like(pattern, written),
            Check::Glob(pattern) => glob(pattern, written),
            Check::Regexp(regex) => regex.is_match(written),
            Check::Number(op, value) => {
                let Some(number) = number else { return true };
                let Some(order) = value.compare(number) else { return true };
                match op {
                    Op::Eq => order.is_eq(),
                    Op::Ne => order.is_ne(),
                    Op::Lt => order.is_lt(),
                    Op::Le => order.is_le(),
                    Op::Gt => order.is_gt(),
                    Op::Ge => order.is_ge(),
                    _ => true,
                }
            }
        }
    }
}

/// Equality under any of BINARY, NOCASE and RTRIM.
pub fn equal(a: &str, b: &str) -> bool {
    a.trim_end_matches(' ').eq_ignore_ascii_case(b.trim_end_matches(' '))
}

/// Compiles a regular expression so that it finds at least what any host would: anywhere in the
/// text, `.` matching newlines too, `^` and `$` at every line.
fn regex(pattern: &str) -> Option<Regex> {
    let plain = |character: char| {
        character.is_ascii_alphanumeric() || " /_-,:=@%~\"'<>!#;.*+|^$".contains(character)
    };
    if pattern.is_empty() || pattern.len() > MAX_REGEX {
        return None;
    }
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let escaped = character == '\\' && characters.next().is_some_and(|c| ".+*/-".contains(c));
        if !plain(character) && !escaped {
            return None;
        }
    }
    // "*+" and the like mean different things in different dialects.
    let repeats = |byte: &u8| matches!(byte, b'*' | b'+');
    if pattern.as_bytes().windows(2).any(|pair| pair.iter().all(repeats)) {
        return None;
    }
    regex::RegexBuilder::new(pattern)
        .dot_matches_new_line(true)
        .multi_line(true)
        .size_limit(MAX_REGEX_PROGRAM)
        .build()
        .ok()
}
