//! Executions, file churn and connections side by side, for a time, counted.

use std::io::{Error, Result};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::{file, socket};

/// What a thread makes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Exec,
    File,
    Socket,
}

/// Files and connections are made this many at a time, so that looking at the clock costs nothing.
const ROUND: u32 = 50;

impl Kind {
    fn round(self, directory: &Path) -> Result<u32> {
        match self {
            Self::Exec => {
                let status = Command::new("/proc/self/exe").arg("noop").status()?;
                if status.success() { Ok(1) } else { Err(Error::other(format!("noop: {status}"))) }
            }
            Self::File => file::churn(directory, ROUND).map(|_| ROUND),
            Self::Socket => socket::connections(ROUND).map(|_| ROUND),
        }
    }
}

pub fn run(directory: &Path, seconds: f64, rest: f64, of: &[Kind]) -> Result<Value> {
    let length = Duration::try_from_secs_f64(seconds).map_err(Error::other)?;
    let rest = Duration::try_from_secs_f64(rest).map_err(Error::other)?;
    let started = Instant::now();
    let made = std::thread::scope(|scope| {
        let threads: Vec<_> = of
            .iter()
            .map(|kind| {
                scope.spawn(move || -> Result<u32> {
                    let mut made = 0;
                    while started.elapsed() < length {
                        made += kind.round(directory)?;
                        std::thread::sleep(rest);
                    }
                    Ok(made)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| Error::other("a thread panicked"))?)
            .collect::<Result<Vec<u32>>>()
    })?;
    let of_kind = |wanted: Kind| -> u32 {
        of.iter().zip(&made).filter(|(kind, _)| **kind == wanted).map(|(_, made)| made).sum()
    };
    Ok(json!({
        "executions": of_kind(Kind::Exec),
        "files": of_kind(Kind::File),
        "connections": of_kind(Kind::Socket),
        "seconds": started.elapsed().as_secs_f64(),
    }))
}
