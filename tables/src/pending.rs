//! Events that wait: connects for their answer, file events for their process.
//!
//! A connect that returned EINPROGRESS has no outcome yet. It waits up to [`ANSWER_WAIT_NS`] for
//! its [`Connection`] and becomes a row once: with the answer, or at the deadline without. The
//! answer often comes first, since on loopback it is there before the call returns; it is then kept
//! for the connect. An answer after the deadline is noted beside the stored row: whoever reads the
//! row later sees it, and a scheduled query that had the row already is not given it again.
//!
//! A file event with only a pid (fanotify) waits [`PROCESS_WAIT_NS`], so that the exec of the
//! process that did it has come in through its own ring.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;
use osquery_ebpf_probes::event::{Connection, RawEvent, SocketId};

use crate::column::Late;

#[cfg(test)]
mod tests;

/// How long a connect waits for its answer.
pub const ANSWER_WAIT_NS: u64 = 2_000_000_000;

/// How long a file event waits for its process.
pub const PROCESS_WAIT_NS: u64 = 50_000_000;

/// Connects that wait, answers that came early, rows that may yet be answered: of each this many.
pub const MAX_CONNECTS: usize = 8192;

/// File events that wait.
pub const MAX_FILES: usize = 8192;

/// Of those, how many there is room for when none waits.
const FILES_RESERVED: usize = 256;

/// Things by socket, in the order they came, bounded.
#[derive(Debug)]
struct Queue<T> {
    by_id: HashMap<SocketId, (u64, T), RandomState>,
    /// Every entry, and entries that were taken out since.
    order: VecDeque<(u64, SocketId)>,
    number: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { by_id: HashMap::default(), order: VecDeque::new(), number: 0 }
    }
}

impl<T> Queue<T> {
    fn insert(&mut self, id: SocketId, value: T) -> Option<T> {
        self.number = self.number.wrapping_add(1);
        self.order.push_back((self.number, id));
        let before = self.by_id.insert(id, (self.number, value));
        if self.order.len() > 2 * MAX_CONNECTS {
            let held = &self.by_id;
            self.order.retain(|(number, id)| held.get(id).is_some_and(|(n, _)| n == number));
        }
        before.map(|(_, value)| value)
    }

    fn remove(&mut self, id: SocketId) -> Option<T> {
        self.by_id.remove(&id).map(|(_, value)| value)
    }

    /// Takes out the first entry if `wanted`.
    fn pop_if(&mut self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        loop {
            let &(number, id) = self.order.front()?;
            match self.by_id.get(&id).filter(|(held, _)| *held == number) {
                None => {
                    self.order.pop_front();
                }
                Some((_, value)) if wanted(value) => {
                    self.order.pop_front();
                    return self.remove(id);
                }
                Some(_) => return None,
            }
        }
    }

    fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[derive(Debug)]
struct Waiting {
    event: RawEvent,
    since_ns: u64,
}

/// Connects and their answers.
#[derive(Debug, Default)]
pub struct Connects {
    waiting: Queue<Waiting>,
    early: Queue<(Connection, u64)>,
    open: Queue<u64>,
    late: Arc<HashMap<u64, Late>>,
    late_order: VecDeque<u64>,
    given_up: u64,
    early_dropped: u64,
}

impl Connects {
    /// A connect is in progress: it waits, unless its answer is there already and is given back
    /// with it. `displaced` gets the events that must be stored now without an answer: an older
    /// connect of the same socket, or the oldest for want of room.
    pub fn connect(
        &mut self,
        id: SocketId,
        event: RawEvent,
        now_ns: u64,
        displaced: &mut Vec<RawEvent>,
    ) -> Option<(RawEvent, Connection)> {
        if let Some((answer, _)) = self.early.remove(id) {
            return Some((event, answer));
        }
        if self.waiting.len() >= MAX_CONNECTS
            && let Some(oldest) = self.waiting.pop_if(|_| true)
        {
            self.give_up(oldest, displaced);
        }
        if let Some(before) = self.waiting.insert(id, Waiting { event, since_ns: now_ns }) {
            self.give_up(before, displaced);
        }
        None
    }

    fn give_up(&mut self, waiting: Waiting, into: &mut Vec<RawEvent>) {
        self.given_up = self.given_up.saturating_add(1);
        into.push(waiting.event);
    }

    /// An answer came. Gives the connect it completes. Else it is noted at a row that is stored, or
    /// kept for a connect to come.
    pub fn answer(&mut self, answer: Connection, now_ns: u64) -> Option<RawEvent> {
        if let Some(waiting) = self.waiting.remove(answer.id) {
            return Some(waiting.event);
        }
        if let Some(seq) = self.open.remove(answer.id) {
            let late = Late { error: answer.error, local: answer.local };
            let notes = Arc::make_mut(&mut self.late);
            notes.insert(seq, late);
            self.late_order.push_back(seq);
            if self.late_order.len() > MAX_CONNECTS
                && let Some(oldest) = self.late_order.pop_front()
            {
                notes.remove(&oldest);
            }
            return None;
        }
        if self.early.len() >= MAX_CONNECTS && self.early.pop_if(|_| true).is_some() {
            self.early_dropped = self.early_dropped.saturating_add(1);
        }
        if self.early.insert(answer.id, (answer, now_ns)).is_some() {
            self.early_dropped = self.early_dropped.saturating_add(1);
        }
        None
    }

    /// The socket was closed: its connect, if it waits, has no answer to wait for.
    pub fn close(&mut self, id: SocketId) -> Option<RawEvent> {
        self.open.remove(id);
        self.waiting.remove(id).map(|waiting| waiting.event)
    }

    /// A connect was stored without its answer, under this number.
    pub fn stored_open(&mut self, id: SocketId, seq: u64) {
        if self.open.len() >= MAX_CONNECTS {
            self.open.pop_if(|_| true);
        }
        self.open.insert(id, seq);
    }

    /// Gives the connects whose time is up, and forgets early answers that nobody asked for.
    pub fn expire(&mut self, now_ns: u64, into: &mut Vec<RawEvent>) {
        let over = |since: u64| since.saturating_add(ANSWER_WAIT_NS) <= now_ns;
        while let Some(waiting) = self.waiting.pop_if(|waiting| over(waiting.since_ns)) {
            self.give_up(waiting, into);
        }
        while self.early.pop_if(|&(_, since)| over(since)).is_some() {
            self.early_dropped = self.early_dropped.saturating_add(1);
        }
    }

    /// Forgets notes on rows that are no longer held.
    pub fn forget_before(&mut self, seq: u64) {
        while self.late_order.front().is_some_and(|&oldest| oldest < seq) {
            if let Some(oldest) = self.late_order.pop_front() {
                Arc::make_mut(&mut self.late).remove(&oldest);
            }
        }
    }

    /// Answers that came late, by the row's number.
    pub fn late(&self) -> Arc<HashMap<u64, Late>> {
        Arc::clone(&self.late)
    }

    /// Connects that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Connects that were stored without an answer; answers that no connect came for.
    pub const fn losses(&self) -> (u64, u64) {
        (self.given_up, self.early_dropped)
    }
}

/// File events that wait for their process.
#[derive(Debug, Default)]
pub struct Files {
    waiting: VecDeque<(u64, RawEvent)>,
    hurried: u64,
}

impl Files {
    /// An event is to wait. Gives the oldest, if there is no room.
    pub fn push(&mut self, event: RawEvent, now_ns: u64) -> Option<RawEvent> {
        let full = self.waiting.len() >= MAX_FILES;
        let oldest = if full { self.waiting.pop_front() } else { None };
        self.hurried = self.hurried.saturating_add(u64::from(full));
        self.waiting.push_back((now_ns, event));
        oldest.map(|(_, event)| event)
    }

    /// The next event whose time is up.
    pub fn pop(&mut self, now_ns: u64) -> Option<RawEvent> {
        let &(since, _) = self.waiting.front()?;
        if since.saturating_add(PROCESS_WAIT_NS) > now_ns {
            return None;
        }
        let event = self.waiting.pop_front().map(|(_, event)| event);
        if self.waiting.is_empty() {
            // What a storm needed is not kept for the next one.
            self.waiting.shrink_to(FILES_RESERVED);
        }
        event
    }

    /// Events that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Events that did not wait their time for want of room.
    pub const fn hurried(&self) -> u64 {
        self.hurried
    }

    /// Processes of the events whose time is up.
    pub fn due(&self, now_ns: u64) -> impl Iterator<Item = u32> {
        let due = move |since: u64| since.saturating_add(PROCESS_WAIT_NS) <= now_ns;
        let waiting = self.waiting.iter().take_while(move |(since, _)| due(*since));
        waiting.map(|(_, event)| event.task.pid)
    }
}
