//! Processes that come about, or end up, in ways of which a pid alone would tell the wrong story.

use std::ptr;

use super::life::fork_of;
use super::{Watch, fork};
use crate::event::{Body, EventKind, RawEvent};

/// Executes `/bin/true`; between fork and exec nothing but system calls may be made.
pub fn exec_true() -> i32 {
    let argv = [c"/bin/true".as_ptr(), ptr::null()];
    // SAFETY: NUL-ended strings that outlive the call.
    unsafe { libc::execve(argv[0], argv.as_ptr(), [ptr::null()].as_ptr()) };
    127
}

fn wait_for(pid: i32) {
    // SAFETY: no status is asked for.
    assert_eq!(unsafe { libc::waitpid(pid, ptr::null_mut(), 0) }, pid);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_vfork_that_executes_is_told_from_a_fork() {
    let watch = Watch::shared();
    let argv = [c"/bin/true".as_ptr(), ptr::null()];
    let envp = [ptr::null::<libc::c_char>()];
    let pid: i64;
    // SAFETY: the child shares our memory and stack until it executes, and touches neither; the
    // parent waits for that within the call.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov eax, {execve}",
            "syscall",
            "mov edi, 127",
            "mov eax, {exit}",
            "syscall",
            "2:",
            execve = const libc::SYS_execve,
            exit = const libc::SYS_exit,
            inout("rax") libc::SYS_vfork => pid,
            in("rdi") argv[0],
            in("rsi") argv.as_ptr(),
            in("rdx") envp.as_ptr(),
            out("rcx") _, out("r11") _,
        );
    }
    let pid = i32::try_from(pid).expect("a pid");
    wait_for(pid);
    let pid = pid.unsigned_abs();
    let (forked, fork) = fork_of(watch, pid);
    assert_eq!((forked.task.pid, fork.syscall), (std::process::id(), Some("vfork")));
    let (executed, exec) = watch.exec(pid);
    assert_eq!(executed.task.start_ns, fork.child_start_ns);
    assert_eq!(exec.raw_path.as_deref(), Some(b"/bin/true".as_slice()));
    assert_eq!(watch.exit(pid).1.code, Some(0));
}

#[test]
fn an_orphan_keeps_who_made_it_and_gets_who_has_it_now() {
    let watch = Watch::shared();
    // Orphans come to us, so that who has them is known and they can be waited for.
    // SAFETY: numbers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
    let mut pipe = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    let (middle, status) = fork(|| {
        // SAFETY: the children make system calls only.
        unsafe {
            let own = libc::getpid();
            let pid = libc::fork();
            if pid == 0 {
                while libc::getppid() == own {
                    libc::sched_yield();
                }
                libc::_exit(exec_true());
            }
            libc::write(pipe[1], (&raw const pid).cast(), size_of_val(&pid));
        }
        0
    });
    assert_eq!(status.code(), Some(0));
    let mut orphan = 0i32;
    // SAFETY: an int to read into; the descriptors are ours.
    unsafe {
        let read = libc::read(pipe[0], (&raw mut orphan).cast(), size_of_val(&orphan));
        assert_eq!(read, 4);
        libc::close(pipe[0]);
        libc::close(pipe[1]);
        wait_for(orphan);
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
    }
    let orphan = orphan.unsigned_abs();
    assert_eq!(fork_of(watch, orphan).0.task.pid, middle);
    let (executed, _) = watch.exec(orphan);
    assert_eq!(executed.task.parent_pid, Some(std::process::id()));
    assert_eq!(executed.task.start_ns, fork_of(watch, orphan).1.child_start_ns);
    let (ended, _) = watch.exit(middle);
    assert!(ended.time_ns < executed.time_ns);
}

/// Forks a child that gets this pid, and waits for it; it executes `/bin/true`.
fn fork_as(pid: i32) {
    let wanted = [pid];
    // `struct clone_args`; the last two that are set are set_tid and its size.
    let mut args = [0u64; 11];
    args[4] = libc::SIGCHLD as u64;
    args[8] = wanted.as_ptr() as u64;
    args[9] = 1;
    // SAFETY: the structure is as long as is said, and what it points at outlives the call; the child
    // makes system calls only.
    unsafe {
        let got = libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args));
        if got == 0 {
            libc::_exit(exec_true());
        }
        let error = std::io::Error::last_os_error();
        assert_eq!(got, pid.into(), "clone3 with a pid: {error}");
    }
    wait_for(pid);
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    let watch = Watch::shared();
    let (pid, _) = fork(exec_true);
    fork_as(pid.cast_signed());
    let of = |kind: EventKind| {
        let is = |event: &RawEvent| event.kind() == kind && event.task.pid == pid;
        let found: Vec<_> = watch.events().into_iter().filter(is).collect();
        found.iter().map(|event| event.task.start_ns.expect("known")).collect::<Vec<_>>()
    };
    let (execs, exits) = (of(EventKind::Exec), of(EventKind::Exit));
    let forks = watch.events().into_iter().filter_map(|event| match event.body {
        Body::Fork(fork) if fork.child_pid == pid => fork.child_start_ns,
        _ => None,
    });
    // Other tests' processes may have had it before: the last two are ours.
    let last = |starts: &[u64]| starts[starts.len() - 2..].to_vec();
    let forks = last(&forks.collect::<Vec<_>>());
    assert!(forks[0] < forks[1], "{forks:?}");
    assert_eq!((last(&execs), last(&exits)), (forks.clone(), forks));
}
