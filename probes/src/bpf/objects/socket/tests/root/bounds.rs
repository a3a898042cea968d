//! What the bounds cost is counted. Other processes of the host use the same maps meanwhile, so a
//! count is at least ours.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use super::super::super::SOCKET;
use super::V4;
use super::watch::{Recorder, everything, here, until};
use crate::bpf::collector::Collector;
use crate::bpf::health::Kept;
use crate::bpf::loader::{self, HostFacts};
use crate::bpf::probe::ObjectSpec;
use crate::event::{Body, RawEvent, SocketAction};
use crate::source::KindHealth;

/// Room for one of each.
static NARROW: ObjectSpec = ObjectSpec {
    name: SOCKET.name,
    concern: SOCKET.concern,
    bytes: SOCKET.bytes,
    duties: SOCKET.duties,
    per_cpu_maps: SOCKET.per_cpu_maps,
    map_entries: &[("calls", 1), ("connections", 1), ("peers", 1)],
    switches: SOCKET.switches,
};

struct Narrow {
    recorder: Arc<Recorder>,
    // Detached before the collector stops.
    kept: Kept,
    collector: Collector,
}

impl Narrow {
    fn start() -> Self {
        let recorder = Arc::new(Recorder::default());
        let host = HostFacts::read().unwrap();
        let mut config = everything();
        config.datagram_peers = false;
        let (ring, kept) = Kept::new(loader::load(&NARROW, &config, &host).unwrap());
        let sink = Arc::clone(&recorder);
        let collector = Collector::start(vec![(NARROW.concern, ring)], sink).unwrap();
        Self { recorder, kept, collector }
    }

    fn health(&self) -> KindHealth {
        self.kept.health(self.collector.tally()).pop().unwrap()
    }

    fn sockets(&self, tid: u32, action: SocketAction) -> usize {
        assert!(self.collector.flush(Duration::from_secs(20)));
        let is = |event: &RawEvent| matches!(&event.body, Body::Socket(socket) if socket.action == action);
        self.recorder.events(|event| event.task.tid == tid && is(event)).len()
    }
}

#[test]
fn a_call_that_could_not_be_remembered_is_counted() {
    const CALLS: u64 = 20;
    let narrow = Narrow::start();
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
fn a_connection_that_could_not_be_followed_is_counted() {
    const CONNECTIONS: usize = 10;
    let narrow = Narrow::start();
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
