//! The prompt.

use std::fs;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use super::complete::Prompt;
use super::print::{Mode, Style};
use super::{RunError, Shell};
use crate::host::Scheduled;

/// Lines of history kept.
const HISTORY: usize = 1_000;
/// What stands before the input.
const PROMPT: &str = "osquery-ebpf> ";

/// The dot commands, and what they do.
pub(super) const COMMANDS: [(&str, &str); 9] = [
    (".exit", "Leave"),
    (".help", "Show this"),
    (".mode", ".mode MODE: print results as pretty, json, csv, line or list"),
    (".quit", "Leave"),
    (".schedule", ".schedule [NAME SECONDS SQL]: show the scheduled queries, or add one"),
    (".schema", ".schema [TABLE]: show columns and their types"),
    (".separator", ".separator TEXT: what stands between values of csv and list"),
    (".socket", "Show the socket that other extensions can register at"),
    (".tables", ".tables [TEXT]: list tables, those with TEXT in their names"),
];

/// What a line asks for.
enum Next {
    Go,
    Leave,
}

/// Reads lines and runs them until the end.
pub(super) fn run(shell: &mut Shell, mut style: Style, flush: &dyn Fn()) -> Result<(), RunError> {
    if !std::io::stdin().is_terminal() {
        return run_script(shell, style, flush);
    }
    let config = Config::builder()
        .max_history_size(HISTORY)?
        .completion_type(CompletionType::List)
        .auto_add_history(true)
        .build();
    let mut editor: Editor<Prompt, FileHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(prompt(shell)));
    let history = history_file();
    if let Some(history) = &history
        && history.exists()
        && let Err(error) = editor.load_history(history)
    {
        log::warn!("{}: {error}", history.display());
    }
    println!("Live events; the tables are listed by .tables, and .help helps.");
    loop {
        match editor.readline(PROMPT) {
            Ok(line) => match obey(shell, &mut style, &line, flush)? {
                Next::Go => {}
                Next::Leave => break,
            },
            // Ctrl-C throws the input away, Ctrl-D leaves.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(history) = &history {
        let saved =
            editor.save_history(history).map_err(|error| error.to_string()).and_then(|()| {
                fs::set_permissions(history, fs::Permissions::from_mode(0o600))
                    .map_err(|error| error.to_string())
            });
        if let Err(error) = saved {
            log::warn!("{}: {error}", history.display());
        }
    }
    Ok(())
}

/// Statements and commands from a pipe.
fn run_script(shell: &Shell, mut style: Style, flush: &dyn Fn()) -> Result<(), RunError> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let mut statement = String::new();
    for line in text.lines() {
        if statement.trim().is_empty() && line.starts_with('.') {
            if matches!(obey(shell, &mut style, line, flush)?, Next::Leave) {
                return Ok(());
            }
            continue;
        }
        statement.push_str(line);
        statement.push('\n');
    }
    flush();
    shell.print(&statement, &style, &mut std::io::stdout().lock())
}

fn prompt(shell: &Shell) -> Prompt {
    let mut names = std::collections::BTreeSet::new();
    for (table, columns) in shell.host().tables().unwrap_or_default() {
        names.extend(columns.into_iter().map(|(column, _)| column));
        names.insert(table);
    }
    Prompt { names }
}

/// Where the history is kept: `$XDG_STATE_HOME/osquery-ebpf/history`, made so that only we can
/// read it. `None`: there is no home.
fn history_file() -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state =
        absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    let directory = state.join("osquery-ebpf");
    if let Err(error) = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory) {
        log::warn!("{}: {error}", directory.display());
        return None;
    }
    Some(directory.join("history"))
}

/// Runs a line. Errors of SQL are said and forgotten.
fn obey(shell: &Shell, style: &mut Style, line: &str, flush: &dyn Fn()) -> Result<Next, RunError> {
    let line = line.trim();
    if let Some(command) = line.strip_prefix('.') {
        let (command, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        return dot(shell, style, command, argument.trim().trim_end_matches(';'));
    }
    if line.is_empty() {
        return Ok(Next::Go);
    }
    flush();
    match shell.print(line, style, &mut std::io::stdout().lock()) {
        Err(RunError::Sql(error)) => eprintln!("Error: {error}"),
        other => other?,
    }
    Ok(Next::Go)
}

fn dot(shell: &Shell, style: &mut Style, command: &str, argument: &str) -> Result<Next, RunError> {
    let mut out = std::io::stdout().lock();
    match command {
        "exit" | "quit" => return Ok(Next::Leave),
        "help" => {
            for (command, does) in COMMANDS {
                writeln!(out, "{command:<12}{does}")?;
            }
            writeln!(out, "Statements end with ; and may take several lines.")?;
        }
        "mode" => match Mode::from_name(argument) {
            Some(mode) => style.mode = mode,
            None => {
                let names = Mode::ALL.map(|(name, _)| name).join(", ");
                eprintln!("Error: the mode is one of {names}");
            }
        },
        "separator" => argument.clone_into(&mut style.separator),
        "socket" => writeln!(out, "{}", shell.host().socket().display())?,
        "schedule" if argument.is_empty() => {
            let sql = "SELECT name, interval, executions, last_executed, query \
                       FROM osquery_schedule";
            shell.print(sql, style, &mut out)?;
        }
        "schedule" => {
            let mut words = argument.splitn(3, char::is_whitespace);
            let interval = |word: &str| word.parse().ok().filter(|seconds| *seconds > 0);
            match (words.next(), words.next().and_then(interval), words.next()) {
                (Some(name), Some(seconds), Some(sql)) => {
                    shell.host().add_scheduled(Scheduled::new(name, sql.trim(), seconds));
                }
                _ => eprintln!("Error: a name, a number of seconds and a statement are expected"),
            }
        }
        "tables" => {
            for table in shell.host().tables()?.keys().filter(|table| table.contains(argument)) {
                writeln!(out, "  => {table}")?;
            }
        }
        "schema" => {
            for (table, columns) in shell.host().tables()? {
                if argument.is_empty() || argument == table {
                    let columns: Vec<String> =
                        columns.iter().map(|(name, ty)| format!("`{name}` {ty}")).collect();
                    writeln!(out, "CREATE TABLE {table}({});", columns.join(", "))?;
                }
            }
        }
        other => eprintln!("Error: there is no command .{other}; .help lists them"),
    }
    Ok(Next::Go)
}
