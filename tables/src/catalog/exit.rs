//! `ebpf_process_exits`: one row per process that ended. osquery has no such table.

use crate::column::{Cell, Definition, Key, Part, Spec, boolean, columns, id, number, short, wide};
use crate::record::{ExitRecord, flag};
use crate::schema::ColumnType::{BigInt, Integer, Text};
use crate::schema::{Column, Table};

const NS_PER_MS: u64 = 1_000_000;

const SPECS: &[Spec<ExitRecord>] = &[
    Spec::new("pid", BigInt, "Process id, in the initial pid namespace.", |row, _| row.pid())
        .key(Key::Pid),
    Spec::new("path", Text, "Executable.", |row, out| row.path(out)).key(Key::Path),
    Spec::new("cmdline", Text, "Arguments joined by one space, at most 4096 bytes.", |row, out| {
        row.joined(row.record.args, out)
    }),
    Spec::new("uid", BigInt, "Real user id.", |row, _| number(row.record.uid)),
    Spec::new("parent", BigInt, "Parent's process id.", |row, _| row.parent()).key(Key::Parent),
    Spec::new(
        "exit_code",
        Integer,
        "Status given to exit, 0 to 255; empty where a signal ended the process.",
        |row, _| short(row.record.code),
    ),
    Spec::new(
        "signal",
        Integer,
        "Signal that ended the process; empty where it exited.",
        |row, _| short(row.record.signal),
    ),
    Spec::new("core_dumped", Integer, "1 if a core was dumped, else 0.", |row, _| {
        let known = row.record.flags & flag::CORE_KNOWN != 0;
        if known { boolean(row.record.flags & flag::CORE_DUMPED != 0) } else { Cell::Unknown }
    }),
    Spec::new("start_time", BigInt, "When the process started, Unix seconds.", |row, _| {
        let known = row.record.flags & flag::START_KNOWN != 0;
        if known { Cell::Int(row.record.start_time) } else { Cell::Unknown }
    }),
    Spec::new("runtime_ms", BigInt, "From its start to its end, milliseconds.", |row, _| {
        let known = row.record.flags & flag::START_KNOWN != 0;
        let ran = row.record.time_ns.saturating_sub(row.record.start_ns) / NS_PER_MS;
        wide(known.then_some(ran))
    }),
    Spec::new(
        "process_id",
        Text,
        "Id no other process has, see ebpf_process_events.",
        |row, out| row.process_id(out),
    )
    .key(Key::ProcessId),
    Spec::new("parent_process_id", Text, "process_id of the parent.", |row, out| {
        id(row.record.parent_process_id, out)
    }),
    Spec::new("container_id", Text, "Container, from the cgroup's path.", |row, out| {
        row.text(row.record.container, out)
    }),
    Spec::new("time", BigInt, "When it ended, Unix seconds.", |row, _| row.time()).key(Key::Time),
    Spec::new("uptime", BigInt, "When it ended, seconds since boot.", |row, _| row.uptime()),
    Spec::new("eid", Text, "Event id, ascending.", |row, out| row.eid(out)).key(Key::Eid),
    Spec::new("source", Text, "Who reported it: bpf, audit or connector.", |row, out| {
        row.source(out)
    }),
];

static COLUMNS: [Column; SPECS.len()] = columns(SPECS);

static TABLE: Table = Table {
    name: "ebpf_process_exits",
    aliases: &[],
    columns: &COLUMNS,
    event_based: true,
    doc: "Ends of processes.",
};

/// `ebpf_process_exits`.
pub static EXITS: Definition<ExitRecord> =
    Definition { table: &TABLE, specs: SPECS, parts: |_| &[Part::Only] };
