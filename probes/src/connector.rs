//! The process connector as a source: exec, fork, exit and changes of ids.
//!
//! The kernel says who and when; the rest is read from `/proc` at once, and is unknown for what was
//! gone by then. It needs `CAP_NET_ADMIN` in the initial user and pid namespaces and a kernel with
//! `CONFIG_PROC_EVENTS`.
//!
//! Losses are exact in number and unknown in kind: each processor numbers all its messages, those of
//! threads and of kinds nobody asked for included, and the kernel counts what our socket had no room
//! for (`gaps.rs`). A lost message is therefore counted in every kind's `lost_ring`, where it says
//! how many at most are missing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};

use crate::clock::boot_now_ns;
use crate::event::{Concern, EventKind, RawEvent, SourceKind};
use crate::netlink::timeout;
use crate::source::{KindHealth, Running, Sink, Source, SourceConfig, StartError};
use crate::worker::{Order, Orders, Worker};

pub mod fill;
pub mod frame;
pub mod gaps;
pub mod reader;
pub mod settle;
pub mod spaces;
pub mod threads;

pub use reader::{Arrived, Counts, Reader};
use settle::Settle;

/// The kinds it gives.
pub const KINDS: [EventKind; 4] =
    [EventKind::Exec, EventKind::Fork, EventKind::Exit, EventKind::Setid];

/// The process connector, not yet asked for.
#[derive(Debug, Default)]
pub struct ConnectorSource;

impl Source for ConnectorSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Connector
    }

    fn gives(&self, kind: EventKind) -> bool {
        KINDS.contains(&kind)
    }

    fn start(
        self: Box<Self>,
        config: &SourceConfig,
        sink: Arc<dyn Sink>,
    ) -> Result<Box<dyn Running>, StartError> {
        let buffer = usize::try_from(config.ring_bytes.process).unwrap_or(usize::MAX);
        let reader = Reader::open(buffer, config.own_pid).map_err(|error| refused(&error))?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                counts: Counts::default(),
                given: [0; EventKind::ALL.len()],
                left_out: [0; EventKind::ALL.len()],
                failure: None,
            }),
            buffer_bytes: reader.buffer_bytes() as u64,
        });
        let work = Work {
            reader,
            settle: Settle::default(),
            wanted: config.kinds.clone(),
            sink,
            shared: Arc::clone(&shared),
            arrived: Vec::new(),
            batch: Vec::new(),
        };
        let worker = Worker::start("connector", move |orders| work.run(&orders))
            .map_err(|error| start_error("starting its thread", &error, "free some memory"))?;
        Ok(Box::new(RunningConnector { worker, shared }))
    }
}

/// Says why the kernel does not let us listen.
pub fn refused(error: &io::Error) -> StartError {
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "run as root of the host, or grant CAP_NET_ADMIN",
        Some(libc::EPROTONOSUPPORT) => "a kernel with CONFIG_PROC_EVENTS is needed",
        _ if error.kind() == io::ErrorKind::TimedOut => {
            "run it on the host with --pid=host and --userns=host; a kernel with \
             CONFIG_PROC_EVENTS is needed"
        }
        _ => "run as root of the host",
    };
    start_error("listening to process events on NETLINK_CONNECTOR", error, remedy)
}

fn start_error(what: &str, error: &io::Error, remedy: &str) -> StartError {
    StartError {
        source_kind: SourceKind::Connector,
        what: what.to_owned(),
        why: error.to_string(),
        remedy: remedy.to_owned(),
    }
}

struct Shared {
    state: Mutex<State>,
    buffer_bytes: u64,
}

struct State {
    counts: Counts,
    /// Events handed to the sink.
    given: [u64; EventKind::ALL.len()],
    /// Events nobody asked for.
    left_out: [u64; EventKind::ALL.len()],
    failure: Option<String>,
}

struct RunningConnector {
    worker: Worker,
    shared: Arc<Shared>,
}

impl Running for RunningConnector {
    fn kind(&self) -> SourceKind {
        SourceKind::Connector
    }

    fn health(&self) -> Vec<KindHealth> {
        let state = self.shared.state.lock();
        KINDS.iter().map(|&kind| health(kind, &state, self.shared.buffer_bytes)).collect()
    }

    fn reconfigure(&self, config: &SourceConfig) -> Result<(), StartError> {
        self.worker.reconfigure(config).unwrap_or_else(|| {
            let error = io::Error::from(io::ErrorKind::TimedOut);
            Err(start_error("taking over a configuration", &error, "restart it"))
        })
    }

    fn changes_kinds(&self) -> bool {
        true
    }

    fn flush(&self, deadline: Duration) -> bool {
        self.worker.flush(deadline)
    }

    fn failure(&self) -> Option<String> {
        self.shared.state.lock().failure.clone()
    }

    fn stop(&mut self) {
        self.worker.stop();
    }
}

fn health(kind: EventKind, state: &State, buffer_bytes: u64) -> KindHealth {
    let counts = &state.counts;
    let mut health = KindHealth::new(kind, "netlink");
    health.reason =
        "the connector says who and when; the rest is from /proc and may be gone".into();
    health.probes_attached = 1;
    health.ring_bytes = Some(buffer_bytes);
    health.received = state.given.get(kind.index()).copied().unwrap_or(0);
    health.lost_ring = counts.lost;
    health.malformed = 0;
    if counts.lost > 0 {
        health.last_error = format!(
            "{} messages of any kind were lost in {} overruns of the socket",
            counts.lost, counts.overruns
        );
    }
    if counts.malformed > 0 {
        health.last_error = format!("{} datagrams made no sense", counts.malformed);
    }
    if let Some(failure) = &state.failure {
        health.last_error.clone_from(failure);
    }
    health
}

/// How soon a process that could be executing something is looked at again while someone waits.
const AGAIN: Duration = Duration::from_millis(5);

struct Work {
    reader: Reader,
    settle: Settle,
    wanted: Vec<EventKind>,
    sink: Arc<dyn Sink>,
    shared: Arc<Shared>,
    arrived: Vec<Arrived>,
    batch: Vec<RawEvent>,
}

impl Work {
    fn run(mut self, orders: &Orders) {
        loop {
            match self.step(orders) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    let failure = format!("reading process events: {error}");
                    log::error!("connector: {failure}");
                    self.shared.state.lock().failure = Some(failure);
                    break;
                }
            }
        }
        self.settle.release_all(&mut self.batch);
        self.deliver();
    }

    /// Waits, reads, gives. Whether to go on.
    fn step(&mut self, orders: &Orders) -> io::Result<bool> {
        let wait = self.settle.wait_ns(boot_now_ns()).map(Duration::from_nanos).map(timeout);
        let mut fds =
            [PollFd::new(&self.reader, PollFlags::IN), PollFd::new(orders, PollFlags::IN)];
        match poll(&mut fds, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.read()?;
        self.settle.release(boot_now_ns(), fill::executing, &mut self.batch);
        self.deliver();
        while let Some(order) = orders.next() {
            match order {
                Order::Stop => return Ok(false),
                Order::Reconfigure(config, answer) => {
                    self.wanted = config.kinds;
                    // Whoever asked may have given up.
                    let _ = answer.send(Ok(()));
                }
                Order::Flush(answer) => {
                    self.flush()?;
                    // Whoever asked may have given up.
                    let _ = answer.send(true);
                }
            }
        }
        Ok(true)
    }

    /// Messages are queued before the call that caused them returns, so whatever happened before now
    /// is in the socket now.
    fn flush(&mut self) -> io::Result<()> {
        let give_up = boot_now_ns().saturating_add(settle::PATIENCE_NS);
        loop {
            while !self.read()? {}
            let now_ns = boot_now_ns();
            self.settle.hasten(now_ns);
            self.settle.release(now_ns, fill::executing, &mut self.batch);
            if now_ns >= give_up {
                self.settle.release_all(&mut self.batch);
            }
            if self.settle.is_empty() {
                self.deliver();
                return Ok(());
            }
            let mut fds = [PollFd::new(&self.reader, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout(AGAIN))) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read(&mut self) -> io::Result<bool> {
        let all = self.reader.drain(&mut self.arrived)?;
        let now_ns = boot_now_ns();
        for arrived in self.arrived.drain(..) {
            self.settle.add(arrived, now_ns);
        }
        Ok(all)
    }

    fn deliver(&mut self) {
        let wanted = &self.wanted;
        let mut state = self.shared.state.lock();
        state.counts = self.reader.counts();
        self.batch.retain(|event| {
            let kind = event.kind();
            // Exec, fork and exit keep the process cache.
            let asked = wanted.contains(&kind)
                || (kind != EventKind::Setid
                    && wanted.iter().any(|kind| kind.concern() == Concern::Process));
            let count = if asked { &mut state.given } else { &mut state.left_out };
            if let Some(count) = count.get_mut(kind.index()) {
                *count = count.saturating_add(1);
            }
            asked
        });
        drop(state);
        if !self.batch.is_empty() {
            self.sink.accept(&mut self.batch);
            self.batch.clear();
        }
    }
}

#[cfg(test)]
mod tests;
