//! File events by fanotify: the source that needs no BPF.
//!
//! Every file system that holds a watched path carries one mark; the kernel then reports each
//! change of a directory entry and each change of a file, with the process that made it, as handles
//! of the directory and the object and the name between them. From there:
//!
//! ```text
//! read(2) -> decode -> unwanted directory? -> queue -> where was it? -> wanted? -> what was it?
//!            decode.rs tree.rs, watch.rs      queue.rs tree.rs, locate.rs watch.rs interpret.rs
//! ```
//!
//! What this facility cannot give, whoever asks it:
//! - the thread (`task.tid` is 0: only the thread group is known), the call, its outcome;
//! - truncation as such (a change of content), and the order of events that the kernel merged
//!   because one process did them to one name before we looked;
//! - one of two equal events in that time: a file renamed forth, back and forth again is renamed
//!   twice;
//! - what is done to a watched file through another of its names that is not watched;
//! - what happens within a mount that only another mount namespace has, such as a container's own
//!   overlay. Its layers on the host's file systems are seen.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::event::{EventKind, SourceKind};
use crate::priority;
use crate::source::{KindHealth, Running, Sink, Source, SourceConfig, StartError};
use counters::Counters;
use marking::{Marking, Report};
use sys::Group;
use worker::{Control, Parts, Worker};

mod counters;
mod decode;
mod filesystems;
mod halves;
mod held;
mod hot;
mod interpret;
mod judge;
mod locate;
mod marking;
mod mounts;
mod path;
mod queue;
mod recent;
mod seen;
mod sys;
#[cfg(test)]
mod tests;
mod tree;
mod view;
mod walk;
mod watch;
mod worker;

/// Messages to the thread that may wait.
const CONTROL_MAX: usize = 16;

/// How long a new configuration waits for what happened under the old one to be handled.
const RECONFIGURE_DRAIN: Duration = Duration::from_secs(2);

/// How long a caller waits for the thread to take over a configuration.
const RECONFIGURE_WAIT: Duration = Duration::from_secs(30);

/// fanotify, not yet started.
#[derive(Debug, Clone, Copy)]
pub struct Fanotify {
    reports: &'static [Report],
}

impl Default for Fanotify {
    fn default() -> Self {
        Self::new()
    }
}

impl Fanotify {
    /// Takes the best that the kernel has.
    pub const fn new() -> Self {
        Self { reports: &Report::ALL }
    }

    /// As on a kernel from 5.9 to 5.16.
    #[cfg(test)]
    const fn by_names() -> Self {
        Self { reports: &[Report::Names] }
    }

    fn group(&self) -> Result<(Group, Report), StartError> {
        // The queue keeps its bound (fs.fanotify.max_queued_events): without one, events that come
        // faster than they are read fill kernel memory on our account until something is killed.
        // It is emptied into a queue of ours, and what neither holds is counted. Marks have a bound
        // of their own in `walk`, which the default of 8192 on older kernels would undercut.
        let flags = libc::FAN_CLASS_NOTIF
            | libc::FAN_CLOEXEC
            | libc::FAN_NONBLOCK
            | libc::FAN_UNLIMITED_MARKS;
        let mut refused = Errno::INVAL;
        for &report in self.reports {
            match Group::new(flags | report.flags()) {
                Ok(group) => return Ok((group, report)),
                Err(Errno::INVAL) => {}
                Err(error) => {
                    refused = error;
                    break;
                }
            }
        }
        Err(refuse("fanotify_init", refused))
    }
}

impl Source for Fanotify {
    fn kind(&self) -> SourceKind {
        SourceKind::Fanotify
    }

    fn gives(&self, kind: EventKind) -> bool {
        kind == EventKind::File
    }

    fn start(
        self: Box<Self>,
        config: &SourceConfig,
        sink: Arc<dyn Sink>,
    ) -> Result<Box<dyn Running>, StartError> {
        let (group, report) = self.group()?;
        may_open_by_handle()?;
        let marking = Marking { report, renames: renames(&group, report)?, mask: 0 };
        let mountinfo = File::open("/proc/thread-self/mountinfo").map_err(|error| StartError {
            source_kind: SourceKind::Fanotify,
            what: "opening /proc/thread-self/mountinfo".to_owned(),
            why: error.to_string(),
            remedy: "mount /proc".to_owned(),
        })?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| refuse("eventfd2", error))?;
        let wake = Arc::new(wake);
        let counters = Arc::new(Counters::default());
        let (control, receiver) = bounded(CONTROL_MAX);
        let parts = Parts {
            group,
            marking,
            mountinfo,
            sink,
            counters: Arc::clone(&counters),
            control: receiver,
            wake: Arc::clone(&wake),
        };
        let worker = Worker::new(parts, config)?;
        let thread = std::thread::Builder::new()
            .name("fanotify".to_owned())
            .spawn(move || {
                priority::reader();
                worker.run();
            })
            .map_err(|error| StartError {
                source_kind: SourceKind::Fanotify,
                what: "starting a thread".to_owned(),
                why: error.to_string(),
                remedy: "raise the limit of processes".to_owned(),
            })?;
        Ok(Box::new(Reader { counters, control, wake, thread: Mutex::new(Some(thread)) }))
    }
}

/// fanotify at work.
#[derive(Debug)]
struct Reader {
    counters: Arc<Counters>,
    control: Sender<Control>,
    wake: Arc<OwnedFd>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Reader {
    /// False: the thread takes no more messages.
    fn tell(&self, control: Control, until: Instant) -> bool {
        let told = self.control.send_deadline(control, until).is_ok();
        // Full only if it was woken often enough already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        told
    }
}

impl Running for Reader {
    fn kind(&self) -> SourceKind {
        SourceKind::Fanotify
    }

    fn health(&self) -> Vec<KindHealth> {
        vec![self.counters.health()]
    }

    fn reconfigure(&self, config: &SourceConfig) -> Result<(), StartError> {
        let (reply, answer) = bounded(1);
        let until = Instant::now() + RECONFIGURE_WAIT;
        let told = self.tell(Control::Reconfigure(Box::new(config.clone()), reply), until);
        let answer = if told { answer.recv_deadline(until).ok() } else { None };
        answer.unwrap_or_else(|| {
            Err(StartError {
                source_kind: SourceKind::Fanotify,
                what: "taking over a new configuration".to_owned(),
                why: self.failure().unwrap_or_else(|| "no answer from its thread".to_owned()),
                remedy: "restart it".to_owned(),
            })
        })
    }

    fn flush(&self, deadline: Duration) -> bool {
        let (reply, answer) = bounded(1);
        let until = Instant::now() + deadline;
        self.tell(Control::Flush(until, reply), until) && answer.recv_deadline(until) == Ok(true)
    }

    fn failure(&self) -> Option<String> {
        let ended = || {
            let thread = self.thread.lock();
            let ended = thread.as_ref().is_some_and(JoinHandle::is_finished);
            ended.then(|| "its thread ended".to_owned())
        };
        self.counters.failure().or_else(ended)
    }

    fn stop(&mut self) {
        let Some(thread) = self.thread.get_mut().take() else { return };
        // A thread that takes no more messages has ended already, or waits for a sink that hangs:
        // then the message is taken as soon as there is room.
        let control = self.control.clone();
        if control.try_send(Control::Stop).is_err() && !thread.is_finished() {
            let _ = control.send_timeout(Control::Stop, RECONFIGURE_WAIT);
        }
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        if thread.join().is_err() {
            log::error!("fanotify: its thread panicked");
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether the kernel reports a rename in one event.
fn renames(group: &Group, report: Report) -> Result<u64, StartError> {
    let halves = libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO;
    if report == Report::Names {
        return Ok(halves);
    }
    match group.mark(libc::FAN_MARK_ADD, libc::FAN_RENAME, b"/") {
        Ok(()) => {
            group
                .mark(libc::FAN_MARK_REMOVE, libc::FAN_RENAME, b"/")
                .map_err(|error| refuse("fanotify_mark /", error))?;
            Ok(libc::FAN_RENAME)
        }
        Err(Errno::INVAL) => Ok(halves),
        // A root that cannot be marked says nothing about the event: 5.17 brought both.
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NODEV) => Ok(libc::FAN_RENAME),
        Err(error) => Err(refuse("fanotify_mark /", error)),
    }
}

/// Tries what turns handles into paths, so that a missing capability is said at the start.
fn may_open_by_handle() -> Result<(), StartError> {
    let attempt = || {
        let root = sys::open_mount(b"/")?;
        let mut handle = Vec::new();
        sys::handle_of(root.as_fd(), b"", &mut handle)?;
        sys::open_by_handle(root.as_fd(), &handle, OFlags::PATH)
    };
    match attempt() {
        Err(error @ Errno::PERM) => Err(refuse("open_by_handle_at /", error)),
        // Not every root file system opens by handle; what is watched may.
        _ => Ok(()),
    }
}

fn refuse(what: &str, error: Errno) -> StartError {
    let (why, remedy) = match error {
        Errno::PERM if what.starts_with("open_by_handle") => {
            ("EPERM: CAP_DAC_READ_SEARCH is missing", "run as root in the host's user namespace")
        }
        Errno::PERM => {
            ("EPERM: CAP_SYS_ADMIN is missing", "run as root in the host's user namespace")
        }
        Errno::NOSYS => ("ENOSYS: built without CONFIG_FANOTIFY", "use another kernel, or BPF"),
        Errno::INVAL => {
            ("EINVAL: it cannot report names (before 5.9)", "use a kernel of 5.9 or later, or BPF")
        }
        Errno::MFILE => (
            "EMFILE: too many groups or descriptors",
            "raise fs.fanotify.max_user_groups, or the limit of open files",
        ),
        Errno::NOMEM => ("ENOMEM", "free some memory"),
        _ => ("", "see fanotify(7)"),
    };
    StartError {
        source_kind: SourceKind::Fanotify,
        what: what.to_owned(),
        why: if why.is_empty() { error.to_string() } else { why.to_owned() },
        remedy: remedy.to_owned(),
    }
}
