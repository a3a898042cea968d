//! Every kind of process event once, against the workload's own account of itself, `wait` and `/proc`.

use std::fs;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus};

use super::exec_files::execveat;
use super::{Watch, fork, joined, run};
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
    let events = Watch::shared().events().into_iter().filter(mine);
    let told = events.filter_map(|event| match &event.body {
        Body::Fork(fork) if fork.child_pid == pid => {
            Some(happening!("fork", parent = event.task.pid, child = fork.child_pid))
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
        Body::Exit(exit) => Some(happening!("exit", code = exit.code, signal = exit.signal)),
        _ => None,
    });
    told.collect()
}

fn made(pid: u32) -> Happening {
    happening!("fork", parent = std::process::id(), child = pid)
}

fn ended(status: ExitStatus) -> Happening {
    happening!("exit", code = status.code(), signal = status.signal())
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
    (pid, vec![made(pid), happening!("exec", uid = Some(1234u32)), ended(status)])
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

#[test]
fn a_workload_is_seen_as_it_was_field_by_field() {
    Watch::shared();
    let mut table = Table::new("processes");
    let steps: [Step; 7] = [
        ("fork, exec and exit", plain),
        ("an exec as another user", as_another_user),
        ("a script", a_script),
        ("a process killed by a signal", killed),
        ("execveat of a memfd", a_memfd),
        ("a fork that executes nothing", no_exec),
        ("an exec that fails", a_failed_exec),
    ];
    for (name, step) in steps {
        let (pid, expected) = step();
        table.row(name, &expected, seen(pid));
    }
    table.finish();
}
