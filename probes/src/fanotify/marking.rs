//! Which marks, with which events, and what health says of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::counters::Counters;
use super::decode::Handle;
use super::filesystems::How;
use super::mounts::{self, Mounts};
use super::path;
use super::tree::Found;
use super::view::View;
use super::walk::{Walk, Walked};
use super::watch::{Watch, WatchRoot, resolve_existing};
use super::worker::Worker;
use crate::event::{Concern, SourceKind};
use crate::source::{SourceConfig, StartError, WatchNothing};

/// Mounts named in health at most.
const NAMED_MAX: usize = 8;

/// How much the kernel says about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// Directory, name and object (`FAN_REPORT_DFID_NAME_TARGET`, 5.17).
    Target,
    /// Directory and name, and the object only of what is done to a file (5.9).
    Names,
}

impl Report {
    /// From the best down.
    pub const ALL: [Self; 2] = [Self::Target, Self::Names];

    /// For `fanotify_init(2)`.
    pub const fn flags(self) -> u32 {
        match self {
            Self::Target => libc::FAN_REPORT_DFID_NAME_TARGET,
            Self::Names => libc::FAN_REPORT_DFID_NAME | libc::FAN_REPORT_FID,
        }
    }
}

/// What this kernel can be asked for, and what is asked.
#[derive(Debug, Clone, Copy)]
pub struct Marking {
    /// How much it says.
    pub report: Report,
    /// `FAN_RENAME` (5.17), else `FAN_MOVED_FROM | FAN_MOVED_TO`.
    pub renames: u64,
    /// The events asked for at present.
    pub mask: u64,
}

impl Marking {
    /// The events to ask for.
    fn wanted(self, access: bool) -> u64 {
        let always = libc::FAN_CREATE
            | libc::FAN_DELETE
            | libc::FAN_ATTRIB
            | libc::FAN_CLOSE_WRITE
            | libc::FAN_MODIFY
            | libc::FAN_ONDIR
            | self.renames;
        if access { always | libc::FAN_OPEN | libc::FAN_ACCESS } else { always }
    }

    fn reason(self) -> Option<&'static str> {
        match (self.report, self.renames) {
            (Report::Names, _) => Some(
                "the kernel does not say which object a directory entry was for (5.17 does): \
                 deleted files have no inode, and a removed directory's events may lack a path",
            ),
            (Report::Target, libc::FAN_RENAME) => None,
            (Report::Target, _) => Some("the kernel reports a rename in two halves (5.17 in one)"),
        }
    }
}

impl Worker {
    /// Takes over a configuration. Before it, all that was read must have been handled.
    ///
    /// # Errors
    /// Paths are to be watched, and none of their file systems could be marked. Then what was in
    /// force stays so.
    pub(super) fn configure(&mut self, config: &SourceConfig) -> Result<(), StartError> {
        let watch = if config.wants(Concern::File) {
            Watch::new(Arc::clone(&config.paths), resolve_existing)
        } else {
            Watch::new(Arc::new(WatchNothing), resolve_existing)
        };
        let mask = self.marking.wanted(config.file_access);
        let mounts = self.present_mounts().map_err(|error| StartError {
            source_kind: SourceKind::Fanotify,
            what: "reading /proc/thread-self/mountinfo".to_owned(),
            why: error.to_string(),
            remedy: "mount /proc".to_owned(),
        })?;
        let plan = mounts::plan(&mounts, watch.roots());
        let before = self.marking.mask;
        self.filesystems.apply(&self.group, plan, mask, before).map_err(|refused| StartError {
            source_kind: SourceKind::Fanotify,
            what: "marking what holds the watched paths".to_owned(),
            why: refused.join(", "),
            remedy: "watch paths on a local file system".to_owned(),
        })?;
        self.mounts = mounts;
        self.watch = watch;
        self.marking.mask = mask;
        self.own_pid = config.own_pid;
        self.access = config.file_access;
        self.hot.release_all(&self.group, &mut self.filesystems);
        self.tree.forget_paths();
        for filesystem in self.filesystems.by_directory() {
            filesystem.walked = false;
        }
        self.walk_all(before & !mask);
        Ok(())
    }

    /// Something was mounted or unmounted.
    pub(super) fn remark(&mut self) {
        self.mounts = match self.present_mounts() {
            Ok(mounts) => mounts,
            Err(error) => {
                self.counters.error(format!("/proc/thread-self/mountinfo: {error}"));
                return;
            }
        };
        let plan = mounts::plan(&self.mounts, self.watch.roots());
        let mask = self.marking.mask;
        if let Err(refused) = self.filesystems.apply(&self.group, plan, mask, mask) {
            self.counters.error(refused.join(", "));
        }
        // A mount covers what was there before: whatever was visible may not be.
        self.tree.clear();
        self.walk_all(0);
    }

    /// Events were lost: directories may be elsewhere, and there may be new ones.
    pub(super) fn start_over(&mut self) {
        self.tree.clear();
        self.seen.clear();
        self.walk_again();
    }

    /// Looks at the directories again of file systems that are marked by directories.
    pub(super) fn walk_again(&mut self) {
        let mut any = false;
        for filesystem in self.filesystems.by_directory() {
            filesystem.walked = false;
            any = true;
        }
        if any {
            self.walk_all(0);
        }
    }

    fn present_mounts(&mut self) -> std::io::Result<Mounts> {
        Ok(Mounts::parse(&self.read_mounts()?))
    }

    /// Marks directories where the file system cannot be marked, and takes `gone` bits off those
    /// that are marked.
    fn walk_all(&mut self, gone: u64) {
        let mut failed = 0;
        for filesystem in self.filesystems.by_directory() {
            if std::mem::replace(&mut filesystem.walked, true) {
                continue;
            }
            let walk = Walk {
                group: &self.group,
                watch: &self.watch,
                mask: self.marking.mask,
                fsid: filesystem.fsid,
                mounts: &self.mounts,
                points: filesystem.points(),
            };
            walk.prune(&mut self.tree, gone);
            for top in tops(self.watch.roots(), &self.mounts, filesystem.device) {
                failed += report(walk.mark(&mut self.tree, &top), &self.counters);
            }
        }
        self.say(failed);
    }

    /// Marks a directory that came to be, or was moved, on a file system marked by directories.
    pub(super) fn follow_marks(
        &mut self,
        dir: Handle<'_>,
        parent: Handle<'_>,
        name: &[u8],
        is_new: bool,
    ) {
        let Some(filesystem) = self.filesystems.of(dir) else { return };
        if filesystem.how == How::Whole {
            return;
        }
        let walk = Walk {
            group: &self.group,
            watch: &self.watch,
            mask: self.marking.mask,
            fsid: filesystem.fsid,
            mounts: &self.mounts,
            points: filesystem.points(),
        };
        let view = |path: &[u8]| View::new(&self.mounts, walk.points, &self.watch, path);
        let Found::At(view) = self.tree.at(parent.bytes(), u64::MAX, view) else { return };
        let mut paths = view.paths(name);
        let Some(top) = paths.find(|path| self.watch.leads_to(path)) else { return };
        let walked = walk.mark(&mut self.tree, &top);
        if is_new && walked.found > 0 {
            // Some of them may be told yet, if they came right after the mark.
            Counters::add(&self.counters.unresolved, walked.found);
            self.counters.error(format!(
                "{}: {} names were there before it was marked",
                String::from_utf8_lossy(&top),
                walked.found
            ));
        }
        let failed = report(walked, &self.counters);
        // Its place goes by its parent's, not by the path it had when it was marked.
        let place = self.tree.child(parent.bytes(), name);
        let is_there = super::sys::is_at(&top, dir);
        if self.tree.is_marked(dir.bytes()) {
            self.tree.set(dir.bytes().into(), place);
        }
        self.say(failed);
        // The kernel merges equal renames: the last one read need not be the last one done.
        if !is_new && !is_there {
            self.walk_again();
        }
    }

    /// Marks gone with the directory that had them are no longer counted.
    pub(super) fn count_marks(&mut self) {
        let whole = self.filesystems.list().iter().filter(|one| one.how == How::Whole).count();
        let marks = u32::try_from(whole + self.tree.marked_len()).unwrap_or(u32::MAX);
        self.counters.marks.store(marks, Ordering::Relaxed);
    }

    fn say(&mut self, failed: u32) {
        self.count_marks();
        let refused = u32::try_from(self.filesystems.refused.len()).unwrap_or(u32::MAX);
        self.counters.refused.store(refused.saturating_add(failed), Ordering::Relaxed);
        let mut reasons: Vec<String> = Vec::new();
        reasons.extend(self.marking.reason().map(str::to_owned));
        if self.watch.roots().is_empty() {
            reasons.push("no path is watched".to_owned());
        }
        for filesystem in self.filesystems.list() {
            if let How::Directories(error) = filesystem.how {
                reasons.push(format!(
                    "{} ({}): each directory is marked, as a mark on the whole is refused \
                     ({error}): what happens in a new directory before it is marked is missed",
                    String::from_utf8_lossy(&filesystem.watched),
                    filesystem.kind
                ));
            }
        }
        let mut shown: Vec<String> = self
            .filesystems
            .left_out
            .iter()
            .take(NAMED_MAX)
            .map(|(point, kind)| format!("{} ({kind})", String::from_utf8_lossy(point)))
            .collect();
        let more = self.filesystems.left_out.len().saturating_sub(NAMED_MAX);
        if more > 0 {
            shown.push(format!("{more} more"));
        }
        if !shown.is_empty() {
            reasons.push(format!("left out: {}", shown.join(", ")));
        }
        self.counters.set_reason(reasons.join("; "));
        if let Some(refused) = self.filesystems.refused.last() {
            self.counters.error(refused.clone());
        }
    }
}

fn report(walked: Walked, counters: &Counters) -> u32 {
    if let Some(error) = walked.last_error {
        counters.error(error);
    }
    walked.failed
}

/// Where marking has to begin so that roots are seen to come and go: above each root, and at the
/// mounts below it.
fn tops(roots: &[WatchRoot], mounts: &Mounts, device: (u32, u32)) -> Vec<Vec<u8>> {
    let on = |path: &[u8]| mounts.at(path).filter(|mount| mount.device == device);
    let mut tops: Vec<Vec<u8>> = Vec::new();
    for root in roots {
        if on(&root.real).is_some() {
            let mut top = path::parent(&root.real);
            while top != b"/" && !is_dir(top) {
                top = path::parent(top);
            }
            // What is above a mount is another file system.
            let top = if on(top).is_some() { top } else { root.real.as_slice() };
            tops.push(top.to_vec());
        }
        let inside = mounts.list().iter().filter(|mount| {
            mount.device == device
                && path::below(&mount.point, &root.real).is_some_and(|rest| !rest.is_empty())
        });
        tops.extend(inside.map(|mount| mount.point.clone()));
    }
    tops.sort();
    tops.dedup();
    tops
}

fn is_dir(path: &[u8]) -> bool {
    super::sys::stat_path(path)
        .is_ok_and(|stat| u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFDIR)
}
