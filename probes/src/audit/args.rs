//! The argument vector of an exec, from its EXECVE records.
//!
//! Owns the way `audit_log_execve_info` (`kernel/auditsc.c`) spreads a long vector over records and
//! a long argument over parts: `argc=2 a0="x" a1_len=18000 a1[0]=7878…`, then ` a1[1]=7878…` in
//! the next record. Lengths count characters as written: two for each byte in hexadecimal.

use std::collections::BTreeMap;

use crate::event::{Bytes, Strings};

use super::record::{Fields, Malformed, number, untrusted};

/// Bytes of arguments kept of one exec. The size and number given are those of all there were.
pub const MAX_ARGS: usize = 32 << 10;

/// Whether a value was in quotes tells how many bytes its length stands for.
const QUOTE: u8 = b'"';

/// Arguments as far as their records have come, in whatever order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Args {
    /// `argc`.
    count: Option<u32>,
    /// Parts by argument and part; of those beyond [`MAX_ARGS`] the first are kept.
    parts: BTreeMap<(u32, u32), Piece>,
    /// Bytes in `parts`, with a NUL for each.
    held: usize,
    /// Arguments whose beginning has come.
    begun: u32,
    /// Bytes there must be, of the arguments that have begun.
    declared: u64,
    /// Bytes that have come.
    come: u64,
    /// A part was let go for room.
    cut: bool,
}

/// An argument, or one part of it.
#[derive(Debug, Clone, PartialEq)]
struct Piece {
    bytes: Bytes,
    /// Bytes of the whole argument; the first part says it.
    length: Option<u64>,
}

impl Args {
    /// Takes over the fields of one EXECVE record.
    ///
    /// # Errors
    /// [`Malformed::Field`]; what stood before it is kept.
    pub fn add(&mut self, text: &[u8]) -> Result<(), Malformed> {
        const BAD: Malformed = Malformed::Field("a0");
        let mut length = None;
        for (name, value) in Fields(text) {
            if name == b"argc" {
                let count = number(value, 10).and_then(|count| u32::try_from(count).ok());
                self.count = Some(count.ok_or(Malformed::Field("argc"))?);
                continue;
            }
            match argument(name).ok_or(BAD)? {
                (_, Part::Length) => length = Some(number(value, 10).ok_or(BAD)?),
                (index, Part::Whole) => {
                    let bytes = untrusted(value).ok_or(BAD)?;
                    let length = Some(bytes.len() as u64);
                    self.keep((index, 0), Piece { bytes: bytes.into(), length });
                }
                (index, Part::Numbered(part)) => {
                    let bytes = untrusted(value).ok_or(BAD)?;
                    let length = if part == 0 {
                        let written = length.take().ok_or(BAD)?;
                        Some(if value.first() == Some(&QUOTE) { written } else { written / 2 })
                    } else {
                        None
                    };
                    self.keep((index, part), Piece { bytes: bytes.into(), length });
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, key: (u32, u32), piece: Piece) {
        if let Some(length) = piece.length {
            self.begun = self.begun.saturating_add(1);
            self.declared = self.declared.saturating_add(length);
        }
        self.come = self.come.saturating_add(piece.bytes.len() as u64);
        self.held = self.held.saturating_add(piece.bytes.len()).saturating_add(1);
        self.parts.insert(key, piece);
        // One part more than fits stays, to be cut where the room ends.
        while let Some(last) = self.parts.last_entry() {
            let size = last.get().bytes.len().saturating_add(1);
            let Some(left) = self.held.checked_sub(size).filter(|&left| left >= MAX_ARGS) else {
                break;
            };
            last.remove();
            self.held = left;
            self.cut = true;
        }
    }

    /// Every argument has come, whole.
    pub fn complete(&self) -> bool {
        self.count == Some(self.begun) && self.declared == self.come
    }

    /// Nothing has come.
    pub fn is_empty(&self) -> bool {
        self.count.is_none() && self.parts.is_empty()
    }

    /// The vector up to [`MAX_ARGS`] or the first missing part, and whether that is less than all.
    pub fn strings(&self) -> (Strings, bool) {
        if self.is_empty() {
            return (Strings::default(), true);
        }
        let mut bytes = Vec::with_capacity(self.held.min(MAX_ARGS));
        let mut whole = self.complete() && !self.cut;
        // The part that must come next, and what its argument still lacks.
        let (mut index, mut part, mut lacking) = (0, 0, 0_u64);
        for (&key, piece) in &self.parts {
            if part == 0 {
                lacking = piece.length.unwrap_or(0);
            }
            if key != (index, part) {
                whole = false;
                break;
            }
            bytes.extend_from_slice(&piece.bytes);
            lacking = lacking.saturating_sub(piece.bytes.len() as u64);
            if lacking == 0 {
                bytes.push(0);
                (index, part) = (index.saturating_add(1), 0);
            } else {
                part = part.saturating_add(1);
            }
        }
        if bytes.len() > MAX_ARGS {
            bytes.truncate(MAX_ARGS);
            whole = false;
        }
        let size = self.declared.saturating_add(u64::from(self.begun));
        let strings = Strings {
            bytes: Some(bytes.into()),
            size: self.complete().then_some(size),
            count: self.count,
        };
        (strings, !whole)
    }
}

enum Part {
    Whole,
    Length,
    Numbered(u32),
}

/// Takes `a1`, `a1_len` or `a1[0]` apart.
fn argument(name: &[u8]) -> Option<(u32, Part)> {
    let text = name.strip_prefix(b"a")?;
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (index, rest) = text.split_at_checked(digits)?;
    let index = u32::try_from(number(index, 10)?).ok()?;
    let part = match rest {
        b"" => Part::Whole,
        b"_len" => Part::Length,
        _ => {
            let part = rest.strip_prefix(b"[")?.strip_suffix(b"]")?;
            Part::Numbered(u32::try_from(number(part, 10)?).ok()?)
        }
    };
    Some((index, part))
}

#[cfg(test)]
mod tests;
