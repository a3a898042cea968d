//! `osquery-ebpf`: the program. What it does is in the library; here the real engine and sources
//! are put in.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use osquery_ebpf::app;
use osquery_ebpf::cli::Common;
use osquery_ebpf::engine::EventEngine;
use osquery_ebpf::ladder::ladder;
use osquery_ebpf::runtime::{Engine, Ladder};
use osquery_ebpf_probes::host::Host;

fn main() -> ExitCode {
    app::run(std::env::args_os(), make)
}

fn make(common: &Common) -> Result<(Arc<dyn Engine>, Ladder)> {
    let host = Arc::new(Host::read());
    let engine = EventEngine::new(&host, &common.settings)?;
    Ok((Arc::new(engine), Box::new(move |settings| ladder(&host, settings))))
}
