//! What is lost is counted, to the last record.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{DEADLINE, Kept, Watch, config, run};
use crate::bpf::collector::Collector;
use crate::bpf::loader::{self, HostFacts};
use crate::bpf::{health, objects};
use crate::event::{Concern, EventKind};
use crate::source::{RingBytes, Sink};

#[test]
fn what_is_produced_is_received() {
    let watch = Watch::start();
    for _ in 0..20 {
        run(&mut Command::new("/bin/true"));
    }
    let _ = watch.events();
    for kind in [EventKind::Exec, EventKind::Fork, EventKind::Exit] {
        let health = watch.health(kind);
        assert_eq!(health.tier, "tp_btf", "{health:?}");
        assert_eq!((health.probes_attached, health.probes_failed), (1, 0));
        assert_eq!(health.lost_ring, 0);
        assert_eq!(health.malformed, 0);
        assert_eq!(health.lost_missed, 0);
        assert!(health.received >= 20);
    }
    let ring = u64::from(RingBytes::default().process);
    assert_eq!(watch.health(EventKind::Exec).ring_bytes, Some(ring));
}

#[test]
fn our_own_doings_are_left_out_and_counted() {
    let mut config = config();
    config.own_pid = std::process::id();
    let watch = Watch::with(&config);
    let (pid, _) = run(&mut Command::new("/bin/true"));
    let events = watch.events();
    assert!(!events.iter().any(|event| event.task.pid == std::process::id()));
    // What our child does is not ours.
    assert_eq!(watch.exec(pid).0.task.parent_pid, Some(std::process::id()));
    assert!(watch.health(EventKind::Fork).filtered_kernel >= 1);
}

#[test]
fn an_overfilled_ring_loses_exactly_what_it_says() {
    const EXECS: u64 = 300;
    let mut config = config();
    config.ring_bytes.process = 1 << 16;
    let host = HostFacts::read().expect("the kernel has BTF");
    let lane =
        loader::load(&objects::process::PROCESS, &config, &host).expect("the kernel takes it");
    let (ring, mut lane) = health::Kept::new(lane);
    // Nobody reads meanwhile.
    for _ in 0..EXECS {
        run(&mut Command::new("/bin/true"));
    }
    lane.detach();

    let kept = Arc::new(Kept::default());
    let sink: Arc<dyn Sink> = Arc::<Kept>::clone(&kept);
    let collector =
        Collector::start(vec![(Concern::Process, ring)], sink).expect("a thread can be had");
    assert!(collector.flush(DEADLINE));
    let events = kept.0.lock();
    for health in lane.health(collector.tally()) {
        let produced = health.produced.expect("the programs count");
        assert!(produced >= EXECS, "{health:?}");
        assert!(health.lost_ring > 0, "{health:?}");
        assert_eq!(produced, health.received + health.lost_ring, "{health:?}");
        let given = events.iter().filter(|event| event.kind() == health.kind).count() as u64;
        assert_eq!(health.received, health.malformed + given, "{health:?}");
        assert_eq!(health.malformed, 0, "{health:?}");
    }
}

#[test]
fn an_event_is_seen_within_a_tenth_of_a_second_without_a_flush() {
    let watch = Watch::shared();
    // The best of several: this machine may have other things to do.
    let waits = (0..5).map(|_| {
        let (pid, _) = run(&mut Command::new("/bin/true"));
        let ended = Instant::now();
        let seen = || watch.kept.0.lock().iter().any(|event| event.task.pid == pid);
        while !seen() {
            assert!(ended.elapsed() < DEADLINE, "never seen");
            std::thread::yield_now();
        }
        ended.elapsed()
    });
    assert!(waits.min() < Some(Duration::from_millis(100)));
}
