//! What is kept of one process.
//!
//! Most of it is shared with others: the program with those forked while it ran, and what is inherited
//! with whole families.

use std::sync::Arc;

use osquery_ebpf_probes::event::ProcessKey;

use super::Slot;
use crate::identity::{Identity, ProcessId};
use crate::record::{Place, Who};

/// Argument bytes kept of one process, for the columns that tell of other processes. An exec's own
/// row has all that its source collected.
pub const MAX_ARGS: usize = 4096;

/// What the allocator and `Arc` add to a shared string.
pub(super) const SHARED_OVERHEAD: usize = 32;

/// A byte string that several processes share.
pub type Shared = Arc<[u8]>;

/// The program a process runs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Executable.
    pub path: Option<Box<[u8]>>,
    /// Arguments, NUL-separated, at most [`MAX_ARGS`].
    pub args: Option<Box<[u8]>>,
}

impl Image {
    /// With the arguments cut to what is kept.
    pub fn new(path: Option<&[u8]>, args: Option<&[u8]>) -> Self {
        let cut = |args: &[u8]| args.get(..MAX_ARGS.min(args.len())).map(Box::from);
        Self { path: path.map(Box::from), args: args.and_then(cut) }
    }

    pub(super) fn bytes(&self) -> usize {
        let length = |part: &Option<Box<[u8]>>| part.as_ref().map_or(0, |bytes| bytes.len());
        size_of::<Self>() + 2 * SHARED_OVERHEAD + length(&self.path) + length(&self.args)
    }
}

/// What a process has from its creator until it changes it, and mostly never does: one of them serves
/// whole families. What is not known is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inherited {
    pub who: Who,
    pub place: Place,
    pub cwd: Option<Shared>,
    pub cgroup: Option<Shared>,
    pub container: Option<Shared>,
    pub tty: Option<Shared>,
}

/// What one of them takes, beside its strings.
pub(super) const PER_INHERITED: usize = size_of::<Inherited>() + SHARED_OVERHEAD;

/// One process. What is not known is `None`.
#[derive(Debug)]
pub struct Process {
    pub pid: u32,
    pub start_ns: Option<u64>,
    pub id: Option<ProcessId>,
    pub parent_pid: Option<u32>,
    /// The process that created it.
    pub creator: Option<Slot>,
    pub image: Arc<Image>,
    /// When `image` began to hold, and what held before.
    pub since_ns: u64,
    pub previous: Option<Arc<Image>>,
    pub inherited: Arc<Inherited>,
    pub ns_pid: Option<u32>,
    pub exit_ns: Option<u64>,
    /// Neither its creation nor an exec of it was seen: it was there before, or events were lost.
    pub partial: bool,
    /// Some event named it as an ancestor.
    pub(super) ancestor: bool,
    /// The process that had this pid before.
    pub(super) older: Option<Slot>,
}

impl Process {
    pub(super) fn new(
        pid: u32,
        start_ns: Option<u64>,
        identity: &Identity,
        unknown: &Unknown,
    ) -> Self {
        Self {
            pid,
            start_ns,
            id: start_ns.map(|start_ns| identity.process(ProcessKey { pid, start_ns })),
            parent_pid: None,
            creator: None,
            image: Arc::clone(&unknown.image),
            since_ns: 0,
            previous: None,
            inherited: Arc::clone(&unknown.inherited),
            ns_pid: None,
            exit_ns: None,
            partial: true,
            ancestor: false,
            older: None,
        }
    }

    /// The program it ran at a time.
    pub fn image_at(&self, time_ns: u64) -> &Image {
        match &self.previous {
            Some(previous) if time_ns < self.since_ns => previous,
            _ => &self.image,
        }
    }

    pub(super) fn ticks(&self) -> Option<u64> {
        let pid = self.pid;
        self.start_ns.map(|start_ns| ProcessKey { pid, start_ns }.ticks())
    }
}

/// What is shared by the processes of which nothing is known yet. Not counted, as it is there once.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    image: Arc<Image>,
    inherited: Arc<Inherited>,
}

/// What a process takes in the tables, beside its strings.
pub(super) const PER_PROCESS: usize = size_of::<Process>() + 96;
