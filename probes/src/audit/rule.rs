//! Audit rules as the kernel takes and lists them: `struct audit_rule_data`.
//!
//! Owns the encoding. Which rules there are is in `wishes.rs`.

use super::calls::{Arch, Call};

/// What all our rules' keys begin with.
pub const KEY: &str = "osquery-ebpf";

/// Words of the bitmask of system calls.
const MASK_WORDS: usize = 64;
/// Fields a rule can have.
const MAX_FIELDS: usize = 64;
/// Up to the strings: flags, action, count, mask, fields, values, field flags, length.
const FIXED: usize = (3 + MASK_WORDS + 3 * MAX_FIELDS + 1) * 4;

/// The lists rules are in (`AUDIT_FILTER_*`).
pub mod list {
    #![expect(missing_docs, reason = "the kernel's names")]
    pub const TASK: u32 = 1;
    pub const EXIT: u32 = 4;
    pub const EXCLUDE: u32 = 5;
}

/// `AUDIT_NEVER`.
pub const NEVER: u32 = 0;
/// `AUDIT_ALWAYS`.
pub const ALWAYS: u32 = 2;

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the kernel's names")]
pub enum Field {
    Pid = 0,
    Arch = 11,
    MsgType = 12,
    Exit = 103,
    Success = 104,
    Watch = 105,
    Perm = 106,
    Dir = 107,
    SaddrFam = 113,
    Arg0 = 200,
    FilterKey = 210,
}

/// Fields whose value is the length of a string that follows.
const fn has_string(field: u32) -> bool {
    // AUDIT_SUBJ_USER to _CLR 13..=17, AUDIT_OBJ_USER to _LEV_HIGH 19..=23, AUDIT_EXE 112.
    matches!(field, 13..=17 | 19..=23 | 105 | 107 | 112 | 210)
}

/// How a value is compared (`AUDIT_EQUAL` and so on).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the kernel's names")]
pub enum Compare {
    NotEqual = 0x3000_0000,
    Equal = 0x4000_0000,
}

/// A condition, its numbers as the kernel has them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kernel's names")]
pub struct Condition {
    pub field: u32,
    pub compare: u32,
    pub value: u32,
    pub text: Option<Vec<u8>>,
}

/// A rule, ours or another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The list it is in.
    pub list: u32,
    /// [`NEVER`] or [`ALWAYS`].
    pub action: u32,
    /// Bits of system calls.
    mask: [u32; MASK_WORDS],
    /// Conditions in order.
    pub conditions: Vec<Condition>,
}

impl Rule {
    /// A rule of the exit list that says to record, with no calls and no conditions yet.
    pub const fn record() -> Self {
        Self { list: list::EXIT, action: ALWAYS, mask: [0; MASK_WORDS], conditions: Vec::new() }
    }

    /// With one more call.
    #[must_use]
    pub fn call(mut self, number: u16) -> Self {
        if let Some(word) = self.mask.get_mut(usize::from(number / 32)) {
            *word |= 1 << (number % 32);
        }
        self
    }

    /// With every call, as auditctl writes rules that name none.
    #[must_use]
    pub const fn every_call(mut self) -> Self {
        self.mask = [u32::MAX; MASK_WORDS];
        self
    }

    /// With one more condition on a number.
    #[must_use]
    pub fn with(mut self, field: Field, compare: Compare, value: u32) -> Self {
        let (field, compare) = (field as u32, compare as u32);
        self.conditions.push(Condition { field, compare, value, text: None });
        self
    }

    /// With one more condition on a string.
    #[must_use]
    pub fn with_text(mut self, field: Field, text: &[u8]) -> Self {
        let value = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let (field, compare) = (field as u32, Compare::Equal as u32);
        self.conditions.push(Condition { field, compare, value, text: Some(text.to_vec()) });
        self
    }

    /// Its key.
    pub fn key(&self) -> Option<&[u8]> {
        let key = self.conditions.iter().find(|found| found.field == Field::FilterKey as u32)?;
        key.text.as_deref()
    }

    /// Whether it carries our key.
    pub fn is_ours(&self) -> bool {
        self.key().is_some_and(|key| key.starts_with(KEY.as_bytes()))
    }

    /// Whether it is about that call on that architecture, other conditions aside.
    pub fn covers(&self, arch: Arch, number: u16) -> bool {
        let word = self.mask.get(usize::from(number / 32)).copied().unwrap_or(0);
        let named = word & (1 << (number % 32)) != 0;
        let mut archs = self.conditions.iter().filter(|found| found.field == Field::Arch as u32);
        named && archs.all(|found| found.value == arch.token())
    }

    /// Conditions other than on the architecture and the key.
    pub fn narrowing(&self) -> impl Iterator<Item = &Condition> {
        let aside = [Field::Arch as u32, Field::FilterKey as u32];
        self.conditions.iter().filter(move |found| !aside.contains(&found.field))
    }

    /// In words, for logs: the place it watches, or the calls it names.
    pub fn describe(&self) -> String {
        let place = [Field::Dir as u32, Field::Watch as u32];
        let place = self.conditions.iter().find(|found| place.contains(&found.field));
        if let Some(text) = place.and_then(|found| found.text.as_deref()) {
            return format!("on {}", String::from_utf8_lossy(text));
        }
        let arch = self.conditions.iter().find(|found| found.field == Field::Arch as u32);
        let Some(arch) = arch.and_then(|found| Arch::from_token(found.value)) else {
            return "on any call".to_owned();
        };
        let numbers = (0..2048).filter(|&number| self.covers(arch, number));
        let names = numbers.filter_map(|number| Call::find(arch, number.into()));
        let names: Vec<_> = names.map(Call::name).collect();
        format!("on {} ({arch:?})", names.join(","))
    }

    /// As the kernel takes it.
    pub fn encode(&self) -> Vec<u8> {
        let column = |value: fn(&Condition) -> u32| {
            let mut words = [0; MAX_FIELDS];
            for (word, condition) in words.iter_mut().zip(&self.conditions) {
                *word = value(condition);
            }
            words
        };
        let texts: Vec<u8> = self
            .conditions
            .iter()
            .filter_map(|found| found.text.as_deref())
            .flatten()
            .copied()
            .collect();
        let count = self.conditions.len().min(MAX_FIELDS);
        let to_u32 = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(FIXED.saturating_add(texts.len()));
        let mut put = |words: &[u32]| {
            for word in words {
                bytes.extend_from_slice(&word.to_ne_bytes());
            }
        };
        put(&[self.list, self.action, to_u32(count)]);
        put(&self.mask);
        put(&column(|condition| condition.field));
        put(&column(|condition| condition.value));
        put(&column(|condition| condition.compare));
        put(&[to_u32(texts.len())]);
        bytes.extend_from_slice(&texts);
        bytes
    }

    /// From the kernel's list. `None`: not in the format.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (fixed, mut texts) = bytes.split_at_checked(FIXED)?;
        let words: Vec<u32> = fixed
            .chunks_exact(4)
            .filter_map(|word| word.first_chunk().map(|word| u32::from_ne_bytes(*word)))
            .collect();
        let mut rest = words.as_slice();
        let mut take = |count: usize| {
            let (taken, after) = rest.split_at_checked(count)?;
            rest = after;
            Some(taken)
        };
        let &[list, action, count] = take(3)? else { return None };
        let mask = <[u32; MASK_WORDS]>::try_from(take(MASK_WORDS)?).ok()?;
        let (fields, values, flags) = (take(MAX_FIELDS)?, take(MAX_FIELDS)?, take(MAX_FIELDS)?);
        let count = usize::try_from(count).ok().filter(|&count| count <= MAX_FIELDS)?;
        let mut conditions = Vec::with_capacity(count);
        for ((&field, &value), &compare) in fields.iter().zip(values).zip(flags).take(count) {
            let text = if has_string(field) {
                let (text, after) = texts.split_at_checked(usize::try_from(value).ok()?)?;
                texts = after;
                Some(text.to_vec())
            } else {
                None
            };
            conditions.push(Condition { field, compare, value, text });
        }
        Some(Self { list, action, mask, conditions })
    }
}

#[cfg(test)]
mod tests;
