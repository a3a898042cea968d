//! What we change in the audit subsystem, and putting it back.
//!
//! Pure. What was found before we changed anything is kept in the kernel itself, as the key of a
//! rule that matches no call: so it is there exactly as long as what it tells of, whatever becomes
//! of us. It goes in before the first change and out after the last, and names the process that put
//! it in. Whoever starts next and finds that process gone puts back what it says.
//!
//! A value is put back only while it is still the one we set: what somebody else has set since is
//! theirs.

use crate::event::ProcessKey;

use super::rule::{Field, KEY, Rule};
use super::status::{OFF, ON, Status, mask};

/// Records that may wait in the kernel while they are sent to us. An odd number, to be known by.
pub const BACKLOG_LIMIT: u32 = 16_381;

/// Between the key and what was found.
const FOUND: &str = "/found/";

/// The audit subsystem as it was, and who changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// `enabled`.
    pub enabled: u32,
    /// `backlog_limit`.
    pub backlog_limit: u32,
    /// `rate_limit`.
    pub rate_limit: u32,
    /// `backlog_wait_time`, where the kernel has it.
    pub backlog_wait_time: Option<u32>,
    /// Who made the change: pid and start.
    pub owner: ProcessKey,
}

impl Found {
    /// From the status before any change.
    pub const fn new(status: &Status, owner: ProcessKey) -> Self {
        Self {
            enabled: status.enabled,
            backlog_limit: status.backlog_limit,
            rate_limit: status.rate_limit,
            backlog_wait_time: status.backlog_wait_time,
            owner,
        }
    }

    /// The rule that keeps it.
    pub fn marker(&self) -> Rule {
        let wait = self.backlog_wait_time.map_or_else(|| "-".to_owned(), |wait| wait.to_string());
        let key = format!(
            "{KEY}{FOUND}{}/{}/{}/{wait}/{}/{}",
            self.enabled,
            self.backlog_limit,
            self.rate_limit,
            self.owner.pid,
            self.owner.ticks()
        );
        Rule::record().with_text(Field::FilterKey, key.as_bytes())
    }

    /// From a rule. `None`: it is another.
    pub fn parse(rule: &Rule) -> Option<Self> {
        let key = std::str::from_utf8(rule.key()?).ok()?;
        let mut values = key.strip_prefix(KEY)?.strip_prefix(FOUND)?.split('/');
        let mut next = || values.next();
        let mut number = || next()?.parse::<u32>().ok();
        let (enabled, backlog_limit, rate_limit) = (number()?, number()?, number()?);
        let backlog_wait_time = match next()? {
            "-" => None,
            wait => Some(wait.parse().ok()?),
        };
        let pid = next()?.parse().ok()?;
        let ticks: u64 = next()?.parse().ok()?;
        let start_ns = ticks.checked_mul(crate::event::TICK_NS)?;
        let owner = ProcessKey { pid, start_ns };
        Some(Self { enabled, backlog_limit, rate_limit, backlog_wait_time, owner })
    }

    /// What to set, and which of it, for records to be sent to us and nobody to wait for us.
    pub fn ours(&self, now: &Status) -> (Status, u32) {
        let wanted = Status {
            backlog_limit: BACKLOG_LIMIT.max(self.backlog_limit),
            rate_limit: 0,
            backlog_wait_time: now.backlog_wait_time.map(|_| 0),
            ..*now
        };
        (wanted, differing(now, &wanted))
    }

    /// What to set, and which of it, for the limits to be as they were.
    pub fn limits_back(&self, now: &Status) -> (Status, u32) {
        let (ours, _) = self.ours(now);
        let mut wanted = *now;
        if now.backlog_limit == ours.backlog_limit {
            wanted.backlog_limit = self.backlog_limit;
        }
        if now.rate_limit == ours.rate_limit {
            wanted.rate_limit = self.rate_limit;
        }
        if now.backlog_wait_time == ours.backlog_wait_time {
            wanted.backlog_wait_time = self.backlog_wait_time.or(now.backlog_wait_time);
        }
        (wanted, differing(now, &wanted))
    }

    /// The same, with recording switched off where we switched it on. `daemon`: someone else gets
    /// the records by now, who would miss them.
    pub fn all_back(&self, now: &Status, daemon: bool) -> (Status, u32) {
        let (mut wanted, mut mask) = self.limits_back(now);
        if self.enabled == OFF && now.enabled == ON && !daemon {
            wanted.enabled = OFF;
            mask |= mask::ENABLED;
        }
        (wanted, mask)
    }
}

fn differing(now: &Status, wanted: &Status) -> u32 {
    let bit = |differs: bool, bit: u32| if differs { bit } else { 0 };
    bit(now.backlog_limit != wanted.backlog_limit, mask::BACKLOG_LIMIT)
        | bit(now.rate_limit != wanted.rate_limit, mask::RATE_LIMIT)
        | bit(now.backlog_wait_time != wanted.backlog_wait_time, mask::BACKLOG_WAIT_TIME)
}

#[cfg(test)]
mod tests;
