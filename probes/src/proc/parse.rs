//! The text formats below `/proc/PID` (proc(5), `fs/proc/array.c`), from bytes to values.
//!
//! Nothing here opens a file. A line that is missing or odd costs its own value, not the others.

use crate::event::{Bytes, Creds, Strings, TICK_NS};

/// What is wanted of `stat`.
#[derive(Debug, PartialEq)]
pub(super) struct Stat {
    pub comm: Bytes,
    pub parent_pid: Option<u32>,
    /// Major and minor number of the controlling terminal.
    pub tty: Option<(u32, u32)>,
    pub start_ns: u64,
}

/// What is wanted of `status`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Status {
    pub tgid: Option<u32>,
    pub creds: Option<Creds>,
    pub ns_pid: Option<u32>,
}

/// `stat`: "pid (comm) state ppid …". The name may hold blanks and parentheses, so the last closing
/// one counts.
pub(super) fn stat(text: &[u8]) -> Option<Stat> {
    let open = text.iter().position(|&byte| byte == b'(')?;
    let close = text.iter().rposition(|&byte| byte == b')')?;
    let comm = text.get(open.checked_add(1)?..close)?;
    let mut fields = words(text.get(close.checked_add(1)?..)?);
    // Fields count from 1 in proc(5); the first one here is field 3, the state.
    let parent_pid = fields.nth(1).and_then(number::<u32>).filter(|&pid| pid != 0);
    let tty = fields.nth(2).and_then(number::<i32>).map(i32::cast_unsigned);
    let ticks: u64 = fields.nth(14).and_then(number)?;
    Some(Stat {
        comm: comm.into(),
        parent_pid,
        tty: tty.filter(|&device| device != 0).map(split_device),
        start_ns: ticks.checked_mul(TICK_NS)?,
    })
}

/// `new_encode_dev`, include/linux/kdev_t.h.
const fn split_device(device: u32) -> (u32, u32) {
    ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00))
}

/// Which `/dev/pts` a device is: 8 majors (136 to 143) of pseudo terminals share one numbering,
/// `MINORBITS` (20) wide each.
pub(super) fn pts_index(major: u32, minor: u32) -> Option<u32> {
    let part = major.checked_sub(136).filter(|&part| part < 8)?;
    Some((part << 20) | minor)
}

/// `status`: lines "Name:\tvalues".
pub(super) fn status(text: &[u8]) -> Status {
    let mut status = Status::default();
    let (mut uids, mut gids) = (None, None);
    for line in lines(text) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, values) = line.split_at(colon);
        let mut values = words(values.get(1..).unwrap_or_default());
        match name {
            b"Tgid" => status.tgid = values.next().and_then(number),
            b"Uid" => uids = four(values),
            b"Gid" => gids = four(values),
            // Outermost namespace first: the last one is the task's own.
            b"NStgid" => {
                status.ns_pid = values.last().and_then(number);
                break;
            }
            _ => {}
        }
    }
    if let (Some([uid, euid, suid, fsuid]), Some([gid, egid, sgid, fsgid])) = (uids, gids) {
        status.creds = Some(Creds { uid, gid, euid, egid, suid, sgid, fsuid, fsgid });
    }
    status
}

fn four<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<[u32; 4]> {
    let mut next = || values.next().and_then(number);
    Some([next()?, next()?, next()?, next()?])
}

/// `loginuid`: a number, `(uid_t)-1` where it was never set.
pub(super) fn loginuid(text: &[u8]) -> Option<u32> {
    number(text.trim_ascii()).filter(|&uid| uid != u32::MAX)
}

/// v1 hierarchies worth showing, the best first.
const V1_ORDER: [&[u8]; 3] = [b"pids", b"memory", b"name=systemd"];

/// `cgroup`: lines "id:controllers:path", v2's being "0::path". Chosen as on
/// [`Task::cgroup`](crate::event::Task::cgroup).
pub(super) fn cgroup(text: &[u8]) -> Option<Bytes> {
    // Index 0 is v2, then V1_ORDER.
    let mut found: [Option<&[u8]>; 1 + V1_ORDER.len()] = [None; 4];
    for line in lines(text) {
        let mut parts = line.splitn(3, |&byte| byte == b':');
        let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        // Also of a cgroup that was removed while a zombie is left in it.
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        if id == b"0" && controllers.is_empty() {
            found[0] = Some(path);
        }
        for controller in controllers.split(|&byte| byte == b',') {
            let rank = V1_ORDER.iter().position(|&wanted| wanted == controller);
            if let Some(slot) = rank.and_then(|rank| found.get_mut(rank.saturating_add(1))) {
                *slot = Some(path);
            }
        }
    }
    let mut known = found.into_iter().flatten();
    let first = known.clone().next()?;
    Some(known.find(|&path| path != b"/").unwrap_or(first).into())
}

/// `cmdline` and `environ`: strings ended by NUL. Returns what was kept and whether it was cut.
pub(super) fn strings(read: &[u8], limit: usize) -> (Strings, bool) {
    let kept = read.get(..limit.min(read.len())).unwrap_or_default();
    let cut = read.len() > limit;
    let ended = kept.iter().filter(|&&byte| byte == 0).count();
    let count = ended.saturating_add(usize::from(kept.last().is_some_and(|&byte| byte != 0)));
    let strings = Strings {
        bytes: Some(kept.into()),
        size: if cut { None } else { u64::try_from(kept.len()).ok() },
        count: if cut { None } else { u32::try_from(count).ok() },
    };
    (strings, cut)
}

/// Target of a link below `ns`, "type:[inode]".
pub(super) fn namespace(target: &[u8]) -> Option<u32> {
    let open = target.iter().position(|&byte| byte == b'[')?;
    number(target.get(open.checked_add(1)?..)?.strip_suffix(b"]")?)
}

/// Whole lines: the last may have been cut with the file.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"))
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
