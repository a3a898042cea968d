//! exec, fork, exit, and changes of ids and namespaces.

use super::{Malformed, creds, device, event, fixed, namespaces, part, path, syscall, text};
use crate::event::{
    Body, Exec, Exit, FileObject, Fork, NamespaceChange, RawEvent, Setid, Strings, Truncated,
};
use crate::wire;

/// `BTRFS_SUPER_MAGIC` of include/uapi/linux/magic.h. Its `st_dev` is the subvolume's, which only
/// btrfs itself knows: that of the superblock is another number.
const BTRFS: u32 = 0x9123_683e;

pub(super) fn exec(bytes: &[u8]) -> Result<RawEvent, Malformed> {
    let exec: wire::Exec = fixed(bytes)?;
    let is = |bit| exec.parts & bit != 0;
    let raw_path = part(bytes, exec.raw_path, "raw_path")?;
    let interpreter = part(bytes, exec.interpreter, "interpreter")?;
    let args = part(bytes, exec.args, "args")?;
    let env = part(bytes, exec.env, "env")?;
    let exe = part(bytes, exec.path, "path")?;
    let cwd = part(bytes, exec.cwd, "cwd")?;
    let cgroup = part(bytes, exec.cgroup, "cgroup")?;

    let known_path = !is(wire::PATH_UNREAD);
    let file = (!is(wire::FILE_UNREAD)).then(|| file(&exec.file));
    let body = Exec {
        path: known_path.then(|| path(exe, is(wire::PATH_CUT))),
        raw_path: text(raw_path),
        interpreter: text(interpreter),
        args: Strings {
            bytes: (!is(wire::ARGS_UNREAD)).then(|| args.into()),
            size: Some(exec.args_size),
            count: Some(exec.argc),
        },
        env: Strings {
            bytes: (!is(wire::ENV_UNREAD)).then(|| env.into()),
            size: Some(exec.env_size),
            count: Some(exec.envc),
        },
        cwd: (!is(wire::CWD_UNREAD)).then(|| path(cwd, is(wire::CWD_CUT))),
        tty: text(&exec.tty),
        file,
        fileless: (known_path && file.is_some())
            .then(|| is(wire::FILE_UNHASHED) || is(wire::FILE_DETACHED) || exec.file.nlink == 0),
        // With a path of its own, execveat does no more than execve.
        syscall: match (is(wire::BY_DESCRIPTOR), is(wire::BY_PATH)) {
            (true, _) => Some("execveat"),
            (false, true) => Some("execve"),
            (false, false) => None,
        },
        truncated: Truncated {
            args: is(wire::ARGS_CUT) || is(wire::ARGS_UNREAD),
            env: is(wire::ENV_CUT) || is(wire::ENV_UNREAD),
            path: is(wire::PATH_CUT) || is(wire::PATH_UNREAD),
            cwd: is(wire::CWD_CUT) || is(wire::CWD_UNREAD),
            cgroup: is(wire::CGROUP_CUT) || is(wire::CGROUP_UNREAD),
        },
    };
    let mut event = event(&exec.header, &exec.task, Body::Exec(Box::new(body)));
    if !is(wire::CGROUP_UNREAD) {
        event.task.cgroup = Some(path(cgroup, is(wire::CGROUP_CUT)));
    }
    Ok(event)
}

pub(super) fn fork(bytes: &[u8]) -> Result<RawEvent, Malformed> {
    let fork: wire::Fork = fixed(bytes)?;
    let body = Fork {
        child_pid: fork.child_tgid,
        child_start_ns: (fork.child_start != 0).then_some(fork.child_start),
        child_ns_pid: (fork.child_ns_tgid != 0).then_some(fork.child_ns_tgid),
        syscall: syscall::fork(fork.syscall, fork.abi),
    };
    Ok(event(&fork.header, &fork.task, Body::Fork(body)))
}

pub(super) fn exit(bytes: &[u8]) -> Result<RawEvent, Malformed> {
    let exit: wire::Exit = fixed(bytes)?;
    // The layout of wait(2)'s status: signal, core flag, exit code.
    let [low, code, ..] = exit.status.to_le_bytes();
    let (signal, core) = (low & 0x7f, low & 0x80 != 0);
    let body = Exit {
        code: (signal == 0).then_some(i32::from(code)),
        signal: (signal != 0).then_some(i32::from(signal)),
        core_dumped: Some(core),
    };
    Ok(event(&exit.header, &exit.task, Body::Exit(body)))
}

pub(super) fn setid(bytes: &[u8]) -> Result<RawEvent, Malformed> {
    let setid: wire::Setid = fixed(bytes)?;
    let body = Setid { syscall: syscall::change(setid.call), before: Some(creds(&setid.before)) };
    Ok(event(&setid.header, &setid.task, Body::Setid(body)))
}

pub(super) fn namespace(bytes: &[u8]) -> Result<RawEvent, Malformed> {
    let change: wire::Namespace = fixed(bytes)?;
    let body = NamespaceChange {
        syscall: syscall::change(change.call),
        flags: Some(change.flags),
        before: Some(namespaces(&change.before)),
    };
    Ok(event(&change.header, &change.task, Body::Namespace(body)))
}

fn file(inode: &wire::Inode) -> FileObject {
    FileObject {
        device: (inode.magic != BTRFS).then(|| device(inode.dev)),
        inode: Some(inode.ino),
        mode: Some(inode.mode),
        uid: Some(inode.uid),
        gid: Some(inode.gid),
        size: Some(inode.size),
        nlink: Some(inode.nlink),
        atime: Some(inode.atime),
        mtime: Some(inode.mtime),
        ctime: Some(inode.ctime),
        btime: (inode.btime != 0).then_some(inode.btime),
    }
}
