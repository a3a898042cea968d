//! Changes to files.

use osquery_ebpf_probes::event::{Body, EventKind, FileAction, RawEvent, SourceKind};

use super::{Batch, State};
use crate::record::{FileRecord, Packed, flag};
use crate::segment::Keys;
use crate::statistics::What;

impl State {
    pub(super) fn file(&mut self, event: &RawEvent, batch: &Batch<'_>) {
        let Body::File(file) = &event.body else { return };
        let (watch, selection) = (&batch.active.watch, &batch.active.selection);
        let is_access = matches!(file.action, FileAction::Open | FileAction::Access);
        let category = |path: Option<&[u8]>| match (path, is_access) {
            (Some(path), true) => watch.access_category(path),
            (Some(path), false) => watch.category(path),
            (None, _) => None,
        };
        let watched = category(file.path.as_deref());
        // The other name counts only where it is a name that came to be.
        let renamed = file.action == FileAction::Rename;
        let dest_watched = if renamed { category(file.dest_path.as_deref()) } else { None };
        if watched.is_none() && dest_watched.is_none() {
            self.count(EventKind::File, |flow| flow.unwatched = flow.unwatched.saturating_add(1));
            return;
        }
        let watched = watched.filter(|_| !selection.excludes_path(file.path.as_deref()));
        let dest_watched =
            dest_watched.filter(|_| !selection.excludes_path(file.dest_path.as_deref()));
        let time = event.time_ns;
        let actor = self.actor(event, batch.base);
        let path = self.path_of(&event.task, actor.slot, time).map(Box::<[u8]>::from);
        let path = path.as_deref();
        let excluded = (watched.is_none() && dest_watched.is_none())
            || selection.excludes_process(path)
            || selection.excludes_uid(actor.who.creds.map(|creds| creds.uid));
        if excluded {
            self.count(EventKind::File, |flow| flow.excluded = flow.excluded.saturating_add(1));
            return;
        }
        let process = actor.slot.and_then(|slot| self.cache.get(slot));
        let partial = process.is_none_or(|process| process.partial);
        let mnt_ns = actor.place.namespaces.map(|spaces| spaces.mnt);
        // fanotify's names are found by handle from where we are.
        let on_host = event.source == SourceKind::Fanotify
            || (mnt_ns.is_some() && mnt_ns == batch.host_mnt_ns);
        let (segment, _) = self.files.open();
        let pool = &mut segment.pool;
        let bit = |is: bool, bit: u16| if is { bit } else { 0 };
        let who = Packed::who(&actor.who);
        let object = file.object.as_ref().map(Packed::file);
        let cwd = event.task.cwd.as_deref().or_else(|| process?.inherited.cwd.as_deref());
        let record = FileRecord {
            time_ns: time,
            target: pool.intern(file.path.as_deref()),
            dest: pool.intern(file.dest_path.as_deref()),
            category: pool.intern(watched.map(str::as_bytes)),
            dest_category: pool.intern(dest_watched.map(str::as_bytes)),
            object: pool.intern(object.as_ref().map(Packed::as_slice)),
            who: pool.intern(Some(who.as_slice())),
            cwd: pool.intern(cwd),
            args: pool.intern(process.and_then(|process| process.image_at(time).args.as_deref())),
            container: pool
                .intern(process.and_then(|process| process.inherited.container.as_deref())),
            syscall: pool.intern(file.syscall.map(str::as_bytes)),
            flags: bit(file.truncated, flag::PATH_CUT)
                | bit(partial, flag::PARTIAL)
                | bit(on_host, flag::HOST_PATH),
            action: file.action,
            source: event.source,
        };
        let keys = Keys { path: pool.intern(path), ..actor.keys };
        self.files.push(keys, record);
        if file.truncated {
            self.count(EventKind::File, |flow| flow.truncated = flow.truncated.saturating_add(1));
        }
        self.count_activity(path, file.syscall, batch.now_ns);
        if let Some(path) = &file.path {
            self.statistics.add(What::Path, path, batch.now_ns);
        }
    }
}
