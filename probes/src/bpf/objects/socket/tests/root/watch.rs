//! A source at work and what it delivered, for tests to look through.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::bpf::BpfSource;
use crate::bpf::loader::HostFacts;
use crate::bpf::probe::KernelFacts as _;
use crate::event::{
    Body, Connection, Endpoint, EventKind, RawEvent, Socket, SocketAction, SocketId,
};
use crate::source::{
    KindHealth, RingBytes, Running, Sink, Source as _, SourceConfig, StartError, TierWish,
    WatchNothing,
};

/// No answer takes this long on a machine that is not stuck.
const DEADLINE: Duration = Duration::from_secs(20);

/// Keeps whatever comes, in its order.
#[derive(Default)]
pub struct Recorder(Mutex<Vec<RawEvent>>);

impl Sink for Recorder {
    fn accept(&self, batch: &mut Vec<RawEvent>) {
        self.0.lock().append(batch);
    }
}

impl Recorder {
    pub fn events(&self, of: impl Fn(&RawEvent) -> bool) -> Vec<RawEvent> {
        self.0.lock().iter().filter(|event| of(event)).cloned().collect()
    }
}

pub struct Watch {
    running: Box<dyn Running>,
    recorder: Arc<Recorder>,
}

/// Names the tier that these tests are run in: `1` or `2`. Without it, in the best the kernel takes.
const TIER: &str = "OSQUERY_EBPF_TEST_TIER";

/// Which tier is asked for.
pub fn tier() -> TierWish {
    match std::env::var(TIER).as_deref() {
        Ok("1") => TierWish::Functions,
        Ok("2") => TierWish::Calls,
        Ok(other) => panic!("{TIER} is {other:?}, not 1 or 2"),
        Err(_) => TierWish::Auto,
    }
}

/// Whether calls are seen by the kernel's functions, as health has it.
pub fn by_functions() -> bool {
    match shared().health().tier {
        "fentry" => true,
        "tracepoint" => false,
        other => panic!("tier {other:?}"),
    }
}

/// Whether this kernel attaches programs to functions.
pub fn trampolines() -> bool {
    HostFacts::read().unwrap().trampolines().is_ok()
}

/// All there is to ask for of sockets, and nothing left out.
pub fn everything() -> SourceConfig {
    SourceConfig {
        kinds: vec![EventKind::Socket],
        paths: Arc::new(WatchNothing),
        file_access: false,
        unix_sockets: true,
        datagram_peers: true,
        tier: tier(),
        ring_bytes: RingBytes::default(),
        own_pid: 0,
        exclude: Default::default(),
    }
}

/// The one that most tests share: loading is the dearest part of a test.
pub fn shared() -> &'static Watch {
    static SHARED: OnceLock<Watch> = OnceLock::new();
    SHARED.get_or_init(|| Watch::start(|_| ()))
}

impl Watch {
    pub fn start(change: impl FnOnce(&mut SourceConfig)) -> Self {
        let mut config = everything();
        change(&mut config);
        let recorder = Arc::new(Recorder::default());
        let sink = Arc::clone(&recorder);
        let running = Box::new(BpfSource::new().unwrap()).start(&config, sink).unwrap();
        Self { running, recorder }
    }

    pub fn reconfigure(&self, change: impl FnOnce(&mut SourceConfig)) -> Result<(), StartError> {
        let mut config = everything();
        change(&mut config);
        self.running.reconfigure(&config)
    }

    pub fn health(&self) -> KindHealth {
        let health = self.running.health();
        health.into_iter().find(|one| one.kind == EventKind::Socket).unwrap()
    }

    /// What happened up to now.
    pub fn events(&self, of: impl Fn(&RawEvent) -> bool) -> Vec<RawEvent> {
        assert!(self.running.flush(DEADLINE), "events are not delivered");
        self.recorder.events(of)
    }

    /// What a thread did with sockets up to now.
    pub fn sockets(&self, tid: u32, action: SocketAction) -> Vec<Socket> {
        let events = self.events(|event| event.task.tid == tid);
        let sockets = events.into_iter().filter_map(|event| match event.body {
            Body::Socket(socket) => Some(*socket),
            _ => None,
        });
        sockets.filter(|socket| socket.action == action).collect()
    }

    /// The only thing of its kind that a thread did up to now.
    pub fn one(&self, tid: u32, action: SocketAction) -> (RawEvent, Socket) {
        let found = self.events(|event| {
            event.task.tid == tid
                && matches!(&event.body, Body::Socket(socket) if socket.action == action)
        });
        match <[RawEvent; 1]>::try_from(found) {
            Ok([event]) => {
                let Body::Socket(socket) = event.body.clone() else { panic!("{event:?}") };
                (event, *socket)
            }
            Err(found) => panic!("one {} expected: {found:#?}", action.as_str()),
        }
    }

    /// The end of a thread's only connection that ended; it may take a moment.
    pub fn close(&self, tid: u32) -> Socket {
        until("a connection ends", || {
            let mut found = self.sockets(tid, SocketAction::Close);
            assert!(found.len() <= 1, "{found:#?}");
            found.pop()
        })
    }

    /// What became of a socket since a time; another one at the same address had its id before.
    pub fn connections(&self, id: SocketId, since: u64) -> Vec<Connection> {
        let is = |event: &RawEvent| {
            let of = matches!(&event.body, Body::Connection(of) if of.id == id);
            of && event.time_ns >= since
        };
        let events = self.events(is);
        let found = events.into_iter().filter_map(|event| match event.body {
            Body::Connection(connection) => Some(*connection),
            _ => None,
        });
        found.collect()
    }

    /// The only answer to a connect of a thread, which comes after the connect itself.
    pub fn answer(&self, tid: u32, socket: &Socket) -> Connection {
        let id = socket.id.unwrap();
        let of = |event: &RawEvent| match &event.body {
            Body::Socket(socket) => socket.id == Some(id),
            Body::Connection(connection) => connection.id == id,
            _ => false,
        };
        let in_vain = || format!("a connect is answered; {:#?}", self.health());
        until_or(in_vain, || {
            let events = self.events(|event| event.task.tid == tid && of(event));
            let answers: Vec<_> = events
                .iter()
                .enumerate()
                .filter_map(|(at, event)| match &event.body {
                    Body::Connection(connection) => Some((at, **connection)),
                    _ => None,
                })
                .collect();
            let (at, answer) = *answers.first()?;
            let asked = |event: &RawEvent| matches!(&event.body, Body::Socket(of) if of.action == SocketAction::Connect);
            assert_eq!(answers.len(), 1, "{events:#?}");
            assert!(events.iter().take(at).any(asked), "{events:#?}");
            Some(answer)
        })
    }
}

/// Asks until there is an answer.
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_or(|| what.to_owned(), ask)
}

/// The same; what to say if there is none is asked for then.
fn until_or<T>(in_vain: impl Fn() -> String, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "in vain: {}", in_vain());
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// This thread's id.
pub fn here() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

pub fn inet(address: SocketAddr) -> Option<Endpoint> {
    Some(Endpoint::Inet(address))
}
