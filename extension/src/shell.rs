//! `osquery-ebpf shell`: SQL over live events, without an osqueryd.
//!
//! An embedded host and the extension's own session run in this process and speak over a private
//! socket, so whatever works here works over the protocol. One-shot runs print only the result on
//! stdout; a prompt opens when there is nothing to run.

mod command;
mod complete;
mod interactive;
pub mod print;

pub use command::{CommandError, run_command};

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use osquery_ebpf_tables::scan::Tables;

use crate::host::{self, Answer, Host, HostError, Scheduled, SqlError};
use crate::session::{Ended, Mode, Observer, Options, Session};
use crate::stop::Stop;
use print::Style;

/// How long registering with the host may take.
const REGISTERED: Duration = Duration::from_secs(10);
/// Between two looks whether it has happened.
const LOOK: Duration = Duration::from_millis(2);
/// How long a statement over events waits for its first row, when nothing is executed first.
pub const FIRST_ROW: Duration = Duration::from_secs(5);
/// Between two attempts at it.
const RETRY: Duration = Duration::from_millis(100);

/// A host with our tables registered. Dropping it stops both ends.
pub struct Shell {
    host: Host,
    stop: Arc<Stop>,
    session: Option<std::thread::JoinHandle<Ended>>,
    /// Where the sockets are; removed with it.
    _directory: tempfile::TempDir,
}

/// Why a shell cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// No place for its sockets.
    #[error("cannot make a private directory for the socket: {0}")]
    Directory(io::Error),
    /// The host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A thread or descriptor.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// Our own session did not register.
    #[error("the tables could not be registered with the embedded host: {0}")]
    NotRegistered(String),
}

/// How the shell's host behaves.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// The configuration that the host gives out, as JSON text.
    pub config: String,
    /// Pretend that the core's event tables are there, as in an osqueryd without
    /// `--disable_tables`.
    pub core_tables: bool,
}

/// Becomes true when our session serves. That the host lists it is not enough: its socket comes
/// a moment later.
#[derive(Debug, Default)]
struct Ready(AtomicBool);

impl Observer for Ready {
    fn registered(&self, _socket: &Path) {
        self.0.store(true, Ordering::Release);
    }

    fn lost(&self) {}
    fn refused(&self, _why: &str) {}
}

impl Shell {
    /// Starts a host and registers `tables` with it, over the socket.
    ///
    /// # Errors
    /// [`ShellError`].
    pub fn start(setup: &Setup, tables: Arc<dyn Tables>) -> Result<Self, ShellError> {
        let directory = tempfile::Builder::new()
            .prefix("osquery-ebpf-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(ShellError::Directory)?;
        let socket = directory.path().join("shell.em");
        let mut options = host::Options::new(&socket);
        options.config.clone_from(&setup.config);
        if setup.core_tables {
            options.disabled.clear();
        }
        let host = Host::start(options)?;
        let stop = Arc::new(Stop::new().map_err(ShellError::Thread)?);
        let ready = Arc::new(Ready::default());
        let session = Session::new(
            Options {
                socket,
                mode: Mode::ByHand,
                grace: Some(Duration::ZERO),
                interval: Duration::from_secs(3),
                once: true,
            },
            tables,
            Arc::clone(&ready) as Arc<dyn Observer>,
            Arc::clone(&stop),
        );
        let session = std::thread::Builder::new()
            .name("session".to_owned())
            .spawn(move || session.run())
            .map_err(ShellError::Thread)?;
        let mut shell = Self { host, stop, session: Some(session), _directory: directory };
        shell.wait_until(&ready)?;
        Ok(shell)
    }

    fn wait_until(&mut self, ready: &Ready) -> Result<(), ShellError> {
        let until = Instant::now() + REGISTERED;
        while !ready.0.load(Ordering::Acquire) {
            let ended = self.session.as_ref().is_none_or(std::thread::JoinHandle::is_finished);
            if ended || Instant::now() >= until {
                let why = match self.session.take_if(|session| session.is_finished()) {
                    Some(session) => match session.join() {
                        Ok(ended) => format!("{ended:?}"),
                        Err(_) => "the session's thread has panicked".to_owned(),
                    },
                    None => format!("nothing happened for {REGISTERED:?}"),
                };
                return Err(ShellError::NotRegistered(why));
            }
            self.stop.wait(LOOK);
        }
        Ok(())
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Runs a schedule from now on, writing osqueryd's result lines to `out`.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn schedule(
        &mut self,
        queries: Vec<Scheduled>,
        out: Box<dyn Write + Send>,
    ) -> Result<(), HostError> {
        self.host.schedule(queries, out)
    }

    /// Runs statements and prints their results.
    ///
    /// # Errors
    /// SQLite's message, or a failure to write.
    pub fn print(&self, sql: &str, style: &Style, out: &mut dyn Write) -> Result<(), RunError> {
        let mut written = Ok(());
        self.host.query(sql, &mut |answer| {
            if written.is_ok() {
                written = print::print(&answer, style, out);
            }
        })?;
        written?;
        Ok(out.flush()?)
    }

    /// Runs statements until one over events has a row, for [`FIRST_ROW`] at most, and prints the
    /// last results. Statements that read no events are run once. If there are no rows at first,
    /// `nudge` is called once: it should make an event, so that an idle host has something to show.
    ///
    /// # Errors
    /// As [`Shell::print`].
    pub fn print_first(
        &self,
        sql: &str,
        style: &Style,
        stop: &Stop,
        nudge: &dyn Fn(),
        out: &mut dyn Write,
    ) -> Result<(), RunError> {
        let until = Instant::now() + FIRST_ROW;
        let mut nudged = false;
        loop {
            let mut answers: Vec<Answer> = Vec::new();
            self.host.query(sql, &mut |answer| answers.push(answer))?;
            let waits = answers.iter().any(|answer| answer.event_based)
                && answers.iter().all(|answer| answer.rows.is_empty());
            if !waits || Instant::now() >= until || (nudged && stop.wait(RETRY)) {
                for answer in &answers {
                    print::print(answer, style, out)?;
                }
                return Ok(out.flush()?);
            }
            if !nudged {
                nudge();
                nudged = true;
            }
        }
    }

    /// Opens a prompt. `flush` is called before each statement, so that what has happened is seen.
    ///
    /// # Errors
    /// When the terminal fails.
    pub fn interact(&mut self, style: Style, flush: &dyn Fn()) -> Result<(), RunError> {
        interactive::run(self, style, flush)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.stop.request();
        if let Some(session) = self.session.take()
            && session.join().is_err()
        {
            log::warn!("the session's thread has panicked");
        }
    }
}

/// Why a statement brought no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// SQLite's message.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The result could not be written.
    #[error("the result cannot be written: {0}")]
    Write(#[from] io::Error),
    /// The terminal.
    #[error("the terminal: {0}")]
    Terminal(#[from] rustyline::error::ReadlineError),
}

#[cfg(test)]
mod tests;
