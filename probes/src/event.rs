//! The events every source yields, before anything is looked up about them.
//!
//! This file owns the meaning of each field, not how it is obtained. Two rules hold throughout:
//! unknown is `None` (0 is a value), and text that came from the kernel or a process is bytes, since
//! nothing there promises UTF-8.

use std::net::SocketAddr;

/// Bytes of a path, an argument vector or a name, as the kernel had them.
pub type Bytes = Box<[u8]>;

/// The kernel facility an event was obtained from; the `source` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceKind {
    /// BPF programs.
    Bpf,
    /// The audit subsystem's netlink socket.
    Audit,
    /// The process connector's netlink socket.
    Connector,
    /// fanotify.
    Fanotify,
    /// `/proc`, for what existed before the sources started.
    Proc,
}

impl SourceKind {
    /// The word used in the `source` column, in flags and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bpf => "bpf",
            Self::Audit => "audit",
            Self::Connector => "connector",
            Self::Fanotify => "fanotify",
            Self::Proc => "proc",
        }
    }

    /// Whether there can be but one at a time: the kernel gives audit's records to one process.
    pub const fn is_exclusive(self) -> bool {
        matches!(self, Self::Audit)
    }
}

/// What an event says happened: the unit in which rows are asked for and losses are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// A program was executed.
    Exec,
    /// A process or thread group was created.
    Fork,
    /// A whole process ended.
    Exit,
    /// A process changed its user or group ids.
    Setid,
    /// A process entered or created a namespace.
    Namespace,
    /// A socket call, or the fate of a connection.
    Socket,
    /// A change to a watched file.
    File,
}

impl EventKind {
    /// Every kind, in the order of `ebpf_events_health`.
    pub const ALL: [Self; 7] = [
        Self::Exec,
        Self::Fork,
        Self::Exit,
        Self::Setid,
        Self::Namespace,
        Self::Socket,
        Self::File,
    ];

    /// The word used in the `kind` column of `ebpf_events_health` and in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Fork => "fork",
            Self::Exit => "exit",
            Self::Setid => "setid",
            Self::Namespace => "namespace",
            Self::Socket => "socket",
            Self::File => "file",
        }
    }

    /// Position in [`EventKind::ALL`], for arrays indexed by kind.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The concern whose ring carries this kind.
    pub const fn concern(self) -> Concern {
        match self {
            Self::Exec | Self::Fork | Self::Exit | Self::Setid | Self::Namespace => {
                Concern::Process
            }
            Self::Socket => Concern::Socket,
            Self::File => Concern::File,
        }
    }
}

/// The unit in which a source is chosen and a ring is sized, so that a storm of one does not push
/// out the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Concern {
    /// exec, fork, exit, setid, namespace.
    Process,
    /// Sockets.
    Socket,
    /// Files.
    File,
}

impl Concern {
    /// Every concern.
    pub const ALL: [Self; 3] = [Self::Process, Self::Socket, Self::File];

    /// The word used in logs and in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Socket => "socket",
            Self::File => "file",
        }
    }
}

/// One event, as its source saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct RawEvent {
    /// `CLOCK_BOOTTIME` in nanoseconds when it happened (fanotify: when it was read).
    pub time_ns: u64,
    /// Who reported it.
    pub source: SourceKind,
    /// The task that did it.
    pub task: Task,
    /// What it did.
    pub body: Body,
}

impl RawEvent {
    /// The kind under which this event is counted.
    pub const fn kind(&self) -> EventKind {
        match self.body {
            Body::Exec(_) => EventKind::Exec,
            Body::Fork(_) => EventKind::Fork,
            Body::Exit(_) => EventKind::Exit,
            Body::Setid(_) => EventKind::Setid,
            Body::Namespace(_) => EventKind::Namespace,
            Body::Socket(_) | Body::Connection(_) => EventKind::Socket,
            Body::File(_) => EventKind::File,
        }
    }
}

/// A process, told apart from every other that had the same pid.
///
/// `start_ns` is `task_struct.group_leader.start_boottime`. `/proc/PID/stat` shows the same moment
/// in clock ticks, so keys from the two are equal only after [`ProcessKey::ticks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessKey {
    /// Thread-group id in the initial pid namespace.
    pub pid: u32,
    /// When the group leader started, `CLOCK_BOOTTIME` in nanoseconds.
    pub start_ns: u64,
}

/// Length of a `/proc` clock tick (`USER_HZ` is 100 on every architecture we build for).
pub const TICK_NS: u64 = 10_000_000;

impl ProcessKey {
    /// The start in `/proc` clock ticks, the finest unit every source agrees on.
    pub const fn ticks(self) -> u64 {
        self.start_ns / TICK_NS
    }
}

/// The task that did something, as far as its source could say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Task {
    /// Thread-group id, in the initial pid namespace.
    pub pid: u32,
    /// Thread id, in the initial pid namespace.
    pub tid: u32,
    /// Start of the group leader, `CLOCK_BOOTTIME` ns.
    pub start_ns: Option<u64>,
    /// Thread-group id of the parent (`real_parent`).
    pub parent_pid: Option<u32>,
    /// Start of the parent's group leader.
    pub parent_start_ns: Option<u64>,
    /// Thread-group id in the task's own, innermost pid namespace.
    pub ns_pid: Option<u32>,
    /// User and group ids, in the initial user namespace.
    pub creds: Option<Creds>,
    /// Audit login uid; `None` also when it was never set (`(uid_t)-1`).
    pub auid: Option<u32>,
    /// Namespace inode numbers.
    pub namespaces: Option<Namespaces>,
    /// Id of the task's cgroup in the v2 hierarchy (`kernfs` node id).
    pub cgroup_id: Option<u64>,
    /// Path of the task's cgroup: in the v2 hierarchy, or where that is the root, in the v1
    /// hierarchy that says most (pids, memory, name=systemd).
    pub cgroup: Option<Bytes>,
    /// Command name, at most 15 bytes.
    pub comm: Option<Bytes>,
    /// Path of the executable, from sources that report it with each event (audit).
    pub exe: Option<Bytes>,
    /// Working directory, from sources that report it with each event (audit).
    pub cwd: Option<Bytes>,
}

impl Task {
    /// The process this task belongs to, where the source knew when it started.
    pub fn key(&self) -> Option<ProcessKey> {
        self.start_ns.map(|start_ns| ProcessKey { pid: self.pid, start_ns })
    }
}

/// User and group ids of a task, as numbers of the initial user namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the kernel's names say all there is to say")]
pub struct Creds {
    pub uid: u32,
    pub gid: u32,
    pub euid: u32,
    pub egid: u32,
    pub suid: u32,
    pub sgid: u32,
    pub fsuid: u32,
    pub fsgid: u32,
}

/// Inode numbers of a task's namespaces, as in `/proc/PID/ns/*`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the kernel's names say all there is to say")]
pub struct Namespaces {
    pub mnt: u32,
    pub pid: u32,
    pub net: u32,
    pub user: u32,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// `execve` or `execveat` succeeded.
    Exec(Box<Exec>),
    /// A new process (not a new thread); `task` is the parent.
    Fork(Fork),
    /// The last thread of a process ended.
    Exit(Exit),
    /// `setuid`, `setgid` and their families succeeded; `task.creds` is what holds afterwards.
    Setid(Setid),
    /// `unshare` or `setns` succeeded; `task.namespaces` is what holds afterwards.
    Namespace(NamespaceChange),
    /// A socket call returned.
    Socket(Box<Socket>),
    /// A connection seen earlier changed: never a row by itself.
    Connection(Box<Connection>),
    /// A file was changed, or opened.
    File(Box<File>),
}

/// An execution that took place. `task.creds` is what holds after it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exec {
    /// The executed file, resolved by the kernel (`mm->exe_file`), seen from the root of the
    /// process's mount namespace.
    pub path: Option<Bytes>,
    /// The path as it was given to the call (`bprm->filename`).
    pub raw_path: Option<Bytes>,
    /// The interpreter named by a script's `#!` line (`bprm->interp` where it differs).
    pub interpreter: Option<Bytes>,
    /// Argument vector.
    pub args: Strings,
    /// Environment, as far as it was collected.
    pub env: Strings,
    /// Working directory.
    pub cwd: Option<Bytes>,
    /// Controlling terminal, such as `pts0`; `None` where there is none.
    pub tty: Option<Bytes>,
    /// The executable's inode.
    pub file: Option<FileObject>,
    /// The executable has no name in any directory: memfd, `O_TMPFILE` or deleted.
    pub fileless: Option<bool>,
    /// `execve` or `execveat`, where the source can tell.
    pub syscall: Option<&'static str>,
    /// Records that were cut: at least one string above is shorter than it was.
    pub truncated: Truncated,
}

/// Which parts of an event were cut or could not be read; the `overflows` column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the part it names")]
pub struct Truncated {
    pub args: bool,
    pub env: bool,
    pub path: bool,
    pub cwd: bool,
    pub cgroup: bool,
}

/// A NUL-separated list of strings, and its true extent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Strings {
    /// The strings, each ended by NUL except perhaps the last. `None`: unreadable.
    pub bytes: Option<Bytes>,
    /// Bytes there were in all, before any was cut.
    pub size: Option<u64>,
    /// Strings there were in all, before any was cut.
    pub count: Option<u32>,
}

/// An inode, as the kernel held it at the time of the event.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FileObject {
    /// Device in the encoding of `stat(2)`'s `st_dev`.
    pub device: Option<u64>,
    /// Inode number.
    pub inode: Option<u64>,
    /// Type and permission bits.
    pub mode: Option<u32>,
    /// Owner, in the initial user namespace.
    pub uid: Option<u32>,
    /// Group, in the initial user namespace.
    pub gid: Option<u32>,
    /// Bytes.
    pub size: Option<u64>,
    /// Hard links.
    pub nlink: Option<u32>,
    /// Last access, Unix seconds.
    pub atime: Option<i64>,
    /// Last modification, Unix seconds.
    pub mtime: Option<i64>,
    /// Last status change, Unix seconds.
    pub ctime: Option<i64>,
    /// Creation, Unix seconds.
    pub btime: Option<i64>,
}

/// A process was created.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fork {
    /// Thread-group id of the child, in the initial pid namespace.
    pub child_pid: u32,
    /// Start of the child.
    pub child_start_ns: Option<u64>,
    /// The child's pid in its own, innermost pid namespace.
    pub child_ns_pid: Option<u32>,
    /// `fork`, `vfork`, `clone` or `clone3`, where the source can tell.
    pub syscall: Option<&'static str>,
}

/// A process ended: its last thread did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exit {
    /// `exit(2)` status, 0 to 255; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// A core was dumped.
    pub core_dumped: Option<bool>,
}

/// A change of user or group ids.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Setid {
    /// The call, such as `setresuid`.
    pub syscall: Option<&'static str>,
    /// Ids before the change.
    pub before: Option<Creds>,
}

/// A change of namespaces.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NamespaceChange {
    /// `unshare` or `setns`.
    pub syscall: Option<&'static str>,
    /// The `CLONE_NEW*` flags given to the call (0 for a `setns` that leaves the type open).
    pub flags: Option<u64>,
    /// Namespaces before the change.
    pub before: Option<Namespaces>,
}

/// What was done with a socket; the `action` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SocketAction {
    /// `connect(2)`, or the first datagram to a new peer.
    Connect,
    /// `accept(2)`, `accept4(2)`.
    Accept,
    /// `bind(2)`.
    Bind,
    /// `listen(2)`.
    Listen,
    /// The end of a socket that was reported earlier.
    Close,
}

impl SocketAction {
    /// The word used in the `action` column.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::Bind => "bind",
            Self::Listen => "listen",
            Self::Close => "close",
        }
    }
}

/// One end of a socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// IPv4 or IPv6. A v4-mapped IPv6 address stays IPv6.
    Inet(SocketAddr),
    /// A unix socket's path; an abstract name keeps its leading NUL.
    Unix(Bytes),
}

/// Identity of a socket while it lives, comparable only within one source and one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId(pub u64);

/// A socket call that returned.
#[derive(Debug, Clone, PartialEq)]
pub struct Socket {
    /// What was asked.
    pub action: SocketAction,
    /// The call, such as `accept4`.
    pub syscall: Option<&'static str>,
    /// File descriptor; for accept that of the new connection.
    pub fd: Option<i32>,
    /// Which socket, so that a later [`Connection`] can be joined to it.
    pub id: Option<SocketId>,
    /// Address family (`AF_INET` 2, `AF_INET6` 10, `AF_UNIX` 1).
    pub family: Option<u16>,
    /// `SOCK_STREAM` 1, `SOCK_DGRAM` 2, ….
    pub socket_type: Option<u16>,
    /// `IPPROTO_TCP` 6, `IPPROTO_UDP` 17, ….
    pub protocol: Option<u16>,
    /// Our end.
    pub local: Option<Endpoint>,
    /// The other end.
    pub remote: Option<Endpoint>,
    /// What the call returned: 0 or a descriptor, or a negated errno. 0 of an accept also where it is
    /// not known at which descriptor the connection was accepted.
    pub result: Option<i32>,
    /// Nanoseconds from where the call was first seen to where it was done.
    pub call_ns: Option<u64>,
    /// For [`SocketAction::Close`]: what became of the connection.
    pub end: Option<ConnectionEnd>,
}

/// Totals of a connection that ended.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ConnectionEnd {
    /// Payload bytes the peer acknowledged.
    pub bytes_sent: Option<u64>,
    /// Payload bytes received.
    pub bytes_received: Option<u64>,
    /// From the call that opened it to its end.
    pub duration_ns: Option<u64>,
    /// `sk_err`: 0 for an orderly end, else the errno the connection died of.
    pub error: Option<i32>,
}

/// The answer to a connect that was still open when its call returned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Connection {
    /// Which socket.
    pub id: SocketId,
    /// Local end once the kernel had chosen it.
    pub local: Option<SocketAddr>,
    /// 0: established. Otherwise the errno, positive (`ECONNREFUSED`, `ETIMEDOUT`, …).
    pub error: i32,
}

/// What was done with a file. Tables map this to osquery's `action` and `operation` words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileAction {
    /// A regular file or node came to be.
    Create,
    /// A directory came to be.
    Mkdir,
    /// A symbolic link came to be; `dest_path` is its target text where known.
    Symlink,
    /// A further name of an inode; `path` is the new one, `dest_path` the older where known.
    Link,
    /// Content changed, and the writer closed the file.
    CloseWrite,
    /// Content changed while the writer holds it open.
    Modify,
    /// The length was set.
    Truncate,
    /// A name was removed.
    Unlink,
    /// A directory was removed.
    Rmdir,
    /// `path` became `dest_path`. Where one end is unwatched, sources still give both if they can.
    Rename,
    /// Permission bits changed.
    Chmod,
    /// Owner or group changed.
    Chown,
    /// Other attributes (times, extended attributes, link count), or ones not told apart.
    Attributes,
    /// Opened.
    Open,
    /// Read.
    Access,
}

/// Something done to a file.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// What was done.
    pub action: FileAction,
    /// The name it was done to, resolved, as the host sees it where the source can tell.
    pub path: Option<Bytes>,
    /// The other name of a rename or link.
    pub dest_path: Option<Bytes>,
    /// The inode afterwards; for removals, before.
    pub object: Option<FileObject>,
    /// The object is a directory.
    pub is_dir: Option<bool>,
    /// The call, where the source saw it.
    pub syscall: Option<&'static str>,
    /// What the call returned; sources report only what succeeded unless this says otherwise.
    pub result: Option<i32>,
    /// `path` was longer than could be kept.
    pub truncated: bool,
}
