//! exec, fork, exit and changes of ids: what they teach the cache, and their rows.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use osquery_ebpf_probes::event::{
    EventKind, Exec, Exit, Fork, ProcessKey, RawEvent, Strings, TICK_NS, Task,
};
use osquery_ebpf_probes::proc::ProcProcess;

use super::{Batch, Parent, State};
use crate::process::{Child, Image, ProcessCache, Slot};
use crate::record::{ExitRecord, NONE, Packed, ProcessRecord, flag, pack, pack_short};
use crate::segment::{Ancestor, Keys, MAX_ANCESTRY, Segment};

/// Lineages that the open segment has already.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    generation: u64,
    epoch: u64,
    positions: HashMap<Slot, u16, RandomState>,
}

impl Lineage {
    /// Forgets positions that belong to another segment, or are no longer true.
    fn renew(&mut self, generation: u64, epoch: u64) {
        if (self.generation, self.epoch) != (generation, epoch) {
            self.positions.clear();
            (self.generation, self.epoch) = (generation, epoch);
        }
    }

    /// Position, plus one, of a process among the segment's ancestors.
    fn of(
        &mut self,
        slot: Option<Slot>,
        cache: &mut ProcessCache,
        segment: &mut Segment<ProcessRecord>,
    ) -> u16 {
        // From the process up to one that is there already; then down again.
        let mut path = [None; MAX_ANCESTRY];
        let mut next = slot;
        let mut older = 0;
        let mut depth = 0;
        while let (Some(slot), Some(place)) = (next, path.get_mut(depth)) {
            if let Some(&position) = self.positions.get(&slot) {
                older = position;
                break;
            }
            let Some(process) = cache.get(slot) else { break };
            next = process.creator;
            *place = Some(slot);
            depth += 1;
        }
        for slot in path.iter().take(depth).rev().flatten() {
            cache.touch_ancestor(*slot);
            let Some(process) = cache.get(*slot) else { continue };
            older = segment.push_ancestor_of(process, older);
            self.positions.insert(*slot, older);
        }
        older
    }
}

impl Segment<ProcessRecord> {
    fn push_ancestor_of(&mut self, process: &crate::process::Process, older: u16) -> u16 {
        let path = self.pool.intern(process.image.path.as_deref());
        let args = self.pool.intern(process.image.args.as_deref());
        let process_id = process.id.map_or(0, |id| id.0);
        self.push_ancestor(Ancestor { pid: process.pid, older, process_id, path, args })
    }
}

/// The process a row is about.
#[derive(Clone, Copy)]
struct Subject<'a> {
    slot: Option<Slot>,
    pid: u32,
    start_ns: Option<u64>,
    path: Option<&'a [u8]>,
}

/// Fills in what the source could not say.
fn complete(task: &mut Task, fresh: &ProcProcess) {
    let found = fresh.to_task();
    task.start_ns = task.start_ns.or(found.start_ns);
    task.parent_pid = task.parent_pid.or(found.parent_pid);
    task.ns_pid = task.ns_pid.or(found.ns_pid);
    task.creds = task.creds.or(found.creds);
    task.auid = task.auid.or(found.auid);
    task.namespaces = task.namespaces.or(found.namespaces);
    if task.cgroup.is_none() {
        task.cgroup = found.cgroup;
    }
}

fn saturate(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(NONE - 1)
}

/// The parts of a row that only an exec has.
#[derive(Default)]
struct Executed<'a> {
    exec: Option<&'a Exec>,
    args: Option<&'a [u8]>,
    env: Option<&'a [u8]>,
}

impl State {
    pub(super) fn exec(&mut self, event: &RawEvent, exec: &Exec, batch: &Batch<'_>) {
        let time = event.time_ns;
        // Some sources say little more than that there was an exec: /proc has the rest.
        let fresh = batch.fresh.get(&event.task.pid).filter(|fresh| {
            let start = event.task.start_ns;
            start.is_none_or(|start| start / TICK_NS == fresh.key().ticks())
        });
        let mut task = Cow::Borrowed(&event.task);
        if let Some(fresh) = fresh {
            complete(task.to_mut(), fresh);
        }
        let task = &*task;
        let slot = self.cache.observe(task, time);
        let path = exec.path.as_deref().or_else(|| fresh?.exe.as_deref());
        let args = exec.args.bytes.as_deref().or_else(|| fresh?.cmdline.bytes.as_deref());
        let cwd = exec.cwd.as_deref().or_else(|| fresh?.cwd.as_deref());
        let process = slot.and_then(|slot| self.cache.get(slot));
        let before = process.and_then(|process| process.image.path.as_deref());
        let excluded = self.is_excluded(&[path, before], path, task, batch);
        if let Some(slot) = slot {
            self.cache.exec(slot, Image::new(path, args), time);
            self.cache.set_cwd(slot, cwd);
            self.cache.set_tty(slot, exec.tty.as_deref().or_else(|| fresh?.tty.as_deref()));
        }
        if !self.is_wanted(EventKind::Exec, excluded, batch) {
            return;
        }
        let mut env = std::mem::take(&mut self.scratch);
        env.clear();
        if let Some(all) = exec.env.bytes.as_deref() {
            batch.active.selection.keep_env(all, &mut env);
        }
        let kept = exec.env.bytes.is_some().then_some(env.as_slice());
        let executed = Executed { exec: Some(exec), args, env: kept };
        let subject = Subject { slot, pid: task.pid, start_ns: task.start_ns, path };
        self.store_process(event, task, subject, (exec.syscall, 0), &executed, batch);
        self.scratch = env;
    }

    pub(super) fn fork(&mut self, event: &RawEvent, fork: &Fork, batch: &Batch<'_>) {
        let Some(creator) = self.cache.observe(&event.task, event.time_ns) else { return };
        let fresh = batch.fresh.get(&fork.child_pid);
        let start_ns = fork.child_start_ns.or_else(|| Some(fresh?.start_ns));
        let ns_pid = fork.child_ns_pid.or_else(|| fresh?.ns_pid);
        let child = Child { pid: fork.child_pid, start_ns, ns_pid };
        let slot = self.cache.fork(creator, child, event.time_ns);
        self.reads.is_alive(fork.child_pid);
        let wanted = batch.active.selection.wants(EventKind::Fork);
        let path = wanted.then(|| self.path_of(&event.task, slot, event.time_ns)).flatten();
        let path: Option<Box<[u8]>> = path.map(Box::from);
        let path = path.as_deref();
        let excluded = self.is_excluded(&[path], None, &event.task, batch);
        if !self.is_wanted(EventKind::Fork, excluded, batch) {
            return;
        }
        // The row is the child's: its parent is the task that did it.
        let task = Task {
            pid: child.pid,
            tid: child.pid,
            start_ns,
            parent_pid: Some(event.task.pid),
            parent_start_ns: event.task.start_ns,
            ns_pid,
            ..event.task.clone()
        };
        let subject = Subject { slot, pid: child.pid, start_ns, path };
        let code = i32::try_from(child.pid).unwrap_or(0);
        let none = Executed::default();
        self.store_process(event, &task, subject, (fork.syscall, code), &none, batch);
    }

    /// A change of user ids or namespaces, which the task already shows.
    pub(super) fn change(
        &mut self,
        event: &RawEvent,
        syscall: Option<&'static str>,
        batch: &Batch<'_>,
    ) {
        let slot = self.cache.observe(&event.task, event.time_ns);
        let kind = event.kind();
        let path = self.path_of(&event.task, slot, event.time_ns).map(Box::<[u8]>::from);
        let path = path.as_deref();
        let excluded = self.is_excluded(&[path], None, &event.task, batch);
        if !self.is_wanted(kind, excluded, batch) {
            return;
        }
        let task = &event.task;
        let subject = Subject { slot, pid: task.pid, start_ns: task.start_ns, path };
        self.store_process(event, task, subject, (syscall, 0), &Executed::default(), batch);
    }

    pub(super) fn exit(&mut self, event: &RawEvent, exit: &Exit, batch: &Batch<'_>) {
        let RawEvent { time_ns, task, .. } = event;
        let actor = self.actor(event, batch.base);
        let path = self.path_of(task, actor.slot, *time_ns).map(Box::<[u8]>::from);
        let path = path.as_deref();
        let parent = self.parent(task, actor.slot, *time_ns);
        if let Some(slot) = actor.slot {
            self.cache.exit(slot, *time_ns);
        }
        let excluded = self.is_excluded(&[path], None, task, batch);
        if !self.is_wanted(EventKind::Exit, excluded, batch) {
            return;
        }
        let process = actor.slot.and_then(|slot| self.cache.get(slot));
        let start = task.start_ns.or_else(|| process?.start_ns);
        let (segment, _) = self.exits.open();
        let bit = |is: bool, bit: u16| if is { bit } else { 0 };
        let record = ExitRecord {
            time_ns: *time_ns,
            start_ns: start.unwrap_or(0),
            start_time: start.map_or(0, |start| batch.base.unix_s(start)),
            parent_process_id: parent.id.map_or(0, |id| id.0),
            uid: pack(actor.who.creds.map(|creds| creds.uid)),
            code: pack_short(exit.code),
            signal: pack_short(exit.signal),
            args: segment
                .pool
                .intern(process.and_then(|process| process.image_at(*time_ns).args.as_deref())),
            container: segment.pool.intern(process.and_then(|p| p.inherited.container.as_deref())),
            flags: bit(start.is_some(), flag::START_KNOWN)
                | bit(exit.core_dumped.is_some(), flag::CORE_KNOWN)
                | bit(exit.core_dumped == Some(true), flag::CORE_DUMPED),
            source: event.source,
        };
        let keys = Keys { path: segment.pool.intern(path), ..actor.keys };
        self.exits.push(keys, record);
        self.count_activity(path, None, batch.now_ns);
    }

    /// Whether the selection leaves an event out: by the executables of those involved, by the file
    /// that is executed, by the user.
    pub(super) fn is_excluded(
        &self,
        processes: &[Option<&[u8]>],
        file: Option<&[u8]>,
        task: &Task,
        batch: &Batch<'_>,
    ) -> bool {
        let selection = &batch.active.selection;
        processes.iter().any(|path| selection.excludes_process(*path))
            || selection.excludes_path(file)
            || selection.excludes_uid(task.creds.map(|creds| creds.uid))
    }

    /// Counts an event that gets no row.
    fn is_wanted(&mut self, kind: EventKind, excluded: bool, batch: &Batch<'_>) -> bool {
        if !batch.active.selection.wants(kind) {
            self.count(kind, |flow| flow.unselected = flow.unselected.saturating_add(1));
            return false;
        }
        if excluded {
            self.count(kind, |flow| flow.excluded = flow.excluded.saturating_add(1));
        }
        !excluded
    }

    fn store_process(
        &mut self,
        event: &RawEvent,
        task: &Task,
        subject: Subject<'_>,
        (syscall, exit_code): (Option<&'static str>, i32),
        executed: &Executed<'_>,
        batch: &Batch<'_>,
    ) {
        let parent = self.parent(task, subject.slot, event.time_ns);
        let Self { cache, processes, lineage, .. } = self;
        let (segment, generation) = processes.open();
        lineage.renew(generation, cache.epoch());
        let creator = subject.slot.and_then(|slot| cache.get(slot)?.creator).or(parent.slot);
        let ancestry = lineage.of(creator, cache, segment);
        let parent_position =
            if parent.slot == creator { ancestry } else { lineage.of(parent.slot, cache, segment) };
        let process = subject.slot.and_then(|slot| cache.get(slot));
        let exec = executed.exec;
        let cut = exec.map(|exec| exec.truncated).unwrap_or_default();
        let bit = |is: bool, bit: u16| if is { bit } else { 0 };
        let pool = &mut segment.pool;
        let (who, place) = cache.who_and_where(task, subject.slot);
        let (who, place) = (Packed::who(&who), Packed::place(&place));
        let image_args =
            process.and_then(|process| process.image_at(event.time_ns).args.as_deref());
        let args = if exec.is_some() { executed.args } else { image_args };
        let fileless = exec.and_then(|exec| exec.fileless);
        let flags = bit(cut.args, flag::ARGS_CUT)
            | bit(cut.env, flag::ENV_CUT)
            | bit(cut.path, flag::PATH_CUT)
            | bit(cut.cwd, flag::CWD_CUT)
            | bit(cut.cgroup, flag::CGROUP_CUT)
            | bit(exec.is_some() && args.is_none(), flag::ARGS_UNREAD)
            | bit(fileless.is_some(), flag::FILELESS_KNOWN)
            | bit(fileless == Some(true), flag::FILELESS);
        let size = |strings: Option<&Strings>| {
            pack(strings.and_then(|strings| strings.size).map(saturate))
        };
        let count = |strings: Option<&Strings>| pack(strings.and_then(|strings| strings.count));
        let record = ProcessRecord {
            time_ns: event.time_ns,
            parent_process_id: parent.id.map_or(0, |id| id.0),
            tid: task.tid,
            ns_pid: pack(task.ns_pid.or_else(|| process?.ns_pid)),
            args_size: size(exec.map(|exec| &exec.args)),
            env_count: count(exec.map(|exec| &exec.env)),
            env_size: size(exec.map(|exec| &exec.env)),
            exit_code,
            who: pool.intern(Some(who.as_slice())),
            place: pool.intern(Some(place.as_slice())),
            raw_path: pool.intern(exec.and_then(|exec| exec.raw_path.as_deref())),
            interpreter: pool.intern(exec.and_then(|exec| exec.interpreter.as_deref())),
            args: pool.intern(args),
            env: pool.intern(executed.env),
            cwd: pool.intern(
                process
                    .and_then(|process| process.inherited.cwd.as_deref())
                    .or(task.cwd.as_deref()),
            ),
            tty: pool.intern(process.and_then(|process| process.inherited.tty.as_deref())),
            cgroup: pool
                .intern(task.cgroup.as_deref().or_else(|| process?.inherited.cgroup.as_deref())),
            container: pool
                .intern(process.and_then(|process| process.inherited.container.as_deref())),
            file: pool.intern(
                exec.and_then(|exec| exec.file.as_ref())
                    .map(Packed::file)
                    .as_ref()
                    .map(Packed::as_slice),
            ),
            syscall: pool.intern(syscall.map(str::as_bytes)),
            parent: parent_position,
            ancestry,
            flags,
            kind: event.kind(),
            source: event.source,
        };
        let key = subject.start_ns.map(|start_ns| ProcessKey { pid: subject.pid, start_ns });
        let id = process.and_then(|process| process.id);
        let id = id.or_else(|| key.map(|key| cache.identity().process(key)));
        let keys = Keys {
            pid: subject.pid,
            parent: pack(parent.pid),
            path: pool.intern(subject.path),
            time: batch.base.unix_s(event.time_ns),
            process_id: id.map_or(0, |id| id.0),
        };
        processes.push(keys, record);
        if cut != Default::default() {
            self.count(event.kind(), |flow| flow.truncated = flow.truncated.saturating_add(1));
        }
        self.count_process(parent, syscall, batch.now_ns);
    }

    fn count_process(&mut self, parent: Parent, syscall: Option<&'static str>, now_ns: u64) {
        let Self { cache, statistics, .. } = self;
        let initiator = parent.slot.and_then(|slot| cache.get(slot)?.image.path.as_deref());
        if let Some(path) = initiator {
            statistics.add(crate::statistics::What::Initiator, path, now_ns);
        }
        if let Some(syscall) = syscall {
            statistics.add(crate::statistics::What::Syscall, syscall.as_bytes(), now_ns);
        }
    }
}
