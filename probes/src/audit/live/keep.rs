//! Our place in the audit subsystem while the source works: who records are sent to, which rules there
//! are, and what the kernel says it lost.

use crate::event::{Concern, EventKind};
use crate::source::{SourceConfig, StartError};

use super::super::calls::Arch;
use super::super::hold::{failed, process_lives};
use super::super::status::{OFF, Status, mask};
use super::super::stream::Way;
use super::super::wishes::{Want, Wish, wishes};
use super::Work;

/// How often the subsystem's state is asked for.
const TICK_NS: u64 = 1_000_000_000;

/// How often our rules are looked for, besides when somebody is seen to change rules.
const RULES_EVERY_TICKS: u32 = 5;

/// How long we leave the kernel without a reader for a daemon that wants to be it.
const STEP_ASIDE_NS: u64 = 10_000_000_000;

/// How long after a daemon has gone we leave its place to it: it may be about to start again, and
/// would find the place taken.
const GONE_NS: u64 = 5_000_000_000;

impl Work {
    /// Looks after our place in the subsystem.
    pub(super) fn tick(&mut self, now_ns: u64) {
        self.buffers.next_tick_ns = now_ns.saturating_add(TICK_NS);
        let status = match self.control.status() {
            Ok(status) => status,
            Err(error) => {
                self.note(&format!("asking the audit subsystem's status: {error}"));
                return;
            }
        };
        self.count_lost(&status);
        if status.enabled == OFF {
            let failure = "somebody switched audit off (enabled 0)".to_owned();
            log::error!("audit: {failure}");
            self.state.lock().failure = Some(failure);
            return;
        }
        self.keep_way(&status, now_ns);
        self.buffers.ticks = self.buffers.ticks.wrapping_add(1);
        let due = self.buffers.ticks.is_multiple_of(RULES_EVERY_TICKS);
        if due || std::mem::take(&mut self.buffers.rules_changed) {
            self.keep_rules();
        }
    }

    pub(super) fn count_lost(&mut self, status: &Status) {
        let before = self.buffers.kernel_lost.replace(status.lost).unwrap_or(status.lost);
        let more = u64::from(status.lost.wrapping_sub(before));
        let mut state = self.state.lock();
        state.kernel_lost = state.kernel_lost.saturating_add(more);
    }

    /// Goes on being who records are sent to, or becomes it, or leaves it to somebody else.
    fn keep_way(&mut self, status: &Status, now_ns: u64) {
        let Some(hold) = &self.hold else { return };
        let own_pid = std::process::id();
        let nobody = status.pid == 0 || !process_lives(status.pid);
        let changed = match self.stream.way() {
            Way::Registered if status.pid == own_pid => return,
            Way::Registered if !nobody => {
                log::warn!("audit: records are sent to pid {} now; reading along", status.pid);
                self.stream.to_multicast(now_ns)
            }
            Way::Multicast if !nobody => {
                self.buffers.step_aside_until_ns = now_ns.saturating_add(GONE_NS);
                return;
            }
            Way::Multicast if now_ns < self.buffers.step_aside_until_ns => return,
            Way::Registered | Way::Multicast => {
                log::info!("audit: records are sent to nobody; taking them");
                let registered = self.stream.to_registered(now_ns);
                registered.and_then(|()| hold.set_limits(&mut self.control))
            }
        };
        if let Err(error) = changed {
            self.note(&format!("changing the way records come: {error}"));
        }
    }

    /// Lets a daemon have what we have, and reads along.
    pub(super) fn step_aside(&mut self, now_ns: u64) {
        let Some(hold) = self.hold.as_ref().filter(|_| self.stream.way() == Way::Registered) else {
            return;
        };
        log::info!("audit: a daemon wants the records; leaving them to it and reading along");
        self.buffers.step_aside_until_ns = now_ns.saturating_add(STEP_ASIDE_NS);
        let control = &mut self.control;
        let done = self
            .stream
            .to_multicast(now_ns)
            .and_then(|()| hold.put_limits_back(control))
            .and_then(|()| control.set(&Status::default(), mask::PID));
        if let Err(error) = done {
            self.note(&format!("leaving the records to a daemon: {error}"));
        }
    }

    fn keep_rules(&mut self) {
        let rules = self.rules();
        let Some(hold) = &mut self.hold else { return };
        match hold.place(&mut self.control, rules) {
            Ok(0) => {}
            Ok(added) => log::warn!("audit: added {added} rules again that somebody had removed"),
            Err(error) => {
                let note = format!("looking after our rules: {error}");
                self.note(&note);
            }
        }
        self.show_rules();
    }

    /// Puts the number of rules into health.
    pub(super) fn show_rules(&self) {
        let Some(hold) = &self.hold else { return };
        let mut state = self.state.lock();
        for kind in EventKind::ALL {
            if let Some(count) = state.rules.get_mut(kind.index()) {
                *count = u32::try_from(hold.placed(kind)).unwrap_or(u32::MAX);
            }
        }
        state.refused = hold.refused().to_vec();
    }

    /// The rules for what is wanted of what audit gives, by the key they are to have.
    pub(super) fn rules(&self) -> impl Fn(&str) -> Vec<Wish> + use<> {
        let roots = self.config.paths.roots();
        // Execs are wanted with any kind of process event: the process cache lives on them.
        let process = self.config.wants(Concern::Process);
        let wanted = |kind: &EventKind| {
            self.config.kinds.contains(kind) || (process && *kind == EventKind::Exec)
        };
        let kinds: Vec<EventKind> = self.kinds.iter().copied().filter(wanted).collect();
        let SourceConfig { file_access, unix_sockets, own_pid, .. } = self.config;
        move |key| {
            let archs = Arch::of_host();
            let (kinds, roots) = (kinds.as_slice(), roots.as_slice());
            wishes(&Want { kinds, roots, file_access, unix_sockets, own_pid, archs, key })
        }
    }

    pub(super) fn reconfigure(&mut self, config: SourceConfig) -> Result<(), StartError> {
        let before = std::mem::replace(&mut self.config, config);
        let rules = self.rules();
        let Some(hold) = &mut self.hold else { return Ok(()) };
        if let Err(error) = hold.place(&mut self.control, rules) {
            self.config = before;
            return Err(failed("changing its rules", &error));
        }
        self.show_rules();
        Ok(())
    }

    pub(super) fn note(&self, what: &str) {
        log::warn!("audit: {what}");
        self.state.lock().last_error = what.to_owned();
    }
}
