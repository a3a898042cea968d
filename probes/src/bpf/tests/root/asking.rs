//! Health may be asked as often as one likes: it takes nothing from what it tells of.

use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::{Watch, config, run};
use crate::event::EventKind;
use crate::source::{SourceConfig, TierWish};

/// How often health is asked.
const TIMES: usize = 10_000;
/// Short, so that who asks is interrupted all the time, wherever in the kernel that is.
const PAUSE: Duration = Duration::from_micros(100);
/// Of so many rounds of the load, one executes something.
const EXECUTES: usize = 50;

/// Keeps the calling thread on one CPU, where all others come before it if it is to give way.
fn stay(gives_way: bool) {
    let mut first = rustix::thread::CpuSet::new();
    first.set(0);
    rustix::thread::sched_setaffinity(None, &first).expect("CPU 0 is online");
    if gives_way {
        // SAFETY: an all-zero sched_param is what this policy wants.
        let failed = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &std::mem::zeroed()) };
        assert_eq!(failed, 0);
    }
}

/// Where somebody is within a call that looks into a map, the kernel skips programs on tracepoints of
/// calls on that CPU. Who looks can be interrupted there only where the kernel is preemptible: that
/// this fails if health is read so was seen with `preempt=full`.
#[test]
fn health_asked_over_and_over_makes_the_kernel_skip_no_program() {
    let kinds = [EventKind::Exec, EventKind::Fork, EventKind::Exit];
    let kinds = [&kinds[..], &[EventKind::Setid, EventKind::Socket]].concat();
    let watch = Watch::with(&SourceConfig { kinds, tier: TierWish::Calls, ..config() });
    let done = AtomicBool::new(false);
    let rounds = thread::scope(|scope| {
        let load = scope.spawn(|| {
            stay(false);
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
            let own = socket.local_addr().expect("bound");
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                // SAFETY: a call that takes a number.
                unsafe { libc::syscall(libc::SYS_setfsuid, 0) };
                socket.connect(own).expect("it is there");
                if rounds % EXECUTES == 0 {
                    run(&mut Command::new("/bin/true"));
                }
                rounds += 1;
                thread::sleep(PAUSE);
            }
            rounds
        });
        scope.spawn(|| {
            // However this ends: the load is waited for.
            let _done = scopeguard::guard((), |()| done.store(true, Ordering::Relaxed));
            stay(true);
            (0..TIMES).for_each(|_| drop(watch.running.health()));
        });
        load.join().expect("the load goes on to the end")
    });
    assert!(rounds > 100, "{rounds} rounds are no load");
    for health in watch.running.health() {
        assert_eq!(health.lost_missed, 0, "{rounds} rounds meanwhile: {health:?}");
    }
}
