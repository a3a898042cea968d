//! What the connector does not say, from `/proc` at once.
//!
//! Owns the doubts: the process may be gone, its pid may be someone else's already, or it may have
//! executed another program before we looked. In doubt a value is unknown.

use std::fs;

use crate::audit::calls::{Arch, Call};
use crate::event::{Bytes, Exec, FileObject, Strings, TICK_NS, Task, Truncated};
use crate::proc::{self, ProcProcess};

/// Tells one program's memory from the next one's in the same process: where the kernel put its
/// arguments, which it chooses at random. It is the only address that is written once
/// (`setup_arg_pages`) while the program is being loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image(u64);

/// The parts of `/proc/PID/stat` that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The process is dead and not yet waited for.
    pub zombie: bool,
    /// Thread-group id of the parent.
    pub parent_pid: u32,
    /// When it started, `CLOCK_BOOTTIME` ns, in whole ticks.
    pub start_ns: u64,
    /// `None`: we may not know, or the program is still being loaded.
    pub image: Option<Image>,
}

impl Stat {
    /// Reads the process `pid` as it was at `time_ns`. `None`: it is gone, or this is another that
    /// has its pid now.
    pub fn read(pid: u32, time_ns: u64) -> Option<Self> {
        let stat = Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)?;
        (stat.start_ns <= time_ns).then_some(stat)
    }

    /// Fields are counted as in proc(5), from the command name, which may hold anything.
    fn parse(text: &[u8]) -> Option<Self> {
        let name_ends = text.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(text.get(name_ends..)?.get(2..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number.checked_sub(3)?).copied();
        let number = |at: usize| field(at)?.parse::<u64>().ok();
        let image = number(48).filter(|&arguments| arguments != 0).map(Image);
        Some(Self {
            zombie: matches!(field(3)?, "Z" | "X"),
            parent_pid: u32::try_from(number(4)?).ok()?,
            start_ns: number(22)?.checked_mul(TICK_NS)?,
            image,
        })
    }
}

/// Whether the process has living threads besides `except`.
pub fn others_live(tgid: u32, except: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{tgid}/task")) else { return false };
    let others = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse::<u32>().ok());
    others.filter(|&tid| tid != except).any(|tid| {
        let stat = fs::read(format!("/proc/{tgid}/task/{tid}/stat"));
        stat.ok().and_then(|text| Stat::parse(&text)).is_some_and(|stat| !stat.zombie)
    })
}

/// Whether the process could be executing a program right now: it runs or waits to, is inside of
/// `execve` or `execveat`, or cannot be looked at.
pub fn executing(pid: u32) -> bool {
    let Ok(call) = fs::read_to_string(format!("/proc/{pid}/syscall")) else { return true };
    let number = call.split(' ').next().and_then(|number| number.parse().ok());
    // "running" is not a number. The call's width is not told, so either's number will do.
    number.is_none_or(|number: u32| {
        let call = |&arch: &Arch| Call::find(arch, number);
        let calls: Vec<_> = Arch::of_host().iter().filter_map(call).collect();
        calls.contains(&Call::Execve) || calls.contains(&Call::Execveat)
    })
}

/// A process right after an exec at `time_ns`.
#[derive(Debug, Clone, PartialEq)]
pub struct AfterExec {
    /// The process.
    pub process: ProcProcess,
    /// Its executable.
    pub file: Option<FileObject>,
    /// What it was given beside its arguments, and whether that was cut.
    pub environment: (Strings, bool),
    /// The mark of the program it runs.
    pub image: Option<Image>,
}

/// Reads a process right after an exec at `time_ns`. `None`: it is gone, or was executing something
/// else while it was being read.
pub fn after_exec(pid: u32, time_ns: u64) -> Option<AfterExec> {
    let before = Stat::read(pid, time_ns)?;
    let process = proc::read(pid)?;
    let file = executable(pid);
    let environment = proc::environment(pid);
    let after = Stat::read(pid, time_ns)?;
    let same = before.start_ns == after.start_ns
        && process.start_ns == before.start_ns
        && before.image == after.image
        && after.image.is_some()
        && !after.zombie;
    same.then_some(AfterExec { process, file, environment, image: after.image })
}

/// The executable's inode, by the link that the process itself holds it by.
fn executable(pid: u32) -> Option<FileObject> {
    let found = rustix::fs::stat(format!("/proc/{pid}/exe")).ok()?;
    Some(FileObject {
        device: Some(found.st_dev),
        inode: Some(found.st_ino),
        mode: Some(found.st_mode),
        uid: Some(found.st_uid),
        gid: Some(found.st_gid),
        size: u64::try_from(found.st_size).ok(),
        nlink: u32::try_from(found.st_nlink).ok(),
        atime: Some(found.st_atime),
        mtime: Some(found.st_mtime),
        ctime: Some(found.st_ctime),
        btime: None,
    })
}

/// What `/proc` says of an exec.
fn exec(after: AfterExec) -> Exec {
    let AfterExec { process, file, environment: (env, env_cut), .. } = after;
    let truncated = Truncated { args: process.cmdline_cut, env: env_cut, ..Truncated::default() };
    Exec {
        env,
        file,
        fileless: process.exe.as_ref().map(|_| process.exe_deleted),
        path: process.exe,
        args: process.cmdline,
        cwd: process.cwd,
        tty: process.tty,
        truncated,
        ..Exec::default()
    }
}

/// The event of an exec, and the mark of the program, as far as `/proc` still tells.
pub fn executed(pid: u32, time_ns: u64) -> (Task, Exec, Option<Image>) {
    let mut task = task(pid, pid);
    let Some(after) = after_exec(pid, time_ns) else {
        let mut exec = Exec::default();
        disown(&mut task, &mut exec);
        return (task, exec, None);
    };
    identity(&mut task, &after.process);
    task.creds = after.process.creds;
    let image = after.image;
    (task, exec(after), image)
}

/// A task of which only the pid is known.
pub fn task(pid: u32, tid: u32) -> Task {
    Task { pid, tid, ..Task::default() }
}

/// Puts what is known of the process into a task, but for what may have changed since.
pub fn identity(task: &mut Task, process: &ProcProcess) {
    task.start_ns = task.start_ns.or(Some(process.start_ns));
    task.parent_pid = task.parent_pid.or(process.parent_pid);
    task.ns_pid = task.ns_pid.or(process.ns_pid);
    task.auid = task.auid.or(process.auid);
    task.namespaces = task.namespaces.or(process.namespaces);
    if task.cgroup.is_none() {
        task.cgroup.clone_from(&process.cgroup);
    }
    if task.comm.is_none() {
        task.comm.clone_from(&process.comm);
    }
}

/// Forgets what was read of an exec when it turns out to be of a later one.
pub fn disown(task: &mut Task, exec: &mut Exec) {
    let kept = Exec {
        truncated: Truncated { path: true, args: true, cwd: true, env: true, ..exec.truncated },
        ..Exec::default()
    };
    *exec = kept;
    task.creds = None;
    task.comm = None;
    task.exe = None::<Bytes>;
    task.cwd = None;
}

/// The same where audit told of the exec, and only the environment was read.
pub fn disown_environment(exec: &mut Exec) {
    exec.env = Strings::default();
    exec.truncated.env = true;
}

#[cfg(test)]
mod tests;
