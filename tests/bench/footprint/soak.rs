//! Memory and CPU over a long mixed load, with queries as a fleet's schedule would make them, and a
//! picture of it.

use std::fmt::Write as _;
use std::io::Result;
use std::time::{Duration, Instant};

use osquery_ebpf_tests::figures::Figures;

use crate::observed::{Observed, done};

#[cfg(test)]
mod tests;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Looks between two queries for everything there is.
const QUERY_EVERY: usize = 10;
/// Rest of the load between two rounds of each kind, in seconds: some hundred events a second.
const REST: f64 = 0.02;

/// Where the curves begin in the picture; the labels of their axes stand left of that.
const LEFT: f64 = 76.0;
/// Between such a label and its axis.
const GAP: f64 = 6.0;
/// From here on, what is behind the point says nothing in a label.
const WHOLE: f64 = 1000.0;

/// What was seen at one look.
struct Sample {
    seconds: f64,
    resident: f64,
    cpu_percent: f64,
    held: f64,
}

/// What a curve shows of a look.
type Value = fn(&Sample) -> f64;

pub struct Samples {
    samples: Vec<Sample>,
    lost: f64,
}

pub fn run(observed: &Observed, seconds: f64) -> Result<Samples> {
    let before = observed.settled()?;
    let load = observed.mixed(seconds, REST, "exec,file,socket")?;
    let started = Instant::now();
    let mut samples: Vec<Sample> = Vec::new();
    let mut last = (observed.served.cpu()?, Instant::now());
    while started.elapsed().as_secs_f64() < seconds {
        std::thread::sleep(LOOK);
        if samples.len().is_multiple_of(QUERY_EVERY) {
            observed.query("SELECT * FROM ebpf_process_events WHERE time > 0")?;
        }
        let now = (observed.served.cpu()?, Instant::now());
        let cpu = (now.0 - last.0).as_secs_f64() / (now.1 - last.1).as_secs_f64();
        last = now;
        let health = observed.health()?;
        samples.push(Sample {
            seconds: started.elapsed().as_secs_f64(),
            resident: crate::mebibytes(observed.served.memory()?.0),
            cpu_percent: cpu * 100.0,
            held: health.total("held") as f64,
        });
        if samples.len().is_multiple_of(60) {
            eprintln!("{} of {seconds} seconds", samples.len());
        }
    }
    done(load)?;
    let after = observed.settled()?;
    let change = |column: &str| (after.total(column) - before.total(column)) as f64;
    Ok(Samples { samples, lost: change("lost_ring") + change("lost_missed") })
}

/// How the top of an axis is told.
fn label(most: f64) -> String {
    if most >= WHOLE { format!("{most:.0}") } else { format!("{most:.1}") }
}

impl Samples {
    pub fn report(&self, figures: &mut Figures) {
        let of = |value: Value| self.samples.iter().map(value).collect::<Vec<f64>>();
        figures.many("soak: resident", "MiB", of(|sample| sample.resident));
        figures.many("soak: CPU (of one core)", "%", of(|sample| sample.cpu_percent));
        figures.many("soak: events held", "events", of(|sample| sample.held));
        figures.one("soak: lost", "events", self.lost);
    }

    /// Three curves over the same time, each with a scale of its own, as SVG.
    pub fn plot(&self) -> String {
        const WIDTH: f64 = 720.0;
        const HEIGHT: f64 = 120.0;
        let curves: [(&str, &str, Value); 3] = [
            ("resident memory, MiB", "#1f77b4", |sample| sample.resident),
            ("CPU, % of one core", "#d62728", |sample| sample.cpu_percent),
            ("events held", "#2ca02c", |sample| sample.held),
        ];
        let end = self.samples.last().map_or(1.0, |sample| sample.seconds).max(1.0);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" \
             fill=\"white\"/>\n",
            WIDTH + LEFT + 20.0,
            3.0 * (HEIGHT + 50.0) + 20.0
        );
        for (index, (title, colour, value)) in curves.into_iter().enumerate() {
            let top = 30.0 + index as f64 * (HEIGHT + 50.0);
            let most = self.samples.iter().map(value).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
            let points: Vec<String> = self
                .samples
                .iter()
                .map(|sample| {
                    let x = LEFT + sample.seconds / end * WIDTH;
                    let y = top + HEIGHT * (1.0 - value(sample) / most);
                    format!("{x:.1},{y:.1}")
                })
                .collect();
            // Writing to a string cannot fail.
            let _ = write!(
                svg,
                "<text x=\"{LEFT}\" y=\"{:.0}\">{title}</text>\n\
                 <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\n\
                 <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">0</text>\n\
                 <path d=\"M{LEFT},{top} v{HEIGHT} h{WIDTH}\" fill=\"none\" stroke=\"#999\"/>\n\
                 <polyline fill=\"none\" stroke=\"{colour}\" points=\"{}\"/>\n",
                top - 8.0,
                LEFT - GAP,
                top + 10.0,
                label(most),
                LEFT - GAP,
                top + HEIGHT,
                points.join(" ")
            );
        }
        let _ = write!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{end:.0} s</text>\n</svg>\n",
            LEFT + WIDTH,
            30.0 + 2.0 * (HEIGHT + 50.0) + HEIGHT + 18.0
        );
        svg
    }
}
