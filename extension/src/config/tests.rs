use std::collections::BTreeMap;
use std::time::Duration;

use clap::Parser;
use osquery_ebpf_probes::event::EventKind;
use serde_json::json;

use super::settings::Ipv6;
use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    settings: Settings,
}

fn flags(words: &[&str]) -> Settings {
    Line::try_parse_from([&["x"], words].concat()).unwrap().settings
}

#[test]
fn flags_and_the_section_say_the_same_things() {
    let by_flags = flags(&[
        "--source=audit",
        "--tier=1",
        "--ignore-kernel-quirks",
        "--collect=process,file",
        "--process-events=exec,fork",
        "--unix-sockets",
        "--datagram-peers",
        "--file-access=false",
        "--env-allow=A,B_*",
        "--ipv6-format=core",
        "--hashes=no",
        "--exclude-files=/a/%%,/b",
        "--exclude-processes=/usr/bin/make",
        "--exclude-uids=1,2",
        "--exclude-addresses=10.0.0.0/8,::1",
        "--max-events=1000",
        "--max-bytes=8M",
        "--max-age=2h",
        "--ring-process=1M",
        "--ring-socket=64K",
        "--ring-file=4096",
        "--grace=0",
        "--refresh=30",
    ]);
    let (by_section, problems) = read_section(&json!({"ebpf_events": {
        "source": "audit",
        "tier": 1,
        "ignore_kernel_quirks": true,
        "collect": ["process", "file"],
        "process_events": ["exec", "fork"],
        "unix_sockets": "yes",
        "datagram_peers": true,
        "file_access": false,
        "env_allow": ["A", "B_*"],
        "ipv6-format": "core",
        "hashes": "off",
        "exclude_files": ["/a/%%", "/b"],
        "exclude_processes": "/usr/bin/make",
        "exclude_uids": [1, 2],
        "exclude_addresses": "10.0.0.0/8, ::1",
        "max_events": 1000,
        "max_bytes": 8_388_608,
        "max_age": "2h",
        "ring_process": "1M",
        "ring_socket": "64K",
        "ring_file": 4096,
        "grace": 0,
        "refresh": 30,
    }}));
    assert_eq!(problems, []);
    assert_eq!(by_flags, by_section);
    // Nothing was left unset, so a setting that is missing above shows here.
    assert!(!format!("{by_flags:?}").contains("None"), "{by_flags:?}");
}

#[test]
fn a_flag_wins_over_the_section() {
    let (section, _) = read_section(&json!({"ebpf_events": {"max_events": 7, "source": "off"}}));
    let settings = flags(&["--max-events=9"]).over(section);
    assert_eq!(settings.max_events, Some(9));
    assert_eq!(settings.source, Some(SourceChoice::Off));
}

#[test]
fn what_is_wrong_is_named_and_the_rest_applies() {
    let (settings, problems) = read_section(&json!({"ebpf_events": {
        "max_events": "many",
        "max_evnts": 3,
        "process_events": ["exec", "exit"],
        "unix_sockets": {"no": "object"},
        "source": ["bpf", "audit"],
        "ipv6_format": "core",
    }}));
    assert_eq!(settings, Settings { ipv6_format: Some(Ipv6::Core), ..Settings::default() });
    let said: BTreeMap<_, _> =
        problems.iter().map(|problem| (problem.key.as_str(), problem.what.as_str())).collect();
    assert_eq!(
        said["ebpf_events.max_events"],
        "\"many\": a whole number from 1 to 100000000 is expected"
    );
    assert!(said["ebpf_events.max_evnts"].contains("max-events"));
    assert_eq!(
        said["ebpf_events.process_events"],
        "[\"exec\",\"exit\"]: a list of exec, fork, setid and namespace is expected"
    );
    assert!(said.contains_key("ebpf_events.unix_sockets"));
    assert_eq!(
        said["ebpf_events.source"],
        "[\"bpf\",\"audit\"]: auto, bpf, audit, connector or off is expected"
    );
    assert_eq!(said.len(), 5);
}

#[test]
fn a_section_that_is_no_object_is_reported() {
    let (settings, problems) = read_section(&json!({"ebpf_events": 5}));
    assert_eq!(settings, Settings::default());
    assert_eq!(
        problems[0].to_string(),
        "configuration, ebpf_events: 5: an object of settings is expected"
    );
}

#[test]
fn values_beyond_their_range_are_refused() {
    for words in [
        "--max-events=0",
        "--max-events=100000001",
        "--max-bytes=1023K",
        "--ring-file=2G",
        "--ring-file=1K",
        "--max-age=0",
        "--max-age=99999999999999999999",
        "--max-bytes=99999999999999G",
        "--exclude-addresses=10.0.0.0/33",
        "--exclude-files=relative",
        "--env-allow=A=B",
        "--process-events=exit",
        "--collect=everything",
    ] {
        assert!(Line::try_parse_from(["x", words]).is_err(), "{words}");
    }
}

#[test]
fn sizes_and_times_are_read_with_their_units() {
    assert_eq!("3K".parse(), Ok(Size(3 << 10)));
    assert_eq!("3 MiB".parse(), Ok(Size(3 << 20)));
    assert_eq!("3g".parse(), Ok(Size(3 << 30)));
    assert_eq!("10m".parse(), Ok(Age(Duration::from_secs(600))));
    assert_eq!("7d".parse(), Ok(Age(Duration::from_secs(604_800))));
    assert!("-1".parse::<Size>().is_err());
    assert!("1x".parse::<Age>().is_err());
    assert!("".parse::<Age>().is_err());
}

#[test]
fn process_events_are_kinds() {
    assert_eq!(
        flags(&["--process-events", "setid,namespace"]).process_events,
        Some(vec![EventKind::Setid, EventKind::Namespace])
    );
}

#[test]
fn sources_are_merged_without_their_comments() {
    let sources = BTreeMap::from([
        (
            "a".to_owned(),
            "# said\n{\"file_paths\": {\"etc\": [\"/etc/%%\"]},\n// more\n\"x\": 1}".to_owned(),
        ),
        ("b".to_owned(), "{\"file_paths\": {\"tmp\": [\"/tmp/%\"]}, \"x\": 2}".to_owned()),
        ("c".to_owned(), String::new()),
        ("d".to_owned(), "{".to_owned()),
    ]);
    let document = merge(&sources);
    assert_eq!(
        document.value,
        json!({"file_paths": {"etc": ["/etc/%%"], "tmp": ["/tmp/%"]}, "x": 2})
    );
    assert_eq!(document.problems.len(), 1);
    assert_eq!(document.problems[0].key, "d");
}
