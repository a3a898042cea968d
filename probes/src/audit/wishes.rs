//! Which rules make the kernel record what is wanted.
//!
//! Pure. Rules go behind those of others, never before: the first rule that matches decides, so
//! another's `never` stays in force and another's key stays in its records. Therefore records are
//! taken by what they say, not by their key.

use crate::event::EventKind;
use crate::source::Root;

use super::calls::{Arch, Call};
use super::rule::{Compare, Field, KEY, Rule};

/// Directories and files watched. Each is a rule that every file operation is compared with.
pub const MAX_ROOTS: usize = 256;

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/// `AUDIT_PERM_WRITE | AUDIT_PERM_ATTR`.
const PERM_CHANGE: u32 = 2 | 8;
/// `AUDIT_PERM_READ`.
const PERM_READ: u32 = 4;

/// A rule that is wanted, and the kind it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// What it makes the kernel record.
    pub kind: EventKind,
    /// The rule.
    pub rule: Rule,
    /// To be added if the kernel does not know a field of `rule` (`EINVAL`).
    pub simpler: Option<Rule>,
}

/// What rules are to be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want<'a> {
    /// Kinds.
    pub kinds: &'a [EventKind],
    /// Watched paths.
    pub roots: &'a [Root],
    /// Opens for reading, too.
    pub file_access: bool,
    /// Unix sockets, too.
    pub unix_sockets: bool,
    /// Our process, to be left out by the kernel.
    pub own_pid: u32,
    /// The instruction sets of programs here.
    pub archs: &'a [Arch],
    /// What the rules' key is to be, beginning with [`KEY`].
    pub key: &'a str,
}

/// The keys our rules have in turn. With the other key, the same rules can be put behind those that
/// somebody has added since, before the old ones go.
pub const KEYS: [&str; 2] = [KEY, "osquery-ebpf/2"];

/// The rules for what is wanted.
pub fn wishes(want: &Want<'_>) -> Vec<Wish> {
    let mut wishes = Vec::new();
    for &arch in want.archs {
        if want.kinds.contains(&EventKind::Exec) {
            wishes.push(
                want.plain(EventKind::Exec, succeeded(arch, &[Call::Execve, Call::Execveat])),
            );
        }
        if want.kinds.contains(&EventKind::Setid) {
            let calls = [
                Call::Setuid,
                Call::Setgid,
                Call::Setreuid,
                Call::Setregid,
                Call::Setresuid,
                Call::Setresgid,
                Call::Setfsuid,
                Call::Setfsgid,
            ];
            wishes.push(want.plain(EventKind::Setid, succeeded(arch, &calls)));
        }
        if want.kinds.contains(&EventKind::Namespace) {
            let rule = succeeded(arch, &[Call::Unshare, Call::Setns]);
            wishes.push(want.plain(EventKind::Namespace, rule));
        }
        if want.kinds.contains(&EventKind::Socket) {
            sockets(want, arch, &mut wishes);
        }
    }
    if want.kinds.contains(&EventKind::File) {
        files(want, &mut wishes);
    }
    wishes
}

impl Want<'_> {
    fn plain(&self, kind: EventKind, rule: Rule) -> Wish {
        Wish { kind, rule: self.keyed(rule), simpler: None }
    }

    fn keyed(&self, rule: Rule) -> Rule {
        rule.with_text(Field::FilterKey, self.key.as_bytes())
    }
}

fn calls(arch: Arch, calls: &[Call]) -> Rule {
    let rule = Rule::record().with(Field::Arch, Compare::Equal, arch.token());
    let numbers = calls.iter().flat_map(|call| call.numbers(arch));
    numbers.fold(rule, Rule::call)
}

fn succeeded(arch: Arch, names: &[Call]) -> Rule {
    calls(arch, names).with(Field::Success, Compare::Equal, 1)
}

fn sockets(want: &Want<'_>, arch: Arch, wishes: &mut Vec<Wish>) {
    let others = |rule: Rule| rule.with(Field::Pid, Compare::NotEqual, want.own_pid);
    let kind = EventKind::Socket;
    // Before 5.2 the family cannot be asked for; then unix sockets are recorded to be left out.
    let any = want.keyed(others(calls(arch, &[Call::Connect, Call::Bind])));
    let families = [AF_INET, AF_INET6, AF_UNIX];
    for family in families.into_iter().filter(|&family| family != AF_UNIX || want.unix_sockets) {
        let rule = others(calls(arch, &[Call::Connect, Call::Bind]));
        let rule = want.keyed(rule.with(Field::SaddrFam, Compare::Equal, family));
        wishes.push(Wish { kind, rule, simpler: Some(any.clone()) });
    }
    wishes.push(want.plain(kind, others(calls(arch, &[Call::Listen]))));
    // Accepting without waiting fails most of the time, and says nothing then.
    let again = u32::from_ne_bytes((-libc::EAGAIN).to_ne_bytes());
    let accept = calls(arch, &[Call::Accept, Call::Accept4]);
    wishes.push(want.plain(kind, others(accept.with(Field::Exit, Compare::NotEqual, again))));
    if let Some(multiplexer) = Call::Socketcall.numbers(arch).next() {
        for call in
            (0..=u32::from(u8::MAX)).filter(|&call| Call::of_socketcall(call.into()).is_some())
        {
            let rule = Rule::record()
                .with(Field::Arch, Compare::Equal, arch.token())
                .call(multiplexer)
                .with(Field::Arg0, Compare::Equal, call)
                .with(Field::Exit, Compare::NotEqual, again);
            wishes.push(want.plain(kind, others(rule)));
        }
    }
}

fn files(want: &Want<'_>, wishes: &mut Vec<Wish>) {
    let mut permissions = PERM_CHANGE;
    if want.file_access {
        permissions |= PERM_READ;
    }
    for root in want.roots.iter().take(MAX_ROOTS) {
        use std::os::unix::ffi::OsStrExt;
        let path = root.path.as_os_str().as_bytes();
        let file = root.depth == Some(0);
        let place = if file { Field::Watch } else { Field::Dir };
        let rule = Rule::record()
            .every_call()
            .with(Field::Pid, Compare::NotEqual, want.own_pid)
            .with_text(place, path)
            .with(Field::Perm, Compare::Equal, permissions);
        wishes.push(want.plain(EventKind::File, rule));
        // The kernel's classes of calls that change attributes know nothing of times.
        for &arch in want.archs {
            let times = [Call::Utime, Call::Utimes, Call::Futimesat, Call::Utimensat];
            let rule = succeeded(arch, &times)
                .with(Field::Pid, Compare::NotEqual, want.own_pid)
                .with_text(place, path);
            wishes.push(want.plain(EventKind::File, rule));
        }
    }
}

#[cfg(test)]
mod tests;
