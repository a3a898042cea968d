use super::*;
use crate::options::Exclusions;

#[test]
fn every_event_ends_in_one_count() {
    let exclude = Exclusions {
        paths: vec!["/opt/%%".into()],
        processes: vec!["/usr/bin/backup".into()],
        uids: vec![33],
        ..Exclusions::default()
    };
    let mut options = Options { exclude, ..Options::default() };
    options.process.events = 3;
    let host = Host::new(options);
    let by = |uid| Task { creds: Some(Creds { uid, ..Creds::default() }), ..task((9, 1), (1, 0)) };
    let run = |path: &str, uid| {
        let exec = Exec { path: bytes(path), ..Exec::default() };
        event(5, by(uid), Body::Exec(Box::new(exec)))
    };
    host.give([
        run("/opt/x/y", 0),
        run("/usr/bin/backup", 0),
        // By the process that was excluded.
        run("/bin/true", 0),
        run("/bin/true", 33),
        run("/bin/a", 0),
        run("/bin/b", 0),
        run("/bin/c", 0),
        run("/bin/d", 0),
        fork(6, (9, 1), (1, 0), (10, 6)),
    ]);
    let exec = host.kind(EventKind::Exec);
    assert_eq!((exec.flow.delivered, exec.flow.excluded), (8, 4));
    assert_eq!((exec.counts.stored, exec.counts.evicted, exec.counts.held()), (4, 1, 3));
    let fork = host.kind(EventKind::Fork);
    assert_eq!((fork.flow.delivered, fork.flow.unselected, fork.counts.stored), (1, 1, 0));
    let rows = host.rows("ebpf_process_events", &[]);
    assert_eq!(column(&rows, "path"), ["/bin/b", "/bin/c", "/bin/d"]);
}

#[test]
fn what_an_excluded_process_does_is_left_out_and_what_it_was_is_remembered() {
    let exclude = Exclusions { processes: vec!["/usr/bin/backup".into()], ..Exclusions::default() };
    let host = Host::new(Options { exclude, ..Options::default() });
    host.give([
        exec(1, (9, 1), (1, 0), &["/usr/bin/backup"]),
        fork(2, (9, 1), (1, 0), (10, 2)),
        exit(3, (10, 2), (9, 1), 0),
        fork(4, (9, 1), (1, 0), (11, 4)),
        exec(4, (11, 4), (9, 1), &["/bin/tar"]),
    ]);
    // A fork of the excluded program is that program; what it executes is its doing.
    assert!(host.rows("ebpf_process_exits", &[]).is_empty());
    assert!(host.rows("ebpf_process_events", &[]).is_empty());
    // The process goes on as another program, with its ancestry whole.
    host.give([exec(5, (11, 4), (9, 1), &["/bin/gzip"])]);
    let rows = host.rows("ebpf_process_events", &[]);
    rows[0].assert(&[("path", "/bin/gzip"), ("parent_path", "/usr/bin/backup")]);
}

#[test]
fn cut_events_are_stored_and_counted() {
    let host = Host::new(Options::default());
    let truncated =
        osquery_ebpf_probes::event::Truncated { args: true, cwd: true, ..Default::default() };
    let exec = Exec { path: bytes("/bin/x"), truncated, ..Exec::default() };
    host.give([event(1, task((9, 1), (1, 0)), Body::Exec(Box::new(exec)))]);
    host.rows("ebpf_process_events", &[])[0].assert(&[("overflows", "cmdline,cwd")]);
    assert_eq!(host.kind(EventKind::Exec).flow.truncated, 1);
}

#[test]
fn the_process_cache_is_bounded_and_counts_what_went() {
    use crate::process::MAX_PROCESSES;
    let host = Host::new(Options::default());
    let many = MAX_PROCESSES as u32 + 1000;
    for chunk in (2..many + 2).collect::<Vec<_>>().chunks(1000) {
        host.give(
            chunk
                .iter()
                .flat_map(|&pid| [fork(5, (1, 0), (0, 0), (pid, 5)), exit(6, (pid, 5), (1, 0), 0)]),
        );
    }
    let accounting = host.tables.accounting();
    assert_eq!(accounting.processes, (1, MAX_PROCESSES - 1));
    assert_eq!(accounting.cache.inserted, u64::from(many) + 1);
    assert_eq!(accounting.cache.evicted_exited, 1001);
    assert_eq!(accounting.cache.evicted_live, 0);
}

#[test]
fn reading_of_proc_is_bounded_and_counted() {
    use crate::state::MAX_READS;
    let host = Host::new(Options::default());
    let bare = |pid| RawEvent {
        time_ns: 50 * SECOND,
        source: SourceKind::Connector,
        task: Task { pid, tid: pid, ..Task::default() },
        body: Body::Exec(Box::default()),
    };
    host.give((1..=MAX_READS as u32 + 5).map(bare));
    assert_eq!(host.tables.accounting().processes_unread, 5);
    assert_eq!(host.kind(EventKind::Exec).counts.stored, MAX_READS as u64 + 5);
}

#[test]
fn a_typical_exec_event_takes_at_most_400_bytes() {
    let host = Host::new(Options::default());
    let env = [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/home/developer",
        "SHELL=/bin/bash",
        "SSH_CONNECTION=192.0.2.77 51234 192.0.2.10 22",
    ];
    let programs = ["/usr/bin/gcc", "/usr/bin/ld", "/bin/sh", "/usr/bin/make", "/usr/bin/grep"];
    let mut events = vec![exec(1, (100, 1), (1, 0), &["/usr/bin/make", "-j8", "all"])];
    for n in 0..20_000_u32 {
        let path = programs[n as usize % programs.len()];
        let source = format!("/home/developer/project/src/module_{n}/file_{}.c", n % 97);
        let object = format!("-o/home/developer/project/build/{n}.o");
        let args = [path, "-c", "-O2", "-Wall", &source, &object];
        let run = Exec {
            path: bytes(path),
            raw_path: bytes(path),
            args: strings(&args),
            env: strings(&env),
            cwd: bytes("/home/developer/project"),
            tty: bytes("pts3"),
            file: Some(FileObject {
                device: Some(64),
                inode: Some(u64::from(n) % 5),
                mode: Some(0o100_755),
                uid: Some(0),
                gid: Some(0),
                size: Some(1 << 20),
                nlink: Some(1),
                atime: Some(1_700_000_000 + i64::from(n / 1000)),
                mtime: Some(1),
                ctime: Some(2),
                btime: Some(3),
            }),
            fileless: Some(false),
            syscall: Some("execve"),
            ..Exec::default()
        };
        let who = Task {
            ns_pid: Some(n),
            creds: Some(Creds { uid: 1000, gid: 1000, ..Creds::default() }),
            auid: Some(1000),
            namespaces: Some(Namespaces { mnt: 1, pid: 2, net: 3, user: 4 }),
            cgroup_id: Some(5000),
            cgroup: bytes("/user.slice/user-1000.slice/session-3.scope"),
            ..task((1000 + n, 2), (100, 1))
        };
        events.push(event(3, who, Body::Exec(Box::new(run))));
    }
    host.give(events);
    let exec = host.kind(EventKind::Exec);
    let each = exec.store.held_bytes as u64 / exec.counts.held();
    assert_eq!(exec.counts.evicted, 0);
    assert!(each <= 400, "{each} bytes");
    assert!(each >= 200, "{each} bytes cannot be all");
}

#[test]
fn typical_socket_and_file_events_take_at_most_150_bytes() {
    use osquery_ebpf_probes::event::{Endpoint, File, FileAction, Socket, SocketAction, SocketId};
    let host = Host::new(Options::default());
    host.tables.set_watch(&WatchConfig {
        file_paths: vec![("c".into(), vec!["/srv/%%".into()])],
        ..WatchConfig::default()
    });
    let mut events = Vec::new();
    for n in 0..20_000_u32 {
        let who = || Task {
            creds: Some(Creds { uid: 33, ..Creds::default() }),
            namespaces: Some(Namespaces { mnt: 1, pid: 2, net: 3, user: 4 }),
            cgroup_id: Some(5000),
            cgroup: bytes("/system.slice/nginx.service"),
            ..task((100 + n % 10, 1), (1, 0))
        };
        if n < 10 {
            events.push(exec(2, (100 + n, 1), (1, 0), &["/usr/sbin/nginx", "-g", "daemon off;"]));
        }
        let remote = std::net::SocketAddr::from(([192, 0, (n >> 8) as u8, n as u8], 443));
        let socket = Socket {
            action: SocketAction::Connect,
            syscall: Some("connect"),
            fd: Some(9),
            id: Some(SocketId(u64::from(n))),
            family: Some(2),
            socket_type: Some(1),
            protocol: Some(6),
            local: Some(Endpoint::Inet(std::net::SocketAddr::from(([10, 0, 0, 1], n as u16)))),
            remote: Some(Endpoint::Inet(remote)),
            result: Some(0),
            call_ns: Some(1_500),
            end: None,
        };
        events.push(event(3, who(), Body::Socket(Box::new(socket))));
        let file = File {
            action: FileAction::CloseWrite,
            path: bytes(&format!("/srv/www/cache/{:02x}/{n:08x}", n % 256)),
            dest_path: None,
            object: Some(FileObject {
                device: Some(64),
                inode: Some(u64::from(n)),
                mode: Some(0o100_600),
                uid: Some(33),
                gid: Some(33),
                size: Some(4096),
                mtime: Some(1_700_000_000),
                ctime: Some(1_700_000_000),
                ..FileObject::default()
            }),
            is_dir: Some(false),
            syscall: None,
            result: None,
            truncated: false,
        };
        events.push(event(3, who(), Body::File(Box::new(file))));
    }
    host.give(events);
    for kind in [EventKind::Socket, EventKind::File] {
        let kind = host.kind(kind);
        let each = kind.store.held_bytes as u64 / kind.counts.held();
        assert!((70..=150).contains(&each), "{:?}: {each} bytes", kind.kind);
    }
}

#[test]
fn sources_and_queries_at_once_lose_nothing() {
    let host = Host::new(Options::default());
    let sink = host.tables.sink();
    const THREADS: u32 = 4;
    const EACH: u32 = 5_000;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let sink = Arc::clone(&sink);
            scope.spawn(move || {
                for first in (0..EACH).step_by(50) {
                    let pids = first..first + 50;
                    let mut batch: Vec<RawEvent> = pids
                        .map(|n| exec(100, (1 + thread * EACH + n, 5), (1, 0), &["/bin/x"]))
                        .collect();
                    sink.accept(&mut batch);
                }
            });
        }
        let mut had = std::collections::BTreeSet::new();
        let mut execution = 0;
        while had.len() < (THREADS * EACH) as usize {
            execution += 1;
            for row in host.scheduled("ebpf_process_events", "q", execution) {
                assert!(had.insert(row.get("pid").unwrap().to_owned()), "given twice");
            }
        }
    });
    assert_eq!(host.kind(EventKind::Exec).counts.stored, u64::from(THREADS * EACH));
    assert!(host.scheduled("ebpf_process_events", "q", 0).is_empty());
}
