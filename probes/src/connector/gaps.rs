//! Messages that were lost, by the numbers each processor gives its own.

use std::collections::HashMap;

/// Follows the numbers of each processor.
#[derive(Debug, Default)]
pub struct Gaps {
    next: HashMap<u32, u32>,
    lost: u64,
}

impl Gaps {
    /// A message came. How many of its processor's did not that should have come before it.
    pub fn see(&mut self, cpu: u32, sequence: u32) -> u64 {
        let next = self.next.insert(cpu, sequence.wrapping_add(1));
        // One processor's messages come in order, so a smaller number can only have wrapped.
        let skipped = next.map_or(0, |next| sequence.wrapping_sub(next));
        let skipped = u64::from(skipped);
        self.lost = self.lost.saturating_add(skipped);
        skipped
    }

    /// Messages lost so far.
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests;
