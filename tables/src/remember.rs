//! Texts that many rows of one scan share, written once.

use std::cell::RefCell;

#[cfg(test)]
mod tests;

/// Texts kept. Rows that follow each other mostly have a few parents.
const PLACES: usize = 16;

/// Bytes kept of one text; a longer one is written each time.
const LONGEST: usize = 32 << 10;

/// What a text is made from: a segment's first number, and a position there.
pub type Origin = (u64, u16);

/// The texts. Each origin has one place, which it shares with others.
#[derive(Debug, Clone, Default)]
pub struct Remembered(RefCell<[Option<(Origin, String)>; PLACES]>);

impl Remembered {
    /// Appends the text of an origin, which `write` appends when it is not remembered.
    pub fn push(&self, out: &mut String, origin: Origin, write: impl FnOnce(&mut String)) {
        let mut places = self.0.borrow_mut();
        let Some(place) = places.get_mut(usize::from(origin.1) % PLACES) else { return write(out) };
        if let Some((known, text)) = place
            && *known == origin
        {
            return out.push_str(text);
        }
        let before = out.len();
        write(out);
        if let Some(text) = out.get(before..)
            && text.len() <= LONGEST
        {
            let (known, kept) = place.get_or_insert_default();
            *known = origin;
            kept.clear();
            kept.push_str(text);
        }
    }
}
