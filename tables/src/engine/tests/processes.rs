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
