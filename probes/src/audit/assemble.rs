//! Events from records: which belong together, and when an event has all it will get.
//!
//! Pure: records and the time go in, groups come out. Records of one event share a stamp, those of
//! several events come interleaved and, where the kernel had to send again, out of order. An EOE
//! record ends an event. One that stays incomplete is given up after a time and is then given out
//! as it is; nothing is dropped without being counted.

use std::collections::{HashMap, HashSet, VecDeque};

use super::gaps::Gaps;
use super::group::Group;
use super::record::{Stamp, kind, split};

/// Events put together at once. When one more begins, the oldest is given up.
pub const MAX_OPEN: usize = 4096;

/// How long an event waits for its end; what auditd calls `end_of_event_timeout`.
pub const OPEN_NS: u64 = 2_000_000_000;

/// How long an event that has ended waits for records that others overtook.
pub const ENDED_NS: u64 = 100_000_000;

/// Events remembered after they were given out, to know a late record by.
pub const MAX_REMEMBERED: usize = 4096;

/// What came of the records so far. Totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that came.
    pub records: u64,
    /// Records that did not follow the format.
    pub malformed: u64,
    /// Events given out with all their records.
    pub complete: u64,
    /// Events given out with less.
    pub incomplete: u64,
    /// Records that incomplete events lacked, as far as can be told.
    pub records_missing: u64,
    /// Events of which the SYSCALL record never came, so that nothing can be said of them.
    pub headless: u64,
    /// Events given up for room ([`MAX_OPEN`]); also among the incomplete or headless.
    pub evicted: u64,
    /// Records that came after their event was given out.
    pub late: u64,
    /// Events of which nothing came at all.
    pub gaps: u64,
}

/// Puts events together.
#[derive(Debug, Default)]
pub struct Assembler {
    open: HashMap<Stamp, Open>,
    /// The open events and when they are to be given up, oldest first; some are closed already.
    deadlines: VecDeque<(u64, Stamp)>,
    /// The same for those that have ended and still lack records.
    ended: VecDeque<(u64, Stamp)>,
    remembered: HashSet<Stamp>,
    forget: VecDeque<Stamp>,
    gaps: Gaps,
    counts: Counts,
    newest_ms: u64,
    /// PROCTITLE records do come, so that an event without one has lost it.
    proctitles: bool,
}

#[derive(Debug)]
struct Open {
    group: Group,
    since_ns: u64,
}

/// Types that belong to a system call's event. Others stand alone, or say nothing we use.
const fn of_event(record: u16) -> bool {
    matches!(
        record,
        kind::SYSCALL
            | kind::PATH
            | kind::SOCKETCALL
            | kind::SOCKADDR
            | kind::CWD
            | kind::EXECVE
            | kind::EOE
            | kind::PROCTITLE
            | kind::OPENAT2
            | kind::URINGOP
    )
}

impl Assembler {
    /// Takes in one record and gives out the event it completes, if it does.
    pub fn push(&mut self, record: u16, payload: &[u8], now_ns: u64, out: &mut Vec<Group>) {
        self.counts.records = self.counts.records.saturating_add(1);
        let (stamp, text) = match split(payload) {
            Ok(parts) => parts,
            Err(_) => {
                self.counts.malformed = self.counts.malformed.saturating_add(1);
                return;
            }
        };
        self.gaps.see(stamp.serial, now_ns);
        self.newest_ms = self.newest_ms.max(stamp.time_ms);
        self.proctitles |= record == kind::PROCTITLE;
        if !of_event(record) {
            return;
        }
        if self.remembered.contains(&stamp) {
            self.counts.late = self.counts.late.saturating_add(1);
            return;
        }
        let open = match self.open.entry(stamp) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                self.deadlines.push_back((now_ns.saturating_add(OPEN_NS), stamp));
                entry.insert(Open { group: Group::new(stamp), since_ns: now_ns })
            }
        };
        let had_ended = open.group.ended;
        if open.group.add(record, text).is_err() {
            self.counts.malformed = self.counts.malformed.saturating_add(1);
        }
        if open.group.ended {
            if open.group.missing() == 0 {
                self.close(stamp, out);
            } else if !had_ended {
                self.ended.push_back((now_ns.saturating_add(ENDED_NS), stamp));
            }
        }
        while self.open.len() > MAX_OPEN {
            let Some((_, oldest)) = self.deadlines.pop_front() else { break };
            if self.open.contains_key(&oldest) {
                self.counts.evicted = self.counts.evicted.saturating_add(1);
                self.close(oldest, out);
            }
        }
    }

    /// Gives out what has waited long enough. Call it now and then, also when nothing comes.
    pub fn expire(&mut self, now_ns: u64, out: &mut Vec<Group>) {
        self.gaps.expire(now_ns);
        while let Some(&(deadline, stamp)) = self.ended.front() {
            if deadline > now_ns {
                break;
            }
            self.ended.pop_front();
            self.close(stamp, out);
        }
        while let Some(&(deadline, stamp)) = self.deadlines.front() {
            if deadline > now_ns && self.open.contains_key(&stamp) {
                break;
            }
            self.deadlines.pop_front();
            self.close(stamp, out);
        }
    }

    /// Gives out everything.
    pub fn finish(&mut self, out: &mut Vec<Group>) {
        while let Some((_, stamp)) = self.deadlines.pop_front() {
            self.close(stamp, out);
        }
        self.gaps.restart();
    }

    /// Whether an event is open that began before `since_ns`.
    pub fn has_open_before(&self, since_ns: u64) -> bool {
        self.open.values().any(|open| open.since_ns <= since_ns)
    }

    /// The newest stamp, Unix milliseconds.
    pub const fn newest_ms(&self) -> u64 {
        self.newest_ms
    }

    /// Events open now.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The totals.
    pub fn counts(&self) -> Counts {
        Counts { gaps: self.gaps.lost(), ..self.counts }
    }

    /// Begins to count serial numbers anew, after a known break in the stream.
    pub fn restart_gaps(&mut self) {
        self.gaps.restart();
    }

    fn close(&mut self, stamp: Stamp, out: &mut Vec<Group>) {
        let Some(Open { group, .. }) = self.open.remove(&stamp) else { return };
        if self.remembered.insert(stamp) {
            self.forget.push_back(stamp);
        }
        while self.forget.len() > MAX_REMEMBERED {
            if let Some(oldest) = self.forget.pop_front() {
                self.remembered.remove(&oldest);
            }
        }
        let title = u32::from(self.proctitles && !group.proctitle);
        let missing = group.missing().saturating_add(title);
        if group.syscall.is_none() && !group.uring {
            self.counts.headless = self.counts.headless.saturating_add(1);
        } else if missing == 0 {
            self.counts.complete = self.counts.complete.saturating_add(1);
        } else {
            self.counts.incomplete = self.counts.incomplete.saturating_add(1);
            let missing = u64::from(missing);
            self.counts.records_missing = self.counts.records_missing.saturating_add(missing);
        }
        out.push(group);
    }
}

#[cfg(test)]
mod tests;
