//! Reading the connector's socket: frames in, events out, losses counted.
//!
//! Used by the connector source and, for forks, exits and the order of execs, by the audit source.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::clock::boot_now_ns;
use crate::event::{
    Body, Creds, EventKind, Exit, Fork, Namespaces, RawEvent, Setid, SourceKind, Task,
};
use crate::netlink::{self, Netlink, Received};
use crate::proc::{self, ProcProcess};

use super::fill::{self, Image, Stat};
use super::frame::{self, CN_IDX_PROC, Event, Frame};
use super::gaps::Gaps;
use super::spaces::Spaces;
use super::threads::Threads;

/// `NETLINK_CONNECTOR`.
const PROTOCOL: i32 = 11;

/// How long the kernel may take to say that it will send.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Room while the answer is awaited, lest the events that come meanwhile, if somebody else listens
/// already, push it out.
const ANSWER_ROOM: usize = 1 << 20;

/// Datagrams read in one go, so that whoever reads gets to its other work within a few milliseconds.
pub const MAX_AT_ONCE: usize = 64;

/// An event, and what is known of the program where it is an exec.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrived {
    /// The event.
    pub event: RawEvent,
    /// Tells the program that was found from a later one in the same process.
    pub image: Option<Image>,
}

/// Totals since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages read that the kernel numbers.
    pub received: u64,
    /// Messages that were lost, by the kernel's numbers and by its count.
    pub lost: u64,
    /// Times the socket had no room.
    pub overruns: u64,
    /// Datagrams that made no sense.
    pub malformed: u64,
    /// Events given out, by kind.
    pub given: [u64; EventKind::ALL.len()],
}

/// The socket and what is known from what it gave.
pub struct Reader {
    socket: Netlink,
    buffer_bytes: usize,
    threads: Threads,
    spaces: Spaces,
    gaps: Gaps,
    counts: Counts,
    newest_ns: u64,
    own_pid: u32,
}

impl Reader {
    /// Asks the kernel to send.
    ///
    /// # Errors
    /// What the kernel answered; `TimedOut` where it does not answer, as outside the initial
    /// namespaces.
    pub fn open(buffer_bytes: usize, own_pid: u32) -> io::Result<Self> {
        let socket = Netlink::open(PROTOCOL, 1 << (CN_IDX_PROC - 1))?;
        socket.set_receive_buffer(buffer_bytes.max(ANSWER_ROOM))?;
        let mut reader = Self {
            socket,
            buffer_bytes,
            threads: Threads::default(),
            spaces: Spaces::default(),
            gaps: Gaps::default(),
            counts: Counts::default(),
            newest_ns: 0,
            own_pid,
        };
        reader.request(true)?;
        reader.await_answer()?;
        reader.buffer_bytes = reader.socket.set_receive_buffer(buffer_bytes)?;
        reader.count_dropped();
        Ok(reader)
    }

    fn request(&self, listen: bool) -> io::Result<()> {
        self.socket.send(netlink::DONE, 0, 0, &frame::request(listen))
    }

    /// The kernel drops requests it does not grant without a word (`cn_proc_mcast_ctl`).
    fn await_answer(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + ANSWER_TIME;
        while self.socket.wait(deadline)? {
            let Received::Message(_, payload) = self.socket.receive()? else { continue };
            match frame::decode(payload) {
                Ok(Frame { event: Event::Answer { error: 0 }, .. }) => return Ok(()),
                Ok(Frame { event: Event::Answer { error }, .. }) => {
                    return Err(io::Error::from_raw_os_error(i32::try_from(error).unwrap_or(0)));
                }
                // Someone else listens already: its events come while ours is being answered.
                _ => {}
            }
        }
        let why = "the kernel does not answer a request to listen";
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    }

    /// What there is now, in the kernel's order, up to [`MAX_AT_ONCE`]. Whether that is all.
    ///
    /// # Errors
    /// What reading the socket answered.
    pub fn drain(&mut self, out: &mut Vec<Arrived>) -> io::Result<bool> {
        let boot_offset = boot_offset_ns();
        for _ in 0..MAX_AT_ONCE {
            let frame = match self.socket.receive()? {
                Received::Empty => {
                    // Told at once, and by itself when no later message tells of it.
                    self.count_dropped();
                    return Ok(true);
                }
                Received::Overrun => {
                    self.counts.overruns = self.counts.overruns.saturating_add(1);
                    self.count_dropped();
                    self.threads.lost();
                    continue;
                }
                Received::Malformed => None,
                Received::Message(_, payload) => frame::decode(payload).ok(),
            };
            let Some(frame) = frame else {
                self.counts.malformed = self.counts.malformed.saturating_add(1);
                continue;
            };
            if frame.is_numbered() {
                self.counts.received = self.counts.received.saturating_add(1);
                if self.gaps.see(frame.cpu, frame.sequence) > 0 {
                    self.threads.lost();
                }
            }
            let time_ns = frame.monotonic_ns.saturating_add(boot_offset);
            self.newest_ns = self.newest_ns.max(time_ns);
            if let Some(arrived) = self.event(frame.event, time_ns) {
                if let Some(given) = self.counts.given.get_mut(arrived.event.kind().index()) {
                    *given = given.saturating_add(1);
                }
                out.push(arrived);
            }
        }
        Ok(false)
    }

    /// Kernels before 4.12 do not tell; there the numbers alone do.
    fn count_dropped(&mut self) {
        if let Some(dropped) = self.socket.dropped()
            && self.gaps.count(dropped) > 0
        {
            self.threads.lost();
        }
    }

    /// The totals.
    pub fn counts(&self) -> Counts {
        Counts { lost: self.gaps.lost(), ..self.counts }
    }

    /// When the newest of what was read happened, `CLOCK_BOOTTIME` ns.
    pub const fn newest_ns(&self) -> u64 {
        self.newest_ns
    }

    /// Bytes the socket holds, as the kernel counts them.
    pub const fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    fn event(&mut self, event: Event, time_ns: u64) -> Option<Arrived> {
        let (task, body, image) = match event {
            Event::Fork { child_pid, child_tgid, .. } if child_pid != child_tgid => {
                self.threads.thread_began(child_tgid);
                return None;
            }
            Event::Fork { parent_pid, parent_tgid, child_tgid, .. } => {
                self.threads.process_began(child_tgid);
                let (task, fork, found) = forked(parent_pid, parent_tgid, child_tgid, time_ns);
                self.spaces.forget(child_tgid);
                if let Some(namespaces) = found.and_then(|found| found.namespaces) {
                    self.spaces.see(child_tgid, namespaces, boot_now_ns());
                }
                (task, Body::Fork(fork), None)
            }
            Event::Exec { tgid, .. } => {
                self.threads.alone(tgid);
                let (mut task, exec, image) = fill::executed(tgid, time_ns);
                task.namespaces = self.namespaces_at_exec(&task, time_ns);
                (task, Body::Exec(Box::new(exec)), image)
            }
            Event::Uid { pid, tgid, real, effective } => {
                let holds = |creds: &Creds| (creds.uid, creds.euid) == (real, effective);
                (changed_ids(pid, tgid, time_ns, holds), Body::Setid(Setid::default()), None)
            }
            Event::Gid { pid, tgid, real, effective } => {
                let holds = |creds: &Creds| (creds.gid, creds.egid) == (real, effective);
                (changed_ids(pid, tgid, time_ns, holds), Body::Setid(Setid::default()), None)
            }
            Event::Exit { pid, tgid, code } => {
                if !self.threads.ended(tgid, || fill::others_live(tgid, pid)) {
                    return None;
                }
                self.spaces.forget(tgid);
                (ended(tgid, pid, time_ns), Body::Exit(exit_status(code)), None)
            }
            Event::Answer { .. } | Event::Other(_) => return None,
        };
        let event = RawEvent { time_ns, source: SourceKind::Connector, task, body };
        (event.task.pid != self.own_pid).then_some(Arrived { event, image })
    }

    fn namespaces_at_exec(&mut self, task: &Task, time_ns: u64) -> Option<Namespaces> {
        let now = task.namespaces?;
        let parent = task.parent_pid;
        let found = self.spaces.at_exec(task.pid, now, time_ns, || {
            let parent = parent?;
            self.spaces.last(parent).or_else(|| proc::read(parent)?.namespaces)
        });
        self.spaces.see(task.pid, now, boot_now_ns());
        found
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The kernel counts listeners; closing the socket also tells it, from 6.6.
        if let Err(error) = self.request(false) {
            log::debug!("process connector: cannot take back the request to listen: {error}");
        }
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn forked(pid: u32, tgid: u32, child: u32, time_ns: u64) -> (Task, Fork, Option<ProcProcess>) {
    let mut task = fill::task(tgid, pid);
    task.start_ns = Stat::read(tgid, time_ns).map(|stat| stat.start_ns);
    let found = proc::read(child).filter(|found| found.start_ns <= time_ns);
    let fork = Fork {
        child_pid: child,
        child_start_ns: found.as_ref().map(|found| found.start_ns),
        child_ns_pid: found.as_ref().and_then(|found| found.ns_pid),
        syscall: None,
    };
    (task, fork, found)
}

fn changed_ids(pid: u32, tgid: u32, time_ns: u64, holds: impl Fn(&Creds) -> bool) -> Task {
    let mut task = fill::task(tgid, pid);
    if let Some(process) = proc::read(tgid).filter(|process| process.start_ns <= time_ns) {
        fill::identity(&mut task, &process);
        // They may have changed again, and those of a thread may differ.
        task.creds = process.creds.filter(|creds| holds(creds));
    }
    task
}

fn ended(tgid: u32, pid: u32, time_ns: u64) -> Task {
    let mut task = fill::task(tgid, pid);
    if let Some(stat) = Stat::read(tgid, time_ns) {
        task.start_ns = Some(stat.start_ns);
        task.parent_pid = (stat.parent_pid != 0).then_some(stat.parent_pid);
    }
    task
}

/// Takes a status as of `wait(2)` apart.
fn exit_status(status: u32) -> Exit {
    let as_i32 = |value: u32| i32::try_from(value).ok();
    let signal = status & 0x7f;
    Exit {
        code: as_i32((status >> 8) & 0xff).filter(|_| signal == 0),
        signal: as_i32(signal).filter(|&signal| signal != 0),
        core_dumped: Some(status & 0x80 != 0),
    }
}

/// What `CLOCK_BOOTTIME` is ahead of `CLOCK_MONOTONIC`: the time spent suspended.
fn boot_offset_ns() -> u64 {
    let read = |clock| {
        let time = clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    };
    let once = || {
        let before = read(ClockId::Monotonic);
        read(ClockId::Boottime).saturating_sub(before)
    };
    // The time between the two readings adds to it, so the least is the truest.
    let offset = once().min(once()).min(once());
    if offset < NEVER_SUSPENDED_NS { 0 } else { offset }
}

/// Less than this is the time between two readings.
const NEVER_SUSPENDED_NS: u64 = 1_000_000;

#[cfg(test)]
mod tests;
