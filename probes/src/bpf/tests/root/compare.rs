//! Every kind of process event once, against the workload's own account of itself, `wait` and `/proc`.

use std::fs;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus};

use super::change::{self, call, make_undisturbed};
use super::exec_files::execveat;
use super::{Scratch, fork, joined, life, run};
use crate::event::{Body, RawEvent};
use crate::testkit::table::{Happening, Table, happening};

type Bytes = Box<[u8]>;

fn bytes(text: &[u8]) -> Option<Bytes> {
    Some(text.into())
}

/// What was seen of one process: its fork, and all it did.
fn seen(pid: u32) -> Vec<Happening> {
    let mine = |event: &RawEvent| {
        event.task.pid == pid || matches!(&event.body, Body::Fork(fork) if fork.child_pid == pid)
    };
    let events = change::shared().events().into_iter().filter(mine);
    let told = events.filter_map(|event| match &event.body {
        Body::Fork(fork) if fork.child_pid == pid => {
            let (parent, call) = (event.task.pid, fork.syscall);
            Some(happening!("fork", parent = parent, child = fork.child_pid, syscall = call))
        }
        Body::Exec(exec) => Some(happening!(
            "exec",
            parent = event.task.parent_pid,
            uid = event.task.creds.map(|creds| creds.uid),
            path = exec.path,
            raw_path = exec.raw_path,
            interpreter = exec.interpreter,
            args = exec.args.bytes,
            cwd = exec.cwd,
            syscall = exec.syscall,
            fileless = exec.fileless,
        )),
        Body::Exit(exit) => {
            let core = exit.core_dumped;
            Some(happening!("exit", code = exit.code, signal = exit.signal, core = core))
        }
        Body::Setid(setid) => Some(happening!(
            "setid",
            syscall = setid.syscall,
            before = setid.before,
            after = event.task.creds
        )),
        Body::Namespace(change) => Some(happening!(
            "namespace",
            syscall = change.syscall,
            flags = change.flags,
            before = change.before,
            after = event.task.namespaces
        )),
        _ => None,
    });
    told.collect()
}

fn made(pid: u32) -> Happening {
    happening!("fork", parent = std::process::id(), child = pid)
}

fn ended(status: ExitStatus) -> Happening {
    let core = Some(status.core_dumped());
    happening!("exit", code = status.code(), signal = status.signal(), core = core)
}

fn real(program: &str) -> Option<Bytes> {
    bytes(fs::canonicalize(program).expect("exists").as_os_str().as_bytes())
}

/// A process, and what it says of itself.
type Account = (u32, Vec<Happening>);
type Step = (&'static str, fn() -> Account);

fn plain() -> Account {
    let (pid, status) = run(Command::new("/bin/true").args(["one", "two  three"]).current_dir("/"));
    let args = joined(&["/bin/true", "one", "two  three"]);
    let exec = happening!(
        "exec",
        parent = Some(std::process::id()),
        path = real("/bin/true"),
        raw_path = bytes(b"/bin/true"),
        interpreter = None::<Bytes>,
        args = bytes(&args),
        cwd = bytes(b"/"),
        syscall = Some("execve"),
        fileless = Some(false),
    );
    (pid, vec![made(pid), exec, ended(status)])
}

fn as_another_user() -> Account {
    let (pid, status) = run(Command::new("/bin/true").uid(1234).gid(5678));
    let [group, user] = ["setgid", "setuid"].map(|call| happening!("setid", syscall = Some(call)));
    let exec = happening!("exec", uid = Some(1234u32));
    (pid, vec![made(pid), group, user, exec, ended(status)])
}

fn a_script() -> Account {
    let script = std::env::temp_dir().join(format!("compare-{}", std::process::id()));
    fs::write(&script, "#!/bin/sh -e\nexit 3\n").expect("write");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    let (pid, status) = run(&mut Command::new(&script));
    fs::remove_file(&script).expect("unlink");
    let name = script.as_os_str().as_bytes();
    let exec = happening!(
        "exec",
        path = real("/bin/sh"),
        raw_path = bytes(name),
        interpreter = bytes(b"/bin/sh"),
        args = bytes(&joined(&[b"/bin/sh", b"-e".as_slice(), name])),
    );
    assert_eq!(status.code(), Some(3));
    (pid, vec![made(pid), exec, ended(status)])
}

fn killed() -> Account {
    let (pid, status) = run(Command::new("/bin/sh").args(["-c", "kill -9 $$"]));
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    (pid, vec![made(pid), happening!("exec", path = real("/bin/sh")), ended(status)])
}

fn a_memfd() -> Account {
    // SAFETY: the name is NUL-ended; the descriptor is nobody else's.
    let memory = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"compare".as_ptr(), 0)) };
    let mut file = fs::File::from(memory);
    std::io::copy(&mut fs::File::open("/bin/cat").expect("open"), &mut file).expect("copy");
    let fd = file.as_raw_fd();
    let (pid, status) = fork(|| {
        // SAFETY: plain system calls; cat then ends at once for want of an input.
        unsafe { libc::close(0) };
        execveat(fd, c"cat")
    });
    let path = bytes(b"/memfd:compare");
    let exec = happening!("exec", path = path, syscall = Some("execveat"), fileless = Some(true));
    (pid, vec![made(pid), exec, ended(status)])
}

fn no_exec() -> Account {
    let (pid, status) = fork(|| 7);
    (pid, vec![made(pid), ended(status)])
}

fn a_failed_exec() -> Account {
    let (pid, status) = fork(|| {
        let argv = [c"/nonexistent".as_ptr(), std::ptr::null()];
        // SAFETY: NUL-ended strings that outlive the call.
        unsafe { libc::execve(argv[0], argv.as_ptr(), [std::ptr::null()].as_ptr()) };
        9
    });
    (pid, vec![made(pid), ended(status)])
}

/// Of a process that went on to execute it.
fn executed_true(syscall: &'static str) -> Happening {
    happening!("exec", path = real("/bin/true"), syscall = Some(syscall))
}

fn a_thread_that_is_not_the_leader() -> Account {
    let (pid, status) = fork(|| life::exec_by_a_thread());
    (pid, vec![made(pid), executed_true("execve"), ended(status)])
}

fn a_leader_that_goes_first() -> Account {
    let (pid, status) = fork(life::leave_to_a_thread);
    (pid, vec![made(pid), ended(status)])
}

fn a_core() -> Account {
    let scratch = Scratch::new("core");
    let limits = "ulimit -c unlimited && kill -ABRT $$";
    let (pid, status) = run(Command::new("/bin/sh").args(["-c", limits]).current_dir(&scratch.0));
    assert_eq!(status.signal(), Some(libc::SIGABRT));
    assert!(status.core_dumped(), "this host dumps no cores: see core(5)");
    (pid, vec![made(pid), happening!("exec", path = real("/bin/sh")), ended(status)])
}

#[cfg(target_arch = "x86_64")]
fn a_32_bit_caller() -> Account {
    use crate::testkit::compat::{self, Low};

    let page = Low::new();
    let path = page.put(0, *b"/bin/true\0");
    let argv = page.put(16, [path, 0]);
    let pid = compat::call(compat::FORK, [0; 3]);
    if pid == 0 {
        compat::call(compat::EXECVE, [path, argv, page.put(32, 0u32)]);
        // SAFETY: ends the child without running what the parent registered.
        unsafe { libc::_exit(127) };
    }
    assert!(pid > 0, "{pid}");
    let mut status = 0;
    // SAFETY: `status` is an int to write to.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    let (pid, status) = (pid.unsigned_abs(), ExitStatus::from_raw(status));
    assert_eq!(status.code(), Some(0));
    let parent = std::process::id();
    let forked = happening!("fork", parent = parent, child = pid, syscall = Some("fork"));
    (pid, vec![forked, executed_true("execve"), ended(status)])
}

fn changes_of_ids() -> Account {
    let calls = [
        call("setresgid", libc::SYS_setresgid, [2002, 2003, 2004]),
        call("setfsuid", libc::SYS_setfsuid, [1001, 0, 0]),
        call("setresuid", libc::SYS_setresuid, [1002, 1003, 1004]),
        call("refused", libc::SYS_setuid, [0, 0, 0]),
    ];
    let (pid, done) = make_undisturbed(&calls);
    let happened = calls.iter().zip(&done).filter(|(call, _)| call.name != "refused");
    let changed = happened.map(|(call, done)| {
        let (before, after) = (Some(done.before.creds), Some(done.after.creds));
        assert_ne!(before, after, "{}", call.name);
        happening!("setid", syscall = Some(call.name), before = before, after = after)
    });
    let mut expected = vec![made(pid)];
    expected.extend(changed);
    expected.push(happening!("exit", code = Some(0)));
    (pid, expected)
}

fn changes_of_namespaces() -> Account {
    let ours = fs::File::open("/proc/self/ns/net").expect("a namespace");
    let flags = i64::from(libc::CLONE_NEWNET | libc::CLONE_NEWNS);
    let calls = [
        call("unshare", libc::SYS_unshare, [flags, 0, 0]),
        call("setns", libc::SYS_setns, [ours.as_raw_fd().into(), libc::CLONE_NEWNET.into(), 0]),
        call("unshare", libc::SYS_unshare, [libc::CLONE_FILES.into(), 0, 0]),
    ];
    let given = [flags, libc::CLONE_NEWNET.into()];
    let (pid, done) = make_undisturbed(&calls);
    assert!(done.iter().all(|done| done.result == 0));
    let changed = calls.iter().zip(&done).zip(given).map(|((call, done), flags)| {
        let (before, after) = (Some(done.before.namespaces), Some(done.after.namespaces));
        assert_ne!(before, after, "{}", call.name);
        let flags = u64::try_from(flags).ok();
        let name = Some(call.name);
        happening!("namespace", syscall = name, flags = flags, before = before, after = after)
    });
    let mut expected = vec![made(pid)];
    expected.extend(changed);
    expected.push(happening!("exit", code = Some(0)));
    (pid, expected)
}

#[test]
fn a_workload_is_seen_as_it_was_field_by_field() {
    change::shared();
    let mut table = Table::new("processes");
    let steps: [Step; 12] = [
        ("fork, exec and exit", plain),
        ("an exec as another user", as_another_user),
        ("a script", a_script),
        ("a process killed by a signal", killed),
        ("a process that dumps its core", a_core),
        ("execveat of a memfd", a_memfd),
        ("a fork that executes nothing", no_exec),
        ("an exec that fails", a_failed_exec),
        ("an exec by a thread that is not the leader", a_thread_that_is_not_the_leader),
        ("a leader that goes before its threads", a_leader_that_goes_first),
        ("changes of user and group ids", changes_of_ids),
        ("unshare and setns", changes_of_namespaces),
    ];
    for (name, step) in steps {
        let (pid, expected) = step();
        table.row(name, &expected, seen(pid));
    }
    #[cfg(target_arch = "x86_64")]
    {
        let (pid, expected) = a_32_bit_caller();
        table.row("fork and exec by a 32-bit caller", &expected, seen(pid));
    }
    table.finish();
}
