//! What the extension itself needs: CPU, memory, time to answer, and what it loses at full load. It
//! runs as a service under the embedded host, in a process of its own, at default sizes.
//!
//! It prints one line per figure, writes them as JSON, and compares them with a committed earlier
//! run. Nothing here asserts a time. `--soak` watches memory and CPU for longer, and draws them.

mod observed;
mod soak;

use std::io::{Error, Result};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use osquery_ebpf_tests::figures::{Figures, Keep, heading};
use serde_json::Value;

use observed::{Health, Observed, done};

/// Measures what the extension needs.
#[derive(Parser)]
struct Arguments {
    /// The program under test.
    #[arg(long)]
    program: PathBuf,
    /// The load generator.
    #[arg(long)]
    workload: PathBuf,
    /// Length of each load, in seconds.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Instead: memory and CPU under mixed load for this many seconds.
    #[arg(long, value_name = "SECONDS")]
    soak: Option<f64>,
    /// Where the picture of the soak goes.
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    keep: Keep,
}

/// After this long, memory that was only needed for a moment has been returned to the kernel.
const RETURNED: Duration = Duration::from_secs(32);
/// How often each query and each latency is taken.
const ROUNDS: usize = 15;
/// Nothing happens for this long before a latency at rest is taken.
const REST: Duration = Duration::from_millis(300);
/// Events of each kind that are held when memory and queries are measured; the default bound.
const HELD: i64 = 50_000;
/// Until there are that many, loads of this length are run.
const FILL_SECONDS: f64 = 10.0;
/// So many of those loads at most.
const FILL_ROUNDS: usize = 40;

/// A number that the load generator told of itself.
fn number(said: &Value, name: &str) -> Result<f64> {
    let number = said.get(name).and_then(Value::as_f64);
    number.ok_or_else(|| Error::other(format!("the load generator tells no {name}: {said}")))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Executions only, as fast as they come: CPU per execution, of which the rest follows.
fn executions(arguments: &Arguments, figures: &mut Figures) -> Result<()> {
    let observed = Observed::start(&arguments.program, &arguments.workload, false)?;
    figures.one("resident after start", "MiB", mebibytes(observed.served.memory()?.0));
    let before = observed.settled()?;
    let (cpu, started) = (observed.served.cpu()?, Instant::now());
    std::thread::sleep(Duration::from_secs_f64(arguments.seconds));
    let idle = (observed.served.cpu()? - cpu).as_secs_f64() / started.elapsed().as_secs_f64();
    figures.one("CPU when idle (of one core)", "%", idle * 100.0);

    let cpu = observed.served.cpu()?;
    let said = done(observed.mixed(arguments.seconds, 0.0, "exec,exec")?)?;
    let after = observed.settled()?;
    let cpu = (observed.served.cpu()? - cpu).as_secs_f64();
    let made = number(&said, "executions")?;
    figures.one("fork+exec+exit cycles of the machine", "1/s", made / number(&said, "seconds")?);
    figures.one("CPU per cycle (three events)", "us", cpu / made * 1e6);
    figures.one("CPU at 1,600 cycles/s (of one core)", "%", cpu / made * 1600.0 * 100.0);
    lost(figures, "executions", &before, &after);
    Ok(())
}

/// All tables, everything at once.
fn everything(arguments: &Arguments, figures: &mut Figures) -> Result<()> {
    let observed = Observed::start(&arguments.program, &arguments.workload, true)?;
    let mut latency = Vec::new();
    for _ in 0..ROUNDS {
        // What the round before has left behind is not rest.
        std::thread::sleep(REST);
        latency.push(milliseconds(observed.latency()?));
    }
    figures.many("execve to row, at rest", "ms", latency);

    let before = observed.settled()?;
    let load = observed.mixed(arguments.seconds, 0.0, "exec,file,socket")?;
    let mut latency = Vec::new();
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < arguments.seconds - 1.0 {
        latency.push(milliseconds(observed.latency()?));
        std::thread::sleep(Duration::from_millis(200));
    }
    let said = done(load)?;
    figures.many("execve to row, under full load", "ms", latency);
    let after = observed.settled()?;
    let change = |column: &str| (after.total(column) - before.total(column)) as f64;
    let seconds = number(&said, "seconds")?;
    figures.one("mixed load: executions", "1/s", number(&said, "executions")? / seconds);
    figures.one(
        "mixed load: files made, written, removed",
        "1/s",
        number(&said, "files")? / seconds,
    );
    figures.one("mixed load: connections", "1/s", number(&said, "connections")? / seconds);
    figures.one("mixed load: events received", "1/s", change("received") / seconds);
    lost(figures, "mixed load", &before, &after);
    // fanotify's queue has no count of what was put into it.
    let bpf = ["exec", "fork", "exit", "socket"];
    let uncounted = |health: &Health| -> i64 {
        let of = |kind| {
            health.count(kind, "produced")
                - health.count(kind, "received")
                - health.count(kind, "lost_ring")
        };
        bpf.into_iter().map(of).sum()
    };
    let uncounted = uncounted(&after) - uncounted(&before);
    figures.one("mixed load: produced - received - lost (BPF)", "events", uncounted as f64);

    for of in ["exec,exec", "file", "socket"] {
        let kind = of.split(',').next().unwrap_or(of);
        for _ in 0..FILL_ROUNDS {
            if observed.health()?.count(kind, "held") >= HELD {
                break;
            }
            done(observed.mixed(FILL_SECONDS, 0.0, of)?)?;
        }
    }
    observed.settled()?;
    // Free memory is returned now and then only.
    std::thread::sleep(RETURNED);
    let full = observed.health()?;
    for kind in ["exec", "socket", "file"] {
        figures.one(&format!("held: {kind}"), "events", full.count(kind, "held") as f64);
        let (bytes, held) = (full.count(kind, "held_bytes"), full.count(kind, "held"));
        figures.one(&format!("bytes per {kind} event"), "B", bytes as f64 / held as f64);
    }
    let cache = full.count("exec", "processes_bytes");
    figures.one("process cache", "MiB", mebibytes(cache.try_into().unwrap_or(0)));
    let (now, most) = observed.served.memory()?;
    figures.one("resident with that, before any query", "MiB", mebibytes(now));
    figures.one("most resident so far", "MiB", mebibytes(most));

    queries(&observed, figures)?;
    figures.one("most resident, queries included", "MiB", mebibytes(observed.served.memory()?.1));
    Ok(())
}

fn lost(figures: &mut Figures, load: &str, before: &Health, after: &Health) {
    for column in ["lost_ring", "lost_missed"] {
        let lost = after.total(column) - before.total(column);
        figures.one(&format!("{load}: {column}"), "events", lost as f64);
    }
}

fn queries(observed: &Observed, figures: &mut Figures) -> Result<()> {
    let pid = observed.query("SELECT pid FROM ebpf_process_events LIMIT 1")?;
    let pid = pid.rows.first().and_then(|row| row.first()).and_then(|cell| cell.text());
    let pid = pid.ok_or_else(|| Error::other("no process event is held"))?;
    for (name, sql) in [
        ("SELECT * of process events", "SELECT * FROM ebpf_process_events".to_owned()),
        (
            "five columns of process events",
            "SELECT pid, parent, path, cmdline, time FROM ebpf_process_events".to_owned(),
        ),
        (
            "process events of one pid",
            format!("SELECT pid, path, cmdline FROM ebpf_process_events WHERE pid = {pid}"),
        ),
    ] {
        let mut times = Vec::new();
        let cpu = observed.served.cpu()?;
        let mut count = 0;
        for _ in 0..ROUNDS {
            let (rows, time) = observed.timed(&sql)?;
            count = rows;
            times.push(milliseconds(time));
        }
        let cpu = (observed.served.cpu()? - cpu) / u32::try_from(ROUNDS).unwrap_or(1);
        figures.one(&format!("rows: {name}"), "rows", count as f64);
        figures.many(&format!("{name}, through socket and SQLite"), "ms", times);
        figures.one(&format!("{name}, our CPU"), "ms", milliseconds(cpu));
    }
    Ok(())
}

fn measure(arguments: &Arguments) -> Result<Figures> {
    let mut figures = Figures::default();
    println!("{}", heading());
    if let Some(seconds) = arguments.soak {
        let observed = Observed::start(&arguments.program, &arguments.workload, true)?;
        let samples = soak::run(&observed, seconds)?;
        samples.report(&mut figures);
        if let Some(path) = &arguments.plot {
            std::fs::write(path, samples.plot())?;
        }
    } else {
        executions(arguments, &mut figures)?;
        everything(arguments, &mut figures)?;
    }
    Ok(figures)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.keep.finish("footprint", measure(&arguments))
}
