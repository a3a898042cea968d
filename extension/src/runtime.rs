//! The engine, its sources and the settings of both, held together while the program runs.
//!
//! Settings come from flags and from osquery's configuration, and may change at any time; what
//! changes is handed to those it concerns, and sources are replaced only if they must be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use osquery_ebpf_probes::event::EventKind;
use osquery_ebpf_probes::host::online_cpus;
use osquery_ebpf_probes::source::{
    Exclusions, PathFilter, RingBytes, Sink, SourceConfig, TierWish,
};
use osquery_ebpf_tables::engine::TICK;
use osquery_ebpf_tables::scan::Tables;
use osquery_ebpf_tables::status::StatusProvider;
use parking_lot::Mutex;
use serde_json::Value;

use crate::config::{Document, Settings, SourceChoice, TierChoice, read_section};
use crate::memory;
use crate::stop::Stop;
use crate::supervisor::{LOOK, PAUSE, Plan, Sources};

/// What is needed of the tables' engine.
pub trait Engine: Tables + Sink {
    /// Takes over settings, and osquery's `file_paths` and `exclude_paths` from the whole
    /// configuration. Returns what of it could not be applied.
    fn configure(&self, settings: &Settings, config: &Value) -> Vec<String>;

    /// Which files are watched, by the last configuration.
    fn paths(&self) -> Arc<dyn PathFilter>;

    /// What is left out, by the last settings.
    fn exclusions(&self) -> Exclusions;

    /// Whether the configuration asks for opens and reads of some files.
    fn wants_file_access(&self) -> bool;

    /// Learns the processes there are. Called when sources have started, so that none is missed.
    fn seed(&self);

    /// Lets time pass; called every [`TICK`] as long as it says that something waits for that.
    fn tick(&self) -> bool;

    /// Sleeps until something does, for `time`, or until stopped and woken.
    fn rest(&self, time: Duration, stop: &Stop);

    /// Wakes who rests.
    fn wake(&self);

    /// Makes what the sources have delivered visible, waiting for connects under way until
    /// `deadline`.
    fn flush(&self, deadline: Duration);

    /// Who knows about the sources, for `ebpf_events_health`.
    fn set_status(&self, status: Arc<dyn StatusProvider>);
}

/// How long a connect may wait to be answered when events are flushed. One that a firewall drops
/// takes minutes, and nobody at a prompt does.
const CONNECTS: Duration = Duration::from_secs(3);

/// Between two returns of free memory to the kernel: evicted events leave holes in the heap.
const GIVE_BACK: Duration = Duration::from_secs(30);

/// Makes the ladder for some settings.
pub type Ladder = Box<dyn Fn(&Settings) -> Plan + Send + Sync>;

/// Engine and sources at work. Dropping it stops them.
pub struct Runtime {
    engine: Arc<dyn Engine>,
    sources: Arc<Sources>,
    flags: Settings,
    ladder: Arc<Ladder>,
    applied: Arc<Mutex<Settings>>,
    stop: Arc<Stop>,
    keeper: Option<std::thread::JoinHandle<()>>,
}

impl Runtime {
    /// Configures the engine and starts the sources.
    ///
    /// # Errors
    /// When a thread or descriptor cannot be had. A source that does not start is no error here:
    /// see [`Sources::shortcomings`].
    pub fn start(
        engine: Arc<dyn Engine>,
        flags: Settings,
        document: &Document,
        ladder: Ladder,
    ) -> std::io::Result<Self> {
        let settings = resolve(&flags, document, engine.as_ref());
        let config = source_config(&settings, engine.as_ref());
        let sink: Arc<dyn Sink> = Arc::new(Into(Arc::clone(&engine)));
        let sources = Arc::new(Sources::start(ladder(&settings), config, sink));
        engine.set_status(Arc::clone(&sources) as Arc<dyn StatusProvider>);
        engine.seed();
        let stop = Arc::new(Stop::new()?);
        let (ladder, applied) = (Arc::new(ladder), Arc::new(Mutex::new(settings)));
        let keeper = std::thread::Builder::new().name("keeper".to_owned()).spawn({
            let (sources, stop) = (Arc::clone(&sources), Arc::clone(&stop));
            let (engine, ladder) = (Arc::clone(&engine), Arc::clone(&ladder));
            let applied = Arc::clone(&applied);
            move || {
                let (mut looked, mut given_back) = (Instant::now(), Instant::now());
                let (mut climbed, mut pause) = (Instant::now(), PAUSE.0);
                while !stop.requested() {
                    if engine.tick() {
                        stop.wait(TICK);
                    } else {
                        engine.rest(LOOK, &stop);
                    }
                    if looked.elapsed() >= LOOK {
                        sources.look_after();
                        looked = Instant::now();
                        if climbed.elapsed() >= pause && !sources.shortcomings().is_empty() {
                            // Held, so that no other configuration comes between.
                            let settings = applied.lock();
                            let better = sources.climb(ladder(&settings));
                            let longer = PAUSE.1.min(pause.saturating_mul(2));
                            pause = if better { PAUSE.0 } else { longer };
                            climbed = Instant::now();
                        }
                    }
                    if given_back.elapsed() >= GIVE_BACK {
                        memory::give_back();
                        given_back = Instant::now();
                    }
                }
            }
        })?;
        Ok(Self { engine, sources, flags, ladder, applied, stop, keeper: Some(keeper) })
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.applied.lock().clone()
    }

    /// The sources.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Takes over another configuration.
    pub fn apply(&self, document: &Document) {
        let mut applied = self.applied.lock();
        let settings = resolve(&self.flags, document, self.engine.as_ref());
        let config = source_config(&settings, self.engine.as_ref());
        let (old, new) = (&*applied, &settings);
        let same_sources = old.source == new.source
            && old.tier == new.tier
            && old.ignore_kernel_quirks == new.ignore_kernel_quirks
            && old.ring_process == new.ring_process
            && old.ring_socket == new.ring_socket
            && old.ring_file == new.ring_file;
        if same_sources {
            for error in self.sources.reconfigure(config) {
                log::warn!("a source keeps its old configuration: {error}");
            }
        } else {
            log::info!("changing over to other sources, as the configuration demands");
            self.sources.restart((self.ladder)(&settings), config);
            self.engine.seed();
            for shortcoming in self.sources.shortcomings() {
                log::warn!("{shortcoming}");
            }
        }
        *applied = settings;
    }

    /// Returns when every event that happened before the call can be queried, or after `deadline`.
    /// True: all can.
    pub fn flush(&self, deadline: Duration) -> bool {
        let all = self.sources.flush(deadline);
        self.engine.flush(CONNECTS);
        all
    }

    /// As [`Runtime::flush`], but without waiting for connects under way.
    pub fn drain(&self, deadline: Duration) -> bool {
        self.sources.flush(deadline)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop.request();
        self.engine.wake();
        if let Some(keeper) = self.keeper.take()
            && keeper.join().is_err()
        {
            log::warn!("the thread that looks after sources has panicked");
        }
        self.sources.stop();
    }
}

/// The engine as a mere sink.
struct Into(Arc<dyn Engine>);

impl Sink for Into {
    fn accept(&self, batch: &mut Vec<osquery_ebpf_probes::event::RawEvent>) {
        self.0.accept(batch);
    }
}

/// Flags over the document's section, given to the engine. What was wrong is said.
fn resolve(flags: &Settings, document: &Document, engine: &dyn Engine) -> Settings {
    let (section, problems) = read_section(&document.value);
    for problem in problems {
        log::warn!("{problem}");
    }
    let settings = flags.clone().over(section);
    for problem in engine.configure(&settings, &document.value) {
        log::warn!("{problem}");
    }
    settings
}

/// What the sources are asked for.
fn source_config(settings: &Settings, engine: &dyn Engine) -> SourceConfig {
    let asked = settings.process_events.clone().unwrap_or_else(|| vec![EventKind::Exec]);
    let mut kinds = vec![EventKind::Exec, EventKind::Fork, EventKind::Exit];
    kinds.extend(
        [EventKind::Setid, EventKind::Namespace].into_iter().filter(|kind| asked.contains(kind)),
    );
    // Processes are always collected: the rows of the others take path, arguments and ids from them.
    kinds.extend([EventKind::Socket, EventKind::File].into_iter().filter(|kind| {
        settings.collect.as_ref().is_none_or(|collect| collect.contains(&kind.concern()))
    }));
    if settings.source == Some(SourceChoice::Off) {
        kinds.clear();
    }
    let default = RingBytes::for_cpus(online_cpus().unwrap_or(1));
    let ring = |size: Option<crate::config::Size>, otherwise| {
        size.and_then(|size| u32::try_from(size.0).ok()).unwrap_or(otherwise)
    };
    SourceConfig {
        kinds,
        paths: engine.paths(),
        file_access: settings.file_access.unwrap_or_else(|| engine.wants_file_access()),
        unix_sockets: settings.unix_sockets.unwrap_or(false),
        datagram_peers: settings.datagram_peers.unwrap_or(false),
        tier: match settings.tier.unwrap_or(TierChoice::Auto) {
            TierChoice::Auto => TierWish::Auto,
            TierChoice::One => TierWish::Functions,
            TierChoice::Two => TierWish::Calls,
        },
        ring_bytes: RingBytes {
            process: ring(settings.ring_process, default.process),
            socket: ring(settings.ring_socket, default.socket),
            file: ring(settings.ring_file, default.file),
        },
        own_pid: std::process::id(),
        exclude: engine.exclusions(),
    }
}
