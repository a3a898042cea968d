use std::collections::BTreeMap;

use osquery_ebpf_probes::event::{
    Body, Endpoint, Exec, Exit, Socket, SocketAction, SourceKind, Task,
};
use proptest::prelude::*;

use super::*;

/// The moment of handing over.
const AT_NS: u64 = 10_000_000_000;

/// Counts what arrives, by the pid and whatever else tells one from another.
#[derive(Default)]
struct Arrived(Mutex<BTreeMap<(u32, SourceKind), usize>>);

impl Arrived {
    fn of(&self, pid: u32) -> usize {
        let all = self.0.lock();
        all.iter().filter(|((of, _), _)| *of == pid).map(|(_, count)| count).sum()
    }
}

impl Sink for Arrived {
    fn accept(&self, batch: &mut Vec<RawEvent>) {
        for event in batch.drain(..) {
            *self.0.lock().entry((event.task.pid, event.source)).or_default() += 1;
        }
    }
}

/// The gate of the source that goes, and of the one that comes.
struct Both {
    arrived: Arc<Arrived>,
    goes: Arc<Gate>,
    comes: Arc<Gate>,
}

impl Both {
    fn before(kind: EventKind) -> Self {
        let arrived = Arc::<Arrived>::default();
        let sink = || Arc::<Arrived>::clone(&arrived) as Arc<dyn Sink>;
        let (goes, comes) = (Gate::new(sink(), |_| false), Gate::new(sink(), |of| of == kind));
        comes.wait();
        comes.begin(kind, AT_NS);
        goes.end(kind, AT_NS);
        Self { arrived, goes, comes }
    }

    fn tell(&self, [old, new]: [RawEvent; 2]) {
        self.goes.accept(&mut vec![old]);
        self.comes.accept(&mut vec![new]);
    }

    fn decide(&self) {
        self.comes.decide(self.goes.given());
    }
}

fn event(source: SourceKind, pid: u32, time_ns: u64, body: Body) -> RawEvent {
    RawEvent { time_ns, source, task: Task { pid, ..Task::default() }, body }
}

/// One execution, as both see it.
fn execs(pid: u32, times_ns: [u64; 2]) -> [RawEvent; 2] {
    let exec = |source, time_ns| event(source, pid, time_ns, Body::Exec(Box::<Exec>::default()));
    [exec(SourceKind::Audit, times_ns[0]), exec(SourceKind::Bpf, times_ns[1])]
}

fn from_the_moment(ms: i64) -> u64 {
    AT_NS.saturating_add_signed(ms * 1_000_000)
}

proptest! {
    #[test]
    fn whatever_the_clocks_say_each_event_passes_once(
        events in prop::collection::vec((-100..100_i64, -9..9_i64, -9..9_i64), 1..300)
    ) {
        let both = Both::before(EventKind::Exec);
        for (pid, (at, old, new)) in (0..).zip(&events) {
            both.tell(execs(pid, [at + old, at + new].map(from_the_moment)));
        }
        both.decide();
        let arrived: Vec<usize> = (0..).map(|pid| both.arrived.of(pid)).take(events.len()).collect();
        prop_assert_eq!(arrived, vec![1; events.len()]);
    }

    #[test]
    fn where_clocks_agree_what_nothing_tells_apart_passes_as_often_as_it_happened(
        mut times in prop::collection::vec(-100..100_i64, 1..300)
    ) {
        times.sort_unstable();
        let both = Both::before(EventKind::Exec);
        times.iter().for_each(|at| both.tell(execs(1, [from_the_moment(*at); 2])));
        both.decide();
        prop_assert_eq!(both.arrived.of(1), times.len());
    }
}

#[test]
fn far_from_the_moment_time_alone_decides() {
    let both = Both::before(EventKind::Exec);
    let far = 4 * DIFFER_NS;
    both.tell(execs(1, [AT_NS - far; 2]));
    both.tell(execs(2, [AT_NS + far; 2]));
    let arrived = both.arrived.0.lock().clone();
    let expected = [((1, SourceKind::Audit), 1), ((2, SourceKind::Bpf), 1)];
    assert_eq!(arrived, BTreeMap::from(expected), "before anything was decided");
}

#[test]
fn a_kind_that_is_not_handed_over_passes_all_the_while() {
    let both = Both::before(EventKind::Exec);
    let exit = |pid| event(SourceKind::Bpf, pid, AT_NS, Body::Exit(Exit::default()));
    both.goes.accept(&mut vec![exit(1)]);
    both.comes.accept(&mut vec![exit(2)]);
    assert_eq!((both.arrived.of(1), both.arrived.of(2)), (1, 1));
}

#[test]
fn connects_to_different_peers_do_not_stand_for_each_other() {
    let both = Both::before(EventKind::Socket);
    let connect = |source, time_ns, port| {
        let remote = Endpoint::Inet(([10, 0, 0, 1], port).into());
        let socket = Socket {
            action: SocketAction::Connect,
            remote: Some(remote),
            syscall: None,
            fd: None,
            id: None,
            family: None,
            socket_type: None,
            protocol: None,
            local: None,
            result: None,
            call_ns: None,
            end: None,
        };
        event(source, 1, time_ns, Body::Socket(Box::new(socket)))
    };
    // Each seen by one of them only.
    both.goes.accept(&mut vec![connect(SourceKind::Audit, AT_NS - 1, 80)]);
    both.comes.accept(&mut vec![connect(SourceKind::Bpf, AT_NS - 1, 443)]);
    both.decide();
    assert_eq!(both.arrived.of(1), 2);
}

#[test]
fn what_is_kept_back_was_not_received() {
    let both = Both::before(EventKind::Exec);
    both.tell(execs(1, [AT_NS - 1; 2]));
    both.tell(execs(1, [AT_NS + 4 * DIFFER_NS; 2]));
    both.decide();
    let received = |gate: &Gate| {
        let mut health = KindHealth { received: 2, ..KindHealth::new(EventKind::Exec, "fake") };
        gate.correct(&mut health);
        health.received
    };
    assert_eq!((received(&both.goes), received(&both.comes)), (1, 1));
}
