//! One order for two streams: the connector's, which comes at once, and audit's, which says more and
//! comes a little later.
//!
//! Pure. The connector's stream gives the order and the time, in nanoseconds; audit's stamps are
//! those of the last clock tick before a call began. An exec of the connector waits for its audit
//! event and is given out as one with it. An exit waits until audit has told what the process did
//! before. What audit lost is given out as the connector told it; what the connector lost, as audit
//! told it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::connector::Arrived;
use crate::event::{Body, Exec, RawEvent, Task};

/// How far behind an event audit's stream may be seen to be past it. The record of a call is made
/// as it returns, so another processor's may overtake it, if its own is busy, by about this.
pub const SLACK_NS: u64 = 50_000_000;

/// How long audit may take to tell of something, when it tells of nothing else meanwhile.
pub const HOLD_NS: u64 = 150_000_000;

/// Events held. When there are more, the oldest go out as they are.
pub const MAX_HELD: usize = 65_536;

/// Execs remembered that went out without their audit event, lest it make a second one.
pub const MAX_REMEMBERED: usize = 16_384;

/// How much later than an exec's report its audit stamp can seem: the stamp is of when the call
/// began, but the wall clock it is from may have been read against the boot clock a little off.
pub const SKEW_NS: u64 = 10_000_000;

/// Room between two keys, for what goes before an event that is held already.
const STEP: u64 = 1 << 20;

/// What came of it. Totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Execs both told of.
    pub both: u64,
    /// Execs only the connector told of, in time.
    pub connector_only: u64,
    /// Execs only audit told of.
    pub audit_only: u64,
    /// Execs audit told of after they had been given out.
    pub too_late: u64,
}

/// Events in the making.
#[derive(Debug, Default)]
pub struct Merge {
    held: BTreeMap<u64, Held>,
    last_key: u64,
    /// Execs that wait for audit, by process, oldest first.
    execs: HashMap<u32, VecDeque<u64>>,
    /// Exits that wait, by process: their key, and that of the last event put before them.
    exits: HashMap<u32, (u64, u64)>,
    /// Execs given out without audit, by process: when they happened.
    remembered: HashMap<u32, VecDeque<u64>>,
    forget: VecDeque<(u32, u64)>,
    /// The newest stamp of audit's stream.
    audit_ns: u64,
    counts: Counts,
}

#[derive(Debug)]
struct Held {
    arrived: Arrived,
    waits: bool,
    came_ns: u64,
}

impl Merge {
    /// Audit's stream has come to this time.
    pub fn audit_reached(&mut self, time_ns: u64) {
        self.audit_ns = self.audit_ns.max(time_ns);
    }

    /// The newest stamp of audit's stream.
    pub const fn audit_ns(&self) -> u64 {
        self.audit_ns
    }

    /// Takes in what the connector told. `awaited`: audit tells of execs too.
    pub fn connector(&mut self, arrived: Arrived, awaited: bool, now_ns: u64) {
        let pid = arrived.event.task.pid;
        let key = self.new_key();
        let waits = match arrived.event.body {
            Body::Exec(_) if awaited => {
                self.execs.entry(pid).or_default().push_back(key);
                true
            }
            Body::Exit(_) => {
                self.exits.insert(pid, (key, key.saturating_sub(STEP)));
                true
            }
            _ => false,
        };
        self.held.insert(key, Held { arrived, waits, came_ns: now_ns });
    }

    /// Takes in what audit told.
    pub fn audit(&mut self, event: RawEvent, now_ns: u64) {
        let pid = event.task.pid;
        if matches!(event.body, Body::Exec(_)) {
            if let Some(key) = self.awaiting(pid, event.time_ns) {
                if let Some(held) = self.held.get_mut(&key) {
                    held.waits = false;
                    join(&mut held.arrived, event);
                }
                self.counts.both = self.counts.both.saturating_add(1);
                return;
            }
            if self.recall(pid, event.time_ns) {
                self.counts.too_late = self.counts.too_late.saturating_add(1);
                return;
            }
            self.counts.audit_only = self.counts.audit_only.saturating_add(1);
        }
        let key = match self.exits.get_mut(&pid) {
            Some((exit, last)) if last.saturating_add(1) < *exit => {
                *last = last.saturating_add(1);
                *last
            }
            _ => self.new_key(),
        };
        let arrived = Arrived { event, image: None };
        self.held.insert(key, Held { arrived, waits: false, came_ns: now_ns });
    }

    /// Gives out, in order, what need not wait any longer.
    pub fn release(&mut self, now_ns: u64, out: &mut Vec<Arrived>) {
        while let Some(first) = self.held.first_entry() {
            let held = first.get();
            let passed = self.audit_ns > held.arrived.event.time_ns.saturating_add(SLACK_NS);
            let patient = held.came_ns.saturating_add(HOLD_NS) > now_ns;
            if held.waits && patient && !passed && self.held.len() <= MAX_HELD {
                break;
            }
            self.pop(out);
        }
    }

    /// Gives out everything.
    pub fn release_all(&mut self, out: &mut Vec<Arrived>) {
        while !self.held.is_empty() {
            self.pop(out);
        }
    }

    /// How long until something may be given out. `None`: nothing is held.
    pub fn wait_ns(&self, now_ns: u64) -> Option<u64> {
        let (_, first) = self.held.first_key_value()?;
        let deadline = first.came_ns.saturating_add(HOLD_NS);
        Some(if first.waits { deadline.saturating_sub(now_ns) } else { 0 })
    }

    /// Events held now.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The totals.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// The exec that waits for an audit event of this time. One that was over before then waits for
    /// another, which was lost.
    fn awaiting(&mut self, pid: u32, time_ns: u64) -> Option<u64> {
        let waiting = self.execs.get_mut(&pid)?;
        let position = waiting.iter().position(|key| {
            let held = self.held.get(key);
            held.is_some_and(|held| belongs(time_ns, held.arrived.event.time_ns))
        })?;
        waiting.remove(position)
    }

    fn new_key(&mut self) -> u64 {
        self.last_key = self.last_key.saturating_add(STEP);
        self.last_key
    }

    fn pop(&mut self, out: &mut Vec<Arrived>) {
        let Some((key, held)) = self.held.pop_first() else { return };
        let pid = held.arrived.event.task.pid;
        match held.arrived.event.body {
            Body::Exec(_) if held.waits => {
                if let Some(waiting) = self.execs.get_mut(&pid) {
                    waiting.retain(|&other| other != key);
                    if waiting.is_empty() {
                        self.execs.remove(&pid);
                    }
                }
                self.remember(pid, held.arrived.event.time_ns);
                self.counts.connector_only = self.counts.connector_only.saturating_add(1);
            }
            Body::Exec(_) if self.execs.get(&pid).is_some_and(VecDeque::is_empty) => {
                self.execs.remove(&pid);
            }
            Body::Exit(_) => {
                self.exits.remove(&pid);
            }
            _ => {}
        }
        out.push(held.arrived);
    }

    fn remember(&mut self, pid: u32, time_ns: u64) {
        self.remembered.entry(pid).or_default().push_back(time_ns);
        self.forget.push_back((pid, time_ns));
        if self.forget.len() > MAX_REMEMBERED
            && let Some((pid, time_ns)) = self.forget.pop_front()
        {
            self.take_remembered(pid, |remembered| remembered == time_ns);
        }
    }

    fn recall(&mut self, pid: u32, time_ns: u64) -> bool {
        self.take_remembered(pid, |remembered| belongs(time_ns, remembered))
    }

    fn take_remembered(&mut self, pid: u32, is: impl Fn(u64) -> bool) -> bool {
        let Some(times) = self.remembered.get_mut(&pid) else { return false };
        let position = times.iter().position(|&time_ns| is(time_ns));
        if let Some(position) = position {
            times.remove(position);
        }
        if times.is_empty() {
            self.remembered.remove(&pid);
        }
        position.is_some()
    }
}

/// Whether a call that audit stamped so can be the exec the connector reported at that time.
const fn belongs(stamp_ns: u64, reported_ns: u64) -> bool {
    stamp_ns <= reported_ns.saturating_add(SKEW_NS)
}

/// One exec from two reports: audit says what was executed, the connector when, and `/proc`, as the
/// connector's reader found it, which process it was.
fn join(held: &mut Arrived, audit: RawEvent) {
    let Arrived { event: told, image } = held;
    let found = std::mem::replace(told, audit);
    told.time_ns = found.time_ns;
    complete_task(&mut told.task, found.task);
    let mut sure = true;
    if let (Body::Exec(told), Body::Exec(found)) = (&mut told.body, found.body) {
        sure = !complete_exec(told, *found);
    }
    if sure {
        *image = None;
    }
}

/// What `/proc` knows of a process and audit does not.
fn complete_task(task: &mut Task, found: Task) {
    task.start_ns = task.start_ns.or(found.start_ns);
    task.ns_pid = task.ns_pid.or(found.ns_pid);
    task.namespaces = task.namespaces.or(found.namespaces);
    task.cgroup_id = task.cgroup_id.or(found.cgroup_id);
    task.cgroup = task.cgroup.take().or(found.cgroup);
}

/// Whether something was added that may yet turn out to be of the next program: the same one may
/// have been executed again, with the same arguments, in another environment.
fn complete_exec(told: &mut Exec, found: Exec) -> bool {
    let (Some(file), Some(found_file)) = (&mut told.file, found.file) else { return false };
    if file.inode != found_file.inode {
        return false;
    }
    file.size = file.size.or(found_file.size);
    file.nlink = file.nlink.or(found_file.nlink);
    file.atime = file.atime.or(found_file.atime);
    file.mtime = file.mtime.or(found_file.mtime);
    file.ctime = file.ctime.or(found_file.ctime);
    let same = told.args.bytes.is_some() && told.args == found.args;
    if same && told.env.bytes.is_none() {
        told.env = found.env;
        told.truncated.env = found.truncated.env;
    }
    same && told.env.bytes.is_some()
}

#[cfg(test)]
mod tests;
