//! What it costs to take events in, and to answer queries on full tables.
//!
//! `append_*` give the time for [`BATCH`] events; divide. `scan_*` run on 50,000 rows and include
//! the reading of every row that matches.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "it may stop loudly")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use osquery_ebpf_probes::clock::BootId;
use osquery_ebpf_probes::event::{
    Body, Bytes, Creds, Endpoint, Exec, Exit, File, FileAction, FileObject, Fork, Namespaces,
    RawEvent, Socket, SocketAction, SocketId, SourceKind, Strings, Task,
};
use osquery_ebpf_tables::options::Options;
use osquery_ebpf_tables::scan::{Caller, Constraint, Op, Request, Tables as _};
use osquery_ebpf_tables::watch::WatchConfig;
use osquery_ebpf_tables::{EventTables, HostFacts};

const BATCH: u32 = 1024;
const ROWS: u32 = 50_000;
const PIDS: u32 = 1000;

fn main() {
    divan::main();
}

fn tables() -> Arc<EventTables> {
    let (kernel, btf) = (String::new(), String::new());
    let host = HostFacts { boot_id: BootId(1), kernel, btf, mnt_ns: None };
    let mut options = Options::default();
    // The bound on bytes is not what is measured.
    options.process.bytes = 64 << 20;
    options.process.age = std::time::Duration::from_secs(1 << 30);
    let tables = EventTables::new(options, host).expect("the options are the default ones");
    tables.set_watch(&WatchConfig {
        file_paths: vec![("srv".into(), vec!["/srv/%%".into()])],
        ..WatchConfig::default()
    });
    tables
}

fn bytes(text: &str) -> Option<Bytes> {
    Some(text.as_bytes().into())
}

fn strings(list: &[&str]) -> Strings {
    let joined: Vec<u8> = list.iter().flat_map(|s| [s.as_bytes(), b"\0"].concat()).collect();
    Strings {
        size: Some(joined.len() as u64),
        count: Some(list.len() as u32),
        bytes: Some(joined.into()),
    }
}

fn task(pid: u32, parent: u32) -> Task {
    Task {
        pid,
        tid: pid,
        start_ns: Some(u64::from(pid) * 20_000_000),
        parent_pid: Some(parent),
        parent_start_ns: Some(u64::from(parent) * 20_000_000),
        ns_pid: Some(pid),
        creds: Some(Creds { uid: 1000, gid: 1000, ..Creds::default() }),
        auid: Some(1000),
        namespaces: Some(Namespaces { mnt: 1, pid: 2, net: 3, user: 4 }),
        cgroup_id: Some(4711),
        cgroup: bytes("/user.slice/user-1000.slice/session-3.scope"),
        ..Task::default()
    }
}

fn event(number: u32, task: Task, body: Body) -> RawEvent {
    let time_ns = 1_000_000_000_000 + u64::from(number) * 1000;
    RawEvent { time_ns, source: SourceKind::Bpf, task, body }
}

fn exec(number: u32) -> RawEvent {
    let programs = ["/usr/bin/gcc", "/usr/bin/ld", "/bin/sh", "/usr/bin/make", "/usr/bin/grep"];
    let path = programs[number as usize % programs.len()];
    let source = format!("/home/developer/project/src/file_{}.c", number % 997);
    let exec = Exec {
        path: bytes(path),
        raw_path: bytes(path),
        interpreter: None,
        args: strings(&[path, "-c", "-O2", "-Wall", &source]),
        env: strings(&[
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/home/developer",
            "SHELL=/bin/bash",
            "LANG=C.UTF-8",
            "TERM=xterm-256color",
            "XDG_RUNTIME_DIR=/run/user/1000",
        ]),
        cwd: bytes("/home/developer/project"),
        tty: bytes("pts3"),
        file: Some(FileObject {
            device: Some(64),
            inode: Some(u64::from(number) % 5),
            mode: Some(0o100_755),
            uid: Some(0),
            gid: Some(0),
            size: Some(1 << 20),
            nlink: Some(1),
            atime: Some(1),
            mtime: Some(1),
            ctime: Some(2),
            btime: Some(3),
        }),
        fileless: Some(false),
        syscall: Some("execve"),
        truncated: Default::default(),
    };
    event(number, task(1000 + number % PIDS, 100 + number % 7), Body::Exec(Box::new(exec)))
}

fn socket(number: u32) -> RawEvent {
    let address = |host: u8| SocketAddr::from(([192, 0, 2, host], 1024 + number as u16 % 40_000));
    let socket = Socket {
        action: SocketAction::Connect,
        syscall: Some("connect"),
        fd: Some(9),
        id: Some(SocketId(u64::from(number))),
        family: Some(2),
        socket_type: Some(1),
        protocol: Some(6),
        local: Some(Endpoint::Inet(address(1))),
        remote: Some(Endpoint::Inet(address(number as u8))),
        result: Some(0),
        call_ns: Some(1_500),
        end: None,
    };
    event(number, task(1000 + number % PIDS, 100), Body::Socket(Box::new(socket)))
}

fn file(number: u32) -> RawEvent {
    let file = File {
        action: FileAction::CloseWrite,
        path: bytes(&format!("/srv/www/cache/{:02x}/{number:08x}", number % 256)),
        dest_path: None,
        object: Some(FileObject { inode: Some(u64::from(number)), ..FileObject::default() }),
        is_dir: Some(false),
        syscall: None,
        result: None,
        truncated: false,
    };
    event(number, task(1000 + number % PIDS, 100), Body::File(Box::new(file)))
}

/// A short life: fork, exec, exit.
fn life(number: u32) -> [RawEvent; 3] {
    let child = 100_000 + number;
    let start = u64::from(child) * 20_000_000;
    let fork = Fork {
        child_pid: child,
        child_start_ns: Some(start),
        child_ns_pid: Some(child),
        syscall: None,
    };
    let mut run = exec(number);
    run.task = task(child, 100);
    let exit = Exit { code: Some(0), signal: None, core_dumped: Some(false) };
    [
        event(number, task(100, 1), Body::Fork(fork)),
        run,
        event(number, task(child, 100), Body::Exit(exit)),
    ]
}

fn append(bencher: Bencher<'_, '_>, events: impl Fn(u32) -> Vec<RawEvent> + Sync) {
    let tables = tables();
    let sink = tables.sink();
    let number = std::sync::atomic::AtomicU32::new(0);
    // The cache knows the processes, as it does on a host that runs.
    sink.accept(&mut (0..PIDS).map(exec).collect());
    bencher
        .with_inputs(|| {
            let first = number.fetch_add(BATCH, std::sync::atomic::Ordering::Relaxed);
            (first..first + BATCH).flat_map(&events).collect::<Vec<_>>()
        })
        .input_counter(|batch| ItemsCount::new(batch.len()))
        .bench_local_refs(|batch| sink.accept(black_box(batch)));
}

#[divan::bench]
fn append_exec(bencher: Bencher<'_, '_>) {
    append(bencher, |number| vec![exec(number)]);
}

#[divan::bench]
fn append_life(bencher: Bencher<'_, '_>) {
    append(bencher, |number| life(number).into());
}

#[divan::bench]
fn append_socket(bencher: Bencher<'_, '_>) {
    append(bencher, |number| vec![socket(number)]);
}

#[divan::bench]
fn append_file(bencher: Bencher<'_, '_>) {
    append(bencher, |number| vec![file(number)]);
}

fn scan(
    bencher: Bencher<'_, '_>,
    columns: Option<&[&str]>,
    constraint: Option<(&str, Op, &str)>,
    expected: usize,
) {
    let tables = tables();
    let sink = tables.sink();
    for first in (0..ROWS).step_by(BATCH as usize) {
        sink.accept(&mut (first..ROWS.min(first + BATCH)).map(exec).collect());
    }
    let name = "ebpf_process_events";
    let table = tables.tables().iter().find(|table| table.name == name).expect("it is there");
    let at = |name: &str| table.column(name).expect("it is there");
    // Hashing reads files, which is another matter.
    let all = (0..table.columns.len()).filter(|&column| column != at("sha256"));
    let request = Request {
        constraints: constraint
            .map(|(name, op, value)| Constraint { column: at(name), op, value: value.into() })
            .into_iter()
            .collect(),
        columns: Some(
            columns
                .map_or_else(|| all.collect(), |names| names.iter().map(|name| at(name)).collect()),
        ),
        caller: Caller::AdHoc,
    };
    bencher.bench_local(|| {
        let scan = tables.scan(name, &request).expect("the request is right");
        assert_eq!(scan.len(), expected);
        for index in 0..scan.len() {
            scan.row(index, &mut |name, value| {
                black_box((name, value));
            });
        }
    });
}

#[divan::bench]
fn scan_all_columns(bencher: Bencher<'_, '_>) {
    scan(bencher, None, None, ROWS as usize);
}

#[divan::bench]
fn scan_five_columns(bencher: Bencher<'_, '_>) {
    let five = ["pid", "path", "cmdline", "parent", "time"];
    scan(bencher, Some(&five), None, ROWS as usize);
}

#[divan::bench]
fn scan_one_pid(bencher: Bencher<'_, '_>) {
    scan(bencher, None, Some(("pid", Op::Eq, "1500")), (ROWS / PIDS) as usize);
}

#[divan::bench]
fn scan_one_path(bencher: Bencher<'_, '_>) {
    let five = ["pid", "path", "cmdline", "parent", "time"];
    scan(bencher, Some(&five), Some(("path", Op::Eq, "/nowhere")), 0);
}

#[divan::bench]
fn scan_like(bencher: Bencher<'_, '_>) {
    scan(bencher, None, Some(("cmdline", Op::Like, "%file_996.c%")), 50);
}
