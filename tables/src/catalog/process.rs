//! `ebpf_process_events`: the columns of osquery's `process_events` (specs/posix/
//! process_events.table) and of its former `bpf_process_events`, then ours.

use osquery_ebpf_probes::event::{Creds, FileObject, Namespaces};

use crate::column::{
    Cell, Definition, Key, Part, Spec, View, boolean, cgroup_id, columns, id, number, signed, wide,
    word,
};
use crate::hash::{Hashed, Subject, executable_paths};
use crate::record::{self, ProcessRecord, flag};
use crate::schema::ColumnType::{BigInt, Integer, Text};
use crate::schema::{Column, Table};
use crate::text;

type Row<'a> = View<'a, ProcessRecord>;

const SPECS: &[Spec<ProcessRecord>] = &[
    Spec::new(
        "pid",
        BigInt,
        "Process id, in the initial pid namespace. For a fork, the child's.",
        |row, _| row.pid(),
    )
    .key(Key::Pid),
    Spec::new(
        "path",
        Text,
        "Executable, resolved by the kernel, as seen from the root of the process's mount \
         namespace.",
        |row, out| row.path(out),
    )
    .key(Key::Path),
    Spec::new(
        "mode",
        Text,
        "Type and permission bits of the executable in octal, such as 0100755.",
        mode,
    ),
    Spec::new(
        "cmdline",
        Text,
        "Arguments joined by one space. A byte that is not valid UTF-8 is written \\xHH.",
        |row, out| row.joined(row.record.args, out),
    ),
    Spec::new(
        "cmdline_size",
        BigInt,
        "Bytes of all arguments with their ending NULs, also of those that were cut.",
        |row, _| number(row.record.args_size),
    ),
    Spec::new(
        "env",
        Text,
        "Environment variables on the configured list, joined by one space.",
        |row, out| row.joined(row.record.env, out),
    ),
    Spec::new(
        "env_count",
        BigInt,
        "Environment variables there were, on the list or not.",
        |row, _| number(row.record.env_count),
    ),
    Spec::new(
        "env_size",
        BigInt,
        "Bytes of all environment variables with their ending NULs.",
        |row, _| number(row.record.env_size),
    ),
    Spec::new("cwd", Text, "Working directory.", |row, out| row.text(row.record.cwd, out)),
    Spec::new("auid", BigInt, "Audit login uid; empty where none was set.", |row, _| {
        signed(row.who(row.record.who).auid)
    }),
    Spec::new(
        "uid",
        BigInt,
        "Real user id, in the initial user namespace, as it is after the event.",
        |row, _| cred(row, |creds| creds.uid),
    ),
    Spec::new("euid", BigInt, "Effective user id.", |row, _| cred(row, |creds| creds.euid)),
    Spec::new("gid", BigInt, "Real group id.", |row, _| cred(row, |creds| creds.gid)),
    Spec::new("egid", BigInt, "Effective group id.", |row, _| cred(row, |creds| creds.egid)),
    Spec::new("owner_uid", BigInt, "Owner of the executable.", |row, _| {
        signed(file(row).and_then(|file| file.uid))
    }),
    Spec::new("owner_gid", BigInt, "Group of the executable.", |row, _| {
        signed(file(row).and_then(|file| file.gid))
    }),
    Spec::new(
        "atime",
        BigInt,
        "Last access of the executable, Unix seconds, read in the kernel at the event.",
        |row, _| signed(file(row).and_then(|file| file.atime)),
    ),
    Spec::new("mtime", BigInt, "Last modification of the executable, Unix seconds.", |row, _| {
        signed(file(row).and_then(|file| file.mtime))
    }),
    Spec::new("ctime", BigInt, "Last status change of the executable, Unix seconds.", |row, _| {
        signed(file(row).and_then(|file| file.ctime))
    }),
    Spec::new(
        "btime",
        BigInt,
        "Creation of the executable, Unix seconds, read in the kernel at the event; empty where its \
         file system keeps none (ext4, XFS, btrfs and newer tmpfs do).",
        |row, _| signed(file(row).and_then(|file| file.btime)),
    ),
    Spec::new(
        "overflows",
        Text,
        "Parts that were cut, joined by commas: args, env, path, cwd, cgroup. Empty: none.",
        overflows,
    ),
    Spec::new(
        "parent",
        BigInt,
        "Parent's process id at the event; empty where it is not known (the core has -1).",
        |row, _| row.parent(),
    )
    .key(Key::Parent),
    Spec::new("time", BigInt, "When it happened, Unix seconds.", |row, _| row.time())
        .key(Key::Time),
    Spec::new("uptime", BigInt, "When it happened, seconds since boot.", |row, _| row.uptime()),
    Spec::new("eid", Text, "Event id, ascending.", |row, out| row.eid(out)).key(Key::Eid),
    Spec::new("fsuid", BigInt, "Filesystem user id.", |row, _| cred(row, |creds| creds.fsuid)),
    Spec::new("suid", BigInt, "Saved user id.", |row, _| cred(row, |creds| creds.suid)),
    Spec::new("fsgid", BigInt, "Filesystem group id.", |row, _| cred(row, |creds| creds.fsgid)),
    Spec::new("sgid", BigInt, "Saved group id.", |row, _| cred(row, |creds| creds.sgid)),
    Spec::new(
        "syscall",
        Text,
        "The call: execve, execveat, fork, vfork, clone, clone3, setuid and its family, \
         unshare, setns. Empty where the source cannot tell.",
        |row, out| row.text(row.record.syscall, out),
    ),
    Spec::new("tid", BigInt, "Thread id, in the initial pid namespace.", |row, _| {
        number(row.record.tid)
    }),
    Spec::new(
        "cid",
        Integer,
        "Cgroup id in the v2 hierarchy; empty where it does not fit 31 bits, see cgroup.",
        |row, _| cgroup_id(row.place(row.record.place)),
    ),
    Spec::new(
        "exit_code",
        Text,
        "What the call returned: 0, or for a fork the child's pid.",
        |row, out| word(itoa::Buffer::new().format(row.record.exit_code), out),
    ),
    Spec::new(
        "probe_error",
        Integer,
        "1 if a part could not be read or was cut, see overflows; else 0.",
        |row, _| boolean(row.record.flags & UNREAD != 0),
    ),
    Spec::new(
        "duration",
        Integer,
        "Time inside the call. Always empty: executions are seen where they take place, and \
         nothing is hooked where the call begins.",
        |_, _| Cell::Unknown,
    ),
    Spec::new("json_cmdline", Text, "Arguments as a JSON array of strings.", json_cmdline),
    Spec::new(
        "ntime",
        Text,
        "When it happened, nanoseconds since boot (CLOCK_BOOTTIME).",
        |row, out| row.ntime(out),
    ),
    Spec::new(
        "process_id",
        Text,
        "Id no other process has on any host: the first 16 digits of SHA-256 of \
         BOOT_ID:PID:START, START in clock ticks as in /proc/PID/stat.",
        |row, out| row.process_id(out),
    )
    .key(Key::ProcessId),
    Spec::new("parent_process_id", Text, "process_id of the parent.", |row, out| {
        id(row.record.parent_process_id, out)
    }),
    Spec::new("parent_path", Text, "Executable of the parent.", |row, out| {
        let parent = row.segment.ancestor(row.record.parent);
        parent.map_or(Cell::Unknown, |parent| row.text(parent.path, out))
    }),
    Spec::new(
        "parent_cmdline",
        Text,
        "Arguments of the parent joined by one space, at most 4096 bytes.",
        |row, out| {
            let parent = row.segment.ancestor(row.record.parent);
            parent.map_or(Cell::Unknown, |parent| row.joined(parent.args, out))
        },
    ),
    Spec::new(
        "ancestry",
        Text,
        "JSON array of the processes that created this one, the nearest first, the oldest \
         last, at most 16: pid, process_id, path, cmdline, each where known. Creators, even \
         if they ended and the kernel gave the process another parent.",
        ancestry,
    ),
    Spec::new("ns_pid", BigInt, "Process id in the process's own pid namespace.", |row, _| {
        number(row.record.ns_pid)
    }),
    Spec::new(
        "container_id",
        Text,
        "Container, from the cgroup's path: docker, containerd, cri-o, podman, \
         systemd-nspawn, LXC.",
        |row, out| row.text(row.record.container, out),
    ),
    Spec::new(
        "cgroup",
        Text,
        "Path of the cgroup in the v2 hierarchy, or the most telling one of v1.",
        |row, out| row.text(row.record.cgroup, out),
    ),
    Spec::new("mnt_ns", BigInt, "Inode of the mount namespace, as in /proc/PID/ns.", |row, _| {
        namespace(row, |spaces| spaces.mnt)
    }),
    Spec::new("pid_ns", BigInt, "Inode of the pid namespace.", |row, _| {
        namespace(row, |spaces| spaces.pid)
    }),
    Spec::new("net_ns", BigInt, "Inode of the network namespace.", |row, _| {
        namespace(row, |spaces| spaces.net)
    }),
    Spec::new("user_ns", BigInt, "Inode of the user namespace.", |row, _| {
        namespace(row, |spaces| spaces.user)
    }),
    Spec::new("tty", Text, "Controlling terminal, such as pts0.", |row, out| {
        row.text(row.record.tty, out)
    }),
    Spec::new("interpreter", Text, "Interpreter named by a script's first line.", |row, out| {
        row.text(row.record.interpreter, out)
    }),
    Spec::new("raw_path", Text, "Path as it was given to the call.", |row, out| {
        row.text(row.record.raw_path, out)
    }),
    Spec::new("inode", BigInt, "Inode of the executable, read in the kernel.", |row, _| {
        wide(file(row).and_then(|file| file.inode))
    }),
    Spec::new("device", BigInt, "Device of the executable as in stat's st_dev.", |row, _| {
        wide(file(row).and_then(|file| file.device))
    }),
    Spec::new(
        "fileless",
        Integer,
        "1 if no directory has a name for the executable: memfd, O_TMPFILE or deleted.",
        |row, _| {
            let known = row.record.flags & flag::FILELESS_KNOWN != 0;
            if known { boolean(row.record.flags & flag::FILELESS != 0) } else { Cell::Unknown }
        },
    ),
    Spec::new(
        "sha256",
        Text,
        "SHA-256 of the executable, computed when a query names it; empty where the file is \
         gone or changed.",
        sha256,
    )
    .costly(),
    Spec::new("source", Text, "Who reported it: bpf, audit or connector.", |row, out| {
        row.source(out)
    }),
];

/// What makes `probe_error` 1.
const UNREAD: u16 = flag::ARGS_CUT
    | flag::ENV_CUT
    | flag::PATH_CUT
    | flag::CWD_CUT
    | flag::CGROUP_CUT
    | flag::ARGS_UNREAD
    | flag::ENV_UNREAD;

static COLUMNS: [Column; SPECS.len()] = columns(SPECS);

static TABLE: Table = Table {
    name: "ebpf_process_events",
    aliases: &["process_events", "bpf_process_events"],
    columns: &COLUMNS,
    event_based: true,
    doc: "Executions, and on request forks and changes of credentials and namespaces.",
};

/// `ebpf_process_events`.
pub static PROCESSES: Definition<ProcessRecord> =
    Definition { table: &TABLE, specs: SPECS, parts: |_| &[Part::Only] };

fn file(row: &Row<'_>) -> Option<FileObject> {
    row.bytes(row.record.file).and_then(record::file)
}

fn cred(row: &Row<'_>, part: fn(&Creds) -> u32) -> Cell {
    signed(row.who(row.record.who).creds.map(|creds| part(&creds)))
}

fn namespace(row: &Row<'_>, part: fn(&Namespaces) -> u32) -> Cell {
    signed(row.place(row.record.place).namespaces.map(|spaces| part(&spaces)))
}

fn mode(row: &Row<'_>, out: &mut String) -> Cell {
    let Some(mode) = file(row).and_then(|file| file.mode) else { return Cell::Unknown };
    text::push_audit_mode(out, mode);
    Cell::Text
}

fn overflows(row: &Row<'_>, out: &mut String) -> Cell {
    let cut = [
        (flag::ARGS_CUT, "cmdline"),
        (flag::ENV_CUT, "env"),
        (flag::PATH_CUT, "path"),
        (flag::CWD_CUT, "cwd"),
        (flag::CGROUP_CUT, "cgroup"),
    ];
    for (_, name) in cut.iter().filter(|(bit, _)| row.record.flags & bit != 0) {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(name);
    }
    Cell::Text
}

fn json_cmdline(row: &Row<'_>, out: &mut String) -> Cell {
    let Some(args) = row.bytes(row.record.args) else { return Cell::Unknown };
    text::push_json_list(out, args);
    Cell::Text
}

fn ancestry(row: &Row<'_>, out: &mut String) -> Cell {
    let start = row.record.ancestry;
    if start == 0 {
        return Cell::Unknown;
    }
    let origin = (row.segment.first_seq(), start);
    row.context.remembered.push(out, origin, |out| push_ancestry(row, start, out));
    Cell::Text
}

fn push_ancestry(row: &Row<'_>, start: u16, out: &mut String) {
    out.push('[');
    for (index, ancestor) in row.segment.ancestry(start).enumerate() {
        out.push_str(if index > 0 { ",{\"pid\":" } else { "{\"pid\":" });
        out.push_str(itoa::Buffer::new().format(ancestor.pid));
        if ancestor.process_id != 0 {
            out.push_str(",\"process_id\":\"");
            id(ancestor.process_id, out);
            out.push('"');
        }
        if let Some(path) = row.bytes(ancestor.path) {
            out.push_str(",\"path\":");
            text::push_json(out, path);
        }
        if let Some(args) = row.bytes(ancestor.args) {
            out.push_str(",\"cmdline\":");
            text::push_json_joined(out, args);
        }
        out.push('}');
    }
    out.push(']');
}

fn sha256(row: &Row<'_>, out: &mut String) -> Cell {
    let (Some(hasher), Some(object)) = (&row.context.hasher, file(row)) else {
        return Cell::Unknown;
    };
    let Some(path) = row.bytes(row.keys.path) else { return Cell::Unknown };
    // Without both, another file of the same name could pass for this one.
    if object.device.is_none() || object.inode.is_none() {
        return Cell::Unknown;
    }
    let paths = executable_paths(row.keys.pid, path);
    let subject = Subject { paths: &paths, object, time: row.keys.time };
    match hasher.hash(&subject) {
        Hashed::Yes(digests) => digests.sha256.map_or(Cell::Unknown, |hash| word(&hash, out)),
        Hashed::Not | Hashed::Failed => Cell::Unknown,
    }
}
