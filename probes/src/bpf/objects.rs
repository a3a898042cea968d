//! The objects that are built into the program, one for each concern.

use super::libbpf::Aligned;
use super::probe::ObjectSpec;

pub mod process;
mod socket;

static TRAMPOLINE_BYTES: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/trampoline.bpf.o")));

/// What tells whether the kernel takes trampolines.
pub static TRAMPOLINE: &[u8] = &TRAMPOLINE_BYTES.0;

/// Every object, in the order in which they are loaded.
pub static ALL: [&ObjectSpec; 2] = [&process::PROCESS, &socket::SOCKET];
