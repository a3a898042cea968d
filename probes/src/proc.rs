//! Processes as `/proc` shows them: for those that ran before the sources started, and for those a
//! source names without saying more.
//!
//! Owns which files are read and what is made of their absence; the text formats are in [`parse`].
//! It reads one process through one directory handle, so that all parts are of the same process
//! even if its pid is used again meanwhile. Nothing here is cached.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, readlinkat_raw, statat};
use rustix::io::{Errno, read as read_fd};

use crate::event::{Bytes, Creds, Namespaces, ProcessKey, Strings, Task};

mod parse;
#[cfg(test)]
mod tests;

/// Argument bytes kept of one process; the rest is cut, and said to be.
pub const MAX_CMDLINE: usize = 32 << 10;

/// The same of its environment.
pub const MAX_ENVIRON: usize = 32 << 10;

/// Bytes read of any other file below `/proc/PID`. `status` has about 1.5 KB and grows with
/// supplementary groups: `ns_pid`, which stands behind them, is unknown beyond some 1,500 of these.
const MAX_FILE: usize = 16 << 10;

/// The kernel gives no link below `/proc` that does not fit a page.
const MAX_LINK: usize = 4096;

const DELETED: &[u8] = b" (deleted)";

/// What `/proc` says of one process. A part is `None` where it has none (a kernel thread has no
/// executable), where it is unknown, and where we were not allowed to look ([`Self::denied`]).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProcProcess {
    /// Thread-group id.
    pub pid: u32,
    /// When it started, `CLOCK_BOOTTIME` ns, rounded down to a clock tick.
    pub start_ns: u64,
    /// Parent's thread-group id; `None` for pid 1, for kernel threads' ancestor and where the
    /// parent lives outside our pid namespace.
    pub parent_pid: Option<u32>,
    /// User and group ids.
    pub creds: Option<Creds>,
    /// Audit login uid; `None` where it was never set.
    pub auid: Option<u32>,
    /// The executable, without the kernel's " (deleted)".
    pub exe: Option<Bytes>,
    /// No directory has a name for the executable any more.
    pub exe_deleted: bool,
    /// Arguments, as the process has them now. `None` bytes: it has none (kernel thread, zombie).
    pub cmdline: Strings,
    /// The arguments were longer than [`MAX_CMDLINE`].
    pub cmdline_cut: bool,
    /// Working directory.
    pub cwd: Option<Bytes>,
    /// Cgroup, chosen as on [`Task::cgroup`].
    pub cgroup: Option<Bytes>,
    /// Namespace inode numbers.
    pub namespaces: Option<Namespaces>,
    /// Its pid in its own pid namespace.
    pub ns_pid: Option<u32>,
    /// Command name.
    pub comm: Option<Bytes>,
    /// Controlling terminal, such as `pts0`.
    pub tty: Option<Bytes>,
    /// At least one part was refused for want of permission.
    pub denied: bool,
}

impl ProcProcess {
    /// Its identity; the start is in whole ticks, so compare by [`ProcessKey::ticks`].
    pub const fn key(&self) -> ProcessKey {
        ProcessKey { pid: self.pid, start_ns: self.start_ns }
    }

    /// The same as the task of an event, its leader being the thread.
    pub fn to_task(&self) -> Task {
        Task {
            pid: self.pid,
            tid: self.pid,
            start_ns: Some(self.start_ns),
            parent_pid: self.parent_pid,
            parent_start_ns: None,
            ns_pid: self.ns_pid,
            creds: self.creds,
            auid: self.auid,
            namespaces: self.namespaces,
            cgroup_id: None,
            cgroup: self.cgroup.clone(),
            comm: self.comm.clone(),
            exe: self.exe.clone(),
            cwd: self.cwd.clone(),
        }
    }
}

/// Reads the process that `pid` is, or is a thread of; some 20 µs. `None`: there is none.
pub fn read(pid: u32) -> Option<ProcProcess> {
    Reader::default().process(pid)
}

/// Reads the environment that a process was given with the program it runs, and says whether it was
/// cut. Whoever asks makes sure that the process has a program: one without memory of its own seems to
/// have no variables.
pub fn environment(pid: u32) -> (Strings, bool) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = openat(CWD, format!("/proc/{pid}"), flags, Mode::empty()) else {
        return (Strings::default(), false);
    };
    Reader::default().environment(&dir)
}

/// Reads every process, older before younger, so that parents come before children.
pub fn scan() -> Vec<ProcProcess> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut reader = Reader::default();
    let mut processes: Vec<ProcProcess> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| reader.process(pid))
        .collect();
    processes.sort_by_key(|process| (process.start_ns, process.pid));
    processes
}

/// Buffers that outlive one process, and what was refused while reading the present one.
#[derive(Default)]
struct Reader {
    buffer: Vec<u8>,
    denied: bool,
}

impl Reader {
    fn process(&mut self, pid: u32) -> Option<ProcProcess> {
        self.denied = false;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, format!("/proc/{pid}"), flags, Mode::empty()).ok()?;
        let stat = parse::stat(self.file(&dir, "stat", MAX_FILE)?)?;
        let status = self.file(&dir, "status", MAX_FILE).map(parse::status).unwrap_or_default();
        if let Some(leader) = status.tgid.filter(|&leader| leader != pid) {
            // A leader's own Tgid is itself, so this goes one step at most.
            return self.process(leader);
        }
        let auid = self.file(&dir, "loginuid", MAX_FILE).and_then(parse::loginuid);
        let cgroup = self.file(&dir, "cgroup", MAX_FILE).and_then(parse::cgroup);
        let (cmdline, cmdline_cut) = self.cmdline(&dir);
        let (exe, exe_deleted) = match self.link(&dir, "exe") {
            Some(target) => undelete(&dir, target),
            None => (None, false),
        };
        Some(ProcProcess {
            pid,
            start_ns: stat.start_ns,
            parent_pid: stat.parent_pid,
            creds: status.creds,
            auid,
            exe,
            exe_deleted,
            cmdline,
            cmdline_cut,
            cwd: self.link(&dir, "cwd").map(Bytes::from),
            cgroup,
            namespaces: self.namespaces(&dir),
            ns_pid: status.ns_pid,
            comm: Some(stat.comm),
            tty: stat.tty.and_then(tty_name),
            denied: self.denied,
        })
    }

    /// Reads up to `limit` bytes of a file of the process.
    fn file(&mut self, dir: &OwnedFd, name: &str, limit: usize) -> Option<&[u8]> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = self.allowed(openat(dir, name, flags, Mode::empty()))?;
        if self.buffer.len() < limit {
            self.buffer.resize(limit, 0);
        }
        let mut filled = 0;
        // seq_file hands out at most a page at a time; a short read is not the end.
        while let Some(free) = self.buffer.get_mut(filled..limit).filter(|free| !free.is_empty()) {
            match read_fd(&fd, free) {
                Ok(0) => break,
                Ok(count) => filled = filled.saturating_add(count),
                Err(Errno::INTR) => {}
                Err(error) => {
                    self.note(error);
                    return None;
                }
            }
        }
        self.buffer.get(..filled)
    }

    fn cmdline(&mut self, dir: &OwnedFd) -> (Strings, bool) {
        // One byte more than is kept tells whether there was more.
        let Some(read) = self.file(dir, "cmdline", MAX_CMDLINE + 1) else {
            return (Strings::default(), false);
        };
        if read.is_empty() {
            return (Strings::default(), false);
        }
        parse::strings(read, MAX_CMDLINE)
    }

    fn environment(&mut self, dir: &OwnedFd) -> (Strings, bool) {
        let Some(read) = self.file(dir, "environ", MAX_ENVIRON + 1) else {
            return (Strings::default(), false);
        };
        parse::strings(read, MAX_ENVIRON)
    }

    fn link(&mut self, dir: &OwnedFd, name: &str) -> Option<Vec<u8>> {
        let mut target = [0; MAX_LINK];
        let length = self.allowed(readlinkat_raw(dir, name, &mut target[..]))?;
        target.get(..length).map(<[u8]>::to_vec)
    }

    fn namespaces(&mut self, dir: &OwnedFd) -> Option<Namespaces> {
        let mut inode = |name| parse::namespace(&self.link(dir, name)?);
        Some(Namespaces {
            mnt: inode("ns/mnt")?,
            pid: inode("ns/pid")?,
            net: inode("ns/net")?,
            user: inode("ns/user")?,
        })
    }

    fn allowed<T>(&mut self, result: Result<T, Errno>) -> Option<T> {
        result.map_err(|error| self.note(error)).ok()
    }

    fn note(&mut self, error: Errno) {
        self.denied |= matches!(error, Errno::ACCESS | Errno::PERM);
    }
}

/// Takes the kernel's mark off an executable's path, and says whether it stood there. A file may
/// truly have a name that ends so: then that name leads to the executable.
fn undelete(dir: &OwnedFd, target: Vec<u8>) -> (Option<Bytes>, bool) {
    let Some(path) = target.strip_suffix(DELETED) else {
        return (Some(target.into()), false);
    };
    let running = statat(dir.as_fd(), "exe", AtFlags::empty());
    let in_its_root = [b"root", target.as_slice()].concat();
    let named = statat(dir.as_fd(), in_its_root.as_slice(), AtFlags::empty());
    match (running, named) {
        (Ok(running), Ok(named))
            if (running.st_dev, running.st_ino) == (named.st_dev, named.st_ino) =>
        {
            (Some(target.into()), false)
        }
        _ => (Some(path.into()), true),
    }
}

/// Names a terminal as its driver does.
fn tty_name((major, minor): (u32, u32)) -> Option<Bytes> {
    if let Some(index) = parse::pts_index(major, minor) {
        return Some(format!("pts{index}").into_bytes().into());
    }
    let mut target = [0; MAX_LINK];
    let link = format!("/sys/dev/char/{major}:{minor}");
    let length = readlinkat_raw(CWD, link, &mut target[..]).ok()?;
    target.get(..length)?.rsplit(|&byte| byte == b'/').next().map(Bytes::from)
}
