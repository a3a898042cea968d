//! The sockets records come through: ours alone while we are who the kernel sends them to, the
//! multicast group while somebody else is.
//!
//! Changing from one to the other loses nothing and gives nothing twice: for a while both are read,
//! and what has come through one is left out when it comes through the other.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::netlink::{self, F_ACK, F_REQUEST, Netlink, Received};

use super::control::{ANSWER_TIME, PROTOCOL, SET, acknowledged};
use super::status::{Status, mask};

/// `AUDIT_NLGRP_READLOG`, as a bit.
const READLOG: u32 = 1;

/// Datagrams read in one go, so that whoever reads gets to its other work within a few milliseconds.
pub const MAX_AT_ONCE: usize = 512;

/// How long both are read.
const OVERLAP_NS: u64 = 2_000_000_000;

/// Records remembered meanwhile.
const MAX_SEEN: usize = 262_144;

/// The way records come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The kernel sends them to us.
    Registered,
    /// We hear what is sent to somebody else.
    Multicast,
}

impl Way {
    /// The word used in the `tier` column.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Multicast => "multicast",
        }
    }
}

/// The sockets.
pub struct Stream {
    way: Way,
    buffer_bytes: usize,
    own: Option<Netlink>,
    group: Option<Netlink>,
    overlap: Option<Overlap>,
    /// Records that came while the kernel's answer was awaited.
    early: Vec<(u16, Vec<u8>)>,
    overruns: u64,
    malformed: u64,
}

struct Overlap {
    until_ns: u64,
    seen: HashSet<u64>,
}

impl Overlap {
    /// Whether this record has not come yet.
    fn first(&mut self, kind: u16, payload: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        (kind, payload).hash(&mut hasher);
        self.seen.len() >= MAX_SEEN || self.seen.insert(hasher.finish())
    }
}

impl Stream {
    /// Hears what is sent to somebody else.
    ///
    /// # Errors
    /// `EPERM`: no `CAP_AUDIT_READ`; before 3.16 there is no such group.
    pub fn hear(buffer_bytes: usize) -> io::Result<Self> {
        let mut stream = Self::new(Way::Multicast, buffer_bytes);
        stream.group = Some(stream.open(READLOG)?);
        Ok(stream)
    }

    /// Has the kernel send records to us.
    ///
    /// # Errors
    /// `EEXIST`: they are sent to somebody else.
    pub fn register(buffer_bytes: usize) -> io::Result<Self> {
        let mut stream = Self::new(Way::Registered, buffer_bytes);
        let mut socket = stream.open(0)?;
        stream.request(&mut socket)?;
        stream.own = Some(socket);
        Ok(stream)
    }

    fn new(way: Way, buffer_bytes: usize) -> Self {
        Self {
            way,
            buffer_bytes,
            own: None,
            group: None,
            overlap: None,
            early: Vec::new(),
            overruns: 0,
            malformed: 0,
        }
    }

    fn open(&mut self, groups: u32) -> io::Result<Netlink> {
        let socket = Netlink::open(PROTOCOL, groups)?;
        socket.set_receive_buffer(self.buffer_bytes)?;
        Ok(socket)
    }

    /// The way they come now.
    pub const fn way(&self) -> Way {
        self.way
    }

    /// Begins to hear what is sent to somebody else; the caller then has the kernel no longer send
    /// to us.
    ///
    /// # Errors
    /// As for [`Stream::hear`].
    pub fn to_multicast(&mut self, now_ns: u64) -> io::Result<()> {
        if self.group.is_none() {
            self.group = Some(self.open(READLOG)?);
        }
        self.way = Way::Multicast;
        self.begin_overlap(now_ns);
        Ok(())
    }

    /// Has the kernel send records to us from now on, also again.
    ///
    /// # Errors
    /// As for [`Stream::register`]; then everything stays as it was.
    pub fn to_registered(&mut self, now_ns: u64) -> io::Result<()> {
        let mut socket = match self.own.take() {
            Some(socket) => socket,
            None => self.open(0)?,
        };
        let registered = self.request(&mut socket);
        self.own = Some(socket);
        registered?;
        self.way = Way::Registered;
        self.begin_overlap(now_ns);
        Ok(())
    }

    /// The request comes from the socket that is to get the records, so records may come before the
    /// answer.
    fn request(&mut self, socket: &mut Netlink) -> io::Result<()> {
        const SEQUENCE: u32 = u32::MAX;
        let request = Status { pid: std::process::id(), ..Status::default() }.request(mask::PID);
        socket.send(SET, F_REQUEST | F_ACK, SEQUENCE, &request)?;
        let deadline = Instant::now() + ANSWER_TIME;
        while socket.wait(deadline)? {
            match socket.receive()? {
                Received::Message(header, payload)
                    if header.kind == netlink::ERROR && header.sequence == SEQUENCE =>
                {
                    return acknowledged(payload);
                }
                Received::Message(header, payload) => {
                    self.early.push((header.kind, payload.to_vec()));
                }
                Received::Overrun => self.overruns = self.overruns.saturating_add(1),
                Received::Malformed | Received::Empty => {}
            }
        }
        Err(io::Error::from(io::ErrorKind::TimedOut))
    }

    fn begin_overlap(&mut self, now_ns: u64) {
        let until_ns = now_ns.saturating_add(OVERLAP_NS);
        match &mut self.overlap {
            Some(overlap) => overlap.until_ns = until_ns,
            None => self.overlap = Some(Overlap { until_ns, seen: HashSet::new() }),
        }
    }

    /// Reads what there is now, up to [`MAX_AT_ONCE`] from each socket. Whether that is all.
    ///
    /// # Errors
    /// What reading a socket answered.
    pub fn drain(&mut self, now_ns: u64, mut record: impl FnMut(u16, &[u8])) -> io::Result<bool> {
        let mut all = true;
        for (kind, payload) in self.early.drain(..) {
            if self.overlap.as_mut().is_none_or(|overlap| overlap.first(kind, &payload)) {
                record(kind, &payload);
            }
        }
        for socket in [&mut self.own, &mut self.group].into_iter().flatten() {
            let mut left = MAX_AT_ONCE;
            loop {
                let Some(after) = left.checked_sub(1) else {
                    all = false;
                    break;
                };
                left = after;
                match socket.receive()? {
                    Received::Empty => break,
                    Received::Overrun => self.overruns = self.overruns.saturating_add(1),
                    Received::Malformed => self.malformed = self.malformed.saturating_add(1),
                    Received::Message(header, payload) => {
                        let first = self.overlap.as_mut();
                        if first.is_none_or(|overlap| overlap.first(header.kind, payload)) {
                            record(header.kind, payload);
                        }
                    }
                }
            }
        }
        if all && self.overlap.as_ref().is_some_and(|overlap| overlap.until_ns <= now_ns) {
            self.overlap = None;
            match self.way {
                Way::Registered => self.group = None,
                Way::Multicast => self.own = None,
            }
        }
        Ok(all)
    }

    /// What to wait for.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        [&self.own, &self.group].into_iter().flatten().map(AsFd::as_fd)
    }

    /// Times a socket had no room.
    pub const fn overruns(&self) -> u64 {
        self.overruns
    }

    /// Datagrams that made no sense.
    pub const fn malformed(&self) -> u64 {
        self.malformed
    }
}
