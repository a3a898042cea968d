//! `osquery-ebpf`: flags, configuration, sources, stores and the osquery session wired together.

pub mod caller;
pub mod host;
pub mod manager;
pub mod once;
pub mod plugin;
pub mod server;
pub mod session;
pub mod stop;
pub mod thrift;
pub mod wire;

#[cfg(test)]
mod testing;
