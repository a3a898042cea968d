//! What marks on a file system cost those who use it: the same loads without marks, with a watch
//! elsewhere on the file system, and watched; in turn, the best of several rounds, as ratios of CPU
//! time, so that a busy machine does not matter.
//!
//! `cargo run --release --example fanotify_cost -- /tmp /dev/shm` (as root; takes a few seconds for
//! each directory).

use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use osquery_ebpf_probes::event::{EventKind, RawEvent};
use osquery_ebpf_probes::fanotify::Fanotify;
use osquery_ebpf_probes::source::{
    PathFilter, RingBytes, Root, Running, Sink, Source, SourceConfig, TierWish,
};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 5;

struct Load {
    name: &'static str,
    count: u32,
    run: fn(&Path, u32) -> Result<()>,
}

const LOADS: [Load; 3] = [
    Load { name: "open + close", count: 40_000, run: open_close },
    Load { name: "create + write + close + unlink", count: 8_000, run: churn },
    Load { name: "write of 4 KiB", count: 500_000, run: write },
];

fn open_close(dir: &Path, count: u32) -> Result<()> {
    let path = dir.join("file");
    File::create(&path)?;
    for _ in 0..count {
        File::open(&path)?;
    }
    Ok(())
}

fn churn(dir: &Path, count: u32) -> Result<()> {
    for number in 0..count {
        let path = dir.join(format!("churn-{number}"));
        File::create(&path)?.write_all(b"x")?;
        std::fs::remove_file(&path)?;
    }
    Ok(())
}

fn write(dir: &Path, count: u32) -> Result<()> {
    let path = dir.join("log");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    for _ in 0..count {
        file.write_at(&[0; 4096], 0)?;
    }
    Ok(())
}

struct Below(PathBuf);

impl PathFilter for Below {
    fn matches(&self, path: &[u8]) -> bool {
        path.starts_with(self.0.as_os_str().as_bytes())
    }

    fn roots(&self) -> Vec<Root> {
        vec![Root { path: self.0.clone(), depth: None }]
    }
}

#[derive(Default)]
struct Counter(AtomicUsize);

impl Sink for Counter {
    fn accept(&self, batch: &mut Vec<RawEvent>) {
        self.0.fetch_add(batch.len(), Ordering::Relaxed);
        batch.clear();
    }
}

fn watch(path: PathBuf, sink: &Arc<Counter>) -> Result<Box<dyn Running>> {
    let config = SourceConfig {
        kinds: vec![EventKind::File],
        paths: Arc::new(Below(path)),
        file_access: false,
        unix_sockets: false,
        datagram_peers: false,
        tier: TierWish::Auto,
        ring_bytes: RingBytes::default(),
        own_pid: 0,
        exclude: Default::default(),
    };
    let sink: Arc<dyn Sink> = Arc::<Counter>::clone(sink);
    Box::new(Fanotify::new()).start(&config, sink).map_err(std::io::Error::other)
}

/// CPU time of this thread so far.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// CPU time of the reading thread so far (`/proc/self/task/TID/schedstat`, nanoseconds).
fn reader_cpu() -> Result<Duration> {
    for task in std::fs::read_dir("/proc/self/task")?.flatten() {
        if std::fs::read_to_string(task.path().join("comm"))?.trim_end() == "fanotify" {
            let stat = std::fs::read_to_string(task.path().join("schedstat"))?;
            let ns = stat.split(' ').next().and_then(|ns| ns.parse().ok());
            return Ok(Duration::from_nanos(ns.unwrap_or(0)));
        }
    }
    Ok(Duration::ZERO)
}

/// The best of the rounds of one load in one mode.
#[derive(Clone, Copy)]
struct Best {
    each_ns: f64,
    cpu_share: f64,
}

fn measure(base: &Path, load: &Load) -> Result<()> {
    let (inside, elsewhere) = (base.join("inside"), base.join("elsewhere"));
    let mut best = [Best { each_ns: f64::MAX, cpu_share: 0.0 }; 3];
    let sink = Arc::new(Counter::default());
    for _ in 0..ROUNDS {
        for (mode, best) in best.iter_mut().enumerate() {
            let running = match mode {
                0 => None,
                1 => Some(watch(elsewhere.clone(), &sink)?),
                _ => Some(watch(inside.clone(), &sink)?),
            };
            let cpu = reader_cpu()?;
            let start = thread_cpu();
            (load.run)(&inside, load.count)?;
            let took = thread_cpu() - start;
            if let Some(running) = &running {
                running.flush(Duration::from_secs(10));
            }
            let cpu = reader_cpu()? - cpu;
            let each_ns = took.as_nanos() as f64 / f64::from(load.count);
            if each_ns < best.each_ns {
                *best = Best { each_ns, cpu_share: cpu.as_secs_f64() / took.as_secs_f64() };
            }
        }
    }
    let [bare, elsewhere, inside] = best;
    let ratio = |one: Best| one.each_ns / bare.each_ns;
    println!(
        "{:32} {:7.0} ns   unwatched {:.2} x ({:2.0} % of that by us)   watched {:.2} x ({:3.0} %)",
        load.name,
        bare.each_ns,
        ratio(elsewhere),
        elsewhere.cpu_share * 100.0,
        ratio(inside),
        inside.cpu_share * 100.0,
    );
    Ok(())
}

fn main() -> Result<()> {
    let directories: Vec<String> = std::env::args().skip(1).collect();
    if directories.is_empty() {
        println!("usage: fanotify_cost DIRECTORY...");
    }
    for directory in directories {
        let base = Path::new(&directory).join(format!("fanotify-cost-{}", std::process::id()));
        for part in ["inside", "elsewhere"] {
            std::fs::create_dir_all(base.join(part))?;
        }
        println!("{directory}");
        let measured = LOADS.iter().try_for_each(|load| measure(&base, load));
        std::fs::remove_dir_all(&base)?;
        measured?;
    }
    Ok(())
}
