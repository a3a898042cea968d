//! What is mounted where, and which file systems a watch needs.
//!
//! Rules over the text of `/proc/thread-self/mountinfo` (proc(5)); reads nothing itself.

use super::path;
use super::watch::WatchRoot;

#[cfg(test)]
mod tests;

/// File systems whose files are views of kernel state or of a remote host: what changes in them is
/// not, or not all, done by calls on this host. They are left out where they merely lie below a
/// root, and tried where a root lies on them.
const NOT_STORAGE: [&str; 25] = [
    "9p",
    "autofs",
    "binfmt_misc",
    "bpf",
    "ceph",
    "cgroup",
    "cgroup2",
    "cifs",
    "configfs",
    "debugfs",
    "devpts",
    "efivarfs",
    "fusectl",
    "mqueue",
    "nfs",
    "nfs4",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smb3",
    "sysfs",
    "tracefs",
];

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Mount id.
    pub id: u32,
    /// Id of the mount it is mounted on.
    pub parent: u32,
    /// Major and minor of the file system's device.
    pub device: (u32, u32),
    /// The part of the file system that is mounted.
    pub root: Vec<u8>,
    /// Where.
    pub point: Vec<u8>,
    /// Type of file system.
    pub kind: String,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
        let (id, parent) = (number()?, number()?);
        let device = std::str::from_utf8(fields.next()?).ok()?;
        let (major, minor) = device.split_once(':')?;
        let root = unescape(fields.next()?);
        let point = unescape(fields.next()?);
        let kind = fields.skip_while(|&field| field != b"-").nth(1)?;
        Some(Self {
            id,
            parent,
            device: (major.parse().ok()?, minor.parse().ok()?),
            root,
            point,
            kind: String::from_utf8_lossy(kind).into_owned(),
        })
    }
}

/// Undoes the octal escapes of blanks, tabs, newlines and backslashes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                Some(((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'), after))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((byte, after));
        out.push(byte);
        rest = after;
    }
    out
}

/// All mounts, in the order of mountinfo. Lines that make no sense are left out.
pub fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(Mount::parse).collect()
}

/// The mount a path is resolved on: the walk of the kernel, which at each point enters what is
/// mounted on what it is in.
pub fn mount_at<'a>(mounts: &'a [Mount], file: &[u8]) -> Option<&'a Mount> {
    let known = |id: u32| mounts.iter().any(|mount| mount.id == id);
    let mut here = mounts.iter().find(|mount| mount.point == b"/" && !known(mount.parent))?;
    // Each step goes one mount deeper, so there are at most as many as there are mounts.
    for _ in mounts {
        let next = mounts
            .iter()
            .filter(|mount| mount.parent == here.id && mount.id != here.id)
            .filter(|mount| path::below(file, &mount.point).is_some())
            .min_by_key(|mount| mount.point.len());
        match next {
            Some(next) => here = next,
            None => break,
        }
    }
    Some(here)
}

/// A place where a file system can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Where.
    pub path: Vec<u8>,
    /// The part of the file system that is seen there.
    pub root: Vec<u8>,
}

/// A file system to be marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its device.
    pub device: (u32, u32),
    /// Its type.
    pub kind: String,
    /// Where it can be seen, the widest view first.
    pub points: Vec<Point>,
    /// The place that is watched: the mount that holds a root, or lies below one.
    pub watched: Vec<u8>,
}

/// What a watch needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// File systems to be marked.
    pub targets: Vec<Target>,
    /// Mounts below a root that are left out, and their type.
    pub left_out: Vec<(Vec<u8>, String)>,
}

/// Which file systems must be marked for these roots.
pub fn plan(mounts: &[Mount], roots: &[WatchRoot]) -> Plan {
    let visible: Vec<&Mount> = mounts
        .iter()
        .filter(|mount| mount_at(mounts, &mount.point).is_some_and(|top| top.id == mount.id))
        .collect();
    let mut plan = Plan::default();
    let mut add = |mount: &Mount| {
        if plan.targets.iter().any(|target| target.device == mount.device) {
            return;
        }
        let mut points: Vec<Point> = visible
            .iter()
            .filter(|other| other.device == mount.device)
            .map(|other| Point { path: other.point.clone(), root: other.root.clone() })
            .collect();
        points.sort_by_key(|point| (point.root.len(), point.path.len()));
        plan.targets.push(Target {
            device: mount.device,
            kind: mount.kind.clone(),
            points,
            watched: mount.point.clone(),
        });
    };
    for mount in roots.iter().filter_map(|root| mount_at(mounts, &root.real)) {
        add(mount);
    }
    let mut left_out: Vec<(Vec<u8>, String)> = Vec::new();
    for mount in &visible {
        let inside = roots.iter().any(|root| {
            let rest = path::below(&mount.point, &root.real).filter(|rest| !rest.is_empty());
            rest.is_some_and(|rest| {
                root.depth.is_none_or(|depth| path::parts(rest).count() <= depth as usize)
            })
        });
        if !inside {
            continue;
        }
        if NOT_STORAGE.contains(&mount.kind.as_str()) || mount.kind.starts_with("fuse.") {
            left_out.push((mount.point.clone(), mount.kind.clone()));
        } else {
            add(mount);
        }
    }
    left_out.retain(|(point, _)| {
        let device = visible.iter().find(|mount| &mount.point == point).map(|mount| mount.device);
        !plan.targets.iter().any(|target| Some(target.device) == device)
    });
    plan.left_out = left_out;
    plan
}
