//! The kernel's audit subsystem as its own tools see it, and a daemon of the distribution's with files
//! of its own.

use std::fs;
use std::io::{Error, Result};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{Scratch, wait_for};

/// How long the daemon may take to be registered with the kernel, or to end.
const DEADLINE: Duration = Duration::from_secs(20);

/// Lines of `auditctl -s` that only ever grow.
const GROWS: [&str; 3] = ["lost", "backlog ", "backlog_wait_time_actual"];

/// Does something by `auditctl`.
///
/// # Errors
/// When it is missing or refuses, with what it said.
pub fn auditctl(arguments: &[&str]) -> Result<String> {
    let output = Command::new("auditctl").args(arguments).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::other(format!("auditctl {}: {said}", arguments.join(" "))))
}

/// Settings and rules, without what only ever grows.
///
/// # Errors
/// As [`auditctl`].
pub fn audit_state() -> Result<String> {
    let settings = auditctl(&["-s"])?;
    let stays = |line: &&str| !GROWS.iter().any(|word| line.starts_with(word));
    let settings: Vec<&str> = settings.lines().filter(stays).collect();
    Ok(format!("{}\n{}", settings.join("\n"), auditctl(&["-l"])?))
}

/// The process that the kernel sends its records to; 0: none.
///
/// # Errors
/// As [`auditctl`].
pub fn audit_pid() -> Result<u32> {
    let settings = auditctl(&["-s"])?;
    let pid = settings.lines().find_map(|line| line.strip_prefix("pid ")?.trim().parse().ok());
    pid.ok_or_else(|| Error::other("auditctl -s names no pid"))
}

/// An auditd at work. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct Auditd {
    child: Child,
    dir: Scratch,
}

impl Auditd {
    /// Starts one, and returns once the kernel sends it the records.
    ///
    /// # Errors
    /// When it cannot be started or is not registered in time.
    pub fn start(name: &str) -> Result<Self> {
        let dir = Scratch::new(name);
        let conf = format!(
            "log_file = {}\nlog_format = RAW\nwrite_logs = yes\nlocal_events = yes\n\
             flush = INCREMENTAL_ASYNC\nfreq = 50\nmax_log_file = 64\nmax_log_file_action = IGNORE\n\
             space_left = 2\nspace_left_action = IGNORE\nadmin_space_left = 1\n\
             admin_space_left_action = IGNORE\ndisk_full_action = IGNORE\n\
             disk_error_action = IGNORE\nq_depth = 20000\n",
            dir.join("audit.log").display()
        );
        fs::write(dir.join("auditd.conf"), conf)?;
        let child = Command::new("auditd")
            .args(["-n", "-s", "nochange", "-c"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let daemon = Self { child, dir };
        let pid = daemon.child.id();
        wait_for(DEADLINE, || audit_pid().ok().filter(|&found| found == pid))
            .ok_or_else(|| Error::other("auditd was not registered with the kernel"))?;
        Ok(daemon)
    }

    /// Whether its log has an execution with these words, by `ausearch`.
    ///
    /// # Errors
    /// When `ausearch` is missing.
    pub fn has_exec(&self, words: &str) -> Result<bool> {
        let found = Command::new("ausearch")
            .args(["-m", "EXECVE", "-i", "-if"])
            .arg(self.dir.join("audit.log"))
            .output()?;
        Ok(String::from_utf8_lossy(&found.stdout).contains(words))
    }
}

impl Drop for Auditd {
    fn drop(&mut self) {
        // Asked to end, it unregisters and writes what it has; killed, the kernel finds out later.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGTERM,
            );
        }
        if wait_for(DEADLINE, || self.child.try_wait().ok().flatten()).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
