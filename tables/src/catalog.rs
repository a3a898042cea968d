//! The tables: their columns, what these mean and where each value comes from.

use crate::schema::Table;

mod exit;
mod file;
mod health;
mod process;
mod process_file;
mod socket;
#[cfg(test)]
mod tests;

pub use exit::EXITS;
pub use file::FILES;
pub use health::{HEALTH, STATISTICS};
pub use process::PROCESSES;
pub use process_file::PROCESS_FILES;
pub use socket::SOCKETS;

/// Every table, in the order they are registered in.
pub static TABLES: [&Table; 7] = [
    PROCESSES.table,
    EXITS.table,
    SOCKETS.table,
    FILES.table,
    PROCESS_FILES.table,
    &HEALTH,
    &STATISTICS,
];
