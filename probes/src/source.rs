//! The seam between the kernel's facilities and everything else.
//!
//! A [`Source`] is started once with a [`Sink`] and runs on threads of its own until its
//! [`Running`] handle is dropped or stopped. What it could not deliver it counts; it never blocks
//! the kernel and never waits for the sink longer than the sink's own bound.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Concern, EventKind, RawEvent, SourceKind};

/// Where sources deliver. Called from the sources' own threads, possibly several at once.
pub trait Sink: Send + Sync {
    /// Takes every event out of `batch`, in order, and leaves it empty with its capacity.
    ///
    /// Within one source, batches come in the order of events, such that a process's exec comes
    /// before what the process did.
    fn accept(&self, batch: &mut Vec<RawEvent>);
}

/// Which paths file events are wanted for. Implemented by the tables, which know osquery's
/// `file_paths` patterns.
pub trait PathFilter: Send + Sync {
    /// Whether events on this path are wanted.
    fn matches(&self, path: &[u8]) -> bool;

    /// The directories, free of wildcards, below which every wanted path lies. Empty: none wanted.
    fn roots(&self) -> Vec<Root>;
}

/// A directory to be watched, or a single file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Root {
    /// Absolute path without wildcards. It need not exist yet.
    pub path: PathBuf,
    /// How many levels below it can match: 0 for the path itself, `None` for any depth.
    pub depth: Option<u32>,
}

/// The filter of someone who watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct WatchNothing;

impl PathFilter for WatchNothing {
    fn matches(&self, _path: &[u8]) -> bool {
        false
    }

    fn roots(&self) -> Vec<Root> {
        Vec::new()
    }
}

/// What a source is asked for. It may change while the source runs ([`Running::reconfigure`]).
#[derive(Clone)]
pub struct SourceConfig {
    /// Kinds that are wanted. Sources deliver exec, fork and exit of wanted concerns always, since
    /// the process cache lives on them.
    pub kinds: Vec<EventKind>,
    /// Which files are watched.
    pub paths: Arc<dyn PathFilter>,
    /// Also report opens and reads of watched files.
    pub file_access: bool,
    /// Also report unix sockets.
    pub unix_sockets: bool,
    /// Also report the first datagram of each unconnected socket to each peer. Off by default: the
    /// calls that send are hot.
    pub datagram_peers: bool,
    /// By which hooks events are obtained where there is a choice.
    pub tier: TierWish,
    /// Bytes of each concern's ring or queue, rounded up to what the kernel takes.
    pub ring_bytes: RingBytes,
    /// Our own process, whose doings are never reported.
    pub own_pid: u32,
    /// What is left out where it happens, as far as a source can. The sink holds what it gets
    /// against the same list.
    pub exclude: Exclusions,
}

/// What an operator does not want to see of sockets and of changes of ids and namespaces.
#[derive(Clone, Default)]
pub struct Exclusions {
    /// Real ids of users.
    pub users: Vec<u32>,
    /// Peers, as address and how many of its bits count. None is v4-mapped.
    pub networks: Vec<(IpAddr, u8)>,
    /// Whether nothing is wanted of who runs the executable with this path. `None`: of all.
    pub programs: Option<Programs>,
}

/// Says yes to the paths of executables.
pub type Programs = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

impl SourceConfig {
    /// Whether any kind of this concern is wanted.
    pub fn wants(&self, concern: Concern) -> bool {
        self.kinds.iter().any(|kind| kind.concern() == concern)
    }

    /// Whether a source of this kind that was started with this can take over `other` while it runs.
    pub fn may_become(&self, other: &Self, source: SourceKind) -> bool {
        let (now, then) = (&self.ring_bytes, &other.ring_bytes);
        match source {
            SourceKind::Bpf => {
                self.tier == other.tier && now.process == then.process && now.socket == then.socket
            }
            SourceKind::Audit | SourceKind::Connector => now.process == then.process,
            SourceKind::Fanotify => now.file == then.file,
            SourceKind::Proc => true,
        }
    }
}

/// Which hooks BPF programs are attached to, where more than one would do (`--tier`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TierWish {
    /// The best that the kernel takes.
    #[default]
    Auto,
    /// Functions of the kernel, by trampolines; nothing in their place.
    Functions,
    /// Tracepoints of the system calls, even where functions could be had.
    Calls,
}

/// Sizes of the rings between kernel and user space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "one per concern")]
pub struct RingBytes {
    pub process: u32,
    pub socket: u32,
    pub file: u32,
}

impl RingBytes {
    /// Sizes for so many CPUs: what they can fill while the reader waits for one of them. Memory of
    /// a ring is resident from the start, so no more than that.
    pub fn for_cpus(cpus: u32) -> Self {
        let size = |per_cpu: u32, least: u32, most: u32| {
            per_cpu.saturating_mul(cpus).clamp(least, most).next_power_of_two()
        };
        Self {
            process: size(2 << 20, 4 << 20, 64 << 20),
            socket: size(1 << 20, 4 << 20, 32 << 20),
            file: 8 << 20,
        }
    }
}

impl Default for RingBytes {
    fn default() -> Self {
        Self::for_cpus(1)
    }
}

/// One kernel facility, not yet started.
pub trait Source {
    /// Which one.
    fn kind(&self) -> SourceKind;

    /// The kinds it can give on this host at all, with what it is configured for.
    fn gives(&self, kind: EventKind) -> bool;

    /// Starts it. Everything that can fail does so here, not later.
    ///
    /// # Errors
    /// [`StartError`] says what the kernel refused and what an operator can do about it.
    fn start(
        self: Box<Self>,
        config: &SourceConfig,
        sink: Arc<dyn Sink>,
    ) -> Result<Box<dyn Running>, StartError>;
}

/// A source at work. Dropping it stops it.
pub trait Running: Send + Sync {
    /// Which one.
    fn kind(&self) -> SourceKind;

    /// What it counted so far, one entry for each kind it gives. Cheap enough to call per query.
    fn health(&self) -> Vec<KindHealth>;

    /// Takes over a new configuration without losing events.
    ///
    /// # Errors
    /// What could not be applied; what was in force before stays in force.
    fn reconfigure(&self, config: &SourceConfig) -> Result<(), StartError>;

    /// Whether [`Running::reconfigure`] takes over other kinds too, of those that it gives. If not, it
    /// has to be started over for them.
    fn changes_kinds(&self) -> bool {
        false
    }

    /// Returns when every event that happened before the call has been given to the sink, or after
    /// `deadline`. True: all are in.
    fn flush(&self, deadline: Duration) -> bool;

    /// Why it stopped delivering by itself, if it did (lost permission, socket closed).
    fn failure(&self) -> Option<String>;

    /// Stops, and puts back whatever it changed in the kernel.
    fn stop(&mut self);
}

/// Health of one event kind within one source. Counts are totals since the source started.
///
/// They satisfy `produced = received + lost_ring` once the ring is empty, and
/// `received = malformed + events given to the sink`.
#[derive(Debug, Clone, PartialEq)]
pub struct KindHealth {
    /// Which kind.
    pub kind: EventKind,
    /// How it is obtained: `tp_btf`, `tracepoint`, `fentry`, `lsm`, `rules`, `multicast`, `marks`….
    pub tier: &'static str,
    /// Why this tier and not a better one, in words an operator understands. Empty: it is the best.
    pub reason: String,
    /// Hooks that are in place.
    pub probes_attached: u32,
    /// Hooks that were wanted and refused; `last_error` names the last.
    pub probes_failed: u32,
    /// Capacity of the ring or queue. `None`: bounded by events, or not known.
    pub ring_bytes: Option<u64>,
    /// Records the kernel side tried to hand over. `None` where the kernel does not count.
    pub produced: Option<u64>,
    /// Records read.
    pub received: u64,
    /// Records the ring or queue had no room for.
    pub lost_ring: u64,
    /// Hook runs the kernel skipped, and in-flight state it had no room for.
    pub lost_missed: u64,
    /// Records that made no sense.
    pub malformed: u64,
    /// Events the kernel side left out as asked.
    pub filtered_kernel: u64,
    /// The last thing that went wrong, if anything did.
    pub last_error: String,
}

impl KindHealth {
    /// All counts at zero.
    pub fn new(kind: EventKind, tier: &'static str) -> Self {
        Self {
            kind,
            tier,
            reason: String::new(),
            probes_attached: 0,
            probes_failed: 0,
            ring_bytes: None,
            produced: None,
            received: 0,
            lost_ring: 0,
            lost_missed: 0,
            malformed: 0,
            filtered_kernel: 0,
            last_error: String::new(),
        }
    }
}

/// Why a source cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_kind}: {what}: {why}; {remedy}", source_kind = source_kind.as_str())]
pub struct StartError {
    /// Which source.
    pub source_kind: SourceKind,
    /// What was attempted, with the path, call or program it concerned.
    pub what: String,
    /// What the kernel answered, with errno's name where there is one.
    pub why: String,
    /// What an operator can do.
    pub remedy: String,
}
