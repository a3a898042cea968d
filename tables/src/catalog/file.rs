//! `ebpf_file_events`: the columns of osquery's `file_events` (specs/posix/file_events.table), then
//! ours.
//!
//! A rename is two rows where both names are watched, `MOVED_FROM` and `MOVED_TO`, with the same
//! `transaction_id`, as inotify has it.

use std::path::PathBuf;

use osquery_ebpf_probes::event::{FileAction, FileObject};

use crate::column::{Cell, Definition, Key, Part, Spec, View, columns, signed, wide, word};
use crate::hash::{Digests, Hashed, Subject};
use crate::pool;
use crate::record::{self, FileRecord, flag};
use crate::schema::ColumnType::{BigInt, Integer, Text};
use crate::schema::{Column, Table};
use crate::text;

type Row<'a> = View<'a, FileRecord>;

const SPECS: &[Spec<FileRecord>] = &[
    Spec::new(
        "target_path",
        Text,
        "The file; of a rename, the name that went or came.",
        |row, out| row.text(target(row), out),
    ),
    Spec::new("category", Text, "Category of file_paths; of several the first.", |row, out| {
        let moved = row.part == Part::To;
        row.text(if moved { row.record.dest_category } else { row.record.category }, out)
    }),
    Spec::new(
        "action",
        Text,
        "CREATED, UPDATED, DELETED, MOVED_FROM, MOVED_TO, ATTRIBUTES_MODIFIED, LINKED, OPENED \
         or ACCESSED.",
        |row, out| word(action(row), out),
    ),
    Spec::new(
        "transaction_id",
        BigInt,
        "The same for both rows of a rename; 0 for all else.",
        |row, _| wide(Some(if row.record.action == FileAction::Rename { row.seq() } else { 0 })),
    ),
    Spec::new("inode", BigInt, "Inode, read at the event.", |row, _| wide(object(row).inode)),
    Spec::new("uid", BigInt, "Owner of the file.", |row, _| signed(object(row).uid)),
    Spec::new("gid", BigInt, "Group of the file.", |row, _| signed(object(row).gid)),
    Spec::new("mode", Text, "Permission bits in octal, such as 0644.", |row, out| {
        let Some(mode) = object(row).mode else { return Cell::Unknown };
        text::push_permissions(out, mode);
        Cell::Text
    }),
    Spec::new("size", BigInt, "Size in bytes.", |row, _| wide(object(row).size)),
    Spec::new("atime", BigInt, "Last access, Unix seconds.", |row, _| signed(object(row).atime)),
    Spec::new("mtime", BigInt, "Last modification, Unix seconds.", |row, _| {
        signed(object(row).mtime)
    }),
    Spec::new("ctime", BigInt, "Last status change, Unix seconds.", |row, _| {
        signed(object(row).ctime)
    }),
    Spec::new(
        "md5",
        Text,
        "MD5 of the content after the event, computed when a query names it.",
        |row, out| digest(row, out, |digests| digests.md5),
    )
    .costly(),
    Spec::new(
        "sha1",
        Text,
        "SHA-1 of the content after the event, computed when a query names it.",
        |row, out| digest(row, out, |digests| digests.sha1),
    )
    .costly(),
    Spec::new(
        "sha256",
        Text,
        "SHA-256 of the content after the event, computed when a query names it.",
        |row, out| digest(row, out, |digests| digests.sha256),
    )
    .costly(),
    Spec::new(
        "hashed",
        Integer,
        "1 if it was hashed, 0 if not (no content to hash, too large, turned off), -1 if that \
         failed: the file is gone or has changed since.",
        |row, _| {
            Cell::Int(match hash(row) {
                Hashed::Yes(_) => 1,
                Hashed::Not => 0,
                Hashed::Failed => -1,
            })
        },
    )
    .costly(),
    Spec::new("time", BigInt, "When it happened, Unix seconds.", |row, _| row.time())
        .key(Key::Time),
    Spec::new("eid", Text, "Event id, ascending.", |row, out| row.eid(out)).key(Key::Eid),
    Spec::new(
        "dest_path",
        Text,
        "The other name: where a MOVED_FROM went and a MOVED_TO came from, the older name of \
         a LINKED, the target of a symbolic link.",
        |row, out| {
            let other = if row.part == Part::To { row.record.target } else { row.record.dest };
            row.text(other, out)
        },
    ),
    Spec::new("pid", BigInt, "Process that did it, in the initial pid namespace.", |row, _| {
        row.pid()
    })
    .key(Key::Pid),
    Spec::new("path", Text, "Executable of that process.", |row, out| row.path(out)).key(Key::Path),
    Spec::new(
        "cmdline",
        Text,
        "Arguments of that process joined by one space, at most 4096 bytes.",
        |row, out| row.joined(row.record.args, out),
    ),
    Spec::new(
        "process_id",
        Text,
        "Id no other process has, see ebpf_process_events.",
        |row, out| row.process_id(out),
    )
    .key(Key::ProcessId),
    Spec::new("parent", BigInt, "Parent of that process.", |row, _| row.parent()).key(Key::Parent),
    Spec::new(
        "auid",
        BigInt,
        "Audit login uid of that process; empty where none was set.",
        |row, _| signed(row.who(row.record.who).auid),
    ),
    Spec::new("euid", BigInt, "Effective user id of that process.", |row, _| {
        signed(row.who(row.record.who).creds.map(|creds| creds.euid))
    }),
    Spec::new(
        "container_id",
        Text,
        "Container of that process, from its cgroup's path.",
        |row, out| row.text(row.record.container, out),
    ),
    Spec::new("device", BigInt, "Device as in stat's st_dev.", |row, _| wide(object(row).device)),
    Spec::new("syscall", Text, "The call, where the source saw it.", |row, out| {
        row.text(row.record.syscall, out)
    }),
    Spec::new(
        "host_path",
        Text,
        "The same file as the host sees it; empty where only the process's own view is known.",
        |row, out| {
            let known = row.record.flags & flag::HOST_PATH != 0;
            if known { row.text(target(row), out) } else { Cell::Unknown }
        },
    ),
    Spec::new("source", Text, "Who reported it: bpf, audit or fanotify.", |row, out| {
        row.source(out)
    }),
];

static COLUMNS: [Column; SPECS.len()] = columns(SPECS);

static TABLE: Table = Table {
    name: "ebpf_file_events",
    aliases: &["file_events"],
    columns: &COLUMNS,
    event_based: true,
    doc: "Changes to the files that osquery's file_paths name, and who made them.",
};

/// `ebpf_file_events`.
pub static FILES: Definition<FileRecord> = Definition { table: &TABLE, specs: SPECS, parts };

fn parts(record: &FileRecord) -> &'static [Part] {
    if record.action != FileAction::Rename {
        return &[Part::Only];
    }
    match (record.category.is_known(), record.dest_category.is_known()) {
        (true, true) => &[Part::From, Part::To],
        (false, true) => &[Part::To],
        (true, false) | (false, false) => &[Part::From],
    }
}

fn target(row: &Row<'_>) -> pool::Text {
    if row.part == Part::To { row.record.dest } else { row.record.target }
}

/// What the kernel said of the file. It is the same file under both names of a rename.
fn object(row: &Row<'_>) -> FileObject {
    row.bytes(row.record.object).and_then(record::file).unwrap_or_default()
}

/// The words of osquery's inotify publisher (osquery/events/linux/inotify.cpp), and `LINKED` for
/// hard links, which inotify does not tell from creation.
fn action(row: &Row<'_>) -> &'static str {
    match (row.record.action, row.part) {
        (FileAction::Create | FileAction::Mkdir | FileAction::Symlink, _) => "CREATED",
        (FileAction::Link, _) => "LINKED",
        (FileAction::CloseWrite | FileAction::Modify | FileAction::Truncate, _) => "UPDATED",
        (FileAction::Unlink | FileAction::Rmdir, _) => "DELETED",
        (FileAction::Rename, Part::To) => "MOVED_TO",
        (FileAction::Rename, _) => "MOVED_FROM",
        (FileAction::Chmod | FileAction::Chown | FileAction::Attributes, _) => {
            "ATTRIBUTES_MODIFIED"
        }
        (FileAction::Open, _) => "OPENED",
        (FileAction::Access, _) => "ACCESSED",
    }
}

fn digest(row: &Row<'_>, out: &mut String, pick: fn(Digests) -> Option<Box<str>>) -> Cell {
    match hash(row) {
        Hashed::Yes(digests) => pick(digests).map_or(Cell::Unknown, |hash| word(&hash, out)),
        Hashed::Not | Hashed::Failed => Cell::Unknown,
    }
}

fn hash(row: &Row<'_>) -> Hashed {
    use std::os::unix::ffi::OsStrExt as _;
    let has_content = match row.record.action {
        FileAction::Create
        | FileAction::Link
        | FileAction::CloseWrite
        | FileAction::Modify
        | FileAction::Truncate => true,
        FileAction::Rename => row.part == Part::To,
        _ => false,
    };
    let (Some(hasher), true) = (&row.context.hasher, has_content) else { return Hashed::Not };
    let Some(path) = row.bytes(target(row)) else { return Hashed::Failed };
    let object = object(row);
    // A path of another mount namespace may name another file here, unless the inode says not.
    let verified = object.device.is_some() && object.inode.is_some();
    if row.record.flags & flag::HOST_PATH == 0 && !verified {
        return Hashed::Failed;
    }
    let paths = [PathBuf::from(std::ffi::OsStr::from_bytes(path))];
    hasher.hash(&Subject { paths: &paths, object, time: row.keys.time })
}
