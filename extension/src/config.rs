//! What an operator can set: the same words as flags and as keys of osquery's configuration.
//!
//! [`Settings`] holds what was given, and nothing else; flags win over the configuration, and what
//! neither gives is the default of whatever it is for. The section `ebpf_events` is read leniently:
//! what is wrong in it is reported by name, and the rest applies.

mod document;
mod poller;
mod section;
mod settings;
mod value;

pub use document::{Document, merge};
pub use poller::Poller;
pub use section::{Problem, SECTION, read as read_section};
pub use settings::{Ipv6, Settings, SourceChoice, TierChoice};
pub use value::{Age, Size};

#[cfg(test)]
mod tests;
