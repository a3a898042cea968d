//! The service on audit, with its privileges given up, on a host where others use audit too: they keep
//! what they have, and all is as it was when we are gone, however we went.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use osquery_ebpf::host::{Host, Options};
use osquery_ebpf_tests::{
    Auditd, Scratch, Served, audit_pid, audit_state, auditctl, program, wait_for, workload,
};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(20);

mod root {
    use super::*;

    /// There is one audit subsystem; the tests of the probes take the same lock.
    fn alone() -> File {
        let file =
            File::create(std::env::temp_dir().join("osquery-ebpf-audit-tests.lock")).unwrap();
        file.lock().unwrap();
        assert_eq!(audit_pid().unwrap(), 0, "an audit daemon runs; these tests need audit alone");
        file
    }

    /// The program, and what stands in for osqueryd, which ends after it.
    struct Service {
        served: Option<Served>,
        host: Host,
        scratch: Scratch,
    }

    type Row = BTreeMap<String, String>;

    impl Service {
        fn start(name: &str, arguments: &[&str]) -> Self {
            let scratch = Scratch::new(name);
            let host = Host::start(Options::new(scratch.join("osquery.em"))).unwrap();
            let mut service = Self { served: None, host, scratch };
            service.begin(arguments);
            service
        }

        fn begin(&mut self, arguments: &[&str]) {
            let served = Served::start(&program(), self.host.socket(), arguments);
            self.served = Some(served.unwrap());
            wait_for(DEADLINE, || self.ask("SELECT 1 FROM ebpf_events_health").first().cloned())
                .expect("it registers");
        }

        fn ask(&self, sql: &str) -> Vec<Row> {
            let mut rows = Vec::new();
            // Until it has registered there is no such table.
            let _ = self.host.query(sql, &mut |answer| rows.extend(answer.into_maps()));
            rows
        }

        /// Executes something new, waits for its row, and gives the source of it.
        fn sees(&self, word: &str) -> String {
            // For a moment, since the connector tells only who: what was executed is looked up.
            let script = format!("sleep 0.1; : {word}");
            let status = Command::new("/bin/sh").args(["-c", &script]).status();
            assert!(status.unwrap().success());
            let sql = format!(
                "SELECT source FROM ebpf_process_events WHERE cmdline = '/bin/sh -c {script}'"
            );
            let rows = wait_for(DEADLINE, || Some(self.ask(&sql)).filter(|rows| !rows.is_empty()));
            let rows = rows.unwrap_or_else(|| panic!("no row of {word}"));
            assert_eq!(rows.len(), 1, "{rows:#?}");
            rows[0]["source"].clone()
        }

        fn tier(&self) -> String {
            let rows = self.ask("SELECT tier FROM ebpf_events_health WHERE kind = 'exec'");
            rows[0]["tier"].clone()
        }
    }

    const ON_AUDIT: [&str; 2] = ["--source", "audit"];

    /// A rule of somebody else's, with recording switched on, as long as it lives.
    struct Theirs;

    impl Theirs {
        const RULE: [&str; 7] = ["always,exit", "-F", "arch=b64", "-S", "execve", "-k", "theirs"];

        fn new() -> Self {
            auditctl(&[&["-a"], Self::RULE.as_slice()].concat()).unwrap();
            let theirs = Self;
            auditctl(&["-e", "1"]).unwrap();
            theirs
        }
    }

    impl Drop for Theirs {
        fn drop(&mut self) {
            // What stays is seen by the next look at all of it.
            let _ = auditctl(&["-e", "0"]);
            let _ = auditctl(&[&["-d"], Self::RULE.as_slice()].concat());
        }
    }

    #[test]
    fn killed_it_leaves_rules_that_its_next_start_and_its_end_take_away() {
        let _alone = alone();
        let before = audit_state().unwrap();
        let mut service = Service::start("audit-killed", &ON_AUDIT);
        assert_eq!(service.sees("first"), "audit");
        let served = service.served.take().unwrap();
        served.kill().unwrap();
        let left = audit_state().unwrap();
        assert!(left.contains("osquery-ebpf"), "a kill -9 leaves them: {left}");
        service.begin(&ON_AUDIT);
        assert_eq!(service.sees("second"), "audit");
        service.served = None;
        assert_eq!(audit_state().unwrap(), before);
    }

    /// With its privileges given up it can still go down the ladder, and up again.
    #[test]
    fn told_by_the_configuration_it_leaves_bpf_for_audit_and_comes_back() {
        let _alone = alone();
        let before = audit_state().unwrap();
        let service = Service::start("audit-switch", &["--refresh", "1"]);
        assert_eq!(service.sees("switch-0"), "bpf");
        for (number, source) in ["audit", "bpf", "connector", "auto"].into_iter().enumerate() {
            service.host.set_config(&format!(r#"{{"ebpf_events": {{"source": "{source}"}}}}"#));
            let serves = if source == "auto" { "bpf" } else { source };
            let health = "SELECT source FROM ebpf_events_health WHERE kind = 'exec'";
            let is = || service.ask(health).first().filter(|row| row["source"] == serves).cloned();
            wait_for(DEADLINE, is).unwrap_or_else(|| panic!("not from {source}"));
            let seen = service.sees(&format!("switch-to-{number}"));
            assert_eq!(seen, serves);
            assert_eq!(audit_state().unwrap() == before, source != "audit");
        }
        // What was seen is still there, whatever it came from.
        let sql = "SELECT DISTINCT source FROM ebpf_process_events ORDER BY source";
        let sources: Vec<String> =
            service.ask(sql).iter().map(|row| row["source"].clone()).collect();
        assert_eq!(sources, ["audit", "bpf", "connector"]);
    }

    /// Executes one after another as long as it lives.
    struct Busy {
        child: Child,
        stop: PathBuf,
    }

    impl Drop for Busy {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    impl Busy {
        fn start(scratch: &Path) -> Self {
            let stop = scratch.join("stop");
            let script = r#"n=0; until [ -e "$1" ]; do "$2" noop; n=$((n + 1)); done; echo $n"#;
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script, "sh"]).args([&stop, &workload()]).stdout(Stdio::piped());
            Self { child: command.spawn().unwrap(), stop }
        }

        fn pid(&self) -> u32 {
            self.child.id()
        }

        /// Ends it, and says how often it has.
        fn executed(mut self) -> u64 {
            File::create(&self.stop).unwrap();
            let mut count = String::new();
            self.child.stdout.take().unwrap().read_to_string(&mut count).unwrap();
            count.trim().parse().unwrap()
        }
    }

    #[test]
    fn while_sources_take_each_others_place_each_execution_is_told_once() {
        let _alone = alone();
        let service = Service::start("audit-change", &["--refresh", "1"]);
        let busy = Busy::start(service.scratch.path());
        let health = "SELECT source, ring_bytes FROM ebpf_events_health WHERE kind = 'exec'";
        let mut number = 0;
        let mut serves = |wanted: &str, ring_bytes: &str| {
            let is = |row: &&Row| {
                row["source"] == wanted
                    && (ring_bytes.is_empty() || row["ring_bytes"] == ring_bytes)
            };
            let found = || service.ask(health).first().filter(is).cloned();
            wait_for(DEADLINE, found).unwrap_or_else(|| panic!("not from {wanted} {ring_bytes}"));
            // Enough of each.
            number += 1;
            service.sees(&format!("number {number}"));
        };
        serves("bpf", "");
        let configure = |section: Value| {
            service.host.set_config(&json!({ "ebpf_events": section }).to_string());
        };
        for source in ["audit", "bpf", "connector", "audit", "connector", "bpf"] {
            configure(json!({ "source": source }));
            serves(source, "");
        }
        configure(json!({ "source": "bpf", "ring_process": 1 << 20 }));
        serves("bpf", &(1 << 20).to_string());
        let (pid, executed) = (busy.pid(), busy.executed());
        let health = "SELECT * FROM ebpf_events_health WHERE kind = 'exec'";
        let sql = format!(
            "SELECT source, count(*) AS rows FROM ebpf_process_events WHERE parent = {pid} \
             GROUP BY source"
        );
        let rows = || -> Vec<(String, u64)> {
            let rows = service.ask(&sql);
            rows.iter().map(|row| (row["source"].clone(), row["rows"].parse().unwrap())).collect()
        };
        let all = || {
            Some(rows()).filter(|rows| rows.iter().map(|(_, rows)| rows).sum::<u64>() == executed)
        };
        let rows = wait_for(DEADLINE, all)
            .unwrap_or_else(|| panic!("of {executed}, {:?}: {:#?}", rows(), service.ask(health)));
        println!("{executed} executions: {rows:?}");
        // That none is told twice in place of another.
        let once = format!(
            "SELECT count(DISTINCT pid) AS processes FROM ebpf_process_events \
             WHERE parent = {pid}"
        );
        assert_eq!(service.ask(&once)[0]["processes"], executed.to_string());
        assert_eq!(rows.len(), 3, "{rows:?}");
        let sums = "SELECT received - malformed - excluded - pending - stored AS uncounted, \
                    stored - held - evicted - expired AS gone, lost_ring, lost_missed, evicted \
                    FROM ebpf_events_health WHERE kind = 'exec'";
        let sums = &service.ask(sums)[0];
        assert!(sums.values().all(|sum| sum == "0"), "{sums:?}");
    }

    /// Somebody's rule that keeps new processes from being recorded, as long as it lives.
    struct NeverTask;

    impl NeverTask {
        fn new() -> Self {
            auditctl(&["-a", "never,task"]).unwrap();
            Self
        }
    }

    impl Drop for NeverTask {
        fn drop(&mut self) {
            // What stays is seen by the next look at all of it.
            let _ = auditctl(&["-d", "never,task"]);
        }
    }

    #[test]
    fn once_nothing_stands_in_the_way_of_audit_any_more_it_takes_over_by_itself() {
        let _alone = alone();
        let before = audit_state().unwrap();
        let rule = NeverTask::new();
        let mut service = Service::start("audit-climbs", &ON_AUDIT);
        let health = || {
            let sql = "SELECT source, reason FROM ebpf_events_health WHERE kind = 'exec'";
            service.ask(sql).remove(0)
        };
        assert!(health()["reason"].contains("never,task"), "{:#?}", health());
        assert_eq!(service.sees("climb-0"), "connector");
        drop(rule);
        let climbed = || Some(()).filter(|()| health()["source"] == "audit");
        wait_for(DEADLINE, climbed).expect("audit takes over");
        assert_eq!(service.sees("climb-1"), "audit");
        assert!(!health()["reason"].contains("never,task"), "{:#?}", health());
        service.served = None;
        assert_eq!(audit_state().unwrap(), before);
    }

    #[test]
    fn beside_a_real_auditd_both_have_every_execution_and_its_rules_stay() {
        let _alone = alone();
        let before = audit_state().unwrap();
        {
            let _rule = Theirs::new();
            let auditd = Auditd::start("audit-beside").unwrap();
            let with_auditd = audit_state().unwrap();
            assert!(with_auditd.contains("key=theirs"), "{with_auditd}");
            let mut service = Service::start("audit-beside-service", &ON_AUDIT);
            assert_eq!(service.tier(), "multicast");
            let words: Vec<String> = (0..30).map(|number| format!("beside-{number:02}")).collect();
            for word in &words {
                assert_eq!(service.sees(word), "audit");
            }
            for word in &words {
                let has = || auditd.has_exec(&format!(": {word}")).unwrap().then_some(());
                wait_for(DEADLINE, has).unwrap_or_else(|| panic!("auditd lacks {word}"));
            }
            service.served = None;
            assert_eq!(audit_state().unwrap(), with_auditd);
        }
        assert_eq!(audit_state().unwrap(), before);
    }
}
