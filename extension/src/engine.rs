//! Settings as the tables' engine understands them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use osquery_ebpf_probes::clock::BootId;
use osquery_ebpf_probes::event::RawEvent;
use osquery_ebpf_probes::host::{BTF_PATH, Host};
use osquery_ebpf_probes::source::{Exclusions, PathFilter, Sink};
use osquery_ebpf_tables::options::{Network, Options};
use osquery_ebpf_tables::scan::{Request, Scan, ScanError, Tables};
use osquery_ebpf_tables::schema::Table;
use osquery_ebpf_tables::status::StatusProvider;
use osquery_ebpf_tables::watch::WatchConfig;
use osquery_ebpf_tables::{EventTables, HostFacts, Ipv6Format, Limits};
use serde_json::Value;

use crate::config::{Ipv6, Settings};
use crate::runtime::Engine;
use crate::stop::Stop;

/// The engine of `osquery-ebpf-tables`.
pub struct EventEngine(Arc<EventTables>);

impl EventEngine {
    /// Empty tables of this host, with `settings`.
    ///
    /// # Errors
    /// The boot has no id, or a setting cannot be.
    pub fn new(host: &Host, settings: &Settings) -> Result<Self> {
        let facts = HostFacts {
            boot_id: BootId::read().context("the identity of processes needs it")?,
            kernel: host.kernel_release.clone(),
            btf: if host.kernel_btf { BTF_PATH } else { "none" }.to_owned(),
            mnt_ns: HostFacts::own_mnt_ns(),
        };
        let (options, problems) = options(settings);
        for problem in problems {
            log::warn!("{problem}");
        }
        Ok(Self(EventTables::new(options, facts)?))
    }
}

/// The engine's options, and what of the settings they cannot take.
fn options(settings: &Settings) -> (Options, Vec<String>) {
    let mut options = Options::default();
    let limit = |limits: &mut Limits| {
        if let Some(events) = settings.max_events {
            limits.events = events;
        }
        if let Some(bytes) = settings.max_bytes {
            limits.bytes = usize::try_from(bytes.0).unwrap_or(usize::MAX);
        }
        if let Some(age) = settings.max_age {
            limits.age = age.0;
        }
    };
    limit(&mut options.process);
    limit(&mut options.exits);
    limit(&mut options.sockets);
    limit(&mut options.files);
    let mut problems = Vec::new();
    let set = |to: &mut Vec<String>, from: &Option<Vec<String>>| {
        if let Some(from) = from {
            to.clone_from(from);
        }
    };
    if let Some(kinds) = &settings.process_events {
        options.process_events.clone_from(kinds);
    }
    set(&mut options.env, &settings.env_allow);
    if let Some(format) = settings.ipv6_format {
        options.ipv6 = match format {
            Ipv6::Rfc5952 => Ipv6Format::Rfc5952,
            Ipv6::Core => Ipv6Format::Core,
        };
    }
    if let Some(hashes) = settings.hashes {
        options.hashes = hashes;
    }
    set(&mut options.exclude.paths, &settings.exclude_files);
    set(&mut options.exclude.processes, &settings.exclude_processes);
    if let Some(uids) = &settings.exclude_uids {
        options.exclude.uids.clone_from(uids);
    }
    for address in settings.exclude_addresses.iter().flatten() {
        match address.parse::<Network>() {
            Ok(network) => options.exclude.addresses.push(network),
            Err(error) => problems.push(error.to_string()),
        }
    }
    (options, problems)
}

impl Engine for EventEngine {
    fn configure(&self, settings: &Settings, config: &Value) -> Vec<String> {
        let (options, mut problems) = options(settings);
        if let Err(error) = self.0.set_options(options) {
            problems.push(format!("the tables keep their old options: {error}"));
        }
        self.0.set_watch(&WatchConfig::from_json(config));
        problems
    }

    fn paths(&self) -> Arc<dyn PathFilter> {
        self.0.watch()
    }

    fn exclusions(&self) -> Exclusions {
        self.0.exclusions()
    }

    fn wants_file_access(&self) -> bool {
        self.0.wants_file_accesses()
    }

    fn set_status(&self, status: Arc<dyn StatusProvider>) {
        self.0.set_status(status);
    }

    fn seed(&self) {
        // Not within the macro: its arguments are evaluated only where the level is on.
        let seeded = self.0.seed();
        log::debug!("{seeded} processes were there before");
    }

    fn tick(&self) -> bool {
        self.0.tick()
    }

    fn rest(&self, time: Duration, stop: &Stop) {
        self.0.rest(time, &|| stop.requested());
    }

    fn wake(&self) {
        self.0.wake();
    }

    fn flush(&self, deadline: Duration) {
        self.0.flush(deadline);
    }
}

impl Sink for EventEngine {
    fn accept(&self, batch: &mut Vec<RawEvent>) {
        self.0.accept(batch);
    }
}

impl Tables for EventEngine {
    fn tables(&self) -> &[&'static Table] {
        self.0.tables()
    }

    fn scan(&self, table: &str, request: &Request) -> Result<Box<dyn Scan>, ScanError> {
        self.0.scan(table, request)
    }
}
