//! Which source for which events: the ladder, from facts and from what the operator wishes.
//!
//! Pure. [`decide`] gives the rungs, best first; a rung that is not to be tried carries the reason.
//! Whoever runs the sources tries them in this order for each kind of event, takes the first that
//! starts, and shows the reasons of those above. Kernels on which BPF does harm are in [`quirks`].

use crate::audit::facts::{Refusal, Verdict};
use crate::event::{EventKind, SourceKind};
use crate::host::{Host, rules};
use crate::source::StartError;

pub mod quirks;
#[cfg(test)]
mod tests;

use quirks::Surroundings;

/// What the operator wishes (`--source`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wish {
    /// The best there is, for each kind of event.
    #[default]
    Auto,
    /// BPF and nothing in its place.
    Bpf,
    /// Audit, without BPF.
    Audit,
    /// The process connector, without BPF and audit.
    Connector,
    /// Nothing.
    Off,
}

impl Wish {
    /// Every wish.
    pub const ALL: [Self; 5] = [Self::Auto, Self::Bpf, Self::Audit, Self::Connector, Self::Off];

    /// The word on the command line and in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Bpf => "bpf",
            Self::Audit => "audit",
            Self::Connector => "connector",
            Self::Off => "off",
        }
    }
}

/// What is known of the host.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The kernel, and what we may do.
    pub host: &'a Host,
    /// What else runs on it that BPF is known to get along with badly.
    pub surroundings: &'a Surroundings,
    /// How audit can be used ([`AuditSource::verdict`](crate::audit::AuditSource::verdict)).
    pub audit: &'a Result<Verdict, Refusal>,
    /// BPF is to be used in spite of [`quirks`] (`--ignore-kernel-quirks`).
    pub ignore_quirks: bool,
}

/// One source, at its place in the ladder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    /// Which.
    pub source: SourceKind,
    /// The kinds it is wanted for here.
    pub serves: &'static [EventKind],
    /// Why it is not to be tried. `None`: it is.
    pub refused: Option<StartError>,
}

/// File events need no BPF where fanotify is to be had, so it comes before every wish's source.
const FILE: &[EventKind] = &[EventKind::File];

/// The rungs, best first. A source that a wish leaves out has no rung.
pub fn decide(facts: &Facts<'_>, wish: Wish) -> Vec<Rung> {
    let ladder: &[SourceKind] = match wish {
        Wish::Auto => {
            &[SourceKind::Fanotify, SourceKind::Bpf, SourceKind::Audit, SourceKind::Connector]
        }
        Wish::Bpf => &[SourceKind::Fanotify, SourceKind::Bpf],
        Wish::Audit => &[SourceKind::Fanotify, SourceKind::Audit, SourceKind::Connector],
        Wish::Connector => &[SourceKind::Fanotify, SourceKind::Connector],
        Wish::Off => &[],
    };
    ladder.iter().map(|&source| rung(facts, source)).collect()
}

fn rung(facts: &Facts<'_>, source: SourceKind) -> Rung {
    let (serves, refused) = match source {
        SourceKind::Bpf => (&EventKind::ALL[..], bpf(facts)),
        SourceKind::Audit => (&EventKind::ALL[..], audit(facts)),
        SourceKind::Connector => {
            (&crate::connector::KINDS[..], obstacle(source, rules::connector(facts.host)))
        }
        SourceKind::Fanotify => (FILE, obstacle(source, rules::fanotify(facts.host))),
        SourceKind::Proc => (&[][..], None),
    };
    Rung { source, serves, refused }
}

fn bpf(facts: &Facts<'_>) -> Option<StartError> {
    let quirk = quirks::find(&facts.host.kernel_release, facts.surroundings);
    if let Some(quirk) = quirk.filter(|_| !facts.ignore_quirks) {
        return Some(StartError {
            source_kind: SourceKind::Bpf,
            what: format!("kernel {}", facts.host.kernel_release),
            why: format!("{} ({})", quirk.what, quirk.source),
            remedy: format!("{}, or --ignore-kernel-quirks", quirk.remedy),
        });
    }
    obstacle(SourceKind::Bpf, rules::bpf(facts.host))
}

fn audit(facts: &Facts<'_>) -> Option<StartError> {
    let Refusal { why, remedy } = facts.audit.as_ref().err()?.clone();
    let what = "using the audit subsystem".to_owned();
    Some(StartError { source_kind: SourceKind::Audit, what, why, remedy })
}

fn obstacle(source_kind: SourceKind, obstacle: Option<rules::Obstacle>) -> Option<StartError> {
    let obstacle = obstacle?;
    Some(StartError {
        source_kind,
        what: "starting".to_owned(),
        why: obstacle.why(),
        remedy: obstacle.remedy().to_owned(),
    })
}
