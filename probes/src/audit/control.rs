//! Questions and orders to the audit subsystem, over a socket of their own.
//!
//! Owns asking and waiting for the answer. Needs `CAP_AUDIT_CONTROL` in the initial namespaces.

use std::io;
use std::time::{Duration, Instant};

use crate::netlink::{self, F_ACK, F_REQUEST, Netlink, Received};

use super::rule::Rule;
use super::status::Status;

/// `NETLINK_AUDIT`.
pub const PROTOCOL: i32 = 9;

const GET: u16 = 1000;
/// `AUDIT_SET`.
pub const SET: u16 = 1001;
const ADD_RULE: u16 = 1011;
const DEL_RULE: u16 = 1012;
const LIST_RULES: u16 = 1013;

/// How long the kernel may take to answer. It answers while it handles the request, but for lists,
/// which a thread of its own sends.
pub const ANSWER_TIME: Duration = Duration::from_secs(5);

/// The socket.
pub struct Control {
    socket: Netlink,
    sequence: u32,
}

impl Control {
    /// Opens the socket, which every process may; what it may be used for shows when it is used.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT`: the kernel was built without audit.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Netlink::open(PROTOCOL, 0)?, sequence: 0 })
    }

    /// What the audit subsystem is set to.
    ///
    /// # Errors
    /// `EPERM`: no capability; `ECONNREFUSED`: not the host's user namespace, or `audit=off`.
    pub fn status(&mut self) -> io::Result<Status> {
        let sequence = self.send(GET, F_REQUEST, &[])?;
        let mut status = None;
        self.answers(sequence, |kind, payload| {
            if kind != GET {
                return false;
            }
            status = Status::parse(payload);
            true
        })?;
        status.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Sets those values of `status` that are in `mask`.
    ///
    /// # Errors
    /// `EPERM`: no capability, or immutable.
    pub fn set(&mut self, status: &Status, mask: u32) -> io::Result<()> {
        self.order(SET, &status.request(mask))
    }

    /// All rules there are.
    ///
    /// # Errors
    /// As for [`Control::status`].
    pub fn rules(&mut self) -> io::Result<Vec<Rule>> {
        let sequence = self.send(LIST_RULES, F_REQUEST, &[])?;
        let mut rules = Vec::new();
        self.answers(sequence, |kind, payload| {
            if kind == LIST_RULES {
                rules.extend(Rule::parse(payload));
            }
            kind == netlink::DONE
        })?;
        Ok(rules)
    }

    /// Adds a rule behind the others of its list. Whether it was not there already.
    ///
    /// # Errors
    /// `EINVAL`: the kernel does not know a field; `ENOENT`: no such directory; `EPERM`.
    pub fn add(&mut self, rule: &Rule) -> io::Result<bool> {
        present(self.order(ADD_RULE, &rule.encode()), libc::EEXIST)
    }

    /// Removes a rule. Whether it was there.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn delete(&mut self, rule: &Rule) -> io::Result<bool> {
        present(self.order(DEL_RULE, &rule.encode()), libc::ENOENT)
    }

    fn order(&mut self, kind: u16, payload: &[u8]) -> io::Result<()> {
        let sequence = self.send(kind, F_REQUEST | F_ACK, payload)?;
        self.answers(sequence, |_, _| false)
    }

    fn send(&mut self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(kind, flags, self.sequence, payload)?;
        Ok(self.sequence)
    }

    /// Reads answers until `last` says so or the kernel acknowledges or refuses.
    fn answers(
        &mut self,
        sequence: u32,
        mut last: impl FnMut(u16, &[u8]) -> bool,
    ) -> io::Result<()> {
        let deadline = Instant::now() + ANSWER_TIME;
        loop {
            match self.socket.receive()? {
                // An answer to a question that was given up.
                Received::Message(header, _) if header.sequence != sequence => {}
                Received::Message(header, payload) if header.kind == netlink::ERROR => {
                    return acknowledged(payload);
                }
                Received::Message(header, payload) => {
                    if last(header.kind, payload) {
                        return Ok(());
                    }
                }
                Received::Malformed => {}
                Received::Overrun => return Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
                Received::Empty => {
                    if !self.socket.wait(deadline)? {
                        return Err(io::Error::from(io::ErrorKind::TimedOut));
                    }
                }
            }
        }
    }
}

/// What an `NLMSG_ERROR` says.
///
/// # Errors
/// The errno in it.
pub fn acknowledged(payload: &[u8]) -> io::Result<()> {
    match netlink::errno(payload) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        None => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

fn present(done: io::Result<()>, absent: i32) -> io::Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(absent) => Ok(false),
        Err(error) => Err(error),
    }
}
