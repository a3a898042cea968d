//! The audit source at work: one thread that reads audit's stream and the connector's, puts events
//! together and gives them out in order.
//!
//! What is decided is decided elsewhere: what a record means (`decode.rs`), what goes first
//! (`merge.rs`), what is put back (`tenure.rs`), which rules there are (`wishes.rs`). How our place in
//! the subsystem is kept meanwhile is in `live/keep.rs`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};

use crate::clock::{Clock, boot_now_ns};
use crate::connector::settle::{PATIENCE_NS, Settle};
use crate::connector::{Arrived, Reader, fill};
use crate::event::{Body, Concern, EventKind, RawEvent};
use crate::netlink::timeout;
use crate::proc;
use crate::source::{Sink, SourceConfig, StartError};
use crate::worker::{Order, Orders};

use super::assemble::Assembler;
use super::control::Control;
use super::decode::{Asked, Decoded, decode};
use super::group::Group;
use super::health::State;
use super::hold::{Hold, failed};
use super::merge::{Merge, SKEW_NS};
use super::places::Places;
use super::record::kind;
use super::sockets::{Sockets, forget_wishes};
use super::status::{Status, mask};
use super::stream::{Stream, Way};
use super::writes::{Writes, look};

mod keep;

/// How soon to look again while records of an event are awaited, or somebody waits for a flush.
const AGAIN_NS: u64 = 5_000_000;

/// How long a flush may take. Who asked for it has a deadline of its own.
const FLUSH_NS: u64 = 10_000_000_000;

/// Daemons that give up if the kernel already sends records to somebody when they start.
const DAEMONS: [&[u8]; 3] = [b"auditd", b"go-audit", b"auditbeat"];

/// The thread's things.
pub struct Work {
    pub(super) control: Control,
    pub(super) stream: Stream,
    pub(super) connector: Option<Reader>,
    /// `None`: we only read.
    pub(super) hold: Option<Hold>,
    pub(super) config: SourceConfig,
    /// Kinds audit gives.
    pub(super) kinds: Vec<EventKind>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) state: Arc<Mutex<State>>,
    pub(super) buffers: Buffers,
}

/// What is on its way through.
pub struct Buffers {
    clock: Clock,
    places: Places,
    assembler: Assembler,
    merge: Merge,
    settle: Settle,
    writes: Writes,
    sockets: Sockets,
    groups: Vec<Group>,
    told: Vec<RawEvent>,
    arrived: Vec<Arrived>,
    batch: Vec<RawEvent>,
    next_tick_ns: u64,
    ticks: u32,
    step_aside_until_ns: u64,
    rules_changed: bool,
    asked_to_leave: bool,
    kernel_lost: Option<u32>,
}

impl Default for Buffers {
    fn default() -> Self {
        let clock = Clock::new();
        let places = Places::new(clock.base());
        Self {
            clock,
            places,
            assembler: Assembler::default(),
            merge: Merge::default(),
            settle: Settle::default(),
            writes: Writes::default(),
            sockets: Sockets::default(),
            groups: Vec::new(),
            told: Vec::new(),
            arrived: Vec::new(),
            batch: Vec::new(),
            next_tick_ns: 0,
            ticks: 0,
            step_aside_until_ns: 0,
            rules_changed: false,
            asked_to_leave: false,
            kernel_lost: None,
        }
    }
}

impl Work {
    /// Switches recording on and puts our rules in place.
    ///
    /// # Errors
    /// What the kernel answered; then everything is as it was.
    pub fn begin(&mut self) -> Result<(), StartError> {
        if let Ok(status) = self.control.status() {
            self.count_lost(&status);
        }
        let rules = self.rules();
        let Some(hold) = &mut self.hold else { return Ok(()) };
        let control = &mut self.control;
        let done = hold
            .switch_on(control)
            .map_err(|error| failed("switching recording on", &error))
            .and_then(|()| {
                hold.place(control, rules).map_err(|error| failed("adding its rules", &error))
            });
        if let Err(error) = done {
            self.leave();
            return Err(error);
        }
        for refused in hold.refused() {
            log::warn!("audit: {}", refused.why);
        }
        self.show_rules();
        Ok(())
    }

    /// Runs until it is told to stop, or cannot go on.
    pub fn run(mut self, orders: &Orders) {
        loop {
            match self.step(orders) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    let failure = format!("reading audit records: {error}");
                    log::error!("audit: {failure}");
                    self.state.lock().failure = Some(failure);
                    break;
                }
            }
        }
        self.leave();
    }

    /// Waits, reads, gives. Whether to go on.
    fn step(&mut self, orders: &Orders) -> io::Result<bool> {
        self.wait(Some(orders), self.idle_ns(boot_now_ns()))?;
        self.read()?;
        // A daemon that starts registers within milliseconds.
        if std::mem::take(&mut self.buffers.asked_to_leave) {
            self.step_aside(boot_now_ns());
        }
        self.give(false);
        let now_ns = boot_now_ns();
        if now_ns >= self.buffers.next_tick_ns || self.buffers.rules_changed {
            self.tick(now_ns);
        }
        while let Some(order) = orders.next() {
            match order {
                Order::Stop => return Ok(false),
                Order::Reconfigure(config, answer) => {
                    let result = self.reconfigure(*config);
                    // Whoever asked may have given up.
                    let _ = answer.send(result);
                }
                Order::Flush(answer) => {
                    let all = self.flush()?;
                    let _ = answer.send(all);
                }
            }
        }
        Ok(self.state.lock().failure.is_none())
    }

    fn idle_ns(&self, now_ns: u64) -> u64 {
        let buffers = &self.buffers;
        let tick = buffers.next_tick_ns.saturating_sub(now_ns);
        let open = (buffers.assembler.open() > 0).then_some(AGAIN_NS);
        let waits = [
            buffers.merge.wait_ns(now_ns),
            buffers.settle.wait_ns(now_ns),
            buffers.writes.wait_ns(now_ns),
            open,
        ];
        waits.into_iter().flatten().fold(tick, u64::min)
    }

    fn wait(&self, orders: Option<&Orders>, wait_ns: u64) -> io::Result<()> {
        let mut fds: Vec<PollFd<'_>> =
            self.stream.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        fds.extend(self.connector.as_ref().map(|reader| PollFd::new(reader, PollFlags::IN)));
        fds.extend(orders.map(|orders| PollFd::new(orders, PollFlags::IN)));
        match poll(&mut fds, Some(&timeout(Duration::from_nanos(wait_ns)))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what there is, to be given out in order. Whether that was all.
    fn read(&mut self) -> io::Result<bool> {
        let since_ns = boot_now_ns();
        let buffers = &mut self.buffers;
        buffers.places.set_clock(buffers.clock.base());
        let (assembler, groups) = (&mut buffers.assembler, &mut buffers.groups);
        let (changed, asked) = (&mut buffers.rules_changed, &mut buffers.asked_to_leave);
        let mut all = self.stream.drain(since_ns, |record, payload| {
            match record {
                kind::REPLACE => *asked = true,
                kind::CONFIG_CHANGE => *changed |= removes_a_rule(payload),
                _ => {}
            }
            // An answer to what we asked is no record.
            if record >= FIRST_RECORD {
                assembler.push(record, payload, since_ns, groups);
            }
        })?;
        let now_ns = boot_now_ns();
        buffers.assembler.expire(now_ns, &mut buffers.groups);
        // What the connector tells of was queued when it happened, before audit's thread in the
        // kernel got to send what it tells of the same. So it is read second and goes first; all of it
        // that is as old, or an exec would be told once for audit and once for the connector.
        if let Some(reader) = &mut self.connector {
            loop {
                if reader.drain(&mut self.buffers.arrived)? {
                    break;
                }
                if reader.newest_ns() > now_ns {
                    all = false;
                    break;
                }
            }
        }
        self.sort(now_ns);
        Ok(all)
    }

    fn sort(&mut self, now_ns: u64) {
        let asked = self.asked();
        let audit_tells = |kind: EventKind| self.kinds.contains(&kind);
        let buffers = &mut self.buffers;
        for arrived in buffers.arrived.drain(..) {
            let setid = matches!(arrived.event.body, Body::Setid(_));
            if setid && audit_tells(EventKind::Setid) {
                continue;
            }
            buffers.asked_to_leave |= is_daemon(&arrived.event);
            buffers.merge.connector(arrived, audit_tells(EventKind::Exec), now_ns);
        }
        let mut state = self.state.lock();
        for group in buffers.groups.drain(..) {
            match decode(&group, asked, &mut buffers.places) {
                Decoded::Event(event) => buffers.told.push(*event),
                Decoded::Open(event, write) => {
                    buffers.told.extend(event.map(|event| *event));
                    if wanted_path(&self.config, &write.event) {
                        buffers.writes.add(*write, now_ns);
                    }
                }
                Decoded::Lost(kind) => state.lose(kind),
                Decoded::Unplaced => state.unplaced = state.unplaced.saturating_add(1),
                Decoded::Nothing => {}
            }
        }
        drop(state);
        let newest_ms = buffers.assembler.newest_ms();
        if newest_ms != 0 {
            use super::decode::World as _;
            buffers.merge.audit_reached(buffers.places.boot_ns(newest_ms));
        }
        let sockets = buffers.told.iter().any(|event| matches!(event.body, Body::Socket(_)));
        let look_up = sockets && buffers.sockets.begin(now_ns);
        for mut event in buffers.told.drain(..) {
            if let Body::Socket(socket) = &mut event.body {
                let wanted = !look_up
                    || buffers.sockets.complete(event.task.pid, socket)
                    || asked.unix_sockets;
                if !wanted {
                    continue;
                }
                forget_wishes(socket);
            }
            if !audit_tells(event.kind()) || !wanted_path(&self.config, &event) {
                continue;
            }
            buffers.asked_to_leave |= is_daemon(&event);
            buffers.writes.follow(&event);
            let fill = self.connector.is_none() || !matches!(event.body, Body::Exec(_));
            if fill {
                complete(&mut event);
            }
            buffers.merge.audit(event, now_ns);
        }
        if look_up {
            buffers.sockets.end(now_ns, boot_now_ns());
        }
    }

    fn asked(&self) -> Asked {
        Asked {
            own_pid: self.config.own_pid,
            unix_sockets: self.config.unix_sockets,
            file_access: self.config.file_access,
            files: self.kinds.contains(&EventKind::File),
        }
    }

    /// Gives the sink what is ready; `now`: all there is.
    fn give(&mut self, now: bool) {
        let now_ns = boot_now_ns();
        let buffers = &mut self.buffers;
        if now {
            buffers.merge.release_all(&mut buffers.arrived);
        } else {
            buffers.merge.release(now_ns, &mut buffers.arrived);
        }
        for arrived in buffers.arrived.drain(..) {
            buffers.settle.add(arrived, now_ns);
        }
        buffers.settle.release(now_ns, fill::executing, &mut buffers.batch);
        // Who takes all there is has made certain that all has come.
        buffers.writes.look(now_ns, now, look, &mut buffers.batch);
        self.deliver();
    }

    fn deliver(&mut self) {
        let buffers = &mut self.buffers;
        let wanted = &self.config.kinds;
        let process = self.config.wants(Concern::Process);
        let mut state = self.state.lock();
        buffers.batch.retain(|event| {
            let kind = event.kind();
            let cached = matches!(kind, EventKind::Exec | EventKind::Fork | EventKind::Exit);
            let asked = wanted.contains(&kind) || (cached && process);
            if asked {
                state.give(kind);
            }
            asked
        });
        state.stream = buffers.assembler.counts();
        state.merge = buffers.merge.counts();
        state.overruns = self.stream.overruns();
        state.malformed_datagrams = self.stream.malformed();
        state.way = self.stream.way();
        state.writes_unknown = buffers.writes.unknown();
        state.connector = self.connector.as_ref().map(Reader::counts);
        drop(state);
        if !buffers.batch.is_empty() {
            self.sink.accept(&mut buffers.batch);
            buffers.batch.clear();
        }
    }

    /// Everything that happened before now. A system call's records are queued before it returns,
    /// in order; so once the kernel's queue has been empty, and each event that was begun has its
    /// end, all have come. The same holds once records come that are newer.
    fn flush(&mut self) -> io::Result<bool> {
        let since_ns = boot_now_ns();
        let give_up = since_ns.saturating_add(FLUSH_NS);
        let mut passed = false;
        let mut passed_ns = None;
        let mut settle_by = None;
        loop {
            if !passed {
                let empty = self.control.status().is_ok_and(|status| status.backlog == 0);
                let newer = since_ns.saturating_add(super::merge::SLACK_NS);
                passed = empty || self.buffers.merge.audit_ns() > newer;
            }
            while !self.read()? {}
            let now_ns = boot_now_ns();
            if passed && passed_ns.is_none() {
                passed_ns = Some(now_ns);
            }
            // What others begin meanwhile is nobody's to wait for.
            let open = |passed_ns| self.buffers.assembler.has_open_before(passed_ns);
            if passed_ns.is_some_and(|passed_ns| !open(passed_ns)) {
                let settle_by = *settle_by.get_or_insert(now_ns.saturating_add(PATIENCE_NS));
                self.buffers.writes.hasten(now_ns);
                self.buffers.settle.hasten(now_ns);
                self.give(true);
                if now_ns >= settle_by {
                    self.buffers.settle.release_all(&mut self.buffers.batch);
                    self.deliver();
                }
                if self.buffers.settle.is_empty() {
                    if let Ok(status) = self.control.status() {
                        self.count_lost(&status);
                    }
                    return Ok(true);
                }
            } else {
                self.give(false);
            }
            if now_ns >= give_up {
                return Ok(false);
            }
            self.wait(None, AGAIN_NS)?;
        }
    }

    /// Takes our rules out, gives what they still brought, and puts everything back.
    fn leave(&mut self) {
        let mut done = Ok(());
        if let Some(hold) = &mut self.hold {
            done = hold.remove_rules(&mut self.control);
        }
        if let Err(error) = self.flush() {
            log::warn!("audit: reading the last records: {error}");
        }
        self.buffers.assembler.finish(&mut self.buffers.groups);
        self.sort(boot_now_ns());
        self.give(true);
        self.buffers.settle.release_all(&mut self.buffers.batch);
        self.deliver();
        if let Some(hold) = &mut self.hold {
            done = done.and_then(|()| hold.leave(&mut self.control));
        }
        if self.stream.way() == Way::Registered {
            done = done.and_then(|()| self.control.set(&Status::default(), mask::PID));
        }
        if let Err(error) = done {
            log::error!("audit: putting back what we changed: {error}");
        }
    }
}

/// `AUDIT_FIRST_USER_MSG`; smaller types are requests and answers.
const FIRST_RECORD: u16 = 1100;

/// Whether a CONFIG_CHANGE record says that a rule was removed.
fn removes_a_rule(payload: &[u8]) -> bool {
    payload.windows(REMOVE.len()).any(|window| window == REMOVE)
}

const REMOVE: &[u8] = b"op=remove_rule";

fn is_daemon(event: &RawEvent) -> bool {
    let Body::Exec(exec) = &event.body else { return false };
    let name = exec.path.as_deref().and_then(|path| path.rsplit(|&byte| byte == b'/').next());
    name.is_some_and(|name| DAEMONS.contains(&name))
}

/// Whether a file event is of a watched path; other events always are.
fn wanted_path(config: &SourceConfig, event: &RawEvent) -> bool {
    let Body::File(file) = &event.body else { return true };
    let matches = |path: &Option<crate::event::Bytes>| {
        path.as_deref().is_some_and(|path| config.paths.matches(path))
    };
    matches(&file.path) || matches(&file.dest_path)
}

/// Says which process it was, from `/proc` at once. A stamp is as old as the clock tick before the
/// call, so a process may seem to have started a little after it.
fn complete(event: &mut RawEvent) {
    let latest_ns = event.time_ns.saturating_add(SKEW_NS);
    let pid = event.task.pid;
    let namespaces = matches!(event.body, Body::Namespace(_));
    if !namespaces && !matches!(event.body, Body::Exec(_)) {
        event.task.start_ns = fill::Stat::read(pid, latest_ns).map(|stat| stat.start_ns);
        return;
    }
    let Some(process) = proc::read(pid).filter(|process| process.start_ns <= latest_ns) else {
        return;
    };
    // A thread has namespaces of its own, and records do not say which thread it was.
    let threads = namespaces && fill::others_live(pid, pid);
    fill::identity(&mut event.task, &process);
    if threads {
        event.task.namespaces = None;
    }
}
