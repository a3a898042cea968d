//! What a benchmark measured: figures by name, printed as they come, saved as JSON, and set beside
//! those of an earlier run. How they are come by is each benchmark's own.
//!
//! The JSON is one object: name → `unit`, `min`, `median`, `max`, and what else is told of the figure.
//! `tests/bench/table.py` reads it, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Map, Value};

#[cfg(test)]
mod tests;

/// The least, the middle and the most of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle one; of an even number of values the mean of the two in the middle.
    pub median: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of these; `None` if there are none, or one of them is not a number, as of nothing ÷ nothing.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        if values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get((values.len() - 1) / 2)?;
        Some(Self { min, median: f64::midpoint(lower, upper), max })
    }

    /// A line for people, to stand below [`heading`].
    #[must_use]
    pub fn line(&self, name: &str, unit: &str) -> String {
        let Self { min, median, max } = self;
        format!("{name:52} {min:>12.3} {median:>12.3} {max:>12.3}  {unit}")
    }
}

/// What stands in the columns of [`Spread::line`].
#[must_use]
pub fn heading() -> String {
    format!("{:52} {:>12} {:>12} {:>12}", "", "min", "median", "max")
}

#[derive(Debug, Clone, PartialEq)]
struct Figure {
    /// `None` in files of before it was written.
    unit: Option<String>,
    spread: Spread,
    /// What else is told of it, by name.
    also: BTreeMap<String, f64>,
}

/// Figures by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures(BTreeMap<String, Figure>);

impl Figures {
    /// Keeps a figure that was taken once, and prints it.
    pub fn one(&mut self, name: &str, unit: &str, value: f64) {
        self.many(name, unit, vec![value]);
    }

    /// Keeps a figure that was taken several times, and prints it. What has no values, or one that is
    /// not a number, is said to be unknown and not kept.
    pub fn many(&mut self, name: &str, unit: &str, values: Vec<f64>) {
        self.many_and(name, unit, values, None);
    }

    /// [`many`](Self::many), with one thing more to tell of it.
    pub fn many_and(
        &mut self,
        name: &str,
        unit: &str,
        values: Vec<f64>,
        also: Option<(&str, f64)>,
    ) {
        let Some(spread) = Spread::of(values) else {
            println!("{name:52} could not be measured");
            return;
        };
        let mut line = spread.line(name, unit);
        if let Some((name, value)) = also {
            // Writing to a string cannot fail.
            let _ = write!(line, ", {name} {value:+.0}");
        }
        println!("{line}");
        let also = also.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.0.insert(name.to_owned(), Figure { unit: Some(unit.to_owned()), spread, also });
    }

    /// Those of an earlier run.
    ///
    /// # Errors
    /// When the file cannot be read or is not what [`save`](Self::save) writes, with its path.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong =
            |what: &str| Error::new(ErrorKind::InvalidData, format!("{}: {what}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| named(path, &error))?;
        let all: Map<String, Value> =
            serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
        let figures = all.iter().map(|(name, value)| {
            let figure = Figure::read(value).map_err(|what| wrong(&format!("{name}: {what}")))?;
            Ok((name.clone(), figure))
        });
        figures.collect::<Result<_>>().map(Self)
    }

    /// Writes them as JSON.
    ///
    /// # Errors
    /// When the file cannot be written, with its path.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.json())? + "\n";
        std::fs::write(path, text).map_err(|error| named(path, &error))
    }

    fn json(&self) -> Value {
        self.0.iter().map(|(name, figure)| (name.clone(), figure.json())).collect()
    }

    /// A line for each figure of both runs: its median then and now, or in which of them it is missing.
    #[must_use]
    pub fn beside(&self, earlier: &Self) -> String {
        let names: BTreeSet<&String> = self.0.keys().chain(earlier.0.keys()).collect();
        let mut lines = String::new();
        for name in names {
            let of = |figures: &Self| figures.0.get(name).map(|figure| figure.spread.median);
            let (then, now) = match (of(earlier), of(self)) {
                (Some(then), Some(now)) => (format!("{then:.3}"), format!("{now:.3}")),
                (None, Some(now)) => ("was not".to_owned(), format!("{now:.3}")),
                (Some(then), None) => (format!("{then:.3}"), "is not".to_owned()),
                (None, None) => continue,
            };
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{name:52} {then:>12} {now:>12}");
        }
        lines
    }
}

impl Figure {
    fn json(&self) -> Value {
        let Spread { min, median, max } = self.spread;
        let mut members: Map<String, Value> =
            self.also.iter().map(|(name, value)| (name.clone(), (*value).into())).collect();
        for (name, value) in [("min", min), ("median", median), ("max", max)] {
            members.insert(name.to_owned(), value.into());
        }
        if let Some(unit) = &self.unit {
            members.insert("unit".to_owned(), unit.as_str().into());
        }
        Value::Object(members)
    }

    /// Or what is wrong with it.
    fn read(value: &Value) -> std::result::Result<Self, String> {
        let mut members = value.as_object().cloned().ok_or("not an object")?;
        let unit = members.remove("unit");
        let unit = match unit {
            None => None,
            Some(Value::String(unit)) => Some(unit),
            Some(other) => return Err(format!("unit: not text: {other}")),
        };
        let mut also = BTreeMap::new();
        for (name, value) in members {
            let value = value.as_f64().ok_or_else(|| format!("{name}: not a number: {value}"))?;
            also.insert(name, value);
        }
        let mut take = |name: &str| also.remove(name).ok_or_else(|| format!("no {name}"));
        let spread = Spread { min: take("min")?, median: take("median")?, max: take("max")? };
        Ok(Self { unit, spread, also })
    }
}

fn named(path: &Path, error: &Error) -> Error {
    Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// What a benchmark is told to do with its figures.
#[derive(Debug, clap::Args)]
pub struct Keep {
    /// Where the figures go.
    #[arg(long)]
    save: Option<PathBuf>,
    /// An earlier run's figures, to be shown beside these.
    #[arg(long)]
    compare: Option<PathBuf>,
}

impl Keep {
    /// Ends a benchmark: saves and compares, or says why there is nothing to.
    #[must_use]
    pub fn finish(&self, benchmark: &str, measured: Result<Figures>) -> ExitCode {
        match measured.and_then(|figures| self.keep(&figures)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{benchmark}: {error}");
                ExitCode::FAILURE
            }
        }
    }

    /// Saves first: what took long to measure is not lost to an earlier file that cannot be read.
    fn keep(&self, figures: &Figures) -> Result<()> {
        if let Some(path) = &self.save {
            figures.save(path)?;
        }
        if let Some(path) = &self.compare {
            let earlier = Figures::read(path)?;
            println!(
                "\nbeside {} (median then, now):\n{}",
                path.display(),
                figures.beside(&earlier)
            );
        }
        Ok(())
    }
}
