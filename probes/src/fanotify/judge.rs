//! One record: where it happened, whether that is wanted, and the events it becomes.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::counters::Counters;
use super::decode::{Entry, Event, Handle};
use super::interpret::{Sight, actions};
use super::locate::{self, Loaded, Object};
use super::recent::Key;
use super::seen::{Attrs, Seen, file_object};
use super::sys;
use super::tree::Found;
use super::view::View;
use super::watch::Verdict;
use super::worker::{Worker, moves_directory};
use crate::event::{Body, Bytes, File, FileAction, FileObject, RawEvent, SourceKind, Task};

/// Looks at the queue for the event that says where a removed directory was. The kernel frees a
/// directory's inode a moment before it reports the removal.
const STALE_TRIES: u32 = 3;

/// Directories loaded for one path at most: one is enough, unless it is renamed meanwhile.
const LOADS_MAX: u32 = 64;

/// Wait before each look but the first.
const STALE_WAIT: Duration = Duration::from_millis(1);

/// Where a record happened.
#[derive(Debug, Clone)]
enum Spot {
    /// There, and wanted under this path.
    Wanted { real: Vec<u8>, shown: Vec<u8> },
    /// At any of these, none of which is wanted.
    Unwanted { reals: Vec<Vec<u8>> },
    /// Nowhere that this host's mount namespace shows.
    Hidden,
}

impl Spot {
    fn wanted(&self) -> bool {
        matches!(self, Self::Wanted { .. })
    }

    fn real(&self) -> Option<&[u8]> {
        match self {
            Self::Wanted { real, .. } => Some(real),
            Self::Unwanted { reals } => reals.first().map(Vec::as_slice),
            Self::Hidden => None,
        }
    }

    /// The path to be told: of several, that which is most like the other end's, as both are then
    /// by the same mount.
    fn shown(&self, other: Option<&Self>) -> Option<&[u8]> {
        match self {
            Self::Wanted { shown, .. } => Some(shown),
            Self::Unwanted { reals } => {
                let like = other.and_then(Self::real).unwrap_or_default();
                let common = |path: &&Vec<u8>| {
                    path.iter().zip(like).take_while(|(one, other)| one == other).count()
                };
                // The first of the best: the order is that of the view.
                reals.iter().rev().max_by_key(common).map(Vec::as_slice)
            }
            Self::Hidden => None,
        }
    }
}

/// A path could not be had; this says why.
#[derive(Debug)]
struct Unresolved(&'static str, Option<Errno>);

/// The first half of a rename, from kernels that report it in two.
#[derive(Debug)]
pub struct FirstHalf {
    pid: u32,
    time_ns: u64,
    is_dir: bool,
    from: Spot,
}

impl Worker {
    /// Judges a record and keeps up with what it says about directories.
    pub(super) fn judge(&mut self, event: &Event<'_>, sequence: u64, time_ns: u64) {
        if event.has(libc::FAN_Q_OVERFLOW) {
            self.start_over();
            return;
        }
        if event.pid == self.own_pid {
            Counters::add(&self.counters.left_out, 1);
        } else if let Err(Unresolved(what, errno)) = self.report(event, sequence, time_ns) {
            Counters::add(&self.counters.unresolved, 1);
            let errno = errno.map(|errno| format!(": {errno}")).unwrap_or_default();
            self.counters.error(format!("{what}{errno}"));
        }
        if moves_directory(event) {
            self.follow(event, sequence);
        }
    }

    fn report(&mut self, event: &Event<'_>, sequence: u64, time_ns: u64) -> Result<(), Unresolved> {
        if event.from.is_some() || event.to.is_some() {
            return self.report_rename(event, sequence, time_ns);
        }
        let Some(entry) = event.entry else {
            // Without a name: the link count changed, which the names tell too.
            if event.mask & !libc::FAN_ONDIR == libc::FAN_ATTRIB {
                Counters::add(&self.counters.left_out, 1);
                return Ok(());
            }
            return Err(Unresolved("an event on a file without a name", None));
        };
        let spot = match self.nameless_spot(event, entry) {
            Some(named) => named,
            None => self.spot(entry, sequence)?,
        };
        if event.has(libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO) {
            self.report_halves(event, entry.dir, &spot, time_ns);
        }
        let Spot::Wanted { real, shown } = spot else {
            if event.has(libc::FAN_MODIFY) {
                self.count_hot(event);
            }
            Counters::add(&self.counters.left_out, 1);
            return Ok(());
        };
        let handle = event.object.or_else(|| (entry.name == b".").then_some(entry.dir));
        let object = locate::object(&mut self.filesystems, handle, Some(&real));
        let key = key(handle, object.as_ref(), entry.dir);
        let now = object.as_ref().map(|object| Attrs::new(&object.stat));
        let both = libc::FAN_CREATE | libc::FAN_DELETE;
        let named = event.mask & both == both && is_there(&real, object.as_ref());
        let before = key.as_ref().and_then(|key| self.seen.get(key).cloned());
        let mut mask = event.mask;
        if let (Some(key), true) = (&key, event.has(libc::FAN_CREATE)) {
            self.hot.release(&self.group, &mut self.filesystems, Handle::new(key));
            mask |= self.nameless.remove(key).unwrap_or(0);
        }
        let actions = actions(&Sight {
            mask,
            now: now.as_ref(),
            before: before.as_deref(),
            settled_before: self.settled_before,
            watched_since: self.watched_since,
            named,
            access: self.access,
        });
        if actions.is_empty() && !event.has(libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO) {
            Counters::add(&self.counters.left_out, 1);
        }
        let path: Arc<[u8]> = shown.into();
        for &action in &actions {
            let dest_path = match action {
                FileAction::Symlink => {
                    object.as_ref().and_then(|object| sys::link_text(object.fd.as_fd()))
                }
                FileAction::Link => before
                    .as_ref()
                    .filter(|before| before.path != path)
                    .map(|before| before.path.to_vec()),
                _ => None,
            };
            let file = File {
                action,
                path: Some(Bytes::from(&*path)),
                dest_path: dest_path.map(Vec::into_boxed_slice),
                object: self.file_object(handle, object.as_ref()),
                is_dir: Some(event.has(libc::FAN_ONDIR)),
                syscall: None,
                result: None,
                truncated: false,
            };
            self.push(key.as_deref(), made(event.pid, time_ns, file));
        }
        if let Some(key) = key {
            let written = mask & libc::FAN_MODIFY != 0 || before.is_some_and(|seen| seen.written);
            let gone = now.is_none_or(|now| now.nlink == 0);
            let last = self.file_object(handle, object.as_ref());
            let seen = Seen {
                attrs: now,
                object: last,
                path,
                written: written && mask & libc::FAN_CLOSE_WRITE == 0,
                unlinked: event.has(libc::FAN_DELETE) && gone,
            };
            self.seen.insert(key, Box::new(seen));
        }
        Ok(())
    }

    fn report_rename(
        &mut self,
        event: &Event<'_>,
        sequence: u64,
        time_ns: u64,
    ) -> Result<(), Unresolved> {
        let mut spot = |entry: Option<Entry<'_>>| match entry {
            Some(entry) => self.spot(entry, sequence),
            // With marks on directories, the kernel keeps the name to itself that is in another.
            None => Ok(Spot::Hidden),
        };
        let (from, to) = (spot(event.from)?, spot(event.to)?);
        if !from.wanted() && !to.wanted() {
            Counters::add(&self.counters.left_out, 1);
            return Ok(());
        }
        if let Some(handle) = event.object {
            self.hot.release(&self.group, &mut self.filesystems, handle);
        }
        let object = locate::object(&mut self.filesystems, event.object, to.real());
        let key: Option<Key> = event.object.map(|handle| handle.bytes().into());
        let file_object = self.file_object(event.object, object.as_ref());
        let path: Arc<[u8]> = to.shown(Some(&from)).unwrap_or_default().into();
        let renamed = renamed(event.has(libc::FAN_ONDIR), Some(from), Some(to), file_object);
        self.push(key.as_deref(), made(event.pid, time_ns, renamed));
        if let Some(key) = key {
            let attrs = object.map(|object| Attrs::new(&object.stat));
            let written = self.seen.get(&key).is_some_and(|seen| seen.written);
            let object = file_object;
            let seen = Seen { attrs, object, path, written, unlinked: false };
            self.seen.insert(key, Box::new(seen));
        }
        Ok(())
    }

    /// A rename in two records. Bits that the kernel merged into one are taken in the order of a
    /// rename that came here and went on.
    fn report_halves(&mut self, event: &Event<'_>, dir: Handle<'_>, spot: &Spot, time_ns: u64) {
        let is_dir = event.has(libc::FAN_ONDIR);
        let who = (event.pid, is_dir);
        if event.has(libc::FAN_MOVED_TO) {
            let from = self.halves.second(who).map(|first| first.from);
            if spot.wanted() || from.as_ref().is_some_and(Spot::wanted) {
                let object = locate::object(&mut self.filesystems, None, spot.real());
                if let Some(key) = key(None, object.as_ref(), dir) {
                    self.hot.release(&self.group, &mut self.filesystems, Handle::new(&key));
                }
                let file_object = self.file_object(None, object.as_ref());
                let file = renamed(is_dir, from, Some(spot.clone()), file_object);
                self.push(None, made(event.pid, time_ns, file));
            }
        }
        if event.has(libc::FAN_MOVED_FROM) {
            let first = FirstHalf { pid: event.pid, time_ns, is_dir, from: spot.clone() };
            let alone = self.halves.first(who, first);
            self.tell_alone(alone);
        }
    }

    /// Gives up on second halves that do not come: of those that were waited for already, or of all.
    pub(super) fn unpair(&mut self, all: bool) {
        let alone = self.halves.give_up(all);
        self.tell_alone(alone);
    }

    fn tell_alone(&mut self, halves: Vec<FirstHalf>) {
        for half in halves.into_iter().filter(|half| half.from.wanted()) {
            let file = renamed(half.is_dir, Some(half.from), None, None);
            self.push(None, made(half.pid, half.time_ns, file));
        }
    }

    /// Hands an event on, in its place among the changes of content that are held back.
    fn push(&mut self, key: Option<&[u8]>, event: RawEvent) {
        let Body::File(file) = &event.body else { return };
        if let Some(key) = key {
            match file.action {
                FileAction::Modify => {
                    self.held.hold(key, event, Instant::now(), &mut self.batch);
                    return;
                }
                FileAction::CloseWrite => self.held.closed(key, &event, &mut self.batch),
                FileAction::Rename | FileAction::Unlink => self.held.take(key, &mut self.batch),
                _ => {}
            }
        }
        self.batch.push(event);
    }

    /// A file made by `O_TMPFILE` has no name but is reported under `#` and its inode number, and
    /// still so after it was given one. Then that one is meant; until then, what is done to it is
    /// remembered for when it comes to be.
    fn nameless_spot(&mut self, event: &Event<'_>, entry: Entry<'_>) -> Option<Spot> {
        let handle = event.object?;
        let number = entry.name.strip_prefix(b"#")?;
        if number != handle.inode()?.to_string().as_bytes() || event.has(libc::FAN_CREATE) {
            return None;
        }
        if let Some(seen) = self.seen.get(handle.bytes()) {
            let real = seen.path.to_vec();
            return Some(match self.watch.wanted(&real) {
                Some(shown) => Spot::Wanted { real, shown },
                None => Spot::Unwanted { reals: vec![real] },
            });
        }
        let done = event.mask & (libc::FAN_MODIFY | libc::FAN_CLOSE_WRITE);
        match self.nameless.get(handle.bytes()) {
            Some(mask) => *mask |= done,
            None => self.nameless.insert(handle.bytes().into(), done),
        }
        Some(Spot::Hidden)
    }

    fn spot(&mut self, entry: Entry<'_>, sequence: u64) -> Result<Spot, Unresolved> {
        let (mut loads, mut stale) = (0, 0);
        let view = loop {
            let points = self.filesystems.points_of(entry.dir);
            let view = |path: &[u8]| View::new(&self.mounts, points, &self.watch, path);
            let missing = match self.tree.at(entry.dir.bytes(), sequence, view) {
                Found::At(view) => break view,
                Found::Hidden => return Ok(Spot::Hidden),
                Found::Unknown(missing) => missing,
            };
            match locate::load(&mut self.tree, &mut self.filesystems, &missing) {
                Loaded::Known => {}
                Loaded::Unwatched => {
                    return Err(Unresolved("the file system of an event is gone", None));
                }
                Loaded::Refused(errno) => {
                    return Err(Unresolved("opening a directory by its handle", Some(errno)));
                }
                Loaded::Gone if stale == STALE_TRIES => {
                    return Err(Unresolved(
                        "a directory was removed before it was looked up",
                        None,
                    ));
                }
                Loaded::Gone => {
                    self.look_further(stale);
                    stale += 1;
                }
            }
            loads += 1;
            if loads == LOADS_MAX {
                return Err(Unresolved("a directory did not keep still", None));
            }
        };
        if view.verdict == Verdict::Maybe {
            for real in view.paths(entry.name) {
                if let Some(shown) = self.watch.wanted(&real) {
                    return Ok(Spot::Wanted { real, shown });
                }
            }
        }
        let reals: Vec<Vec<u8>> = view.paths(entry.name).collect();
        Ok(if reals.is_empty() { Spot::Hidden } else { Spot::Unwanted { reals } })
    }

    fn look_further(&mut self, tries: u32) {
        if tries > 0 {
            let timeout = Timespec::try_from(STALE_WAIT).ok();
            let mut fds = [PollFd::from_borrowed_fd(self.group.as_fd(), PollFlags::IN)];
            // What it answers makes no difference: the queue is looked at in any case.
            let _ = poll(&mut fds, timeout.as_ref());
        }
        self.intake();
    }

    pub(super) fn count_hot(&mut self, event: &Event<'_>) {
        if let Some(file) = event.object
            && self.hot.count(file)
        {
            self.hot.ignore(&self.group, &mut self.filesystems, file);
        }
    }

    /// The object as it is, or where it is gone, as it was last seen, or what the handle alone says.
    fn file_object(
        &mut self,
        handle: Option<Handle<'_>>,
        object: Option<&Object>,
    ) -> Option<FileObject> {
        if let Some(object) = object {
            return Some(file_object(&object.stat));
        }
        let handle = handle?;
        if let Some(last) = self.seen.get(handle.bytes()).and_then(|seen| seen.object) {
            return Some(last);
        }
        let inode = handle.inode()?;
        let device = self.filesystems.of(handle).and_then(|filesystem| filesystem.st_dev());
        Some(FileObject { device, inode: Some(inode), ..FileObject::default() })
    }

    /// Keeps up with where directories are.
    fn follow(&mut self, event: &Event<'_>, sequence: u64) {
        if event.has(libc::FAN_RENAME | libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO) {
            self.hot.release_all(&self.group, &mut self.filesystems);
        }
        let Some(dir) = event.object else {
            // Which directory it was is not said; whatever is known may be below it.
            if event.has(libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO) {
                self.tree.clear();
                self.walk_again();
            }
            return;
        };
        let now = event.to.or(event.entry);
        if let Some(Entry { dir: parent, name }) = now {
            if event.has(libc::FAN_CREATE) {
                self.tree.created(dir.bytes(), parent.bytes(), name);
            }
            if event.has(libc::FAN_RENAME | libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO) {
                self.tree.renamed(dir.bytes(), parent.bytes(), name);
            }
            if event.has(libc::FAN_DELETE) {
                self.tree.removed(dir.bytes(), parent.bytes(), name);
                self.count_marks();
            } else {
                self.follow_marks(dir, parent, name, event.has(libc::FAN_CREATE));
            }
        }
        self.tree.settle(sequence, dir.bytes());
    }
}

/// What identifies the object: the event's handle, or where it has none, the object's own, on the
/// file system of the directory it was found in.
fn key(handle: Option<Handle<'_>>, object: Option<&Object>, dir: Handle<'_>) -> Option<Key> {
    if let Some(handle) = handle {
        return Some(handle.bytes().into());
    }
    let mut key = dir.fsid().to_vec();
    sys::handle_of(object?.fd.as_fd(), b"", &mut key).ok()?;
    Some(key.into())
}

fn renamed(is_dir: bool, from: Option<Spot>, to: Option<Spot>, object: Option<FileObject>) -> File {
    File {
        action: FileAction::Rename,
        path: from.as_ref().and_then(|from| from.shown(to.as_ref())).map(Bytes::from),
        dest_path: to.as_ref().and_then(|to| to.shown(from.as_ref())).map(Bytes::from),
        object,
        is_dir: Some(is_dir),
        syscall: None,
        result: None,
        truncated: false,
    }
}

fn made(pid: u32, time_ns: u64, file: File) -> RawEvent {
    RawEvent {
        time_ns,
        source: SourceKind::Fanotify,
        // The kernel says which thread group it was, not which thread.
        task: Task { pid, ..Task::default() },
        body: Body::File(Box::new(file)),
    }
}

/// Whether a path leads to this object.
fn is_there(path: &[u8], object: Option<&Object>) -> bool {
    let Some(object) = object else { return false };
    sys::stat_path(path).is_ok_and(|found| {
        found.stx_ino == object.stat.stx_ino
            && found.stx_dev_major == object.stat.stx_dev_major
            && found.stx_dev_minor == object.stat.stx_dev_minor
    })
}
