//! What live tests share.

#[cfg(target_arch = "x86_64")]
pub mod compat;
pub mod table;
pub mod uring;

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::event::{Body, Concern, EventKind, RawEvent};
use crate::source::{KindHealth, Running, Sink, Source, SourceConfig, TierWish, WatchNothing};

/// Longer than anything here takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A sink that keeps everything.
#[derive(Default)]
pub struct Kept {
    events: Mutex<Vec<RawEvent>>,
    came: Condvar,
}

impl Sink for Kept {
    fn accept(&self, batch: &mut Vec<RawEvent>) {
        self.events.lock().unwrap().append(batch);
        self.came.notify_all();
    }
}

impl Kept {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Waits until something can be made of what came.
    pub fn wait<T>(&self, mut found: impl FnMut(&[RawEvent]) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut events = self.events.lock().unwrap();
        loop {
            if let Some(found) = found(&events) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let last = events.iter().rev().take(20).collect::<Vec<_>>();
                panic!("did not come within {DEADLINE:?}; {} events, last {last:#?}", events.len());
            }
            events = self.came.wait_timeout(events, left).unwrap().0;
        }
    }

    /// Waits for an event of a process.
    pub fn of<T>(&self, pid: u32, mut found: impl FnMut(&RawEvent) -> Option<T>) -> T {
        self.wait(|events| events.iter().filter(|event| event.task.pid == pid).find_map(&mut found))
    }

    pub fn all(&self) -> Vec<RawEvent> {
        self.events.lock().unwrap().clone()
    }
}

pub fn config(concerns: &[Concern]) -> SourceConfig {
    let kinds = EventKind::ALL.into_iter().filter(|kind| concerns.contains(&kind.concern()));
    SourceConfig {
        kinds: kinds.collect(),
        paths: Arc::new(WatchNothing),
        file_access: false,
        unix_sockets: false,
        datagram_peers: false,
        tier: TierWish::Auto,
        ring_bytes: crate::source::RingBytes::default(),
        own_pid: 1,
        exclude: Default::default(),
    }
}

pub fn health(running: &dyn Running, kind: EventKind) -> KindHealth {
    running.health().into_iter().find(|health| health.kind == kind).unwrap()
}

/// Says what is missing before a test fails for it.
pub fn assert_root() {
    assert!(rustix::process::geteuid().is_root(), "the tests of `mod root` need root");
}

/// Runs a program to its end. Its pid.
pub fn spawn(program: &str, arguments: &[&str]) -> u32 {
    let mut child = std::process::Command::new(program)
        .args(arguments)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    child.wait().unwrap();
    pid
}

/// A source at work, and what it tells.
pub fn start(source: Box<dyn Source>, config: &SourceConfig) -> (Box<dyn Running>, Arc<Kept>) {
    let kept = Kept::new();
    let sink: Arc<dyn Sink> = Arc::<Kept>::clone(&kept);
    (source.start(config, sink).unwrap_or_else(|error| panic!("{error}")), kept)
}

/// Executes a program `times` times, one after the other, as fast as can be. Their pids.
pub fn burst(program: &str, argument: &str, times: usize) -> Vec<u32> {
    let program = CString::new(program).unwrap();
    let argument = CString::new(argument).unwrap();
    let argv = [program.as_ptr().cast_mut(), argument.as_ptr().cast_mut(), std::ptr::null_mut()];
    let envp = [std::ptr::null_mut()];
    let mut pids = Vec::with_capacity(times);
    for _ in 0..times {
        let mut pid = 0;
        // SAFETY: the vectors end with null and live through the call, as does the program's name.
        let failed = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                program.as_ptr(),
                std::ptr::null(),
                std::ptr::null(),
                argv.as_ptr(),
                envp.as_ptr(),
            )
        };
        assert_eq!(failed, 0);
        // SAFETY: the child is ours and no status is asked for.
        assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }, pid);
        pids.push(u32::try_from(pid).unwrap());
    }
    pids
}

/// Counts, in the order of events, the execs of children of `parent` that it forked while watched.
pub fn execs_of_children(events: &[RawEvent], parent: u32) -> (usize, usize, usize) {
    let mut alive: HashMap<u32, bool> = HashMap::new();
    let (mut forks, mut execs, mut exits) = (0, 0, 0);
    for event in events {
        match &event.body {
            Body::Fork(fork) if event.task.pid == parent => {
                forks += 1;
                alive.insert(fork.child_pid, false);
            }
            Body::Exec(_) => {
                if let Some(done) = alive.get_mut(&event.task.pid) {
                    execs += usize::from(!*done);
                    *done = true;
                }
            }
            Body::Exit(_) => exits += usize::from(alive.remove(&event.task.pid).is_some()),
            _ => {}
        }
    }
    (forks, execs, exits)
}

/// Held by a test that changes the audit subsystem, of which there is one; other programs' tests may
/// take it too.
pub fn audit_alone() -> std::fs::File {
    assert_root();
    let path = std::env::temp_dir().join("osquery-ebpf-audit-tests.lock");
    let file = std::fs::File::create(path).unwrap();
    file.lock().unwrap();
    let status = crate::audit::control::Control::open().and_then(|mut audit| audit.status());
    let status = status.expect("CAP_AUDIT_CONTROL in the initial namespaces is needed");
    assert_eq!(status.pid, 0, "an audit daemon runs; these tests need audit to themselves");
    file
}

/// What auditctl says of settings and rules, without what only ever grows.
pub fn auditctl() -> (String, String) {
    let say = |option: &str| {
        let said = std::process::Command::new("auditctl").arg(option).output();
        let said = said.expect("auditctl, of the package auditd, is needed");
        String::from_utf8(said.stdout).unwrap()
    };
    let grows = |line: &&str| {
        !["lost", "backlog ", "backlog_wait_time_actual"].iter().any(|word| line.starts_with(word))
    };
    let settings: Vec<_> = say("-s").lines().filter(grows).map(ToOwned::to_owned).collect();
    (settings.join("\n"), say("-l"))
}
