//! What watching costs the host: the same loads bare, under us and under audit, in turn within one
//! run, so that only ratios are read and a drifting machine does not matter.
//!
//! It prints a table, writes the figures as JSON, and compares them with a committed earlier run.
//! Nothing here asserts a time.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::Parser;
use osquery_ebpf_tests::{Scratch, Served};
use serde_json::{Value, json};

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
    /// Where the figures go.
    #[arg(long)]
    save: Option<PathBuf>,
    /// An earlier run's figures, to be shown beside these.
    #[arg(long)]
    compare: Option<PathBuf>,
}

/// Who watches while a load runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bare,
    /// Ours, exec, fork and exit only.
    Process,
    /// Ours, all tables, with the file load's directory watched.
    Everything,
    /// The kernel's audit with one rule for executions, and a daemon of its own where it has one.
    Audit,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Bare, Self::Process, Self::Everything, Self::Audit];

    const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Process => "process",
            Self::Everything => "everything",
            Self::Audit => "audit",
        }
    }
}

struct Load {
    name: &'static str,
    /// Operations in one run.
    count: u32,
    arguments: Vec<String>,
}

fn loads(scratch: &Path) -> Vec<Load> {
    let unwatched = scratch.join("unwatched");
    let churn = |place: &str| {
        vec!["churn".to_owned(), scratch.join(place).display().to_string(), "20000".to_owned()]
    };
    let simple = |name: &str, count: u32| vec![name.to_owned(), count.to_string()];
    vec![
        Load { name: "exec chain", count: 2000, arguments: simple("exec-chain", 2000) },
        Load {
            name: "unrelated call (getppid)",
            count: 3_000_000,
            arguments: simple("getppid", 3_000_000),
        },
        Load {
            name: "open+close, unwatched",
            count: 200_000,
            arguments: vec![
                "open-close".into(),
                unwatched.join("file").display().to_string(),
                "200000".into(),
            ],
        },
        Load { name: "file churn, unwatched", count: 20_000, arguments: churn("unwatched") },
        Load { name: "file churn, watched", count: 20_000, arguments: churn("watched") },
        Load {
            name: "connect+accept+close",
            count: 10_000,
            arguments: simple("connections", 10_000),
        },
    ]
}

/// Ends what a mode started.
struct Watching {
    ours: Option<Served>,
    audit: bool,
}

impl Watching {
    fn start(mode: Mode, arguments: &Arguments, scratch: &Path) -> Result<Self> {
        let mut watching = Self { ours: None, audit: false };
        match mode {
            Mode::Bare => {}
            Mode::Process | Mode::Everything => {
                let config = if mode == Mode::Process { "process.json" } else { "all.json" };
                let config = scratch.join(config).display().to_string();
                let nobody = scratch.join("nobody.em");
                watching.ours =
                    Some(Served::start(&arguments.program, &nobody, &["--config", &config])?);
            }
            Mode::Audit => {
                auditctl(&["-e", "1"])?;
                auditctl(&["-b", "8192"])?;
                auditctl(&["-a", "always,exit", "-F", "arch=b64", "-S", "execve,execveat"])?;
                watching.audit = true;
            }
        }
        Ok(watching)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.ours = None;
        if self.audit {
            for rule in [
                ["-d", "always,exit", "-F", "arch=b64", "-S", "execve,execveat"].as_slice(),
                &["-e", "0"],
            ] {
                if let Err(error) = auditctl(rule) {
                    eprintln!("host-cost: audit is left changed: {error}");
                }
            }
        }
    }
}

fn auditctl(arguments: &[&str]) -> Result<()> {
    let output = Command::new("auditctl").args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::other(format!("auditctl {}: {said}", arguments.join(" "))))
}

fn seconds(arguments: &Arguments, load: &Load) -> Result<f64> {
    let started = Instant::now();
    let status =
        Command::new(&arguments.workload).args(&load.arguments).stdout(Stdio::null()).status()?;
    if !status.success() {
        return Err(Error::other(format!("{}: {status}", load.name)));
    }
    Ok(started.elapsed().as_secs_f64())
}

struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    Spread { min: at(0), median: at(values.len() / 2), max: at(values.len().saturating_sub(1)) }
}

fn measure(arguments: &Arguments) -> Result<Value> {
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
    let audit = Command::new("auditctl").arg("-s").output().is_ok_and(|out| out.status.success());
    for round in 0..arguments.rounds {
        for (index, mode) in Mode::ALL.into_iter().enumerate() {
            if mode == Mode::Audit && !audit {
                continue;
            }
            eprintln!("round {} of {}: {}", round + 1, arguments.rounds, mode.name());
            let watching = Watching::start(mode, arguments, scratch.path())?;
            for (load, times) in loads.iter().zip(&mut times) {
                times[index].push(seconds(arguments, load)?);
            }
            drop(watching);
        }
    }
    let mut figures = serde_json::Map::new();
    println!(
        "{:28} {:>12} | {:>7} {:>7} {:>7}  (time ÷ bare, per round: min, median, max)",
        "load", "mode", "min", "median", "max"
    );
    for (load, times) in loads.iter().zip(&times) {
        let [bare, watched @ ..] = times.as_slice() else { continue };
        let each = spread(bare.clone()).median / f64::from(load.count) * 1e9;
        println!("{:28} {:>12} | {each:.0} ns each", load.name, "bare");
        for (mode, taken) in Mode::ALL.iter().skip(1).zip(watched) {
            if taken.is_empty() {
                println!("{:28} {:>12} | auditctl is missing", load.name, mode.name());
                continue;
            }
            let ratios = spread(taken.iter().zip(bare).map(|(with, bare)| with / bare).collect());
            let more = spread(
                taken
                    .iter()
                    .zip(bare)
                    .map(|(with, bare)| (with - bare) / f64::from(load.count) * 1e9)
                    .collect(),
            );
            println!(
                "{:28} {:>12} | {:7.3} {:7.3} {:7.3}  {:+.0} ns each",
                load.name,
                mode.name(),
                ratios.min,
                ratios.median,
                ratios.max,
                more.median
            );
            figures.insert(
                format!("{} / {}", load.name, mode.name()),
                json!({ "min": ratios.min, "median": ratios.median, "max": ratios.max,
                        "more_ns": more.median }),
            );
        }
    }
    Ok(Value::Object(figures))
}

fn compare(figures: &Value, earlier: &Path) -> Result<()> {
    let earlier: Value = serde_json::from_str(&std::fs::read_to_string(earlier)?)?;
    println!("\nagainst the last committed run (median ratio then, now):");
    for (name, now) in figures.as_object().into_iter().flatten() {
        let then = &earlier[name]["median"];
        println!(
            "{name:44} {:>7.3} {:>7.3}",
            then.as_f64().unwrap_or(f64::NAN),
            now["median"].as_f64().unwrap_or(f64::NAN)
        );
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = measure(&arguments).and_then(|figures| {
        if let Some(earlier) = arguments.compare.as_ref().filter(|path| path.exists()) {
            compare(&figures, earlier)?;
        }
        if let Some(path) = &arguments.save {
            std::fs::write(path, serde_json::to_string_pretty(&figures)? + "\n")?;
        }
        Ok(())
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("host-cost: {error}");
            ExitCode::FAILURE
        }
    }
}
