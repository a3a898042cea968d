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
        Self::by(Command::new(PROGRAM).args(arguments))
    }

    /// By a command that becomes it.
    pub fn by(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// By a line of bash that ends in `exec`ing it.
    pub fn by_shell(line: &str) -> Self {
        Self::by(Command::new("/bin/bash").args(["-c", line]))
    }

    /// As osqueryd's watcher starts it: the variable holds the process's own id.
    pub fn autoloaded(arguments: &str) -> Self {
        Self::by_shell(&format!("OSQUERY_EXTENSION=$$ exec {PROGRAM} {arguments}"))
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

/// The program as a service under a host of its own.
pub struct Service {
    pub program: Program,
    pub host: Host,
    pub directory: tempfile::TempDir,
}

/// Serves under a host with this configuration, and waits until the tables answer.
pub fn serve(config: &str, arguments: &[&str]) -> Service {
    let directory = tempfile::tempdir().unwrap();
    let host = host(directory.path(), config);
    let program = serve_under(&host, arguments);
    Service { program, host, directory }
}

/// The same under a host that is there.
pub fn serve_under(host: &Host, arguments: &[&str]) -> Program {
    let socket = host.socket().to_str().unwrap();
    let program = Program::start(&[&["serve", "--socket", socket], arguments].concat());
    eventually("the registration", || registered(host));
    program
}
