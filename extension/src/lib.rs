//! `osquery-ebpf`: flags, configuration, sources, stores and the osquery session wired together.

pub mod app;
pub mod caller;
pub mod cli;
pub mod config;
pub mod diagnose;
pub mod engine;
pub mod host;
pub mod ladder;
pub mod manager;
pub mod memory;
pub mod once;
pub mod plugin;
pub mod privilege;
pub mod runtime;
pub mod server;
pub mod session;
pub mod shell;
pub mod stop;
pub mod supervisor;
pub mod thrift;
pub mod wire;

#[cfg(test)]
mod testing;
