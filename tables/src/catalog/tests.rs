//! The core's columns as its specs have them (osquery 5.23, specs/posix and specs/linux; the bpf
//! tables as of 5.22): names and types are a promise to existing queries.

use super::*;
use crate::schema::ColumnType::{self, BigInt, Integer, Text};

type Columns = &'static [(&'static str, ColumnType)];

const PROCESS_EVENTS: Columns = &[
    ("pid", BigInt),
    ("path", Text),
    ("mode", Text),
    ("cmdline", Text),
    ("cmdline_size", BigInt),
    ("env", Text),
    ("env_count", BigInt),
    ("env_size", BigInt),
    ("cwd", Text),
    ("auid", BigInt),
    ("uid", BigInt),
    ("euid", BigInt),
    ("gid", BigInt),
    ("egid", BigInt),
    ("owner_uid", BigInt),
    ("owner_gid", BigInt),
    ("atime", BigInt),
    ("mtime", BigInt),
    ("ctime", BigInt),
    ("btime", BigInt),
    ("overflows", Text),
    ("parent", BigInt),
    ("time", BigInt),
    ("uptime", BigInt),
    ("eid", Text),
    ("fsuid", BigInt),
    ("suid", BigInt),
    ("fsgid", BigInt),
    ("sgid", BigInt),
    ("syscall", Text),
];

const BPF_PROCESS_EVENTS: Columns = &[
    ("tid", BigInt),
    ("pid", BigInt),
    ("parent", BigInt),
    ("uid", BigInt),
    ("gid", BigInt),
    ("cid", Integer),
    ("exit_code", Text),
    ("probe_error", Integer),
    ("syscall", Text),
    ("path", Text),
    ("cwd", Text),
    ("cmdline", Text),
    ("duration", Integer),
    ("json_cmdline", Text),
    ("ntime", Text),
    ("time", BigInt),
];

const SOCKET_EVENTS: Columns = &[
    ("action", Text),
    ("pid", BigInt),
    ("path", Text),
    ("fd", Text),
    ("auid", BigInt),
    ("family", Integer),
    ("protocol", Integer),
    ("local_address", Text),
    ("remote_address", Text),
    ("local_port", Integer),
    ("remote_port", Integer),
    ("socket", Text),
    ("time", BigInt),
    ("uptime", BigInt),
    ("eid", Text),
    ("success", Integer),
    ("status", Text),
];

const BPF_SOCKET_EVENTS: Columns = &[
    ("tid", BigInt),
    ("pid", BigInt),
    ("parent", BigInt),
    ("uid", BigInt),
    ("gid", BigInt),
    ("cid", Integer),
    ("exit_code", Text),
    ("probe_error", Integer),
    ("syscall", Text),
    ("path", Text),
    ("fd", Text),
    ("family", Integer),
    ("type", Integer),
    ("protocol", Integer),
    ("local_address", Text),
    ("remote_address", Text),
    ("local_port", Integer),
    ("remote_port", Integer),
    ("duration", Integer),
    ("ntime", Text),
    ("time", BigInt),
];

const FILE_EVENTS: Columns = &[
    ("target_path", Text),
    ("category", Text),
    ("action", Text),
    ("transaction_id", BigInt),
    ("inode", BigInt),
    ("uid", BigInt),
    ("gid", BigInt),
    ("mode", Text),
    ("size", BigInt),
    ("atime", BigInt),
    ("mtime", BigInt),
    ("ctime", BigInt),
    ("md5", Text),
    ("sha1", Text),
    ("sha256", Text),
    ("hashed", Integer),
    ("time", BigInt),
    ("eid", Text),
];

const PROCESS_FILE_EVENTS: Columns = &[
    ("operation", Text),
    ("pid", BigInt),
    ("ppid", BigInt),
    ("time", BigInt),
    ("executable", Text),
    ("partial", Text),
    ("cwd", Text),
    ("path", Text),
    ("dest_path", Text),
    ("uid", Text),
    ("gid", Text),
    ("auid", Text),
    ("euid", Text),
    ("egid", Text),
    ("fsuid", Text),
    ("fsgid", Text),
    ("suid", Text),
    ("sgid", Text),
    ("uptime", BigInt),
    ("eid", Text),
];

fn offered(alias: &str) -> &'static Table {
    TABLES.iter().find(|table| table.aliases.contains(&alias)).unwrap()
}

#[test]
fn the_cores_columns_come_first_with_their_names_and_types() {
    for (alias, columns) in [
        ("process_events", PROCESS_EVENTS),
        ("socket_events", SOCKET_EVENTS),
        ("file_events", FILE_EVENTS),
        ("process_file_events", PROCESS_FILE_EVENTS),
    ] {
        let ours: Vec<_> =
            offered(alias).columns.iter().map(|column| (column.name, column.ty)).collect();
        assert_eq!(&ours[..columns.len()], columns, "{alias}");
    }
}

#[test]
fn the_former_bpf_tables_columns_are_all_there() {
    for (alias, columns) in
        [("bpf_process_events", BPF_PROCESS_EVENTS), ("bpf_socket_events", BPF_SOCKET_EVENTS)]
    {
        let table = offered(alias);
        for (name, ty) in columns {
            let column = &table.columns[table.column(name).unwrap()];
            assert_eq!(column.ty, *ty, "{alias}.{name}");
        }
    }
}

#[test]
fn no_column_is_hidden_twice_there_or_undocumented() {
    for table in TABLES {
        assert!(table.doc.ends_with('.'), "{}", table.name);
        assert!(table.name.starts_with("ebpf_"));
        let mut names: Vec<_> = table.columns.iter().map(|column| column.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), table.columns.len(), "{}", table.name);
        for column in table.columns {
            assert_eq!(column.options & 16, 0, "{}.{} is hidden", table.name, column.name);
            assert!(column.doc.ends_with('.'), "{}.{}", table.name, column.name);
        }
    }
}

#[test]
fn event_tables_have_the_cores_options_on_time_and_an_index_on_their_keys() {
    for table in TABLES.iter().filter(|table| table.event_based) {
        let options = |name: &str| table.column(name).map(|column| table.columns[column].options);
        assert_eq!(options("time"), Some(4), "{}", table.name);
        for key in ["pid", "eid"] {
            assert_eq!(options(key), Some(1), "{}.{key}", table.name);
        }
    }
}
