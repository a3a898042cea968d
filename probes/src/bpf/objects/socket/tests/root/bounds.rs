//! What the bounds cost is counted. Other processes of the host use the same maps meanwhile, so a
//! count is at least ours.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use super::super::super::SOCKET;
use super::outcomes::{answer_of, open_to};
use super::watch::{Recorder, everything, here, until};
use super::{V4, nobody};
use crate::bpf::collector::Collector;
use crate::bpf::health::Kept;
use crate::bpf::loader::{self, HostFacts};
use crate::bpf::probe::ObjectSpec;
use crate::event::{Body, RawEvent, SocketAction};
use crate::source::KindHealth;
use crate::wire;

const fn with_room(map_entries: &'static [(&'static str, u32)]) -> ObjectSpec {
    ObjectSpec {
        name: SOCKET.name,
        concern: SOCKET.concern,
        bytes: SOCKET.bytes,
        duties: SOCKET.duties,
        per_cpu_maps: SOCKET.per_cpu_maps,
        map_entries,
        switches: SOCKET.switches,
    }
}

/// Room for one of each.
static NARROW: ObjectSpec = with_room(&[("calls", 1), ("connections", 1), ("peers", 1)]);
/// Room for what the rest of the host does meanwhile.
static SMALL: ObjectSpec = with_room(&[("calls", 64), ("connections", 128), ("peers", 1)]);

pub struct Narrow {
    recorder: Arc<Recorder>,
    // Detached before the collector stops.
    pub kept: Kept,
    collector: Collector,
}

impl Narrow {
    pub fn start(spec: &'static ObjectSpec) -> Self {
        let recorder = Arc::new(Recorder::default());
        let host = HostFacts::read().unwrap();
        let mut config = everything();
        config.datagram_peers = false;
        let (ring, kept) = Kept::new(loader::load(spec, &config, &host).unwrap());
        let sink = Arc::clone(&recorder);
        let collector = Collector::start(vec![(spec.concern, ring)], sink).unwrap();
        Self { recorder, kept, collector }
    }

    pub fn health(&self) -> KindHealth {
        self.kept.health(self.collector.tally()).pop().unwrap()
    }

    fn sockets(&self, tid: u32, action: SocketAction) -> usize {
        let is = |event: &RawEvent| matches!(&event.body, Body::Socket(socket) if socket.action == action);
        self.events(|event| event.task.tid == tid && is(event)).len()
    }

    /// What happened up to now.
    pub fn events(&self, of: impl Fn(&RawEvent) -> bool) -> Vec<RawEvent> {
        assert!(self.collector.flush(Duration::from_secs(20)));
        self.recorder.events(of)
    }
}

#[test]
fn what_the_ring_had_no_room_for_is_counted_exactly() {
    const CALLS: u64 = 200;
    let host = HostFacts::read().unwrap();
    let mut config = everything();
    config.ring_bytes.socket = 4096;
    let (ring, mut kept) = Kept::new(loader::load(&SOCKET, &config, &host).unwrap());
    let room = ring.size() / size_of::<wire::Socket>() as u64;
    assert!(room < CALLS);
    // Nobody reads yet.
    let client = UdpSocket::bind(V4).unwrap();
    let address = client.local_addr().unwrap();
    for _ in 0..CALLS {
        client.connect(address).unwrap();
    }
    kept.detach();

    let recorder = Arc::new(Recorder::default());
    let sink = Arc::clone(&recorder);
    let collector = Collector::start(vec![(SOCKET.concern, ring)], sink).unwrap();
    assert!(collector.flush(Duration::from_secs(20)));
    let health = kept.health(collector.tally()).pop().unwrap();
    assert_eq!(health.produced, Some(health.received + health.lost_ring), "{health:?}");
    assert_eq!(health.received, recorder.events(|_| true).len() as u64);
    assert!(health.produced >= Some(CALLS), "{health:?}");
    assert!(health.received <= room, "{health:?}");
    assert_eq!((health.malformed, health.lost_missed), (0, 0), "{health:?}");
}

#[test]
fn a_call_that_could_not_be_remembered_is_counted() {
    const CALLS: u64 = 20;
    let narrow = Narrow::start(&NARROW);
    let listener = TcpListener::bind(V4).unwrap();
    let address = listener.local_addr().unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        send.send(here()).unwrap();
        drop(listener.accept().unwrap());
    });
    let tid = receive.recv().unwrap();
    until("the thread waits in accept", || {
        let call = std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).unwrap();
        call.starts_with(&format!("{} ", libc::SYS_accept4)).then_some(())
    });
    let before = narrow.health().lost_missed;
    let client = UdpSocket::bind(V4).unwrap();
    for _ in 0..CALLS {
        client.connect(address).unwrap();
    }
    let seen = narrow.sockets(here(), SocketAction::Connect) as u64;
    let lost = narrow.health().lost_missed - before;
    // Were the one place free for a moment, some would be seen; none is both unseen and uncounted.
    assert!(seen + lost >= CALLS, "{seen} seen, {lost} lost");
    assert!(lost > 0, "{seen} seen");
    drop(TcpStream::connect(address).unwrap());
    waiting.join().unwrap();
}

#[test]
fn nothing_is_remembered_of_what_is_over() {
    // Each way through leaves at least one entry more than there is room for, if it leaves one.
    const TIMES: usize = 150;
    let small = Narrow::start(&SMALL);
    let before = small.health().lost_missed;
    let listener = TcpListener::bind(V4).unwrap();
    let nobody = nobody();
    for _ in 0..TIMES {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener.accept().unwrap());
        drop(client);
        assert!(TcpStream::connect(nobody).is_err());
        drop(open_to(nobody));
        // Answered before it is closed: else there might never be anything to accept.
        let open = open_to(listener.local_addr().unwrap());
        assert_eq!(answer_of(&open), 0);
        drop(open);
        drop(listener.accept().unwrap());
    }
    assert_eq!(small.health().lost_missed, before);
    // All of them are over, each reported once: two connections have two ends each.
    until("connections end", || {
        let closed = small.sockets(here(), SocketAction::Close);
        assert!(closed <= 4 * TIMES, "{closed}");
        (closed == 4 * TIMES).then_some(())
    });
}

#[test]
fn a_connection_that_could_not_be_followed_is_counted() {
    const CONNECTIONS: usize = 10;
    let narrow = Narrow::start(&NARROW);
    let listener = TcpListener::bind(V4).unwrap();
    let before = narrow.health().lost_missed;
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| TcpStream::connect(listener.local_addr().unwrap()).unwrap())
        .collect();
    let lost = narrow.health().lost_missed - before;
    assert!(lost >= CONNECTIONS as u64 - 1, "{lost}");
    // The calls themselves are rows all the same.
    assert_eq!(narrow.sockets(here(), SocketAction::Connect), CONNECTIONS);
    drop(clients);
    drop(listener);
    assert!(narrow.sockets(here(), SocketAction::Close) <= 1);
}
