//! What the tests of the program share: it as a child, and a host of this process for it.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use osquery_ebpf::host::{Cell, Host, Options};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_osquery-ebpf");

/// What a program printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running program, stopped with its test.
pub struct Program(pub Child);

impl Program {
    /// With these arguments.
    pub fn start(arguments: &[&str]) -> Self {
        let child = Command::new(PROGRAM)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// As osqueryd's watcher starts it: the variable holds the process's own id.
    pub fn autoloaded(arguments: &str) -> Self {
        let child = Command::new("/bin/sh")
            .args(["-c", &format!("OSQUERY_EXTENSION=$$ exec {PROGRAM} {arguments}")])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Asks it to stop.
    pub fn terminate(&mut self) {
        let status = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Its exit code and what it said.
    pub fn ended(mut self) -> (Option<i32>, String) {
        eventually("the program to end", || self.0.try_wait().unwrap().is_some());
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.0.wait().unwrap().code(), said)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until `done`, for twenty seconds at most.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "waited in vain for: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// The number that a statement gives.
pub fn count(host: &Host, sql: &str) -> Option<i64> {
    let mut count = None;
    host.query(sql, &mut |answer| {
        if let Some(Cell::Integer(number)) = answer.rows.first().and_then(|row| row.first()) {
            count = Some(*number);
        }
    })
    .ok()?;
    count
}

/// An embedded host in this directory.
pub fn host(directory: &Path, config: &str) -> Host {
    let mut options = Options::new(directory.join("osquery.em"));
    options.config = config.to_owned();
    Host::start(options).unwrap()
}

/// Whether the host lists our extension, which it does a moment before our socket is there.
pub fn listed(host: &Host) -> bool {
    host.extensions().values().any(|name| name == osquery_ebpf::session::NAME)
}

/// Whether our tables answer.
pub fn registered(host: &Host) -> bool {
    listed(host) && count(host, "SELECT count(*) FROM ebpf_events_health").is_some()
}
