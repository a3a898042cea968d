//! The commands of whoever looks after many hosts: what is busy here, and what is wrong here.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use osquery_ebpf::host::{Host, Options};
use osquery_ebpf_tests::{Row, Scratch, Served, program, text, wait_for, workload};
use serde_json::Value;

mod root {
    use super::*;

    #[test]
    fn statistics_name_who_was_busy_while_they_were_collected() {
        const RUNS: u64 = 60;
        let mut statistics = Command::new(program())
            .args(["statistics", "--for", "4", "--top", "200", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(statistics.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("collecting") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended before it collected");
        }
        for _ in 0..RUNS {
            assert!(Command::new(workload()).arg("noop").status().unwrap().success());
        }
        let mut rows = String::new();
        statistics.stdout.take().unwrap().read_to_string(&mut rows).unwrap();
        assert!(statistics.wait().unwrap().success());
        let rows: Vec<Row> = serde_json::from_str(&rows).unwrap();
        let mine = rows.iter().find(|row| {
            text(row, "what") == "initiator"
                && text(row, "name") == workload().display().to_string()
        });
        let count: u64 = text(mine.unwrap(), "count").parse().unwrap();
        // Each has an execution; forks and exits are not counted as something it did.
        assert!(count >= RUNS, "{count}");
    }

    #[test]
    fn a_diagnosis_holds_the_health_of_the_extension_that_runs_and_of_a_trial() {
        let scratch = Scratch::new("diagnose");
        let host = Host::start(Options::new(scratch.join("osquery.em"))).unwrap();
        let _served = Served::start(&program(), host.socket(), &[]).unwrap();
        wait_for(Duration::from_secs(10), || {
            host.query("SELECT 1 FROM ebpf_events_health", &mut |_| ()).ok()
        })
        .unwrap();

        let archive = scratch.join("bundle.tar.gz");
        let output = Command::new(program())
            .arg("diagnose")
            .args(["--socket".as_ref(), host.socket(), "--output".as_ref(), &archive])
            .output()
            .unwrap();
        let progress = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{progress}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), archive.to_str().unwrap());

        let unpacked =
            Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(scratch.path()).status();
        assert!(unpacked.unwrap().success());
        let directory = std::fs::read_dir(scratch.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.is_dir())
            .unwrap();
        let read = |name: &str| -> Value {
            let path = directory.join(name);
            let text = std::fs::read_to_string(&path);
            serde_json::from_str(&text.unwrap_or_else(|error| panic!("{name}: {error}"))).unwrap()
        };
        for health in ["osqueryd/health.json", "trial/health.json"] {
            let rows = read(health);
            let exec = rows.as_array().unwrap().iter().find(|row| row["kind"] == "exec").unwrap();
            assert_eq!(exec["source"], "bpf", "{health}: {exec}");
        }
        let extensions = read("osqueryd/extensions.json");
        let named = extensions.as_array().unwrap().iter().map(|row| &row["name"]);
        assert!(named.into_iter().any(|name| name == "osquery_ebpf"), "{extensions}");
        let running = read("running.json");
        assert!(!running.as_array().unwrap().is_empty(), "{running}");
    }
}
