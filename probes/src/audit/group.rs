//! The records of one event, as far as they have come.
//!
//! Owns which records an event is made of and when it has them all. Records may come in any order;
//! each is taken apart as it comes and only what is needed of it is kept, up to fixed bounds.

use crate::event::{Bytes, Creds};

use super::args::Args;
use super::calls::{Arch, Call};
use super::record::{Fields, Malformed, Stamp, field, kind, number, signed, untrusted};

/// Path items kept of one event. A rename that replaces a file has five.
pub const MAX_PATHS: usize = 16;

/// Longest path kept: the kernel's `PATH_MAX`.
pub const MAX_PATH: usize = 4096;

/// A login uid, session or id that was never set: `(uid_t)-1`.
const UNSET: u64 = 4_294_967_295;

/// A SYSCALL record: who did what, and what came of it.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "named as in the record")]
pub struct Syscall {
    pub arch: Option<Arch>,
    pub number: u32,
    /// `None`: the call never returned (`exit_group`).
    pub success: Option<bool>,
    pub exit: Option<i64>,
    pub args: [u64; 4],
    pub items: u32,
    pub ppid: u32,
    pub pid: u32,
    pub auid: Option<u32>,
    pub creds: Creds,
    pub tty: Option<Bytes>,
    pub comm: Option<Bytes>,
    pub exe: Option<Bytes>,
}

/// What a PATH record's object is to the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in the record")]
pub enum NameType {
    Parent,
    Create,
    Delete,
    Normal,
    Unknown,
}

/// A PATH record.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "named as in the record")]
pub struct PathItem {
    pub item: u32,
    /// `None`: the call named it by descriptor.
    pub name: Option<Bytes>,
    pub inode: Option<u64>,
    /// In the encoding of `st_dev`.
    pub device: Option<u64>,
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub nametype: NameType,
}

/// One event, being put together.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "named as the records")]
pub struct Group {
    pub stamp: Stamp,
    pub syscall: Option<Syscall>,
    pub args: Args,
    pub cwd: Option<Bytes>,
    pub paths: Vec<PathItem>,
    /// PATH records beyond [`MAX_PATHS`].
    pub paths_dropped: u32,
    pub sockaddr: Option<Bytes>,
    /// Arguments of a `socketcall` (its a1 points at them).
    pub socketcall: Option<Vec<u64>>,
    /// Flags of an `openat2` (its a2 points at them).
    pub open_flags: Option<u64>,
    pub proctitle: bool,
    /// It is of an io_uring operation, recorded for rules of somebody else.
    pub uring: bool,
    /// The EOE record is there.
    pub ended: bool,
    /// Records that did not follow the format.
    pub malformed: u32,
}

impl Group {
    /// An event of which nothing is known yet.
    pub fn new(stamp: Stamp) -> Self {
        Self {
            stamp,
            syscall: None,
            args: Args::default(),
            cwd: None,
            paths: Vec::new(),
            paths_dropped: 0,
            sockaddr: None,
            socketcall: None,
            open_flags: None,
            proctitle: false,
            uring: false,
            ended: false,
            malformed: 0,
        }
    }

    /// Takes over one record's fields.
    ///
    /// # Errors
    /// [`Malformed::Field`]; the rest of the event may still be good, and the group counts it.
    pub fn add(&mut self, record: u16, text: &[u8]) -> Result<(), Malformed> {
        let taken = self.take(record, text);
        if taken.is_err() {
            self.malformed = self.malformed.saturating_add(1);
        }
        taken
    }

    fn take(&mut self, record: u16, text: &[u8]) -> Result<(), Malformed> {
        match record {
            kind::SYSCALL => self.syscall = Some(syscall(text)?),
            kind::EXECVE => self.args.add(text)?,
            kind::CWD => self.cwd = Some(string(text, "cwd")?),
            kind::PATH => {
                let item = path_item(text)?;
                if self.paths.len() < MAX_PATHS {
                    self.paths.push(item);
                } else {
                    self.paths_dropped = self.paths_dropped.saturating_add(1);
                }
            }
            kind::SOCKADDR => {
                let value = field(text, b"saddr").ok_or(Malformed::Field("saddr"))?;
                let address = super::record::hex(value).ok_or(Malformed::Field("saddr"))?;
                self.sockaddr = Some(address.into());
            }
            kind::SOCKETCALL => {
                let values = Fields(text).filter(|(name, _)| name.first() == Some(&b'a'));
                let values: Option<Vec<u64>> =
                    values.take(6).map(|(_, value)| number(value, 16)).collect();
                self.socketcall = Some(values.ok_or(Malformed::Field("a0"))?);
            }
            kind::OPENAT2 => {
                let value = field(text, b"oflag").and_then(|value| number(value, 8));
                self.open_flags = Some(value.ok_or(Malformed::Field("oflag"))?);
            }
            kind::PROCTITLE => self.proctitle = true,
            kind::URINGOP => self.uring = true,
            kind::EOE => self.ended = true,
            _ => {}
        }
        Ok(())
    }

    /// PATH records still to come.
    pub fn paths_missing(&self) -> u32 {
        let have = u32::try_from(self.paths.len()).unwrap_or(u32::MAX);
        let have = have.saturating_add(self.paths_dropped);
        self.syscall.as_ref().map_or(0, |syscall| syscall.items.saturating_sub(have))
    }

    /// Records that must still come, given what is there. It is 1 while nothing says what kind of
    /// event this is. PROCTITLE is not among them: many sites exclude it.
    pub fn missing(&self) -> u32 {
        if self.uring {
            return u32::from(!self.ended);
        }
        let Some(syscall) = &self.syscall else { return 1 };
        let call = syscall.call();
        let exec = matches!(call, Some(Call::Execve | Call::Execveat));
        let lacks = [
            !self.ended,
            exec && syscall.success == Some(true) && !self.args.complete(),
            // `audit_alloc_name` takes the working directory down with the first item.
            syscall.items > 0 && self.cwd.is_none(),
            self.sockaddr.is_none()
                && match call {
                    Some(Call::Connect | Call::Bind) => {
                        !syscall.exit.is_some_and(fails_before_the_address)
                    }
                    // Copied out to the caller, if it asked.
                    Some(Call::Accept | Call::Accept4) => {
                        syscall.success == Some(true) && self.argument(1) != Some(0)
                    }
                    _ => false,
                },
            call == Some(Call::Openat2) && self.open_flags.is_none(),
            syscall.by_socketcall() && self.socketcall.is_none(),
        ];
        let lacks = lacks.into_iter().map(u32::from).sum::<u32>();
        lacks.saturating_add(self.paths_missing())
    }

    /// An argument of the call, also where `socketcall` hides it. `None`: not known.
    pub fn argument(&self, index: usize) -> Option<u64> {
        let syscall = self.syscall.as_ref()?;
        if syscall.by_socketcall() {
            return self.socketcall.as_ref()?.get(index).copied();
        }
        syscall.args.get(index).copied()
    }

    /// The path items in the order of the call, whatever order they came in.
    pub fn items(&self) -> Vec<&PathItem> {
        let mut items: Vec<_> = self.paths.iter().collect();
        items.sort_by_key(|item| item.item);
        items
    }
}

impl Syscall {
    /// The call, where it is one we know.
    pub fn call(&self) -> Option<Call> {
        match Call::find(self.arch?, self.number)? {
            Call::Socketcall => Call::of_socketcall(*self.args.first()?),
            call => Some(call),
        }
    }

    /// It came through `socketcall`, whose own arguments are not those of the call.
    pub fn by_socketcall(&self) -> bool {
        self.arch.and_then(|arch| Call::find(arch, self.number)) == Some(Call::Socketcall)
    }
}

/// Whether a connect or bind that returned this had not copied the address yet, so that there is
/// none in a record: a bad descriptor, not a socket, a bad pointer or length (`net/socket.c`).
fn fails_before_the_address(exit: i64) -> bool {
    let errors = [libc::EBADF, libc::ENOTSOCK, libc::EFAULT, libc::EINVAL];
    errors.iter().any(|&error| exit == -i64::from(error))
}

fn syscall(text: &[u8]) -> Result<Syscall, Malformed> {
    let mut arch = None;
    let mut call = None;
    let mut pid = None;
    let mut found = Syscall::default();
    let mut seen = 0_u16;
    for (name, value) in Fields(text) {
        let mut id = |slot: &mut u32, bit: u32| {
            if let Some(id) = number32(value) {
                *slot = id;
                seen |= 1 << bit;
            }
        };
        match name {
            b"arch" => arch = number(value, 16).and_then(|arch| u32::try_from(arch).ok()),
            b"syscall" => call = number32(value),
            b"success" => found.success = Some(value == b"yes"),
            b"exit" => found.exit = signed(value),
            b"a0" => set(&mut found.args, 0, value),
            b"a1" => set(&mut found.args, 1, value),
            b"a2" => set(&mut found.args, 2, value),
            b"a3" => set(&mut found.args, 3, value),
            b"items" => found.items = number32(value).unwrap_or(0),
            b"ppid" => id(&mut found.ppid, 8),
            b"pid" => pid = number32(value),
            b"auid" => found.auid = known(value),
            b"uid" => id(&mut found.creds.uid, 0),
            b"gid" => id(&mut found.creds.gid, 1),
            b"euid" => id(&mut found.creds.euid, 2),
            b"suid" => id(&mut found.creds.suid, 3),
            b"fsuid" => id(&mut found.creds.fsuid, 4),
            b"egid" => id(&mut found.creds.egid, 5),
            b"sgid" => id(&mut found.creds.sgid, 6),
            b"fsgid" => id(&mut found.creds.fsgid, 7),
            b"tty" => found.tty = (value != b"(none)").then(|| value.into()),
            b"comm" => found.comm = untrusted(value).map(Into::into),
            b"exe" => found.exe = untrusted(value).map(Into::into),
            _ => {}
        }
    }
    found.arch = Arch::from_token(arch.ok_or(Malformed::Field("arch"))?);
    found.number = call.ok_or(Malformed::Field("syscall"))?;
    found.pid = pid.filter(|&pid| pid != 0).ok_or(Malformed::Field("pid"))?;
    if seen != 0x1ff {
        return Err(Malformed::Field("uid"));
    }
    Ok(found)
}

fn set(args: &mut [u64; 4], index: usize, value: &[u8]) {
    if let (Some(slot), Some(value)) = (args.get_mut(index), number(value, 16)) {
        *slot = value;
    }
}

fn path_item(text: &[u8]) -> Result<PathItem, Malformed> {
    let mut item = None;
    let mut found = PathItem {
        item: 0,
        name: None,
        inode: None,
        device: None,
        mode: None,
        uid: None,
        gid: None,
        nametype: NameType::Unknown,
    };
    for (name, value) in Fields(text) {
        match name {
            b"item" => item = number32(value),
            b"name" => found.name = untrusted(value).and_then(path),
            b"inode" => found.inode = number(value, 10),
            b"dev" => found.device = device(value),
            b"mode" => found.mode = number(value, 8).and_then(|mode| u32::try_from(mode).ok()),
            b"ouid" => found.uid = known(value),
            b"ogid" => found.gid = known(value),
            b"nametype" => {
                found.nametype = match value {
                    b"PARENT" => NameType::Parent,
                    b"CREATE" => NameType::Create,
                    b"DELETE" => NameType::Delete,
                    b"NORMAL" => NameType::Normal,
                    _ => NameType::Unknown,
                };
            }
            _ => {}
        }
    }
    found.item = item.ok_or(Malformed::Field("item"))?;
    Ok(found)
}

fn string(text: &[u8], name: &'static str) -> Result<Bytes, Malformed> {
    let value = field(text, name.as_bytes()).and_then(untrusted).and_then(path);
    value.ok_or(Malformed::Field(name))
}

fn path(text: Vec<u8>) -> Option<Bytes> {
    (text.len() <= MAX_PATH).then(|| text.into())
}

fn number32(value: &[u8]) -> Option<u32> {
    number(value, 10).and_then(|number| u32::try_from(number).ok())
}

fn known(value: &[u8]) -> Option<u32> {
    number(value, 10).filter(|&id| id != UNSET).and_then(|id| u32::try_from(id).ok())
}

/// `MAJOR:MINOR` in hexadecimal.
fn device(value: &[u8]) -> Option<u64> {
    let colon = value.iter().position(|&byte| byte == b':')?;
    let (major, minor) = value.split_at_checked(colon)?;
    let major = u32::try_from(number(major, 16)?).ok()?;
    let minor = u32::try_from(number(minor.get(1..)?, 16)?).ok()?;
    Some(rustix::fs::makedev(major, minor))
}
