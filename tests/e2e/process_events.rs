//! Executions and ends of processes, from a command on the live kernel to rows of SQL. What is
//! expected comes from the shell that ran the command, from `stat(2)`, or from `workload`.

mod root {
    use std::os::unix::fs::MetadataExt;

    use osquery_ebpf_tests::{Row, Scratch, rows_after, rows_with, text, workload};

    fn only(rows: &[Row]) -> &Row {
        let [row] = rows else { panic!("one row expected: {rows:#?}") };
        row
    }

    #[test]
    fn the_environment_is_fit_for_these_tests() {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests load probes into the running kernel: run them as root"
        );
        assert!(
            std::path::Path::new("/sys/kernel/btf/vmlinux").exists(),
            "this kernel has no BTF (/sys/kernel/btf/vmlinux)"
        );
    }

    #[test]
    fn an_execution_has_its_true_command_line_path_parent_user_and_directory() {
        let rows = rows_after(
            "cd /usr/share; echo $$ >/tmp/osquery-ebpf-parent; /bin/echo one two  three",
            "SELECT cmdline, path, parent, uid, euid, gid, cwd, source FROM process_events
             WHERE cmdline LIKE '%one two%' AND path LIKE '%/echo'",
        );
        let row = only(&rows);
        let shell = std::fs::read_to_string("/tmp/osquery-ebpf-parent").unwrap();
        std::fs::remove_file("/tmp/osquery-ebpf-parent").unwrap();
        assert_eq!(text(row, "cmdline"), "/bin/echo one two three");
        assert_eq!(
            text(row, "path"),
            std::fs::canonicalize("/bin/echo").unwrap().to_str().unwrap()
        );
        assert_eq!(text(row, "parent"), shell.trim());
        assert_eq!(text(row, "uid"), "0");
        assert_eq!(text(row, "euid"), "0");
        assert_eq!(text(row, "gid"), "0");
        assert_eq!(text(row, "cwd"), "/usr/share");
        assert_eq!(text(row, "source"), "bpf");
    }

    #[test]
    fn the_executable_is_described_as_stat_describes_it() {
        let rows = rows_after(
            "/bin/echo described",
            "SELECT mode, owner_uid, owner_gid, inode, device, mtime, ctime FROM process_events
             WHERE cmdline = '/bin/echo described'",
        );
        let row = only(&rows);
        let stat = std::fs::metadata("/bin/echo").unwrap();
        assert_eq!(text(row, "inode"), stat.ino().to_string());
        assert_eq!(text(row, "device"), stat.dev().to_string());
        assert_eq!(text(row, "owner_uid"), stat.uid().to_string());
        assert_eq!(text(row, "owner_gid"), stat.gid().to_string());
        assert_eq!(text(row, "mtime"), stat.mtime().to_string());
        assert_eq!(text(row, "ctime"), stat.ctime().to_string());
        assert!(text(row, "mode").ends_with(&format!("{:o}", stat.mode() & 0o7777)));
    }

    #[test]
    fn another_users_execution_carries_that_users_ids() {
        let rows = rows_after(
            "setpriv --reuid 12345 --regid 23456 --clear-groups /bin/echo as-another",
            "SELECT uid, euid, suid, fsuid, gid, egid, sgid, fsgid FROM process_events
             WHERE cmdline = '/bin/echo as-another'",
        );
        let row = only(&rows);
        for column in ["uid", "euid", "suid", "fsuid"] {
            assert_eq!(text(row, column), "12345", "{column}");
        }
        for column in ["gid", "egid", "sgid", "fsgid"] {
            assert_eq!(text(row, column), "23456", "{column}");
        }
    }

    #[test]
    fn hostile_arguments_are_kept_apart_and_nothing_of_them_is_lost() {
        let rows = rows_after(
            &format!("{} hostile-arguments /bin/true", workload().display()),
            "SELECT cmdline, json_cmdline FROM process_events
             WHERE path LIKE '%/true' AND cmdline LIKE '%with space%'",
        );
        let row = only(&rows);
        assert_eq!(
            text(row, "cmdline"),
            "/bin/true with space \"double\" 'single' new\nline not utf-8 \\xff\\xfe "
        );
        let arguments: Vec<String> = serde_json::from_str(text(row, "json_cmdline")).unwrap();
        assert_eq!(
            arguments,
            [
                "/bin/true",
                "with space",
                "\"double\" 'single'",
                "new\nline",
                "not utf-8 \\xff\\xfe",
                ""
            ]
        );
    }

    #[test]
    fn ten_thousand_arguments_are_kept_and_counted() {
        let rows = rows_after(
            &format!("{} many-arguments 10000 /bin/true", workload().display()),
            "SELECT cmdline_size, length(cmdline) AS length, overflows FROM process_events
             WHERE cmdline LIKE '/bin/true x x%'",
        );
        let row = only(&rows);
        let bytes = "/bin/true\0".len() + 10_000 * "x\0".len();
        assert_eq!(text(row, "cmdline_size"), bytes.to_string());
        assert_eq!(text(row, "length"), (bytes - 1).to_string(), "all of it but the last NUL");
        assert_eq!(text(row, "overflows"), "");
    }

    #[test]
    fn more_than_32_kib_of_arguments_are_cut_and_said_to_be() {
        let rows = rows_after(
            &format!("{} many-arguments 1000 --length 99 /bin/true", workload().display()),
            "SELECT cmdline_size, length(cmdline) AS length, overflows FROM process_events
             WHERE cmdline LIKE '/bin/true xxx%'",
        );
        let row = only(&rows);
        assert_eq!(text(row, "cmdline_size"), ("/bin/true\0".len() + 100_000).to_string());
        let length: usize = text(row, "length").parse().unwrap();
        assert!((32_000..=32_768).contains(&length), "{length}");
        assert_eq!(text(row, "overflows"), "cmdline");
    }

    #[test]
    fn a_script_has_its_own_path_and_its_interpreter() {
        let scratch = Scratch::new("script");
        let script = scratch.join("greet");
        std::fs::write(&script, "#!/bin/sh -u\n:\n").unwrap();
        let rows = rows_after(
            &format!("chmod +x {0}; {0} argument", script.display()),
            &format!(
                "SELECT path, raw_path, interpreter, cmdline FROM process_events
                 WHERE raw_path = '{}'",
                script.display()
            ),
        );
        let row = only(&rows);
        assert_eq!(text(row, "raw_path"), script.to_str().unwrap());
        assert_eq!(text(row, "interpreter"), "/bin/sh");
        assert_eq!(
            text(row, "path"),
            std::fs::canonicalize("/bin/sh").unwrap().to_str().unwrap(),
            "what runs is the interpreter"
        );
        assert_eq!(text(row, "cmdline"), format!("/bin/sh -u {} argument", script.display()));
    }

    #[test]
    fn executables_without_a_name_are_fileless_and_others_are_not() {
        let workload = workload();
        let workload = workload.display();
        let rows = rows_after(
            &format!(
                "{workload} exec-deleted /bin/echo deleted; {workload} exec-memfd /bin/echo memory;
                 /bin/echo named"
            ),
            "SELECT cmdline, fileless FROM process_events
             WHERE cmdline IN ('/bin/echo deleted', '/bin/echo memory', '/bin/echo named')
             ORDER BY cmdline",
        );
        let fileless: Vec<_> =
            rows.iter().map(|row| (text(row, "cmdline"), text(row, "fileless"))).collect();
        assert_eq!(
            fileless,
            [("/bin/echo deleted", "1"), ("/bin/echo memory", "1"), ("/bin/echo named", "0")]
        );
    }

    #[test]
    fn an_execution_from_a_thread_is_of_the_process() {
        let rows = rows_after(
            &format!("{} exec-from-thread /bin/echo from-a-thread", workload().display()),
            "SELECT e.pid, e.tid, e.parent, w.pid AS before
             FROM process_events e JOIN process_events w ON w.pid = e.pid
             WHERE e.cmdline = '/bin/echo from-a-thread' AND w.cmdline LIKE '%exec-from-thread%'
             AND w.path LIKE '%/workload'",
        );
        let row = only(&rows);
        assert_eq!(text(row, "pid"), text(row, "before"), "the pid outlives the execution");
        assert_eq!(text(row, "tid"), text(row, "pid"), "the thread has become the leader");
    }

    #[test]
    fn in_a_chroot_the_path_is_the_one_the_process_knows() {
        let scratch = Scratch::new("chroot");
        std::fs::copy(workload(), scratch.join("inside")).unwrap();
        let rows = rows_after(
            &format!("chroot {} /inside noop", scratch.path().display()),
            "SELECT path, cwd, inode FROM process_events WHERE cmdline = '/inside noop'",
        );
        let row = only(&rows);
        let inode = std::fs::metadata(scratch.join("inside")).unwrap().ino();
        assert_eq!(text(row, "inode"), inode.to_string());
        assert!(text(row, "path").ends_with("/inside"), "{row:?}");
    }

    #[test]
    fn in_a_mount_namespace_the_namespace_and_the_inner_pid_are_told() {
        let rows = rows_after(
            "unshare --mount --pid --fork /bin/echo in-namespaces; /bin/echo outside",
            "SELECT cmdline, pid, ns_pid, mnt_ns, pid_ns FROM process_events
             WHERE cmdline IN ('/bin/echo in-namespaces', '/bin/echo outside') ORDER BY cmdline",
        );
        let [inside, outside] = rows.as_slice() else { panic!("{rows:#?}") };
        assert_eq!(text(inside, "ns_pid"), "1");
        assert_ne!(text(inside, "pid"), "1");
        assert_eq!(text(outside, "ns_pid"), text(outside, "pid"));
        let own = |kind: &str| {
            std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string()
        };
        assert_eq!(format!("mnt:[{}]", text(outside, "mnt_ns")), own("mnt"));
        assert_eq!(format!("pid:[{}]", text(outside, "pid_ns")), own("pid"));
        assert_ne!(text(inside, "mnt_ns"), text(outside, "mnt_ns"));
        assert_ne!(text(inside, "pid_ns"), text(outside, "pid_ns"));
    }

    #[test]
    fn only_allowed_environment_is_shown_and_its_true_size_is_told() {
        let rows = rows_after(
            "env -i SECRET=hunter2 HOME=/root LD_PRELOAD=/none.so /bin/echo environment",
            "SELECT env, env_count, env_size FROM process_events
             WHERE cmdline = '/bin/echo environment'",
        );
        let row = only(&rows);
        assert_eq!(text(row, "env"), "HOME=/root LD_PRELOAD=/none.so");
        assert_eq!(text(row, "env_count"), "3");
        let size = "SECRET=hunter2\0HOME=/root\0LD_PRELOAD=/none.so\0".len();
        assert_eq!(text(row, "env_size"), size.to_string());
    }

    #[test]
    fn an_end_by_exit_and_an_end_by_signal_are_told_apart() {
        let workload = workload();
        let workload = workload.display();
        let rows = rows_after(
            &format!("{workload} exit 7; {workload} signal 15; {workload} leader-first 9; true"),
            "SELECT cmdline, exit_code, signal FROM ebpf_process_exits
             WHERE path LIKE '%/workload' ORDER BY cmdline",
        );
        let ends: Vec<_> = rows
            .iter()
            .map(|row| {
                let work = text(row, "cmdline").split_once(' ').unwrap().1;
                (work, text(row, "exit_code"), text(row, "signal"))
            })
            .collect();
        assert_eq!(
            ends,
            [("exit 7", "7", ""), ("leader-first 9", "9", ""), ("signal 15", "", "15")]
        );
    }

    #[test]
    fn ancestry_names_the_parent_that_has_gone() {
        let scratch = Scratch::new("orphan");
        let said = scratch.join("said");
        let rows = rows_after(
            &format!(
                "{} orphan /bin/echo orphaned | grep -v orphaned >{}",
                workload().display(),
                said.display()
            ),
            "SELECT parent, parent_path, ancestry, process_id, parent_process_id
             FROM process_events WHERE cmdline = '/bin/echo orphaned'",
        );
        let row = only(&rows);
        let ancestry: Vec<Row> = serde_json::from_str(text(row, "ancestry")).unwrap();
        assert!(ancestry.len() >= 2, "{ancestry:#?}");
        let said: Row = serde_json::from_str(&std::fs::read_to_string(&said).unwrap()).unwrap();
        assert_eq!(text(row, "parent"), said["parent"].to_string(), "who has it now");
        assert_eq!(ancestry[0]["pid"], said["first_parent"], "who started it");
        assert!(text(row, "parent_path").ends_with("/workload"), "{row:?}");
        assert_ne!(text(row, "process_id"), text(row, "parent_process_id"));
    }

    #[test]
    fn forks_are_rows_only_when_asked_for() {
        let command = "/bin/echo some; (:); (:)";
        let count = "SELECT count(*) AS forks FROM process_events
                     WHERE syscall IN ('fork', 'vfork', 'clone', 'clone3')";
        let without = rows_after(command, count);
        assert_eq!(text(only(&without), "forks"), "0");
        let with = rows_with(
            &["--process-events", "exec,fork"],
            command,
            "SELECT count(*) AS forks FROM process_events WHERE exit_code IS NOT NULL
             OR syscall NOT IN ('execve', 'execveat')",
        );
        assert!(text(only(&with), "forks").parse::<u32>().unwrap() >= 3, "{with:?}");
    }
}
