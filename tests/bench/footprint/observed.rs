//! The extension at work under the embedded host, each in a process of its own, and what can be asked
//! of them.

use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use osquery_ebpf::host::{Answer, Cell, Host, Options};
use osquery_ebpf_tests::{Scratch, Served, wait_for};
use serde_json::{Value, json};

/// How long registering may take.
const REGISTERED: Duration = Duration::from_secs(10);
/// How long events may take to arrive once nothing happens any more.
const SETTLED: Duration = Duration::from_secs(10);

/// The extension, a host of this process to ask it through, and a load generator.
pub struct Observed {
    pub served: Served,
    host: Host,
    workload: std::path::PathBuf,
    scratch: Scratch,
}

/// What the kinds of events have come to.
#[derive(Debug, Clone, Default)]
pub struct Health(BTreeMap<String, BTreeMap<String, i64>>);

impl Health {
    /// A count of one kind; 0 where there is none.
    pub fn count(&self, kind: &str, column: &str) -> i64 {
        self.0.get(kind).and_then(|counts| counts.get(column)).copied().unwrap_or(0)
    }

    /// A count over all kinds.
    pub fn total(&self, column: &str) -> i64 {
        self.0.keys().map(|kind| self.count(kind, column)).sum()
    }
}

impl Observed {
    /// Starts everything, with one directory watched, and waits until the tables are there.
    pub fn start(program: &Path, workload: &Path, watched: bool) -> Result<Self> {
        let scratch = Scratch::new("footprint");
        let directory = scratch.join("watched");
        std::fs::create_dir_all(&directory)?;
        let mut config = json!({});
        if watched {
            config = json!({ "file_paths": { "bench": [format!("{}/%%", directory.display())] } });
        }
        let file = scratch.join("config.json");
        std::fs::write(&file, config.to_string())?;
        let mut options = Options::new(scratch.join("osquery.em"));
        options.config = config.to_string();
        let host = Host::start(options).map_err(Error::other)?;
        let config = file.display().to_string();
        let mut arguments = vec!["--config", &config];
        if !watched {
            arguments.extend(["--collect", "process"]);
        }
        let served = Served::start(program, host.socket(), &arguments)?;
        let observed = Self { served, host, workload: workload.to_owned(), scratch };
        wait_for(REGISTERED, || observed.query("SELECT kind FROM ebpf_events_health").ok())
            .ok_or_else(|| Error::other("the tables were not registered"))?;
        Ok(observed)
    }

    /// The rows of a statement.
    pub fn query(&self, sql: &str) -> Result<Answer> {
        let mut last = None;
        self.host.query(sql, &mut |answer| last = Some(answer)).map_err(Error::other)?;
        last.ok_or_else(|| Error::other(format!("no statement: {sql}")))
    }

    /// How many rows it has, and how long it took through the socket, SQLite included.
    pub fn timed(&self, sql: &str) -> Result<(usize, Duration)> {
        let started = Instant::now();
        let answer = self.query(sql)?;
        Ok((answer.rows.len(), started.elapsed()))
    }

    /// Starts the load generator on the watched directory.
    pub fn mixed(&self, seconds: f64, rest: f64, of: &str) -> Result<Child> {
        Command::new(&self.workload)
            .arg("mixed")
            .arg(self.scratch.join("watched"))
            .args(["--seconds", &seconds.to_string(), "--rest", &rest.to_string(), "--of", of])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
    }

    /// The counts of `ebpf_events_health`, once they no longer change.
    pub fn settled(&self) -> Result<Health> {
        let mut before = -1;
        wait_for(SETTLED, || {
            let health = self.health().ok()?;
            let produced = health.total("produced");
            let quiet = produced == before;
            before = produced;
            if !quiet {
                std::thread::sleep(Duration::from_millis(200));
            }
            quiet.then_some(health)
        })
        .ok_or_else(|| Error::other("events do not stop coming"))
    }

    /// The counts of `ebpf_events_health`.
    pub fn health(&self) -> Result<Health> {
        let answer = self.query("SELECT * FROM ebpf_events_health")?;
        let mut health = Health::default();
        for row in answer.rows {
            let cells: BTreeMap<&str, Cell> =
                answer.columns.iter().map(String::as_str).zip(row).collect();
            let Some(Cell::Text(kind)) = cells.get("kind") else { continue };
            let counts = cells.iter().filter_map(|(name, cell)| match cell {
                Cell::Integer(count) => Some(((*name).to_owned(), *count)),
                _ => None,
            });
            health.0.insert(kind.clone(), counts.collect());
        }
        Ok(health)
    }

    /// From the end of an `execve` to the moment its row is answered. The query is an index look-up
    /// that is repeated until there is a row, so it is part of the time.
    pub fn latency(&self) -> Result<Duration> {
        let mut child = Command::new(&self.workload).arg("noop").spawn()?;
        let executed = Instant::now();
        let sql = format!("SELECT pid FROM ebpf_process_events WHERE pid = {}", child.id());
        let found =
            wait_for(SETTLED, || self.query(&sql).ok().filter(|answer| !answer.rows.is_empty()));
        let taken = executed.elapsed();
        child.wait()?;
        found.map(|_| taken).ok_or_else(|| Error::other("an execution has no row"))
    }
}

/// What a load generator says it did.
pub fn done(load: Child) -> Result<Value> {
    let output = load.wait_with_output()?;
    if !output.status.success() {
        return Err(Error::other(format!("the load generator: {}", output.status)));
    }
    serde_json::from_slice(&output.stdout).map_err(Error::other)
}
