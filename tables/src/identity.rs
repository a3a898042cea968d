//! The id of a process that no other process on any host has had: the `process_id` columns.
//!
//! It is the first 16 hexadecimal digits of the SHA-256 of the text `BOOT_ID:PID:START`, where
//! START is field 22 of `/proc/PID/stat` (clock ticks since boot), so that anyone can compute it:
//! `printf '%s:%s:%s' "$boot_id" "$pid" "$start" | sha256sum | cut -c1-16`.

use std::fmt::Write as _;

use osquery_ebpf_probes::clock::BootId;
use osquery_ebpf_probes::event::ProcessKey;
use sha2::{Digest, Sha256};

#[cfg(test)]
mod tests;

/// A process id that survives pid reuse and reboots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub u64);

/// Computes [`ProcessId`]s of one boot.
#[derive(Debug, Clone)]
pub struct Identity {
    boot: Sha256,
}

impl Identity {
    /// For the processes of this boot.
    pub fn new(boot: BootId) -> Self {
        let hex = format!("{:032x}", boot.0);
        let mut text = String::with_capacity(37);
        for (index, digit) in hex.chars().enumerate() {
            if matches!(index, 8 | 12 | 16 | 20) {
                text.push('-');
            }
            text.push(digit);
        }
        Self { boot: Sha256::new_with_prefix(text) }
    }

    /// The id of one process.
    pub fn process(&self, key: ProcessKey) -> ProcessId {
        let mut buffer = itoa::Buffer::new();
        let mut hash = self.boot.clone();
        hash.update(b":");
        hash.update(buffer.format(key.pid));
        hash.update(b":");
        hash.update(buffer.format(key.ticks()));
        let digest = hash.finalize();
        ProcessId(digest.iter().take(8).fold(0, |id, &byte| id << 8 | u64::from(byte)))
    }
}

impl ProcessId {
    /// Appends its text form.
    pub fn push(self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = write!(out, "{:016x}", self.0);
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (text.len() == 16 && digits).then(|| u64::from_str_radix(text, 16).ok().map(Self))?
    }
}
