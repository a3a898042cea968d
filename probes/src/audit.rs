//! The audit subsystem as a source.
//!
//! It gives execs, changes of ids and namespaces, socket calls and operations on watched files, as
//! the kernel records them for rules of ours, on both the 64-bit and the 32-bit call table. Forks
//! and exits it cannot tell right (`calls.rs` says why), so where the process connector can be had
//! it is read beside, which also gives execs their exact time and makes up for those audit lost.
//!
//! # Living with others
//! If a daemon is registered with the kernel, its socket stays its own and we read the multicast
//! group. If none is, we register, since the kernel would otherwise print records to the console;
//! when a daemon comes we step aside. Our rules carry a key of our own, go behind everybody else's,
//! and are taken out when we leave, as every setting is put back; after a crash the next start does
//! it. Where audit is immutable we read what others' rules make it record.
//!
//! # What it does not see
//! Processes that were started before recording was first switched on since boot have no audit
//! context and never get one: what they do is not recorded, what their children do is. Which thread
//! made a call is not recorded either: `tid` is the process's.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::connector::Reader;
use crate::event::{EventKind, SourceKind};
use crate::host::{Host, rules as host_rules};
use crate::source::{KindHealth, Running, Sink, Source, SourceConfig, StartError};
use crate::worker::Worker;

pub mod args;
pub mod assemble;
pub mod calls;
pub mod control;
pub mod decode;
pub mod directories;
pub mod facts;
pub mod files;
pub mod gaps;
pub mod group;
pub mod health;
pub mod hold;
pub mod live;
pub mod merge;
pub mod places;
pub mod record;
pub mod rule;
pub mod sockaddr;
pub mod sockets;
pub mod status;
pub mod stream;
pub mod tenure;
pub mod wishes;
pub mod writes;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;

use calls::Arch;
use control::Control;
use facts::{Facts, Refusal, Verdict};
use health::State;
use hold::{Hold, failed, process_lives};
use status::OFF;
use stream::Stream;

/// The kinds audit itself tells of.
pub const KINDS: [EventKind; 5] =
    [EventKind::Exec, EventKind::Setid, EventKind::Namespace, EventKind::Socket, EventKind::File];

/// The audit subsystem, looked at and not yet touched.
#[derive(Debug, Clone)]
pub struct AuditSource {
    facts: Result<Facts, Refusal>,
    connector: bool,
}

impl AuditSource {
    /// Looks at the subsystem. Changes nothing.
    pub fn look(host: &Host) -> Self {
        Self { facts: Facts::read(host), connector: host_rules::connector(host).is_none() }
    }

    /// Why it cannot be used at all, or how it can be. What can be done about it is in the refusal.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn verdict(&self) -> Result<Verdict, Refusal> {
        self.facts.as_ref().map_err(Clone::clone)?.judge()
    }

    fn given(&self) -> Vec<EventKind> {
        EventKind::ALL.into_iter().filter(|&kind| self.gives(kind)).collect()
    }

    /// Why not everything of a kind is recorded, or not in the best way; empty if it is.
    fn reason(&self, facts: &Facts, verdict: &Verdict, kind: EventKind) -> String {
        let mut reasons = Vec::new();
        match verdict {
            Verdict::Reading(why) => {
                let fed = Arch::of_host().first().and_then(|&arch| facts.fed(kind, arch));
                let rules = fed.map_or(0, |(rules, _)| rules);
                let part = match fed {
                    Some((_, true)) => "all",
                    _ => "some",
                };
                reasons.push(format!("{why}; {rules} rules of others record {part} of it"));
            }
            Verdict::Writing(taken) if !taken.is_empty() => reasons.push(taken.clone()),
            Verdict::Writing(_) => {}
        }
        if facts.status.enabled == OFF {
            let why = "processes older than this are not recorded; boot with audit=1 for all";
            reasons.push(why.to_owned());
        }
        reasons.join("; ")
    }
}

impl Source for AuditSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Audit
    }

    fn gives(&self, kind: EventKind) -> bool {
        let Ok(verdict) = self.verdict() else { return false };
        match (kind, verdict) {
            (EventKind::Fork | EventKind::Exit, _) => self.connector,
            (_, Verdict::Writing(_)) => true,
            (kind, Verdict::Reading(_)) => {
                let facts = self.facts.as_ref();
                let arch = Arch::of_host().first();
                facts.is_ok_and(|facts| arch.is_some_and(|&arch| facts.fed(kind, arch).is_some()))
            }
        }
    }

    fn start(
        self: Box<Self>,
        config: &SourceConfig,
        sink: Arc<dyn Sink>,
    ) -> Result<Box<dyn Running>, StartError> {
        let refused = |Refusal { why, remedy }| StartError {
            source_kind: SourceKind::Audit,
            what: "using the audit subsystem".to_owned(),
            why,
            remedy,
        };
        let facts = self.facts.clone().map_err(refused)?;
        let verdict = facts.judge().map_err(refused)?;
        let kinds = self.given();
        if kinds.iter().all(|kind| matches!(kind, EventKind::Fork | EventKind::Exit)) {
            let Verdict::Reading(why) = verdict else { return Err(nothing("nothing is recorded")) };
            return Err(nothing(&why));
        }
        let mut control = Control::open().map_err(|error| failed("opening a socket", &error))?;
        let (connector, kinds) = self.open_connector(config, kinds);
        let buffer = usize::try_from(config.ring_bytes.process).unwrap_or(usize::MAX);
        let writing = matches!(verdict, Verdict::Writing(_));
        let hold = if writing { Some(Hold::take(&mut control)?) } else { None };
        let stream = match open_stream(&mut control, hold.as_ref(), buffer) {
            Ok(stream) => stream,
            Err(error) => {
                undo(hold, &mut control);
                return Err(error);
            }
        };
        let mut state = State::new(stream.way(), buffer as u64);
        for kind in EventKind::ALL {
            if let Some(reason) = state.reasons.get_mut(kind.index()) {
                *reason = self.reason(&facts, &verdict, kind);
            }
        }
        let state = Arc::new(Mutex::new(state));
        let mut work = live::Work {
            control,
            stream,
            connector,
            hold,
            config: config.clone(),
            kinds: kinds.clone(),
            sink,
            state: Arc::clone(&state),
            buffers: live::Buffers::default(),
        };
        work.begin()?;
        let worker = Worker::start("audit", move |orders| work.run(&orders))
            .map_err(|error| failed("starting its thread", &error))?;
        Ok(Box::new(RunningAudit { worker, state, kinds }))
    }
}

impl AuditSource {
    /// The connector's reader, and the kinds that are left without it.
    fn open_connector(
        &self,
        config: &SourceConfig,
        mut kinds: Vec<EventKind>,
    ) -> (Option<Reader>, Vec<EventKind>) {
        let buffer = usize::try_from(config.ring_bytes.process).unwrap_or(usize::MAX);
        let wanted = self.connector && config.wants(crate::event::Concern::Process);
        let reader = wanted.then(|| Reader::open(buffer, config.own_pid)).and_then(|reader| {
            reader
                .inspect_err(|error| {
                    log::warn!("{}", crate::connector::refused(error));
                })
                .ok()
        });
        if reader.is_none() {
            kinds.retain(|kind| !matches!(kind, EventKind::Fork | EventKind::Exit));
        }
        (reader, kinds)
    }
}

fn nothing(why: &str) -> StartError {
    StartError {
        source_kind: SourceKind::Audit,
        what: "reading what rules of others record".to_owned(),
        why: why.to_owned(),
        remedy: "add rules for execve, connect and bind to /etc/audit/rules.d, or go on without                  audit"
            .to_owned(),
    }
}

/// Becomes who records are sent to, unless somebody is already or we only read.
fn open_stream(
    control: &mut Control,
    hold: Option<&Hold>,
    buffer: usize,
) -> Result<Stream, StartError> {
    let hear =
        || Stream::hear(buffer).map_err(|error| failed("joining the multicast group", &error));
    let Some(hold) = hold else { return hear() };
    let status = control.status().map_err(|error| failed("asking its status", &error))?;
    if status.pid != 0 && status.pid != std::process::id() && process_lives(status.pid) {
        return hear();
    }
    match Stream::register(buffer) {
        Ok(stream) => {
            hold.set_limits(control).map_err(|error| failed("setting its limits", &error))?;
            Ok(stream)
        }
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => hear(),
        Err(error) => Err(failed("registering for its records", &error)),
    }
}

fn undo(hold: Option<Hold>, control: &mut Control) {
    if let Some(mut hold) = hold
        && let Err(error) = hold.leave(control)
    {
        log::error!("audit: putting back what we changed: {error}");
    }
}

struct RunningAudit {
    worker: Worker,
    state: Arc<Mutex<State>>,
    kinds: Vec<EventKind>,
}

impl Running for RunningAudit {
    fn kind(&self) -> SourceKind {
        SourceKind::Audit
    }

    fn health(&self) -> Vec<KindHealth> {
        let state = self.state.lock();
        self.kinds.iter().map(|&kind| state.health(kind)).collect()
    }

    fn reconfigure(&self, config: &SourceConfig) -> Result<(), StartError> {
        self.worker.reconfigure(config).unwrap_or_else(|| {
            let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Err(failed("taking over a configuration", &error))
        })
    }

    fn flush(&self, deadline: Duration) -> bool {
        self.worker.flush(deadline)
    }

    fn failure(&self) -> Option<String> {
        self.state.lock().failure.clone()
    }

    fn stop(&mut self) {
        self.worker.stop();
    }
}
