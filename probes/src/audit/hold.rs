//! Our hold on the audit subsystem: our rules in it, its settings while records go to us, and giving
//! all of it back.
//!
//! What is to be set and put back is decided in `tenure.rs`; here it is done.

use std::io;

use crate::connector::fill::Stat;
use crate::event::{EventKind, ProcessKey, SourceKind};
use crate::source::StartError;

use super::control::Control;
use super::rule::{KEY, Rule, list};
use super::status::{ON, Status, mask};
use super::tenure::Found;
use super::wishes::{KEYS, Wish};

/// A rule that could not be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What it was for.
    pub kind: EventKind,
    /// What the kernel said.
    pub why: String,
}

/// What we have changed.
#[derive(Debug)]
pub struct Hold {
    found: Found,
    /// Our rules that are in place. Some may have been put there by another of us.
    placed: Vec<(EventKind, Rule)>,
    refused: Vec<Refused>,
    /// Which of [`KEYS`] our rules have.
    turn: usize,
}

impl Hold {
    /// Puts back what one of us left behind that is gone, then says who we are and what we found.
    ///
    /// # Errors
    /// What the kernel answered, and to what.
    pub fn take(control: &mut Control) -> Result<Self, StartError> {
        let own_pid = std::process::id();
        let rules = control.rules().map_err(|error| failed("listing its rules", &error))?;
        let markers: Vec<Found> = rules.iter().filter_map(Found::parse).collect();
        let another = markers.iter().any(|found| lives(found.owner) && found.owner.pid != own_pid);
        if !another {
            clear(control, &rules, &markers)
                .map_err(|error| failed("clearing old rules", &error))?;
        }
        let status = control.status().map_err(|error| failed("asking its status", &error))?;
        let start_ns = Stat::read(own_pid, u64::MAX).map_or(0, |stat| stat.start_ns);
        let found = Found::new(&status, ProcessKey { pid: own_pid, start_ns });
        control.add(&found.marker()).map_err(|error| failed("adding a rule", &error))?;
        Ok(Self { found, placed: Vec::new(), refused: Vec::new(), turn: 0 })
    }

    /// Switches recording on.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn switch_on(&self, control: &mut Control) -> io::Result<()> {
        let status = control.status()?;
        if status.enabled >= ON {
            return Ok(());
        }
        control.set(&Status { enabled: ON, ..status }, mask::ENABLED)
    }

    /// Makes the rules in the kernel those that are wished for, given the key they are to have, as
    /// far as it takes them. Rules that somebody removed are added again, and rules that somebody
    /// put others behind go behind those. How many were added.
    ///
    /// # Errors
    /// The rules cannot be listed.
    pub fn place(
        &mut self,
        control: &mut Control,
        wishes: impl Fn(&str) -> Vec<Wish>,
    ) -> io::Result<usize> {
        let rules = control.rules()?;
        if self.is_overtaken(&rules) {
            self.turn = self.turn.wrapping_add(1);
        }
        let wishes = wishes(KEYS.get(self.turn % KEYS.len()).copied().unwrap_or(KEY));
        self.refused.clear();
        let mut placed = Vec::with_capacity(wishes.len());
        let mut added = 0_usize;
        let marker = self.found.marker();
        if !rules.contains(&marker) {
            control.add(&marker)?;
            added = added.saturating_add(1);
        }
        for wish in &wishes {
            let forms = || std::iter::once(&wish.rule).chain(&wish.simpler);
            if let Some(rule) = forms().find(|rule| rules.contains(rule)) {
                placed.push((wish.kind, rule.clone()));
                continue;
            }
            match add_either(control, forms()) {
                Ok((rule, is_new)) => {
                    added = added.saturating_add(usize::from(is_new));
                    placed.push((wish.kind, rule.clone()));
                }
                Err(error) => {
                    let why = format!("adding the rule {}: {error}", wish.rule.describe());
                    self.refused.push(Refused { kind: wish.kind, why });
                }
            }
        }
        placed.dedup();
        let old = std::mem::replace(&mut self.placed, placed);
        for (_, rule) in old {
            if !self.placed.iter().any(|(_, kept)| *kept == rule) {
                control.delete(&rule)?;
            }
        }
        Ok(added)
    }

    /// Whether a rule of somebody else, which has to come first, stands behind one of ours.
    fn is_overtaken(&self, rules: &[Rule]) -> bool {
        let is_placed = |rule: &Rule| self.placed.iter().any(|(_, placed)| placed == rule);
        let mut rules = rules.iter().filter(|rule| rule.list == list::EXIT);
        rules.by_ref().any(is_placed) && rules.any(|rule| !rule.is_ours())
    }

    /// Sets the limits for records to be sent to us and nobody to wait for us.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn set_limits(&self, control: &mut Control) -> io::Result<()> {
        let now = control.status()?;
        let (wanted, mask) = self.found.ours(&now);
        if mask == 0 { Ok(()) } else { control.set(&wanted, mask) }
    }

    /// Puts the limits back, for somebody else that gets the records from now on.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn put_limits_back(&self, control: &mut Control) -> io::Result<()> {
        let now = control.status()?;
        let (wanted, mask) = self.found.limits_back(&now);
        if mask == 0 { Ok(()) } else { control.set(&wanted, mask) }
    }

    /// Takes our rules out, so that nothing more is recorded for us.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn remove_rules(&mut self, control: &mut Control) -> io::Result<()> {
        for (_, rule) in std::mem::take(&mut self.placed) {
            control.delete(&rule)?;
        }
        Ok(())
    }

    /// Puts everything back; the last thing to be done. Records may still be sent to us.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn leave(&mut self, control: &mut Control) -> io::Result<()> {
        self.remove_rules(control)?;
        let now = control.status()?;
        let daemon = now.pid != 0 && now.pid != self.found.owner.pid;
        let (wanted, mask) = self.found.all_back(&now, daemon);
        if mask != 0 {
            control.set(&wanted, mask)?;
        }
        control.delete(&self.found.marker())?;
        Ok(())
    }

    /// Rules in place for a kind.
    pub fn placed(&self, kind: EventKind) -> usize {
        self.placed.iter().filter(|(of, _)| *of == kind).count()
    }

    /// Rules the kernel refused.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }
}

/// Puts back what those of us that are gone had found, and removes their rules.
fn clear(control: &mut Control, rules: &[Rule], markers: &[Found]) -> io::Result<()> {
    for rule in rules.iter().filter(|rule| rule.is_ours() && Found::parse(rule).is_none()) {
        control.delete(rule)?;
    }
    for found in markers {
        let now = control.status()?;
        let daemon = now.pid != 0 && now.pid != found.owner.pid && process_lives(now.pid);
        let (wanted, mask) = found.all_back(&now, daemon);
        log::info!("audit: putting back what pid {} had changed before it ended", found.owner.pid);
        if mask != 0 {
            control.set(&wanted, mask)?;
        }
        control.delete(&found.marker())?;
    }
    Ok(())
}

fn add_either<'a>(
    control: &mut Control,
    forms: impl Iterator<Item = &'a Rule>,
) -> io::Result<(&'a Rule, bool)> {
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for rule in forms {
        match control.add(rule) {
            Ok(is_new) => return Ok((rule, is_new)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

fn lives(owner: ProcessKey) -> bool {
    Stat::read(owner.pid, u64::MAX)
        .is_some_and(|stat| !stat.zombie && stat.start_ns == owner.start_ns)
}

/// Whether there is such a process.
pub fn process_lives(pid: u32) -> bool {
    Stat::read(pid, u64::MAX).is_some_and(|stat| !stat.zombie)
}

/// An error of starting.
pub fn failed(what: &str, error: &io::Error) -> StartError {
    let refusal = super::facts::refused(error);
    StartError {
        source_kind: SourceKind::Audit,
        what: what.to_owned(),
        why: error.to_string(),
        remedy: refusal.remedy,
    }
}
