//! A map of bounded size that keeps what was used of late.
//!
//! Two generations: when the young one is full it becomes the old one, and what was old and not
//! used since is gone. That is nearly least-recently-used at the price of a plain map.

use std::collections::HashMap;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// A handle as key, shared by all who name it.
pub type Key = Arc<[u8]>;

/// At most `bound` values by handle.
#[derive(Debug)]
pub struct Recent<V> {
    young: HashMap<Key, V>,
    old: HashMap<Key, V>,
    half: usize,
}

impl<V> Recent<V> {
    /// Never holds more than `bound` values, and drops none while there are at most half as many.
    pub fn new(bound: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (bound / 2).max(1) }
    }

    /// The value of a key, which thereby counts as used.
    pub fn get(&mut self, key: &[u8]) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// The value of a key, as if nobody had asked.
    pub fn peek(&self, key: &[u8]) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: Key, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    /// How many values there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
