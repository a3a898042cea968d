use super::*;

fn words(words: &[&str]) -> Vec<OsString> {
    ["osquery-ebpf"].iter().chain(words).map(OsString::from).collect()
}

#[test]
fn the_definition_is_sound() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn osqueryds_flags_are_taken() {
    let line = ["--verbose", "--socket", "/run/osquery.em", "--timeout", "3", "--interval", "5"];
    let (cli, skipped) = parse(words(&line), Mode::Autoload).unwrap();
    assert_eq!(cli.serve.osqueryd.socket, PathBuf::from("/run/osquery.em"));
    assert_eq!((cli.serve.timeout, cli.serve.interval), (Some(3), 5));
    assert!(cli.serve.common.verbose && cli.command.is_none() && skipped.is_empty());
}

#[test]
fn flags_of_a_later_osqueryd_are_skipped_under_autoload_only() {
    let line = ["--socket", "/s", "--new=1", "--newer", "word"];
    let (cli, skipped) = parse(words(&line), Mode::Autoload).unwrap();
    assert_eq!(cli.serve.osqueryd.socket, PathBuf::from("/s"));
    assert_eq!(skipped, ["--new", "--newer", "word"]);
    assert!(parse(words(&line), Mode::ByHand).is_err());
}

#[test]
fn a_wrong_value_is_refused_under_autoload_too() {
    assert!(parse(words(&["--interval", "x"]), Mode::Autoload).is_err());
}

#[test]
fn the_shell_has_one_mode_at_a_time() {
    assert!(parse(words(&["shell", "--json", "--csv"]), Mode::ByHand).is_err());
    let (cli, _) = parse(words(&["shell", "--csv", "SELECT 1"]), Mode::ByHand).unwrap();
    let Some(Command::Shell(shell)) = cli.command else { panic!("no shell") };
    assert_eq!(shell.style().mode, print::Mode::Csv);
    assert_eq!(shell.sql, ["SELECT 1"]);
}
