//! Everything that knows the kernel and nothing of SQL.
//!
//! Each [`Source`](source::Source) turns what one kernel facility reports (BPF programs, the audit
//! subsystem, the process connector, fanotify) into the same [`RawEvent`](event::RawEvent)s and
//! hands them to a [`Sink`](source::Sink). Nothing behind the sink asks which facility it was,
//! except to fill the `source` column.

pub mod admin;
pub mod audit;
pub mod bpf;
pub mod choice;
pub mod clock;
pub mod connector;
pub mod decode;
pub mod event;
pub mod fanotify;
pub mod host;
pub mod netlink;
pub mod priority;
pub mod proc;
pub mod source;
#[cfg(test)]
mod testkit;
pub mod wire;
pub mod worker;
