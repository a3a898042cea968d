//! `ebpf_events_health` and `ebpf_events_statistics`.

use crate::schema::ColumnType::{self, BigInt, Integer, Text};
use crate::schema::{Column, Table};

const fn column(name: &'static str, ty: ColumnType, doc: &'static str) -> Column {
    Column { name, ty, doc, options: 0 }
}

static HEALTH_COLUMNS: [Column; 43] = [
    column("kind", Text, "Event kind: exec, fork, exit, setid, namespace, socket or file."),
    column(
        "source",
        Text,
        "Where the kind comes from now: bpf, audit, connector, fanotify; empty: from nowhere.",
    ),
    column(
        "tier",
        Text,
        "How it is obtained, such as tp_btf, tracepoint, fentry, rules, multicast, marks.",
    ),
    column(
        "reason",
        Text,
        "Why this source and tier, and not a better one; empty: it is the best.",
    ),
    column("probes_attached", Integer, "Hooks that are in place."),
    column("probes_failed", Integer, "Hooks that were wanted and refused."),
    column("kernel", Text, "Release of the running kernel."),
    column(
        "btf",
        Text,
        "Whether the kernel describes its types: the file they are read from, or none.",
    ),
    column("ring_bytes", BigInt, "Capacity of the ring or queue."),
    column(
        "produced",
        BigInt,
        "Records the kernel side tried to hand over: received + lost_ring once the ring is \
         empty.",
    ),
    column("received", BigInt, "Records read: malformed + delivered, of the source in use."),
    column("lost_ring", BigInt, "Records there was no room for."),
    column(
        "lost_missed",
        BigInt,
        "Hook runs the kernel skipped, and in-flight state it had no room for.",
    ),
    column("malformed", BigInt, "Records that made no sense."),
    column(
        "filtered_kernel",
        BigInt,
        "Events the kernel side left out as asked: excluded, or our own.",
    ),
    column("excluded", BigInt, "Events left out here as asked."),
    column("truncated", BigInt, "Events with a part that was cut; they are stored."),
    column("stored", BigInt, "Events put into their table: held + evicted + expired."),
    column("evicted", BigInt, "Events that made room for others."),
    column("expired", BigInt, "Events that became too old."),
    column("held", BigInt, "Events in their table now."),
    column(
        "held_bytes",
        BigInt,
        "Bytes of the store this kind is kept in; exec, fork, setid and namespace share one.",
    ),
    column("oldest", BigInt, "Time of the first event of that store, Unix seconds."),
    column("newest", BigInt, "Time of the last event of that store, Unix seconds."),
    column("lag_ms", BigInt, "From the last event of this kind to its arrival here, milliseconds."),
    column("attached_seconds", BigInt, "How long the source has been attached."),
    column("last_error", Text, "The last thing that went wrong."),
    column(
        "delivered",
        BigInt,
        "Events that came from any source since the start: excluded + unselected + unwatched \
         + folded + pending + stored.",
    ),
    column(
        "unselected",
        BigInt,
        "Events of a kind that is not in process_events; the process cache learned from them.",
    ),
    column("unwatched", BigInt, "File events on paths that file_paths does not name."),
    column("folded", BigInt, "Answers to connects, which became part of another event's row."),
    column(
        "pending",
        BigInt,
        "Events that wait for something: connects for their answer, file events for their \
         process.",
    ),
    column(
        "evicted_unread",
        BigInt,
        "Events evicted or expired before a scheduled query had them.",
    ),
    column("pinned_bytes", BigInt, "Bytes kept only because a scheduled query is reading them."),
    column("cursors", BigInt, "Scheduled queries that read the store."),
    column("cursors_forgotten", BigInt, "Of those, given up for want of room: they start over."),
    column(
        "early_answers_dropped",
        BigInt,
        "For socket: answers to connects that were never asked about here, or found no room.",
    ),
    column(
        "pending_given_up",
        BigInt,
        "Events that stopped waiting: for socket without an answer, for file for want of \
         room.",
    ),
    column("processes", BigInt, "Living processes in the cache."),
    column("processes_exited", BigInt, "Ended processes in the cache."),
    column("processes_bytes", BigInt, "Bytes of the cache."),
    column("processes_evicted", BigInt, "Processes that made room in the cache."),
    column(
        "processes_unread",
        BigInt,
        "Processes that were not read from /proc, as too many were wanted at once.",
    ),
];

/// `ebpf_events_health`.
pub static HEALTH: Table = Table {
    name: "ebpf_events_health",
    aliases: &[],
    columns: &HEALTH_COLUMNS,
    event_based: false,
    doc: "One row per event kind: where it comes from and why, and what became of every event.",
};

static STATISTICS_COLUMNS: [Column; 5] = [
    column("what", Text, "path (changed file), initiator (executable), syscall or peer (address)."),
    column("name", Text, "Its name."),
    column("count", BigInt, "How often it occurred in the last minute, at most."),
    column(
        "error",
        BigInt,
        "By how much count may be too high, as only the most frequent names are counted.",
    ),
    column("seconds", BigInt, "Length of the window."),
];

/// `ebpf_events_statistics`.
pub static STATISTICS: Table = Table {
    name: "ebpf_events_statistics",
    aliases: &[],
    columns: &STATISTICS_COLUMNS,
    event_based: false,
    doc: "The busiest files, programs, calls and peers of the last minute.",
};
