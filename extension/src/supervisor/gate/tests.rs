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

/// The gate of the source that goes, and of the one that comes, for one kind of event.
struct Both {
    arrived: Arc<Arrived>,
    goes: Arc<Gate>,
    comes: Arc<Gate>,
    kind: EventKind,
}

impl Both {
    /// From when the one that goes remembers what it gives.
    fn of(kind: EventKind) -> Self {
        let arrived = Arc::<Arrived>::default();
        let gate = || Gate::new(Arc::<Arrived>::clone(&arrived));
        let (goes, comes) = (gate(), gate());
        goes.open(kind);
        goes.remember();
        comes.wait();
        comes.open(kind);
        Self { arrived, goes, comes, kind }
    }

    fn tell(&self, [old, new]: [RawEvent; 2]) {
        self.goes.accept(&mut vec![old]);
        self.comes.accept(&mut vec![new]);
    }

    fn shut(&self) -> Given {
        self.goes.shut(self.kind);
        self.goes.given()
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
    /// Some before the new source sees anything, some while both do, some when the old one is shut, and
    /// some when it is decided what waited.
    #[test]
    fn whatever_the_clocks_say_each_event_passes_once(
        events in prop::collection::vec((-100..100_i64, -9..9_i64, -9..9_i64), 1..300),
        mut steps in prop::array::uniform3(0..300_usize),
    ) {
        steps.sort_unstable();
        let [seen, shut, decided] = steps;
        let both = Both::of(EventKind::Exec);
        let mut given = None;
        let mut waits = true;
        let mut times = events;
        times.sort_unstable();
        for (index, (at, old, new)) in times.iter().enumerate() {
            if index >= shut {
                given.get_or_insert_with(|| both.shut());
            }
            if index >= decided && std::mem::take(&mut waits) {
                both.comes.decide(given.take().unwrap_or_default());
            }
            let pid = u32::try_from(index).unwrap();
            let [old, new] = execs(pid, [at + old, at + new].map(from_the_moment));
            both.goes.accept(&mut vec![old]);
            if index >= seen {
                both.comes.accept(&mut vec![new]);
            }
        }
        if waits {
            both.comes.decide(given.unwrap_or_else(|| both.shut()));
        }
        let arrived: Vec<usize> = (0..).map(|pid| both.arrived.of(pid)).take(times.len()).collect();
        prop_assert_eq!(arrived, vec![1; times.len()]);
    }

    #[test]
    fn where_clocks_agree_what_nothing_tells_apart_passes_as_often_as_it_happened(
        mut times in prop::collection::vec(-100..100_i64, 1..300),
        seen in 0..300_usize,
        shut in -100..100_i64,
    ) {
        times.sort_unstable();
        let both = Both::of(EventKind::Exec);
        let mut given = None;
        // Long enough for what only the old one saw to be far from what only the new one does.
        let far = i64::try_from(2 * DIFFER.as_millis()).unwrap();
        let shut = shut.max(times.get(seen).copied().unwrap_or(i64::MAX).saturating_add(far));
        for (index, at) in times.iter().enumerate() {
            if *at >= shut {
                given.get_or_insert_with(|| both.shut());
            }
            let [old, new] = execs(1, [from_the_moment(*at); 2]);
            both.goes.accept(&mut vec![old]);
            if index >= seen {
                both.comes.accept(&mut vec![new]);
            }
        }
        both.comes.decide(given.unwrap_or_else(|| both.shut()));
        prop_assert_eq!(both.arrived.of(1), times.len());
    }
}

#[test]
fn what_comes_while_it_waits_keeps_its_order() {
    /// Keeps the pids in order.
    #[derive(Default)]
    struct InOrder(Mutex<Vec<u32>>);

    impl Sink for InOrder {
        fn accept(&self, batch: &mut Vec<RawEvent>) {
            self.0.lock().extend(batch.drain(..).map(|event| event.task.pid));
        }
    }

    let order = Arc::<InOrder>::default();
    let comes = Gate::new(Arc::<InOrder>::clone(&order));
    comes.wait();
    comes.open(EventKind::Exec);
    comes.open(EventKind::Exit);
    let exec = |pid| execs(pid, [AT_NS; 2])[1].clone();
    comes.accept(&mut vec![exec(1)]);
    comes.accept(&mut vec![event(SourceKind::Bpf, 2, AT_NS, Body::Exit(Exit::default()))]);
    comes.decide(Given::default());
    comes.accept(&mut vec![exec(3)]);
    assert_eq!(*order.0.lock(), [1, 2, 3]);
}

#[test]
fn kinds_that_were_not_opened_do_not_pass() {
    let both = Both::of(EventKind::Exec);
    let exit = || event(SourceKind::Bpf, 1, AT_NS, Body::Exit(Exit::default()));
    both.comes.accept(&mut vec![exit()]);
    both.comes.decide(both.shut());
    both.comes.accept(&mut vec![exit()]);
    assert_eq!(both.arrived.of(1), 0);
    both.comes.open(EventKind::Exit);
    both.comes.accept(&mut vec![exit()]);
    assert_eq!(both.arrived.of(1), 1);
}

#[test]
fn what_does_not_wait_any_more_is_told_rather_than_not() {
    let both = Both::of(EventKind::Exec);
    let most = u32::try_from(MOST).unwrap();
    (0..=most).for_each(|pid| both.tell(execs(pid, [AT_NS; 2])));
    both.comes.decide(both.shut());
    assert_eq!((both.arrived.of(0), both.arrived.of(most - 1), both.arrived.of(most)), (1, 1, 2));
}

fn socket(action: SocketAction) -> Socket {
    Socket {
        action,
        syscall: None,
        fd: None,
        id: None,
        family: None,
        socket_type: None,
        protocol: None,
        local: None,
        remote: None,
        result: None,
        call_ns: None,
        end: None,
    }
}

#[test]
fn a_call_that_waited_is_known_by_when_it_began() {
    const MINUTE_NS: u64 = 60_000_000_000;
    let both = Both::of(EventKind::Socket);
    let accept = |source, time_ns, call_ns| {
        let socket = Socket { call_ns, ..socket(SocketAction::Accept) };
        event(source, 1, time_ns, Body::Socket(Box::new(socket)))
    };
    let by_bpf = accept(SourceKind::Bpf, AT_NS + MINUTE_NS, Some(MINUTE_NS));
    both.tell([by_bpf, accept(SourceKind::Audit, AT_NS, None)]);
    both.comes.decide(both.shut());
    assert_eq!(both.arrived.of(1), 1);
}

#[test]
fn connects_to_different_peers_do_not_stand_for_each_other() {
    let both = Both::of(EventKind::Socket);
    let connect = |source, time_ns, port| {
        let remote = Endpoint::Inet(([10, 0, 0, 1], port).into());
        let socket = Socket { remote: Some(remote), ..socket(SocketAction::Connect) };
        event(source, 1, time_ns, Body::Socket(Box::new(socket)))
    };
    // Each seen by one of them only.
    both.goes.accept(&mut vec![connect(SourceKind::Audit, AT_NS - 1, 80)]);
    both.comes.accept(&mut vec![connect(SourceKind::Bpf, AT_NS - 1, 443)]);
    both.comes.decide(both.shut());
    assert_eq!(both.arrived.of(1), 2);
}

#[test]
fn what_is_kept_back_was_not_received() {
    let both = Both::of(EventKind::Exec);
    both.tell(execs(1, [AT_NS; 2]));
    let given = both.shut();
    both.tell(execs(2, [AT_NS; 2]));
    both.comes.decide(given);
    let received = |gate: &Gate| {
        let mut health = KindHealth { received: 2, ..KindHealth::new(EventKind::Exec, "fake") };
        gate.correct(&mut health);
        health.received
    };
    assert_eq!((received(&both.goes), received(&both.comes)), (1, 1));
    both.comes.count_anew(EventKind::Exec);
    assert_eq!(received(&both.comes), 2);
}
