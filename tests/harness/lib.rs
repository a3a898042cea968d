//! What the end-to-end tests share: where the programs are, running the shell once, and reading the
//! rows it prints; and what the benchmarks do with their figures.

mod auditd;
pub mod figures;
mod osqueryd;
mod served;

pub use auditd::{Auditd, audit_pid, audit_state, auditctl};
pub use served::Served;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

/// One row, as `--json` prints it: every value is text.
pub type Row = Map<String, Value>;

/// The program under test.
#[must_use]
pub fn program() -> PathBuf {
    built("osquery-ebpf")
}

/// The program that makes things happen.
#[must_use]
pub fn workload() -> PathBuf {
    built("workload")
}

/// `cargo test` puts tests into `deps/` below the programs of the same build.
fn built(name: &str) -> PathBuf {
    let path = std::env::current_exe()
        .ok()
        .and_then(|test| Some(test.parent()?.parent()?.join(name)))
        .unwrap_or_default();
    if !path.is_file() {
        panic!(
            "{} is not built: run `make test`, or `cargo build --workspace` first",
            path.display()
        );
    }
    path
}

/// What a one-shot shell run left.
#[derive(Debug)]
pub struct Answer {
    /// Its rows, where it printed JSON.
    pub rows: Vec<Row>,
    /// All it printed on stdout.
    pub stdout: String,
    /// All it printed on stderr, the executed command's output included.
    pub stderr: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
}

/// Every shell sees what the whole host does, the workloads of other tests too: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs `osquery-ebpf shell` once with these arguments, while no other test of this program does.
///
/// # Panics
/// If the program cannot be started, or exits 0 and prints with `--json` what is not JSON.
#[must_use]
pub fn shell(arguments: &[&str]) -> Answer {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(program());
    command.arg("shell").args(arguments);
    let Output { status, stdout, stderr } = match command.output() {
        Ok(output) => output,
        Err(error) => panic!("{}: {error}", program().display()),
    };
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    let rows = if status.success() && arguments.contains(&"--json") {
        match serde_json::from_str(&stdout) {
            Ok(rows) => rows,
            Err(error) => panic!("not JSON ({error}): {stdout}\nstderr: {stderr}"),
        }
    } else {
        Vec::new()
    };
    Answer { rows, stdout, stderr, code: status.code() }
}

/// The rows of `sql` after `command` has run under `sh -c`.
///
/// # Panics
/// If the shell does not exit 0.
#[must_use]
pub fn rows_after(command: &str, sql: &str) -> Vec<Row> {
    rows_with(&[], command, sql)
}

/// [`rows_after`], with more options for the shell. Where `OSQUERYD` names an osqueryd, it is asked in
/// the embedded host's place.
///
/// # Panics
/// As [`rows_after`].
#[must_use]
pub fn rows_with(options: &[&str], command: &str, sql: &str) -> Vec<Row> {
    if let Some(binary) = osqueryd::named() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        return match osqueryd::rows_by(&binary, &program(), options, command, sql) {
            Ok(rows) => rows,
            Err(error) => panic!("{}: {error}", binary.display()),
        };
    }
    let mut arguments = vec!["--json"];
    arguments.extend(options);
    arguments.extend(["--exec", command, sql]);
    let answer = shell(&arguments);
    if answer.code != Some(0) {
        panic!("exit {:?} of {arguments:?}\n{}", answer.code, answer.stderr);
    }
    answer.rows
}

/// A value of a row as text; a missing or null one is empty.
#[must_use]
pub fn text<'row>(row: &'row Row, column: &str) -> &'row str {
    row.get(column).and_then(Value::as_str).unwrap_or_default()
}

/// A directory of a test's own, removed with it.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one below `/tmp`, named after the test.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let path = PathBuf::from(format!("/tmp/osquery-ebpf-test-{name}-{}", std::process::id()));
        if let Err(error) = std::fs::create_dir_all(&path) {
            panic!("{}: {error}", path.display());
        }
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays in /tmp, which is not worth failing a test for.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Asks until the answer is there, or `deadline` has passed.
pub fn wait_for<T>(deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if started.elapsed() > deadline {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
