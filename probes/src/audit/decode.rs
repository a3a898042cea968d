//! Events from groups: what a system call's records say, in the terms of [`crate::event`].
//!
//! Pure: what a group does not hold is asked of a [`World`]. Whatever no record says stays `None`;
//! the source fills some of it from `/proc` afterwards (`complete.rs`).

use crate::event::{
    Body, Bytes, EventKind, Exec, FileObject, NamespaceChange, RawEvent, Setid, Socket,
    SocketAction, SourceKind, Task, Truncated,
};

use super::calls::Call;
use super::files::{self, WriteOpen};
use super::group::{Group, NameType, PathItem, Syscall};
use super::sockaddr::{AF_INET, AF_INET6, AF_UNIX, endpoint, family};

/// What d_path appends to the name of a file that has none any more.
const DELETED: &[u8] = b" (deleted)";

/// What decoding asks of the host.
pub trait World {
    /// `CLOCK_BOOTTIME` in nanoseconds of a Unix time in milliseconds.
    fn boot_ns(&self, unix_ms: u64) -> u64;

    /// The path, as the host sees it and free of symbolic links, of the object the record names.
    /// `None`: it cannot be told for certain.
    fn locate(&mut self, sought: &Sought<'_>) -> Option<Bytes>;

    /// A directory was made (`from` nowhere), moved, or removed (`to` nowhere), as far as it is known
    /// where. Of use to whoever remembers what was located.
    fn directory_moved(&mut self, directory: InodeId, from: Option<&Bytes>, to: Option<&Bytes>) {
        let _ = (directory, from, to);
    }
}

/// Device (as `st_dev`) and inode number.
pub type InodeId = (u64, u64);

/// A file-system object to be located.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought<'a> {
    /// Who named it.
    pub pid: u32,
    /// How it was named: absolute, or relative to `base`. Empty: by descriptor alone.
    pub name: &'a [u8],
    /// What a relative name is relative to.
    pub base: Base<'a>,
    /// The object's inode, if it is still there to be found.
    pub object: Option<InodeId>,
    /// Device and inode of the directory that holds the name.
    pub parent: Option<InodeId>,
}

/// What a relative name is relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base<'a> {
    /// The working directory, where a record gave it.
    Cwd(Option<&'a [u8]>),
    /// A directory open as this descriptor.
    Descriptor(i32),
}

/// What a group turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded {
    /// An event.
    Event(Box<RawEvent>),
    /// A file was opened for writing, of which the end is still to come; and the event that the
    /// opening was, if it was one.
    Open(Option<Box<RawEvent>>, Box<PendingWrite>),
    /// Nothing that is asked for.
    Nothing,
    /// An event of this kind that cannot be told for want of records.
    Lost(Option<EventKind>),
    /// A file event of which no path can be told.
    Unplaced,
}

/// A file that was opened for writing.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingWrite {
    /// The event it will be if something was written; its time is that of the opening.
    pub event: RawEvent,
    /// The descriptor it was opened as.
    pub fd: i32,
    /// Device and inode.
    pub object: InodeId,
    /// The opening made or emptied it.
    pub empty: bool,
    /// When it was opened, Unix milliseconds.
    pub opened_ms: u64,
}

/// What is asked for, of what the kernel cannot leave out by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Our own process.
    pub own_pid: u32,
    /// Unix sockets too.
    pub unix_sockets: bool,
    /// Opens for reading too.
    pub file_access: bool,
    /// File events.
    pub files: bool,
}

/// Tells what a group says.
pub fn decode(group: &Group, asked: Asked, world: &mut dyn World) -> Decoded {
    let Some(syscall) = &group.syscall else {
        let kind = kind_of_headless(group);
        return if group.uring { Decoded::Nothing } else { Decoded::Lost(kind) };
    };
    if syscall.pid == asked.own_pid {
        return Decoded::Nothing;
    }
    let Some(call) = syscall.call() else { return Decoded::Nothing };
    let succeeded = syscall.success == Some(true);
    let body = match call.kind() {
        Some(EventKind::Exec) if succeeded => Some(exec(group, syscall, call)),
        Some(EventKind::Setid) if succeeded => {
            Some(Body::Setid(Setid { syscall: Some(call.name()), before: None }))
        }
        Some(EventKind::Namespace) if succeeded => Some(namespace(syscall, call)),
        Some(EventKind::Socket) => match socket(group, syscall, call) {
            Ok(socket) => {
                let unix = socket.family == Some(AF_UNIX);
                (!unix || asked.unix_sockets).then(|| Body::Socket(Box::new(socket)))
            }
            Err(decoded) => return decoded,
        },
        Some(EventKind::File) if succeeded && asked.files => {
            return match files::decode(group, syscall, call, asked, world) {
                Ok(files::Told { now, write }) => {
                    let event = |file| event(group, syscall, Body::File(Box::new(file)), world);
                    let now = now.map(event).map(Box::new);
                    let opened_ms = group.stamp.time_ms;
                    match write.map(|WriteOpen { file, fd, object, empty }| {
                        Box::new(PendingWrite { event: event(file), fd, object, empty, opened_ms })
                    }) {
                        Some(write) => Decoded::Open(now, write),
                        None => now.map_or(Decoded::Nothing, Decoded::Event),
                    }
                }
                Err(files::Untold::Nothing) => Decoded::Nothing,
                Err(files::Untold::Unplaced) => Decoded::Unplaced,
            };
        }
        _ => None,
    };
    body.map_or(Decoded::Nothing, |body| {
        Decoded::Event(Box::new(event(group, syscall, body, world)))
    })
}

/// Which kind an event was of which only some records came.
fn kind_of_headless(group: &Group) -> Option<EventKind> {
    if !group.args.is_empty() {
        Some(EventKind::Exec)
    } else if group.sockaddr.is_some() || group.socketcall.is_some() {
        Some(EventKind::Socket)
    } else if !group.paths.is_empty() {
        Some(EventKind::File)
    } else {
        None
    }
}

fn event(group: &Group, syscall: &Syscall, body: Body, world: &dyn World) -> RawEvent {
    let task = Task {
        pid: syscall.pid,
        // A record names the process, never the thread.
        tid: syscall.pid,
        parent_pid: (syscall.ppid != 0).then_some(syscall.ppid),
        creds: Some(syscall.creds),
        auid: syscall.auid,
        comm: syscall.comm.clone(),
        exe: syscall.exe.as_deref().map(|exe| executable(exe, group).0),
        cwd: group.cwd.clone(),
        ..Task::default()
    };
    RawEvent { time_ns: world.boot_ns(group.stamp.time_ms), source: SourceKind::Audit, task, body }
}

fn exec(group: &Group, syscall: &Syscall, call: Call) -> Body {
    let (args, cut) = group.args.strings();
    let items = group.items();
    let first = items.first().copied().filter(|item| item.item == 0);
    let (path, fileless) = match syscall.exe.as_deref() {
        Some(exe) => {
            let (path, fileless) = executable(exe, group);
            (Some(path), Some(fileless))
        }
        None => (None, None),
    };
    let argv: Vec<&[u8]> = args
        .bytes
        .as_deref()
        .unwrap_or_default()
        .split(|&byte| byte == 0)
        .take(MAX_CHAIN)
        .collect();
    let script = script(&items, &argv, path.as_deref());
    let file = script.map_or(first, |(_, item)| Some(item));
    let incomplete = group.paths_missing() > 0;
    Body::Exec(Box::new(Exec {
        path,
        raw_path: first.and_then(|item| item.name.clone()),
        interpreter: script.map(|(interpreter, _)| interpreter.into()),
        file: file.filter(|_| !incomplete).map(object),
        args,
        cwd: group.cwd.clone(),
        tty: syscall.tty.clone(),
        fileless,
        syscall: Some(call.name()),
        truncated: Truncated {
            args: cut,
            path: incomplete || syscall.exe.is_none(),
            cwd: group.cwd.is_none(),
            // No record has it.
            env: true,
            ..Truncated::default()
        },
        ..Exec::default()
    }))
}

/// Leading arguments that are looked at for a chain of interpreters, each of which adds two.
const MAX_CHAIN: usize = 12;

/// The interpreter's name and its own item, where what was executed was a script. The kernel then
/// replaces argument 0 by the interpreter and puts the script behind it (`fs/binfmt_script.c`).
fn script<'a>(
    items: &[&'a PathItem],
    argv: &[&[u8]],
    exe: Option<&[u8]>,
) -> Option<(&'a [u8], &'a PathItem)> {
    let asked = items.first()?.name.as_deref()?;
    if Some(asked) == exe {
        return None;
    }
    let (interpreter, arguments) = argv.split_first()?;
    let item = items.iter().skip(1).find(|item| item.name.as_deref() == Some(interpreter))?;
    let handed_over = arguments.iter().any(|argument| argument == &asked);
    handed_over.then_some((item.name.as_deref()?, *item))
}

/// The executable's path without the kernel's mark, and whether no directory names it.
fn executable(exe: &[u8], group: &Group) -> (Bytes, bool) {
    match exe.strip_suffix(DELETED) {
        // A file may truly be called so.
        Some(path) if !group.paths.iter().any(|item| item.name.as_deref() == Some(exe)) => {
            (path.into(), true)
        }
        _ => (exe.into(), false),
    }
}

/// What a PATH record says of an inode.
pub(super) fn object(item: &PathItem) -> FileObject {
    FileObject {
        device: item.device,
        inode: item.inode,
        mode: item.mode,
        uid: item.uid,
        gid: item.gid,
        ..FileObject::default()
    }
}

fn namespace(syscall: &Syscall, call: Call) -> Body {
    let flags = if call == Call::Setns { syscall.args.get(1) } else { syscall.args.first() };
    // Both take an int.
    let flags = flags.map(|flags| flags & u64::from(u32::MAX));
    Body::Namespace(NamespaceChange { syscall: Some(call.name()), flags, before: None })
}

fn socket(group: &Group, syscall: &Syscall, call: Call) -> Result<Socket, Decoded> {
    let action = match call {
        Call::Bind => SocketAction::Bind,
        Call::Listen => SocketAction::Listen,
        Call::Accept | Call::Accept4 => SocketAction::Accept,
        _ => SocketAction::Connect,
    };
    let result = syscall.exit.and_then(|exit| i32::try_from(exit).ok());
    let asked_of = group.argument(0).map(as_int);
    let mut socket = Socket {
        action,
        syscall: Some(call.name()),
        fd: if action == SocketAction::Accept { result.filter(|&fd| fd >= 0) } else { asked_of },
        id: None,
        family: None,
        socket_type: None,
        protocol: None,
        local: None,
        remote: None,
        result,
        call_ns: None,
        end: None,
    };
    let Some(address) = group.sockaddr.as_deref() else {
        // A bad address or descriptor: the kernel never had an address to record.
        let names_one = matches!(action, SocketAction::Connect | SocketAction::Bind);
        let refused_early = names_one && syscall.success == Some(false);
        return if refused_early { Err(Decoded::Nothing) } else { Ok(socket) };
    };
    // Connecting to AF_UNSPEC undoes a connection; other families are not ours to report.
    let family = family(address);
    if !matches!(family, Some(AF_INET | AF_INET6 | AF_UNIX)) {
        return Err(Decoded::Nothing);
    }
    socket.family = family;
    let end = endpoint(address);
    if action == SocketAction::Bind {
        socket.local = end;
    } else {
        socket.remote = end;
    }
    Ok(socket)
}

/// An `int` argument, which the record shows as the register had it.
#[expect(clippy::cast_possible_truncation, reason = "the kernel truncates the same way")]
pub(super) const fn as_int(argument: u64) -> i32 {
    argument as u32 as i32
}

/// The first item of that type.
pub(super) fn first<'a>(items: &[&'a PathItem], nametype: NameType) -> Option<&'a PathItem> {
    items.iter().copied().find(|item| item.nametype == nametype)
}

#[cfg(test)]
mod tests;
