//! What the audit subsystem is like before we touch it, and what that means for us.
//!
//! Reading and judging are apart: [`Facts::read`] asks the kernel, [`Facts::judge`] is pure.

use std::io;

use crate::event::EventKind;
use crate::host::{Host, rules as host_rules};
use crate::proc;

use super::calls::{Arch, Call};
use super::control::Control;
use super::rule::{ALWAYS, NEVER, Rule, list};
use super::status::{FAIL_PANIC, IMMUTABLE, OFF, Status};

/// Where the kernel shows what it was booted with.
const CMDLINE: &str = "/proc/cmdline";

/// The audit subsystem as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What it is set to.
    pub status: Status,
    /// The name of the process that records are sent to, if there is one that lives.
    pub daemon: Option<String>,
    /// All rules.
    pub rules: Vec<Rule>,
}

/// Why audit cannot be used, and what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in StartError")]
pub struct Refusal {
    pub why: String,
    pub remedy: String,
}

/// In what way audit can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Rules of ours make it record what we want. What others' rules take away from it, in words.
    Writing(String),
    /// We only read what rules of others make it record; and why.
    Reading(String),
}

impl Facts {
    /// Asks the kernel.
    ///
    /// # Errors
    /// [`Refusal`]: we may not even ask.
    pub fn read(host: &Host) -> Result<Self, Refusal> {
        if let Some(obstacle) = host_rules::audit(host, true) {
            return Err(Refusal { why: obstacle.why(), remedy: obstacle.remedy().to_owned() });
        }
        let mut control = Control::open().map_err(|error| {
            let cmdline = std::fs::read_to_string(CMDLINE).unwrap_or_default();
            not_there(&error, &cmdline)
        })?;
        Self::ask(&mut control).map_err(|error| refused(&error))
    }

    /// The same over a socket that is open.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn ask(control: &mut Control) -> io::Result<Self> {
        let status = control.status()?;
        let daemon = proc::read(status.pid).filter(|_| status.pid != 0);
        let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Self {
            status,
            daemon: daemon.map(|daemon| name(daemon.comm.as_deref().unwrap_or(b"?"))),
            rules: control.rules()?,
        })
    }

    /// What follows.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn judge(&self) -> Result<Verdict, Refusal> {
        let refusal =
            |why: &str, remedy: &str| Err(Refusal { why: why.into(), remedy: remedy.into() });
        if self.rules.iter().any(|rule| rule.list == list::TASK && rule.action == NEVER) {
            return refusal(
                "a rule of somebody else (never,task) keeps the kernel from recording any system call",
                "remove `-a never,task` from /etc/audit/rules.d and reboot, since processes keep what \
                 they were started with",
            );
        }
        if self.status.enabled == OFF && self.daemon.is_some() {
            return refusal(
                "an audit daemon runs with recording switched off (enabled 0)",
                "switch it on with `auditctl -e 1`",
            );
        }
        if self.status.enabled == IMMUTABLE {
            return Ok(Verdict::Reading(
                "audit is immutable (enabled 2): its rules can be changed only by a reboot".into(),
            ));
        }
        if self.status.failure == FAIL_PANIC {
            return Ok(Verdict::Reading(
                "a lost record would halt the host (auditctl -f 2), so no rules are added".into(),
            ));
        }
        Ok(Verdict::Writing(self.taken_away()))
    }

    /// Rules of others that keep records from us, in words.
    fn taken_away(&self) -> String {
        let never = self.rules.iter().filter(|rule| rule.action == NEVER);
        let (mut exit, mut exclude) = (0_u32, 0_u32);
        for rule in never {
            match rule.list {
                list::EXIT => exit = exit.saturating_add(1),
                list::EXCLUDE => exclude = exclude.saturating_add(1),
                _ => {}
            }
        }
        // The exclude list says what is left out, whatever its action.
        let always = |rule: &&Rule| rule.list == list::EXCLUDE && rule.action == ALWAYS;
        let excluded = self.rules.iter().filter(always).count();
        let exclude = usize::try_from(exclude).unwrap_or(usize::MAX).saturating_add(excluded);
        match (exit, exclude) {
            (0, 0) => String::new(),
            _ => format!(
                "{exit} rules of others (never,exit) and {exclude} (exclude) leave some records out"
            ),
        }
    }

    /// What rules of others record of a kind. `None`: nothing. Otherwise how many rules there are,
    /// and whether one of them records all of it.
    pub fn fed(&self, kind: EventKind, arch: Arch) -> Option<(usize, bool)> {
        let calls = calls_of(kind);
        let numbers: Vec<u16> = calls.iter().flat_map(|call| call.numbers(arch)).collect();
        let covering: Vec<&Rule> = self
            .rules
            .iter()
            .filter(|rule| rule.list == list::EXIT && rule.action == ALWAYS)
            .filter(|rule| numbers.iter().any(|&number| rule.covers(arch, number)))
            .collect();
        let whole = |rule: &&Rule| {
            rule.narrowing().next().is_none()
                && numbers.iter().all(|&number| rule.covers(arch, number))
        };
        let whole = covering.iter().any(whole);
        (!covering.is_empty()).then_some((covering.len(), whole))
    }
}

/// The calls that make a kind, enough of them to know a rule by.
const fn calls_of(kind: EventKind) -> &'static [Call] {
    match kind {
        EventKind::Exec => &[Call::Execve, Call::Execveat],
        EventKind::Setid => &[Call::Setuid, Call::Setresuid, Call::Setgid, Call::Setresgid],
        EventKind::Namespace => &[Call::Unshare, Call::Setns],
        EventKind::Socket => &[Call::Connect, Call::Bind, Call::Accept4],
        EventKind::File => &[Call::Openat, Call::Unlinkat, Call::Renameat2],
        EventKind::Fork | EventKind::Exit => &[],
    }
}

/// What a kernel that does not let us ask means by it.
pub fn refused(error: &io::Error) -> Refusal {
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "run as root of the host, or grant CAP_AUDIT_CONTROL",
        Some(libc::EPROTONOSUPPORT) => "a kernel with CONFIG_AUDITSYSCALL is needed",
        Some(libc::ECONNREFUSED) => "run it on the host, not in a user namespace",
        _ => "see `auditctl -s`",
    };
    Refusal { why: format!("asking over NETLINK_AUDIT: {error}"), remedy: remedy.to_owned() }
}

/// Why there is no such socket. A kernel booted with `audit=0` never makes its side of it
/// (`audit_init` in `kernel/audit.c`), as if it had been built without.
fn not_there(error: &io::Error, cmdline: &str) -> Refusal {
    if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) && booted_off(cmdline) {
        return Refusal {
            why: "the kernel was booted with audit=0 and records nothing".into(),
            remedy: "boot with audit=1".into(),
        };
    }
    refused(error)
}

/// The kernel takes `0` and `off`; the last one counts.
fn booted_off(cmdline: &str) -> bool {
    let value = cmdline.split_ascii_whitespace().rev().find_map(|word| word.strip_prefix("audit="));
    matches!(value, Some("0" | "off"))
}

#[cfg(test)]
mod tests;
