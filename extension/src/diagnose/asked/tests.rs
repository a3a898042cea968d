use super::*;
use crate::host::{Host, Options};

#[test]
fn an_osqueryd_that_is_not_there_is_an_error_that_names_the_socket() {
    let error = answers(Path::new("/nowhere/osquery.em")).unwrap_err();
    assert!(error.to_string().contains("/nowhere/osquery.em"), "{error}");
}

#[test]
fn a_question_that_fails_does_not_keep_the_others_from_being_answered() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path().join("osquery.em"));
    options.config =
        r#"{"ebpf_events": {"max_events": 7}, "decorators": {"load": ["secret"]}}"#.to_owned();
    let host = Host::start(options).unwrap();
    let answers = answers(host.socket()).unwrap();
    // No extension is registered here.
    assert!(answers["health"]["error"].as_str().unwrap().contains("ebpf_events_health"));
    let version = answers["info"][0]["version"].as_str().unwrap();
    assert!(version.starts_with(crate::host::OSQUERY_VERSION), "{version}");
    assert_eq!(answers["config"], json!({ "ebpf_events": { "max_events": 7 } }));
}
