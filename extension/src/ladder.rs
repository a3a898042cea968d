//! From the rungs that `osquery-ebpf-probes` decides on to sources that can be started.

use std::sync::Arc;

use osquery_ebpf_probes::audit::AuditSource;
use osquery_ebpf_probes::bpf::BpfSource;
use osquery_ebpf_probes::choice::quirks::Surroundings;
use osquery_ebpf_probes::choice::{Facts, Rung, Wish, decide};
use osquery_ebpf_probes::connector::ConnectorSource;
use osquery_ebpf_probes::event::SourceKind;
use osquery_ebpf_probes::fanotify::Fanotify;
use osquery_ebpf_probes::host::Host;
use osquery_ebpf_probes::source::{Source, StartError};

use crate::config::{Settings, SourceChoice};
use crate::supervisor::{Candidate, Make, Plan};

/// What to try for some settings.
pub fn ladder(host: &Arc<Host>, settings: &Settings) -> Plan {
    let (wish, chosen) = match settings.source.unwrap_or(SourceChoice::Auto) {
        SourceChoice::Auto => (Wish::Auto, ""),
        SourceChoice::Bpf => (Wish::Bpf, ""),
        SourceChoice::Audit => (Wish::Audit, "BPF is off, as chosen (source = audit)"),
        SourceChoice::Connector => {
            (Wish::Connector, "BPF and audit are off, as chosen (source = connector)")
        }
        SourceChoice::Off => (Wish::Off, "everything is off, as chosen (source = off)"),
    };
    let facts = Facts {
        host,
        surroundings: &Surroundings::read(),
        audit: &AuditSource::look(host).verdict(),
        ignore_quirks: settings.ignore_kernel_quirks.unwrap_or(false),
    };
    let candidates = decide(&facts, wish).into_iter().map(|rung| candidate(host, rung)).collect();
    Plan { candidates, chosen: chosen.to_owned() }
}

fn candidate(host: &Arc<Host>, rung: Rung) -> Candidate {
    let Rung { source: kind, serves, refused } = rung;
    let host = Arc::clone(host);
    let make: Make = Arc::new(move || source(kind, &host));
    Candidate { kind, serves, refused, make }
}

fn source(kind: SourceKind, host: &Host) -> Result<Box<dyn Source>, StartError> {
    Ok(match kind {
        SourceKind::Bpf => Box::new(BpfSource::new()?),
        SourceKind::Audit => Box::new(AuditSource::look(host)),
        SourceKind::Connector => Box::new(ConnectorSource),
        SourceKind::Fanotify => Box::new(Fanotify::new()),
        SourceKind::Proc => {
            return Err(StartError {
                source_kind: kind,
                what: "starting".to_owned(),
                why: "/proc reports no events".to_owned(),
                remedy: "choose another source".to_owned(),
            });
        }
    })
}
