//! The program as a service of its own, in a process of its own: started, waited for, measured,
//! stopped.

use std::fs;
use std::io::{BufRead, BufReader, Error, Result};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// What the program logs once its sources run.
const RUNS: &str = "waiting for osqueryd at";

/// `osquery-ebpf serve` at work. Dropping it asks it to stop and waits until it has.
#[derive(Debug)]
pub struct Served(Child);

impl Served {
    /// Starts it, and returns once its sources run.
    ///
    /// # Errors
    /// When it cannot be started, or ends before that; then with what it said.
    pub fn start(program: &Path, socket: &Path, arguments: &[&str]) -> Result<Self> {
        // osqueryd's watcher runs at this priority, and so does what it starts.
        let mut command = Command::new("nice");
        command.args(["-n", "10"]).arg(program);
        command.args(["serve", "--verbose", "--socket"]).arg(socket).args(arguments);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| Error::other("no stderr"))?;
        let mut lines = BufReader::new(stderr).lines();
        let mut said = Vec::new();
        loop {
            let Some(line) = lines.next().transpose()? else {
                return Err(Error::other(format!(
                    "{} ended before its sources ran:\n{}",
                    program.display(),
                    said.join("\n")
                )));
            };
            if line.contains(RUNS) {
                break;
            }
            said.push(line);
        }
        // It goes on logging; somebody must read, or it would wait for us.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self(child))
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }

    /// Kills it, so that it can put nothing back.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }

    /// CPU time that all its threads have used, in user and kernel mode.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu(&self) -> Result<Duration> {
        let clock = clock_getcpuclockid(self.pid())?;
        Ok(clock_gettime(clock)?.into())
    }

    /// Resident memory in bytes: now, and the most there was.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(&path)?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kib.map(|kib| kib * 1024).ok_or_else(|| Error::other(format!("{path} has no {name}")))
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // One that has ended has nothing left to be told, and its pid may be another's.
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = kill(self.pid(), Signal::SIGTERM);
            let _ = self.0.wait();
        }
    }
}
