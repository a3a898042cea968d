//! Saying a thing once in a log that would otherwise fill with it.

use std::collections::BTreeSet;

use parking_lot::Mutex;

/// Remembers which kinds of message have been said. The kinds are words of the source code, so
/// there are few of them.
#[derive(Debug, Default)]
pub struct Once(Mutex<BTreeSet<&'static str>>);

impl Once {
    /// True the first time it is asked about `kind`.
    pub fn first(&self, kind: &'static str) -> bool {
        self.0.lock().insert(kind)
    }
}
