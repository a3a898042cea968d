//! Messages that were lost, by the numbers each processor gives its own and by the kernel's count of
//! what the socket had no room for.
//!
//! Neither is enough alone. A hole in a processor's numbers shows only at that processor's next
//! message, and never if what is lost comes before the first; the socket's count is there at once,
//! but leaves out what the kernel had no memory to make a message of. A message is lost in one of
//! the two ways, so once every processor has been heard again the holes are all of both, and until
//! then the socket's count is the better one: the loss is the greater of the two.

use std::collections::HashMap;

/// Follows the numbers of each processor and the socket's count.
#[derive(Debug, Default)]
pub struct Gaps {
    next: HashMap<u32, u32>,
    skipped: u64,
    /// The socket's count when it was last read, which wraps.
    counted: Option<u32>,
    dropped: u64,
}

impl Gaps {
    /// A message came. How many of its processor's did not that should have come before it.
    pub fn see(&mut self, cpu: u32, sequence: u32) -> u64 {
        let next = self.next.insert(cpu, sequence.wrapping_add(1));
        // One processor's messages come in order, so a smaller number can only have wrapped.
        let skipped = next.map_or(0, |next| sequence.wrapping_sub(next));
        let skipped = u64::from(skipped);
        self.skipped = self.skipped.saturating_add(skipped);
        skipped
    }

    /// The socket's count is this now. The first is where counting begins. How many it is more.
    pub fn count(&mut self, dropped: u32) -> u64 {
        let before = self.counted.replace(dropped).unwrap_or(dropped);
        let more = u64::from(dropped.wrapping_sub(before));
        self.dropped = self.dropped.saturating_add(more);
        more
    }

    /// Messages lost so far.
    pub fn lost(&self) -> u64 {
        self.skipped.max(self.dropped)
    }
}

#[cfg(test)]
mod tests;
