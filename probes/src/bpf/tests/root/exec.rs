//! What was executed, with what, by whom.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use super::{Watch, joined, run};
use crate::event::{Creds, TICK_NS};

fn bytes(text: impl AsRef<OsStr>) -> Vec<u8> {
    text.as_ref().as_bytes().to_vec()
}

#[test]
fn an_exec_is_reported_with_every_argument_as_it_was() {
    let watch = Watch::shared();
    let odd: [&[u8]; 6] = [b"two words", b"line\nbreak", b"\xff\xfe\x80", b"", b"'\"\\", b"\t"];
    let (pid, status) = run(Command::new("/bin/true").args(odd.map(OsStr::from_bytes)));
    assert!(status.success());

    let (_, exec) = watch.exec(pid);
    let mut expected = vec![b"/bin/true".as_slice()];
    expected.extend(odd);
    assert_eq!(exec.args.bytes.as_deref(), Some(joined(&expected).as_slice()));
    assert_eq!(exec.args.count, Some(7));
    assert_eq!(exec.args.size, Some(joined(&expected).len() as u64));
    assert!(!exec.truncated.args);
    assert_eq!(exec.syscall, Some("execve"));
}

#[test]
fn ten_thousand_arguments_are_all_there() {
    let watch = Watch::shared();
    let args = vec!["x"; 10_000];
    let (pid, status) = run(Command::new("/bin/true").args(&args));
    assert!(status.success());

    let (_, exec) = watch.exec(pid);
    let mut expected = vec!["/bin/true"];
    expected.extend(&args);
    assert_eq!(exec.args.count, Some(10_001));
    assert_eq!(exec.args.bytes.as_deref(), Some(joined(&expected).as_slice()));
    assert!(!exec.truncated.args);
}

#[test]
fn arguments_beyond_32_kib_are_cut_and_say_so() {
    let watch = Watch::shared();
    let long = "y".repeat(50_000);
    let (pid, status) = run(Command::new("/bin/true").arg(&long).arg("after"));
    assert!(status.success());

    let (_, exec) = watch.exec(pid);
    let whole = joined(&["/bin/true", &long, "after"]);
    assert_eq!(exec.args.bytes.as_deref(), Some(&whole[..32_768]));
    assert_eq!(exec.args.size, Some(whole.len() as u64));
    assert_eq!(exec.args.count, Some(3));
    assert!(exec.truncated.args);
    assert!(!exec.truncated.env && !exec.truncated.path && !exec.truncated.cwd);
}

#[test]
fn the_environment_is_reported_with_its_true_size() {
    let watch = Watch::shared();
    let filler = "z".repeat(20_000);
    let mut command = Command::new("/bin/true");
    command.env_clear().env("A", "1").env("B", &filler);
    let (pid, _) = run(&mut command);

    let (_, exec) = watch.exec(pid);
    let whole = joined(&["A=1", &format!("B={filler}")]);
    assert_eq!(exec.env.size, Some(whole.len() as u64));
    assert_eq!(exec.env.count, Some(2));
    assert_eq!(exec.env.bytes.as_deref(), Some(&whole[..8192]));
    assert!(exec.truncated.env);
    assert!(!exec.truncated.args);
}

#[test]
fn the_task_is_the_one_that_proc_shows() {
    let watch = Watch::shared();
    let mut command = Command::new("/bin/cat");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("cat");
    let pid = child.id();
    // Its exec is done: spawn returns after it.
    let proc = |name: &str| format!("/proc/{pid}/{name}");
    let stat = fs::read_to_string(proc("stat")).expect("stat");
    let fields: Vec<_> = stat.rsplit_once(") ").expect("comm").1.split(' ').collect();
    let start_ticks: u64 = fields[19].parse().expect("starttime");
    let namespace = |name: &str| {
        u32::try_from(fs::metadata(proc(&format!("ns/{name}"))).expect("ns").ino()).expect("u32")
    };
    let expected = [namespace("mnt"), namespace("pid"), namespace("net"), namespace("user")];
    let loginuid: u32 =
        fs::read_to_string(proc("loginuid")).expect("loginuid").parse().expect("number");
    let cgroups = fs::read_to_string(proc("cgroup")).expect("cgroup");
    drop(child.stdin.take());
    child.wait().expect("ours");

    let (event, exec) = watch.exec(pid);
    let task = event.task;
    assert_eq!((task.pid, task.tid), (pid, pid));
    assert_eq!(task.start_ns.map(|start| start / TICK_NS), Some(start_ticks));
    assert_eq!(task.parent_pid, Some(std::process::id()));
    let own = crate::proc::read(std::process::id()).expect("our own /proc").to_task();
    assert_eq!(
        task.parent_start_ns.map(|start| start / TICK_NS),
        own.start_ns.map(|start| start / TICK_NS)
    );
    let namespaces = task.namespaces.expect("namespaces");
    assert_eq!([namespaces.mnt, namespaces.pid, namespaces.net, namespaces.user], expected);
    assert_eq!(task.auid, (loginuid != u32::MAX).then_some(loginuid));
    assert_eq!(task.ns_pid, Some(pid));
    assert_eq!(task.comm.as_deref(), Some(b"cat".as_slice()));
    let cgroup = String::from_utf8(task.cgroup.expect("cgroup").into()).expect("text");
    assert!(
        cgroups.lines().any(|line| line.splitn(3, ':').nth(2) == Some(&cgroup)),
        "{cgroup} is in none of\n{cgroups}"
    );
    let told_by_v2 = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
    if cgroup == "/" {
        assert_eq!(told_by_v2, Some("/"));
    }
    assert_eq!(exec.tty, None);
}

#[test]
fn the_cgroup_id_is_that_of_the_directory_in_the_unified_hierarchy() {
    let watch = Watch::shared();
    let (pid, _) = run(&mut Command::new("/bin/true"));
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let unified = mounts.lines().find_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        (fields[2] == "cgroup2").then(|| fields[1].to_owned())
    });
    let own = fs::read_to_string("/proc/self/cgroup").expect("cgroup");
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).expect("v2").to_owned();
    let directory = format!("{}{path}", unified.expect("cgroup2 is mounted"));
    let expected = fs::metadata(&directory).expect("the cgroup's directory").ino();
    let (event, _) = watch.exec(pid);
    assert_eq!(event.task.cgroup_id, Some(expected));
}

#[test]
fn credentials_are_those_after_the_exec() {
    let watch = Watch::shared();
    let (pid, _) = run(Command::new("/bin/true").uid(1234).gid(5678));
    let (event, _) = watch.exec(pid);
    let expected = Creds {
        uid: 1234,
        gid: 5678,
        euid: 1234,
        egid: 5678,
        suid: 1234,
        sgid: 5678,
        fsuid: 1234,
        fsgid: 5678,
    };
    assert_eq!(event.task.creds, Some(expected));
}

#[test]
fn a_failed_exec_is_no_exec() {
    let watch = Watch::shared();
    let before = watch.events().len();
    assert!(Command::new("/nonexistent/program").spawn().is_err());
    let events = watch.events();
    let tried = events[before..].iter().any(|event| {
        event.task.parent_pid == Some(std::process::id())
            && event.kind() == crate::event::EventKind::Exec
            && event.task.comm.as_deref() == Some(b"program")
    });
    assert!(!tried);
}

#[test]
fn cwd_and_path_are_whole_and_absolute() {
    let watch = Watch::shared();
    let deep: std::path::PathBuf =
        std::env::temp_dir().join(format!("cwd-{}", std::process::id())).join("a b/c\nd/e");
    fs::create_dir_all(&deep).expect("mkdir");
    let deep = deep.canonicalize().expect("exists");
    let (pid, _) = run(Command::new("/bin/true").current_dir(&deep));
    let (_, exec) = watch.exec(pid);
    assert_eq!(exec.cwd.as_deref().map(<[u8]>::to_vec), Some(bytes(&deep)));
    let real = fs::canonicalize("/bin/true").expect("exists");
    assert_eq!(exec.path.as_deref().map(<[u8]>::to_vec), Some(bytes(&real)));
    assert_eq!(exec.raw_path.as_deref(), Some(b"/bin/true".as_slice()));
    assert_eq!(exec.interpreter, None);

    let (pid, _) = run(Command::new("/bin/true").current_dir("/"));
    assert_eq!(watch.exec(pid).1.cwd.as_deref(), Some(b"/".as_slice()));
    fs::remove_dir_all(deep.ancestors().nth(2).expect("three levels")).expect("rm");
}
