use super::*;

#[test]
fn an_exec_becomes_a_row_with_all_its_parts() {
    let host = Host::new(Options::default());
    host.give([fork(9, (10, 2), (1, 0), (77, 9)), exec(10, (10, 2), (1, 0), &["/bin/sh"])]);
    let truncated = osquery_ebpf_probes::event::Truncated { env: true, ..Default::default() };
    let full = Exec {
        path: bytes("/usr/bin/ls"),
        raw_path: bytes("./ls"),
        interpreter: bytes("/bin/sh"),
        args: strings(&["ls", "-l", "a b\n\u{e9}"]),
        env: strings(&["PATH=/bin", "SECRET=x", "HOME=/root"]),
        cwd: bytes("/tmp"),
        tty: bytes("pts0"),
        file: Some(FileObject {
            device: Some(64),
            inode: Some(4711),
            mode: Some(0o100_755),
            uid: Some(0),
            gid: Some(5),
            size: Some(100),
            nlink: Some(1),
            atime: Some(1),
            mtime: Some(2),
            ctime: Some(3),
            btime: Some(4),
        }),
        fileless: Some(false),
        syscall: Some("execve"),
        truncated,
    };
    let docker = format!("/docker/{}", "ab".repeat(32));
    let who = Task {
        tid: 78,
        ns_pid: Some(5),
        creds: Some(Creds {
            uid: 1,
            gid: 2,
            euid: 3,
            egid: 4,
            suid: 5,
            sgid: 6,
            fsuid: 7,
            fsgid: 8,
        }),
        auid: Some(1000),
        namespaces: Some(Namespaces { mnt: 1, pid: 2, net: 3, user: 4 }),
        cgroup_id: Some(99),
        cgroup: bytes(&docker),
        ..task((77, 9), (10, 2))
    };
    host.give([event(11, who, Body::Exec(Box::new(full)))]);
    let rows = host.rows("ebpf_process_events", &[("pid", Op::Eq, "77")]);
    assert_eq!(rows.len(), 1);
    let (parent, init) = (id_of((10, 2)), id_of((1, 0)));
    let ancestry = format!(
        r#"[{{"pid":10,"process_id":"{parent}","path":"/bin/sh","cmdline":"/bin/sh"}},{{"pid":1,"process_id":"{init}"}}]"#
    );
    // The parent's creator was never seen by itself, so the ancestry ends with the parent.
    let ancestry = ancestry.replace(&format!(r#",{{"pid":1,"process_id":"{init}"}}"#), "");
    rows[0].assert(&[
        ("path", "/usr/bin/ls"),
        ("mode", "0100755"),
        ("cmdline", "ls -l a b\n\u{e9}"),
        ("cmdline_size", "13"),
        ("env", "PATH=/bin HOME=/root"),
        ("env_count", "3"),
        ("env_size", "30"),
        ("cwd", "/tmp"),
        ("auid", "1000"),
        ("uid", "1"),
        ("gid", "2"),
        ("euid", "3"),
        ("egid", "4"),
        ("suid", "5"),
        ("sgid", "6"),
        ("fsuid", "7"),
        ("fsgid", "8"),
        ("owner_uid", "0"),
        ("owner_gid", "5"),
        ("atime", "1"),
        ("mtime", "2"),
        ("ctime", "3"),
        ("btime", "4"),
        ("overflows", "env"),
        ("parent", "10"),
        ("time", "1700000011"),
        ("uptime", "11"),
        ("eid", "0000000002"),
        ("syscall", "execve"),
        ("tid", "78"),
        ("cid", "99"),
        ("exit_code", "0"),
        ("probe_error", "1"),
        ("json_cmdline", "[\"ls\",\"-l\",\"a b\\n\u{e9}\"]"),
        ("ntime", "11000000000"),
        ("process_id", &id_of((77, 9))),
        ("parent_process_id", &parent),
        ("parent_path", "/bin/sh"),
        ("parent_cmdline", "/bin/sh"),
        ("ancestry", &ancestry),
        ("ns_pid", "5"),
        ("container_id", &"ab".repeat(32)),
        ("cgroup", &docker),
        ("mnt_ns", "1"),
        ("pid_ns", "2"),
        ("net_ns", "3"),
        ("user_ns", "4"),
        ("tty", "pts0"),
        ("interpreter", "/bin/sh"),
        ("raw_path", "./ls"),
        ("inode", "4711"),
        ("device", "64"),
        ("fileless", "0"),
        ("source", "bpf"),
    ]);
    assert_eq!(rows[0].get("duration"), None);
}

fn in_proc(pid: u32, start_s: u64, parent: Option<u32>, args: &[&str]) -> ProcProcess {
    ProcProcess {
        pid,
        start_ns: start_s * SECOND,
        parent_pid: parent,
        exe: bytes(args[0]),
        cmdline: strings(args),
        cwd: bytes("/srv"),
        ..ProcProcess::default()
    }
}

const PROCESSES_TABLE: &str = "ebpf_process_events";

#[test]
fn what_is_not_known_is_left_out_of_the_row() {
    let host = Host::new(Options::default());
    let exec = Exec { path: bytes("/bin/true"), ..Exec::default() };
    let task = Task { pid: 5, tid: 5, ..Task::default() };
    host.give([event(3, task, Body::Exec(Box::new(exec)))]);
    let rows = host.rows(PROCESSES_TABLE, &[]);
    let known: Vec<&str> = rows[0].0.keys().copied().collect();
    let expected = [
        "eid",
        "exit_code",
        "ntime",
        "overflows",
        "path",
        "pid",
        "probe_error",
        "source",
        "tid",
        "time",
        "uptime",
    ];
    assert_eq!(known, expected);
    rows[0].assert(&[("probe_error", "1"), ("overflows", "")]);
}

#[test]
fn a_child_that_never_executes_has_its_parents_program() {
    let host = Host::new(Options {
        process_events: vec![EventKind::Exec, EventKind::Fork, EventKind::Setid],
        ..Options::default()
    });
    let setid = osquery_ebpf_probes::event::Setid { syscall: Some("setuid"), before: None };
    let creds = Creds { uid: 33, ..Creds::default() };
    let worker = Task { creds: Some(creds), ..task((20, 6), (10, 2)) };
    host.give([
        exec(5, (10, 2), (1, 0), &["/usr/sbin/daemon", "-x"]),
        fork(6, (10, 2), (1, 0), (20, 6)),
        event(7, worker, Body::Setid(setid)),
        exit(8, (20, 6), (10, 2), 3),
    ]);
    let rows = host.rows(PROCESSES_TABLE, &[]);
    assert_eq!(column(&rows, "syscall"), ["?", "clone", "setuid"]);
    for row in &rows[1..] {
        row.assert(&[
            ("pid", "20"),
            ("parent", "10"),
            ("path", "/usr/sbin/daemon"),
            ("cmdline", "/usr/sbin/daemon -x"),
            ("process_id", &id_of((20, 6))),
            ("parent_process_id", &id_of((10, 2))),
        ]);
    }
    rows[1].assert(&[("exit_code", "20")]);
    rows[2].assert(&[("uid", "33"), ("exit_code", "0")]);
    let exits = host.rows("ebpf_process_exits", &[]);
    exits[0].assert(&[
        ("pid", "20"),
        ("path", "/usr/sbin/daemon"),
        ("cmdline", "/usr/sbin/daemon -x"),
        ("uid", "33"),
        ("parent", "10"),
        ("exit_code", "3"),
        ("core_dumped", "0"),
        ("start_time", "1700000006"),
        ("runtime_ms", "2000"),
        ("process_id", &id_of((20, 6))),
        ("parent_process_id", &id_of((10, 2))),
        ("time", "1700000008"),
    ]);
    assert_eq!(exits[0].get("signal"), None);
}

#[test]
fn a_death_by_signal_has_no_exit_code() {
    let host = Host::new(Options::default());
    let end = Exit { code: None, signal: Some(11), core_dumped: Some(true) };
    host.give([event(3, task((9, 1), (1, 0)), Body::Exit(end))]);
    let rows = host.rows("ebpf_process_exits", &[]);
    rows[0].assert(&[("signal", "11"), ("core_dumped", "1")]);
    assert_eq!(rows[0].get("exit_code"), None);
}

#[test]
fn ancestry_answers_after_the_ancestors_have_gone() {
    let host = Host::new(Options::default());
    host.give([
        exec(1, (1, 0), (0, 0), &["/sbin/init"]),
        fork(2, (1, 0), (0, 0), (10, 2)),
        exec(2, (10, 2), (1, 0), &["/usr/sbin/sshd"]),
        fork(3, (10, 2), (1, 0), (20, 3)),
        exec(3, (20, 3), (10, 2), &["/bin/bash", "-l"]),
        fork(4, (20, 3), (10, 2), (30, 4)),
        exit(5, (20, 3), (10, 2), 0),
        exit(5, (10, 2), (1, 0), 0),
        // The kernel has made it init's child by now.
        exec(6, (30, 4), (1, 0), &["/tmp/miner"]),
    ]);
    let rows = host.rows(PROCESSES_TABLE, &[("path", Op::Eq, "/tmp/miner")]);
    rows[0].assert(&[("parent", "1"), ("parent_path", "/sbin/init")]);
    let ancestry: serde_json::Value =
        serde_json::from_str(rows[0].get("ancestry").unwrap()).unwrap();
    let list = |key: &str| -> Vec<String> {
        let all = ancestry.as_array().unwrap().iter();
        all.map(|each| each[key].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(list("path"), ["/bin/bash", "/usr/sbin/sshd", "/sbin/init"]);
    assert_eq!(list("cmdline"), ["/bin/bash -l", "/usr/sbin/sshd", "/sbin/init"]);
    assert_eq!(list("process_id"), [id_of((20, 3)), id_of((10, 2)), id_of((1, 0))]);
}

#[test]
fn ancestry_shows_what_an_ancestor_runs_now_not_what_it_ran_before() {
    let host = Host::new(Options::default());
    host.give([
        exec(1, (10, 1), (1, 0), &["/bin/sh"]),
        fork(2, (10, 1), (1, 0), (11, 2)),
        exec(2, (11, 2), (10, 1), &["/bin/first"]),
        exec(3, (10, 1), (1, 0), &["/bin/other"]),
        fork(4, (10, 1), (1, 0), (12, 4)),
        exec(4, (12, 4), (10, 1), &["/bin/second"]),
    ]);
    let rows = host.rows(PROCESSES_TABLE, &[("parent", Op::Eq, "10")]);
    assert_eq!(column(&rows, "parent_path"), ["/bin/sh", "/bin/other"]);
}

#[test]
fn a_deep_ancestry_is_cut_at_its_oldest_end() {
    let host = Host::new(Options::default());
    let mut events = Vec::new();
    for depth in 1..=30_u32 {
        let (parent, child) = ((depth, u64::from(depth)), (depth + 1, u64::from(depth) + 1));
        events.push(fork(u64::from(depth) + 1, parent, (depth - 1, u64::from(depth) - 1), child));
    }
    events.push(exec(40, (31, 31), (30, 30), &["/bin/deep"]));
    host.give(events);
    let rows = host.rows(PROCESSES_TABLE, &[]);
    let ancestry: serde_json::Value =
        serde_json::from_str(rows[0].get("ancestry").unwrap()).unwrap();
    let pids: Vec<u64> =
        ancestry.as_array().unwrap().iter().map(|each| each["pid"].as_u64().unwrap()).collect();
    assert_eq!(pids, (15..=30).rev().collect::<Vec<_>>());
}

#[test]
fn processes_from_before_the_start_are_known_from_proc() {
    let host = Host::new(Options::default());
    for process in
        [in_proc(1, 0, None, &["/sbin/init"]), in_proc(10, 2, Some(1), &["/bin/bash", "-i"])]
    {
        host.processes.0.lock().insert(process.pid, process);
    }
    assert_eq!(host.tables.seed(), 2);
    host.give([exec(50, (60, 50), (10, 2), &["/bin/ls"])]);
    let rows = host.rows(PROCESSES_TABLE, &[]);
    rows[0].assert(&[("parent_path", "/bin/bash"), ("parent_cmdline", "/bin/bash -i")]);
    assert!(rows[0].get("ancestry").unwrap().contains("/sbin/init"));
}

#[test]
fn an_exec_without_details_is_completed_from_proc() {
    let host = Host::new(Options::default());
    let found = in_proc(10, 50, Some(1), &["/bin/cat", "x"]);
    host.processes.0.lock().insert(10, found);
    // As the process connector reports it.
    let bare = |pid| RawEvent {
        time_ns: 50 * SECOND + 5,
        source: SourceKind::Connector,
        task: Task { pid, tid: pid, ..Task::default() },
        body: Body::Exec(Box::default()),
    };
    host.give([bare(10), bare(11)]);
    let rows = host.rows(PROCESSES_TABLE, &[]);
    rows[0].assert(&[
        ("path", "/bin/cat"),
        ("cmdline", "/bin/cat x"),
        ("cwd", "/srv"),
        ("parent", "1"),
        ("process_id", &id_of((10, 50))),
        ("probe_error", "0"),
        ("source", "connector"),
    ]);
    // The other was gone already: it keeps its row, and says no more than is known.
    assert_eq!(rows[1].get("path"), None);
    rows[1].assert(&[("pid", "11"), ("probe_error", "1")]);
}

#[test]
fn a_forked_child_without_a_start_gets_it_from_proc() {
    let options = Options { process_events: vec![EventKind::Fork], ..Options::default() };
    let host = Host::new(options);
    host.processes.0.lock().insert(20, in_proc(20, 6, Some(10), &["/bin/sh"]));
    let fork = Fork { child_pid: 20, ..Fork::default() };
    host.give([event(6, task((10, 2), (1, 0)), Body::Fork(fork))]);
    let rows = host.rows(PROCESSES_TABLE, &[]);
    rows[0].assert(&[("pid", "20"), ("process_id", &id_of((20, 6))), ("parent", "10")]);
}

#[test]
fn a_reused_pid_does_not_inherit_from_its_predecessor() {
    let host = Host::new(Options::default());
    host.give([
        exec(10, (50, 10), (1, 0), &["/bin/old"]),
        exit(11, (50, 10), (1, 0), 0),
        fork(20, (1, 0), (0, 0), (50, 20)),
        exit(21, (50, 20), (1, 0), 0),
    ]);
    let rows = host.rows("ebpf_process_exits", &[("pid", Op::Eq, "50")]);
    assert_eq!(column(&rows, "path"), ["/bin/old", "?"]);
    assert_ne!(rows[0].get("process_id"), rows[1].get("process_id"));
}

#[test]
fn text_that_is_not_utf8_is_readable_and_not_lost() {
    let host = Host::new(Options::default());
    let exec = Exec {
        path: Some(b"/tmp/\xff".as_slice().into()),
        args: Strings { bytes: Some(b"a\xfe\0b\n\0".as_slice().into()), ..Strings::default() },
        ..Exec::default()
    };
    host.give([event(3, task((5, 1), (1, 0)), Body::Exec(Box::new(exec)))]);
    for constraint in [("path", Op::Eq, "/tmp/\\xff"), ("cmdline", Op::Like, "a\\xfe%")] {
        let rows = host.rows(PROCESSES_TABLE, &[constraint]);
        rows[0].assert(&[
            ("path", "/tmp/\\xff"),
            ("cmdline", "a\\xfe b\n"),
            ("json_cmdline", r#"["a\\xfe","b\n"]"#),
        ]);
    }
}

#[test]
fn the_sha256_of_an_executable_is_computed_only_when_named_and_only_of_the_same_file() {
    use std::os::unix::fs::MetadataExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program");
    std::fs::write(&path, "content").unwrap();
    let found = std::fs::metadata(&path).unwrap();
    let object = FileObject {
        device: Some(found.dev()),
        inode: Some(found.ino()),
        size: Some(found.size()),
        mtime: Some(found.mtime()),
        ctime: Some(found.ctime()),
        ..FileObject::default()
    };
    let program = |object| {
        let path = bytes(path.to_str().unwrap());
        Body::Exec(Box::new(Exec { path, file: Some(object), ..Exec::default() }))
    };
    let host = Host::new(Options::default());
    let other = FileObject { inode: Some(found.ino() + 1), ..object };
    let unknown = FileObject { device: None, ..object };
    host.give(
        [object, other, unknown]
            .map(|object| event(3, task((u32::MAX - 1, 1), (1, 0)), program(object))),
    );
    // printf content | sha256sum
    let expected = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    assert_eq!(column(&host.rows(PROCESSES_TABLE, &[]), "sha256"), [expected, "?", "?"]);
    std::fs::write(&path, "changed content").unwrap();
    assert_eq!(column(&host.rows(PROCESSES_TABLE, &[]), "sha256"), ["?", "?", "?"]);
}

#[test]
fn a_container_is_found_by_audit_too_though_its_events_tell_no_cgroup() {
    let host = Host::new(Options::default());
    let id = "cd".repeat(32);
    let inside = ProcProcess {
        cgroup: bytes(&format!("/docker/{id}")),
        ..in_proc(30, 6, Some(10), &["/bin/later"])
    };
    host.processes.0.lock().insert(30, inside);
    let runc = Task { cgroup: bytes("/system.slice/docker.service"), ..task((10, 2), (1, 0)) };
    let mut child = exec(6, (30, 6), (10, 2), &["/bin/app"]);
    child.source = SourceKind::Audit;
    child.task.start_ns = None;
    let fork = Fork { child_pid: 30, ..Fork::default() };
    host.give([event(6, runc, Body::Fork(fork)), child]);
    let rows = host.rows(PROCESSES_TABLE, &[]);
    // The event itself counts where it says something; /proc may have moved on.
    rows[0].assert(&[("container_id", &id), ("path", "/bin/app"), ("cmdline", "/bin/app")]);
    rows[0].assert(&[("process_id", &id_of((30, 6)))]);
}

#[test]
fn this_hosts_processes_can_be_seeded() {
    let facts = HostFacts {
        boot_id: BootId::read().unwrap(),
        kernel: String::new(),
        btf: String::new(),
        mnt_ns: None,
    };
    let tables = EventTables::new(Options::default(), facts).unwrap();
    let found = tables.seed();
    let (live, ended) = tables.accounting().processes;
    assert_eq!((live, ended), (found, 0));
    assert!(live >= 1);
    // Ourselves, with the path /proc has.
    let state = tables.state.lock();
    let slot = state.cache.by_pid(std::process::id(), u64::MAX).unwrap();
    let own = std::env::current_exe().unwrap();
    let path = state.cache.get(slot).unwrap().image.path.clone().unwrap();
    assert_eq!(*path, *own.to_str().unwrap().as_bytes());
}
