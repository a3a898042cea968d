//! Running somebody's command, to see its events.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};

use rustix::fs::Mode;

/// Why the command did not run.
#[derive(Debug, thiserror::Error)]
#[error("sh -c: {0}")]
pub struct CommandError(#[from] io::Error);

/// Runs `command` by `sh -c` and waits for it. What it prints goes to our stderr, since our stdout
/// is for results; it gets the umask we were started with, since ours hides what we make.
///
/// # Errors
/// When there is no shell or no process to be had. That the command fails is no error.
pub fn run_command(command: &str, umask: Mode) -> Result<ExitStatus, CommandError> {
    let stderr = rustix::io::dup(io::stderr()).map_err(io::Error::from)?;
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(stderr);
    // SAFETY: umask(2) only sets a number of the new process, and is async-signal-safe.
    unsafe {
        shell.pre_exec(move || {
            rustix::process::umask(umask);
            Ok(())
        });
    }
    Ok(shell.status()?)
}
