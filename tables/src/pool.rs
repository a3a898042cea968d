//! Byte strings kept once: what the events of one segment share.
//!
//! A pool belongs to one segment and goes when it goes, so what it holds is counted exactly and
//! needs no reference counts.

use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashTable;

#[cfg(test)]
mod tests;

/// A string in a [`Pool`]: its position there plus one; [`Text::NONE`] is the unknown string, which is
/// not the empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Text(u16);

impl Text {
    /// Unknown.
    pub const NONE: Self = Self(0);

    /// Whether there is a string.
    pub const fn is_known(self) -> bool {
        self.0 != 0
    }
}

/// Strings a pool can hold.
const MAX_STRINGS: usize = u16::MAX as usize;

/// More than the strings of one event: its own, and a path and arguments for each ancestor.
const EVENT_STRINGS: usize = 256;

/// Interned byte strings. Total size is bounded by the segment, far below 4 GiB.
#[derive(Debug)]
pub struct Pool {
    hasher: FixedState,
    bytes: Vec<u8>,
    /// Where each string ends, and the next begins.
    ends: Vec<u32>,
    /// To find a string again; empty once sealed.
    table: HashTable<Text>,
}

/// Chosen once per run, so that nobody outside can choose strings that collide.
fn hasher() -> FixedState {
    static HASHER: OnceLock<FixedState> = OnceLock::new();
    HASHER.get_or_init(|| FixedState::with_seed(RandomState::default().hash_one(0))).clone()
}

fn hash(hasher: &FixedState, bytes: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

fn at<'a>(bytes: &'a [u8], ends: &[u32], text: Text) -> Option<&'a [u8]> {
    let position = usize::from(text.0).checked_sub(1)?;
    let start = position.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
    bytes.get(start as usize..*ends.get(position)? as usize)
}

impl Default for Pool {
    fn default() -> Self {
        let (bytes, ends, table) = (Vec::new(), Vec::new(), HashTable::new());
        Self { hasher: hasher(), bytes, ends, table }
    }
}

impl Pool {
    /// Whether another event's strings might not find room.
    pub const fn is_full(&self) -> bool {
        self.ends.len() > MAX_STRINGS - EVENT_STRINGS
    }

    /// The string as a member of the pool. `None` gives [`Text::NONE`], and so does a pool without
    /// room, which [`is_full`](Self::is_full) long before.
    pub fn intern(&mut self, bytes: Option<&[u8]>) -> Text {
        let Some(bytes) = bytes else { return Text::NONE };
        let hash = hash(&self.hasher, bytes);
        let found = self.table.find(hash, |&text| self.get(text) == Some(bytes));
        if let Some(&text) = found {
            return text;
        }
        let (Ok(end), Ok(number)) = (
            u32::try_from(self.bytes.len().saturating_add(bytes.len())),
            u16::try_from(self.ends.len().saturating_add(1)),
        ) else {
            return Text::NONE;
        };
        let text = Text(number);
        self.bytes.extend_from_slice(bytes);
        self.ends.push(end);
        let Self { hasher, bytes: all, ends, table } = self;
        table.insert_unique(hash, text, |&text| {
            self::hash(hasher, at(all, ends, text).unwrap_or_default())
        });
        text
    }

    /// The bytes of a string.
    pub fn get(&self, text: Text) -> Option<&[u8]> {
        at(&self.bytes, &self.ends, text)
    }

    /// Every string there is.
    pub fn iter(&self) -> impl Iterator<Item = (Text, &[u8])> {
        (1..=u16::MAX).map(Text).map_while(|text| Some((text, self.get(text)?)))
    }

    /// A copy that can be read and no longer added to.
    pub fn read_only(&self) -> Self {
        let (bytes, ends) = (self.bytes.clone(), self.ends.clone());
        Self { hasher: self.hasher.clone(), bytes, ends, table: HashTable::new() }
    }

    /// Gives up what only adding needs.
    pub fn seal(&mut self) {
        self.table = HashTable::new();
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.ends.capacity() * size_of::<u32>()
            + self.table.allocation_size()
    }
}
