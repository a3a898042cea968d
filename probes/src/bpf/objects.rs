//! The objects that are built into the program, one for each concern.

use super::probe::ObjectSpec;

pub mod process;
mod socket;

/// Every object, in the order in which they are loaded.
pub static ALL: [&ObjectSpec; 2] = [&process::PROCESS, &socket::SOCKET];
