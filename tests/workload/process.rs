//! Executions and ends of processes.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::fcntl::AtFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, execveat, fork, getpid};
use serde_json::{Value, json};

pub fn signal(number: i32) -> Result<Value> {
    let signal = Signal::try_from(number)?;
    kill(getpid(), signal)?;
    Ok(json!({ "survived": number }))
}

/// `pthread_exit` in the leader leaves it a zombie while the other thread goes on.
pub fn leader_first(code: u8) -> Result<Value> {
    let leader = getpid();
    std::thread::spawn(move || {
        let state = || std::fs::read_to_string(format!("/proc/{leader}/task/{leader}/stat"));
        while !state().is_ok_and(|stat| stat.contains(") Z ")) {
            std::thread::yield_now();
        }
        std::process::exit(i32::from(code));
    });
    // SAFETY: ends this thread only, which holds nothing that the other one needs.
    unsafe { nix::libc::syscall(nix::libc::SYS_exit, 0) };
    Err(Error::other("the leader went on after exit(2)"))
}

pub fn many_arguments(count: usize, length: usize, program: &Path) -> Result<Value> {
    let argument = "x".repeat(length);
    let error = Command::new(program).args((0..count).map(|_| &argument)).exec();
    Err(error)
}

pub fn hostile_arguments(program: &Path) -> Result<Value> {
    let hostile: [&[u8]; 5] =
        [b"with space", b"\"double\" 'single'", b"new\nline", b"not utf-8 \xff\xfe", b""];
    Err(Command::new(program).args(hostile.map(OsStr::from_bytes)).exec())
}

pub fn exec_from_thread(program: std::path::PathBuf, arguments: Vec<OsString>) -> Result<Value> {
    std::thread::spawn(move || Err(Command::new(program).args(arguments).exec()))
        .join()
        .map_err(|_| Error::other("the executing thread panicked"))?
}

pub fn exec_deleted(program: &Path, arguments: &[OsString]) -> Result<Value> {
    let copy = std::env::temp_dir().join(format!("workload-deleted-{}", getpid()));
    std::fs::copy(program, &copy)?;
    let file = File::open(&copy)?;
    std::fs::remove_file(&copy)?;
    exec_descriptor(file, program, arguments)
}

pub fn exec_memfd(program: &Path, arguments: &[OsString]) -> Result<Value> {
    let memory = memfd_create(c"workload", MFdFlags::MFD_CLOEXEC)?;
    let mut memory = File::from(memory);
    std::io::copy(&mut File::open(program)?, &mut memory)?;
    exec_descriptor(memory, program, arguments)
}

fn exec_descriptor(file: File, name: &Path, arguments: &[OsString]) -> Result<Value> {
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(Error::other);
    let mut argv = vec![text(name.as_os_str())?];
    for argument in arguments {
        argv.push(text(argument)?);
    }
    let environment: [CString; 0] = [];
    let never: Infallible =
        execveat(file.as_fd(), c"", &argv, &environment, AtFlags::AT_EMPTY_PATH)?;
    match never {}
}

pub fn burst(count: u32, workers: u32, program: &Path, arguments: &[OsString]) -> Result<Value> {
    let started = std::time::Instant::now();
    let each = |worker: u32| count / workers + u32::from(worker < count % workers);
    let done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn(move || -> Result<u32> {
                    for _ in 0..each(worker) {
                        let status = Command::new(program).args(arguments).status()?;
                        if !status.success() {
                            return Err(Error::other(format!("{}: {status}", program.display())));
                        }
                    }
                    Ok(each(worker))
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| Error::other("a worker panicked"))?)
            .sum::<Result<u32>>()
    })?;
    Ok(json!({ "executed": done, "seconds": started.elapsed().as_secs_f64() }))
}

/// The grandchild waits until it has been given to another parent before it executes.
pub fn orphan(program: &Path, arguments: &[OsString]) -> Result<Value> {
    // Orphans come to us, so that we can wait for them.
    nix::sys::prctl::set_child_subreaper(true)?;
    // SAFETY: this process has one thread, so the child may go on as if nothing had happened.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            waitpid(child, None)?;
            waitpid(Pid::from_raw(-1), None)?;
            Ok(json!({ "first_parent": child.as_raw(), "parent": getpid().as_raw() }))
        }
        ForkResult::Child => {
            let parent = getpid();
            // SAFETY: as above.
            match unsafe { fork() }? {
                ForkResult::Parent { .. } => std::process::exit(0),
                ForkResult::Child => {
                    while Pid::parent() == parent {
                        std::thread::yield_now();
                    }
                    Err(Command::new(program).args(arguments).exec())
                }
            }
        }
    }
}

/// Each link is a whole execution; nothing is forked.
pub fn exec_chain(count: u32) -> Result<Value> {
    let Some(left) = count.checked_sub(1) else { return Ok(json!({ "left": 0 })) };
    Err(Command::new("/proc/self/exe").args(["exec-chain", &left.to_string()]).exec())
}

pub fn getppid(count: u32) -> Result<Value> {
    let started = std::time::Instant::now();
    for _ in 0..count {
        // SAFETY: takes nothing and cannot fail. The raw call, so that no library remembers it.
        std::hint::black_box(unsafe { nix::libc::syscall(nix::libc::SYS_getppid) });
    }
    Ok(json!({ "calls": count, "seconds": started.elapsed().as_secs_f64() }))
}
