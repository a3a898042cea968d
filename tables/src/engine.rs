//! All the tables of one process: takes events from sources, answers scans.
//!
//! Owns the lock around the [`State`] and what is done outside it: reading `/proc`, searching and
//! reading rows, hashing. A batch of events takes the lock once; a scan holds it while it takes a
//! snapshot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use osquery_ebpf_probes::clock::{self, BootId, Clock};
use osquery_ebpf_probes::event::RawEvent;
use osquery_ebpf_probes::proc::{self, ProcProcess};
use osquery_ebpf_probes::source::{Exclusions, PathFilter, Programs, Sink};
use parking_lot::{Condvar, Mutex, RwLock};

use crate::catalog::{EXITS, FILES, HEALTH, PROCESS_FILES, PROCESSES, SOCKETS, STATISTICS, TABLES};
use crate::column::{Context, Definition};
use crate::cursor::View;
use crate::exclude::Selection;
use crate::hash::{Algorithms, HashCache, Hasher};
use crate::identity::Identity;
use crate::options::{Network, OptionError, Options};
use crate::query::Rows;
use crate::record::Record;
use crate::remember::Remembered;
use crate::rows::MadeRows;
use crate::scan::{Caller, Request, Scan, ScanError, Tables};
use crate::schema::Table;
use crate::state::{Active, Batch, State, Wanted};
use crate::status::StatusProvider;
use crate::store::{Snapshot, Store};
use crate::watch::{Watch, WatchConfig};

mod health;
#[cfg(test)]
mod tests;

pub use health::{Accounting, KindAccounting};

/// How often [`EventTables::tick`] should be called: what waits is stored this much late at most.
pub const TICK: Duration = Duration::from_millis(50);

/// Reads processes that no event told of. A trait, so that tests need no `/proc`.
pub trait ProcessReader: Send + Sync {
    /// One process. `None`: there is none.
    fn read(&self, pid: u32) -> Option<ProcProcess>;

    /// Every process, parents before children.
    fn scan(&self) -> Vec<ProcProcess>;
}

/// Reads `/proc`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcFs;

impl ProcessReader for ProcFs {
    fn read(&self, pid: u32) -> Option<ProcProcess> {
        proc::read(pid)
    }

    fn scan(&self) -> Vec<ProcProcess> {
        proc::scan()
    }
}

/// Tells the time. A trait, so that tests need not wait.
pub trait Time: Send + Sync {
    /// `CLOCK_BOOTTIME`, ns.
    fn now_ns(&self) -> u64;

    /// Converts to Unix time.
    fn base(&self) -> clock::Base;
}

impl Time for Clock {
    fn now_ns(&self) -> u64 {
        clock::boot_now_ns()
    }

    fn base(&self) -> clock::Base {
        Self::base(self)
    }
}

/// What the tables are told of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// This boot.
    pub boot_id: BootId,
    /// Kernel release, for `ebpf_events_health`.
    pub kernel: String,
    /// Where the kernel's types are read from, or `none`; for `ebpf_events_health`.
    pub btf: String,
    /// Inode of our own mount namespace, taken to be the host's.
    pub mnt_ns: Option<u32>,
}

impl HostFacts {
    /// Inode of the mount namespace of this process.
    pub fn own_mnt_ns() -> Option<u32> {
        use std::os::unix::fs::MetadataExt as _;
        u32::try_from(std::fs::metadata("/proc/self/ns/mnt").ok()?.ino()).ok()
    }
}

/// The tables.
pub struct EventTables {
    state: Mutex<State>,
    /// Signalled when connects may have been answered.
    changed: Condvar,
    /// Signalled when something begins to wait for time to pass.
    waits: Condvar,
    active: RwLock<Arc<Active>>,
    status: RwLock<Option<Arc<dyn StatusProvider>>>,
    host: HostFacts,
    time: Box<dyn Time>,
    reader: Box<dyn ProcessReader>,
    hashes: Arc<HashCache>,
}

impl EventTables {
    /// Empty tables of this host.
    ///
    /// # Errors
    /// [`OptionError`] names the first option that cannot be.
    pub fn new(options: Options, host: HostFacts) -> Result<Arc<Self>, OptionError> {
        Self::with(options, host, Box::new(Clock::new()), Box::new(ProcFs))
    }

    /// Empty tables that know time and processes from elsewhere.
    ///
    /// # Errors
    /// [`OptionError`] names the first option that cannot be.
    pub fn with(
        options: Options,
        host: HostFacts,
        time: Box<dyn Time>,
        reader: Box<dyn ProcessReader>,
    ) -> Result<Arc<Self>, OptionError> {
        let selection = Selection::new(&options)?;
        let state = State::new(Identity::new(host.boot_id), &options);
        let hashes = Arc::new(HashCache::new(options.hash_bytes));
        let active = Arc::new(Active { options, selection, watch: Arc::default() });
        Ok(Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            waits: Condvar::new(),
            active: RwLock::new(active),
            status: RwLock::new(None),
            host,
            time,
            reader,
            hashes,
        }))
    }

    /// Where sources deliver.
    pub fn sink(self: &Arc<Self>) -> Arc<dyn Sink> {
        Arc::clone(self) as Arc<dyn Sink>
    }

    /// Who says what the sources do, for `ebpf_events_health`.
    pub fn set_status(&self, status: Arc<dyn StatusProvider>) {
        *self.status.write() = Some(status);
    }

    /// Takes over new options. What is held is kept, as far as new bounds allow.
    ///
    /// # Errors
    /// [`OptionError`] names the first option that cannot be; then the old ones stay in force.
    pub fn set_options(&self, options: Options) -> Result<(), OptionError> {
        let selection = Selection::new(&options)?;
        self.hashes.set_max_file(options.hash_bytes);
        let mut state = self.state.lock();
        state.set_options(&options);
        let mut active = self.active.write();
        let watch = Arc::clone(&active.watch);
        *active = Arc::new(Active { options, selection, watch });
        Ok(())
    }

    /// The options in force.
    pub fn options(&self) -> Options {
        self.active.read().options.clone()
    }

    /// Takes over which files are watched, resolving symbolic links in the patterns as they are
    /// now. To be called at each refresh of the configuration: what patterns lead through may
    /// change.
    pub fn set_watch(&self, config: &WatchConfig) {
        let watch = Arc::new(Watch::of_host(config));
        for pattern in watch.ignored() {
            log::warn!("file_paths: {pattern:?} is not an absolute path, so it matches nothing");
        }
        let mut active = self.active.write();
        *active = Arc::new(Active { watch, ..(**active).clone() });
    }

    /// Which files are watched, for sources.
    pub fn watch(&self) -> Arc<dyn PathFilter> {
        Arc::clone(&self.active.read().watch) as Arc<dyn PathFilter>
    }

    /// What is left out, for sources that can leave it out themselves.
    pub fn exclusions(&self) -> Exclusions {
        let active = Arc::clone(&self.active.read());
        let exclude = &active.options.exclude;
        Exclusions {
            users: exclude.uids.clone(),
            networks: exclude.addresses.iter().map(Network::canonical).collect(),
            programs: (!exclude.processes.is_empty()).then(|| -> Programs {
                let active = Arc::clone(&active);
                Arc::new(move |path: &[u8]| active.selection.excludes_process(Some(path)))
            }),
        }
    }

    /// Whether opens and reads of some watched files are wanted.
    pub fn wants_file_accesses(&self) -> bool {
        self.active.read().watch.wants_accesses()
    }

    /// Fills the process cache with the processes there are. To be called once the process source
    /// has started, so that none is missed in between.
    pub fn seed(&self) -> usize {
        let processes = self.reader.scan();
        let mut state = self.state.lock();
        for process in &processes {
            state.cache.learn(process);
        }
        processes.len()
    }

    /// Stores what has waited long enough, and lets go what is too old. To be called every
    /// [`TICK`] as long as it returns true: something waits. Then after [`EventTables::rest`].
    pub fn tick(&self) -> bool {
        self.settle(self.time.now_ns());
        self.state.lock().waits()
    }

    /// Sleeps until something waits for time to pass, for `time`, or until [`EventTables::wake`] is
    /// called and `stop` is true: an idle host is not to be woken twenty times a second.
    pub fn rest(&self, time: Duration, stop: &dyn Fn() -> bool) {
        let mut state = self.state.lock();
        self.waits.wait_while_for(&mut state, |state| !state.waits() && !stop(), time);
    }

    /// Has who rests look at its `stop`.
    pub fn wake(&self) {
        // Under the lock, so that it is not between looking and sleeping.
        let _state = self.state.lock();
        self.waits.notify_all();
    }

    /// Stores what waits: file events at once, connects as soon as they are answered, those
    /// without an answer after `deadline`. Sources are to be flushed first.
    pub fn flush(&self, deadline: Duration) {
        self.settle(u64::MAX / 2);
        let until = Instant::now() + deadline;
        let mut state = self.state.lock();
        while state.connects.len() > 0 {
            if self.changed.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        let active = Arc::clone(&self.active.read());
        let batch = self.batch(&active);
        state.expire_connects(u64::MAX, &batch);
    }

    /// Stores what has waited long enough; file events also what will have by a time to come.
    fn settle(&self, until_ns: u64) {
        let now_ns = self.time.now_ns();
        let active = Arc::clone(&self.active.read());
        let wanted = self.state.lock().wanted_by_waiting(until_ns, now_ns);
        let mut batch = self.batch(&active);
        batch.fresh = self.read(&wanted);
        let mut state = self.state.lock();
        Self::learn(&mut state, &wanted, &batch);
        let connects = state.connects.len();
        state.tick(until_ns, &batch);
        if state.connects.len() < connects {
            self.changed.notify_all();
        }
    }

    fn batch<'a>(&self, active: &'a Active) -> Batch<'a> {
        Batch {
            now_ns: self.time.now_ns(),
            base: self.time.base(),
            active,
            fresh: HashMap::default(),
            host_mnt_ns: self.host.mnt_ns,
        }
    }

    fn read(&self, wanted: &Wanted) -> HashMap<u32, ProcProcess, foldhash::fast::RandomState> {
        wanted.iter().filter_map(|&pid| Some((pid, self.reader.read(pid)?))).collect()
    }

    fn learn(state: &mut State, wanted: &Wanted, batch: &Batch<'_>) {
        for &pid in wanted {
            match batch.fresh.get(&pid) {
                Some(found) => {
                    state.cache.learn(found);
                }
                None => state.reads.is_absent(pid, batch.now_ns),
            }
        }
    }

    fn context(&self, state: &State, table: &Table, request: &Request) -> Context {
        let options = &self.active.read().options;
        let named = |name: &str| {
            table.column(name).is_some_and(|column| {
                request.columns.as_ref().is_none_or(|columns| columns.contains(&column))
            })
        };
        let mut wanted =
            Algorithms { md5: named("md5"), sha1: named("sha1"), sha256: named("sha256") };
        let any = wanted != Algorithms::default();
        // "hashed" by itself says whether hashing succeeds.
        wanted.sha256 |= named("hashed") && !any;
        let hashing = options.hashes && wanted != Algorithms::default();
        let hasher = hashing.then(|| Arc::new(Hasher::new(Arc::clone(&self.hashes), wanted)));
        Context {
            ipv6: options.ipv6,
            late: state.connects.late(),
            hasher,
            remembered: Remembered::default(),
        }
    }

    fn events<R: Record>(
        &self,
        definition: &'static Definition<R>,
        view: View,
        request: &Request,
        store: impl FnOnce(&mut State) -> &mut Store<R>,
    ) -> Result<Box<dyn Scan>, ScanError> {
        let now_ns = self.time.now_ns();
        let (snapshot, context) = {
            let mut state = self.state.lock();
            let context = self.context(&state, definition.table, request);
            let snapshot: Snapshot<R> = match &request.caller {
                Caller::Scheduled { name, execution } if !constrains_time(definition, request) => {
                    store(&mut state).scheduled(view, name, execution, now_ns)
                }
                _ => store(&mut state).all(),
            };
            (snapshot, context)
        };
        Ok(Box::new(Rows::select(definition, snapshot, request, context)?))
    }
}

/// With a condition on `time` a scheduled query reads the whole buffer, as in the core.
fn constrains_time<R>(definition: &Definition<R>, request: &Request) -> bool {
    let time = definition.table.column("time");
    request.constraints.iter().any(|constraint| Some(constraint.column) == time)
}

impl Sink for EventTables {
    fn accept(&self, batch: &mut Vec<RawEvent>) {
        if batch.is_empty() {
            return;
        }
        let active = Arc::clone(&self.active.read());
        let mut context = self.batch(&active);
        let mut state = self.state.lock();
        let wanted = state.wanted(batch, context.now_ns);
        if !wanted.is_empty() {
            drop(state);
            context.fresh = self.read(&wanted);
            state = self.state.lock();
            Self::learn(&mut state, &wanted, &context);
        }
        let (connects, waited) = (state.connects.len(), state.waits());
        for event in batch.drain(..) {
            state.take(event, &context);
        }
        if state.waits() && !waited {
            self.waits.notify_all();
        }
        if state.connects.len() < connects {
            self.changed.notify_all();
        }
    }
}

impl Tables for EventTables {
    fn tables(&self) -> &[&'static Table] {
        &TABLES
    }

    fn scan(&self, table: &str, request: &Request) -> Result<Box<dyn Scan>, ScanError> {
        self.settle(self.time.now_ns());
        if table == PROCESSES.table.name {
            self.events(&PROCESSES, 0, request, |state| &mut state.processes)
        } else if table == EXITS.table.name {
            self.events(&EXITS, 0, request, |state| &mut state.exits)
        } else if table == SOCKETS.table.name {
            self.events(&SOCKETS, 0, request, |state| &mut state.sockets)
        } else if table == FILES.table.name {
            self.events(&FILES, 0, request, |state| &mut state.files)
        } else if table == PROCESS_FILES.table.name {
            self.events(&PROCESS_FILES, 1, request, |state| &mut state.files)
        } else if table == HEALTH.name {
            Ok(Box::new(MadeRows::select(&HEALTH, self.health_rows(), request)?))
        } else if table == STATISTICS.name {
            Ok(Box::new(MadeRows::select(&STATISTICS, self.statistics_rows(), request)?))
        } else {
            Err(ScanError::NoSuchTable(table.to_owned()))
        }
    }
}
