//! What is known of processes, so that an event says more than its source did.
//!
//! Owns processes by (pid, start) and by pid, from before their first exec until some time after
//! their end: a later event, or a child's ancestry, still finds them. Fed by exec, fork and exit
//! events of every source and by `/proc`. Bounded in number and bytes; those that ended go first,
//! the least recently used of them first of all, and what goes is counted.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use osquery_ebpf_probes::event::{ProcessKey, Task};
use osquery_ebpf_probes::proc::ProcProcess;

use crate::identity::Identity;
use crate::record::{Place, Who};

mod one;
mod slab;
#[cfg(test)]
mod tests;

pub use one::{Image, Inherited, Process, Shared};
use one::{PER_INHERITED, PER_PROCESS, SHARED_OVERHEAD, Unknown};
pub use slab::Slot;
use slab::{List, Slab};

/// Processes kept: half as many as Linux has by default (`pid_max`).
pub const MAX_PROCESSES: usize = 16_384;

/// Bytes kept of processes and their strings. The tables they are found by grow ahead of need, and may
/// be a fifth more.
pub const MAX_BYTES: usize = 8 << 20;

/// A pid named without its start is taken for a process that has ended only this long after the
/// end: later, it may be another's.
const AFTERLIFE_NS: u64 = 10_000_000_000;

/// What the cache has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Processes put in.
    pub inserted: u64,
    /// Ended processes that made room.
    pub evicted_exited: u64,
    /// Living processes that made room, since no ended one was left.
    pub evicted_live: u64,
}

/// The cache.
#[derive(Debug)]
pub struct ProcessCache {
    slab: Slab<Process>,
    by_key: HashMap<(u32, u64), Slot, RandomState>,
    by_pid: HashMap<u32, Slot, RandomState>,
    identity: Identity,
    unknown: Unknown,
    shared_bytes: usize,
    epoch: u64,
    counts: CacheCounts,
    limits: (usize, usize),
}

impl ProcessCache {
    /// An empty cache with the usual bounds.
    pub fn new(identity: Identity) -> Self {
        Self::with_limits(identity, MAX_PROCESSES, MAX_BYTES)
    }

    /// An empty cache with bounds of its own.
    pub fn with_limits(identity: Identity, processes: usize, bytes: usize) -> Self {
        Self {
            slab: Slab::default(),
            by_key: HashMap::default(),
            by_pid: HashMap::default(),
            identity,
            unknown: Unknown::default(),
            shared_bytes: 0,
            epoch: 0,
            counts: CacheCounts::default(),
            limits: (processes, bytes),
        }
    }

    /// A process.
    pub fn get(&self, slot: Slot) -> Option<&Process> {
        self.slab.get(slot)
    }

    /// Computes process ids.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Changes whenever a lineage told earlier may no longer be right.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What it has done.
    pub const fn counts(&self) -> CacheCounts {
        self.counts
    }

    /// Processes held: living, ended.
    pub const fn len(&self) -> (usize, usize) {
        (self.slab.len(List::Live), self.slab.len(List::Exited))
    }

    /// Bytes held, all told.
    pub fn bytes(&self) -> usize {
        let maps = self.by_key.capacity() * (size_of::<((u32, u64), Slot)>() + 1)
            + self.by_pid.capacity() * (size_of::<(u32, Slot)>() + 1);
        self.slab.heap_bytes() + maps + self.shared_bytes
    }

    /// The process with this pid and start.
    pub fn by_key(&self, key: ProcessKey) -> Option<Slot> {
        self.by_key.get(&(key.pid, key.ticks())).copied()
    }

    /// The process that had this pid at a time, as far as is known.
    pub fn by_pid(&self, pid: u32, time_ns: u64) -> Option<Slot> {
        let newest = self.by_pid.get(&pid).copied();
        let older = |slot: &Slot| self.get(*slot)?.older;
        std::iter::successors(newest, older).find(|&slot| {
            self.get(slot).is_some_and(|process| {
                process.start_ns.is_none_or(|start| start <= time_ns)
                    && process.exit_ns.is_none_or(|end| time_ns <= end.saturating_add(AFTERLIFE_NS))
            })
        })
    }

    /// The process of a task, by its start where that is known, else by its pid.
    pub fn find(&self, task: &Task, time_ns: u64) -> Option<Slot> {
        match task.key() {
            Some(key) => self.by_key(key).or_else(|| self.unstarted(key.pid)),
            None => self.by_pid(task.pid, time_ns),
        }
    }

    /// The living process with this pid whose start nobody has told yet.
    fn unstarted(&self, pid: u32) -> Option<Slot> {
        let slot = self.by_pid.get(&pid).copied()?;
        let process = self.get(slot)?;
        (process.start_ns.is_none() && process.exit_ns.is_none()).then_some(slot)
    }

    /// The process of a task, put in if it is new, brought up to date by what the task says.
    pub fn observe(&mut self, task: &Task, time_ns: u64) -> Option<Slot> {
        let found = self.find(task, time_ns);
        let slot = match found {
            Some(slot) => slot,
            None => self.insert(self.new_process(task.pid, task.start_ns))?,
        };
        self.slab.touch(slot);
        self.update(slot, task, time_ns);
        self.make_room(0);
        Some(slot)
    }

    fn update(&mut self, slot: Slot, task: &Task, time_ns: u64) {
        let creator = self.slab.get(slot).and_then(|process| process.creator);
        let creator = creator.or_else(|| self.parent_of(task, time_ns));
        let Some(process) = self.slab.get_mut(slot) else { return };
        if let (None, Some(start_ns)) = (process.start_ns, task.start_ns) {
            let key = ProcessKey { pid: process.pid, start_ns };
            process.start_ns = Some(start_ns);
            process.id = Some(self.identity.process(key));
            self.by_key.insert((key.pid, key.ticks()), slot);
        }
        process.creator = creator;
        process.parent_pid = task.parent_pid.or(process.parent_pid);
        process.ns_pid = task.ns_pid.or(process.ns_pid);
        let Inherited { who, place, .. } = *process.inherited;
        let told = (Who::of(task).or(who), Place::of(task).or(place));
        if told != (who, place) {
            self.change(slot, |own| (own.who, own.place) = told);
        }
        self.set_cgroup(slot, task.cgroup.as_deref());
        self.set_cwd(slot, task.cwd.as_deref());
        let Some(process) = self.slab.get(slot) else { return };
        if process.image.path.is_none()
            && let Some(exe) = &task.exe
        {
            let args = process.image.args.clone();
            let image = Image { path: Some(exe.clone()), args };
            self.set_image(slot, image, 0);
        }
    }

    fn parent_of(&self, task: &Task, time_ns: u64) -> Option<Slot> {
        let pid = task.parent_pid.filter(|&pid| pid != task.pid)?;
        match task.parent_start_ns {
            Some(start_ns) => self.by_key(ProcessKey { pid, start_ns }),
            None => self.by_pid(pid, time_ns),
        }
    }

    /// A process runs another program from now on.
    pub fn exec(&mut self, slot: Slot, image: Image, time_ns: u64) {
        if let Some(process) = self.slab.get_mut(slot) {
            process.partial = false;
        }
        self.set_image(slot, image, time_ns);
    }

    fn set_image(&mut self, slot: Slot, image: Image, since_ns: u64) {
        let Some(process) = self.slab.get_mut(slot) else { return };
        if process.ancestor {
            self.epoch = self.epoch.wrapping_add(1);
        }
        self.shared_bytes = self.shared_bytes.saturating_add(image.bytes());
        let before = std::mem::replace(&mut process.image, Arc::new(image));
        // An image without a beginning only completes what was known.
        let kept = if since_ns == 0 { None } else { Some(Arc::clone(&before)) };
        let forgotten = if since_ns == 0 { None } else { process.previous.take() };
        if since_ns != 0 {
            process.since_ns = since_ns;
            process.previous = kept;
        }
        self.release_image(Some(before));
        self.release_image(forgotten);
        // The process itself was used last, so it goes last.
        self.make_room(0);
    }

    /// Who and where a process is: as its task says, else as is known.
    pub fn who_and_where(&self, task: &Task, slot: Option<Slot>) -> (Who, Place) {
        let (who, place) = (Who::of(task), Place::of(task));
        match slot.and_then(|slot| self.get(slot)) {
            Some(process) => (who.or(process.inherited.who), place.or(process.inherited.place)),
            None => (who, place),
        }
    }

    /// Where a process works from now on.
    pub fn set_cwd(&mut self, slot: Slot, cwd: Option<&[u8]>) {
        if let Some(cwd) = self.news(slot, cwd, |known| known.cwd.as_deref()) {
            self.change(slot, |own| own.cwd = Some(cwd));
        }
    }

    /// The terminal of a process from now on.
    pub fn set_tty(&mut self, slot: Slot, tty: Option<&[u8]>) {
        if let Some(tty) = self.news(slot, tty, |known| known.tty.as_deref()) {
            self.change(slot, |own| own.tty = Some(tty));
        }
    }

    fn set_cgroup(&mut self, slot: Slot, cgroup: Option<&[u8]>) {
        if let Some(cgroup) = self.news(slot, cgroup, |known| known.cgroup.as_deref()) {
            let container = crate::container::id(&cgroup).map(|id| self.share(id));
            self.change(slot, |own| {
                own.cgroup = Some(cgroup);
                own.container = container;
            });
        }
    }

    /// What is told of a process, to be shared, unless it is what is known.
    fn news(
        &mut self,
        slot: Slot,
        told: Option<&[u8]>,
        known: fn(&Inherited) -> Option<&[u8]>,
    ) -> Option<Shared> {
        let told = told?;
        let process = self.slab.get(slot)?;
        (known(&process.inherited) != Some(told)).then(|| self.share(told))
    }

    /// Gives a process its own of what it had from its creator. Strings that come new are counted
    /// already.
    fn change(&mut self, slot: Slot, change: impl FnOnce(&mut Inherited)) {
        let Some(process) = self.slab.get_mut(slot) else { return };
        let mut own = (*process.inherited).clone();
        change(&mut own);
        let before = std::mem::replace(&mut process.inherited, Arc::new(own));
        self.shared_bytes = self.shared_bytes.saturating_add(PER_INHERITED);
        self.release_inherited(before);
    }

    /// A process created another, which starts out as its creator is.
    pub fn fork(&mut self, creator: Slot, child: Child, time_ns: u64) -> Option<Slot> {
        let key = child.start_ns.map(|start_ns| ProcessKey { pid: child.pid, start_ns });
        if let Some(known) = key.and_then(|key| self.by_key(key)) {
            // Its own first event, or /proc, came before.
            if let Some(process) = self.slab.get_mut(known) {
                process.creator = Some(creator);
                process.partial = false;
            }
            self.touch_ancestor(creator);
            return Some(known);
        }
        let mut process = self.new_process(child.pid, child.start_ns);
        if let Some(parent) = self.slab.get_mut(creator) {
            parent.ancestor = true;
            process.parent_pid = Some(parent.pid);
            process.image = Arc::clone(&parent.image);
            process.inherited = Arc::clone(&parent.inherited);
        }
        process.ns_pid = child.ns_pid;
        process.creator = Some(creator);
        process.since_ns = time_ns;
        process.partial = false;
        self.insert(process)
    }

    /// A process ended.
    pub fn exit(&mut self, slot: Slot, time_ns: u64) {
        if let Some(process) = self.slab.get_mut(slot) {
            process.exit_ns = Some(time_ns);
            self.slab.shift(slot, List::Exited);
        }
    }

    /// Takes over what `/proc` says of a process, without replacing what events said.
    pub fn learn(&mut self, found: &ProcProcess) -> Option<Slot> {
        let known = self.by_key(found.key()).or_else(|| self.unstarted(found.pid));
        let slot = match known {
            Some(slot) => slot,
            None => self.insert(self.new_process(found.pid, Some(found.start_ns)))?,
        };
        let mut task = found.to_task();
        if let Some(process) = self.slab.get(slot) {
            let known = &process.inherited;
            task.creds = known.who.creds.or(task.creds);
            task.namespaces = known.place.namespaces.or(task.namespaces);
            task.cgroup = if known.cgroup.is_some() { None } else { task.cgroup };
            task.cwd = if known.cwd.is_some() { None } else { task.cwd };
            task.exe = None;
        }
        self.update(slot, &task, u64::MAX);
        self.set_tty(slot, found.tty.as_deref());
        let process = self.slab.get(slot)?;
        if process.image.path.is_none() || process.image.args.is_none() {
            let told = Image::new(found.exe.as_deref(), found.cmdline.bytes.as_deref());
            let path = process.image.path.clone().or(told.path);
            let args = process.image.args.clone().or(told.args);
            self.set_image(slot, Image { path, args }, 0);
        }
        Some(slot)
    }

    /// Notes that a process is someone's ancestor, and was of use.
    pub fn touch_ancestor(&mut self, slot: Slot) {
        if let Some(process) = self.slab.get_mut(slot) {
            process.ancestor = true;
            self.slab.touch(slot);
        }
    }

    fn new_process(&self, pid: u32, start_ns: Option<u64>) -> Process {
        Process::new(pid, start_ns, &self.identity, &self.unknown)
    }

    fn insert(&mut self, mut process: Process) -> Option<Slot> {
        self.make_room(1);
        self.counts.inserted = self.counts.inserted.saturating_add(1);
        let (pid, ticks) = (process.pid, process.ticks());
        process.older = self.by_pid.get(&pid).copied();
        let slot = self.slab.insert(process, List::Live)?;
        self.by_pid.insert(pid, slot);
        if let Some(ticks) = ticks {
            self.by_key.insert((pid, ticks), slot);
        }
        Some(slot)
    }

    /// Evicts until there is room for so many more processes.
    fn make_room(&mut self, more: usize) {
        let (processes, bytes) = self.limits;
        loop {
            let (live, exited) = self.len();
            let held = live.saturating_add(exited).saturating_add(more);
            // The tables never shrink, so only what goes with a process counts for the bytes.
            let used = self.shared_bytes.saturating_add(held.saturating_mul(PER_PROCESS));
            if held <= processes && used <= bytes {
                return;
            }
            let ended = self.slab.least_used(List::Exited);
            let Some(slot) = ended.or_else(|| self.slab.least_used(List::Live)) else { return };
            if ended.is_some() {
                self.counts.evicted_exited = self.counts.evicted_exited.saturating_add(1);
            } else {
                self.counts.evicted_live = self.counts.evicted_live.saturating_add(1);
            }
            self.remove(slot);
        }
    }

    fn remove(&mut self, slot: Slot) {
        let Some(process) = self.slab.remove(slot) else { return };
        let (pid, ticks) = (process.pid, process.ticks());
        if let Some(ticks) = ticks
            && self.by_key.get(&(pid, ticks)) == Some(&slot)
        {
            self.by_key.remove(&(pid, ticks));
        }
        if self.by_pid.get(&pid) == Some(&slot) {
            match process.older.filter(|&older| self.slab.get(older).is_some()) {
                Some(older) => self.by_pid.insert(pid, older),
                None => self.by_pid.remove(&pid),
            };
        }
        if process.ancestor {
            self.epoch = self.epoch.wrapping_add(1);
        }
        self.release_image(Some(process.image));
        self.release_image(process.previous);
        self.release_inherited(process.inherited);
    }

    fn release_inherited(&mut self, inherited: Arc<Inherited>) {
        if let Some(Inherited { cwd, cgroup, container, tty, .. }) = Arc::into_inner(inherited) {
            debug_assert!(PER_INHERITED <= self.shared_bytes, "released what was never counted");
            self.shared_bytes = self.shared_bytes.saturating_sub(PER_INHERITED);
            [cwd, cgroup, container, tty].into_iter().for_each(|shared| self.release(shared));
        }
    }

    fn share(&mut self, bytes: &[u8]) -> Shared {
        self.shared_bytes =
            self.shared_bytes.saturating_add(bytes.len().saturating_add(SHARED_OVERHEAD));
        Shared::from(bytes)
    }

    fn release(&mut self, shared: Option<Shared>) {
        if let Some(shared) = shared
            && Arc::strong_count(&shared) == 1
        {
            let freed = shared.len().saturating_add(SHARED_OVERHEAD);
            debug_assert!(freed <= self.shared_bytes, "released what was never counted");
            self.shared_bytes = self.shared_bytes.saturating_sub(freed);
        }
    }

    fn release_image(&mut self, image: Option<Arc<Image>>) {
        if let Some(image) = image
            && Arc::strong_count(&image) == 1
        {
            debug_assert!(image.bytes() <= self.shared_bytes, "released what was never counted");
            self.shared_bytes = self.shared_bytes.saturating_sub(image.bytes());
        }
    }
}

/// A process that was just created.
#[derive(Debug, Clone, Copy)]
pub struct Child {
    pub pid: u32,
    pub start_ns: Option<u64>,
    pub ns_pid: Option<u32>,
}
