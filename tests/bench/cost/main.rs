//! What watching costs the host: the same loads bare, under us (on BPF, on audit) and under auditd, in
//! turn within one run, so that only ratios are read and a drifting machine does not matter.
//!
//! A machine that shares its host is disturbed all the time, by half of what is measured and more. So
//! each load runs in many short parts, and what one of the quickest took is taken: that it was less
//! cannot be, more is somebody else's. A part is longer than what watching does now and then takes to
//! come round, so that is in each of them.
//!
//! Once audit has been switched on, the kernel gives every new process an audit context, until the
//! next boot, and all its system calls take the long way. Where audit is not what is measured, a rule
//! (never,task) keeps it from that, as on a host where audit was never on.
//!
//! It prints a line per ratio, writes them as JSON, and compares them with a committed earlier run.
//! Nothing here asserts a time.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::Parser;
use osquery_ebpf_tests::figures::{Figures, Keep, Spread, heading};
use osquery_ebpf_tests::{Auditd, Scratch, Served, audit_pid, auditctl};
use serde_json::json;

/// Measures the cost of watching, as ratios to the same work unwatched.
#[derive(Parser)]
struct Arguments {
    /// The program under test.
    #[arg(long)]
    program: PathBuf,
    /// The load generator.
    #[arg(long)]
    workload: PathBuf,
    /// How often each load runs in each mode.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    #[command(flatten)]
    keep: Keep,
}

/// Who watches while a load runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bare,
    /// Ours, exec, fork and exit only.
    Process,
    /// Ours, all tables, with the file load's directory watched.
    Everything,
    /// Ours, exec, fork and exit only, from audit and the process connector instead of BPF.
    OnAudit,
    /// Ours, all tables, sockets from audit, too.
    EverythingOnAudit,
    /// The distribution's auditd, with one rule for executions.
    Auditd,
}

impl Mode {
    const ALL: [Self; 6] = [
        Self::Bare,
        Self::Process,
        Self::Everything,
        Self::OnAudit,
        Self::EverythingOnAudit,
        Self::Auditd,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Process => "process",
            Self::Everything => "everything",
            Self::OnAudit => "on audit",
            Self::EverythingOnAudit => "everything on audit",
            Self::Auditd => "auditd",
        }
    }

    const fn is_audits(self) -> bool {
        matches!(self, Self::OnAudit | Self::EverythingOnAudit | Self::Auditd)
    }

    /// Whether ours is to serve all tables.
    const fn has_all(self) -> bool {
        matches!(self, Self::Everything | Self::EverythingOnAudit)
    }
}

/// Each load runs so many times in each mode and round, for some 50 ms.
const PARTS: usize = 24;
/// From the quickest, which is the one that is taken: a quickest may be luck, of a faster clock say.
const TAKEN: usize = 2;

struct Load {
    name: &'static str,
    /// Operations in one part.
    count: u32,
    arguments: Vec<String>,
}

fn loads(scratch: &Path) -> Vec<Load> {
    let load = |name, count: u32, work: &str, file: Option<PathBuf>| {
        let file = file.map(|file| file.display().to_string());
        let arguments = [Some(work.to_owned()), file, Some(count.to_string())];
        Load { name, count, arguments: arguments.into_iter().flatten().collect() }
    };
    let unwatched = scratch.join("unwatched");
    let file = unwatched.join("file");
    vec![
        load("exec chain", 50, "exec-chain", None),
        load("unrelated call (getppid)", 400_000, "getppid", None),
        load("open+close, unwatched", 50_000, "open-close", Some(file)),
        load("file churn, unwatched", 4000, "churn", Some(unwatched)),
        load("file churn, watched", 4000, "churn", Some(scratch.join("watched"))),
        load("connect+accept+close", 2500, "connections", None),
    ]
}

/// Executions, and nothing else.
const EXECUTIONS: [&str; 5] = ["always,exit", "-F", "arch=b64", "-S", "execve,execveat"];

/// New processes get no audit context.
const NO_CONTEXT: [&str; 1] = ["never,task"];

/// What a mode started. Ends it, and takes back what was changed for it.
struct Watching {
    ours: Option<Served>,
    auditd: Option<Auditd>,
    /// `auditctl` with each of these, in this order, when it is over.
    undo: Vec<Vec<&'static str>>,
}

impl Watching {
    fn start(mode: Mode, arguments: &Arguments, scratch: &Path, has_audit: bool) -> Result<Self> {
        let mut watching = Self { ours: None, auditd: None, undo: Vec::new() };
        if has_audit && !mode.is_audits() {
            watching.rule(&NO_CONTEXT)?;
        }
        let config = if mode.has_all() { "all.json" } else { "process.json" };
        let config = scratch.join(config).display().to_string();
        let serve = |source: &str| {
            let nobody = scratch.join("nobody.em");
            let options = ["--config", &config, "--source", source];
            Served::start(&arguments.program, &nobody, &options).map(Some)
        };
        match mode {
            Mode::Bare => {}
            Mode::Process | Mode::Everything => watching.ours = serve("bpf")?,
            Mode::OnAudit | Mode::EverythingOnAudit => watching.ours = serve("audit")?,
            Mode::Auditd => {
                watching.auditd = Some(Auditd::start("bench-auditd")?);
                auditctl(&["-b", "8192"])?;
                auditctl(&["-e", "1"])?;
                watching.undo.push(vec!["-e", "0"]);
                watching.rule(&EXECUTIONS)?;
            }
        }
        Ok(watching)
    }

    fn rule(&mut self, rule: &[&'static str]) -> Result<()> {
        auditctl(&[&["-a"], rule].concat())?;
        self.undo.push([&["-d"], rule].concat());
        Ok(())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.ours = None;
        for undo in self.undo.iter().rev() {
            if let Err(error) = auditctl(undo) {
                eprintln!("host-cost: audit is left changed: {error}");
            }
        }
        self.auditd = None;
    }
}

/// What a part of a load takes, in seconds.
fn seconds(arguments: &Arguments, load: &Load) -> Result<f64> {
    let mut parts = Vec::with_capacity(PARTS);
    for _ in 0..PARTS {
        let started = Instant::now();
        let status = Command::new(&arguments.workload)
            .args(&load.arguments)
            .stdout(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(Error::other(format!("{}: {status}", load.name)));
        }
        parts.push(started.elapsed().as_secs_f64());
    }
    parts.sort_by(f64::total_cmp);
    parts.get(TAKEN).copied().ok_or_else(|| Error::other("no part was run"))
}

fn measure(arguments: &Arguments) -> Result<Figures> {
    let scratch = Scratch::new("bench");
    for place in ["watched", "unwatched"] {
        std::fs::create_dir_all(scratch.join(place))?;
        std::fs::write(scratch.join(place).join("file"), "content")?;
    }
    let watched = scratch.join("watched").display().to_string();
    let everything = json!({ "file_paths": { "bench": [format!("{watched}/%%")] } });
    std::fs::write(scratch.join("all.json"), everything.to_string())?;
    std::fs::write(
        scratch.join("process.json"),
        json!({ "ebpf_events": { "collect": ["process"] } }).to_string(),
    )?;
    let loads = loads(scratch.path());
    let mut times = vec![vec![Vec::new(); Mode::ALL.len()]; loads.len()];
    let audit = audit_pid().is_ok_and(|pid| pid == 0);
    // Once for nothing, to have everything in memory.
    for load in &loads {
        seconds(arguments, load)?;
    }
    for round in 0..arguments.rounds {
        // Each round begins with another one, since who comes first finds the host rested.
        let first = round % Mode::ALL.len();
        for (index, mode) in
            Mode::ALL.into_iter().enumerate().cycle().skip(first).take(Mode::ALL.len())
        {
            if mode.is_audits() && !audit {
                continue;
            }
            eprintln!("round {} of {}: {}", round + 1, arguments.rounds, mode.name());
            let watching = Watching::start(mode, arguments, scratch.path(), audit)?;
            for (load, times) in loads.iter().zip(&mut times) {
                times[index].push(seconds(arguments, load)?);
            }
            drop(watching);
        }
    }
    Ok(ratios(&loads, &times))
}

/// What the times come to, beside the bare ones of the same round.
fn ratios(loads: &[Load], times: &[Vec<Vec<f64>>]) -> Figures {
    let mut figures = Figures::default();
    println!("{}", heading());
    for (load, times) in loads.iter().zip(times) {
        let [bare, watched @ ..] = times.as_slice() else { continue };
        let each = |seconds: f64| seconds / f64::from(load.count) * 1e9;
        // Not kept: it is the machine's.
        if let Some(alone) = Spread::of(bare.iter().copied().map(each).collect()) {
            println!("{}", alone.line(&format!("{} / bare", load.name), "ns each"));
        }
        for (mode, taken) in Mode::ALL.iter().skip(1).zip(watched) {
            let name = format!("{} / {}", load.name, mode.name());
            if taken.is_empty() {
                println!("{name:52} auditctl is missing, or audit is somebody else's");
                continue;
            }
            let pairs = || taken.iter().zip(bare);
            let more = Spread::of(pairs().map(|(with, bare)| each(with - bare)).collect());
            figures.many_and(
                &name,
                "times bare",
                pairs().map(|(with, bare)| with / bare).collect(),
                more.map(|more| ("more_ns", more.median)),
            );
        }
    }
    figures
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.keep.finish("host-cost", measure(&arguments))
}
