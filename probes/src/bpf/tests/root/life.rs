//! Forks, exits, and threads that do either.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::ptr;

use super::{Watch, fork, run};
use crate::event::{Body, EventKind, Fork};

/// The fork that made `pid`, and the event's time and task.
pub fn fork_of(watch: &Watch, pid: u32) -> (crate::event::RawEvent, Fork) {
    let forks = watch.events().into_iter().filter_map(|event| match event.body.clone() {
        Body::Fork(fork) if fork.child_pid == pid => Some((event, fork)),
        _ => None,
    });
    let mut forks: Vec<_> = forks.collect();
    assert_eq!(forks.len(), 1, "{forks:#?}");
    forks.remove(0)
}

#[test]
fn fork_exec_and_exit_of_a_process_come_in_this_order() {
    let watch = Watch::shared();
    let (pid, _) = run(&mut Command::new("/bin/true"));
    let (forked, fork) = fork_of(watch, pid);
    let (executed, _) = watch.exec(pid);
    let (exited, exit) = watch.exit(pid);
    assert!(forked.time_ns < executed.time_ns && executed.time_ns < exited.time_ns);
    assert_eq!(forked.task.pid, std::process::id());
    assert_eq!(fork.child_start_ns, executed.task.start_ns);
    assert_eq!(executed.task.start_ns, exited.task.start_ns);
    assert_eq!((exit.code, exit.signal, exit.core_dumped), (Some(0), None, Some(false)));

    let order: Vec<_> = watch
        .events()
        .into_iter()
        .filter(|event| {
            event.task.pid == pid
                || matches!(&event.body, Body::Fork(fork) if fork.child_pid == pid)
        })
        .map(|event| event.kind())
        .collect();
    assert_eq!(order, [EventKind::Fork, EventKind::Exec, EventKind::Exit]);
}

#[test]
fn times_are_on_the_boot_clock() {
    let watch = Watch::shared();
    let before = crate::clock::boot_now_ns();
    let (pid, _) = run(&mut Command::new("/bin/true"));
    let after = crate::clock::boot_now_ns();
    let (event, _) = watch.exec(pid);
    assert!((before..=after).contains(&event.time_ns));
}

#[test]
fn a_fork_says_which_call_made_it() {
    let watch = Watch::shared();
    // SAFETY: the child of the raw call ends at once.
    let raw = |number: libc::c_long, first: libc::c_long, second: libc::c_long| unsafe {
        let pid = libc::syscall(number, first, second, 0, 0, 0);
        if pid == 0 {
            libc::_exit(0);
        }
        libc::waitpid(pid as i32, ptr::null_mut(), 0);
        u32::try_from(pid).expect("a pid")
    };
    let by_clone = raw(libc::SYS_clone, libc::SIGCHLD.into(), 0);
    let mut args = [0u64; 11];
    args[4] = libc::SIGCHLD as u64;
    let by_clone3 = raw(libc::SYS_clone3, args.as_ptr() as libc::c_long, size_of_val(&args) as _);
    assert_eq!(fork_of(watch, by_clone).1.syscall, Some("clone"));
    assert_eq!(fork_of(watch, by_clone3).1.syscall, Some("clone3"));
    #[cfg(target_arch = "x86_64")]
    {
        let by_fork = raw(libc::SYS_fork, 0, 0);
        assert_eq!(fork_of(watch, by_fork).1.syscall, Some("fork"));
    }
}

#[test]
fn a_thread_is_no_fork_and_its_end_no_exit() {
    let watch = Watch::shared();
    let own = std::process::id();
    let tid = std::thread::spawn(rustix::thread::gettid).join().expect("the thread ends");
    let tid = tid.as_raw_nonzero().get().unsigned_abs();
    let events = watch.events();
    let forked =
        events.iter().any(|one| matches!(&one.body, Body::Fork(fork) if fork.child_pid == tid));
    assert!(!forked);
    assert!(!events.iter().any(|one| one.kind() == EventKind::Exit && one.task.pid == own));
}

#[test]
fn an_exit_code_is_told_from_a_signal() {
    let watch = Watch::shared();
    let (pid, status) = run(Command::new("/bin/sh").args(["-c", "exit 42"]));
    assert_eq!(status.code(), Some(42));
    let (_, exit) = watch.exit(pid);
    assert_eq!((exit.code, exit.signal, exit.core_dumped), (Some(42), None, Some(false)));

    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let script = format!("kill -{signal} $$");
        let (pid, status) = run(Command::new("/bin/sh").args(["-c", &script]));
        assert_eq!(status.signal(), Some(signal));
        let (_, exit) = watch.exit(pid);
        assert_eq!((exit.code, exit.signal), (None, Some(signal)));
        assert_eq!(exit.core_dumped, Some(status.core_dumped()));
    }
}

/// Starts a bare thread in a child of `fork`, where no library may be used to make one.
fn start_thread(entry: extern "C" fn(*mut libc::c_void) -> i32) -> i32 {
    const STACK: usize = 1 << 16;
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM;
    // SAFETY: a fresh stack, used by this thread alone and never unmapped.
    unsafe {
        let stack = libc::mmap(
            ptr::null_mut(),
            STACK,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        libc::clone(entry, stack.byte_add(STACK), flags, ptr::null_mut())
    }
}

extern "C" fn exec_true(_: *mut libc::c_void) -> i32 {
    super::lineage::exec_true()
}

/// In a child of `fork`: executes `/bin/true` in a thread that is not the leader.
pub fn exec_by_a_thread() -> ! {
    start_thread(exec_true);
    loop {
        // SAFETY: waits to be replaced.
        unsafe { libc::pause() };
    }
}

#[test]
fn an_exec_by_another_thread_is_an_exec_of_the_process() {
    let watch = Watch::shared();
    let (pid, status) = fork(|| exec_by_a_thread());
    assert_eq!(status.code(), Some(0));
    let (event, exec) = watch.exec(pid);
    assert_eq!((event.task.pid, event.task.tid), (pid, pid));
    assert_eq!(exec.args.bytes.as_deref(), Some(b"/bin/true\0".as_slice()));
    // The threads that the exec ended are no exits, the process's own is one.
    let (exited, exit) = watch.exit(pid);
    assert_eq!(exit.code, Some(0));
    assert!(exited.time_ns > event.time_ns);
    // It is the same process before and after.
    assert_eq!(event.task.start_ns, fork_of(watch, pid).1.child_start_ns);
}

extern "C" fn outlive_the_leader(_: *mut libc::c_void) -> i32 {
    let wait = libc::timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    // SAFETY: plain system calls. This ends the thread only, by then the last.
    unsafe {
        libc::nanosleep(&raw const wait, ptr::null_mut());
        libc::syscall(libc::SYS_exit, 9);
    }
    0
}

/// In a child of `fork`: ends the leader, and lets another thread go on for a while.
pub fn leave_to_a_thread() -> i32 {
    start_thread(outlive_the_leader);
    // SAFETY: ends this thread only.
    unsafe { libc::syscall(libc::SYS_exit, 5) };
    0
}

#[test]
fn a_process_whose_leader_goes_first_ends_with_its_last_thread() {
    let watch = Watch::shared();
    let before = crate::clock::boot_now_ns();
    let (pid, status) = fork(leave_to_a_thread);
    // Whose code counts differs between kernels: the leader's, or from 5.18 that of the last thread.
    assert!([Some(5), Some(9)].contains(&status.code()));
    let (event, exit) = watch.exit(pid);
    assert_eq!(exit.code, status.code());
    assert!(event.time_ns > before + 50_000_000, "reported with the leader");
    assert_eq!(event.task.pid, pid);
    assert_ne!(event.task.tid, pid, "the last thread is not the leader");
    assert_eq!(event.task.start_ns, fork_of(watch, pid).1.child_start_ns);
}
