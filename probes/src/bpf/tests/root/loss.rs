//! What is lost is counted, to the last record.

use std::process::Command;

use super::{Watch, config, run};
use crate::event::EventKind;
use crate::source::RingBytes;

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
