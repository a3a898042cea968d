//! These need root, and a kernel of 5.8 or later with BTF.
//!
//! What is expected comes from the operating system: `/proc`, `stat`, wait statuses, or what the
//! test itself did.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use crate::bpf::BpfSource;
use crate::event::{Body, EventKind, Exec, Exit, RawEvent};
use crate::source::{
    KindHealth, RingBytes, Running, Sink, Source, SourceConfig, TierWish, WatchNothing,
};

mod asking;
mod cgroups;
mod change;
mod compare;
mod cost;
mod exec;
mod exec_files;
mod life;
mod lineage;
mod loss;
mod pids;
mod reconfigure;
mod rest;
mod size;

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// Keeps every event.
#[derive(Default)]
struct Kept(Mutex<Vec<RawEvent>>);

impl Sink for Kept {
    fn accept(&self, batch: &mut Vec<RawEvent>) {
        self.0.lock().append(batch);
    }
}

/// A started source and what it delivered.
struct Watch {
    running: Box<dyn Running>,
    kept: Arc<Kept>,
}

impl Watch {
    /// The one that most tests share: loading is the dearest part of a test.
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Watch> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        Self::with(&config())
    }

    fn with(config: &SourceConfig) -> Self {
        let kept = Arc::new(Kept::default());
        let source = Box::new(BpfSource::new().expect("the kernel has BTF"));
        let sink: Arc<dyn Sink> = Arc::<Kept>::clone(&kept);
        let running = source.start(config, sink).expect("the kernel takes the programs");
        Self { running, kept }
    }

    /// Every event so far.
    fn events(&self) -> Vec<RawEvent> {
        assert!(self.running.flush(DEADLINE), "the rings were not read out in time");
        self.kept.0.lock().clone()
    }

    /// What one process did, or was done to it.
    fn of(&self, pid: u32) -> Vec<RawEvent> {
        self.events().into_iter().filter(|event| event.task.pid == pid).collect()
    }

    /// The only exec of a process.
    fn exec(&self, pid: u32) -> (RawEvent, Exec) {
        let execs = self.of(pid).into_iter().filter(|event| event.kind() == EventKind::Exec);
        let execs: Vec<_> = execs.collect();
        assert_eq!(execs.len(), 1, "{execs:#?}");
        let event = execs[0].clone();
        let Body::Exec(exec) = &event.body else { unreachable!("it was chosen by kind") };
        let exec = exec.as_ref().clone();
        (event, exec)
    }

    /// The only exit of a process.
    fn exit(&self, pid: u32) -> (RawEvent, Exit) {
        let mut exits = self.of(pid);
        exits.retain(|event| event.kind() == EventKind::Exit);
        assert_eq!(exits.len(), 1, "{exits:#?}");
        let Body::Exit(exit) = &exits[0].body else { unreachable!("it was chosen by kind") };
        (exits[0].clone(), exit.clone())
    }

    fn health(&self, kind: EventKind) -> KindHealth {
        let mut health = self.running.health();
        health.retain(|health| health.kind == kind);
        assert_eq!(health.len(), 1, "one entry for each kind");
        health.remove(0)
    }
}

fn config() -> SourceConfig {
    SourceConfig {
        kinds: vec![EventKind::Exec, EventKind::Fork, EventKind::Exit],
        paths: Arc::new(WatchNothing),
        file_access: false,
        unix_sockets: false,
        datagram_peers: false,
        tier: TierWish::Auto,
        ring_bytes: RingBytes::default(),
        // The tests themselves fork, and want to see it.
        own_pid: 0,
        exclude: Default::default(),
    }
}

/// Runs a command to its end. A program that was just written may still be open for writing in
/// what another test forked meanwhile; that passes.
fn run(command: &mut Command) -> (u32, ExitStatus) {
    let mut child = loop {
        match command.spawn() {
            Err(busy) if busy.kind() == ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            spawned => break spawned.expect("the command starts"),
        }
    };
    let pid = child.id();
    (pid, child.wait().expect("the child is ours"))
}

/// Forks, runs `child` there, and waits for it. `child` may do no more than signal handlers may:
/// the other threads of the test are gone, and their locks with them.
fn fork(child: impl FnOnce() -> i32) -> (u32, ExitStatus) {
    // SAFETY: the child calls nothing that takes a lock, as asked above, and ends by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let code = child();
        // SAFETY: ends the child without running what the parent registered.
        unsafe { libc::_exit(code) };
    }
    assert!(pid > 0, "fork: {}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: `status` is an int to write to.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    (pid.unsigned_abs(), ExitStatus::from_raw(status))
}

/// `\0`-ended strings in a row, as the kernel keeps an argument vector.
fn joined<S: AsRef<[u8]>>(strings: &[S]) -> Vec<u8> {
    strings.iter().flat_map(|string| string.as_ref().iter().copied().chain([0])).collect()
}

/// A directory of this test's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("mkdir");
        Self(path.canonicalize().expect("exists"))
    }

    fn copy_of(&self, program: &str, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::copy(program, &path).expect("copy");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
