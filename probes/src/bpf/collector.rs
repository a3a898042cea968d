//! The one thread that reads every ring.
//!
//! While records come, it comes round by itself every [`TURN`], and earlier when a ring fills or
//! someone flushes: so whoever is watched pays for waking it next to never. When a whole turn has
//! brought nothing, it sleeps until a record wakes it ([`super::bell`]), which it reads at once, and
//! soon looks for what follows it ([`rhythm`]).
//!
//! In each turn it reads the file and socket rings first and the process ring last: whatever is in
//! the former was done by a process whose exec is in the latter by then, so that sorting one turn's
//! events by time puts each exec before what it led to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

use super::ring::{Ring, Stop};
use crate::decode;
use crate::event::{Concern, RawEvent};
use crate::priority;
use crate::source::Sink;
use crate::wire;

mod rhythm;

use rhythm::{Next, Rhythm};

/// How long a record waits at most before it is read.
pub const TURN: Duration = Duration::from_millis(50);
/// How long it sleeps at most when nobody wakes it. Records do; this is for one whose nudge found no
/// room though there was some, as when the kernel suspects a deadlock (`rqspinlock`): it would lie
/// there until the next one comes.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// Records read from a ring before another has its turn, and events handed over at once.
const BATCH: usize = 4096;
/// Events that there is always room for: 280 KiB.
const ROOM: usize = 1024;
/// How long a turn waits for a record that is still being written. They take microseconds; longer
/// means that their writer was preempted, and then the rest goes first.
const BUSY_WAIT: Duration = Duration::from_millis(5);

/// The same for the last read of a ring, after which nothing of it is kept.
const LAST_WAIT: Duration = Duration::from_secs(1);

const TYPES: usize = wire::TYPES as usize;

/// What the collector counted, by record type.
#[derive(Default)]
pub struct Tally {
    /// Records read.
    pub received: [AtomicU64; TYPES],
    /// Those that could not be decoded.
    pub malformed: [AtomicU64; TYPES],
    /// Why the last of them could not.
    pub last_malformed: Mutex<String>,
}

/// A handle to the thread; dropping it stops the thread.
pub struct Collector {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

enum Change {
    Add(Concern, Ring),
    Remove(Concern),
}

/// Process last: see above.
fn in_order(rings: &mut [(Concern, Ring)]) {
    rings.sort_by_key(|(concern, _)| *concern == Concern::Process);
}

struct Shared {
    stop: AtomicBool,
    wake: OwnedFd,
    flushes: Mutex<Vec<mpsc::SyncSender<()>>>,
    /// At most two for each concern and each change of the configuration.
    changes: Mutex<Vec<Change>>,
    tally: Arc<Tally>,
}

impl Collector {
    /// Starts the thread on these rings.
    ///
    /// # Errors
    /// What epoll, eventfd or the making of a thread says.
    pub fn start(rings: Vec<(Concern, Ring)>, sink: Arc<dyn Sink>) -> io::Result<Self> {
        Self::start_turning(rings, sink, TURN)
    }

    /// As [`Collector::start`], with another time between turns.
    ///
    /// # Errors
    /// As there.
    pub fn start_turning(
        mut rings: Vec<(Concern, Ring)>,
        sink: Arc<dyn Sink>,
        turn: Duration,
    ) -> io::Result<Self> {
        in_order(&mut rings);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        for fd in rings.iter().map(|(_, ring)| ring.as_fd()).chain([wake.as_fd()]) {
            add_to(&epoll, fd)?;
        }
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            wake,
            flushes: Mutex::default(),
            changes: Mutex::default(),
            tally: Arc::default(),
        });
        let mut worker = Worker {
            rings,
            epoll,
            sink,
            rhythm: Rhythm::new(turn),
            shared: Arc::clone(&shared),
            unheard: Vec::new(),
        };
        let thread =
            std::thread::Builder::new().name("bpf-collector".to_owned()).spawn(move || {
                priority::reader();
                worker.run();
            })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What it counted so far.
    pub fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// Has another ring read from now on.
    pub fn add(&self, concern: Concern, ring: Ring) {
        self.change(Change::Add(concern, ring));
    }

    /// Has a ring, of which all programs are detached, read to its end and given up, and its counts
    /// with it.
    pub fn remove(&self, concern: Concern) {
        self.change(Change::Remove(concern));
    }

    fn change(&self, change: Change) {
        self.shared.changes.lock().push(change);
        self.shared.wake();
    }

    /// Has everything read that was produced before the call. True: it was, within `deadline`.
    pub fn flush(&self, deadline: Duration) -> bool {
        let (done, answer) = mpsc::sync_channel(1);
        self.shared.flushes.lock().push(done);
        self.shared.wake();
        answer.recv_timeout(deadline).is_ok()
    }

    /// Whether the thread ended without being told to.
    pub fn died(&self) -> bool {
        let ended = self.thread.as_ref().is_some_and(JoinHandle::is_finished);
        ended && !self.shared.stop.load(Ordering::Relaxed)
    }

    /// Reads what is there, hands it over, and ends the thread.
    pub fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that reads the rings had panicked");
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn wake(&self) {
        // It fails only when it is at its limit, and then the thread is awake anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

struct Worker {
    rings: Vec<(Concern, Ring)>,
    epoll: OwnedFd,
    sink: Arc<dyn Sink>,
    rhythm: Rhythm,
    shared: Arc<Shared>,
    /// Rings that cannot wake us.
    unheard: Vec<Concern>,
}

/// What a turn came to.
struct Turn {
    /// False: there was more than goes into one turn, or a record stayed unfinished.
    complete: bool,
    /// Anything was read.
    brought: bool,
}

impl Worker {
    fn run(&mut self) {
        let mut events = Vec::with_capacity(ROOM);
        let mut flushes = Vec::new();
        loop {
            let stopping = self.shared.stop.load(Ordering::Acquire);
            // The other way round, a flush might not see what was added before it was asked for.
            flushes.append(&mut self.shared.flushes.lock());
            let changes = std::mem::take(&mut *self.shared.changes.lock());
            for change in changes {
                self.apply(change, &mut events);
            }
            let Turn { complete, brought } = self.turn(&mut events);
            if complete {
                for flush in flushes.drain(..) {
                    // Whoever asked may have given up.
                    let _ = mpsc::SyncSender::try_send(&flush, ());
                }
            }
            if stopping {
                return;
            }
            match self.rhythm.next(complete, brought, Instant::now()) {
                Next::Again => {}
                Next::After(time) => self.wait(time),
                Next::Sleep => self.sleep(),
            }
        }
    }

    fn apply(&mut self, change: Change, events: &mut Vec<RawEvent>) {
        match change {
            Change::Add(concern, ring) => {
                if let Err(error) = add_to(&self.epoll, ring.as_fd()) {
                    log::warn!(
                        "the {} ring cannot wake its reader, which comes round without: {error}",
                        concern.as_str()
                    );
                    self.unheard.push(concern);
                }
                self.rings.push((concern, ring));
                in_order(&mut self.rings);
            }
            Change::Remove(concern) => {
                for (_, mut ring) in self.rings.extract_if(.., |ring| ring.0 == concern) {
                    let tally = &self.shared.tally;
                    let to = ring.produced();
                    let deadline = Instant::now() + LAST_WAIT;
                    while !matches!(
                        ring.read(to, BATCH, |record| tally.take(concern, record, events)),
                        Stop::Reached
                    ) && Instant::now() < deadline
                    {
                        hand_over(events, self.sink.as_ref());
                    }
                    hand_over(events, self.sink.as_ref());
                    // It may be gone from there already.
                    let _ = epoll::delete(&self.epoll, ring.as_fd());
                    tally.forget(concern);
                }
                self.unheard.retain(|unheard| *unheard != concern);
            }
        }
    }

    /// Sleeps until there is something to read, or to do. In which order, and why: [`super::bell`].
    fn sleep(&self) {
        if !self.unheard.is_empty() {
            self.wait(TURN);
            return;
        }
        let rings = || self.rings.iter().map(|(_, ring)| ring);
        rings().for_each(|ring| ring.bell().set(true));
        fence(Ordering::SeqCst);
        if rings().all(Ring::is_empty) {
            self.wait(SLEEP_MAX);
        }
        rings().for_each(|ring| ring.bell().set(false));
    }

    fn wait(&self, time: Duration) {
        let timeout = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        let mut buffer = Vec::<epoll::Event>::with_capacity(1);
        // An interruption only shortens the wait. The eventfd's count need not be taken: each
        // write is an edge.
        let _ =
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut buffer), Some(&timeout));
    }

    /// Reads each ring as far as it was filled when its turn came, and hands over what it had.
    fn turn(&mut self, events: &mut Vec<RawEvent>) -> Turn {
        let (mut complete, mut brought) = (true, false);
        let tally = &self.shared.tally;
        for (concern, ring) in &mut self.rings {
            let (from, to) = (ring.consumed(), ring.produced());
            let deadline = Instant::now() + BUSY_WAIT;
            loop {
                match ring.read(to, BATCH, |record| tally.take(*concern, record, events)) {
                    Stop::Reached => break,
                    Stop::Busy if Instant::now() < deadline => std::thread::yield_now(),
                    Stop::Busy => {
                        complete = false;
                        break;
                    }
                    // The process ring must be read out for the order to hold; the others can wait.
                    Stop::Limit if *concern == Concern::Process => {}
                    Stop::Limit => {
                        complete = false;
                        break;
                    }
                }
            }
            brought |= ring.consumed() != from;
        }
        hand_over(events, self.sink.as_ref());
        Turn { complete, brought }
    }
}

fn hand_over(events: &mut Vec<RawEvent>, sink: &dyn Sink) {
    events.sort_by_key(|event| event.time_ns);
    if !events.is_empty() {
        sink.accept(events);
        events.clear();
    }
    // A burst needs room for all that its turn brought; it need not be kept for the next.
    events.shrink_to(ROOM);
}

/// Edge-triggered: a ring that merely holds something is no reason to wake.
fn add_to(epoll: &OwnedFd, fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(epoll, fd, epoll::EventData::new_u64(0), edge)
}

impl Tally {
    fn forget(&self, concern: Concern) {
        for record_type in 0..wire::TYPES {
            if decode::kind_of(record_type).is_some_and(|kind| kind.concern() == concern) {
                for counts in [&self.received, &self.malformed] {
                    if let Some(count) = counts.get(record_type as usize) {
                        count.store(0, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    fn take(&self, concern: Concern, record: &[u8], events: &mut Vec<RawEvent>) {
        let record_type = decode::type_of(record).map_or(0, usize::from);
        bump(&self.received, concern, record_type);
        match decode::decode(record) {
            Ok(event) => events.push(event),
            Err(malformed) => {
                bump(&self.malformed, concern, record_type);
                *self.last_malformed.lock() = malformed.to_string();
            }
        }
    }
}

/// Counts under the record's type, or if it has none, under the first of the ring's.
fn bump(counts: &[AtomicU64; TYPES], concern: Concern, record_type: usize) {
    let known = u32::try_from(record_type).ok().and_then(decode::kind_of).is_some();
    let index = match concern {
        _ if known => record_type,
        Concern::Process => wire::EXEC as usize,
        Concern::Socket => wire::SOCKET as usize,
        Concern::File => wire::FILE as usize,
    };
    if let Some(count) = counts.get(index) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}
