//! Many execs at once: each is an event or a counted loss.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::connector::Reader;

#[test]
fn of_thirty_thousand_execs_each_is_an_event_or_a_counted_loss() {
    const EXECS: usize = 30_000;
    let _alone = audit_alone();
    let (running, kept) = start(&config(&[Concern::Process]));
    burst("/bin/true", "burst", EXECS);
    assert!(running.flush(DEADLINE));
    let (forks, execs, exits) = execs_of_children(&kept.all(), std::process::id());
    let lost = |kind| usize::try_from(health(running.as_ref(), kind).lost_ring).unwrap();
    let (lost_forks, lost_execs) = (lost(EventKind::Fork), lost(EventKind::Exec));
    println!(
        "{EXECS} execs: {forks} forks, {execs} execs, {exits} exits; \
         {lost_execs} execs and {lost_forks} of the connector's messages lost"
    );
    if lost_forks == 0 && lost_execs == 0 {
        assert_eq!((forks, execs, exits), (EXECS, EXECS, EXECS));
    } else {
        // Of which kind, and whose, the lost ones were nobody can tell.
        assert!(forks + lost_forks >= EXECS && exits + lost_forks >= EXECS);
        assert!(execs + lost_execs + lost_forks >= EXECS);
    }
}

/// Every exec on the host, by a listener of its own that has room for all.
struct Truth {
    stop: Arc<AtomicBool>,
    reading: Option<std::thread::JoinHandle<Vec<u32>>>,
}

impl Truth {
    fn listen() -> Self {
        let mut reader = Reader::open(64 << 20, u32::MAX).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let reading = std::thread::spawn(move || {
            let (mut arrived, mut pids) = (Vec::new(), Vec::new());
            loop {
                let last = stopped.load(Ordering::SeqCst);
                while !reader.drain(&mut arrived).unwrap() {}
                let execs = arrived.drain(..).map(|arrived| arrived.event);
                pids.extend(
                    execs.filter(|event| exec(event).is_some()).map(|event| event.task.pid),
                );
                if last {
                    assert_eq!(reader.counts().lost, 0, "the measure lost some itself");
                    return pids;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, reading: Some(reading) }
    }

    /// The processes that executed something, in order.
    fn told(mut self) -> Vec<u32> {
        self.stop.store(true, Ordering::SeqCst);
        self.reading.take().unwrap().join().unwrap()
    }
}

/// The execs between those of two processes.
fn between(pids: &[u32], (first, last): (u32, u32)) -> usize {
    let at = |pid| pids.iter().position(|&of| of == pid).unwrap();
    at(last) - at(first)
}

/// Runs one program, whose exec is seen. Its pid.
fn marked(kept: &Kept) -> u32 {
    let pid = spawn("/bin/true", &["mark"]);
    kept.of(pid, exec);
    pid
}

/// What came of execs of which the kernel had room for few records.
struct Overfull {
    happened: usize,
    told: usize,
    health: KindHealth,
    /// Execs of which only some records came.
    incomplete: u64,
}

fn overfill(connector: bool) -> Overfull {
    const EXECS: usize = 1_000;
    const ROUNDS: usize = 20;
    let _alone = audit_alone();
    let _back = PutBack::new();
    let truth = Truth::listen();
    let mut wanted = config(&[]);
    wanted.kinds = vec![EventKind::Exec];
    let mut source = AuditSource::look(&Host::read());
    source.connector = connector;
    let (running, kept) = testkit::start(Box::new(source), &wanted);
    let exec_health = || health(running.as_ref(), EventKind::Exec);
    let first = marked(&kept);
    // An administrator leaves the kernel room for a few records.
    let room = |backlog_limit| {
        let wanted = status::Status { backlog_limit, ..status::Status::default() };
        Control::open().unwrap().set(&wanted, status::mask::BACKLOG_LIMIT).unwrap();
    };
    room(8);
    let before = status().lost;
    for _ in 0..ROUNDS {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| burst("/bin/true", "burst", EXECS));
            }
        });
        assert!(running.flush(DEADLINE));
        if status().lost != before {
            break;
        }
    }
    assert_ne!(status().lost, before, "the kernel lost nothing");
    room(8192);
    let last = marked(&kept);
    assert!(running.flush(DEADLINE));
    let events = kept.all();
    let told = events.iter().filter(|event| exec(event).is_some()).map(|event| event.task.pid);
    let told = between(&told.collect::<Vec<_>>(), (first, last));
    let happened = between(&truth.told(), (first, last));
    let health = exec_health();
    println!("{happened} execs: {told} told, {} lost; {}", health.lost_ring, health.last_error);
    let incomplete = health
        .last_error
        .split(", ")
        .find_map(|words| words.strip_suffix(" incomplete events")?.parse().ok())
        .unwrap_or(0);
    Overfull { happened, told, health, incomplete }
}

/// Nothing tells that an exec has a record of capabilities, so one may be counted for each event of
/// which records are missing.
#[test]
fn what_the_kernel_has_no_room_for_is_counted_but_for_records_that_nothing_announces() {
    let Overfull { happened, told, health, incomplete } = overfill(false);
    let lost = usize::try_from(health.lost_ring).unwrap();
    assert!(told < happened && lost > 0);
    assert!(told + lost >= happened, "{told} + {lost} of {happened}");
    assert!(told + lost <= happened + usize::try_from(incomplete).unwrap());
}

#[test]
fn of_what_audit_loses_the_connector_makes_up_for_every_exec() {
    let Overfull { happened, told, health, .. } = overfill(true);
    let lost = usize::try_from(health.lost_ring).unwrap();
    assert!(health.last_error.contains("records lost in the kernel"), "{health:?}");
    assert!(told + lost >= happened, "{told} + {lost} of {happened}");
    if lost == 0 {
        assert_eq!(told, happened);
    }
}
