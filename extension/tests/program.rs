//! The program as osqueryd or a person starts it, against a host of this process.

#![expect(clippy::unwrap_used, reason = "a test, and what helps it, may and should fail loudly")]

mod support;

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{PROGRAM, Program, Service, count, eventually, host, registered, serve, text};

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_configuration_that_cannot_be_read_is_named() {
    let output = run(&["shell", "--source=off", "--config", "/nowhere.conf", "SELECT 1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert_eq!(
        said.trim(),
        "osquery-ebpf: --config /nowhere.conf: No such file or directory (os error 2)"
    );
}

#[test]
fn a_schedule_without_an_interval_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("c");
    std::fs::write(&config, r#"{"schedule": {"q": {"query": "SELECT 1"}}}"#).unwrap();
    let output = run(&["shell", "--source=off", "--config", config.to_str().unwrap(), "SELECT 1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("schedule: q: an \"interval\""), "{output:?}");
}

#[test]
fn statements_may_come_through_a_pipe() {
    let mut child = Command::new(PROGRAM)
        .args(["shell", "--source=off", "--csv"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(
        &mut stdin,
        b".mode line\n.mode csv\nSELECT 1 AS a;\nSELECT 2\nAS b;\n",
    )
    .unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "a\n1\nb\n2\n");
}

#[test]
fn without_osqueryd_an_autoloaded_program_ends_after_its_grace_period() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nobody.em");
    let line =
        format!("--source off --grace 1 --socket {} --timeout 3 --interval 3", socket.display());
    let began = Instant::now();
    let (code, said) = Program::autoloaded(&line).ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_flag_of_a_later_osqueryd_does_not_keep_it_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let host = host(directory.path(), "{}");
    let line = format!("--source off --verbose --socket {} --later=1", host.socket().display());
    let mut program = Program::autoloaded(&line);
    eventually("the registration", || registered(&host));
    program.terminate();
    let (code, said) = program.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("--later"), "{said}");
}

#[test]
fn sigterm_deregisters_and_ends_it_with_0() {
    let Service { mut program, host, directory } = serve("{}", &["--source=off"]);
    program.terminate();
    let (code, said) = program.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(!registered(&host));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "its socket is left");
}

#[test]
fn a_second_one_is_refused_with_3_and_says_whom_it_met() {
    let service = serve("{}", &["--source=off"]);
    let socket = service.host.socket().to_str().unwrap();
    let (code, said) = Program::start(&["--source=off", "--socket", socket]).ended();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("another osquery_ebpf is registered already"), "{said}");
}

mod root {
    use super::*;

    #[test]
    fn the_environment_is_fit_for_these_tests() {
        assert!(rustix::process::geteuid().is_root(), "these tests load probes: run them as root");
    }

    #[test]
    fn events_reach_a_query_and_survive_a_host_that_is_killed() {
        let Service { program: _program, host, directory } = serve("{}", &[]);
        let mark = format!("mark-{}", std::process::id());
        let execute =
            || assert!(Command::new("/bin/echo").arg(&mark).output().unwrap().status.success());
        let sql = format!("SELECT count(*) FROM process_events WHERE cmdline = '/bin/echo {mark}'");
        execute();
        eventually("the first event", || count(&host, &sql) == Some(1));
        host.abandon();
        execute();
        let host = self::host(directory.path(), "{}");
        eventually("the second registration", || registered(&host));
        eventually("both events", || count(&host, &sql) == Some(2));
    }

    #[test]
    fn the_hosts_configuration_says_which_files_are_watched() {
        let directory = tempfile::tempdir().unwrap();
        let watched = directory.path().join("watched");
        std::fs::create_dir(&watched).unwrap();
        let config = serde_json::json!({
            "file_paths": {"mine": [format!("{}/%%", watched.display())]},
            "ebpf_events": {"max_events": 77},
        });
        let service = serve(&config.to_string(), &[]);
        let sql = "SELECT count(*) FROM file_events WHERE category = 'mine'";
        let mut number = 0;
        eventually("a file event", || {
            number += 1;
            std::fs::write(watched.join(number.to_string()), "x").unwrap();
            count(&service.host, sql).is_some_and(|count| count > 0)
        });
    }

    /// osqueryd's watcher runs at 10, and so does what it starts: on a busy machine four of five socket
    /// events were lost then, because their reader came last.
    #[test]
    fn events_are_read_first_however_low_its_starter_was() {
        let directory = tempfile::tempdir().unwrap();
        let watched = serde_json::json!({
            "file_paths": {"mine": [format!("{}/%%", directory.path().display())]},
        });
        let host = host(directory.path(), &watched.to_string());
        let socket = host.socket().to_str().unwrap();
        let line = format!("exec nice -n 10 {PROGRAM} serve --refresh=1 --socket {socket}");
        let program = Program::by_shell(&line);
        let nice_by_name = || -> Vec<(String, i32)> {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", program.0.id())).unwrap();
            let stat = |task: std::io::Result<std::fs::DirEntry>| {
                std::fs::read_to_string(task.unwrap().path().join("stat")).ok()
            };
            tasks
                .filter_map(stat)
                .map(|stat| {
                    let (before, after) = stat.rsplit_once(") ").unwrap();
                    let name = before.split_once('(').unwrap().1.to_owned();
                    // Field 19 of proc_pid_stat(5), of which the third comes first here.
                    (name, after.split(' ').nth(16).unwrap().parse().unwrap())
                })
                .collect()
        };
        let readers = ["bpf-collector", "fanotify"];
        eventually("the readers to come first", || {
            let threads = nice_by_name();
            readers.iter().all(|reader| threads.contains(&((*reader).to_owned(), -4)))
        });
        eventually("the registration", || registered(&host));
        let last = nice_by_name().into_iter().filter(|(_, nice)| *nice > 0);
        assert_eq!(last.collect::<Vec<_>>(), [], "a reader may have to wait for these");
    }

    #[test]
    fn the_hosts_configuration_turns_bpf_off_and_on() {
        let service = serve("{}", &["--refresh=1"]);
        for source in ["connector", "auto", "off", "bpf"] {
            service.host.set_config(&format!(r#"{{"ebpf_events": {{"source": "{source}"}}}}"#));
            let shown = match source {
                "auto" => "bpf",
                "off" => "",
                other => other,
            };
            let sql = format!(
                "SELECT count(*) FROM ebpf_events_health WHERE kind = 'exec' \
                 AND coalesce(source, '') = '{shown}'"
            );
            eventually(source, || count(&service.host, &sql) == Some(1));
        }
    }

    #[test]
    fn a_command_keeps_the_umask_that_we_were_started_with() {
        let output = Command::new("/bin/sh")
            .args([
                "-c",
                &format!("umask 027; exec {PROGRAM} shell --source=off --exec umask 'SELECT 1'"),
            ])
            .output()
            .unwrap();
        assert_eq!(text(&output.stderr).trim(), "0027");
    }
}
