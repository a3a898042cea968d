use osquery_ebpf_probes::event::{File, FileAction};

use super::*;

const TABLE: &str = "ebpf_file_events";
const PROCESS_TABLE: &str = "ebpf_process_file_events";

fn watching(paths: &[&str], excluded: &[&str], accesses: bool) -> Host {
    let host = Host::new(Options::default());
    let list = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect();
    host.tables.set_watch(&WatchConfig {
        file_paths: vec![("cat".into(), list(paths)), ("other".into(), vec!["/other/%%".into()])],
        exclude_paths: vec![("cat".into(), list(excluded))],
        file_accesses: if accesses { vec!["cat".into()] } else { Vec::new() },
    });
    host
}

fn file(action: FileAction, path: &str, dest: Option<&str>) -> Body {
    Body::File(Box::new(File {
        action,
        path: bytes(path),
        dest_path: dest.and_then(bytes),
        object: Some(FileObject {
            device: Some(64),
            inode: Some(12),
            mode: Some(0o100_640),
            uid: Some(1),
            gid: Some(2),
            size: Some(3),
            atime: Some(4),
            mtime: Some(5),
            ctime: Some(6),
            ..FileObject::default()
        }),
        is_dir: Some(false),
        syscall: Some("openat"),
        result: None,
        truncated: false,
    }))
}

fn change(time_s: u64, action: FileAction, path: &str, dest: Option<&str>) -> RawEvent {
    event(time_s, task((10, 2), (1, 0)), file(action, path, dest))
}

/// As fanotify reports it: a pid and no more.
fn fanotify(time_ns: u64, pid: u32, action: FileAction, path: &str) -> RawEvent {
    let task = Task { pid, ..Task::default() };
    RawEvent { time_ns, source: SourceKind::Fanotify, task, body: file(action, path, None) }
}

#[test]
fn a_change_becomes_a_row_of_each_table() {
    let host = watching(&["/w/%%"], &[], false);
    let creds = Creds { uid: 1, gid: 2, euid: 3, egid: 4, suid: 5, sgid: 6, fsuid: 7, fsgid: 8 };
    let who = Task {
        creds: Some(creds),
        auid: Some(1000),
        cwd: bytes("/w"),
        namespaces: Some(Namespaces { mnt: 1000, ..Namespaces::default() }),
        ..task((10, 2), (1, 0))
    };
    host.give([
        exec(9, (10, 2), (1, 0), &["/usr/bin/vi", "x"]),
        event(10, who, file(FileAction::CloseWrite, "/w/a/x", None)),
    ]);
    host.rows(TABLE, &[])[0].assert(&[
        ("target_path", "/w/a/x"),
        ("category", "cat"),
        ("action", "UPDATED"),
        ("transaction_id", "0"),
        ("inode", "12"),
        ("device", "64"),
        ("uid", "1"),
        ("gid", "2"),
        ("mode", "0640"),
        ("size", "3"),
        ("atime", "4"),
        ("mtime", "5"),
        ("ctime", "6"),
        ("time", "1700000010"),
        ("eid", "0000000001"),
        ("pid", "10"),
        ("path", "/usr/bin/vi"),
        ("cmdline", "/usr/bin/vi x"),
        ("process_id", &id_of((10, 2))),
        ("parent", "1"),
        ("auid", "1000"),
        ("euid", "3"),
        ("syscall", "openat"),
        ("host_path", "/w/a/x"),
        ("source", "bpf"),
        // No such file is there to be hashed.
        ("hashed", "-1"),
    ]);
    host.rows(PROCESS_TABLE, &[])[0].assert(&[
        ("operation", "write"),
        ("pid", "10"),
        ("ppid", "1"),
        ("time", "1700000010"),
        ("executable", "/usr/bin/vi"),
        ("partial", "false"),
        ("cwd", "/w"),
        ("path", "/w/a/x"),
        ("uid", "1"),
        ("gid", "2"),
        ("auid", "1000"),
        ("euid", "3"),
        ("egid", "4"),
        ("suid", "5"),
        ("sgid", "6"),
        ("fsuid", "7"),
        ("fsgid", "8"),
        ("uptime", "10"),
        ("eid", "0000000001"),
    ]);
}

#[test]
fn every_action_has_osquerys_word_in_both_tables() {
    let host = watching(&["/w/%%"], &[], true);
    use FileAction::*;
    let actions = [
        (Create, "CREATED", "create"),
        (Mkdir, "CREATED", "mkdir"),
        (Symlink, "CREATED", "symlink"),
        (Link, "LINKED", "link"),
        (CloseWrite, "UPDATED", "write"),
        (Modify, "UPDATED", "write"),
        (Truncate, "UPDATED", "write"),
        (Unlink, "DELETED", "unlink"),
        (Rmdir, "DELETED", "rmdir"),
        (Chmod, "ATTRIBUTES_MODIFIED", "chmod"),
        (Chown, "ATTRIBUTES_MODIFIED", "chown"),
        (Attributes, "ATTRIBUTES_MODIFIED", "attributes"),
        (Open, "OPENED", "open"),
        (Access, "ACCESSED", "read"),
    ];
    host.give(actions.iter().map(|&(action, ..)| change(3, action, "/w/x", None)));
    let words: Vec<&str> = actions.iter().map(|&(_, word, _)| word).collect();
    assert_eq!(column(&host.rows(TABLE, &[]), "action"), words);
    let words: Vec<&str> = actions.iter().map(|&(_, _, word)| word).collect();
    assert_eq!(column(&host.rows(PROCESS_TABLE, &[]), "operation"), words);
}

#[test]
fn a_rename_is_two_rows_of_one_transaction_and_one_operation() {
    let host = watching(&["/w/%%"], &[], false);
    host.give([
        change(1, FileAction::Create, "/w/a", None),
        change(2, FileAction::Rename, "/w/a", Some("/other/b")),
        change(3, FileAction::Rename, "/w/out", Some("/gone")),
        change(4, FileAction::Rename, "/came", Some("/w/in")),
        change(5, FileAction::Unlink, "/w/in", None),
    ]);
    let rows = host.rows(TABLE, &[]);
    let part = |name: &str| column(&rows[1..5], name);
    assert_eq!(part("action"), ["MOVED_FROM", "MOVED_TO", "MOVED_FROM", "MOVED_TO"]);
    assert_eq!(part("target_path"), ["/w/a", "/other/b", "/w/out", "/w/in"]);
    assert_eq!(part("dest_path"), ["/other/b", "/w/a", "/gone", "/came"]);
    assert_eq!(part("category"), ["cat", "other", "cat", "cat"]);
    assert_eq!(part("transaction_id"), ["2", "2", "4", "5"]);
    let eids = ["0000000001", "0000000002", "0000000003", "0000000004", "0000000005", "0000000006"];
    assert_eq!(column(&rows, "eid"), eids);
    let operations = host.rows(PROCESS_TABLE, &[]);
    assert_eq!(
        column(&operations, "operation"),
        ["create", "rename", "rename", "rename", "unlink"]
    );
    assert_eq!(column(&operations[1..2], "dest_path"), ["/other/b"]);
    // Each half is found by its own event id.
    for eid in eids {
        let found = host.rows(TABLE, &[("eid", Op::Eq, eid)]);
        assert_eq!(column(&found, "eid"), [eid]);
    }
    let after = host.rows(TABLE, &[("eid", Op::Gt, "0000000002")]);
    assert!(after.len() >= 4 && column(&after, "eid").contains(&"0000000003"));
    assert_eq!(host.kind(EventKind::File).counts.stored, 5);
}

/// SQLite scans once for each side of an `OR` and drops rows whose number it has seen: a number that
/// were a row's position in its scan would lose rows.
#[test]
fn a_rows_number_is_its_own_and_the_same_in_every_scan() {
    let host = watching(&["/w/%%"], &[], false);
    host.give([
        change(1, FileAction::Create, "/w/a", None),
        change(2, FileAction::Rename, "/w/a", Some("/w/b")),
        change(3, FileAction::Unlink, "/w/b", None),
    ]);
    for (table, column) in [(TABLE, "target_path"), (PROCESS_TABLE, "path")] {
        let numbers = |constraints: &[(&str, Op, &str)]| {
            let found = host.tables.tables().iter().find(|found| found.name == table).unwrap();
            let constraints = constraints.iter().map(|(column, op, value)| Constraint {
                column: found.column(column).unwrap(),
                op: *op,
                value: (*value).to_owned(),
            });
            let constraints = constraints.collect();
            let request = Request { constraints, columns: Some(vec![]), caller: Caller::AdHoc };
            let scan = host.tables.scan(table, &request).unwrap();
            (0..scan.len()).map(|index| scan.rowid(index).unwrap()).collect::<Vec<_>>()
        };
        let all = numbers(&[]);
        let own: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(own.len(), all.len());
        let last =
            numbers(&[(column, Op::Eq, "/w/b"), ("time", Op::Ge, &(BOOT_UNIX + 3).to_string())]);
        assert_eq!(last, [*all.last().unwrap()]);
    }
}

#[test]
fn links_name_what_was_before_first_where_the_core_does() {
    let host = watching(&["/w/%%"], &[], false);
    host.give([
        change(1, FileAction::Link, "/w/new", Some("/w/old")),
        change(2, FileAction::Symlink, "/w/link", Some("../target")),
    ]);
    let rows = host.rows(TABLE, &[]);
    assert_eq!(column(&rows, "target_path"), ["/w/new", "/w/link"]);
    assert_eq!(column(&rows, "dest_path"), ["/w/old", "../target"]);
    let rows = host.rows(PROCESS_TABLE, &[]);
    assert_eq!(column(&rows, "path"), ["/w/old", "../target"]);
    assert_eq!(column(&rows, "dest_path"), ["/w/new", "/w/link"]);
}

#[test]
fn what_is_not_watched_is_counted_and_not_stored() {
    let host = watching(&["/w/%%"], &["/w/noise/%%"], false);
    host.give([
        change(1, FileAction::Create, "/elsewhere", None),
        change(1, FileAction::Create, "/w/noise/x", None),
        change(1, FileAction::Rename, "/w/noise/x", Some("/elsewhere")),
        change(1, FileAction::Open, "/w/x", None),
        change(1, FileAction::Create, "/w/x", None),
    ]);
    assert_eq!(column(&host.rows(TABLE, &[]), "target_path"), ["/w/x"]);
    let kind = host.kind(EventKind::File);
    assert_eq!((kind.flow.unwatched, kind.counts.stored), (4, 1));
}

#[test]
fn a_file_event_with_only_a_pid_waits_for_its_process() {
    let host = watching(&["/w/%%"], &[], false);
    let now = 100 * SECOND;
    host.clock.set(now);
    // The file event overtakes the fork and exec of who did it, and its exit.
    host.give([fanotify(now, 30, FileAction::Create, "/w/x")]);
    assert!(host.rows(TABLE, &[]).is_empty());
    assert_eq!(host.kind(EventKind::File).pending, 1);
    host.give([
        fork(99, (10, 2), (1, 0), (30, 99)),
        exec(99, (30, 99), (10, 2), &["/usr/bin/touch", "/w/x"]),
        exit(100, (30, 99), (10, 2), 0),
    ]);
    host.at(now + 49_000_000);
    assert!(host.rows(TABLE, &[]).is_empty());
    let rows = host.at(now + 50_000_000).rows(TABLE, &[]);
    rows[0].assert(&[
        ("pid", "30"),
        ("path", "/usr/bin/touch"),
        ("cmdline", "/usr/bin/touch /w/x"),
        ("parent", "10"),
        ("process_id", &id_of((30, 99))),
        ("host_path", "/w/x"),
        ("source", "fanotify"),
    ]);
    assert_eq!(host.rows(PROCESS_TABLE, &[])[0].get("partial"), Some("false"));
}

#[test]
fn a_process_that_executed_since_is_named_by_what_it_was_then() {
    let host = watching(&["/w/%%"], &[], false);
    host.clock.set(20 * SECOND);
    host.give([
        exec(10, (30, 10), (1, 0), &["/bin/first"]),
        fanotify(11 * SECOND, 30, FileAction::Create, "/w/x"),
        exec(12, (30, 10), (1, 0), &["/bin/second"]),
        fanotify(13 * SECOND, 30, FileAction::Create, "/w/y"),
    ]);
    host.tables.flush(Duration::ZERO);
    assert_eq!(column(&host.rows(TABLE, &[]), "path"), ["/bin/first", "/bin/second"]);
}

#[test]
fn a_pid_nobody_told_of_is_read_from_proc_and_only_once() {
    let host = watching(&["/w/%%"], &[], false);
    let known = ProcProcess {
        pid: 30,
        start_ns: 10 * SECOND,
        exe: bytes("/bin/old"),
        ..ProcProcess::default()
    };
    host.processes.0.lock().insert(30, known);
    let now = 100 * SECOND;
    host.give([30, 31].map(|pid| fanotify(now, pid, FileAction::Create, "/w/x")));
    host.tables.flush(Duration::ZERO);
    let rows = host.rows(TABLE, &[]);
    assert_eq!(column(&rows, "path"), ["/bin/old", "?"]);
    assert_eq!(column(&rows, "pid"), ["30", "31"]);
    assert_eq!(column(&host.rows(PROCESS_TABLE, &[]), "partial"), ["true", "true"]);
}

#[test]
fn too_many_waiting_file_events_are_stored_early_and_counted() {
    use crate::pending::MAX_FILES;
    let host = watching(&["/w/%%"], &[], false);
    let now = 100 * SECOND;
    host.give((0..MAX_FILES + 10).map(|_| fanotify(now, 30, FileAction::Create, "/w/x")));
    let kind = host.kind(EventKind::File);
    assert_eq!((kind.pending, kind.counts.stored, kind.given_up), (MAX_FILES as u64, 10, 10));
    host.at(now + SECOND);
    assert_eq!(host.kind(EventKind::File).counts.stored, MAX_FILES as u64 + 10);
}

#[test]
fn hashes_are_of_the_content_the_event_left() {
    use std::os::unix::fs::MetadataExt as _;
    let directory = tempfile::tempdir().unwrap();
    let real = directory.path().canonicalize().unwrap();
    let host = watching(&[&format!("{}/%%", real.display())], &[], false);
    let path = real.join("file");
    std::fs::write(&path, "content").unwrap();
    let found = std::fs::metadata(&path).unwrap();
    let of = |action, path: &std::path::Path, mtime| {
        let name = path.to_str().unwrap();
        let Body::File(mut body) = file(action, name, None) else { panic!() };
        body.object = Some(FileObject {
            device: Some(found.dev()),
            inode: Some(found.ino()),
            size: Some(found.size()),
            mtime,
            ..FileObject::default()
        });
        event(5, task((10, 2), (1, 0)), Body::File(body))
    };
    let mtime = Some(found.mtime());
    host.give([
        of(FileAction::CloseWrite, &path, mtime),
        of(FileAction::Unlink, &path, mtime),
        of(FileAction::CloseWrite, &path, Some(found.mtime() - 5)),
        of(FileAction::CloseWrite, &real.join("gone"), mtime),
    ]);
    let rows = host.rows(TABLE, &[]);
    assert_eq!(column(&rows, "hashed"), ["1", "0", "-1", "-1"]);
    // From md5sum, sha1sum and sha256sum.
    rows[0].assert(&[
        ("md5", "9a0364b9e99bb480dd25e1f0284c8555"),
        ("sha1", "040f06fd774092478d450774f5ba30c5da78acc8"),
        ("sha256", "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"),
    ]);
    for row in &rows[1..] {
        assert_eq!((row.get("md5"), row.get("sha256")), (None, None));
    }
    host.tables.set_options(Options { hashes: false, ..Options::default() }).unwrap();
    assert_eq!(column(&host.rows(TABLE, &[]), "hashed"), ["0", "0", "0", "0"]);
}

#[test]
fn nobody_is_named_for_a_process_outside_our_pid_namespace() {
    let host = watching(&["/w/%%"], &[], false);
    host.give([fanotify(100 * SECOND, 0, FileAction::Create, "/w/x")]);
    host.tables.flush(Duration::ZERO);
    let rows = host.rows(TABLE, &[]);
    for unknown in ["pid", "path", "process_id", "parent"] {
        assert_eq!(rows[0].get(unknown), None, "{unknown}");
    }
    assert_eq!(host.tables.accounting().processes, (0, 0));
}
