//! The settings, and their flags.

use osquery_ebpf_probes::event::{Concern, EventKind};

use super::value::{
    Age, Size, age, concern, count, memory, network, pattern, period, process_event, ring, uid,
    variable, yes,
};

/// Where events may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SourceChoice {
    /// BPF where the kernel takes it, else audit, else the process connector; files by fanotify.
    Auto,
    /// BPF, and fanotify for files; nothing else in its place.
    Bpf,
    /// The audit subsystem, and fanotify for files; no BPF.
    Audit,
    /// The process connector, and fanotify for files; neither BPF nor audit.
    Connector,
    /// Nothing: tables answer, empty.
    Off,
}

/// By which hooks BPF obtains events, where there is a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TierChoice {
    /// The best that the kernel takes.
    Auto,
    /// The kernel's own functions (fentry), nothing in their place.
    #[value(name = "1")]
    One,
    /// Tracepoints of the system calls.
    #[value(name = "2")]
    Two,
}

/// How IPv6 addresses are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Ipv6 {
    /// As RFC 5952 has it: 2001:db8::1.
    Rfc5952,
    /// As osquery's own tables print it: all eight groups in full.
    Core,
}

/// What was set. `None`: not set.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Events")]
pub struct Settings {
    /// Where events come from; `audit` and `connector` turn BPF off
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<SourceChoice>,
    /// How BPF sees socket calls: by the kernel's functions (1), by tracepoints of the system calls
    /// (2), or by the better of the two that the kernel takes [default: auto]
    #[arg(long, value_name = "TIER")]
    pub tier: Option<TierChoice>,
    /// Load BPF even on kernels known to hang or panic with it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = yes)]
    pub ignore_kernel_quirks: Option<bool>,
    /// What is collected: process, socket, file [default: all]; process always is, since every row
    /// names one
    #[arg(long, value_name = "CONCERNS", value_delimiter = ',', value_parser = concern)]
    pub collect: Option<Vec<Concern>>,
    /// What has rows in process events: exec, fork, setid, namespace [default: exec]
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = process_event)]
    pub process_events: Option<Vec<EventKind>>,
    /// Also report unix sockets
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = yes)]
    pub unix_sockets: Option<bool>,
    /// Also report the first datagram of each unconnected socket to each peer, as a connect; in tier 2,
    /// of the many that one sendmmsg sends, the first only
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
          value_parser = yes)]
    pub datagram_peers: Option<bool>,
    /// Also report opens and reads of watched files
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = yes)]
    pub file_access: Option<bool>,
    /// Environment variables to keep; * at the end stands for anything
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = variable)]
    pub env_allow: Option<Vec<String>>,
    /// How IPv6 addresses are written [default: rfc5952]
    #[arg(long, value_name = "FORMAT")]
    pub ipv6_format: Option<Ipv6>,
    /// Compute hashes of files when a query names them [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = yes)]
    pub hashes: Option<bool>,
    /// Leave out what is done to, or by, these files (patterns with % and %%)
    #[arg(long, value_name = "PATHS", value_delimiter = ',', value_parser = pattern)]
    pub exclude_files: Option<Vec<String>>,
    /// Leave out whatever these executables do (patterns with % and %%)
    #[arg(long, value_name = "PATHS", value_delimiter = ',', value_parser = pattern)]
    pub exclude_processes: Option<Vec<String>>,
    /// Leave out whatever these users do
    #[arg(long, value_name = "UIDS", value_delimiter = ',', value_parser = uid)]
    pub exclude_uids: Option<Vec<u32>>,
    /// Leave out sockets with these peers
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',', value_parser = network)]
    pub exclude_addresses: Option<Vec<String>>,

    /// Events each table keeps at most [default: 50000]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Bounds")]
    pub max_events: Option<usize>,
    /// Bytes each table keeps at most [default: 16M for processes, 12M for the others]
    #[arg(long, value_name = "SIZE", value_parser = memory, help_heading = "Bounds")]
    pub max_bytes: Option<Size>,
    /// Age at which events go [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = period, help_heading = "Bounds")]
    pub max_age: Option<Age>,
    /// Ring between kernel and us for process events [default: 2M for each CPU, 4M to 64M]
    #[arg(long, value_name = "SIZE", value_parser = ring, help_heading = "Bounds")]
    pub ring_process: Option<Size>,
    /// The same for socket events [default: 1M for each CPU, 4M to 32M]
    #[arg(long, value_name = "SIZE", value_parser = ring, help_heading = "Bounds")]
    pub ring_socket: Option<Size>,
    /// The same for file events [default: 8M]
    #[arg(long, value_name = "SIZE", value_parser = ring, help_heading = "Bounds")]
    pub ring_file: Option<Size>,

    /// How long to go on without osqueryd; 0: stop at once [default: 60s, for ever with `serve`]
    #[arg(long, value_name = "TIME", value_parser = age, help_heading = "osqueryd")]
    pub grace: Option<Age>,
    /// How often osqueryd's configuration is asked for [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = period, help_heading = "osqueryd")]
    pub refresh: Option<Age>,
}

impl Settings {
    /// These settings, and where they are silent those of `lower`.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        Self {
            source: self.source.or(lower.source),
            tier: self.tier.or(lower.tier),
            ignore_kernel_quirks: self.ignore_kernel_quirks.or(lower.ignore_kernel_quirks),
            collect: self.collect.or(lower.collect),
            process_events: self.process_events.or(lower.process_events),
            unix_sockets: self.unix_sockets.or(lower.unix_sockets),
            datagram_peers: self.datagram_peers.or(lower.datagram_peers),
            file_access: self.file_access.or(lower.file_access),
            env_allow: self.env_allow.or(lower.env_allow),
            ipv6_format: self.ipv6_format.or(lower.ipv6_format),
            hashes: self.hashes.or(lower.hashes),
            exclude_files: self.exclude_files.or(lower.exclude_files),
            exclude_processes: self.exclude_processes.or(lower.exclude_processes),
            exclude_uids: self.exclude_uids.or(lower.exclude_uids),
            exclude_addresses: self.exclude_addresses.or(lower.exclude_addresses),
            max_events: self.max_events.or(lower.max_events),
            max_bytes: self.max_bytes.or(lower.max_bytes),
            max_age: self.max_age.or(lower.max_age),
            ring_process: self.ring_process.or(lower.ring_process),
            ring_socket: self.ring_socket.or(lower.ring_socket),
            ring_file: self.ring_file.or(lower.ring_file),
            grace: self.grace.or(lower.grace),
            refresh: self.refresh.or(lower.refresh),
        }
    }
}
