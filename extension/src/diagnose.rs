//! `osquery-ebpf diagnose`: what support needs to know, in one archive.
//!
//! It looks at the host, at the extension that runs (through osqueryd), and tries the sources once in
//! a process of its own. It holds no rows of events, no arguments or environments of other programs,
//! and no flags that can hold a secret: it can be sent away.

mod asked;
mod bundle;
mod facts;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use osquery_ebpf_probes::clock;
use osquery_ebpf_probes::host::Host;
use serde_json::{Value, json};

use crate::config::Document;
use bundle::Bundle;

/// What a trial of the sources showed.
pub struct Trial {
    /// What is not as good as it could be.
    pub shortcomings: Vec<String>,
    /// Health afterwards, as JSON.
    pub health: String,
}

/// What is to be diagnosed.
pub struct Diagnosis<'a> {
    /// osqueryd's extensions socket.
    pub socket: &'a Path,
    /// The configuration of `--config`.
    pub document: &'a Document,
    /// Where the archive goes. `None`: into the current directory, under a name with the time.
    pub output: Option<&'a Path>,
}

impl Diagnosis<'_> {
    /// Writes the archive, saying on `progress` what is being done, and returns where it is. `trial`
    /// tries the sources.
    ///
    /// # Errors
    /// When the archive cannot be written. What cannot be found out is said in it.
    pub fn write(
        &self,
        progress: &mut dyn Write,
        trial: impl FnOnce() -> Result<Trial>,
    ) -> Result<PathBuf> {
        let seconds = clock::unix_now_ns() / 1_000_000_000;
        let directory = format!("osquery-ebpf-diagnosis-{seconds}");
        let path = self.output.map_or_else(|| format!("{directory}.tar.gz").into(), PathBuf::from);
        let failed = || format!("cannot write {}", path.display());
        let mut bundle = Bundle::create(&path, &directory, seconds).with_context(failed)?;
        let mut add = |name: &str, text: &str| bundle.add(name, text).with_context(failed);

        writeln!(progress, "reading the host")?;
        add("program.json", &pretty(&program()))?;
        add("host.json", &pretty(&facts::host(&Host::read())))?;
        add("audit.json", &pretty(&facts::audit()))?;
        add("running.json", &pretty(&facts::instances()))?;
        if !self.document.value.is_null() {
            add("config.json", &pretty(&asked::concerning_us(self.document)))?;
        }

        writeln!(progress, "asking osqueryd at {}", self.socket.display())?;
        match asked::answers(self.socket) {
            Ok(answers) => {
                for (name, answer) in answers {
                    add(&format!("osqueryd/{name}.json"), &pretty(&answer))?;
                }
            }
            Err(error) => {
                writeln!(progress, "  {error}")?;
                add("osqueryd/error.txt", &format!("{error}\n"))?;
            }
        }

        writeln!(progress, "trying the sources")?;
        match trial() {
            Ok(trial) => {
                let said: String =
                    trial.shortcomings.iter().map(|said| format!("{said}\n")).collect();
                write!(progress, "{said}")?;
                add("trial/shortcomings.txt", &said)?;
                add("trial/health.json", &trial.health)?;
            }
            Err(error) => {
                writeln!(progress, "  {error:#}")?;
                add("trial/error.txt", &format!("{error:#}\n"))?;
            }
        }
        bundle.finish().with_context(failed)?;
        Ok(path)
    }
}

fn program() -> Value {
    let path = std::env::current_exe();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "path": path.as_ref().map_or_else(ToString::to_string, |path| path.display().to_string()),
        "bytes": path.and_then(std::fs::metadata).map(|metadata| metadata.len()).ok(),
    })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests;
