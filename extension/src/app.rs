//! The program: start-up in a safe order, then the extension or the shell, then an exit code.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use osquery_ebpf_probes::priority;
use rustix::fs::Mode as FileMode;
use rustix::process::DumpableBehavior;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::{self, Command, Common};
use crate::config::{Age, Document, Poller, SourceChoice, merge};
use crate::diagnose::{Diagnosis, Trial};
use crate::host::parse_schedule;
use crate::memory;
use crate::privilege::{self, Files, Privileges};
use crate::runtime::{Engine, Ladder, Runtime};
use crate::session::{Ended, Mode, Observer, Options, Session};
use crate::shell::{Setup, Shell, print, run_command};
use crate::stop::Stop;

/// Refused by osqueryd.
const EXIT_REFUSED: u8 = 3;
/// Without osqueryd for this long, unless told otherwise.
const GRACE: Duration = Duration::from_secs(60);
/// Between two looks at osqueryd's configuration, unless told otherwise.
const REFRESH: Duration = Duration::from_secs(60);
/// What flushing the events of a command may take.
const FLUSH: Duration = Duration::from_secs(10);
/// What the shell runs when a statement over events has no rows yet.
const NUDGE: &str = "exec true";
/// The largest configuration file read.
const CONFIG_BYTES: u64 = 64 << 20;

/// Makes the engine and the ladder of its sources.
pub type Make = fn(&Common) -> Result<(Arc<dyn Engine>, Ladder)>;

/// Runs the program.
pub fn run(arguments: impl IntoIterator<Item = std::ffi::OsString>, make: Make) -> ExitCode {
    // Before anything is made or read: nobody else reads what we write, nor our memory.
    let umask = rustix::process::umask(FileMode::RWXG | FileMode::RWXO);
    memory::use_one_heap();
    let dumpable = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let detected = Mode::detect(false);
    let (cli, skipped) = match cli::parse(arguments, detected) {
        Ok(parsed) => parsed,
        Err(error) => error.exit(),
    };
    let result = match &cli.command {
        Some(Command::Shell(arguments)) => {
            log_to_stderr(arguments.common.verbose, log::LevelFilter::Warn, false);
            shell(arguments, umask, make)
        }
        Some(Command::Statistics(arguments)) => {
            log_to_stderr(arguments.common.verbose, log::LevelFilter::Warn, false);
            statistics(arguments, make)
        }
        Some(Command::Diagnose(arguments)) => {
            log_to_stderr(arguments.common.verbose, log::LevelFilter::Error, false);
            diagnose(arguments, umask, make)
        }
        Some(Command::Serve(arguments)) => {
            log_to_stderr(arguments.common.verbose, log::LevelFilter::Info, true);
            serve(arguments, Mode::detect(true), make)
        }
        None => {
            log_to_stderr(cli.serve.common.verbose, log::LevelFilter::Info, true);
            for flag in skipped {
                log::warn!("skipped the unknown argument {flag}");
            }
            serve(&cli.serve, detected, make)
        }
    };
    if let Err(errno) = dumpable {
        log::warn!("core dumps of this process cannot be prevented: {errno}");
    }
    result.unwrap_or_else(|error| {
        eprintln!("osquery-ebpf: {error:#}");
        ExitCode::FAILURE
    })
}

fn log_to_stderr(verbose: bool, level: log::LevelFilter, timestamps: bool) {
    let level = if verbose { log::LevelFilter::Debug } else { level };
    env_logger::Builder::new()
        .filter_level(level)
        .parse_env("OSQUERY_EBPF_LOG")
        .format(move |out, record| {
            let level = record.level().as_str().to_ascii_lowercase();
            if timestamps {
                let now = out.timestamp_millis();
                writeln!(out, "{now} osquery-ebpf: {level}: {}", record.args())
            } else {
                writeln!(out, "osquery-ebpf: {level}: {}", record.args())
            }
        })
        .init();
}

/// Gives up the privileges that are not needed, unless they are to be kept.
fn give_up(common: &Common, files: Files) -> Result<()> {
    if common.privileges == Privileges::Drop {
        privilege::give_up(files)?;
    }
    Ok(())
}

/// The engine, with its sources at work.
fn start(common: &Common, document: &Document, make: Make) -> Result<(Arc<dyn Engine>, Runtime)> {
    let (engine, ladder) = make(common)?;
    let runtime = Runtime::start(Arc::clone(&engine), common.settings.clone(), document, ladder)
        .context("the sources cannot be run")?;
    Ok((engine, runtime))
}

/// Probes and audit need root; without sources anybody may look around.
fn check_root(common: &Common) -> Result<()> {
    let off = common.settings.source == Some(SourceChoice::Off);
    if !off && !rustix::process::geteuid().is_root() {
        bail!("it watches the whole host and so must run as root; try sudo");
    }
    Ok(())
}

/// The file of `--config`, as osqueryd's one source.
fn read_config(path: Option<&Path>) -> Result<(String, Document)> {
    let Some(path) = path else { return Ok(("{}".to_owned(), Document::default())) };
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("--config {shown}"))?;
    let text = io::read_to_string(io::Read::take(file, CONFIG_BYTES))
        .with_context(|| format!("--config {shown}"))?;
    let mut document = merge(&[(shown.to_string(), text.clone())].into());
    match document.problems.pop() {
        Some(problem) => bail!("--config {problem}"),
        None => Ok((text, document)),
    }
}

/// A request to stop that SIGTERM, SIGINT and SIGHUP make.
fn stop_on_signals() -> Result<Arc<Stop>> {
    let stop = Arc::new(Stop::new().context("an event descriptor")?);
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("signal handlers")?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn({
            let stop = Arc::clone(&stop);
            move || {
                for _ in signals.forever() {
                    stop.request();
                }
            }
        })
        .context("a thread for signals")?;
    Ok(stop)
}

/// Ends the program on SIGTERM and SIGHUP while the line editor reads: the sources are stopped, which
/// puts back what they changed in the kernel, and the terminal is as it was.
fn leave_on_signals(runtime: &Arc<Runtime>) -> Result<()> {
    let terminal = rustix::termios::tcgetattr(io::stdin()).ok();
    let mut signals = Signals::new([SIGTERM, SIGHUP]).context("signal handlers")?;
    let runtime = Arc::clone(runtime);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                runtime.sources().stop();
                if let Some(terminal) = &terminal {
                    let now = rustix::termios::OptionalActions::Now;
                    if let Err(errno) = rustix::termios::tcsetattr(io::stdin(), now, terminal) {
                        log::warn!("the terminal cannot be put back: {errno}");
                    }
                }
                std::process::exit(128 + signal);
            }
        })
        .context("a thread for signals")?;
    Ok(())
}

/// Hands osqueryd's configuration to the runtime while there is an osqueryd.
struct Follow(Poller);

impl Observer for Follow {
    fn registered(&self, socket: &Path) {
        self.0.set_socket(Some(socket));
    }

    fn lost(&self) {
        self.0.set_socket(None);
    }

    fn refused(&self, _why: &str) {}
}

fn serve(arguments: &cli::Serve, mode: Mode, make: Make) -> Result<ExitCode> {
    check_root(&arguments.common)?;
    priority::no_lower_than_others();
    give_up(&arguments.common, Files::ReadOnly)?;
    let stop = stop_on_signals()?;
    let (_, document) = read_config(arguments.common.config.as_deref())?;
    let (engine, runtime) = start(&arguments.common, &document, make)?;
    let runtime = Arc::new(runtime);
    for shortcoming in runtime.sources().shortcomings() {
        log::warn!("{shortcoming}");
    }
    memory::give_back();
    let settings = runtime.settings();
    let given = |age: Option<Age>| age.map(|age| age.0);
    let poller = Poller::start(given(settings.refresh).unwrap_or(REFRESH), {
        let runtime = Arc::downgrade(&runtime);
        move |document| {
            if let Some(runtime) = runtime.upgrade() {
                runtime.apply(document);
            }
        }
    })
    .context("a thread for the configuration")?;
    let grace = match (given(settings.grace), mode) {
        (Some(grace), _) => Some(grace),
        (None, Mode::Service) => None,
        (None, Mode::Autoload | Mode::ByHand) => Some(GRACE),
    };
    let options = Options {
        socket: arguments.osqueryd.socket.clone(),
        mode,
        grace,
        interval: Duration::from_secs(arguments.interval),
        once: arguments.once,
    };
    let session = Session::new(options, engine, Arc::new(Follow(poller)), stop);
    match session.run() {
        Ended::Stopped | Ended::OsqueryGone => Ok(ExitCode::SUCCESS),
        Ended::Refused(why) => {
            log::error!("stopping: {why}");
            Ok(ExitCode::from(EXIT_REFUSED))
        }
    }
}

fn shell(arguments: &cli::Shell, umask: FileMode, make: Make) -> Result<ExitCode> {
    check_root(&arguments.common)?;
    let collect = match arguments.for_seconds {
        None => None,
        Some(seconds) => match Duration::try_from_secs_f64(seconds) {
            Ok(time) => Some(time),
            Err(error) => bail!("--for {seconds}: {error}"),
        },
    };
    let sql = arguments.sql.join(" ");
    let interactive = sql.trim().is_empty() && arguments.exec.is_none() && collect.is_none();
    // A command is to run as its caller would have run it. Without --exec there may be the nudge.
    let runs_commands = arguments.exec.is_some() || !(interactive || collect.is_some());
    if !runs_commands {
        // The prompt keeps a history, and results may go to a file.
        give_up(&arguments.common, Files::Writable)?;
    }
    let (text, document) = read_config(arguments.common.config.as_deref())?;
    let schedule = parse_schedule(&document.value)?;
    // At a prompt, Ctrl-C belongs to the line editor, and leaving is another matter.
    let stop = if interactive {
        Arc::new(Stop::new().context("an event descriptor")?)
    } else {
        stop_on_signals()?
    };
    let (engine, runtime) = start(&arguments.common, &document, make)?;
    let runtime = Arc::new(runtime);
    report(&runtime)?;
    let setup = Setup { config: text, core_tables: arguments.core_tables };
    let mut shell = Shell::start(&setup, engine)?;
    if interactive || !schedule.is_empty() {
        shell.schedule(schedule, results(arguments.results.as_deref())?)?;
    }
    let late = || log::warn!("not all events were in after {FLUSH:?}");
    if interactive {
        leave_on_signals(&runtime)?;
        shell.interact(arguments.style(), &|| {
            if !runtime.drain(FLUSH) {
                late();
            }
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(command) = &arguments.exec {
        let status = run_command(command, umask)?;
        if !status.success() {
            log::warn!("sh -c {command:?}: {status}");
        }
    }
    if let Some(time) = collect {
        stop.wait(time);
    }
    if !runtime.flush(FLUSH) {
        late();
    }
    let style = arguments.style();
    let mut out = io::stdout().lock();
    if sql.trim().is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.exec.is_some() || collect.is_some() {
        shell.print(&sql, &style, &mut out)?;
    } else {
        let nudge = || {
            // On an idle host nobody may execute anything for long.
            if let Err(error) = run_command(NUDGE, umask) {
                log::debug!("{error}");
            }
            runtime.drain(FLUSH);
        };
        shell.print_first(&sql, &style, &stop, &nudge, &mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Engine, sources and a shell over them, for a command that asks once.
fn start_once(common: &Common, make: Make) -> Result<(Runtime, Shell)> {
    let (text, document) = read_config(common.config.as_deref())?;
    let (engine, runtime) = start(common, &document, make)?;
    let shell = Shell::start(&Setup { config: text, core_tables: false }, engine)?;
    Ok((runtime, shell))
}

fn statistics(arguments: &cli::Statistics, make: Make) -> Result<ExitCode> {
    check_root(&arguments.common)?;
    // The embedded host makes a directory for its socket.
    give_up(&arguments.common, Files::Writable)?;
    let stop = stop_on_signals()?;
    let (runtime, shell) = start_once(&arguments.common, make)?;
    report(&runtime)?;
    eprintln!("collecting for {} seconds", arguments.seconds);
    // Ctrl-C shows what there is so far.
    stop.wait(Duration::from_secs(arguments.seconds));
    runtime.drain(FLUSH);
    let sql = format!(
        "SELECT what, name, count, error FROM (SELECT *, row_number() OVER (PARTITION BY what ORDER \
         BY count DESC, name) AS place FROM ebpf_events_statistics) WHERE place <= {} ORDER BY what, \
         place",
        arguments.top
    );
    let mode = if arguments.json { print::Mode::Json } else { print::Mode::Pretty };
    let style = print::Style { mode, ..print::Style::default() };
    shell.print(&sql, &style, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn diagnose(arguments: &cli::Diagnose, umask: FileMode, make: Make) -> Result<ExitCode> {
    check_root(&arguments.common)?;
    let (_, document) = read_config(arguments.common.config.as_deref())?;
    let diagnosis = Diagnosis {
        socket: &arguments.osqueryd.socket,
        document: &document,
        output: arguments.output.as_deref(),
    };
    let path = diagnosis.write(&mut io::stderr().lock(), || {
        let (runtime, shell) = start_once(&arguments.common, make)?;
        run_command(NUDGE, umask)?;
        runtime.flush(FLUSH);
        let style = print::Style { mode: print::Mode::Json, ..print::Style::default() };
        let mut health = Vec::new();
        shell.print("SELECT * FROM ebpf_events_health", &style, &mut health)?;
        Ok(Trial {
            shortcomings: runtime
                .sources()
                .shortcomings()
                .iter()
                .map(ToString::to_string)
                .collect(),
            health: String::from_utf8_lossy(&health).into_owned(),
        })
    })?;
    println!("{}", path.display());
    Ok(ExitCode::SUCCESS)
}

/// Says what is not as good as it could be. That nothing at all is served is an error, unless
/// nothing was asked for.
fn report(runtime: &Runtime) -> Result<()> {
    let sources = runtime.sources();
    let shortcomings = sources.shortcomings();
    if !sources.serve_anything() && !shortcomings.is_empty() {
        let why: Vec<String> = shortcomings.iter().map(ToString::to_string).collect();
        bail!("{}", why.join("; "));
    }
    for shortcoming in shortcomings {
        log::warn!("{shortcoming}");
    }
    Ok(())
}

fn results(path: Option<&Path>) -> Result<Box<dyn Write + Send>> {
    let Some(path) = path else { return Ok(Box::new(io::stdout())) };
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    Ok(Box::new(file.with_context(|| format!("--results {}", path.display()))?))
}
