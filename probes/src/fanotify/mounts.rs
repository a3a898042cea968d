//! What is mounted where, and which file systems a watch needs.
//!
//! Rules over the text of `/proc/thread-self/mountinfo` (proc(5)); reads nothing itself.

use std::collections::{HashMap, HashSet};

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
    /// What it was mounted from, such as a block device.
    pub source: Vec<u8>,
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
        let mut fields = fields.skip_while(|&field| field != b"-").skip(1);
        let kind = fields.next()?;
        Some(Self {
            id,
            parent,
            device: (major.parse().ok()?, minor.parse().ok()?),
            root,
            point,
            kind: String::from_utf8_lossy(kind).into_owned(),
            source: fields.next().map(unescape).unwrap_or_default(),
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

/// The mounts of a mount namespace.
#[derive(Debug, Default)]
pub struct Mounts {
    list: Vec<Mount>,
    /// What is mounted on a mount, at a point: its place in the list.
    on: HashMap<u32, HashMap<Vec<u8>, usize>>,
    top: Option<usize>,
}

impl Mounts {
    /// Reads the text of mountinfo. Lines that make no sense are left out.
    pub fn parse(text: &[u8]) -> Self {
        let list: Vec<Mount> = text.split(|&byte| byte == b'\n').filter_map(Mount::parse).collect();
        let ids: HashSet<u32> = list.iter().map(|mount| mount.id).collect();
        let mut mounts = Self::default();
        for (index, mount) in list.iter().enumerate() {
            if ids.contains(&mount.parent) && mount.parent != mount.id {
                mounts.on.entry(mount.parent).or_default().insert(mount.point.clone(), index);
            } else if mount.point == b"/" && mounts.top.is_none() {
                mounts.top = Some(index);
            }
        }
        mounts.list = list;
        mounts
    }

    /// All of them.
    pub fn list(&self) -> &[Mount] {
        &self.list
    }

    /// The mount a path is resolved on: the walk of the kernel, which at each point enters what is
    /// mounted on what it is in.
    pub fn at(&self, file: &[u8]) -> Option<&Mount> {
        let mut here = self.list.get(self.top?)?;
        let ends = file.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let prefixes = ends.chain([file.len()]).filter_map(|end| file.get(..end));
        for prefix in std::iter::once(&b"/"[..]).chain(prefixes.filter(|one| !one.is_empty())) {
            // Several may be mounted on one point, one on top of the other.
            for _ in &self.list {
                let next = self.on.get(&here.id).and_then(|points| points.get(prefix));
                match next.and_then(|&index| self.list.get(index)) {
                    Some(next) => here = next,
                    None => break,
                }
            }
        }
        Some(here)
    }

    /// Whether a path leads to this mount, so that nothing covers it.
    fn is_visible(&self, mount: &Mount) -> bool {
        self.at(&mount.point).is_some_and(|top| top.id == mount.id)
    }
}

/// A place where a file system can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Id of the mount.
    pub id: u32,
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
    /// Where it can be seen, the widest view first: all of it if there is such a place, and
    /// whatever has to do with a root.
    pub points: Vec<Point>,
    /// The place that is watched: the mount that holds a root, or lies below one.
    pub watched: Vec<u8>,
    /// What it was mounted from.
    pub source: Vec<u8>,
}

/// What a watch needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// File systems to be marked.
    pub targets: Vec<Target>,
    /// Mounts below a root that are left out, and their type.
    pub left_out: Vec<(Vec<u8>, String)>,
}

/// Whether a root lies on this mount, or the mount on a path below a root.
fn matters(point: &Point, roots: &[WatchRoot]) -> bool {
    roots.iter().any(|root| {
        path::below(&root.real, &point.path).is_some()
            || path::below(&point.path, &root.real).is_some()
    })
}

/// Which file systems must be marked for these roots.
pub fn plan(mounts: &Mounts, roots: &[WatchRoot]) -> Plan {
    let visible: Vec<&Mount> =
        mounts.list().iter().filter(|mount| mounts.is_visible(mount)).collect();
    let mut plan = Plan::default();
    let mut add = |mount: &Mount| {
        if plan.targets.iter().any(|target| target.device == mount.device) {
            return;
        }
        let mut points: Vec<Point> = visible
            .iter()
            .filter(|other| other.device == mount.device)
            .map(|other| Point {
                id: other.id,
                path: other.point.clone(),
                root: other.root.clone(),
            })
            .collect();
        points.sort_by_key(|point| (point.root.len(), point.path.len()));
        if points.first().is_some_and(|widest| widest.root == b"/") {
            let mut first = true;
            points.retain(|point| std::mem::take(&mut first) || matters(point, roots));
        }
        plan.targets.push(Target {
            device: mount.device,
            kind: mount.kind.clone(),
            points,
            watched: mount.point.clone(),
            source: mount.source.clone(),
        });
    };
    for mount in roots.iter().filter_map(|root| mounts.at(&root.real)) {
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
