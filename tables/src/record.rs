//! What is kept of one event: fixed-size parts, whose strings are in the segment's pool.
//!
//! Owns the layout and how groups of numbers (ids, namespaces, file attributes) are packed into
//! pool strings, since few distinct groups occur. Unknown numbers are [`NONE`] or a clear flag bit.

use osquery_ebpf_probes::event::{
    Creds, EventKind, FileAction, FileObject, Namespaces, SocketAction, SourceKind, Task,
};

use crate::pool::Text;

#[cfg(test)]
#[path = "record/tests.rs"]
mod tests;

/// The number that stands for "unknown" in 32-bit fields. No pid, uid, port or count reaches it;
/// as a uid it is the kernel's own "not set".
pub const NONE: u32 = u32::MAX;

/// Packs an optional number.
pub fn pack(value: Option<u32>) -> u32 {
    value.unwrap_or(NONE)
}

/// The number that stands for "unknown" in 16-bit fields: no address family, protocol, exit code or
/// signal reaches it.
pub const NONE_SHORT: u16 = u16::MAX;

/// Packs an optional small number. One that does not fit is unknown.
pub fn pack_short(value: Option<impl TryInto<u16>>) -> u16 {
    value.and_then(|value| value.try_into().ok()).unwrap_or(NONE_SHORT)
}

/// A record of one table's store.
pub trait Record: Copy + Send + Sync + 'static {
    /// The kind its event is counted under.
    fn kind(&self) -> EventKind;

    /// When it happened, `CLOCK_BOOTTIME` ns.
    fn time_ns(&self) -> u64;

    /// Who reported it.
    fn source(&self) -> SourceKind;

    /// How many event ids it takes, since a rename is two rows of `file_events`.
    fn ids(&self) -> u32 {
        1
    }
}

/// Flag bits of records.
pub mod flag {
    pub const ARGS_CUT: u16 = 1;
    pub const ENV_CUT: u16 = 1 << 1;
    pub const PATH_CUT: u16 = 1 << 2;
    pub const CWD_CUT: u16 = 1 << 3;
    pub const CGROUP_CUT: u16 = 1 << 4;
    pub const FILELESS_KNOWN: u16 = 1 << 5;
    pub const FILELESS: u16 = 1 << 6;
    pub const CORE_KNOWN: u16 = 1 << 7;
    pub const CORE_DUMPED: u16 = 1 << 8;
    pub const ARGS_UNREAD: u16 = 1 << 9;
    pub const ENV_UNREAD: u16 = 1 << 10;
    pub const START_KNOWN: u16 = 1 << 11;
    pub const FD_KNOWN: u16 = 1 << 12;
    pub const RESULT_KNOWN: u16 = 1 << 13;
    /// The process was known before the sources started, or not at all.
    pub const PARTIAL: u16 = 1 << 14;
    /// The path is the host's own name of the file.
    pub const HOST_PATH: u16 = 1 << 15;
}

/// exec, fork, setid or namespace.
#[derive(Debug, Clone, Copy)]
pub struct ProcessRecord {
    pub time_ns: u64,
    pub parent_process_id: u64,
    pub tid: u32,
    pub ns_pid: u32,
    pub args_size: u32,
    pub env_count: u32,
    pub env_size: u32,
    pub exit_code: i32,
    /// [`Who`], packed.
    pub who: Text,
    /// [`Place`], packed.
    pub place: Text,
    pub raw_path: Text,
    pub interpreter: Text,
    pub args: Text,
    pub env: Text,
    pub cwd: Text,
    pub tty: Text,
    pub cgroup: Text,
    pub container: Text,
    pub file: Text,
    pub syscall: Text,
    /// Position of the parent among the segment's ancestors, plus one.
    pub parent: u16,
    /// Position of the creator, plus one: where the ancestry begins.
    pub ancestry: u16,
    pub flags: u16,
    pub kind: EventKind,
    pub source: SourceKind,
}

/// The end of a process.
#[derive(Debug, Clone, Copy)]
pub struct ExitRecord {
    pub time_ns: u64,
    pub start_ns: u64,
    pub start_time: i64,
    pub parent_process_id: u64,
    pub uid: u32,
    pub code: u16,
    pub signal: u16,
    pub args: Text,
    pub container: Text,
    pub flags: u16,
    pub source: SourceKind,
}

/// A socket call.
#[derive(Debug, Clone, Copy)]
pub struct SocketRecord {
    pub time_ns: u64,
    pub tid: u32,
    pub fd: i32,
    pub result: i32,
    pub family: u16,
    pub socket_type: u16,
    pub protocol: u16,
    pub local: Address,
    pub remote: Address,
    /// [`Who`], packed.
    pub who: Text,
    /// [`Place`], packed.
    pub place: Text,
    pub unix: Text,
    pub args: Text,
    pub container: Text,
    /// Nanoseconds within the call; also [`NONE`] where they do not fit the column.
    pub call_ns: u32,
    pub syscall: Text,
    /// [`ConnectionEnd`](osquery_ebpf_probes::event::ConnectionEnd), packed.
    pub end: Text,
    pub flags: u16,
    pub action: SocketAction,
    pub source: SourceKind,
    pub outcome: Outcome,
}

/// One end of an internet socket: 4 or 16 bytes of address in the pool, and a port, which is known
/// where the address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub ip: Text,
    pub port: u16,
}

impl Address {
    /// Not known.
    pub const NONE: Self = Self { ip: Text::NONE, port: 0 };

    /// The port, where there is an address.
    pub fn port(self) -> Option<u16> {
        self.ip.is_known().then_some(self.port)
    }
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not a connection, or not known.
    Unknown,
    /// No answer yet.
    InProgress,
    /// 0: established. Else the errno it failed with.
    Answered(i32),
    /// Closed by its owner before there was an answer.
    Aborted,
    /// Ended: 0 in order, else the errno it died of.
    Ended(i32),
}

/// A change to a file.
#[derive(Debug, Clone, Copy)]
pub struct FileRecord {
    pub time_ns: u64,
    pub target: Text,
    pub dest: Text,
    pub category: Text,
    pub dest_category: Text,
    pub object: Text,
    /// [`Who`], packed.
    pub who: Text,
    pub cwd: Text,
    pub args: Text,
    pub container: Text,
    pub syscall: Text,
    pub flags: u16,
    pub action: FileAction,
    pub source: SourceKind,
}

impl FileRecord {
    /// A rename that is both a `MOVED_FROM` and a `MOVED_TO` of watched names.
    pub fn is_two_rows(&self) -> bool {
        self.action == FileAction::Rename
            && self.category.is_known()
            && self.dest_category.is_known()
    }
}

// What is kept 50,000 times by default: a field more is to be a decision.
const _: () = assert!(size_of::<ProcessRecord>() == 72);
const _: () = assert!(size_of::<ExitRecord>() == 48);
const _: () = assert!(size_of::<SocketRecord>() == 64);
const _: () = assert!(size_of::<FileRecord>() == 32);

/// Who a process is. Few distinct ones occur.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Who {
    pub creds: Option<Creds>,
    pub auid: Option<u32>,
}

impl Who {
    /// As a task says.
    pub const fn of(task: &Task) -> Self {
        Self { creds: task.creds, auid: task.auid }
    }

    /// What is not known taken from another.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { creds: self.creds.or(other.creds), auid: self.auid.or(other.auid) }
    }
}

/// Where a process is. Few distinct ones occur.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    pub namespaces: Option<Namespaces>,
    pub cgroup_id: Option<u64>,
}

impl Place {
    /// As a task says.
    pub const fn of(task: &Task) -> Self {
        Self { namespaces: task.namespaces, cgroup_id: task.cgroup_id }
    }

    /// What is not known taken from another.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            namespaces: self.namespaces.or(other.namespaces),
            cgroup_id: self.cgroup_id.or(other.cgroup_id),
        }
    }
}

impl Record for ProcessRecord {
    fn kind(&self) -> EventKind {
        self.kind
    }
    fn time_ns(&self) -> u64 {
        self.time_ns
    }
    fn source(&self) -> SourceKind {
        self.source
    }
}

impl Record for ExitRecord {
    fn kind(&self) -> EventKind {
        EventKind::Exit
    }
    fn time_ns(&self) -> u64 {
        self.time_ns
    }
    fn source(&self) -> SourceKind {
        self.source
    }
}

impl Record for SocketRecord {
    fn kind(&self) -> EventKind {
        EventKind::Socket
    }
    fn time_ns(&self) -> u64 {
        self.time_ns
    }
    fn source(&self) -> SourceKind {
        self.source
    }
}

impl Record for FileRecord {
    fn kind(&self) -> EventKind {
        EventKind::File
    }
    fn time_ns(&self) -> u64 {
        self.time_ns
    }
    fn source(&self) -> SourceKind {
        self.source
    }
    fn ids(&self) -> u32 {
        if self.is_two_rows() { 2 } else { 1 }
    }
}

/// Reads little-endian numbers off the front of bytes.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }
    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }
}

/// A group of numbers as a pool string.
pub struct Packed {
    bytes: [u8; 96],
    length: usize,
}

impl Packed {
    const fn new() -> Self {
        Self { bytes: [0; 96], length: 0 }
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(bytes);
            self.length = end;
        }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Packs who a process is.
    pub fn who(who: &Who) -> Self {
        let mut packed = Self::new();
        packed.put(&[u8::from(who.creds.is_some()) | u8::from(who.auid.is_some()) << 1]);
        if let Some(Creds { uid, gid, euid, egid, suid, sgid, fsuid, fsgid }) = who.creds {
            for id in [uid, gid, euid, egid, suid, sgid, fsuid, fsgid] {
                packed.put(&id.to_le_bytes());
            }
        }
        who.auid.iter().for_each(|auid| packed.put(&auid.to_le_bytes()));
        packed
    }

    /// Packs where a process is.
    pub fn place(place: &Place) -> Self {
        let mut packed = Self::new();
        let known = u8::from(place.namespaces.is_some()) | u8::from(place.cgroup_id.is_some()) << 1;
        packed.put(&[known]);
        if let Some(Namespaces { mnt, pid, net, user }) = place.namespaces {
            for inode in [mnt, pid, net, user] {
                packed.put(&inode.to_le_bytes());
            }
        }
        place.cgroup_id.iter().for_each(|id| packed.put(&id.to_le_bytes()));
        packed
    }

    /// Packs what is known of a file: a mask, then each known part in order.
    pub fn file(file: &FileObject) -> Self {
        let mut packed = Self::new();
        let FileObject { device, inode, mode, uid, gid, size, nlink, atime, mtime, ctime, btime } =
            *file;
        let wide = [device, inode, size];
        let narrow = [mode, uid, gid, nlink];
        let times = [atime, mtime, ctime, btime];
        let known = wide.iter().map(Option::is_some);
        let known = known.chain(narrow.iter().map(Option::is_some));
        let known = known.chain(times.iter().map(Option::is_some));
        let mask = known.enumerate().fold(0_u16, |mask, (bit, is)| mask | u16::from(is) << bit);
        packed.put(&mask.to_le_bytes());
        wide.iter().flatten().for_each(|value| packed.put(&value.to_le_bytes()));
        narrow.iter().flatten().for_each(|value| packed.put(&value.to_le_bytes()));
        times.iter().flatten().for_each(|value| packed.put(&value.to_le_bytes()));
        packed
    }

    /// Packs the totals of a connection: a mask, then each known part in order.
    pub fn end(sent: Option<u64>, received: Option<u64>, duration_ns: Option<u64>) -> Self {
        let mut packed = Self::new();
        let parts = [sent, received, duration_ns];
        let known = parts.iter().enumerate();
        let mask = known.fold(0_u8, |mask, (bit, part)| mask | u8::from(part.is_some()) << bit);
        packed.put(&[mask]);
        parts.iter().flatten().for_each(|value| packed.put(&value.to_le_bytes()));
        packed
    }
}

/// Unpacks who a process is.
pub fn who(bytes: &[u8]) -> Option<Who> {
    let mut reader = Reader(bytes);
    let [mask] = reader.take()?;
    let creds = if mask & 1 == 0 {
        None
    } else {
        Some(Creds {
            uid: reader.u32()?,
            gid: reader.u32()?,
            euid: reader.u32()?,
            egid: reader.u32()?,
            suid: reader.u32()?,
            sgid: reader.u32()?,
            fsuid: reader.u32()?,
            fsgid: reader.u32()?,
        })
    };
    let auid = if mask & 2 == 0 { None } else { Some(reader.u32()?) };
    Some(Who { creds, auid })
}

/// Unpacks where a process is.
pub fn place(bytes: &[u8]) -> Option<Place> {
    let mut reader = Reader(bytes);
    let [mask] = reader.take()?;
    let namespaces = if mask & 1 == 0 {
        None
    } else {
        Some(Namespaces {
            mnt: reader.u32()?,
            pid: reader.u32()?,
            net: reader.u32()?,
            user: reader.u32()?,
        })
    };
    let cgroup_id = if mask & 2 == 0 { None } else { Some(reader.u64()?) };
    Some(Place { namespaces, cgroup_id })
}

/// Unpacks what is known of a file.
pub fn file(bytes: &[u8]) -> Option<FileObject> {
    let mut reader = Reader(bytes);
    let mask = u16::from_le_bytes(reader.take()?);
    let has = |bit: u32| mask & (1 << bit) != 0;
    Some(FileObject {
        device: if has(0) { reader.u64() } else { None },
        inode: if has(1) { reader.u64() } else { None },
        size: if has(2) { reader.u64() } else { None },
        mode: if has(3) { reader.u32() } else { None },
        uid: if has(4) { reader.u32() } else { None },
        gid: if has(5) { reader.u32() } else { None },
        nlink: if has(6) { reader.u32() } else { None },
        atime: if has(7) { reader.i64() } else { None },
        mtime: if has(8) { reader.i64() } else { None },
        ctime: if has(9) { reader.i64() } else { None },
        btime: if has(10) { reader.i64() } else { None },
    })
}

/// Unpacks the totals of a connection: bytes sent, bytes received, duration in ns.
pub fn end(bytes: &[u8]) -> Option<[Option<u64>; 3]> {
    let mut reader = Reader(bytes);
    let [mask] = reader.take()?;
    Some([0, 1, 2].map(|bit| if mask & (1 << bit) != 0 { reader.u64() } else { None }))
}
