//! exec, fork, exit, and changes of ids and namespaces.

use super::*;
use crate::event::{Creds, Namespaces};

/// A record that is being put together.
struct Builder {
    exec: wire::Exec,
    data: Vec<u8>,
}

impl Builder {
    fn new() -> Self {
        let nothing = Span { offset: 0, length: 0 };
        let mut tty = [0; 64];
        tty[..4].copy_from_slice(b"pts0");
        let exec = wire::Exec {
            header: header(wire::EXEC, 0),
            task: task(),
            file: Inode {
                ino: 50,
                size: 51,
                atime: -52,
                mtime: 53,
                ctime: 54,
                btime: 57,
                dev: (8 << 20) | 1,
                magic: 0xef53,
                mode: 0o100_755,
                uid: 55,
                gid: 56,
                nlink: 1,
            },
            path: nothing,
            raw_path: nothing,
            interpreter: nothing,
            args: nothing,
            env: nothing,
            cwd: nothing,
            cgroup: nothing,
            args_size: 100,
            env_size: 200,
            argc: 2,
            envc: 1,
            parts: 0,
            old_tid: 15,
            tty,
        };
        let mut builder = Self { exec, data: Vec::new() };
        builder.exec.args = builder.add(b"cat\0a b\0");
        builder.exec.env = builder.add(b"HOME=/\0");
        builder.exec.raw_path = builder.add(b"./cat\0");
        builder.exec.interpreter = builder.add(b"/bin/sh\0");
        builder.exec.path = builder.add(b"cat\0bin\0usr\0");
        builder.exec.cwd = builder.add(b"bin\0usr\0");
        builder.exec.cgroup = builder.add(b"x.service\0system.slice\0");
        builder
    }

    fn add(&mut self, bytes: &[u8]) -> Span {
        let offset = size_of::<wire::Exec>() + self.data.len();
        self.data.extend_from_slice(bytes);
        Span {
            offset: u32::try_from(offset).expect("short"),
            length: u32::try_from(bytes.len()).expect("short"),
        }
    }

    fn bytes(mut self) -> Vec<u8> {
        let length = size_of::<wire::Exec>() + self.data.len();
        self.exec.header.length = u32::try_from(length).expect("short");
        let mut bytes = bytes_of(&self.exec).to_vec();
        bytes.append(&mut self.data);
        bytes
    }
}

fn fork() -> wire::Fork {
    wire::Fork {
        header: header(wire::FORK, size_of::<wire::Fork>()),
        task: task(),
        child_start: 60,
        child_tgid: 61,
        child_ns_tgid: 62,
        syscall: 435,
        abi: wire::ABI_COMPAT,
    }
}

fn exit(status: u32) -> wire::Exit {
    wire::Exit {
        header: header(wire::EXIT, size_of::<wire::Exit>()),
        task: task(),
        status,
        reserved: 0,
    }
}

fn setid(call: u32) -> wire::Setid {
    wire::Setid {
        header: header(wire::SETID, size_of::<wire::Setid>()),
        task: task(),
        before: wire::Creds {
            uid: 70,
            gid: 71,
            suid: 72,
            sgid: 73,
            euid: 74,
            egid: 75,
            fsuid: 76,
            fsgid: 77,
        },
        call,
        reserved: 0,
    }
}

fn namespace(call: u32) -> wire::Namespace {
    wire::Namespace {
        header: header(wire::NAMESPACE, size_of::<wire::Namespace>()),
        task: task(),
        before: wire::Namespaces { mnt: 80, pid: 81, net: 82, user: 83 },
        flags: 0x4002_0000,
        call,
        reserved: 0,
    }
}

/// One valid record of each type.
pub(super) fn valid() -> Vec<Vec<u8>> {
    vec![
        Builder::new().bytes(),
        bytes_of(&fork()).to_vec(),
        bytes_of(&exit(0)).to_vec(),
        bytes_of(&setid(wire::SETUID)).to_vec(),
        bytes_of(&namespace(wire::SETNS)).to_vec(),
    ]
}

fn decoded(bytes: &[u8]) -> Exec {
    match decode(bytes).expect("well-formed").body {
        Body::Exec(exec) => *exec,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_field_of_an_exec_arrives() {
    let event = decode(&Builder::new().bytes()).expect("well-formed");
    assert_eq!(event.time_ns, 1_234_567_890);
    assert_eq!(event.source, SourceKind::Bpf);
    let task = &event.task;
    assert_eq!((task.pid, task.tid, task.ns_pid), (14, 15, Some(16)));
    assert_eq!(
        (task.start_ns, task.parent_pid, task.parent_start_ns),
        (Some(11), Some(17), Some(12))
    );
    let creds =
        Creds { uid: 20, gid: 21, suid: 22, sgid: 23, euid: 24, egid: 25, fsuid: 26, fsgid: 27 };
    assert_eq!(task.creds, Some(creds));
    assert_eq!(task.namespaces, Some(Namespaces { mnt: 30, pid: 31, net: 32, user: 33 }));
    assert_eq!((task.auid, task.cgroup_id), (Some(40), Some(13)));
    assert_eq!(task.cgroup.as_deref(), Some(b"/system.slice/x.service".as_slice()));
    assert_eq!(task.comm.as_deref(), Some(b"cat".as_slice()));

    let exec = decoded(&Builder::new().bytes());
    assert_eq!(exec.path.as_deref(), Some(b"/usr/bin/cat".as_slice()));
    assert_eq!(exec.raw_path.as_deref(), Some(b"./cat".as_slice()));
    assert_eq!(exec.interpreter.as_deref(), Some(b"/bin/sh".as_slice()));
    assert_eq!(exec.args.bytes.as_deref(), Some(b"cat\0a b\0".as_slice()));
    assert_eq!((exec.args.size, exec.args.count), (Some(100), Some(2)));
    assert_eq!(exec.env.bytes.as_deref(), Some(b"HOME=/\0".as_slice()));
    assert_eq!((exec.env.size, exec.env.count), (Some(200), Some(1)));
    assert_eq!(exec.cwd.as_deref(), Some(b"/usr/bin".as_slice()));
    assert_eq!(exec.tty.as_deref(), Some(b"pts0".as_slice()));
    let file = exec.file.expect("known");
    assert_eq!((file.inode, file.device, file.size), (Some(50), Some(0x801), Some(51)));
    assert_eq!((file.atime, file.mtime, file.ctime), (Some(-52), Some(53), Some(54)));
    assert_eq!(file.btime, Some(57));
    assert_eq!((file.mode, file.uid, file.gid), (Some(0o100_755), Some(55), Some(56)));
    assert_eq!((exec.fileless, exec.syscall), (Some(false), None));
    assert_eq!(exec.truncated, crate::event::Truncated::default());
}

#[test]
fn what_could_not_be_read_is_none_and_what_was_cut_is_marked() {
    let mut builder = Builder::new();
    builder.exec.parts = wire::ARGS_UNREAD | wire::PATH_UNREAD | wire::CWD_CUT | wire::FILE_UNREAD;
    let exec = decoded(&builder.bytes());
    assert_eq!((exec.args.bytes, exec.args.size), (None, Some(100)));
    assert_eq!((exec.path, exec.file, exec.fileless), (None, None, None));
    assert_eq!(exec.cwd.as_deref(), Some(b"usr/bin".as_slice()));
    let cut = exec.truncated;
    assert!(cut.args && cut.path && cut.cwd && !cut.env && !cut.cgroup);
}

#[test]
fn a_file_without_a_name_is_fileless() {
    for part in [wire::FILE_UNHASHED, wire::FILE_DETACHED] {
        let mut builder = Builder::new();
        builder.exec.parts = part;
        assert_eq!(decoded(&builder.bytes()).fileless, Some(true));
    }
    let mut builder = Builder::new();
    builder.exec.file.nlink = 0;
    assert_eq!(decoded(&builder.bytes()).fileless, Some(true));
}

#[test]
fn the_device_of_a_file_on_btrfs_is_not_the_superblocks() {
    let mut builder = Builder::new();
    builder.exec.file.magic = 0x9123_683e;
    let file = decoded(&builder.bytes()).file.expect("known");
    assert_eq!((file.device, file.inode), (None, Some(50)));
}

#[test]
fn a_fork_by_a_32_bit_call_has_its_name() {
    let event = decode(bytes_of(&fork())).expect("well-formed");
    let Body::Fork(body) = event.body else { panic!("{event:?}") };
    assert_eq!((body.child_pid, body.child_start_ns), (61, Some(60)));
    assert_eq!((body.child_ns_pid, body.syscall), (Some(62), Some("clone3")));

    let mut unknown = fork();
    unknown.abi = wire::ABI_UNKNOWN;
    unknown.child_ns_tgid = 0;
    let event = decode(bytes_of(&unknown)).expect("well-formed");
    let Body::Fork(body) = event.body else { panic!("{event:?}") };
    assert_eq!((body.child_ns_pid, body.syscall), (None, None));
}

#[test]
fn a_status_is_taken_apart_as_wait_does() {
    for status in [0, 0x0100, 0xff00, 9, 15, 11 | 0x80] {
        let event = decode(bytes_of(&exit(status))).expect("well-formed");
        let Body::Exit(body) = event.body else { panic!("{event:?}") };
        let wait = i32::try_from(status).expect("small");
        let code = libc::WIFEXITED(wait).then(|| libc::WEXITSTATUS(wait));
        let signal = libc::WIFSIGNALED(wait).then(|| libc::WTERMSIG(wait));
        assert_eq!((body.code, body.signal), (code, signal));
        assert_eq!(body.core_dumped, Some(libc::WCOREDUMP(wait)));
    }
}

#[test]
fn a_change_has_what_was_before_and_what_is_after() {
    let event = decode(bytes_of(&setid(wire::SETRESGID))).expect("well-formed");
    assert_eq!(event.task.creds.map(|creds| creds.sgid), Some(23));
    let Body::Setid(change) = event.body else { panic!("{event:?}") };
    let before =
        Creds { uid: 70, gid: 71, suid: 72, sgid: 73, euid: 74, egid: 75, fsuid: 76, fsgid: 77 };
    assert_eq!((change.syscall, change.before), (Some("setresgid"), Some(before)));

    let event = decode(bytes_of(&namespace(wire::UNSHARE))).expect("well-formed");
    assert_eq!(event.task.namespaces.map(|now| now.mnt), Some(30));
    let Body::Namespace(change) = event.body else { panic!("{event:?}") };
    let before = Namespaces { mnt: 80, pid: 81, net: 82, user: 83 };
    assert_eq!((change.syscall, change.before), (Some("unshare"), Some(before)));
    assert_eq!(change.flags, Some(0x4002_0000));

    let event = decode(bytes_of(&setid(99))).expect("well-formed");
    let Body::Setid(change) = event.body else { panic!("{event:?}") };
    assert_eq!(change.syscall, None);
}

#[test]
fn no_cut_of_a_valid_record_is_taken_for_a_whole_one() {
    for record in valid() {
        assert!(decode(&record).is_ok());
        for length in 0..record.len() {
            assert!(decode(&record[..length]).is_err(), "cut at {length}");
        }
    }
}

#[test]
fn room_behind_a_record_is_not_part_of_it() {
    let whole = Builder::new().bytes();
    let mut roomy = whole.clone();
    roomy.resize(whole.len() + 100, 0xaa);
    assert_eq!(decode(&roomy), decode(&whole));
}

#[test]
fn a_part_outside_of_the_record_is_malformed() {
    let spans = [(0, u32::MAX), (u32::MAX, 1), (u32::MAX, u32::MAX), (5000, 0)];
    for (offset, length) in spans {
        let mut builder = Builder::new();
        builder.exec.cwd = Span { offset, length };
        let record = builder.bytes();
        let expected = Malformed::Span { part: "cwd", offset, length, record: record.len() };
        assert_eq!(decode(&record), Err(expected));
    }
}
