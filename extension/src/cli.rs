//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use osquery_ebpf_tables::statistics::WINDOW_SECONDS;

use crate::config::Settings;
use crate::privilege::Privileges;
use crate::session::Mode;
use crate::shell::print;

/// How many unknown flags of osqueryd's are skipped.
const SKIPPED: usize = 32;

const EXIT_CODES: &str = "\
Exit codes:
  0  stopped as asked, or osqueryd was away for longer than --grace
  1  could not start, or a statement failed
  2  the command line was wrong
  3  osqueryd refused the tables (another extension has a name of ours)

osqueryd starts an autoloaded extension again whenever it exits. So when it refuses the tables, an
autoloaded osquery-ebpf says so once, tries again at growing intervals, and exits with 3 only after
ten minutes; `serve` goes on trying; started by hand, or with --once, it exits at once.";

/// Process, socket and file events for osquery, from BPF.
///
/// Without a command it is an osquery extension, as osqueryd autoloads it.
#[derive(Debug, Parser)]
#[command(name = "osquery-ebpf", version, after_help = EXIT_CODES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of the extension.
    #[command(flatten)]
    pub serve: Serve,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Be an extension as a service of its own: wait for osqueryd for ever
    #[command(after_help = EXIT_CODES)]
    Serve(Serve),
    /// SQL over live events, without osqueryd: one statement, or a prompt
    Shell(Shell),
    /// What is busiest on this host: files changed, programs, system calls, peers
    Statistics(Statistics),
    /// Write an archive with what support needs to know; it holds no events
    Diagnose(Diagnose),
}

/// Flags of `statistics`.
#[derive(Debug, Clone, Args)]
pub struct Statistics {
    /// Collect for this long
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(1..=WINDOW_SECONDS))]
    pub seconds: u64,
    /// Names shown of each
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: u16,
    /// Print a JSON list
    #[arg(long)]
    pub json: bool,
    /// What all commands have.
    #[command(flatten)]
    pub common: Common,
}

/// Where osqueryd is.
#[derive(Debug, Clone, Default, Args)]
pub struct Osqueryd {
    /// osqueryd's extensions socket
    #[arg(
        long,
        visible_alias = "extensions_socket",
        value_name = "PATH",
        default_value = "/var/osquery/osquery.em"
    )]
    pub socket: PathBuf,
}

/// Flags of `diagnose`.
#[derive(Debug, Clone, Args)]
pub struct Diagnose {
    /// Whom to ask about the extension that runs.
    #[command(flatten)]
    pub osqueryd: Osqueryd,
    /// Where the archive goes [default: osquery-ebpf-diagnosis-TIME.tar.gz here]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What all commands have.
    #[command(flatten)]
    pub common: Common,
}

/// Flags of the extension.
#[derive(Debug, Clone, Default, Args)]
pub struct Serve {
    /// Whose extension it is.
    #[command(flatten)]
    pub osqueryd: Osqueryd,
    /// Accepted since osqueryd gives it; --grace says how long osqueryd is waited for
    #[arg(long, value_name = "SECONDS", hide_short_help = true)]
    pub timeout: Option<u64>,
    /// Seconds between two looks whether osqueryd still has us
    #[arg(long, value_name = "SECONDS", default_value_t = 3,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
    /// Exit at the first refusal instead of trying again
    #[arg(long)]
    pub once: bool,
    /// What all commands have.
    #[command(flatten)]
    pub common: Common,
}

/// Flags of the shell.
#[derive(Debug, Clone, Args)]
pub struct Shell {
    /// Run this by `sh -c` and wait until its events are in; its output goes to stderr
    #[arg(long, value_name = "COMMAND")]
    pub exec: Option<String>,
    /// Collect for this long before the statements are run
    #[arg(long = "for", value_name = "SECONDS")]
    pub for_seconds: Option<f64>,
    /// Print results as a JSON list
    #[arg(long, group = "mode")]
    pub json: bool,
    /// Print results as CSV
    #[arg(long, group = "mode")]
    pub csv: bool,
    /// Print results one value a line
    #[arg(long, group = "mode")]
    pub line: bool,
    /// Print results as a list
    #[arg(long, group = "mode")]
    pub list: bool,
    /// What stands between the values of --csv and --list
    #[arg(long, value_name = "TEXT", default_value = "|")]
    pub separator: String,
    /// Whether --csv and --list begin with the names of the columns
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub header: bool,
    /// Pretend that osquery's own event tables are there, as in an osqueryd without
    /// --disable_tables
    #[arg(long)]
    pub core_tables: bool,
    /// Append the result lines of scheduled queries to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
    /// What all commands have.
    #[command(flatten)]
    pub common: Common,
    /// Statements. Without --exec and --for, one over events that has no row yet gets the events of
    /// `sh -c "exec true"` to show, then waits up to five seconds for a row. None: a prompt opens
    #[arg(value_name = "SQL")]
    pub sql: Vec<String>,
}

/// What all commands have.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// A configuration of osquery's form: its sections ebpf_events, file_paths, exclude_paths and,
    /// in the shell, schedule. With osqueryd, what osqueryd has replaces it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say more on stderr
    #[arg(long, short)]
    pub verbose: bool,
    /// Whether to give up all privileges that are not needed, for good; the shell keeps them where it
    /// runs commands
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub privileges: Privileges,
    /// Settings that osquery's configuration has too.
    #[command(flatten)]
    pub settings: Settings,
}

impl Shell {
    /// How results are printed.
    pub fn style(&self) -> print::Style {
        let mode = match (self.json, self.csv, self.line, self.list) {
            (true, ..) => print::Mode::Json,
            (_, true, ..) => print::Mode::Csv,
            (_, _, true, _) => print::Mode::Line,
            (.., true) => print::Mode::List,
            _ => print::Mode::Pretty,
        };
        print::Style { mode, separator: self.separator.clone(), header: self.header }
    }
}

/// Reads the command line. Under autoload, flags we do not know are skipped and returned: a later
/// osqueryd may give more of them, and refusing would make it start us again and again.
///
/// # Errors
/// What clap says.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    mode: Mode,
) -> Result<(Cli, Vec<String>), clap::Error> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut skipped = Vec::new();
    loop {
        let error = match Cli::try_parse_from(&arguments) {
            Ok(cli) => return Ok((cli, skipped)),
            Err(error) => error,
        };
        // A word without a flag is taken for a command that conflicts with the flags before it.
        let context = match error.kind() {
            ErrorKind::UnknownArgument => ContextKind::InvalidArg,
            ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict => {
                ContextKind::InvalidSubcommand
            }
            _ => return Err(error),
        };
        let unknown = match error.get(context) {
            Some(ContextValue::String(unknown)) => unknown.clone(),
            _ => return Err(error),
        };
        let skippable = mode == Mode::Autoload && skipped.len() < SKIPPED;
        let before = arguments.len();
        if skippable {
            let is_it = |argument: &OsString| {
                let text = argument.to_string_lossy();
                text.split('=').next() == Some(unknown.as_str())
            };
            let at = arguments.iter().skip(1).position(is_it);
            if let Some(at) = at {
                arguments.remove(at + 1);
            }
        }
        if arguments.len() == before {
            return Err(error);
        }
        skipped.push(unknown);
    }
}

#[cfg(test)]
mod tests;
