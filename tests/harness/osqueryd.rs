//! A real osqueryd in the place of the embedded host, where the environment variable `OSQUERYD` names
//! one: as a fleet has it, started with osquery.flags.example, which loads the program by itself.

use std::fs::{self, File, Permissions};
use std::io::{Error, Result};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Row, Scratch, wait_for};

/// It starts its worker, and that us; a query takes it most of a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// The one to be used, if one is.
#[must_use]
pub fn named() -> Option<PathBuf> {
    std::env::var_os("OSQUERYD").filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// osqueryd at work, with our tables. Dropping it ends it, and us with it.
#[derive(Debug)]
pub struct Osqueryd {
    binary: PathBuf,
    child: Child,
    scratch: Scratch,
}

impl Osqueryd {
    /// Starts it, and returns once events come in, of files too where the configuration names some. `options` are those of
    /// `osquery-ebpf shell`; `--config` becomes osqueryd's own.
    ///
    /// # Errors
    /// When it cannot be started, or does not get there; then with the end of what it said.
    pub fn start(binary: &Path, program: &Path, options: &[&str]) -> Result<Self> {
        let scratch = Scratch::new("osqueryd");
        let (mut config, mut ours) = (None, Vec::new());
        for option in options.chunks(2) {
            match option {
                ["--config", path] => config = Some(PathBuf::from(path)),
                ["--results", _] => {}
                other => ours.extend_from_slice(other),
            }
        }
        let config = match config {
            Some(config) => config,
            None => write(&scratch, "config.json", "{}")?,
        };
        // osqueryd hands an extension its socket and no options of the extension's own.
        let extension = write(
            &scratch,
            "osquery-ebpf.ext",
            &format!("#!/bin/sh\nexec {} {} \"$@\"\n", program.display(), ours.join(" ")),
        )?;
        fs::set_permissions(&extension, Permissions::from_mode(0o755))?;
        let autoload = write(&scratch, "extensions.load", &extension.display().to_string())?;
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../osquery.flags.example");
        let at = |name: &str| scratch.join(name).display().to_string();
        let flags = [
            ("flagfile", example.display().to_string()),
            ("extensions_autoload", autoload.display().to_string()),
            ("extensions_socket", at("osquery.em")),
            ("config_path", config.display().to_string()),
            ("database_path", at("database")),
            ("logger_path", at("")),
            ("pidfile", at("pid")),
            ("schedule_splay_percent", "0".to_owned()),
        ];
        let said = File::create(scratch.join("said"))?;
        let child = Command::new(binary)
            .args(flags.map(|(flag, value)| format!("--{flag}={value}")))
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()?;
        let started = Self { binary: binary.to_owned(), child, scratch };
        // osqueryd gives us its configuration some time after we are there.
        let works = if fs::read_to_string(&config)?.contains("file_paths") {
            "SELECT 1 FROM ebpf_events_health WHERE kind = 'file' AND probes_attached > 0"
        } else {
            "SELECT 1 FROM ebpf_events_health WHERE source <> ''"
        };
        let works = || started.rows(works).is_ok_and(|rows| !rows.is_empty()).then_some(());
        match wait_for(PATIENCE, works) {
            Some(()) => Ok(started),
            None => Err(Error::other(format!(
                "{}: no events within {PATIENCE:?}:\n{}",
                binary.display(),
                started.said()
            ))),
        }
    }

    /// What it and we said.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(self.scratch.join("said")).unwrap_or_default()
    }

    /// The rows of a statement.
    ///
    /// # Errors
    /// When it refuses the statement; then with what it said.
    pub fn rows(&self, sql: &str) -> Result<Vec<Row>> {
        let socket = self.scratch.join("osquery.em");
        let mut ask = Command::new(&self.binary);
        ask.args(["-S", "--json", "--connect"]).arg(&socket).arg(sql);
        let Output { status, stdout, stderr } = ask.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&stdout);
        let rows = said.find('[').and_then(|start| serde_json::from_str(said.get(start..)?).ok());
        let refused = || Error::other(format!("{said}{}", String::from_utf8_lossy(&stderr)));
        if status.success() { rows.ok_or_else(refused) } else { Err(refused()) }
    }

    /// Returns once all that happened so far is in the tables: an execution of its own is, and nothing
    /// waits for an answer. Other rings are read in the time that one query takes.
    ///
    /// # Errors
    /// When it never is.
    pub fn settle(&self) -> Result<()> {
        let pause = format!("0.0{}", self.child.id());
        Command::new("/bin/sleep").arg(&pause).status()?;
        let settled = format!(
            "SELECT 1 FROM process_events WHERE cmdline = '/bin/sleep {pause}'
             AND (SELECT sum(pending) FROM ebpf_events_health) = 0"
        );
        let settled = || self.rows(&settled).is_ok_and(|rows| !rows.is_empty()).then_some(());
        wait_for(PATIENCE, settled)
            .ok_or_else(|| Error::other(format!("something still waits:\n{}", self.said())))
    }

    /// What scheduled queries gave so far.
    ///
    /// # Errors
    /// When there is no log of it.
    pub fn results(&self) -> Result<String> {
        fs::read_to_string(self.scratch.join("osqueryd.results.log"))
    }
}

impl Drop for Osqueryd {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn write(scratch: &Scratch, name: &str, text: &str) -> Result<PathBuf> {
    let path = scratch.join(name);
    fs::write(&path, text)?;
    Ok(path)
}

/// What `osquery-ebpf shell` with these options would answer, by a real osqueryd.
///
/// # Errors
/// When it cannot be started, refuses the statement, or the command fails.
pub fn rows_by(
    binary: &Path,
    program: &Path,
    options: &[&str],
    command: &str,
    sql: &str,
) -> Result<Vec<Row>> {
    let osqueryd = Osqueryd::start(binary, program, options)?;
    let status = Command::new("/bin/sh").args(["-c", command]).status()?;
    if !status.success() {
        return Err(Error::other(format!("{command}: {status}")));
    }
    osqueryd.settle()?;
    let rows = osqueryd.rows(sql);
    for option in options.chunks(2) {
        if let ["--results", path] = option {
            fs::write(path, osqueryd.results()?)?;
        }
    }
    rows
}
