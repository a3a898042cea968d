//! Which processes must be read from `/proc` before events can be taken.
//!
//! Reading takes a while, so it is done without the lock: [`Wanted`] are collected under it, read
//! outside, and handed back with the batch. How many are read for one batch is bounded.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use osquery_ebpf_probes::event::{Body, Exec, RawEvent, SourceKind};

use super::State;

/// Processes read for one batch. A read takes some 20 µs.
pub const MAX_READS: usize = 128;

/// Pids remembered to lead nowhere, and for how long.
const MAX_ABSENT: usize = 4096;
const ABSENT_NS: u64 = 1_000_000_000;

/// Pids to read.
pub type Wanted = Vec<u32>;

/// What is known about reading.
#[derive(Debug, Default)]
pub struct Reads {
    absent: HashMap<u32, u64, RandomState>,
    skipped: u64,
}

impl Reads {
    /// There is a process with this pid again.
    pub fn is_alive(&mut self, pid: u32) {
        self.absent.remove(&pid);
    }

    /// There was no process with this pid.
    pub fn is_absent(&mut self, pid: u32, now_ns: u64) {
        if self.absent.len() >= MAX_ABSENT {
            self.absent.clear();
        }
        self.absent.insert(pid, now_ns);
    }

    /// Processes that were not read, as too many were wanted at once.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    fn want(&mut self, pid: u32, now_ns: u64, wanted: &mut Wanted) {
        let since = self.absent.get(&pid).copied();
        let absent = since.is_some_and(|since| now_ns < since.saturating_add(ABSENT_NS));
        if pid == 0 || absent || wanted.contains(&pid) {
            return;
        }
        if wanted.len() >= MAX_READS {
            self.skipped = self.skipped.saturating_add(1);
            return;
        }
        wanted.push(pid);
    }
}

/// Whether an exec can say no more than that it was. Only BPF reports the cgroup with it; by audit
/// and the connector alone, a container's processes would be taken to be where their creator is.
fn needs_proc(event: &RawEvent, exec: &Exec) -> bool {
    let tells_cgroup = event.source == SourceKind::Bpf || event.task.cgroup.is_some();
    exec.path.is_none() || !tells_cgroup
}

impl State {
    /// The processes that these events need and the cache does not have.
    pub fn wanted(&mut self, events: &[RawEvent], now_ns: u64) -> Wanted {
        let mut wanted = Wanted::new();
        // Pids that an earlier event of the batch introduces.
        let mut told: HashSet<u32, RandomState> = HashSet::default();
        for event in events {
            let RawEvent { time_ns, task, body, .. } = event;
            match body {
                Body::Exec(exec) if needs_proc(event, exec) => {
                    self.reads.is_alive(task.pid);
                    self.reads.want(task.pid, now_ns, &mut wanted);
                    continue;
                }
                Body::Exec(_) | Body::Fork(_) => {
                    let parent = task.parent_pid.filter(|&pid| {
                        pid != task.pid && self.cache.by_pid(pid, *time_ns).is_none()
                    });
                    if let Some(parent) = parent.filter(|pid| !told.contains(pid)) {
                        self.reads.want(parent, now_ns, &mut wanted);
                    }
                }
                Body::Exit(_) | Body::Connection(_) => continue,
                // These wait, and are looked at again.
                Body::File(_) if task.start_ns.is_none() => continue,
                _ => {}
            }
            if let Body::Fork(fork) = body {
                if fork.child_start_ns.is_none() {
                    self.reads.is_alive(fork.child_pid);
                    self.reads.want(fork.child_pid, now_ns, &mut wanted);
                }
                told.insert(fork.child_pid);
            }
            if matches!(body, Body::Exec(_)) {
                told.insert(task.pid);
            } else if self.cache.find(task, *time_ns).is_none() && !told.contains(&task.pid) {
                self.reads.want(task.pid, now_ns, &mut wanted);
            }
        }
        wanted
    }

    /// The processes that file events need which are about to be stored, and the cache does not
    /// have.
    pub fn wanted_by_waiting(&mut self, until_ns: u64, now_ns: u64) -> Wanted {
        let mut wanted = Wanted::new();
        let pids: HashSet<u32, RandomState> = self.waiting.due(until_ns).collect();
        for pid in pids {
            if self.cache.by_pid(pid, now_ns).is_none() {
                self.reads.want(pid, now_ns, &mut wanted);
            }
        }
        wanted
    }
}
