//! The audit subsystem as a source.

pub mod args;
pub mod assemble;
pub mod calls;
pub mod decode;
pub mod files;
pub mod gaps;
pub mod group;
pub mod record;
pub mod sockaddr;

#[cfg(test)]
mod corpus;
