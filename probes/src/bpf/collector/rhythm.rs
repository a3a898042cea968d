//! When the collector looks again: the decision alone.

use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// What follows a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another, at once: not everything was read.
    Again,
    /// Another after this time, without being woken for single records.
    After(Duration),
    /// None before somebody wakes.
    Sleep,
}

/// The turn after one that began with waking up comes sooner by this factor: what wakes is mostly a
/// fork, and what is waited for the exec that follows within a millisecond.
const SOONER: u32 = 10;

/// Keeps the time between turns while records come, and says when they no longer do.
pub struct Rhythm {
    turn: Duration,
    slept: bool,
    /// When a turn last brought something.
    brought_at: Option<Instant>,
}

impl Rhythm {
    /// So much time is to be between turns.
    pub const fn new(turn: Duration) -> Self {
        Self { turn, slept: false, brought_at: None }
    }

    /// What follows a turn that ended `now`: whether it read all there was, and whether that was
    /// anything.
    ///
    /// Sleep comes only when nothing has for a whole turn, however often somebody asked to have
    /// everything read meanwhile: so that at most one record in each turn pays for waking us.
    pub fn next(&mut self, complete: bool, brought: bool, now: Instant) -> Next {
        if brought {
            self.brought_at = Some(now);
        }
        let quiet = |at: Instant| now.saturating_duration_since(at) >= self.turn;
        if !complete {
            return Next::Again;
        }
        let slept = std::mem::replace(&mut self.slept, self.brought_at.is_none_or(quiet));
        match self.slept {
            true => Next::Sleep,
            false if slept => Next::After(self.turn / SOONER),
            false => Next::After(self.turn),
        }
    }
}
