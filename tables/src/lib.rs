//! Everything that knows events and rows, and nothing of libbpf or Thrift.
//!
//! One way through: a source delivers [`RawEvent`](osquery_ebpf_probes::event::RawEvent)s to the
//! [`Sink`](osquery_ebpf_probes::source::Sink) of a [`Tables`], which enriches them from the process
//! cache and keeps them in bounded stores; a [`Scan`](scan::Scan) reads them back as rows.

mod catalog;
mod column;
mod constraint;
mod container;
mod cursor;
pub mod engine;
mod exclude;
mod glob;
mod hash;
mod identity;
pub mod options;
mod pending;
mod pool;
mod process;
mod query;
mod record;
mod remember;
mod rows;
pub mod scan;
pub mod schema;
mod segment;
mod state;
pub mod statistics;
pub mod status;
mod store;
mod text;
pub mod watch;

pub use engine::{EventTables, HostFacts};
pub use process::CacheCounts;
pub use state::Flow;
pub use store::{Counts, Limits};
pub use text::Ipv6Format;
