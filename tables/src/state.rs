//! Everything that one event changes: caches, stores, counts. One lock is around it.
//!
//! Owns the way of an event from a source to its row: the process cache learns from it, then it is
//! held against the selection, completed from the cache and stored. Each event ends in exactly one
//! of the counts of its [`Flow`], or waits.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use osquery_ebpf_probes::clock::Base;
use osquery_ebpf_probes::event::{Body, EventKind, RawEvent, Task};
use osquery_ebpf_probes::proc::ProcProcess;

use crate::exclude::Selection;
use crate::identity::{Identity, ProcessId};
use crate::options::Options;
use crate::pending::{Connects, Files};
use crate::process::{ProcessCache, Slot};
use crate::record::{ExitRecord, FileRecord, NONE, Place, ProcessRecord, SocketRecord, Who, pack};
use crate::segment::Keys;
use crate::statistics::{Statistics, What};
use crate::store::Store;
use crate::watch::Watch;

mod file;
mod process;
mod socket;
mod unknown;

use process::Lineage;
#[cfg(test)]
pub use unknown::MAX_READS;
pub use unknown::{Reads, Wanted};

/// What became of the events of one kind before any store. With the store's counts:
/// `delivered = excluded + unselected + unwatched + folded + waiting + stored`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Came from a source.
    pub delivered: u64,
    /// Left out as an exclusion asks.
    pub excluded: u64,
    /// Of a kind that gets no rows.
    pub unselected: u64,
    /// On a file that is not watched.
    pub unwatched: u64,
    /// Became part of another event's row.
    pub folded: u64,
    /// Had a part that was cut; stored all the same.
    pub truncated: u64,
    /// Age of the last one when it came.
    pub lag_ns: Option<u64>,
}

/// What an operator chose, ready for use.
#[derive(Debug, Clone)]
pub struct Active {
    /// As chosen.
    pub options: Options,
    /// Kinds, exclusions and environment.
    pub selection: Selection,
    /// Watched files.
    pub watch: std::sync::Arc<Watch>,
}

/// What holds for all events that are taken together.
pub struct Batch<'a> {
    /// Now, `CLOCK_BOOTTIME` ns.
    pub now_ns: u64,
    /// Converts event times to Unix time.
    pub base: Base,
    /// The options in force.
    pub active: &'a Active,
    /// Processes that were read from `/proc` for these events.
    pub fresh: HashMap<u32, ProcProcess, RandomState>,
    /// Inode of the host's mount namespace.
    pub host_mnt_ns: Option<u32>,
}

/// The state.
#[derive(Debug)]
pub struct State {
    pub cache: ProcessCache,
    pub processes: Store<ProcessRecord>,
    pub exits: Store<ExitRecord>,
    pub sockets: Store<SocketRecord>,
    pub files: Store<FileRecord>,
    pub connects: Connects,
    pub waiting: Files,
    pub statistics: Statistics,
    pub reads: Reads,
    flows: [Flow; EventKind::ALL.len()],
    lineage: Lineage,
    scratch: Vec<u8>,
}

/// What an event's row says of its process.
struct Actor {
    slot: Option<Slot>,
    keys: Keys,
    who: Who,
    place: Place,
}

impl State {
    /// Nothing seen yet.
    pub fn new(identity: Identity, options: &Options) -> Self {
        Self {
            cache: ProcessCache::new(identity),
            processes: Store::new(options.process),
            exits: Store::new(options.exits),
            sockets: Store::new(options.sockets),
            files: Store::new(options.files),
            connects: Connects::default(),
            waiting: Files::default(),
            statistics: Statistics::default(),
            reads: Reads::default(),
            flows: Default::default(),
            lineage: Lineage::default(),
            scratch: Vec::new(),
        }
    }

    /// Takes over new bounds.
    pub fn set_options(&mut self, options: &Options) {
        self.processes.set_limits(options.process);
        self.exits.set_limits(options.exits);
        self.sockets.set_limits(options.sockets);
        self.files.set_limits(options.files);
    }

    /// What became of the events of one kind.
    pub fn flow(&self, kind: EventKind) -> Flow {
        self.flows.get(kind.index()).copied().unwrap_or_default()
    }

    /// Events of one kind that wait.
    pub fn waiting_of(&self, kind: EventKind) -> usize {
        match kind {
            EventKind::Socket => self.connects.len(),
            EventKind::File => self.waiting.len(),
            _ => 0,
        }
    }

    /// Whether events wait for time to pass.
    pub fn waits(&self) -> bool {
        self.connects.len() > 0 || self.waiting.len() > 0
    }

    fn count(&mut self, kind: EventKind, change: impl FnOnce(&mut Flow)) {
        if let Some(flow) = self.flows.get_mut(kind.index()) {
            change(flow);
        }
    }

    /// Takes one event.
    pub fn take(&mut self, event: RawEvent, batch: &Batch<'_>) {
        let kind = event.kind();
        let lag = batch.now_ns.saturating_sub(event.time_ns);
        self.count(kind, |flow| {
            flow.delivered = flow.delivered.saturating_add(1);
            flow.lag_ns = Some(lag);
        });
        match &event.body {
            Body::Exec(exec) => self.exec(&event, exec, batch),
            Body::Fork(fork) => self.fork(&event, fork, batch),
            Body::Exit(exit) => self.exit(&event, exit, batch),
            Body::Setid(setid) => self.change(&event, setid.syscall, batch),
            Body::Namespace(change) => self.change(&event, change.syscall, batch),
            Body::Socket(_) => self.socket(event, batch),
            Body::Connection(answer) => {
                let answer = **answer;
                self.connection(answer, batch);
            }
            Body::File(_) if event.task.start_ns.is_none() => {
                if let Some(hurried) = self.waiting.push(event, batch.now_ns) {
                    self.file(&hurried, batch);
                }
            }
            Body::File(_) => self.file(&event, batch),
        }
    }

    /// Stores the file events that have waited long enough by `until_ns`, connects that have by now,
    /// and lets go what is too old.
    pub fn tick(&mut self, until_ns: u64, batch: &Batch<'_>) {
        while let Some(event) = self.waiting.pop(until_ns) {
            self.file(&event, batch);
        }
        self.expire_connects(batch.now_ns, batch);
        self.processes.tick(batch.now_ns);
        self.exits.tick(batch.now_ns);
        self.sockets.tick(batch.now_ns);
        self.files.tick(batch.now_ns);
        self.connects.forget_before(self.sockets.seqs().0);
    }

    /// Finds the process of an event, at the time of the event.
    fn actor(&mut self, event: &RawEvent, base: Base) -> Actor {
        let RawEvent { time_ns, task, .. } = event;
        // Pid 0 is said of processes outside our pid namespace: nobody we could name.
        let known = task.pid != 0;
        let found = self.cache.find(task, *time_ns).filter(|_| known);
        let slot = if known { found.or_else(|| self.cache.observe(task, *time_ns)) } else { None };
        let parent = self.parent(task, slot, *time_ns);
        let process = slot.and_then(|slot| self.cache.get(slot));
        let id = process.and_then(|process| process.id);
        let (who, place) = self.cache.who_and_where(task, slot);
        Actor {
            slot,
            keys: Keys {
                pid: if known { task.pid } else { NONE },
                parent: pack(parent.pid),
                process_id: id.map_or(0, |id| id.0),
                ..Keys::unknown(base.unix_s(*time_ns))
            },
            who,
            place,
        }
    }

    /// The executable of a process at a time, from the event itself or from the cache.
    fn path_of<'a>(&'a self, task: &'a Task, slot: Option<Slot>, time_ns: u64) -> Option<&'a [u8]> {
        let known = slot.and_then(|slot| self.cache.get(slot));
        task.exe.as_deref().or_else(|| known?.image_at(time_ns).path.as_deref())
    }

    fn parent(&self, task: &Task, slot: Option<Slot>, time_ns: u64) -> Parent {
        let process = slot.and_then(|slot| self.cache.get(slot));
        let pid = task.parent_pid.or_else(|| process?.parent_pid);
        let creator = process.and_then(|process| process.creator);
        let Some(pid) = pid else { return Parent { pid: None, slot: None, id: None } };
        let named = |slot: &Slot| self.cache.get(*slot).is_some_and(|parent| parent.pid == pid);
        let slot = match task.parent_start_ns {
            Some(start_ns) => {
                self.cache.by_key(osquery_ebpf_probes::event::ProcessKey { pid, start_ns })
            }
            None => creator.filter(named).or_else(|| self.cache.by_pid(pid, time_ns)),
        };
        let cached = slot.and_then(|slot| self.cache.get(slot)?.id);
        let id = cached.or_else(|| {
            let start_ns = task.parent_start_ns?;
            let key = osquery_ebpf_probes::event::ProcessKey { pid, start_ns };
            Some(self.cache.identity().process(key))
        });
        Parent { pid: Some(pid), slot, id }
    }

    fn count_activity(&mut self, initiator: Option<&[u8]>, syscall: Option<&str>, now_ns: u64) {
        if let Some(path) = initiator {
            self.statistics.add(What::Initiator, path, now_ns);
        }
        if let Some(syscall) = syscall {
            self.statistics.add(What::Syscall, syscall.as_bytes(), now_ns);
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Parent {
    pid: Option<u32>,
    slot: Option<Slot>,
    id: Option<ProcessId>,
}
