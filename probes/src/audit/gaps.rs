//! Serial numbers that should have come and did not.
//!
//! The kernel numbers events without a hole (`audit_serial` in `kernel/audit.c`), but the records
//! of two processors may overtake each other. So a number that was skipped is given some time
//! before it counts as lost.

use std::collections::{HashSet, VecDeque};

/// How long a skipped number may still come.
pub const PATIENCE_NS: u64 = 1_000_000_000;

/// Skipped numbers remembered. A wider hole counts as lost at once.
pub const MAX_SKIPPED: usize = 16_384;

/// Follows the serial numbers of one stream.
#[derive(Debug, Default)]
pub struct Gaps {
    next: Option<u32>,
    skipped: HashSet<u32>,
    /// The same, in the order of their deadlines; some have come meanwhile.
    deadlines: VecDeque<(u64, u32)>,
    lost: u64,
}

impl Gaps {
    /// A record with this number came.
    pub fn see(&mut self, serial: u32, now_ns: u64) {
        let Some(next) = self.next else {
            self.next = Some(serial.wrapping_add(1));
            return;
        };
        let ahead = serial.wrapping_sub(next);
        if ahead > u32::MAX / 2 {
            self.skipped.remove(&serial);
            return;
        }
        self.next = Some(serial.wrapping_add(1));
        let deadline = now_ns.saturating_add(PATIENCE_NS);
        for distance in 0..ahead {
            if self.deadlines.len() >= MAX_SKIPPED {
                self.lost = self.lost.saturating_add(u64::from(ahead.saturating_sub(distance)));
                break;
            }
            let skipped = next.wrapping_add(distance);
            self.skipped.insert(skipped);
            self.deadlines.push_back((deadline, skipped));
        }
    }

    /// Counts what did not come in time.
    pub fn expire(&mut self, now_ns: u64) {
        while let Some(&(deadline, serial)) = self.deadlines.front() {
            if deadline > now_ns {
                break;
            }
            self.deadlines.pop_front();
            if self.skipped.remove(&serial) {
                self.lost = self.lost.saturating_add(1);
            }
        }
    }

    /// Begins anew, where numbers go missing for a known reason (another stream takes over).
    pub fn restart(&mut self) {
        self.next = None;
        self.lost = self.lost.saturating_add(self.skipped.len() as u64);
        self.skipped.clear();
        self.deadlines.clear();
    }

    /// Numbers that never came.
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests;
