//! These need root and a kernel with fanotify; the first one says so.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;

use super::super::Fanotify;
use super::super::mounts::Mounts;
use super::super::path;
use crate::event::{Body, EventKind, File, FileAction, RawEvent};
use crate::source::{
    KindHealth, PathFilter, RingBytes, Root, Running, Sink, Source, SourceConfig, StartError,
    TierWish,
};

mod actions;
mod compare;
mod mounts;
mod moves;
mod storms;

/// Longest time any case waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn this_host_lets_us_mark_file_systems() {
    assert!(rustix::process::geteuid().is_root(), "these tests need root");
    let group = Fanotify::new().group();
    assert!(group.is_ok(), "{group:?}");
    for directory in ["/tmp", "/dev/shm"] {
        assert!(Path::new(directory).is_dir(), "these tests need {directory}");
    }
}

/// Keeps what it is given, and can be made to keep the giver waiting.
#[derive(Default)]
struct Collector {
    events: Mutex<Vec<RawEvent>>,
    gate: Mutex<()>,
}

impl Sink for Collector {
    fn accept(&self, batch: &mut Vec<RawEvent>) {
        self.events.lock().append(batch);
        drop(self.gate.lock());
    }
}

/// Wants everything below some directories, to a depth.
struct Below(Vec<Root>);

impl PathFilter for Below {
    fn matches(&self, path: &[u8]) -> bool {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        self.0.iter().any(|root| {
            path.strip_prefix(&root.path).is_ok_and(|rest| {
                root.depth.is_none_or(|depth| rest.components().count() <= depth as usize)
            })
        })
    }

    fn roots(&self) -> Vec<Root> {
        self.0.clone()
    }
}

fn below(paths: &[&Path]) -> SourceConfig {
    let root = |path: &&Path| Root { path: path.to_path_buf(), depth: None };
    config(paths.iter().map(root).collect())
}

fn config(roots: Vec<Root>) -> SourceConfig {
    SourceConfig {
        kinds: vec![EventKind::File],
        paths: Arc::new(Below(roots)),
        file_access: false,
        unix_sockets: false,
        datagram_peers: false,
        tier: TierWish::Auto,
        ring_bytes: RingBytes::default(),
        // What the tests do themselves is to be seen.
        own_pid: u32::MAX,
        exclude: Default::default(),
    }
}

struct Watching {
    running: Box<dyn Running>,
    collector: Arc<Collector>,
}

impl Watching {
    fn start(source: Fanotify, config: &SourceConfig) -> Self {
        Self::try_start(source, config).unwrap()
    }

    fn try_start(source: Fanotify, config: &SourceConfig) -> Result<Self, StartError> {
        let collector = Arc::new(Collector::default());
        let sink: Arc<dyn Sink> = Arc::clone(&collector) as Arc<dyn Sink>;
        let running = Box::new(source).start(config, sink)?;
        Ok(Self { running, collector })
    }

    fn on(path: &Path) -> Self {
        Self::start(Fanotify::new(), &below(&[path]))
    }

    /// Does something while the reader hangs in its sink, having been given what `bait` causes.
    fn while_it_hangs(&self, bait: impl FnOnce(), act: impl FnOnce()) {
        let gate = self.collector.gate.lock();
        bait();
        wait_for("the bait to be delivered", || !self.collector.events.lock().is_empty());
        self.collector.events.lock().clear();
        act();
        drop(gate);
    }

    /// All events so far that were not taken yet.
    fn take(&self) -> Vec<RawEvent> {
        assert!(self.running.flush(DEADLINE), "{:?}", self.running.failure());
        std::mem::take(&mut self.collector.events.lock())
    }

    /// The same, as what happened to which names below a directory.
    fn done(&self, base: &Path) -> Vec<Done> {
        self.take().iter().map(|event| Done::of(event, base)).collect()
    }

    fn health(&self) -> KindHealth {
        self.running.health().pop().unwrap()
    }
}

impl Drop for Scene {
    /// What a case has mounted would keep its directory from being removed.
    fn drop(&mut self) {
        let text = fs::read("/proc/thread-self/mountinfo").unwrap_or_default();
        let base = self.base.path().as_os_str().as_bytes();
        for mount in Mounts::parse(&text).list().iter().rev() {
            if path::below(&mount.point, base).is_some() {
                let _ = unmount(mount.point.as_slice(), UnmountFlags::DETACH);
            }
        }
    }
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

fn file(event: &RawEvent) -> &File {
    let Body::File(file) = &event.body else { panic!("{event:?}") };
    file
}

/// An action and its names, relative to a directory where they are below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Done(String, String, Option<String>);

impl Done {
    fn of(event: &RawEvent, base: &Path) -> Self {
        let file = file(event);
        let name = |path: &[u8]| {
            let path = Path::new(std::ffi::OsStr::from_bytes(path));
            path.strip_prefix(base).unwrap_or(path).display().to_string()
        };
        Self(
            format!("{:?}", file.action),
            file.path.as_deref().map(name).unwrap_or_default(),
            file.dest_path.as_deref().map(name),
        )
    }
}

fn did(action: FileAction, name: &str) -> Done {
    Done(format!("{action:?}"), name.to_owned(), None)
}

fn did_to(action: FileAction, name: &str, other: &str) -> Done {
    Done(format!("{action:?}"), name.to_owned(), Some(other.to_owned()))
}

/// A private directory with a watched and an unwatched one in it.
struct Scene {
    base: TempDir,
}

impl Scene {
    fn new(file_system: &str) -> Self {
        let base = tempfile::Builder::new().prefix("fanotify-").tempdir_in(file_system).unwrap();
        fs::create_dir(base.path().join("in")).unwrap();
        fs::create_dir(base.path().join("out")).unwrap();
        Self { base }
    }

    fn watched(&self) -> PathBuf {
        self.base.path().join("in")
    }

    fn other(&self) -> PathBuf {
        self.base.path().join("out")
    }
}

/// Writes a file in a process of its own. What this process opens may be inherited by what other
/// tests start at that moment, and then be closed late, and by them.
fn write(path: &Path) -> u32 {
    let name = path.file_name().unwrap().to_str().unwrap();
    run(&format!("printf content > {name}"), path.parent().unwrap())
}

fn python(script: &str, path: &Path) {
    let python = Command::new("python3").args(["-c", script]).arg(path).status().unwrap();
    assert!(python.success());
}

/// Sets a file's times to a billion seconds, without opening it.
fn set_old_times(path: &Path) {
    let then = Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 };
    let times = Timestamps { last_access: then, last_modification: then };
    utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
}

/// Changes a file's first byte by way of a mapping, in a process of its own. Its pid.
fn write_by_mapping(path: &Path) -> u32 {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the child makes system calls only, on a name made before it, and ends by _exit.
    let pid = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            let fd = libc::open(path.as_ptr(), libc::O_RDWR);
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let at = libc::mmap(std::ptr::null_mut(), 1, access, libc::MAP_SHARED, fd, 0);
            if at == libc::MAP_FAILED {
                libc::_exit(1);
            }
            at.cast::<u8>().write_volatile(b'A');
            libc::munmap(at, 1);
            libc::_exit(libc::close(fd));
        }
        pid
    };
    let mut status = 0;
    // SAFETY: `status` is an int to write to.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
    pid.unsigned_abs()
}

fn run(shell: &str, directory: &Path) -> u32 {
    let mut child =
        Command::new("/bin/sh").args(["-c", shell]).current_dir(directory).spawn().unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success(), "{shell}");
    pid
}

/// Leaves the mount namespace of the other tests.
fn unshare_mounts() {
    // SAFETY: a mount namespace, and the working directory and root that go with it, become this
    // thread's own; no memory is affected.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
    mount(&["--make-rprivate", "/"]);
}

fn mount(arguments: &[&str]) {
    assert!(Command::new("mount").args(arguments).status().unwrap().success(), "{arguments:?}");
}
