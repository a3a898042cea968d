//! Everything that knows events and rows, and nothing of libbpf or Thrift.
//!
//! One way through: a source delivers [`RawEvent`](osquery_ebpf_probes::event::RawEvent)s to the
//! [`Sink`](osquery_ebpf_probes::source::Sink) of a [`Tables`], which enriches them from the process
//! cache and keeps them in bounded stores; a [`Scan`](scan::Scan) reads them back as rows.

pub mod container;
pub mod cursor;
pub mod exclude;
pub mod glob;
pub mod identity;
pub mod options;
pub mod pool;
pub mod process;
pub mod record;
pub mod scan;
pub mod schema;
pub mod segment;
pub mod status;
pub mod store;
pub mod text;
pub mod watch;
