//! The order in which sources are tried, for a choice of the operator's.

use std::sync::Arc;

use osquery_ebpf_probes::bpf::BpfSource;
use osquery_ebpf_probes::event::{EventKind, SourceKind};
use osquery_ebpf_probes::fanotify::Fanotify;
use osquery_ebpf_probes::host::{Host, rules};
use osquery_ebpf_probes::source::StartError;

use crate::config::{Settings, SourceChoice};
use crate::supervisor::Candidate;

const FILE: &[EventKind] = &[EventKind::File];
const ALL: &[EventKind] = &EventKind::ALL;

/// The candidates, best first.
pub fn ladder(host: &Arc<Host>, settings: &Settings) -> Vec<Candidate> {
    let choice = settings.source.unwrap_or(SourceChoice::Auto);
    let mut candidates = Vec::new();
    if choice == SourceChoice::Off {
        return candidates;
    }
    candidates.push(fanotify(host));
    if matches!(choice, SourceChoice::Auto | SourceChoice::Bpf) {
        candidates.push(bpf(host));
    }
    candidates
}

/// A rule's verdict as a refusal to start.
fn obstacle(kind: SourceKind, obstacle: Option<rules::Obstacle>) -> Result<(), StartError> {
    match obstacle {
        None => Ok(()),
        Some(obstacle) => Err(StartError {
            source_kind: kind,
            what: "start".to_owned(),
            why: obstacle.why(),
            remedy: obstacle.remedy().to_owned(),
        }),
    }
}

fn bpf(host: &Arc<Host>) -> Candidate {
    let host = Arc::clone(host);
    Candidate {
        kind: SourceKind::Bpf,
        serves: ALL,
        make: Arc::new(move || {
            obstacle(SourceKind::Bpf, rules::bpf(&host))?;
            Ok(Box::new(BpfSource::new()?))
        }),
    }
}

fn fanotify(host: &Arc<Host>) -> Candidate {
    let host = Arc::clone(host);
    Candidate {
        kind: SourceKind::Fanotify,
        serves: FILE,
        make: Arc::new(move || {
            obstacle(SourceKind::Fanotify, rules::fanotify(&host))?;
            Ok(Box::new(Fanotify::new()))
        }),
    }
}
