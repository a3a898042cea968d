//! `ebpf_process_file_events`: the events of `ebpf_file_events` in the columns of osquery's
//! `process_file_events` (specs/linux/process_file_events.table).
//!
//! As there, `path` is what existed before: the older name of a link or rename, the target of a
//! symbolic link; `dest_path` is the new name.

use osquery_ebpf_probes::event::{Creds, FileAction};

use crate::column::{Cell, Definition, Key, Part, Spec, View, columns, word};
use crate::record::{FileRecord, flag};
use crate::schema::ColumnType::{BigInt, Text};
use crate::schema::{Column, Table};

type Row<'a> = View<'a, FileRecord>;

const SPECS: &[Spec<FileRecord>] = &[
    Spec::new(
        "operation",
        Text,
        "write, unlink, rename, link, symlink, open and read as in the core; create, mkdir, \
         rmdir, chmod, chown and attributes beside.",
        |row, out| word(operation(row.record.action), out),
    ),
    Spec::new("pid", BigInt, "Process id, in the initial pid namespace.", |row, _| row.pid())
        .key(Key::Pid),
    Spec::new("ppid", BigInt, "Parent's process id.", |row, _| row.parent()).key(Key::Parent),
    Spec::new("time", BigInt, "When it happened, Unix seconds.", |row, _| row.time())
        .key(Key::Time),
    Spec::new("executable", Text, "Executable of the process.", |row, out| row.path(out))
        .key(Key::Path),
    Spec::new(
        "partial",
        Text,
        "true if the process was there before we watched, else false.",
        |row, out| word(if row.record.flags & flag::PARTIAL != 0 { "true" } else { "false" }, out),
    ),
    Spec::new("cwd", Text, "Working directory of the process.", |row, out| {
        row.text(row.record.cwd, out)
    }),
    Spec::new(
        "path",
        Text,
        "The file; of a rename or link, what it was before; of a symbolic link, what it \
         points to.",
        |row, out| {
            let swapped = matches!(row.record.action, FileAction::Link | FileAction::Symlink);
            row.text(if swapped { row.record.dest } else { row.record.target }, out)
        },
    ),
    Spec::new("dest_path", Text, "The new name of a rename, link or symbolic link.", |row, out| {
        let swapped = matches!(row.record.action, FileAction::Link | FileAction::Symlink);
        row.text(if swapped { row.record.target } else { row.record.dest }, out)
    }),
    Spec::new("uid", Text, "Real user id of the process.", |row, out| {
        cred(row, out, |creds| creds.uid)
    }),
    Spec::new("gid", Text, "Real group id of the process.", |row, out| {
        cred(row, out, |creds| creds.gid)
    }),
    Spec::new(
        "auid",
        Text,
        "Audit login uid of the process; empty where none was set (the core has 4294967295).",
        |row, out| {
            let auid = row.who(row.record.who).auid;
            auid.map_or(Cell::Unknown, |auid| word(itoa::Buffer::new().format(auid), out))
        },
    ),
    Spec::new("euid", Text, "Effective user id of the process.", |row, out| {
        cred(row, out, |creds| creds.euid)
    }),
    Spec::new("egid", Text, "Effective group id of the process.", |row, out| {
        cred(row, out, |creds| creds.egid)
    }),
    Spec::new("fsuid", Text, "Filesystem user id of the process.", |row, out| {
        cred(row, out, |creds| creds.fsuid)
    }),
    Spec::new("fsgid", Text, "Filesystem group id of the process.", |row, out| {
        cred(row, out, |creds| creds.fsgid)
    }),
    Spec::new("suid", Text, "Saved user id of the process.", |row, out| {
        cred(row, out, |creds| creds.suid)
    }),
    Spec::new("sgid", Text, "Saved group id of the process.", |row, out| {
        cred(row, out, |creds| creds.sgid)
    }),
    Spec::new("uptime", BigInt, "When it happened, seconds since boot.", |row, _| row.uptime()),
    Spec::new("eid", Text, "Event id, ascending.", |row, out| row.eid(out)).key(Key::Eid),
];

static COLUMNS: [Column; SPECS.len()] = columns(SPECS);

static TABLE: Table = Table {
    name: "ebpf_process_file_events",
    aliases: &["process_file_events"],
    columns: &COLUMNS,
    event_based: true,
    doc: "Changes to the files that osquery's file_paths name, one row per operation.",
};

/// `ebpf_process_file_events`.
pub static PROCESS_FILES: Definition<FileRecord> =
    Definition { table: &TABLE, specs: SPECS, parts: |_| &[Part::Only] };

/// The words of osquery's audit subscriber, and more where it has none.
const fn operation(action: FileAction) -> &'static str {
    match action {
        FileAction::Create => "create",
        FileAction::Mkdir => "mkdir",
        FileAction::Symlink => "symlink",
        FileAction::Link => "link",
        FileAction::CloseWrite | FileAction::Modify | FileAction::Truncate => "write",
        FileAction::Unlink => "unlink",
        FileAction::Rmdir => "rmdir",
        FileAction::Rename => "rename",
        FileAction::Chmod => "chmod",
        FileAction::Chown => "chown",
        FileAction::Attributes => "attributes",
        FileAction::Open => "open",
        FileAction::Access => "read",
    }
}

fn cred(row: &Row<'_>, out: &mut String, part: fn(&Creds) -> u32) -> Cell {
    let creds = row.who(row.record.who).creds;
    creds.map_or(Cell::Unknown, |creds| word(itoa::Buffer::new().format(part(&creds)), out))
}
