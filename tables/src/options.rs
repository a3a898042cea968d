//! What an operator can choose about the tables, and the defaults.

use std::net::IpAddr;
use std::time::Duration;

use osquery_ebpf_probes::event::EventKind;

use crate::store::Limits;
use crate::text::Ipv6Format;

/// Events a table holds unless told otherwise: osquery's `events_max`.
pub const DEFAULT_EVENTS: usize = 50_000;

/// Age at which events go unless told otherwise: osquery's `events_expiry`.
pub const DEFAULT_AGE: Duration = Duration::from_secs(3600);

/// Bytes the process table holds unless told otherwise.
pub const DEFAULT_PROCESS_BYTES: usize = 16 << 20;

/// Bytes each other table holds unless told otherwise.
pub const DEFAULT_BYTES: usize = 12 << 20;

/// Largest file that is hashed unless told otherwise: osquery's `read_max`.
pub const DEFAULT_HASH_BYTES: u64 = 50 << 20;

/// Environment variables kept unless told otherwise. `*` at the end stands for any further letters.
pub const DEFAULT_ENV: [&str; 8] = [
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "PATH",
    "HOME",
    "SHELL",
    "SSH_CONNECTION",
    "SUDO_*",
];

/// All options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Bounds of `ebpf_process_events`.
    pub process: Limits,
    /// Bounds of `ebpf_process_exits`.
    pub exits: Limits,
    /// Bounds of `ebpf_socket_events`.
    pub sockets: Limits,
    /// Bounds of `ebpf_file_events` and `ebpf_process_file_events`, which are one store.
    pub files: Limits,
    /// Kinds with rows in `ebpf_process_events`: of exec, fork, setid, namespace.
    pub process_events: Vec<EventKind>,
    /// Names of environment variables to keep.
    pub env: Vec<String>,
    /// How IPv6 addresses are written.
    pub ipv6: Ipv6Format,
    /// Whether hashes are computed at all.
    pub hashes: bool,
    /// Largest file that is hashed, in bytes.
    pub hash_bytes: u64,
    /// What is left out.
    pub exclude: Exclusions,
}

/// Events that are left out, and counted as excluded. The process cache still learns from them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exclusions {
    /// Patterns of executed files and of changed files, with `%` and `%%`.
    pub paths: Vec<String>,
    /// Patterns of executables: nothing they do is reported.
    pub processes: Vec<String>,
    /// Real user ids.
    pub uids: Vec<u32>,
    /// Networks of peers, or for bind and listen of our own end.
    pub addresses: Vec<Network>,
}

/// Addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Default for Options {
    fn default() -> Self {
        let limits = |bytes| Limits { events: DEFAULT_EVENTS, bytes, age: DEFAULT_AGE };
        Self {
            process: limits(DEFAULT_PROCESS_BYTES),
            exits: limits(DEFAULT_BYTES),
            sockets: limits(DEFAULT_BYTES),
            files: limits(DEFAULT_BYTES),
            process_events: vec![EventKind::Exec],
            env: DEFAULT_ENV.map(str::to_owned).to_vec(),
            ipv6: Ipv6Format::Rfc5952,
            hashes: true,
            hash_bytes: DEFAULT_HASH_BYTES,
            exclude: Exclusions::default(),
        }
    }
}

/// An option that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum OptionError {
    #[error("exclusion {0:?} is not an absolute path or pattern")]
    RelativePattern(String),
    #[error("{0:?} is not an address or network such as 192.0.2.0/24")]
    Network(String),
    #[error("process_events cannot contain {0:?}: it has a table of its own")]
    ProcessEvents(&'static str),
}

impl std::str::FromStr for Network {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let wrong = || OptionError::Network(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|&bits| bits <= most).ok_or_else(wrong)?,
        };
        Ok(Self { address, bits })
    }
}

impl Network {
    /// Its address and bits, as an IPv4 network where it holds v4-mapped addresses only.
    pub fn canonical(&self) -> (IpAddr, u8) {
        let address = self.address.to_canonical();
        let mapped = self.address.is_ipv6() && address.is_ipv4();
        (address, if mapped { self.bits.saturating_sub(96) } else { self.bits })
    }

    /// Whether an address is of this network. A v4-mapped address counts as the IPv4 address it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                // "::ffff:a.b.c.d/n" has its bits counted from the front of IPv6.
                let mapped = self.address.is_ipv6();
                let bits = if mapped { self.bits.saturating_sub(96) } else { self.bits };
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}
