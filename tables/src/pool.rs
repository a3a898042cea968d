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

/// A string in a [`Pool`]; [`Text::NONE`] is the unknown string, which is not the empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Text(u32);

impl Text {
    /// Unknown.
    pub const NONE: Self = Self(0);

    /// Whether there is a string.
    pub const fn is_known(self) -> bool {
        self.0 != 0
    }
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

/// Interned byte strings. Total size is bounded by the segment, far below 4 GiB.
#[derive(Debug)]
pub struct Pool {
    hasher: FixedState,
    bytes: Vec<u8>,
    spans: Vec<Span>,
    /// Positions in `spans`, to find a string again; empty once sealed.
    table: HashTable<u32>,
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

impl Default for Pool {
    fn default() -> Self {
        let (bytes, spans, table) = (Vec::new(), Vec::new(), HashTable::new());
        Self { hasher: hasher(), bytes, spans, table }
    }
}

impl Pool {
    /// The string as a member of the pool. `None` and a pool that is full (4 GiB) give
    /// [`Text::NONE`].
    pub fn intern(&mut self, bytes: Option<&[u8]>) -> Text {
        let Some(bytes) = bytes else { return Text::NONE };
        let hash = hash(&self.hasher, bytes);
        let found = self.table.find(hash, |&position| self.at(position) == Some(bytes));
        if let Some(&position) = found {
            return Text(position.saturating_add(1));
        }
        let (Ok(start), Ok(end), Ok(position)) = (
            u32::try_from(self.bytes.len()),
            u32::try_from(self.bytes.len().saturating_add(bytes.len())),
            u32::try_from(self.spans.len()),
        ) else {
            return Text::NONE;
        };
        self.bytes.extend_from_slice(bytes);
        self.spans.push(Span { start, end });
        let Self { hasher, bytes: all, spans, table } = self;
        table.insert_unique(hash, position, |&position| {
            let span = spans.get(position as usize);
            let text = span.and_then(|span| all.get(span.start as usize..span.end as usize));
            self::hash(hasher, text.unwrap_or_default())
        });
        Text(position.saturating_add(1))
    }

    fn at(&self, position: u32) -> Option<&[u8]> {
        let span = self.spans.get(position as usize)?;
        self.bytes.get(span.start as usize..span.end as usize)
    }

    /// The bytes of a string.
    pub fn get(&self, text: Text) -> Option<&[u8]> {
        self.at(text.0.checked_sub(1)?)
    }

    /// Every string there is.
    pub fn iter(&self) -> impl Iterator<Item = (Text, &[u8])> {
        (0..self.spans.len() as u32)
            .filter_map(|position| Some((Text(position.saturating_add(1)), self.at(position)?)))
    }

    /// A copy that can be read and no longer added to.
    pub fn read_only(&self) -> Self {
        let (bytes, spans) = (self.bytes.clone(), self.spans.clone());
        Self { hasher: self.hasher.clone(), bytes, spans, table: HashTable::new() }
    }

    /// Gives up what only adding needs.
    pub fn seal(&mut self) {
        self.table = HashTable::new();
        self.bytes.shrink_to_fit();
        self.spans.shrink_to_fit();
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.spans.capacity() * size_of::<Span>()
            + self.table.allocation_size()
    }
}
