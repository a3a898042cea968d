//! Every kind of file event once, against what the one who caused it knows: names and process are its
//! own, the rest is what `stat(2)` shows afterwards.

use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, chown};

use super::*;
use crate::testkit::table::{Happening, Table, happening};
use crate::testkit::uring::Uring;

type Bytes = Box<[u8]>;

/// The directories of one step: `in` is watched, `out` is not.
struct Step {
    scene: Scene,
    watching: Watching,
}

impl Step {
    fn new() -> Self {
        let scene = Scene::new("/tmp");
        let watching = Watching::on(&scene.watched());
        Self { scene, watching }
    }

    /// A path, as events have it.
    fn at(&self, name: &str) -> Option<Bytes> {
        Some(self.path(name).as_os_str().as_bytes().into())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scene.base.path().join(name)
    }

    /// A file with content whose events have been seen.
    fn old(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        write(&path);
        self.watching.take();
        path
    }

    fn run(&self, shell: &str) -> u32 {
        run(shell, self.scene.base.path())
    }

    /// Waits until all so far has been reported.
    fn settle(&self) {
        assert!(self.watching.running.flush(DEADLINE), "{:?}", self.watching.running.failure());
    }

    fn stat(&self, name: &str) -> fs::Metadata {
        fs::symlink_metadata(self.path(name)).unwrap()
    }

    fn seen(&self) -> Vec<Happening> {
        let told = self.watching.take().into_iter().map(|event| {
            let File { action, path, dest_path, object, is_dir, .. } = file(&event).clone();
            let object = object.unwrap_or_default();
            happening!(
                name(action),
                path = path,
                dest = dest_path,
                pid = event.task.pid,
                inode = object.inode,
                device = object.device,
                size = object.size,
                mode = object.mode,
                owner = (object.uid, object.gid),
                links = object.nlink,
                mtime = object.mtime,
                is_dir = is_dir,
            )
        });
        told.collect()
    }
}

fn name(action: FileAction) -> &'static str {
    match action {
        FileAction::Create => "create",
        FileAction::Mkdir => "mkdir",
        FileAction::Symlink => "symlink",
        FileAction::Link => "link",
        FileAction::CloseWrite => "close-write",
        FileAction::Modify => "modify",
        FileAction::Truncate => "truncate",
        FileAction::Unlink => "unlink",
        FileAction::Rmdir => "rmdir",
        FileAction::Rename => "rename",
        FileAction::Chmod => "chmod",
        FileAction::Chown => "chown",
        FileAction::Attributes => "attributes",
        FileAction::Open => "open",
        FileAction::Access => "access",
    }
}

const NONE: Option<Bytes> = None;

/// A file whose content changed, as it is now.
fn changed(step: &Step, name: &str, pid: u32) -> Happening {
    let now = step.stat(name);
    happening!(
        "close-write",
        path = step.at(name),
        dest = NONE,
        pid = pid,
        inode = Some(now.ino()),
        device = Some(now.dev()),
        size = Some(now.size()),
        mode = Some(now.mode()),
        owner = (Some(now.uid()), Some(now.gid())),
        mtime = Some(now.mtime()),
    )
}

fn created(step: &Step, name: &str, pid: u32) -> Happening {
    let now = step.stat(name);
    happening!("create", path = step.at(name), dest = NONE, pid = pid, inode = Some(now.ino()))
}

fn renamed(step: &Step, from: &str, to: &str, pid: u32) -> Vec<Happening> {
    let (from, to) = (step.at(from), step.at(to));
    vec![happening!("rename", path = from, dest = to, pid = pid, is_dir = Some(false))]
}

fn written(step: &Step) -> Vec<Happening> {
    let pid = step.run("printf content > in/a");
    vec![created(step, "in/a", pid), changed(step, "in/a", pid)]
}

fn appended(step: &Step) -> Vec<Happening> {
    step.old("in/a");
    let pid = step.run("printf more >> in/a");
    vec![changed(step, "in/a", pid)]
}

fn mapped(step: &Step) -> Vec<Happening> {
    let path = step.old("in/a");
    // Such a write shows in the file's time only, which has steps of 4 ms.
    set_old_times(&path);
    step.watching.take();
    let pid = write_by_mapping(&path);
    assert!(fs::read(path).unwrap().starts_with(b"A"));
    vec![changed(step, "in/a", pid)]
}

fn truncated(step: &Step) -> Vec<Happening> {
    step.old("in/a");
    let pid = step.run("exec truncate -s 3 in/a");
    assert_eq!(step.stat("in/a").size(), 3);
    vec![changed(step, "in/a", pid)]
}

fn renamed_within(step: &Step) -> Vec<Happening> {
    step.old("in/a");
    let pid = step.run("exec mv in/a in/b");
    renamed(step, "in/a", "in/b", pid)
}

fn renamed_into(step: &Step) -> Vec<Happening> {
    step.old("out/a");
    let pid = step.run("exec mv out/a in/b");
    renamed(step, "out/a", "in/b", pid)
}

fn renamed_out(step: &Step) -> Vec<Happening> {
    step.old("in/a");
    let pid = step.run("exec mv in/a out/b");
    renamed(step, "in/a", "out/b", pid)
}

fn linked(step: &Step) -> Vec<Happening> {
    step.old("in/a");
    let pid = step.run("exec ln in/a in/b");
    let (path, older, inode) = (step.at("in/b"), step.at("in/a"), Some(step.stat("in/a").ino()));
    let links = Some(2u32);
    vec![happening!("link", path = path, dest = older, pid = pid, inode = inode, links = links)]
}

fn linked_by_name(step: &Step) -> Vec<Happening> {
    let pid = step.run("exec ln -s ../some/where in/s");
    let text: Option<Bytes> = Some(b"../some/where".as_slice().into());
    vec![happening!("symlink", path = step.at("in/s"), dest = text, pid = pid)]
}

fn attributes(step: &Step) -> Vec<Happening> {
    let path = step.old("in/a");
    let pid = step.run("exec chmod 4711 in/a");
    let at = step.at("in/a");
    let mode = Some(step.stat("in/a").mode());
    let mut expected = vec![happening!("chmod", path = at, pid = pid, mode = mode)];
    // One after the other: the kernel merges what one process does to one name.
    step.settle();
    chown(&path, Some(12), Some(34)).unwrap();
    let (own, owner) = (std::process::id(), (Some(12u32), Some(34u32)));
    expected.push(happening!("chown", path = at, pid = own, owner = owner));
    step.settle();
    set_old_times(&path);
    let mtime = Some(step.stat("in/a").mtime());
    expected.push(happening!("attributes", path = at, pid = own, mtime = mtime));
    expected
}

fn directories(step: &Step) -> Vec<Happening> {
    let made = step.run("exec mkdir in/d");
    step.settle();
    let removed = step.run("exec rmdir in/d");
    let (at, is_dir) = (step.at("in/d"), Some(true));
    vec![
        happening!("mkdir", path = at, pid = made, is_dir = is_dir),
        happening!("rmdir", path = at, pid = removed, is_dir = is_dir),
    ]
}

fn unlinked(step: &Step) -> Vec<Happening> {
    step.old("in/a");
    let inode = Some(step.stat("in/a").ino());
    let pid = step.run("exec rm in/a");
    let at = step.at("in/a");
    // Which object it was is told from 5.17 on only, and health says so before.
    if step.watching.health().reason.is_empty() {
        return vec![happening!("unlink", path = at, pid = pid, inode = inode)];
    }
    vec![happening!("unlink", path = at, pid = pid)]
}

fn created_by_io_uring(step: &Step) -> Vec<Happening> {
    let path = CString::new(step.path("in/a").as_os_str().as_bytes()).unwrap();
    let ring = Uring::new().unwrap();
    let flags = (libc::O_CREAT | libc::O_WRONLY).cast_unsigned();
    let fd = ring.open(&path, flags, 0o600);
    assert!(fd >= 0, "{}", std::io::Error::from_raw_os_error(-fd));
    // SAFETY: the call gave us this descriptor.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    // Before 5.12 workers are threads of the kernel, and it is one of them that makes the file.
    let inode = Some(step.stat("in/a").ino());
    vec![happening!("create", path = step.at("in/a"), dest = NONE, inode = inode)]
}

#[cfg(target_arch = "x86_64")]
fn created_by_a_32_bit_caller(step: &Step) -> Vec<Happening> {
    use crate::testkit::compat::{Low, OPEN, call};

    let page = Low::new();
    let mut bytes = [0u8; 256];
    let path = step.path("in/a");
    let path = path.as_os_str().as_bytes();
    bytes[..path.len()].copy_from_slice(path);
    let at = page.put(0, bytes);
    let flags = (libc::O_CREAT | libc::O_WRONLY).cast_unsigned();
    let fd = call(OPEN, [at, flags, 0o600]);
    assert!(fd >= 0, "{}", std::io::Error::from_raw_os_error(-fd));
    // SAFETY: the call gave us this descriptor.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    vec![created(step, "in/a", std::process::id())]
}

#[test]
fn a_workload_is_seen_as_it_was_field_by_field() {
    type Work = fn(&Step) -> Vec<Happening>;
    let steps: &[(&str, Work)] = &[
        ("a file created and written", written),
        ("an append", appended),
        ("a write through a mapping", mapped),
        ("a truncation by descriptor", truncated),
        ("a rename within the watch", renamed_within),
        ("a rename into the watch", renamed_into),
        ("a rename out of the watch", renamed_out),
        ("a hard link", linked),
        ("a symbolic link", linked_by_name),
        ("changes of mode, owner and times", attributes),
        ("a directory made and removed", directories),
        ("a file removed", unlinked),
        ("a file created by io_uring", created_by_io_uring),
        #[cfg(target_arch = "x86_64")]
        ("a file created by a 32-bit caller", created_by_a_32_bit_caller),
    ];
    let mut table = Table::new("files (fanotify)");
    for (name, work) in steps {
        let step = Step::new();
        let expected = work(&step);
        table.row(name, &expected, step.seen());
    }
    table.finish();
}
