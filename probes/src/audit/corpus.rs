//! Records taken from a live kernel (6.18), for tests: `TYPE payload` on each line.

use std::collections::HashMap;

use crate::event::{Bytes, RawEvent};

use super::assemble::{Assembler, Counts};
use super::decode::{Asked, Base, Decoded, InodeId, Sought, World, decode};
use super::group::Group;

pub const EXEC: &str = include_str!("../../tests/corpus/audit/exec.txt");
pub const SOCKET: &str = include_str!("../../tests/corpus/audit/socket.txt");
pub const IDS: &str = include_str!("../../tests/corpus/audit/ids.txt");
pub const FILE: &str = include_str!("../../tests/corpus/audit/file.txt");

pub const ASKED: Asked = Asked { own_pid: 1, unix_sockets: true, file_access: false, files: true };

pub fn records(corpus: &str) -> Vec<(u16, Vec<u8>)> {
    let record = |line: &str| {
        let (kind, payload) = line.split_once(' ').unwrap();
        (kind.parse().unwrap(), payload.as_bytes().to_vec())
    };
    corpus.lines().map(record).collect()
}

/// Puts records together that come a microsecond apart, and lets all time run out.
pub fn assemble(records: &[(u16, Vec<u8>)]) -> (Vec<Group>, Counts) {
    let mut assembler = Assembler::default();
    let mut groups = Vec::new();
    let mut now = 0;
    for (kind, payload) in records {
        now += 1_000;
        assembler.push(*kind, payload, now, &mut groups);
    }
    assembler.expire(now + 10_000_000_000, &mut groups);
    assert_eq!(assembler.open(), 0);
    (groups, assembler.counts())
}

/// A host on which every name is where it says, and descriptors are as told.
#[derive(Default)]
pub struct Told {
    pub directories: HashMap<i32, &'static str>,
    pub sought: Vec<(Option<InodeId>, Option<InodeId>)>,
}

impl World for Told {
    fn boot_ns(&self, unix_ms: u64) -> u64 {
        unix_ms * 1_000_000
    }

    fn locate(&mut self, sought: &Sought<'_>) -> Option<Bytes> {
        self.sought.push((sought.object, sought.parent));
        if sought.name.starts_with(b"/") {
            return Some(sought.name.into());
        }
        let base = match sought.base {
            Base::Cwd(cwd) => cwd?.to_vec(),
            Base::Descriptor(fd) => self.directories.get(&fd)?.as_bytes().to_vec(),
        };
        if sought.name.is_empty() {
            return Some(base.into());
        }
        Some([base.as_slice(), b"/", sought.name].concat().into())
    }
}

pub fn decoded(corpus: &str, world: &mut Told) -> Vec<Decoded> {
    let (groups, _) = assemble(&records(corpus));
    groups.iter().map(|group| decode(group, ASKED, world)).collect()
}

pub fn events(corpus: &str) -> Vec<RawEvent> {
    let event = |decoded| match decoded {
        Decoded::Event(event) | Decoded::Open(Some(event), _) => Some(*event),
        _ => None,
    };
    decoded(corpus, &mut Told::default()).into_iter().filter_map(event).collect()
}
