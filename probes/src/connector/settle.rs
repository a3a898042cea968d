//! Execs wait a little before they are given out, lest they wear what belongs to the next one.
//!
//! Between the moment a process executes a program and the moment we read `/proc`, it may have
//! executed another: the kernel changes a process's memory first and reports the exec last. So an
//! exec is held until it is certain that no other was under way when it was looked at, and
//! everything behind it is held with it, for the order's sake.
//!
//! A change of ids waits too: executing a set-user-id program changes them as part of the exec,
//! which the kernel reports first, and which is no call of `setuid`. And a process that changes its
//! ids often executes something next, whose name it may have had when it was looked at.

use std::collections::{HashMap, VecDeque};

use crate::event::{Body, RawEvent, SourceKind};

use super::fill::{self, Image};
use super::reader::Arrived;

/// From the kernel's change of a process's memory to its message: the rest of an exec.
pub const SETTLE_NS: u64 = 20_000_000;

/// The same on a processor with much else to do. Beyond this a process that could still be
/// executing something is taken for one that runs.
pub const PATIENCE_NS: u64 = 200_000_000;

/// Events held. When there are more, the oldest go out before their time.
pub const MAX_HELD: usize = 65_536;

/// Set-user-id and set-group-id.
const S_ISUGID: u32 = 0o6000;

/// Events in the order they came.
#[derive(Debug, Default)]
pub struct Settle {
    held: VecDeque<Held>,
    /// Events given out so far: the number of the first one held.
    gone: u64,
    /// The last exec of each process that is held.
    execs: HashMap<u32, Seen>,
    /// The changes of ids of each process that are held: their numbers, oldest first.
    ids: HashMap<u32, Vec<u64>>,
}

#[derive(Debug)]
struct Held {
    came_ns: u64,
    /// Not to be given out before. 0: nothing is in doubt.
    ready_ns: u64,
    /// `None`: it turned out to be part of another.
    event: Option<RawEvent>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    /// The event's number.
    number: u64,
    /// What the process was seen to run.
    image: Option<Image>,
    /// When it had been looked at.
    at_ns: u64,
}

impl Seen {
    /// Whether what was read then may have been of the next exec, which the kernel reported at
    /// `time_ns` and which was seen to run `image`.
    fn may_wear(self, image: Option<Image>, time_ns: u64) -> bool {
        let long_before = self.at_ns.saturating_add(PATIENCE_NS) < time_ns;
        match (self.image, image) {
            _ if long_before => false,
            (Some(seen), Some(next)) => seen == next,
            // The next program was gone before it could be looked at.
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

impl Settle {
    /// Takes one in.
    pub fn add(&mut self, arrived: Arrived, now_ns: u64) {
        let Arrived { event, image } = arrived;
        let pid = event.task.pid;
        let number = self.gone.saturating_add(self.held.len() as u64);
        let mut ready_ns = 0;
        match &event.body {
            Body::Exec(exec) => {
                let seen = Seen { number, image, at_ns: now_ns };
                if let Some(earlier) = self.execs.insert(pid, seen) {
                    let doubtful = earlier.may_wear(image, event.time_ns);
                    self.amend(earlier.number, |held| {
                        held.ready_ns = 0;
                        if doubtful
                            && let Some(RawEvent { task, source, body: Body::Exec(exec), .. }) =
                                &mut held.event
                        {
                            match source {
                                SourceKind::Audit => fill::disown_environment(exec),
                                _ => fill::disown(task, exec),
                            }
                        }
                    });
                }
                let mode = exec.file.and_then(|file| file.mode).unwrap_or(0);
                // One change of ids for each bit, as the last thing before.
                let mut own = (mode & S_ISUGID).count_ones();
                for change in self.ids.remove(&pid).unwrap_or_default().into_iter().rev() {
                    let is_own = own > 0;
                    own = own.saturating_sub(1);
                    self.amend(change, |held| {
                        held.ready_ns = 0;
                        match &mut held.event {
                            event if is_own => *event = None,
                            Some(event) => event.task.comm = None,
                            None => {}
                        }
                    });
                }
                if image.is_some() {
                    ready_ns = now_ns.saturating_add(SETTLE_NS);
                }
            }
            Body::Setid(_) => {
                // The ids that were read with the exec may be those of after this change.
                if let Some(&exec) = self.execs.get(&pid) {
                    self.amend(exec.number, |held| {
                        if let Some(event) = &mut held.event
                            && event.source == SourceKind::Connector
                        {
                            event.task.creds = None;
                        }
                    });
                }
                // What a record says is of the call and of nothing later.
                if event.source == SourceKind::Connector {
                    self.ids.entry(pid).or_default().push(number);
                    ready_ns = now_ns.saturating_add(SETTLE_NS);
                }
            }
            Body::Exit(_) => self.certain(pid),
            // It was looked at before this, and was not executing anything at this time.
            _ if self.execs.get(&pid).is_some_and(|exec| exec.at_ns <= event.time_ns) => {
                self.certain(pid);
            }
            _ => {}
        }
        self.held.push_back(Held { came_ns: now_ns, ready_ns, event: Some(event) });
    }

    /// What was read of a process's last exec is its own.
    fn certain(&mut self, pid: u32) {
        if let Some(exec) = self.execs.remove(&pid) {
            self.amend(exec.number, |held| held.ready_ns = 0);
        }
        for change in self.ids.remove(&pid).unwrap_or_default() {
            self.amend(change, |held| held.ready_ns = 0);
        }
    }

    fn amend(&mut self, number: u64, change: impl FnOnce(&mut Held)) {
        let index = number.checked_sub(self.gone).and_then(|index| usize::try_from(index).ok());
        if let Some(held) = index.and_then(|index| self.held.get_mut(index)) {
            change(held);
        }
    }

    /// Gives out what is certain. `executing` tells whether a process could be executing something
    /// right now.
    pub fn release(
        &mut self,
        now_ns: u64,
        mut executing: impl FnMut(u32) -> bool,
        out: &mut Vec<RawEvent>,
    ) {
        loop {
            let full = self.held.len() > MAX_HELD;
            let Some(held) = self.held.front_mut() else { break };
            if held.ready_ns > now_ns && !full {
                break;
            }
            let patient = now_ns < held.came_ns.saturating_add(PATIENCE_NS) && !full;
            if held.ready_ns != 0
                && patient
                && let Some(RawEvent { task, body: Body::Exec(_) | Body::Setid(_), .. }) =
                    &held.event
                && executing(task.pid)
            {
                held.ready_ns = now_ns.saturating_add(SETTLE_NS);
                break;
            }
            self.pop(out);
        }
    }

    /// Lets nothing wait longer than until the next [`Settle::release`] finds it certain.
    pub fn hasten(&mut self, now_ns: u64) {
        for held in &mut self.held {
            held.ready_ns = held.ready_ns.min(now_ns);
        }
    }

    /// Nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Gives out everything.
    pub fn release_all(&mut self, out: &mut Vec<RawEvent>) {
        while !self.held.is_empty() {
            self.pop(out);
        }
    }

    /// How long until something may be given out. `None`: nothing is held.
    pub fn wait_ns(&self, now_ns: u64) -> Option<u64> {
        self.held.front().map(|held| held.ready_ns.saturating_sub(now_ns))
    }

    fn pop(&mut self, out: &mut Vec<RawEvent>) {
        let Some(Held { event, .. }) = self.held.pop_front() else { return };
        let number = self.gone;
        self.gone = self.gone.saturating_add(1);
        let Some(event) = event else { return };
        let pid = event.task.pid;
        if self.execs.get(&pid).is_some_and(|exec| exec.number == number) {
            self.execs.remove(&pid);
        }
        if let Some(changes) = self.ids.get_mut(&pid) {
            changes.retain(|&change| change != number);
            if changes.is_empty() {
                self.ids.remove(&pid);
            }
        }
        out.push(event);
    }
}

#[cfg(test)]
mod tests;
