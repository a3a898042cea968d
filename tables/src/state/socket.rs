//! Socket calls and the fates of connections.

use std::net::{IpAddr, SocketAddr};

use osquery_ebpf_probes::event::{
    Body, Connection, Endpoint, EventKind, RawEvent, Socket, SocketAction,
};

use super::{Batch, State};
use crate::pool::{Pool, Text};
use crate::record::{Address, Outcome, Packed, SocketRecord, flag, pack, pack_short};
use crate::segment::Keys;
use crate::statistics::What;

/// How a connect that waited came to its row.
#[derive(Clone, Copy)]
enum Fate {
    /// It did not wait.
    Immediate,
    Answered(Connection),
    /// There was no answer.
    Open,
    /// It was closed before there was one.
    Closed,
}

/// Socket types that connect (`SOCK_STREAM`, `SOCK_SEQPACKET`; `SOCK_DCCP` is 6).
const CONNECTED_TYPES: [u16; 3] = [1, 5, 6];

impl State {
    pub(super) fn socket(&mut self, event: RawEvent, batch: &Batch<'_>) {
        let Body::Socket(socket) = &event.body else { return };
        self.cache.observe(&event.task, event.time_ns);
        let in_progress = socket.action == SocketAction::Connect
            && socket.result == libc::EINPROGRESS.checked_neg();
        match socket.id {
            Some(id) if in_progress => {
                let mut displaced = Vec::new();
                let answered = self.connects.connect(id, event, batch.now_ns, &mut displaced);
                if let Some((event, answer)) = answered {
                    self.store_socket(&event, Fate::Answered(answer), batch);
                }
                for event in displaced {
                    self.store_socket(&event, Fate::Open, batch);
                }
            }
            Some(id) if socket.action == SocketAction::Close => {
                if let Some(waiting) = self.connects.close(id) {
                    self.store_socket(&waiting, Fate::Closed, batch);
                }
                self.store_socket(&event, Fate::Immediate, batch);
            }
            _ => self.store_socket(&event, Fate::Immediate, batch),
        }
    }

    pub(super) fn connection(&mut self, answer: Connection, batch: &Batch<'_>) {
        self.count(EventKind::Socket, |flow| flow.folded = flow.folded.saturating_add(1));
        if let Some(event) = self.connects.answer(answer, batch.now_ns) {
            self.store_socket(&event, Fate::Answered(answer), batch);
        }
    }

    /// Stores the connects whose time was up at `now_ns`.
    pub fn expire_connects(&mut self, now_ns: u64, batch: &Batch<'_>) {
        let mut over = Vec::new();
        self.connects.expire(now_ns, &mut over);
        for event in over {
            self.store_socket(&event, Fate::Open, batch);
        }
    }

    fn store_socket(&mut self, event: &RawEvent, fate: Fate, batch: &Batch<'_>) {
        let Body::Socket(socket) = &event.body else { return };
        let time = event.time_ns;
        let actor = self.actor(event, batch.base);
        let path = self.path_of(&event.task, actor.slot, time).map(Box::<[u8]>::from);
        let path = path.as_deref();
        let own_end = matches!(socket.action, SocketAction::Bind | SocketAction::Listen);
        let peer = if own_end { socket.local.as_ref() } else { socket.remote.as_ref() };
        let excluded = self.is_excluded(&[path], None, &event.task, batch)
            || batch.active.selection.excludes_address(ip(peer));
        if excluded {
            self.count(EventKind::Socket, |flow| flow.excluded = flow.excluded.saturating_add(1));
            return;
        }
        let process = actor.slot.and_then(|slot| self.cache.get(slot));
        let args = process.and_then(|process| process.image_at(time).args.as_deref());
        let (who, place) = (Packed::who(&actor.who), Packed::place(&actor.place));
        let (segment, _) = self.sockets.open();
        let pool = &mut segment.pool;
        let chosen = match fate {
            Fate::Answered(answer) => answer.local.map(Endpoint::Inet),
            _ => None,
        };
        let local = socket.local.as_ref().filter(|local| !is_unspecified(local));
        let end =
            socket.end.map(|end| Packed::end(end.bytes_sent, end.bytes_received, end.duration_ns));
        let bit = |is: bool, bit: u16| if is { bit } else { 0 };
        let record = SocketRecord {
            time_ns: time,
            tid: event.task.tid,
            fd: socket.fd.unwrap_or(0),
            result: socket.result.unwrap_or(0),
            family: pack_short(socket.family),
            socket_type: pack_short(socket.socket_type),
            protocol: pack_short(socket.protocol),
            local: inet(pool, local.or(chosen.as_ref()).or(socket.local.as_ref())),
            remote: inet(pool, socket.remote.as_ref()),
            who: pool.intern(Some(who.as_slice())),
            place: pool.intern(Some(place.as_slice())),
            unix: unix(pool, socket, own_end),
            args: pool.intern(args),
            container: pool
                .intern(process.and_then(|process| process.inherited.container.as_deref())),
            call_ns: pack(fitting(socket.call_ns)),
            syscall: pool.intern(socket.syscall.map(str::as_bytes)),
            end: pool.intern(end.as_ref().map(Packed::as_slice)),
            flags: bit(socket.fd.is_some(), flag::FD_KNOWN)
                | bit(socket.result.is_some(), flag::RESULT_KNOWN),
            action: socket.action,
            source: event.source,
            outcome: outcome(socket, fate),
        };
        let keys = Keys { path: pool.intern(path), ..actor.keys };
        let seq = self.sockets.push(keys, record);
        if let (Fate::Open, Some(id)) = (fate, socket.id) {
            self.connects.stored_open(id, seq);
        }
        self.count_activity(path, socket.syscall, batch.now_ns);
        if let (false, Some(peer)) = (own_end, ip(peer)) {
            let peer = peer.to_string();
            self.statistics.add(What::Peer, peer.as_bytes(), batch.now_ns);
        }
    }
}

/// What a 32-bit column can say, which osqueryd would else silently cut.
fn fitting(value: Option<u64>) -> Option<u32> {
    value.and_then(|value| i32::try_from(value).ok()).map(i32::cast_unsigned)
}

fn outcome(socket: &Socket, fate: Fate) -> Outcome {
    let errno = socket.result.and_then(i32::checked_neg).filter(|&errno| errno > 0);
    let connects = socket.socket_type.is_none_or(|ty| CONNECTED_TYPES.contains(&ty));
    match (fate, socket.action) {
        (Fate::Answered(answer), _) => Outcome::Answered(answer.error),
        (Fate::Open, _) => Outcome::InProgress,
        (Fate::Closed, _) => Outcome::Aborted,
        (Fate::Immediate, SocketAction::Close) => {
            socket.end.and_then(|end| end.error).map_or(Outcome::Unknown, Outcome::Ended)
        }
        // A connect without an identity cannot be followed.
        (Fate::Immediate, SocketAction::Connect) if errno == Some(libc::EINPROGRESS) => {
            Outcome::InProgress
        }
        (Fate::Immediate, SocketAction::Connect | SocketAction::Accept) if connects => {
            match (socket.result, errno) {
                (None, _) => Outcome::Unknown,
                (Some(_), None) => Outcome::Answered(0),
                (Some(_), Some(libc::EAGAIN)) => Outcome::Unknown,
                (Some(_), Some(errno)) => Outcome::Answered(errno),
            }
        }
        (Fate::Immediate, _) => Outcome::Unknown,
    }
}

const fn ip(end: Option<&Endpoint>) -> Option<IpAddr> {
    match end {
        Some(Endpoint::Inet(address)) => Some(address.ip()),
        _ => None,
    }
}

const fn is_unspecified(end: &Endpoint) -> bool {
    match end {
        Endpoint::Inet(SocketAddr::V4(address)) => address.ip().is_unspecified(),
        Endpoint::Inet(SocketAddr::V6(address)) => address.ip().is_unspecified(),
        Endpoint::Unix(_) => false,
    }
}

fn inet(pool: &mut Pool, end: Option<&Endpoint>) -> Address {
    let Some(Endpoint::Inet(address)) = end else { return Address::NONE };
    let ip = match address.ip() {
        IpAddr::V4(v4) => pool.intern(Some(&v4.octets())),
        IpAddr::V6(v6) => pool.intern(Some(&v6.octets())),
    };
    Address { ip, port: address.port() }
}

/// The name that tells most: the peer's, or for bind and listen our own.
fn unix(pool: &mut Pool, socket: &Socket, own_end: bool) -> Text {
    let name = |end: &Option<Endpoint>| match end {
        Some(Endpoint::Unix(name)) => Some(name.clone()),
        _ => None,
    };
    let (first, second) = (name(&socket.remote), name(&socket.local));
    let (first, second) = if own_end { (second, first) } else { (first, second) };
    pool.intern(first.or(second).as_deref())
}
