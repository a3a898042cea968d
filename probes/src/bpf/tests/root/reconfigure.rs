//! Another configuration while programs run.

use std::net::TcpListener;
use std::process::Command;

use super::{Watch, config, fork, run};
use crate::event::{Body, EventKind, SocketAction};

/// A child that changes its ids, in as many calls as `times`.
fn change(times: libc::c_long) -> u32 {
    fork(|| {
        for uid in 1..=times {
            // SAFETY: a call that takes a number.
            unsafe { libc::syscall(libc::SYS_setfsuid, uid) };
        }
        0
    })
    .0
}

fn setids(watch: &Watch, pid: u32) -> usize {
    watch.of(pid).iter().filter(|event| event.kind() == EventKind::Setid).count()
}

fn kinds(watch: &Watch) -> Vec<EventKind> {
    watch.running.health().iter().map(|health| health.kind).collect()
}

#[test]
fn a_kind_can_be_asked_for_and_given_up_while_others_go_on() {
    let watch = Watch::start();
    let alone = [EventKind::Exec, EventKind::Fork, EventKind::Exit];
    let mut with = config();
    with.kinds.push(EventKind::Setid);
    // More than one call, and twice: the kernel may skip a program while maps are worked on.
    for _ in 0..2 {
        assert_eq!(kinds(&watch), alone);
        assert_eq!(setids(&watch, change(50)), 0);
        watch.exec(run(&mut Command::new("/bin/true")).0);

        watch.running.reconfigure(&with).expect("the kernel takes more programs");
        assert_eq!(kinds(&watch), [&alone[..], &[EventKind::Setid]].concat());
        let health = watch.health(EventKind::Setid);
        assert_eq!((health.probes_attached, health.probes_failed), (16, 0), "{health:?}");
        let pid = change(50);
        let told = setids(&watch, pid);
        let missed = watch.health(EventKind::Setid).lost_missed;
        assert!(told > 0 && told as u64 + missed >= 50, "{told} told, {missed} missed");
        watch.exec(run(&mut Command::new("/bin/true")).0);

        watch.running.reconfigure(&config()).expect("nothing to be refused");
    }
    let health = watch.health(EventKind::Exec);
    assert_eq!((health.lost_ring, health.lost_missed, health.malformed), (0, 0, 0), "{health:?}");
}

#[test]
fn a_concern_can_be_asked_for_and_given_up_while_others_go_on() {
    let watch = Watch::start();
    let mut with = config();
    with.kinds.push(EventKind::Socket);
    let binds = || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let events = watch.events();
        let of = |event: &&crate::event::RawEvent| match &event.body {
            Body::Socket(socket) => {
                let local = format!("{:?}", socket.local);
                socket.action == SocketAction::Bind && local.contains(&format!(":{port}"))
            }
            _ => false,
        };
        events.iter().filter(of).count()
    };
    for _ in 0..2 {
        assert!(!kinds(&watch).contains(&EventKind::Socket));
        assert_eq!(binds(), 0);
        watch.running.reconfigure(&with).expect("the kernel takes more programs");
        let told: usize = (0..20).map(|_| binds()).sum();
        let health = watch.health(EventKind::Socket);
        assert!(told > 0 && told as u64 + health.lost_missed >= 20, "{told}: {health:?}");
        watch.exec(run(&mut Command::new("/bin/true")).0);
        watch.running.reconfigure(&config()).expect("nothing to be refused");
    }
}
