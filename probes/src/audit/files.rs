//! File events from groups: which of a call's path items is what, and what the call did.
//!
//! Audit tells of calls, not of contents: an open for writing is all it sees of a write. Such an
//! open is given out as a [`WriteOpen`] beside the event it may be (a creation, a truncation), and
//! `writes.rs` finds out what came of it.

use crate::event::{Bytes, File, FileAction, FileObject};

use super::calls::Call;
use super::decode::{Asked, Base, InodeId, Sought, World, as_int, first, object};
use super::group::{Group, NameType, PathItem, Syscall};

const O_ACCMODE: u64 = 0o3;
const O_CREAT: u64 = 0o100;
const O_TRUNC: u64 = 0o1000;
const AT_FDCWD: i32 = -100;
const AT_REMOVEDIR: u64 = 0x200;
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;

/// A regular file that was opened for writing.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteOpen {
    /// The event it will be if something is written: [`FileAction::CloseWrite`].
    pub file: File,
    /// The descriptor it was opened as.
    pub fd: i32,
    /// Device and inode.
    pub object: InodeId,
    /// The opening made or emptied it.
    pub empty: bool,
}

/// What a call on a file was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// The event it is, if it is one yet.
    pub now: Option<File>,
    /// Writes to come.
    pub write: Option<WriteOpen>,
}

/// Why a call on a file is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untold {
    /// Nothing that is asked for.
    Nothing,
    /// No path can be told.
    Unplaced,
}

/// How the call names things: which of its arguments are directory descriptors.
struct Names<'a> {
    group: &'a Group,
    pid: u32,
    items: Vec<&'a PathItem>,
    world: &'a mut dyn World,
}

/// Tells what the call did.
pub fn decode(
    group: &Group,
    syscall: &Syscall,
    call: Call,
    asked: Asked,
    world: &mut dyn World,
) -> Result<Told, Untold> {
    let items = group.items();
    let mut names = Names { group, pid: syscall.pid, items, world };
    let told = done(&mut names, syscall, call, asked);
    if let Ok(Told { now: Some(file), .. }) = &told {
        follow(file, names.world);
    }
    told
}

/// Lets be known where a directory went.
fn follow(file: &File, world: &mut dyn World) {
    let id = file.object.and_then(|object| object.device.zip(object.inode));
    let Some(id) = id.filter(|_| file.is_dir == Some(true)) else { return };
    let path = file.path.as_ref();
    match file.action {
        FileAction::Mkdir => world.directory_moved(id, None, path),
        FileAction::Rename => world.directory_moved(id, path, file.dest_path.as_ref()),
        FileAction::Rmdir => world.directory_moved(id, path, None),
        _ => {}
    }
}

fn done(
    names: &mut Names<'_>,
    syscall: &Syscall,
    call: Call,
    asked: Asked,
) -> Result<Told, Untold> {
    let argument = |index: usize| syscall.args.get(index).copied().unwrap_or(0);
    match call {
        Call::Open | Call::Openat | Call::Openat2 | Call::Creat => {
            opened(names, syscall, call, asked)
        }
        Call::Truncate | Call::Ftruncate => {
            let size = Some(argument(1));
            changed(names, syscall, call, FileAction::Truncate, |object| object.size = size)
        }
        Call::Chmod | Call::Fchmod | Call::Fchmodat | Call::Fchmodat2 => {
            let given = if matches!(call, Call::Chmod | Call::Fchmod) { 1 } else { 2 };
            let bits = u32::try_from(argument(given) & 0o7777).unwrap_or(0);
            // The record has the mode before the call.
            changed(names, syscall, call, FileAction::Chmod, |object| {
                object.mode = object.mode.map(|mode| (mode & S_IFMT) | bits);
            })
        }
        Call::Chown | Call::Lchown | Call::Fchown | Call::Fchownat => {
            // The arguments are ids of the caller's user namespace, the record's those before.
            changed(names, syscall, call, FileAction::Chown, |object| {
                object.uid = None;
                object.gid = None;
            })
        }
        Call::Rename | Call::Renameat | Call::Renameat2 => renamed(names, syscall, call),
        Call::Link | Call::Linkat => {
            let made = first(&names.items, NameType::Create);
            let old = first(&names.items, NameType::Normal);
            let at = call == Call::Linkat;
            let dest = old.and_then(|old| names.place(old, dir(at, argument(0)), true));
            let Some(made) = made else { return Err(Untold::Nothing) };
            let path = names.place(made, dir(at, argument(2)), true);
            file(FileAction::Link, path, dest, made, syscall, call)
        }
        Call::Symlink | Call::Symlinkat => {
            let Some(made) = first(&names.items, NameType::Create) else {
                return Err(Untold::Nothing);
            };
            let target = first(&names.items, NameType::Unknown).and_then(|item| item.name.clone());
            let path = names.place(made, dir(call == Call::Symlinkat, argument(1)), true);
            file(FileAction::Symlink, path, target, made, syscall, call)
        }
        Call::Mkdir | Call::Mkdirat | Call::Mknod | Call::Mknodat => {
            let Some(made) = first(&names.items, NameType::Create) else {
                return Err(Untold::Nothing);
            };
            let at = matches!(call, Call::Mkdirat | Call::Mknodat);
            let directory = matches!(call, Call::Mkdir | Call::Mkdirat);
            let action = if directory { FileAction::Mkdir } else { FileAction::Create };
            let path = names.place(made, dir(at, argument(0)), true);
            file(action, path, None, made, syscall, call)
        }
        Call::Unlink | Call::Unlinkat | Call::Rmdir => {
            let Some(gone) = first(&names.items, NameType::Delete) else {
                return Err(Untold::Nothing);
            };
            let at = call == Call::Unlinkat;
            let directory = call == Call::Rmdir || (at && argument(2) & AT_REMOVEDIR != 0);
            let action = if directory { FileAction::Rmdir } else { FileAction::Unlink };
            let path = names.place(gone, dir(at, argument(0)), false);
            file(action, path, None, gone, syscall, call)
        }
        _ => changed(names, syscall, call, FileAction::Attributes, |_| {}),
    }
}

/// The descriptor a relative name is relative to, where the call takes one.
fn dir(takes_one: bool, argument: u64) -> Option<i32> {
    Some(as_int(argument)).filter(|&fd| takes_one && fd != AT_FDCWD)
}

impl Names<'_> {
    /// Where an item is. `stays`: it is still there to be found by its inode.
    fn place(&mut self, item: &PathItem, dir: Option<i32>, stays: bool) -> Option<Bytes> {
        let name = item.name.as_deref().unwrap_or_default();
        let base = dir.map_or(Base::Cwd(self.group.cwd.as_deref()), Base::Descriptor);
        let sought = Sought {
            pid: self.pid,
            name,
            base,
            object: if stays { identity(item) } else { None },
            parent: self.parent_of(name),
        };
        self.world.locate(&sought)
    }

    /// The directory item that goes with a name: with two of them, the one that is its beginning.
    fn parent_of(&self, name: &[u8]) -> Option<InodeId> {
        let parents = || self.items.iter().filter(|item| item.nametype == NameType::Parent);
        let name = name.strip_suffix(b"/").unwrap_or(name);
        let slash = name.iter().rposition(|&byte| byte == b'/');
        let directory = slash.and_then(|slash| name.get(..slash)).unwrap_or_default();
        let directory = if slash.is_none() {
            // Then the kernel gives the working directory as the parent's name.
            self.group.cwd.as_deref().unwrap_or_default()
        } else {
            directory
        };
        let trimmed = |path: &[u8]| path.strip_suffix(b"/").unwrap_or(path).to_vec();
        let named = parents().find(|item| {
            item.name.as_deref().is_some_and(|name| trimmed(name) == trimmed(directory))
        });
        let only = || parents().next().filter(|_| parents().count() == 1);
        identity(named.or_else(only)?)
    }
}

fn identity(item: &PathItem) -> Option<InodeId> {
    Some((item.device?, item.inode?))
}

fn file(
    action: FileAction,
    path: Option<Bytes>,
    dest_path: Option<Bytes>,
    item: &PathItem,
    syscall: &Syscall,
    call: Call,
) -> Result<Told, Untold> {
    if path.is_none() && dest_path.is_none() {
        return Err(Untold::Unplaced);
    }
    let file = File {
        action,
        path,
        dest_path,
        object: Some(object(item)),
        is_dir: item.mode.map(|mode| mode & S_IFMT == S_IFDIR),
        syscall: Some(call.name()),
        result: syscall.exit.and_then(|exit| i32::try_from(exit).ok()),
        truncated: false,
    };
    Ok(Told { now: Some(file), write: None })
}

/// A change to an inode that has its name already, whether named by path or by descriptor.
fn changed(
    names: &mut Names<'_>,
    syscall: &Syscall,
    call: Call,
    action: FileAction,
    afterwards: impl FnOnce(&mut FileObject),
) -> Result<Told, Untold> {
    let item = first(&names.items, NameType::Normal)
        .or_else(|| first(&names.items, NameType::Unknown))
        .filter(|item| item.inode.is_some());
    let Some(item) = item else { return Err(Untold::Nothing) };
    let argument = syscall.args.first().copied().unwrap_or(0);
    let takes_directory = matches!(
        call,
        Call::Fchmodat | Call::Fchmodat2 | Call::Fchownat | Call::Futimesat | Call::Utimensat
    );
    let by_descriptor = item.name.is_none();
    let path = names.place(item, dir(takes_directory || by_descriptor, argument), true);
    let mut told = file(action, path, None, item, syscall, call)?;
    if let Some(File { object: Some(object), .. }) = &mut told.now {
        afterwards(object);
    }
    Ok(told)
}

fn opened(
    names: &mut Names<'_>,
    syscall: &Syscall,
    call: Call,
    asked: Asked,
) -> Result<Told, Untold> {
    let argument = |index: usize| syscall.args.get(index).copied().unwrap_or(0);
    let flags = match call {
        Call::Open => argument(1),
        Call::Openat => argument(2),
        Call::Openat2 => names.group.open_flags.unwrap_or(0),
        _ => O_CREAT | O_TRUNC | 1,
    };
    let base = dir(matches!(call, Call::Openat | Call::Openat2), argument(0));
    let made = first(&names.items, NameType::Create);
    let Some(item) = made.or_else(|| first(&names.items, NameType::Normal)) else {
        return Err(Untold::Nothing);
    };
    let writes = matches!(flags & O_ACCMODE, 1 | 2);
    let action = if made.is_some() {
        FileAction::Create
    } else if flags & O_TRUNC != 0 {
        FileAction::Truncate
    } else {
        FileAction::Open
    };
    if action == FileAction::Open && !writes && !asked.file_access {
        return Err(Untold::Nothing);
    }
    let path = names.place(item, base, true);
    let regular = item.mode.is_some_and(|mode| mode & S_IFMT == S_IFREG);
    let told = file(action, path, None, item, syscall, call)?;
    let Some(mut file) = told.now else { return Ok(told) };
    let fd = syscall.exit.and_then(|fd| i32::try_from(fd).ok());
    let write = match (identity(item), fd) {
        (Some(object), Some(fd)) if writes && regular => {
            let file = File { action: FileAction::CloseWrite, result: None, ..file.clone() };
            let empty = action != FileAction::Open;
            Some(WriteOpen { file, fd, object, empty })
        }
        _ => None,
    };
    if action == FileAction::Open {
        return Ok(Told { now: Some(file).filter(|_| asked.file_access), write });
    }
    if let Some(object) = &mut file.object {
        object.size = Some(0).filter(|_| regular);
    }
    Ok(Told { now: Some(file), write })
}

fn renamed(names: &mut Names<'_>, syscall: &Syscall, call: Call) -> Result<Told, Untold> {
    let Some(new) = first(&names.items, NameType::Create) else { return Err(Untold::Nothing) };
    let old = names.items.iter().copied().find(|item| {
        item.nametype == NameType::Delete && (item.inode, item.device) == (new.inode, new.device)
    });
    let Some(old) = old.or_else(|| first(&names.items, NameType::Delete)) else {
        return Err(Untold::Nothing);
    };
    let at = call != Call::Rename;
    let argument = |index: usize| syscall.args.get(index).copied().unwrap_or(0);
    let path = names.place(old, dir(at, argument(0)), false);
    let dest = names.place(new, dir(at, argument(2)), true);
    file(FileAction::Rename, path, dest, new, syscall, call)
}

#[cfg(test)]
mod tests;
