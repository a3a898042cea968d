//! From the bytes of one record to the event it stands for.
//!
//! A pure function: no libbpf, no clock, no `/proc`. Anything that `bpf/wire.h` does not allow is
//! [`Malformed`]; nothing here can panic, whatever the bytes. One file below for each concern.

use crate::event::{Bytes, Creds, EventKind, Namespaces, RawEvent, SourceKind, Task};
use crate::wire::{self, Wire};

mod process;
mod socket;
mod syscall;
#[cfg(test)]
mod tests;

/// Why a record could not be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Malformed {
    #[error("{have} bytes, where the record's fixed part takes {need}")]
    Short { need: usize, have: usize },
    #[error("it says it is {claimed} bytes long, of which {have} are there")]
    Length { claimed: usize, have: usize },
    #[error("no record has type {0}")]
    Type(u16),
    #[error("{part}: {length} bytes at {offset} lie outside of a record of {record}")]
    Span { part: &'static str, offset: u32, length: u32, record: usize },
    #[error("{part}: {value} is not a value it can have")]
    Value { part: &'static str, value: u64 },
}

/// The type in a record's header, if there is that much of it.
pub fn type_of(bytes: &[u8]) -> Option<u16> {
    wire::read::<wire::Header>(bytes).map(|header| header.r#type)
}

/// The kind of event that records of a type stand for.
pub const fn kind_of(record_type: u32) -> Option<EventKind> {
    Some(match record_type {
        wire::EXEC => EventKind::Exec,
        wire::FORK => EventKind::Fork,
        wire::EXIT => EventKind::Exit,
        wire::SETID => EventKind::Setid,
        wire::NAMESPACE => EventKind::Namespace,
        wire::SOCKET | wire::CONNECTION => EventKind::Socket,
        wire::FILE => EventKind::File,
        _ => return None,
    })
}

/// Turns one record into the event it stands for.
///
/// # Errors
/// [`Malformed`] says what in the record cannot be.
pub fn decode(bytes: &[u8]) -> Result<RawEvent, Malformed> {
    let header: wire::Header = fixed(bytes)?;
    let claimed = header.length as usize;
    let bytes = bytes.get(..claimed).ok_or(Malformed::Length { claimed, have: bytes.len() })?;
    match u32::from(header.r#type) {
        wire::EXEC => process::exec(bytes),
        wire::FORK => process::fork(bytes),
        wire::EXIT => process::exit(bytes),
        wire::SETID => process::setid(bytes),
        wire::NAMESPACE => process::namespace(bytes),
        wire::SOCKET => socket::socket(bytes),
        wire::CONNECTION => socket::connection(bytes),
        _ => Err(Malformed::Type(header.r#type)),
    }
}

/// The fixed part of a record.
fn fixed<T: Wire>(bytes: &[u8]) -> Result<T, Malformed> {
    wire::read(bytes).ok_or(Malformed::Short { need: size_of::<T>(), have: bytes.len() })
}

/// The variable part that `span` names.
fn part<'a>(bytes: &'a [u8], span: wire::Span, part: &'static str) -> Result<&'a [u8], Malformed> {
    let from = span.offset as usize;
    from.checked_add(span.length as usize).and_then(|to| bytes.get(from..to)).ok_or(
        Malformed::Span { part, offset: span.offset, length: span.length, record: bytes.len() },
    )
}

/// An event with the parts that every record has.
fn event(header: &wire::Header, task: &wire::Task, body: crate::event::Body) -> RawEvent {
    RawEvent { time_ns: header.time, source: SourceKind::Bpf, task: self::task(task), body }
}

fn task(task: &wire::Task) -> Task {
    let known = |bit| task.known & bit != 0;
    Task {
        pid: task.tgid,
        tid: task.tid,
        start_ns: known(wire::KNOWN_START).then_some(task.start),
        parent_pid: known(wire::KNOWN_PARENT).then_some(task.parent_tgid),
        parent_start_ns: (known(wire::KNOWN_PARENT) && task.parent_start != 0)
            .then_some(task.parent_start),
        ns_pid: known(wire::KNOWN_NS_PID).then_some(task.ns_tgid),
        creds: known(wire::KNOWN_CREDS).then(|| creds(&task.creds)),
        // AUDIT_UID_UNSET in include/linux/audit.h.
        auid: (known(wire::KNOWN_AUID) && task.auid != u32::MAX).then_some(task.auid),
        namespaces: known(wire::KNOWN_NAMESPACES).then(|| namespaces(&task.namespaces)),
        cgroup_id: known(wire::KNOWN_CGROUP).then_some(task.cgroup_id),
        cgroup: None,
        comm: text(&task.comm),
        exe: None,
        cwd: None,
    }
}

const fn creds(creds: &wire::Creds) -> Creds {
    Creds {
        uid: creds.uid,
        gid: creds.gid,
        euid: creds.euid,
        egid: creds.egid,
        suid: creds.suid,
        sgid: creds.sgid,
        fsuid: creds.fsuid,
        fsgid: creds.fsgid,
    }
}

const fn namespaces(namespaces: &wire::Namespaces) -> Namespaces {
    Namespaces {
        mnt: namespaces.mnt,
        pid: namespaces.pid,
        net: namespaces.net,
        user: namespaces.user,
    }
}

/// What stands before the first NUL. `None`: nothing does.
fn text(bytes: &[u8]) -> Option<Bytes> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    (!text.is_empty()).then(|| text.into())
}

/// A path from its names, deepest first and each ended by NUL, as the kernel side found them.
///
/// Where the walk was cut the top of the path is missing, and the leading `/` with it.
fn path(names: &[u8], cut: bool) -> Bytes {
    let names = names.strip_suffix(&[0]).unwrap_or(names);
    let mut path = Vec::with_capacity(names.len() + 1);
    if names.is_empty() {
        path.push(b'/');
        return path.into();
    }
    for (index, name) in names.rsplit(|byte| *byte == 0).enumerate() {
        if index > 0 || !cut {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    path.into()
}

/// The kernel's `dev_t` in the encoding of `stat(2)` (`new_encode_dev` in include/linux/kdev_t.h).
fn device(dev: u32) -> u64 {
    let (major, minor) = (dev >> 20, dev & 0xf_ffff);
    u64::from((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}
