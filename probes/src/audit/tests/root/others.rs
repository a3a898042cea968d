//! Beside others: a real auditd, rules of somebody else, and what we leave behind when killed.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// An auditd of Debian's with files of its own, that ends with the test.
struct Auditd {
    child: Child,
    dir: PathBuf,
}

impl Auditd {
    fn start(name: &str) -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("auditd-{name}-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        let log = dir.join("audit.log");
        let conf = format!(
            "log_file = {}\nlog_format = RAW\nwrite_logs = yes\nlocal_events = yes\nflush = NONE\n\
             max_log_file = 64\nmax_log_file_action = IGNORE\nspace_left_action = IGNORE\n\
             admin_space_left_action = IGNORE\ndisk_full_action = IGNORE\n\
             disk_error_action = IGNORE\nspace_left = 2\nadmin_space_left = 1\nq_depth = 20000\n",
            log.display()
        );
        fs::write(dir.join("auditd.conf"), conf).unwrap();
        let child = Command::new("/usr/sbin/auditd")
            .args(["-n", "-s", "nochange", "-c"])
            .arg(&dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("auditd, of the package auditd, is needed");
        Self { child, dir }
    }

    /// Starts one in our place. On a busy host its start may be noticed too late. It gives up then,
    /// and we step aside, so that its service manager's second try succeeds.
    fn that_registers(name: &str) -> Self {
        let mut daemon = Self::start(name);
        let mut again = 0;
        until("auditd gets the records", || {
            if daemon.child.try_wait().unwrap().is_some() {
                again += 1;
                daemon = Self::start(name);
            }
            status().pid == daemon.pid()
        });
        assert!(again <= 1, "we did not step aside");
        daemon
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn stop(&mut self) {
        let pid = i32::try_from(self.pid()).unwrap();
        // SAFETY: the child is ours and has not been waited for.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        self.child.wait().unwrap();
    }

    /// Whether auditd's own log, read by ausearch, has the exec of a process.
    fn has_exec(&self, pid: u32) -> bool {
        let found = Command::new("ausearch")
            .args(["-m", "EXECVE", "-p", &pid.to_string(), "-if"])
            .arg(self.dir.join("audit.log"))
            .output()
            .unwrap();
        String::from_utf8_lossy(&found.stdout).contains("type=EXECVE")
    }
}

impl Drop for Auditd {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn set_enabled(enabled: u32) {
    let wanted = status::Status { enabled, ..status::Status::default() };
    Control::open().unwrap().set(&wanted, status::mask::ENABLED).unwrap();
}

fn auditctl_does(arguments: &[&str]) {
    let done = Command::new("auditctl").args(arguments).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Runs a program until its exec is seen with the audit source's name to it, and gives its pid.
fn seen_exec(kept: &Kept) -> u32 {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let pid = spawn("/bin/true", &["seen"]);
        let source = kept.of(pid, |event| exec(event).map(|_| event.source));
        if source == SourceKind::Audit {
            return pid;
        }
        assert!(Instant::now() < deadline, "audit tells of no exec");
    }
}

#[test]
fn a_daemon_that_was_there_first_keeps_all_its_records_and_we_see_them_too() {
    let _alone = audit_alone();
    let _back = PutBack::new();
    set_enabled(status::ON);
    let mut daemon = Auditd::start("first");
    until("auditd registers", || status().pid == daemon.pid());
    let before = auditctl();
    let (mut running, kept) = start(&config(&[Concern::Process]));
    assert_eq!(status().pid, daemon.pid());
    assert_eq!(health(running.as_ref(), EventKind::Exec).tier, "multicast");
    let pids: Vec<u32> = (0..50).map(|_| seen_exec(&kept)).collect();
    until("auditd writes what it got", || daemon.has_exec(*pids.last().unwrap()));
    assert!(pids.iter().all(|&pid| daemon.has_exec(pid)));
    running.stop();
    assert_eq!(auditctl(), before);
    daemon.stop();
}

#[test]
fn a_daemon_that_comes_and_goes_gets_the_records_and_then_they_are_ours_again() {
    let _alone = audit_alone();
    let _back = PutBack::new();
    let before = auditctl();
    let (mut running, kept) = start(&config(&[Concern::Process]));
    let own = std::process::id();
    assert_eq!(status().pid, own);
    assert_eq!(status().backlog_wait_time, Some(0));
    seen_exec(&kept);

    let mut daemon = Auditd::that_registers("comes");
    until("we read along", || health(running.as_ref(), EventKind::Exec).tier == "multicast");
    // The limits are its own affair now.
    assert_ne!(status().backlog_limit, tenure::BACKLOG_LIMIT);
    let pid = seen_exec(&kept);
    until("auditd writes what it got", || daemon.has_exec(pid));

    daemon.stop();
    until("the records are ours again", || status().pid == own);
    until("we know it", || health(running.as_ref(), EventKind::Exec).tier == "registered");
    seen_exec(&kept);
    running.stop();
    assert_eq!(auditctl(), before);
}

#[test]
fn nothing_is_lost_or_told_twice_while_a_daemon_comes_and_goes() {
    let _alone = audit_alone();
    let _back = PutBack::new();
    let (mut running, kept) = start(&config(&[Concern::Process]));
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let busy = {
        let stop = std::sync::Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                burst("/bin/true", "busy", 20);
            }
        })
    };
    let mut daemon = Auditd::that_registers("busy");
    until("we read along", || health(running.as_ref(), EventKind::Exec).tier == "multicast");
    daemon.stop();
    until("the records are ours again", || status().pid == std::process::id());
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    busy.join().unwrap();
    assert!(running.flush(DEADLINE));
    let events = kept.all();
    let (forks, execs, exits) = execs_of_children(&events, std::process::id());
    assert!(forks > 20);
    assert_eq!((execs, exits), (forks, forks));
    // Between a fork and the exit of the same process there is one exec.
    let total = events.iter().filter(|event| exec(event).is_some()).count();
    let pids_once = events
        .windows(2)
        .all(|pair| exec(&pair[0]).is_none() || exec(&pair[1]).is_none() || pair[0] != pair[1]);
    assert!(pids_once && total >= execs);
    running.stop();
}

#[test]
fn rules_that_somebody_removes_are_put_back_and_rules_of_others_stay() {
    let _alone = audit_alone();
    let (mut running, kept) = start(&config(&[Concern::Process]));
    let theirs = ["-a", "always,exit", "-F", "arch=b64", "-S", "execve", "-k", "theirs"];
    auditctl_does(&["-D"]);
    auditctl_does(&theirs);
    until("our rules are back", || auditctl().1.contains("key=osquery-ebpf"));
    until("ours stand behind theirs, whose key stays in its records", || {
        let rules = auditctl().1;
        let theirs = rules.find("key=theirs").unwrap();
        rules.find("execve,execveat").is_some_and(|ours| ours > theirs)
    });
    seen_exec(&kept);
    running.stop();
    let left = auditctl().1;
    assert!(left.contains("key=theirs") && !left.contains("osquery-ebpf"), "{left}");
    auditctl_does(&["-D", "-k", "theirs"]);
}

#[test]
fn what_we_leave_behind_when_killed_the_next_start_puts_back() {
    let _alone = audit_alone();
    let before = auditctl();
    // SAFETY: the child runs nothing of the harness but what is called here, and never returns.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let (running, _kept) = start(&config(&Concern::ALL));
        std::mem::forget(running);
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    let killed = u32::try_from(child).unwrap();
    until("the other one has begun", || {
        let rules = auditctl().1;
        status().pid == killed && rules.contains("execve") && rules.contains("/found/")
    });
    // SAFETY: the child is ours and has not been waited for.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    assert_ne!(auditctl(), before);
    assert!(auditctl().1.contains("osquery-ebpf"));

    let (mut running, kept) = start(&config(&[Concern::Process]));
    seen_exec(&kept);
    running.stop();
    assert_eq!(auditctl(), before);
}

#[test]
fn two_of_us_leave_each_others_rules_in_place() {
    let _alone = audit_alone();
    let before = auditctl();
    let (mut first, _) = start(&config(&[Concern::Process]));
    // SAFETY: as above.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let (mut second, kept) = start(&config(&[Concern::Process]));
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| seen_exec(&kept)));
        second.stop();
        // SAFETY: ends the child without the harness's own end.
        unsafe { libc::_exit(i32::from(told.is_err())) };
    }
    let mut status = 0;
    // SAFETY: the child is ours.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the second one saw nothing");
    until("the first one's rules are in place", || auditctl().1.contains("execve"));
    first.stop();
    assert_eq!(auditctl(), before);
}
