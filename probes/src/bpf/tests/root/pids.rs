//! Pids that are used up and begin again, as on a host that has run for long.

use std::fs;
use std::io::{Read as _, Write as _};

use super::lineage::exec_true;
use super::{Watch, fork};
use crate::event::{Body, EventKind, ProcessKey};

const PID_MAX: &str = "/proc/sys/kernel/pid_max";
/// `RESERVED_PIDS` in kernel/pid.c: where pids begin again.
const AGAIN: u32 = 300;
/// Pids there are from there on, where we may choose.
const FEW: u32 = 10;
/// Pids that others may need while there are few.
const SPARE: u32 = 256;

fn pid_max() -> u32 {
    fs::read_to_string(PID_MAX).unwrap().trim().parse().unwrap()
}

/// Puts it back in the end.
struct Lowered(u32);

impl Lowered {
    fn to(value: u32) -> Self {
        let before = Self(pid_max());
        fs::write(PID_MAX, value.to_string()).unwrap();
        before
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        let _ = fs::write(PID_MAX, self.0.to_string());
    }
}

/// Gives the children of this thread a pid namespace of their own.
fn unshare_pids() {
    // SAFETY: a flag.
    let failed = unsafe { libc::unshare(libc::CLONE_NEWPID) };
    assert_eq!(failed, 0, "unshare: {}", std::io::Error::last_os_error());
}

/// Whether a pid namespace has a limit of its own, as from 6.14. Tried with one pid less.
fn limit_of_its_own() -> bool {
    let before = pid_max();
    let less = (before - 1).to_string();
    std::thread::spawn(move || {
        unshare_pids();
        fork(|| i32::from(fs::write(PID_MAX, &less).is_err()));
    })
    .join()
    .unwrap();
    let own = pid_max() == before;
    if !own {
        fs::write(PID_MAX, before.to_string()).unwrap();
    }
    own
}

/// Has a process fork `times` times, one child after the other; those with a pid from `AGAIN` on
/// execute `/bin/true`. Its pid, and the children's as it knows them.
fn fork_often(times: u32, limit: Option<u32>) -> (u32, Vec<u32>) {
    let (mut ours, mut theirs) = std::io::pipe().unwrap();
    // SAFETY: the child makes system calls only, and ends by _exit.
    let runner = unsafe { libc::fork() };
    if runner == 0 {
        if limit.is_some_and(|limit| fs::write(PID_MAX, limit.to_string()).is_err()) {
            // SAFETY: as below. Whoever asked misses the pids.
            unsafe { libc::_exit(1) };
        }
        for _ in 0..times {
            // SAFETY: likewise.
            unsafe {
                let pid = libc::fork();
                if pid == 0 {
                    let late = libc::getpid().unsigned_abs() >= AGAIN;
                    libc::_exit(if late { exec_true() } else { 0 });
                }
                libc::waitpid(pid, std::ptr::null_mut(), 0);
                let _ = theirs.write_all(&pid.to_ne_bytes());
            }
        }
        // SAFETY: ends the child without running what the parent registered.
        unsafe { libc::_exit(0) };
    }
    assert!(runner > 0, "fork: {}", std::io::Error::last_os_error());
    drop(theirs);
    let mut told = Vec::new();
    ours.read_to_end(&mut told).unwrap();
    // SAFETY: nobody asks for the status.
    assert_eq!(unsafe { libc::waitpid(runner, std::ptr::null_mut(), 0) }, runner);
    let pids = told.chunks_exact(4).map(|pid| u32::from_ne_bytes(pid.try_into().unwrap()));
    (runner.unsigned_abs(), pids.collect())
}

/// In a namespace with few pids; on a kernel without such, on the whole host, which is then left
/// as many pids as it needs.
fn wrap() -> (u32, Vec<u32>) {
    if limit_of_its_own() {
        let limit = AGAIN + FEW;
        let wrapped = std::thread::spawn(move || {
            unshare_pids();
            fork_often(limit + FEW, Some(limit))
        });
        return wrapped.join().unwrap();
    }
    let names = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let highest = names.filter_map(|name| name.parse::<u32>().ok()).max().unwrap();
    let limit = highest.max(AGAIN) + SPARE;
    let _lowered = Lowered::to(limit);
    fork_often(2 * (limit - AGAIN), None)
}

#[test]
fn pids_that_begin_again_are_other_processes_each_with_its_own_end() {
    let watch = Watch::shared();
    let (runner, pids) = wrap();
    assert!(pids.windows(2).any(|pair| pair[1] < pair[0]), "pids did not begin again: {pids:?}");
    let mut unique = pids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert!(unique.len() < pids.len(), "no pid was used twice: {pids:?}");

    let events = watch.events();
    let forks: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.body {
            Body::Fork(fork) if event.task.pid == runner => Some(fork),
            _ => None,
        })
        .collect();
    let seen: Vec<_> = forks.iter().map(|fork| fork.child_ns_pid.unwrap()).collect();
    assert_eq!(seen, pids);
    let keys = forks
        .iter()
        .map(|fork| ProcessKey { pid: fork.child_pid, start_ns: fork.child_start_ns.unwrap() });
    let keys: Vec<_> = keys.collect();
    let count = |key: ProcessKey, kind: EventKind| {
        let of = events.iter().filter(|event| event.kind() == kind);
        of.filter(|event| event.task.key() == Some(key)).count()
    };
    for (key, pid) in keys.iter().zip(&pids) {
        assert_eq!(keys.iter().filter(|other| *other == key).count(), 1, "{key:?}");
        let executed = usize::from(*pid >= AGAIN);
        assert_eq!(count(*key, EventKind::Exec), executed, "pid {pid}, {key:?}");
        assert_eq!(count(*key, EventKind::Exit), 1, "pid {pid}, {key:?}");
    }
}
