//! What a person at a prompt meets: one-shot SQL, and one clear sentence for each mistake.

use std::process::Command;

use osquery_ebpf_tests::{program, shell};

#[test]
fn a_broken_flag_is_named_and_exits_2() {
    let output = Command::new(program()).args(["shell", "--no-such-flag"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--no-such-flag"));
    let output =
        Command::new(program()).args(["shell", "--source", "magic", "SELECT 1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("magic"));
}

#[test]
fn version_and_help_answer_without_root_or_kernel() {
    let version = Command::new(program()).arg("--version").output().unwrap();
    assert!(version.status.success());
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("osquery-ebpf "));
    let help = Command::new(program()).arg("--help").output().unwrap();
    for word in ["shell", "serve", "--socket"] {
        assert!(String::from_utf8_lossy(&help.stdout).contains(word), "{word}");
    }
}

mod root {
    use super::*;

    #[test]
    fn a_sql_error_goes_to_stderr_with_exit_1() {
        let answer = shell(&["--json", "--exec", "true", "SELECT missing FROM nowhere"]);
        assert_eq!(answer.code, Some(1));
        assert_eq!(answer.stdout, "");
        assert!(answer.stderr.contains("nowhere"), "{}", answer.stderr);
    }

    #[test]
    fn only_the_result_is_on_stdout() {
        let answer =
            shell(&["--csv", "--exec", "echo noise; echo more >&2", "SELECT 1 AS one, 2 AS two"]);
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        assert_eq!(answer.stdout, "one|two\n1|2\n");
    }

    #[test]
    fn without_root_it_says_so_in_one_sentence() {
        let output = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(program())
            .args(["shell", "SELECT 1 FROM process_events"])
            .output()
            .unwrap();
        assert_ne!(output.status.code(), Some(0));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("root"), "{said}");
        assert_eq!(said.trim().lines().count(), 1, "{said}");
    }
}
