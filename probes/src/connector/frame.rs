//! One datagram of the process connector.
//!
//! Pure. The layout is that of `struct cn_msg` (`include/uapi/linux/connector.h`) and of
//! `struct proc_event` (`include/uapi/linux/cn_proc.h`). Pids are those of the initial pid
//! namespace, ids those of the initial user namespace.

/// `CN_IDX_PROC`, also the number of the multicast group.
pub const CN_IDX_PROC: u32 = 1;
/// `CN_VAL_PROC`.
pub const CN_VAL_PROC: u32 = 1;

/// `struct cn_msg` without its data.
const CN_MSG: usize = 20;

/// A message: one event, or the answer to someone's request to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The processor the event happened on.
    pub cpu: u32,
    /// Counts the messages of that processor, and wraps.
    pub sequence: u32,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub monotonic_ns: u64,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in the kernel's header")]
pub enum Event {
    /// The answer to a request to listen, which everyone hears.
    Answer {
        error: u32,
    },
    Fork {
        parent_pid: u32,
        parent_tgid: u32,
        child_pid: u32,
        child_tgid: u32,
    },
    Exec {
        pid: u32,
        tgid: u32,
    },
    Uid {
        pid: u32,
        tgid: u32,
        real: u32,
        effective: u32,
    },
    Gid {
        pid: u32,
        tgid: u32,
        real: u32,
        effective: u32,
    },
    /// `code` is as `wait(2)` gives it.
    Exit {
        pid: u32,
        tgid: u32,
        code: u32,
    },
    /// A new session, a tracer, a new name, a core dump: nothing that makes a row.
    Other(u32),
}

impl Frame {
    /// Whether its number is one of the processor's. Answers were numbered by the request and had no
    /// processor before they were sent as events are (`cn_proc_ack`).
    pub const fn is_numbered(&self) -> bool {
        self.cpu != u32::MAX
    }
}

/// A datagram that is not such a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Malformed {
    #[error("{0} bytes are too few for the message")]
    Short(usize),
    #[error("not from the process connector (id {0}.{1})")]
    Id(u32, u32),
}

/// Reads what follows the netlink header.
///
/// # Errors
/// [`Malformed`].
pub fn decode(payload: &[u8]) -> Result<Frame, Malformed> {
    let short = || Malformed::Short(payload.len());
    let word = |at: usize| {
        let bytes = payload.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map(|bytes| u32::from_ne_bytes(*bytes)).ok_or_else(short)
    };
    let id = (word(0)?, word(4)?);
    if id != (CN_IDX_PROC, CN_VAL_PROC) {
        return Err(Malformed::Id(id.0, id.1));
    }
    let data = |index: usize| word(CN_MSG.saturating_add(16).saturating_add(index * 4));
    let monotonic: &[u8; 8] =
        payload.get(CN_MSG + 8..).and_then(<[u8]>::first_chunk).ok_or_else(short)?;
    let event = match word(CN_MSG)? {
        0 => Event::Answer { error: data(0)? },
        1 => Event::Fork {
            parent_pid: data(0)?,
            parent_tgid: data(1)?,
            child_pid: data(2)?,
            child_tgid: data(3)?,
        },
        2 => Event::Exec { pid: data(0)?, tgid: data(1)? },
        4 => Event::Uid { pid: data(0)?, tgid: data(1)?, real: data(2)?, effective: data(3)? },
        0x40 => Event::Gid { pid: data(0)?, tgid: data(1)?, real: data(2)?, effective: data(3)? },
        0x8000_0000 => Event::Exit { pid: data(0)?, tgid: data(1)?, code: data(2)? },
        other => Event::Other(other),
    };
    Ok(Frame {
        cpu: word(CN_MSG + 4)?,
        sequence: word(8)?,
        monotonic_ns: u64::from_ne_bytes(*monotonic),
        event,
    })
}

/// The payload that asks the kernel to send (`PROC_CN_MCAST_LISTEN`) or to stop sending
/// (`PROC_CN_MCAST_IGNORE`). No event filter is asked for, which kernels have from 6.6: they number
/// what they filter out too, so that losses could not be told from it.
pub fn request(listen: bool) -> Vec<u8> {
    let operation: u32 = if listen { 1 } else { 2 };
    let mut payload = Vec::with_capacity(CN_MSG + 4);
    for word in [CN_IDX_PROC, CN_VAL_PROC, 0, 0, 4, operation] {
        payload.extend_from_slice(&word.to_ne_bytes());
    }
    payload
}

#[cfg(test)]
mod tests;
