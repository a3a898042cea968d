//! `struct audit_status`: what the audit subsystem is set to.

/// Bits of `mask`: which values of a request count.
pub mod mask {
    #![expect(missing_docs, reason = "named as the values")]
    pub const ENABLED: u32 = 1;
    pub const PID: u32 = 4;
    pub const RATE_LIMIT: u32 = 8;
    pub const BACKLOG_LIMIT: u32 = 0x10;
    pub const BACKLOG_WAIT_TIME: u32 = 0x20;
}

/// Recording is off.
pub const OFF: u32 = 0;
/// Recording is on.
pub const ON: u32 = 1;
/// Recording is on and nothing can be changed before the next boot.
pub const IMMUTABLE: u32 = 2;

/// The kernel panics when a record is lost (`AUDIT_FAIL_PANIC`).
pub const FAIL_PANIC: u32 = 2;

/// The values, named as in `include/uapi/linux/audit.h`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// [`OFF`], [`ON`] or [`IMMUTABLE`].
    pub enabled: u32,
    /// What the kernel does when it loses a record: 0 nothing, 1 print, [`FAIL_PANIC`].
    pub failure: u32,
    /// The process records are sent to. 0: none.
    pub pid: u32,
    /// Records a second. 0: any number.
    pub rate_limit: u32,
    /// Records that may wait in the kernel.
    pub backlog_limit: u32,
    /// Records lost since boot.
    pub lost: u32,
    /// Records that wait now.
    pub backlog: u32,
    /// How long a process that makes a record waits for room, in clock ticks (1/100 s from
    /// user space's view). `None`: a kernel before 3.14.
    pub backlog_wait_time: Option<u32>,
}

impl Status {
    /// Reads an answer. `None`: it is shorter than the oldest kernel's.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let word = |index: usize| {
            let bytes = payload.get(index.checked_mul(4)?..)?.first_chunk()?;
            Some(u32::from_ne_bytes(*bytes))
        };
        Some(Self {
            enabled: word(1)?,
            failure: word(2)?,
            pid: word(3)?,
            rate_limit: word(4)?,
            backlog_limit: word(5)?,
            lost: word(6)?,
            backlog: word(7)?,
            backlog_wait_time: word(9),
        })
    }

    /// Writes a request that sets the values of `mask`.
    pub fn request(&self, mask: u32) -> Vec<u8> {
        let wait = self.backlog_wait_time.unwrap_or(0);
        let words = [
            mask,
            self.enabled,
            self.failure,
            self.pid,
            self.rate_limit,
            self.backlog_limit,
            0,
            0,
            0,
            wait,
        ];
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }
}
