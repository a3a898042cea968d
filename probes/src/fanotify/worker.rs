//! The thread that reads: waits, empties the kernel's queue, has events judged, obeys.
//!
//! Owns the order of things. What an event means is [`super::judge`]'s, what is marked
//! [`super::marking`]'s.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::counters::Counters;
use super::decode::{Event, Events};
use super::filesystems::Filesystems;
use super::halves::Halves;
use super::held::HeldBack;
use super::hot::Hot;
use super::judge::FirstHalf;
use super::marking::Marking;
use super::mounts::Mounts;
use super::queue::{Chunk, Queue};
use super::recent::Recent;
use super::seen::{INODES_KEPT, Seen, Stamp};
use super::sys::Group;
use super::tree::{Place, Tree};
use super::watch::{Verdict, Watch};
use crate::clock;
use crate::event::RawEvent;
use crate::source::{Sink, SourceConfig, StartError};

/// Bytes read at once: about 700 events.
pub const READ_BYTES: usize = 64 << 10;

/// Longer than any event (two names of 255 bytes, three handles of 128): a read that leaves this
/// much of the buffer free has emptied the kernel's queue.
const EVENT_MAX: usize = 4096;

/// Reads before what was read is looked at, so that a storm cannot keep us reading for ever.
const READS_AT_ONCE: usize = 64;

/// Events given to the sink at once, about.
const BATCH: usize = 1024;

/// Pause between the end of one batch and the next look, in which the kernel merges what belongs
/// together. Measured on 6.18 with a program that only writes: without it, a write costs 0.97 µs
/// more and our thread keeps up one wake-up for each; with 1 to 5 ms, 0.45 µs and next to nothing.
const PAUSE: Duration = Duration::from_millis(2);

/// From one look at the mounts to the next: where containers come and go, they change all the time.
const REMARK_INTERVAL: Duration = Duration::from_millis(100);

/// An inode may be this much older than the moment its creation is reported.
const SETTLE_NS: Stamp = 100_000_000;

/// Files without a name remembered at most; of more, only the content of the latest is told.
const NAMELESS_KEPT: usize = 1024;

/// What the thread is told.
pub enum Control {
    /// A new configuration; the answer says what could not be applied.
    Reconfigure(Box<SourceConfig>, Sender<Result<(), StartError>>),
    /// Give all there is to the sink, until this time, and say whether that was all.
    Flush(Instant, Sender<bool>),
    /// End.
    Stop,
}

/// Everything the thread owns.
pub struct Worker {
    pub(super) group: Group,
    pub(super) marking: Marking,
    pub(super) watch: Watch,
    pub(super) tree: Tree,
    pub(super) filesystems: Filesystems,
    pub(super) mounts: Mounts,
    /// Boxed: a map has more places than values.
    pub(super) seen: Recent<Box<Seen>>,
    /// What was done to files before they had a name.
    pub(super) nameless: Recent<u64>,
    pub(super) held: HeldBack,
    pub(super) hot: Hot,
    pub(super) halves: Halves<FirstHalf>,
    pub(super) batch: Vec<RawEvent>,
    pub(super) counters: Arc<Counters>,
    pub(super) own_pid: u32,
    pub(super) access: bool,
    pub(super) settled_before: Stamp,
    pub(super) watched_since: Stamp,
    queue: Queue,
    buffer: Vec<u8>,
    sink: Arc<dyn Sink>,
    mountinfo: File,
    control: Receiver<Control>,
    wake: Arc<OwnedFd>,
    drained_at: Stamp,
    /// When the mounts, which have changed, are to be looked at.
    remark_at: Option<Instant>,
    remarked_at: Option<Instant>,
    failed: bool,
}

/// What a worker is made of that it cannot make itself.
pub struct Parts {
    pub group: Group,
    pub marking: Marking,
    pub mountinfo: File,
    pub sink: Arc<dyn Sink>,
    pub counters: Arc<Counters>,
    pub control: Receiver<Control>,
    pub wake: Arc<OwnedFd>,
}

impl Worker {
    /// Sets everything up and places the first marks.
    pub fn new(parts: Parts, config: &SourceConfig) -> Result<Self, StartError> {
        let Parts { group, marking, mountinfo, sink, counters, control, wake } = parts;
        let queue_bytes = config.ring_bytes.file as usize;
        counters.queue_bytes.store(u64::from(config.ring_bytes.file), Ordering::Relaxed);
        let now = Stamp::from(clock::unix_now_ns());
        let mut worker = Self {
            group,
            marking,
            watch: Watch::new(Arc::clone(&config.paths), <[u8]>::to_vec),
            tree: Tree::default(),
            filesystems: Filesystems::default(),
            mounts: Mounts::default(),
            seen: Recent::new(INODES_KEPT),
            nameless: Recent::new(NAMELESS_KEPT),
            held: HeldBack::default(),
            hot: Hot::default(),
            halves: Halves::default(),
            batch: Vec::with_capacity(BATCH),
            counters,
            own_pid: config.own_pid,
            access: false,
            settled_before: now - SETTLE_NS,
            watched_since: now,
            queue: Queue::new(queue_bytes),
            buffer: vec![0; READ_BYTES],
            sink,
            mountinfo,
            control,
            wake,
            drained_at: now,
            remark_at: None,
            remarked_at: None,
            failed: false,
        };
        worker.configure(config)?;
        Ok(worker)
    }

    /// Runs until it is told to stop, or cannot go on.
    pub fn run(mut self) {
        while !self.failed {
            let idle = self.queue.is_empty();
            if !self.wait(idle) {
                return;
            }
            self.intake();
            if let Some(chunk) = self.queue.pop() {
                self.handle(&chunk);
            }
            self.deliver_full();
            if self.queue.is_empty() {
                self.settle(Instant::now());
                if !self.pause() {
                    return;
                }
            }
        }
    }

    /// Waits for something to do, and does what was asked meanwhile. False: stop.
    fn wait(&mut self, idle: bool) -> bool {
        let until = if !idle {
            Some(Duration::ZERO)
        } else if !self.halves.is_empty() {
            Some(PAUSE)
        } else {
            let next = self.held.next().into_iter().chain(self.remark_at).min();
            next.map(|next| next.saturating_duration_since(Instant::now()))
        };
        let ready = self.poll(true, until);
        self.answer(ready)
    }

    /// Lets events gather, but not who asks wait. False: stop.
    fn pause(&mut self) -> bool {
        let ready = self.poll(false, Some(PAUSE));
        self.answer(ready)
    }

    fn poll(&mut self, events: bool, timeout: Option<Duration>) -> Ready {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = [
            PollFd::new(&self.wake, PollFlags::IN),
            PollFd::new(&self.mountinfo, PollFlags::PRI),
            PollFd::from_borrowed_fd(self.group.as_fd(), PollFlags::IN),
        ];
        // Even if nothing is asked of the group, each event wakes who polls it.
        let asked = if events { fds.as_mut_slice() } else { fds.split_at_mut(2).0 };
        match poll(asked, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {
                let [wake, mounts, _] = fds;
                Ready { wake: !wake.revents().is_empty(), mounts: !mounts.revents().is_empty() }
            }
            Err(error) => {
                self.fail(format!("poll: {error}"));
                Ready::default()
            }
        }
    }

    fn answer(&mut self, ready: Ready) -> bool {
        let now = Instant::now();
        if ready.mounts {
            let last = self.remarked_at.map_or(now, |last| last + REMARK_INTERVAL);
            self.remark_at.get_or_insert(last.max(now));
        }
        if self.remark_at.take_if(|due| *due <= now).is_some() {
            // What happened on a file system that is gone now is resolved while it is still known.
            self.drain(now + super::RECONFIGURE_DRAIN);
            self.remark();
            self.remarked_at = Some(Instant::now());
        }
        if ready.wake {
            // It only says that there is a message.
            let mut count = [0; 8];
            let _ = rustix::io::read(&self.wake, &mut count);
        }
        while let Ok(control) = self.control.try_recv() {
            match control {
                Control::Reconfigure(config, reply) => {
                    self.drain(Instant::now() + super::RECONFIGURE_DRAIN);
                    let _ = reply.send(self.configure(&config));
                }
                Control::Flush(deadline, reply) => {
                    let all = self.drain(deadline);
                    let _ = reply.send(all);
                }
                Control::Stop => return false,
            }
        }
        true
    }

    /// Handles and delivers all that happened before the call. False: there was no time for all.
    fn drain(&mut self, deadline: Instant) -> bool {
        let mut drained = self.intake();
        while !drained && Instant::now() < deadline {
            drained = self.intake();
        }
        for _ in 0..self.queue.chunks() {
            if Instant::now() >= deadline {
                return false;
            }
            if let Some(chunk) = self.queue.pop() {
                self.handle(&chunk);
                self.deliver_full();
            }
        }
        self.unpair(true);
        self.held.take_all(&mut self.batch);
        self.settle(Instant::now());
        drained
    }

    /// Moves what the kernel holds into our own queue. True: the kernel had no more. It does not run
    /// after a storm that goes on: the kernel merges while we are away.
    pub(super) fn intake(&mut self) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut drained = false;
        for _ in 0..READS_AT_ONCE {
            let asked_at = Stamp::from(clock::unix_now_ns());
            match self.group.read(&mut buffer) {
                Ok(length) if length > 0 => {
                    self.queue.begin(clock::boot_now_ns());
                    self.admit_all(buffer.get(..length).unwrap_or_default());
                    if length + EVENT_MAX <= buffer.len() {
                        self.drained_at = asked_at;
                        drained = true;
                        break;
                    }
                }
                Ok(_) | Err(Errno::AGAIN) => {
                    self.drained_at = asked_at;
                    drained = true;
                    break;
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    self.fail(format!("reading events: {error}"));
                    break;
                }
            }
        }
        self.buffer = buffer;
        drained
    }

    fn admit_all(&mut self, bytes: &[u8]) {
        for event in Events::new(bytes) {
            match event {
                Ok(event) => self.admit(&event),
                Err(error) => {
                    Counters::add(&self.counters.malformed, 1);
                    self.counters.error(format!("event that makes no sense: {error}"));
                }
            }
        }
    }

    /// Puts an event into the queue, unless it is clear already that nobody wants it.
    fn admit(&mut self, event: &Event<'_>) {
        if event.has(libc::FAN_Q_OVERFLOW) {
            Counters::add(&self.counters.lost, 1);
            self.counters.error(
                "the kernel's queue overflowed (fs.fanotify.max_queued_events): an unknown number \
                 of events is lost, counted as one"
                    .to_owned(),
            );
        } else if !moves_directory(event) && self.is_unwanted(event) {
            Counters::add(&self.counters.left_out, 1);
            return;
        }
        let Some(sequence) = self.queue.push(event.raw) else {
            Counters::add(&self.counters.lost, 1);
            self.counters.error("events came faster than they could be handled".to_owned());
            if moves_directory(event) {
                self.tree.clear();
            }
            return;
        };
        if let (true, Some(dir)) = (moves_directory(event), event.object)
            && event.has(libc::FAN_DELETE | libc::FAN_RENAME)
            && let Some(entry) = event.from.or(event.entry)
        {
            let place: Place = self.tree.child(entry.dir.bytes(), entry.name);
            self.tree.announce(sequence, dir.bytes(), place);
        }
    }

    fn is_unwanted(&mut self, event: &Event<'_>) -> bool {
        if event.pid == self.own_pid {
            return true;
        }
        if event.has(libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO) {
            // The other half may be wanted.
            return false;
        }
        let entries = [event.entry, event.from, event.to];
        let mut named = false;
        for entry in entries.iter().flatten() {
            named = true;
            if self.tree.quick_verdict(entry.dir.bytes()) != Some(Verdict::Never) {
                return false;
            }
        }
        if named && event.has(libc::FAN_MODIFY) {
            self.count_hot(event);
        }
        // Without a name: the link count of an inode changed, which is told by its names too.
        named || event.mask & !libc::FAN_ONDIR == libc::FAN_ATTRIB
    }

    fn handle(&mut self, chunk: &Chunk) {
        let events = Events::new(&chunk.bytes).flatten();
        for (event, &sequence) in events.zip(&chunk.sequences) {
            self.judge(&event, sequence, chunk.time_ns);
        }
    }

    /// What is done once all that was read is handled.
    fn settle(&mut self, now: Instant) {
        self.unpair(false);
        self.held.take_due(now, &mut self.batch);
        self.deliver();
        self.filesystems.release();
        if self.queue.is_empty() {
            self.settled_before = self.drained_at - SETTLE_NS;
        }
    }

    fn deliver_full(&mut self) {
        if self.batch.len() >= BATCH {
            self.deliver();
        }
    }

    fn deliver(&mut self) {
        if !self.batch.is_empty() {
            Counters::add(&self.counters.delivered, self.batch.len() as u64);
            self.sink.accept(&mut self.batch);
            self.batch.clear();
        }
    }

    /// The present mounts, as text.
    pub(super) fn read_mounts(&mut self) -> std::io::Result<Vec<u8>> {
        use std::io::{Read, Seek};
        let mut text = Vec::new();
        self.mountinfo.rewind()?;
        self.mountinfo.read_to_end(&mut text)?;
        Ok(text)
    }

    fn fail(&mut self, why: String) {
        self.failed = true;
        self.counters.set_failure(why);
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Ready {
    wake: bool,
    mounts: bool,
}

/// Whether the event changes where directories are: those are needed to know paths, wanted or not.
pub(super) fn moves_directory(event: &Event<'_>) -> bool {
    event.has(libc::FAN_ONDIR)
        && event.has(
            libc::FAN_CREATE
                | libc::FAN_DELETE
                | libc::FAN_RENAME
                | libc::FAN_MOVED_FROM
                | libc::FAN_MOVED_TO,
        )
}
